//! Single steps whose numbers a reader can check by hand.

use super::*;

fn begin(ledger: &mut Memory, id: u8, write: Write, limits: Limits, now: Millis) -> Begun {
    let step = Step::Begin { lease: LeaseId([id; 16]), write, limits, expires_at: now + LEASE, life: 0 };
    match ledger.step(step, now) {
        Reply::Begun(begun) => begun,
        other => panic!("{other:?}"),
    }
}

fn settle(ledger: &mut Memory, id: u8, outcome: Outcome, now: Millis) -> Settled {
    match ledger.step(Step::Settle { lease: LeaseId([id; 16]), outcome, look_at: now + LEASE }, now) {
        Reply::Settled(settled) => settled,
        other => panic!("{other:?}"),
    }
}

fn expire(ledger: &mut Memory, id: u8, now: Millis) -> Settled {
    take_over(ledger, id, false, now)
}

/// As it is done at start, for a process that is gone.
fn take_over(ledger: &mut Memory, id: u8, orphaned: bool, now: Millis) -> Settled {
    match ledger.step(Step::Expire { lease: LeaseId([id; 16]), orphaned, look_at: now + LEASE }, now) {
        Reply::Settled(settled) => settled,
        other => panic!("{other:?}"),
    }
}

fn resolve(ledger: &mut Memory, id: u8, found: Found, now: Millis) -> bool {
    match ledger.step(Step::Resolve { lease: LeaseId([id; 16]), found }, now) {
        Reply::Resolved(resolved) => resolved,
        other => panic!("{other:?}"),
    }
}

fn counted() -> Memory {
    let mut ledger = Memory::default();
    ledger.account.counted = true;
    ledger
}

fn put(key: u8, size: u64) -> Write {
    Write::Put { target: target(key), size }
}

fn sums(ledger: &Memory) -> (u64, u64) {
    (ledger.account.used, ledger.account.reserved)
}

#[test]
fn nothing_is_admitted_before_the_first_count() {
    let mut ledger = Memory::default();
    assert_eq!(begin(&mut ledger, 1, put(0, 1), Limits::default(), 5), Begun::NotCounted);
    // Another life of the store may have lost what was written last.
    let mut ledger = counted();
    ledger.account.written_at = 1000;
    ledger.account.life = 7;
    assert_eq!(begin(&mut ledger, 1, put(0, 1), Limits::default(), 2000), Begun::NotCounted);
    let mut old = counted();
    old.account.life = 7;
    assert_eq!(begin(&mut old, 1, put(0, 1), Limits::default(), 2 * HOUR), Begun::Admitted);
}

#[test]
fn an_object_of_a_part_that_nobody_is_sure_of_is_looked_at() {
    let mut ledger = counted();
    let limits = Limits::default();
    for (outcome, looks) in [(Outcome::Done, 0), (Outcome::Look, 1)] {
        begin(&mut ledger, 1, Write::Part { upload: named(1, 0), number: 1, size: 5 }, limits, 1);
        settle(&mut ledger, 1, outcome, 1);
        assert_eq!(ledger.account.reserved, 5);
        begin(&mut ledger, 2, Write::Complete { upload: named(1, 0), parts: vec![1] }, limits, 1);
        assert_eq!(settle(&mut ledger, 2, Outcome::Done, 1).objects.len(), looks);
        assert_eq!(sums(&ledger), (5, 0));
    }
}

#[test]
fn an_overwrite_reserves_the_difference() {
    let mut ledger = counted();
    let limits = Limits { storage: Some(10), ..Limits::default() };
    assert_eq!(begin(&mut ledger, 1, put(0, 6), limits, 1), Begun::Admitted);
    assert_eq!(sums(&ledger), (0, 6));
    settle(&mut ledger, 1, Outcome::Done, 1);
    assert_eq!(sums(&ledger), (6, 0));
    assert_eq!(begin(&mut ledger, 2, put(0, 10), limits, 1), Begun::Admitted);
    assert_eq!(sums(&ledger), (6, 4));
    let refused = Refusal::Storage { used: 10, adds: 1, max: 10 };
    assert_eq!(begin(&mut ledger, 3, put(1, 1), limits, 1), Begun::Refused(refused));
    settle(&mut ledger, 2, Outcome::Failed, 1);
    assert_eq!(sums(&ledger), (6, 0));
    // Smaller: nothing is reserved, and the bytes come back when it is done.
    assert_eq!(begin(&mut ledger, 4, put(0, 2), limits, 1), Begun::Admitted);
    assert_eq!(sums(&ledger), (6, 0));
    settle(&mut ledger, 4, Outcome::Done, 1);
    assert_eq!(sums(&ledger), (2, 0));
}

