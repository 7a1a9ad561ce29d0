//! Group H, listings: exactly the names that were put, and nothing of the scope they lie in.

use std::collections::BTreeSet;

use crate::harness::*;

/// Names with delimiters and prefixes that also occur inside the hidden prefix.
const KEYS: [&str; 12] = [
    "a",
    "alice/x",
    "control",
    "datasets/alice/y",
    "dir/1",
    "dir/2",
    "dir/sub/3",
    "e/é",
    "e/e\u{301}",
    "odd &<>\"'+%41 x",
    "s//t",
    "z/",
];

fn world() -> World {
    let mut world = World::new();
    world.expect_names(&["datasets/alice/y", "datasets/alice/", "datasets/alice<"]);
    for key in KEYS.into_iter().filter(|key| *key != "control") {
        world.origin.seed(&format!("datasets/alice/{key}"), key);
    }
    world
}

fn list(world: &World, query: &str) -> Response {
    let response = world.accepts(&world.alice().sign(Request::get(&format!("/datasets?{query}"))));
    assert_well_formed(&response.text());
    response
}

/// Keys and common prefixes of a page, decoded when the listing is encoded.
fn names(page: &Response) -> Vec<String> {
    let text = page.text();
    let mut names = page.elements("Key");
    names.extend(elements_within(&text, "CommonPrefixes", "Prefix"));
    let encoded = text.contains("<EncodingType>url</EncodingType>");
    names.iter().map(|n| if encoded { uri_decode(n) } else { n.clone() }).collect()
}

/// What S3 would list of `KEYS`.
fn expected(prefix: &str, delimiter: Option<&str>) -> BTreeSet<String> {
    let fold = |key: &str| {
        let cut = delimiter.and_then(|d| key[prefix.len()..].find(d).map(|at| prefix.len() + at + d.len()));
        key[..cut.unwrap_or(key.len())].to_owned()
    };
    KEYS.iter().filter(|key| key.starts_with(prefix)).map(|key| fold(key)).collect()
}

/// Every form of listing there is.
const FORMS: [&str; 4] =
    ["list-type=2", "list-type=2&encoding-type=url", "encoding-type=url", "fetch-owner=true"];

#[test]
fn h14_every_form_lists_exactly_the_names() {
    let world = world();
    for form in FORMS {
        for prefix in [
            "",
            "a",
            "alice/",
            "datasets/",
            "datasets/alice/",
            "dir",
            "dir/",
            "dir/sub/",
            "e/",
            "nothing",
            "odd &",
        ] {
            for delimiter in [None, Some("/"), Some("a"), Some("alice"), Some("/alice/"), Some("//")] {
                let mut query = format!("{form}&prefix={}", uri_encode(prefix, false));
                if let Some(delimiter) = delimiter {
                    query.push_str(&format!("&delimiter={}", uri_encode(delimiter, false)));
                }
                let page = list(&world, &query);
                let listed: BTreeSet<String> = names(&page).into_iter().collect();
                assert_eq!(listed, expected(prefix, delimiter), "{query}: {}", page.text());
                assert_eq!(page.element("Name").as_deref(), Some("datasets"));
                let shown = page.element("Prefix").unwrap();
                let shown = if form.contains("url") { uri_decode(&shown) } else { shown };
                assert_eq!(shown, prefix, "{query}");
            }
        }
    }
}

#[test]
fn h14_pages_of_v2_are_walked_by_opaque_tokens() {
    let world = world();
    for form in
        ["list-type=2", "list-type=2&encoding-type=url", "list-type=2&delimiter=/", "list-type=2&prefix=d"]
    {
        let whole: BTreeSet<String> = names(&list(&world, form)).into_iter().collect();
        let mut walked = BTreeSet::new();
        let mut query = format!("{form}&max-keys=1");
        for _ in 0..40 {
            let page = list(&world, &query);
            assert_eq!(page.element("KeyCount").as_deref(), Some("1"), "{query}");
            assert!(names(&page).into_iter().all(|name| walked.insert(name)), "{query} repeats a name");
            if page.element("IsTruncated").as_deref() != Some("true") {
                assert_eq!(page.element("NextContinuationToken"), None);
                break;
            }
            let token = page.element("NextContinuationToken").expect("a truncated page has a token");
            query = format!("{form}&max-keys=1&continuation-token={}", uri_encode(&token, false));
            let next = list(&world, &query);
            assert_eq!(next.element("ContinuationToken").as_deref(), Some(token.as_str()));
        }
        assert_eq!(walked, whole, "{form}");
    }
}

#[test]
fn h14_pages_of_v1_are_walked_by_markers() {
    let world = world();
    for form in ["encoding-type=url", "prefix=", "delimiter=/", "delimiter=/&encoding-type=url"] {
        let whole: BTreeSet<String> = names(&list(&world, form)).into_iter().collect();
        let mut walked = BTreeSet::new();
        let mut marker = String::new();
        for _ in 0..40 {
            let page = list(&world, &format!("{form}&max-keys=2&marker={}", uri_encode(&marker, false)));
            let encoded = form.contains("url");
            let decode = |text: String| if encoded { uri_decode(&text) } else { text };
            assert_eq!(page.element("Marker").map(decode), Some(marker.clone()), "{form}");
            walked.extend(names(&page));
            if page.element("IsTruncated").as_deref() != Some("true") {
                break;
            }
            let last = page.elements("Key").pop();
            marker = page.element("NextMarker").or(last).map(decode).expect("a marker");
        }
        assert_eq!(walked, whole, "{form}");
    }
}

