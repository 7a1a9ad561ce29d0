//! A listing over windows is the listing of a bucket that holds just what they show: alice's view of the platform's
//! bucket, beside a bucket of bob's with copies of the same names.

use proptest::prelude::*;

use crate::harness::*;

const OWN: [&str; 5] =
    ["datasets/alice/", "logs/training/a-b/", "logs/training/a/", "logs/training/ab/", "models/alice/"];
/// Before, between and after alice's windows; `-` and `.` sort before `/`.
const FOREIGN: [&str; 7] = [
    "a/",
    "datasets/alice-2/",
    "datasets/alice.b/",
    "datasets/bobby/",
    "logs/training/a.b/",
    "logs/training/b/",
    "z/",
];
/// Also such that begin in a window's name and end in a key's.
const DELIMITERS: [&str; 14] =
    ["/", "/", "/", "a", "-", "//", "/a", "e/a", "/a/", "ice/b", "/training/", "ng/a/", "a/a/a", "/a/a"];
/// A kind of listing, in the words of its parameters and elements.
struct Form {
    selects: &'static str,
    begins_after: &'static str,
    limit: &'static str,
    tells_next: &'static str,
    goes_on_with: &'static str,
}

const fn form(
    selects: &'static str,
    begins_after: &'static str,
    limit: &'static str,
    tells_next: &'static str,
    goes_on_with: &'static str,
) -> Form {
    Form { selects, begins_after, limit, tells_next, goes_on_with }
}

const FORMS: [Form; 4] = [
    form("list-type=2", "start-after", "max-keys", "NextContinuationToken", "continuation-token"),
    form("fetch-owner=true", "marker", "max-keys", "NextMarker", "marker"),
    form("versions", "key-marker", "max-keys", "NextKeyMarker", "key-marker"),
    form("uploads", "key-marker", "max-uploads", "NextKeyMarker", "key-marker"),
];

fn world() -> World {
    let world = World::with_view();
    for job in ["a", "ab", "a-b"] {
        world.assign(job, "alice");
    }
    for job in ["a.b", "b"] {
        world.assign(job, "bobby");
    }
    world
}

/// What a page shows.
#[derive(PartialEq, Debug)]
struct Page {
    told: [Option<String>; 4],
    keys: Vec<String>,
    prefixes: Vec<String>,
}

/// A page, and the parameter that asks for the next one.
fn page(world: &World, who: &Signer, bucket: &str, form: &Form, query: &str) -> (Page, Option<String>) {
    let target = format!("/{bucket}?{}{query}", form.selects);
    let response = world.call(&who.sign(Request::get(&target)));
    assert_eq!(response.status, 200, "{target}: {}", response.everything());
    let told = ["IsTruncated", "KeyCount", "NextMarker", "NextKeyMarker"].map(|name| response.element(name));
    let keys = response.elements("Key");
    let next = (told[0].as_deref() == Some("true")).then(|| {
        // V1 without a delimiter goes on from its last key.
        let place = response.element(form.tells_next).or(keys.last().cloned()).expect("a place to go on at");
        format!("&{}={}", form.goes_on_with, uri_encode(&place, false))
    });
    (Page { told, keys, prefixes: elements_within(&response.text(), "CommonPrefixes", "Prefix") }, next)
}

/// Walks both listings to their ends and compares them page by page.
fn compare(world: &World, form: &Form, query: &str, begin: &str) {
    let (mut in_view, mut in_bucket) = (begin.to_owned(), begin.to_owned());
    for _ in 0..100 {
        let (view, next) = page(world, &world.alice(), "aiserve-storage", form, &format!("{query}{in_view}"));
        let (bucket, same) = page(world, &world.bob(), "datasets", form, &format!("{query}{in_bucket}"));
        assert_eq!(view, bucket, "{}{query}{in_view}", form.selects);
        let (Some(next), Some(same)) = (next, same) else { return };
        (in_view, in_bucket) = (next, same);
    }
    panic!("{}{query}: the listing has no end", form.selects);
}

fn any_name() -> impl Strategy<Value = String> {
    let tail = prop_oneof![4 => "[ab/-]{1,5}", 1 => "[a/ é+%&]{1,3}"];
    let window = prop_oneof![3 => prop::sample::select(&OWN[..]), 1 => prop::sample::select(&FOREIGN[..])];
    (window, tail).prop_map(|(window, tail)| format!("{window}{tail}"))
}

/// A name, or what begins one.
fn any_start() -> impl Strategy<Value = String> {
    (any_name(), 0..24_usize).prop_map(|(name, most)| name.chars().take(most).collect())
}

#[test]
fn windows_list_as_a_bucket_with_just_their_keys() {
    let world = world();
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(150) };
    let names = prop::collection::btree_set(any_name(), 0..24);
    let delimiter = prop::option::weighted(0.8, prop::sample::select(&DELIMITERS[..]));
    let max = prop_oneof![1..5_u32, Just(1000)];
    let strategy = (names, prop_oneof![Just(String::new()), any_start()], delimiter, max, any_start());
    proptest!(config, |((names, prefix, delimiter, max, begin) in strategy)| {
        world.origin.empty();
        world.origin.forget();
        for name in &names {
            world.origin.seed(name, "x");
            world.origin.seed_upload(name);
            if OWN.iter().any(|window| name.starts_with(window)) {
                world.origin.seed(&format!("datasets/bob/{name}"), "x");
                // Whoever only reads has no uploads.
                if !name.starts_with("logs/") {
                    world.origin.seed_upload(&format!("datasets/bob/{name}"));
                }
            }
        }
        let mut query = format!("&prefix={}", uri_encode(&prefix, false));
        if let Some(delimiter) = delimiter {
            query.push_str(&format!("&delimiter={}", uri_encode(delimiter, false)));
        }
        let begin = uri_encode(&begin, false);
        for form in &FORMS {
            let query = format!("{query}&{}={max}", form.limit);
            compare(&world, form, &query, "");
            compare(&world, form, &query, &format!("&{}={begin}", form.begins_after));
        }
        // Nothing of a stranger's was asked for.
        for seen in world.origin.seen() {
            let asked = uri_decode(seen.target().split("prefix=").nth(1).and_then(|rest| rest.split('&').next()).unwrap());
            let own = OWN.iter().any(|window| asked.starts_with(window));
            prop_assert!(own || asked.starts_with("datasets/bob/"), "{}", seen.target());
        }
    });
}