#[test]
fn writes_that_overlap_are_looked_at() {
    let mut ledger = counted();
    begin(&mut ledger, 1, put(0, 10), Limits::default(), 1);
    begin(&mut ledger, 2, put(0, 2), Limits::default(), 1);
    assert_eq!(settle(&mut ledger, 1, Outcome::Done, 1).objects, []);
    // The answers came in this order; which of them came last at the bucket nobody knows.
    let due = settle(&mut ledger, 2, Outcome::Done, 1);
    assert_eq!(due.objects.len(), 1);
    assert_eq!(sums(&ledger), (2, 8));
    let found = Found { objects: vec![(target(0).id, due.objects[0].1, Some(10))], upload_is_gone: false };
    let step = Step::Resolve { lease: LeaseId([2; 16]), found };
    assert_eq!(ledger.step(step, 1), Reply::Resolved(true));
    assert_eq!(sums(&ledger), (10, 0));
    assert!(ledger.leases.is_empty() && ledger.holds.is_empty());
}

#[test]
fn a_look_that_a_new_write_overtook_proves_nothing() {
    let mut ledger = counted();
    begin(&mut ledger, 1, put(0, 10), Limits::default(), 1);
    settle(&mut ledger, 1, Outcome::Unknown, 1);
    let Reply::Settled(due) =
        ledger.step(Step::Expire { lease: LeaseId([1; 16]), orphaned: false, look_at: 3 * LEASE }, 2 * LEASE)
    else {
        panic!("expired")
    };
    begin(&mut ledger, 2, put(0, 4), Limits::default(), 2 * LEASE);
    let found = Found { objects: vec![(target(0).id, due.objects[0].1, None)], upload_is_gone: false };
    let step = Step::Resolve { lease: LeaseId([1; 16]), found };
    assert_eq!(ledger.step(step, 2 * LEASE), Reply::Resolved(false));
    assert_eq!(sums(&ledger), (0, 10));
}

#[test]
fn hour_and_day_slide() {
    let limits = Limits { uploads_per_hour: Some(2), uploads_per_day: Some(3), ..Limits::default() };
    let mut ledger = counted();
    let mut id = 0;
    let mut upload = |ledger: &mut Memory, now: Millis, outcome: Outcome| {
        id += 1;
        let begun = begin(ledger, id, put(id, 1), limits, now);
        if begun == Begun::Admitted {
            settle(ledger, id, outcome, now);
        }
        begun
    };
    let start = 10 * DAY;
    assert_eq!(upload(&mut ledger, start, Outcome::Done), Begun::Admitted);
    // A failed upload is none.
    assert_eq!(upload(&mut ledger, start + 1, Outcome::Failed), Begun::Admitted);
    assert_eq!(upload(&mut ledger, start + 1000, Outcome::Done), Begun::Admitted);
    let full = |count, retry_after| Begun::Refused(Refusal::Hourly { count, max: 2, retry_after });
    assert_eq!(upload(&mut ledger, start + 1000, Outcome::Done), full(2, HOUR - 1000));
    assert_eq!(upload(&mut ledger, start + HOUR - 1, Outcome::Done), full(2, 1));
    // At the very edge the first place has left.
    assert_eq!(upload(&mut ledger, start + HOUR, Outcome::Done), Begun::Admitted);
    let daily = Refusal::Daily { count: 3, max: 3, retry_after: DAY - 2 * HOUR };
    assert_eq!(upload(&mut ledger, start + 2 * HOUR, Outcome::Done), Begun::Refused(daily));
    assert_eq!(upload(&mut ledger, start + DAY, Outcome::Done), Begun::Admitted);
    assert_eq!((ledger.account.hour, ledger.account.day), (1, 3));
}

