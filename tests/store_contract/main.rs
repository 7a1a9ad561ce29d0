//! What every store of `bucketwarden::store` must do, written once and run against each: steps equal plain
//! arithmetic, what was answered stays, users do not see each other. To have another store checked, write an opener and
//! name it in `contract!`. What only one store promises has a module of its own.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use bucketwarden::account::{
    Account, DAY, HOUR, Hold, Lease, LeaseId, Millis, Needs, Object, ObjectId, Part, Reply, Rows, Step,
    Upload, UploadKey, View,
};

mod accounts;
mod child;
mod embedded;
mod jobs;
mod keys;
mod kit;
#[path = "../../src/account/memory.rs"]
mod memory;
mod openers;
mod pars;
mod programs;
mod redis;
mod server;
mod users;

macro_rules! checks {
    ($opener:path; $($module:ident::$check:ident),+ $(,)?) => {
        $(#[tokio::test(flavor = "multi_thread")]
        async fn $check() {
            $module::$check($opener().await).await;
        })+
    };
}

macro_rules! contract {
    ($($opener:ident),+) => {
        $(mod $opener {
            use crate::{accounts, jobs, keys, pars, programs, users};

            checks! { crate::openers::$opener;
                programs::random_steps_equal_plain_arithmetic,
                accounts::what_was_answered_is_there_after_reopening,
                accounts::rows_are_a_users_own,
                accounts::writes_at_the_edge_of_a_limit_are_admitted_as_far_as_they_fit,
                accounts::objects_come_in_pages,
                accounts::leases_are_found_once_they_have_expired,
                accounts::uploads_are_listed_while_they_are_open,
                users::a_change_makes_a_record_and_changes_add_up,
                users::users_come_in_pages_and_in_order,
                users::who_was_removed_stays_known,
                users::who_is_there_already_is_not_made,
                keys::keys_are_made_changed_and_removed_by_their_user,
                keys::a_key_knows_when_it_was_used_last,
                keys::a_user_has_so_many_keys_and_no_more,
                keys::nothing_of_a_removed_user_revives,
                jobs::a_job_is_one_users,
                jobs::jobs_come_in_pages_and_in_order,
                jobs::jobs_go_with_their_user,
                pars::pars_are_found_by_id_user_and_time,
                pars::a_user_has_so_many_pars_and_no_more,
                pars::owners_of_pars_come_in_pages_and_in_order,
                pars::pars_outlive_their_user,
            }
        })+
    };
}

mod contract {
    contract!(embedded, redis);
}