#[test]
fn h14_start_after_and_markers_are_virtual() {
    let world = world();
    let page = list(&world, "list-type=2&start-after=dir%2F1");
    assert_eq!(page.element("StartAfter").as_deref(), Some("dir/1"));
    assert_eq!(page.elements("Key").first().map(String::as_str), Some("dir/2"));
    let page = list(&world, "marker=dir%2F1&encoding-type=url");
    assert_eq!(page.element("Marker").map(|m| uri_decode(&m)).as_deref(), Some("dir/1"));
    // A marker that names somebody's real key is just a late or early name.
    for marker in ["datasets/bob/control", "zzzz", "../bob"] {
        let marker = uri_encode(marker, false);
        for query in [format!("marker={marker}"), format!("list-type=2&start-after={marker}")] {
            let page = list(&world, &query);
            assert!(page.elements("Key").iter().all(|key| KEYS.contains(&key.as_str())), "{}", page.text());
        }
    }
}

#[test]
fn h14_versions_are_virtual_too() {
    let world = world();
    for query in [
        "versions",
        "versions&prefix=dir/",
        "versions&delimiter=/",
        "versions&max-keys=2",
        "versions&encoding-type=url",
    ] {
        let page = list(&world, query);
        assert_eq!(page.element("Name").as_deref(), Some("datasets"), "{query}");
        assert!(
            names(&page).iter().all(|n| KEYS.iter().any(|k| k.starts_with(n.as_str()))),
            "{}",
            page.text()
        );
    }
    let next = list(&world, "versions&max-keys=2").element("NextKeyMarker").unwrap();
    let page = list(&world, &format!("versions&key-marker={}", uri_encode(&next, false)));
    assert_eq!(page.element("KeyMarker"), Some(next));
    assert!(!page.elements("Key").contains(&"a".to_owned()));
}

#[test]
fn h14_owners_are_neutral() {
    let world = world();
    for query in ["list-type=2&fetch-owner=true", "list-type=2", "prefix=", "versions"] {
        let page = list(&world, query);
        assert!(!page.text().contains(NAMESPACE));
    }
    assert!(list(&world, "list-type=2&fetch-owner=true").element("Owner").is_some());
    assert!(list(&world, "list-type=2").element("Owner").is_none());
}

#[test]
fn tokens_belong_to_their_user_and_listing() {
    let world = world();
    for n in 0..3 {
        world.origin.seed(&format!("datasets/bob/{n}"), "bob's");
        world.origin.seed(&format!("models/alice/{n}"), "a model");
    }
    let token = list(&world, "list-type=2&max-keys=1").element("NextContinuationToken").unwrap();
    let with = |bucket: &str, token: &str| {
        Request::get(&format!(
            "/{bucket}?list-type=2&max-keys=1&continuation-token={}",
            uri_encode(token, false)
        ))
    };
    world.accepts(&world.alice().sign(with("datasets", &token)));
    world.refuses(&world.bob().sign(with("datasets", &token)), INVALID_ARGUMENT);
    world.refuses(&world.alice().sign(with("models", &token)), INVALID_ARGUMENT);
    world.refuses(&world.alice().sign(with("datasets", &token).query("prefix=dir")), INVALID_ARGUMENT);
    world.refuses(&world.alice().sign(with("datasets", &token).query("delimiter=%2F")), INVALID_ARGUMENT);
    for at in [0, token.len() / 2, token.len() - 1] {
        let mut bytes = token.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        let tampered = String::from_utf8(bytes).unwrap();
        world.refuses(&world.alice().sign(with("datasets", &tampered)), INVALID_ARGUMENT);
    }
    for made_up in ["x", "token:datasets%2Falice%2Fa", "", "datasets/bob/0"] {
        world.refuses(&world.alice().sign(with("datasets", made_up)), INVALID_ARGUMENT);
    }
}

#[test]
fn h18_max_keys() {
    let world = world();
    for form in ["list-type=2&", ""] {
        let none = list(&world, &format!("{form}max-keys=0"));
        assert_eq!((names(&none), none.element("IsTruncated").as_deref()), (vec![], Some("false")));
        let many = list(&world, &format!("{form}max-keys=1000000000"));
        assert!(many.element("MaxKeys").is_some_and(|n| n == "1000" || n == "1000000000"), "{}", many.text());
        assert_eq!(names(&many).len(), KEYS.len());
        for bad in ["-1", "abc", "1.5", "99999999999999999999"] {
            let request = Request::get(&format!("/datasets?{form}max-keys={bad}"));
            world.refuses(&world.alice().sign(request), INVALID_ARGUMENT);
        }
    }
    for request in ["?list-type=3", "?encoding-type=base64", "?list-type=2&encoding-type=x"] {
        world.refuses(&world.alice().sign(Request::get(&format!("/datasets{request}"))), INVALID_ARGUMENT);
    }
}

#[test]
fn big_pages_are_rewritten_whole() {
    let world = World::new();
    for n in 0..1500 {
        world.origin.seed(&format!("datasets/bob/many/{n:05}"), "x");
    }
    let first = world.accepts(&world.bob().sign(Request::get("/datasets?list-type=2&prefix=many/")));
    let keys = first.elements("Key");
    assert_eq!((keys.len(), keys[999].as_str()), (1000, "many/00999"));
    let token = uri_encode(&first.element("NextContinuationToken").unwrap(), false);
    let next = Request::get(&format!("/datasets?list-type=2&prefix=many/&continuation-token={token}"));
    assert_eq!(world.accepts(&world.bob().sign(next)).elements("Key").len(), 500);
}