#[test]
fn parts_hold_their_bytes_until_the_upload_ends() {
    let limits = Limits { storage: Some(100), file_size: Some(50), ..Limits::default() };
    let mut ledger = counted();
    begin(&mut ledger, 1, Write::Create { target: target(0) }, limits, 1);
    settle(&mut ledger, 1, Outcome::Created(named(9, 0)), 1);
    let part = |number, size| Write::Part { upload: named(9, 0), number, size };
    begin(&mut ledger, 2, part(1, 30), limits, 1);
    settle(&mut ledger, 2, Outcome::Done, 1);
    // A re-sent part replaces its own.
    begin(&mut ledger, 3, part(1, 20), limits, 1);
    settle(&mut ledger, 3, Outcome::Done, 1);
    assert_eq!(sums(&ledger), (0, 20));
    let refused = Refusal::FileSize { size: 51, max: 50 };
    assert_eq!(begin(&mut ledger, 4, part(2, 31), limits, 1), Begun::Refused(refused));
    begin(&mut ledger, 5, part(2, 30), limits, 1);
    settle(&mut ledger, 5, Outcome::Done, 1);
    begin(&mut ledger, 6, Write::Complete { upload: named(9, 0), parts: vec![2] }, limits, 1);
    assert_eq!(settle(&mut ledger, 6, Outcome::Done, 1), Settled::default());
    assert_eq!(sums(&ledger), (30, 0));
    assert_eq!((ledger.account.open_uploads, ledger.account.hour), (0, 1));
}

#[test]
fn only_so_many_uploads_are_open_and_an_abort_gives_its_place_back() {
    let limits = Limits { open_uploads: Some(1), uploads_per_hour: Some(5), ..Limits::default() };
    let mut ledger = counted();
    begin(&mut ledger, 1, Write::Create { target: target(0) }, limits, 1);
    let refused = Refusal::OpenUploads { count: 1, max: 1 };
    assert_eq!(
        begin(&mut ledger, 2, Write::Create { target: target(1) }, limits, 1),
        Begun::Refused(refused)
    );
    settle(&mut ledger, 1, Outcome::Created(named(9, 0)), 1);
    begin(&mut ledger, 3, Write::Abort { upload: named(9, 0) }, limits, 2);
    settle(&mut ledger, 3, Outcome::Done, 2);
    assert_eq!((ledger.account.open_uploads, ledger.account.hour, ledger.account.day), (0, 0, 0));
    assert_eq!(begin(&mut ledger, 4, Write::Create { target: target(1) }, limits, 2), Begun::Admitted);
}

#[test]
fn a_limit_lowered_below_the_use_refuses_writes_and_nothing_else() {
    let mut ledger = counted();
    begin(&mut ledger, 1, put(0, 10), Limits::default(), 1);
    settle(&mut ledger, 1, Outcome::Done, 1);
    let low = Limits { storage: Some(5), ..Limits::default() };
    let refused = Refusal::Storage { used: 10, adds: 0, max: 5 };
    assert_eq!(begin(&mut ledger, 2, put(0, 1), low, 1), Begun::Refused(refused));
    assert_eq!(begin(&mut ledger, 3, Write::Delete { targets: vec![target(0)] }, low, 1), Begun::Admitted);
    settle(&mut ledger, 3, Outcome::Done, 1);
    assert_eq!(sums(&ledger), (0, 0));
}

#[test]
fn a_check_says_what_a_put_would_be_told_and_holds_nothing() {
    let check = |ledger: &mut Memory, size, limits, now| match ledger.step(Step::Check { size, limits }, now)
    {
        Reply::Begun(begun) => begun,
        other => panic!("{other:?}"),
    };
    let limits = Limits {
        storage: Some(10),
        file_size: Some(8),
        uploads_per_hour: Some(1),
        uploads_per_day: Some(2),
        ..Limits::default()
    };
    assert_eq!(check(&mut Memory::default(), 1, limits, 1), Begun::NotCounted);
    let mut ledger = counted();
    assert_eq!(check(&mut ledger, 8, limits, 1), Begun::Admitted);
    assert_eq!(check(&mut ledger, 8, limits, 1), Begun::Admitted);
    assert_eq!(sums(&ledger), (0, 0));
    begin(&mut ledger, 1, put(0, 6), limits, 1000);
    for (size, now, expected) in [
        (9, 2000, Begun::Refused(Refusal::FileSize { size: 9, max: 8 })),
        (5, 2000, Begun::Refused(Refusal::Storage { used: 6, adds: 5, max: 10 })),
        (4, 2000, Begun::Refused(Refusal::Hourly { count: 1, max: 1, retry_after: HOUR - 1000 })),
        (4, 1000 + HOUR, Begun::Admitted),
    ] {
        assert_eq!(check(&mut ledger, size, limits, now), expected, "{size} at {now}");
        if matches!(expected, Begun::Refused(_)) {
            assert_eq!(begin(&mut ledger, 9, put(1, size), limits, now), expected, "{size} at {now}");
        }
    }
}

/// An upload of one part of 9 bytes that is being completed, and aborted.
fn completed_and_aborted(limits: Limits) -> Memory {
    let mut ledger = counted();
    begin(&mut ledger, 1, Write::Create { target: target(0) }, limits, 1);
    settle(&mut ledger, 1, Outcome::Created(named(9, 0)), 1);
    begin(&mut ledger, 2, Write::Part { upload: named(9, 0), number: 1, size: 9 }, limits, 1);
    settle(&mut ledger, 2, Outcome::Done, 1);
    begin(&mut ledger, 3, Write::Complete { upload: named(9, 0), parts: vec![1] }, limits, 1);
    begin(&mut ledger, 4, Write::Abort { upload: named(9, 0) }, limits, 1);
    ledger
}

#[test]
fn an_abort_gives_nothing_back_while_a_completion_may_have_made_the_object() {
    let limits = Limits { storage: Some(10), uploads_per_hour: Some(5), ..Limits::default() };
    // The completion is told of last.
    for (outcome, expected, hour) in [(Outcome::Done, (9, 0), 1), (Outcome::Failed, (0, 0), 0)] {
        let mut ledger = completed_and_aborted(limits);
        settle(&mut ledger, 4, Outcome::Done, 2);
        assert_eq!((sums(&ledger), ledger.account.hour), ((0, 9), 1));
        let refused = Refusal::Storage { used: 9, adds: 9, max: 10 };
        assert_eq!(begin(&mut ledger, 5, put(1, 9), limits, 2), Begun::Refused(refused));
        settle(&mut ledger, 3, outcome, 3);
        assert_eq!((sums(&ledger), ledger.account.hour), (expected, hour));
        assert_eq!(ledger.account.open_uploads, 0);
        assert!(ledger.uploads.is_empty() && ledger.parts.is_empty() && ledger.leases.is_empty());
    }
    // It is never told of: a look finds the upload gone, then the object there.
    let mut ledger = completed_and_aborted(limits);
    settle(&mut ledger, 3, Outcome::Unknown, 2);
    settle(&mut ledger, 4, Outcome::Done, 3);
    assert_eq!((sums(&ledger), ledger.account.hour), ((0, 9), 1));
    let due = expire(&mut ledger, 3, 2 * LEASE);
    assert_eq!(due.upload, Some(named(9, 0).key));
    resolve(&mut ledger, 3, Found { upload_is_gone: true, ..Found::default() }, 2 * LEASE);
    assert_eq!((sums(&ledger), ledger.account.hour), ((0, 9), 1));
    let due = expire(&mut ledger, 3, 3 * LEASE);
    let objects = vec![(target(0).id, due.objects[0].1, Some(9))];
    resolve(&mut ledger, 3, Found { objects, upload_is_gone: false }, 3 * LEASE);
    assert_eq!((sums(&ledger), ledger.account.hour), ((9, 0), 1));
}

#[test]
fn an_abort_that_a_look_finds_done_waits_for_a_completion_too() {
    let mut ledger = completed_and_aborted(Limits::default());
    settle(&mut ledger, 4, Outcome::Unknown, 2);
    expire(&mut ledger, 4, 2 * LEASE);
    resolve(&mut ledger, 4, Found { upload_is_gone: true, ..Found::default() }, 2 * LEASE);
    assert_eq!((sums(&ledger), ledger.account.hour), ((0, 9), 1));
    settle(&mut ledger, 3, Outcome::Done, 2 * LEASE);
    assert_eq!((sums(&ledger), ledger.account.hour), ((9, 0), 1));
}

/// What a look finds that was asked for with this.
fn found(due: &Settled, there: Option<u64>) -> Found {
    let objects = due.objects.iter().map(|(target, stamp)| (target.id, *stamp, there));
    Found { objects: objects.collect(), upload_is_gone: false }
}

#[test]
fn after_a_crash_a_write_that_is_not_seen_may_still_come() {
    let mut ledger = counted();
    begin(&mut ledger, 1, put(0, 9), Limits::default(), 1);
    let due = take_over(&mut ledger, 1, true, 2);
    assert!(!resolve(&mut ledger, 1, found(&due, None), 2));
    assert_eq!((sums(&ledger), ledger.account.hour), ((0, 9), 1));
    // It comes: seen, and settled before its time is over.
    let due = take_over(&mut ledger, 1, true, 3);
    assert!(resolve(&mut ledger, 1, found(&due, Some(9)), 3));
    assert_eq!((sums(&ledger), ledger.account.hour), ((9, 0), 1));
    // It does not come.
    begin(&mut ledger, 2, put(0, 12), Limits::default(), 4);
    let due = take_over(&mut ledger, 2, true, 5);
    assert!(!resolve(&mut ledger, 2, found(&due, Some(9)), 5));
    assert_eq!(sums(&ledger), (9, 3));
    let due = expire(&mut ledger, 2, 2 * LEASE);
    assert!(resolve(&mut ledger, 2, found(&due, Some(9)), 2 * LEASE));
    assert_eq!((sums(&ledger), ledger.account.hour), ((9, 0), 1));
    // A deletion too.
    begin(&mut ledger, 3, Write::Delete { targets: vec![target(0)] }, Limits::default(), 2 * LEASE);
    let due = take_over(&mut ledger, 3, true, 2 * LEASE);
    assert!(!resolve(&mut ledger, 3, found(&due, Some(9)), 2 * LEASE));
    let due = take_over(&mut ledger, 3, true, 2 * LEASE);
    assert!(resolve(&mut ledger, 3, found(&due, None), 2 * LEASE));
    assert_eq!(sums(&ledger), (0, 0));
    assert!(ledger.leases.is_empty() && ledger.holds.is_empty());
}

#[test]
fn after_a_crash_a_completion_that_is_not_seen_may_still_come() {
    let crashed = || {
        let mut ledger = counted();
        begin(&mut ledger, 1, Write::Create { target: target(0) }, Limits::default(), 1);
        settle(&mut ledger, 1, Outcome::Created(named(9, 0)), 1);
        begin(&mut ledger, 2, Write::Part { upload: named(9, 0), number: 1, size: 9 }, Limits::default(), 1);
        settle(&mut ledger, 2, Outcome::Done, 1);
        let complete = Write::Complete { upload: named(9, 0), parts: vec![1] };
        begin(&mut ledger, 3, complete, Limits::default(), 1);
        assert!(take_over(&mut ledger, 3, true, 2).upload.is_some());
        assert!(!resolve(&mut ledger, 3, Found::default(), 2));
        assert_eq!((sums(&ledger), ledger.uploads[&named(9, 0).key].ending), ((0, 9), 1));
        ledger
    };
    let gone = || Found { upload_is_gone: true, ..Found::default() };
    let mut ledger = crashed();
    assert!(resolve(&mut ledger, 3, gone(), 3));
    let due = expire(&mut ledger, 3, 3);
    assert!(resolve(&mut ledger, 3, found(&due, Some(9)), 3));
    assert_eq!((sums(&ledger), ledger.account.open_uploads), ((9, 0), 0));
    let mut ledger = crashed();
    expire(&mut ledger, 3, 2 * LEASE);
    assert!(resolve(&mut ledger, 3, Found::default(), 2 * LEASE));
    let due = expire(&mut ledger, 3, 2 * LEASE);
    assert!(resolve(&mut ledger, 3, found(&due, None), 2 * LEASE));
    assert_eq!((sums(&ledger), ledger.account.open_uploads), ((0, 9), 1));
    assert!(ledger.leases.is_empty() && ledger.holds.is_empty());
}
