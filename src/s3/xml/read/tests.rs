//! The reader by itself, and held against a general one.

use super::*;
use proptest::prelude::*;
use quick_xml::events::Event;

/// A document as a flat list: names on entering, text of leaves, a slash on leaving.
fn flat(text: &str) -> Result<Vec<String>, Flaw> {
    fn inside(reader: &mut Reader<'_>, out: &mut Vec<String>) -> Result<(), Flaw> {
        while let Some(name) = reader.child()? {
            out.push(name.to_owned());
            if name.starts_with("leaf") {
                out.push(reader.text()?.into_owned());
            } else {
                inside(reader, out)?;
            }
            out.push("/".to_owned());
        }
        Ok(())
    }
    let (mut reader, root) = Reader::open(text)?;
    let mut out = vec![root.to_owned()];
    inside(&mut reader, &mut out)?;
    reader.finish()?;
    Ok(out)
}

#[test]
fn elements_and_exact_text() {
    let text = "\u{feff}<?xml version=\"1.0\"?>\n<!-- hi > --><s:A xmlns:s='x>y' ><leaf> a&amp;&#x1;&#13;\r\n </leaf>\
                <B/><leaf a=\"1\" b='2'/><leaf2>x<!-- no -->y<![CDATA[<&amp;]]>z</leaf2 ></s:A>\n<!-- end -->";
    let want = ["A", "leaf", " a&\u{1}\r\r\n ", "/", "B", "/", "leaf", "", "/", "leaf2", "xy<&amp;z", "/"];
    assert_eq!(flat(text).unwrap(), want);
}

#[test]
fn skipping_leaves_nothing_behind() {
    let text =
        "<R><Skip>t<a><b/>&nonsense;<![CDATA[</Skip>]]></a><?pi </Skip>?></Skip><Skip/><Key>k</Key></R>";
    let mut reader = Reader::open_as(text, "R").unwrap();
    for _ in 0..2 {
        assert_eq!(reader.child().unwrap(), Some("Skip"));
        reader.skip().unwrap();
    }
    assert_eq!(reader.child().unwrap(), Some("Key"));
    assert_eq!(reader.text().unwrap(), "k");
    assert_eq!(reader.child().unwrap(), None);
    reader.finish().unwrap();
}

#[test]
fn what_is_not_well_formed_is_refused() {
    for bad in [
        "",
        " ",
        "<",
        "<a",
        "<a>",
        "<a/",
        "<a></b>",
        "<a></ab>",
        "<ab></a>",
        "</a>",
        "<a/><b/>",
        "<a/>x",
        "x<a/>",
        "<a>x</a>",
        "<a><leaf>&x;</leaf></a>",
        "<a><leaf>&amp</leaf></a>",
        "<a><leaf>&#xD800;</leaf></a>",
        "<a><leaf>&#+1;</leaf></a>",
        "<a><leaf>&#1a;</leaf></a>",
        "<a><leaf>&#;</leaf></a>",
        "<a b></a>",
        "<a b=c></a>",
        "<a b='c></a>",
        "<a b='<'></a>",
        "<a b='c'd='e'></a>",
        "<1/>",
        "<a><leaf><b/></leaf></a>",
        "<a><!-- </a>",
        "<a><![CDATA[x]]></a>",
        "<a><leaf><![CDATA[x</leaf></a>",
        "< a/>",
        "<a / >",
        "<a>&amp;</a>",
    ] {
        assert!(flat(bad).is_err(), "{bad}");
    }
}

#[test]
fn bombs_are_refused_at_once() {
    let laughs = "<!DOCTYPE x [<!ENTITY a \"ha\"><!ENTITY b \"&a;&a;&a;\">]><x><leaf>&b;</leaf></x>";
    assert!(flat(laughs).is_err());
    assert!(flat("<!DOCTYPE x SYSTEM 'file:///etc/passwd'><x/>").is_err());
    assert!(flat("<x><!DOCTYPE x></x>").is_err());
    assert!(flat(&"<a>".repeat(100_000)).is_err());
    assert!(flat(&format!("<a{}/>", " b='c'".repeat(1_000))).is_err());
    let nested = |depth: usize| format!("{}{}", "<a>".repeat(depth), "</a>".repeat(depth));
    assert!(flat(&nested(MAX_DEPTH)).is_ok());
    assert!(flat(&nested(MAX_DEPTH + 1)).is_err());
    let mut deep_in_skip = Reader::open("<r><a><!DOCTYPE x></a></r>").unwrap().0;
    deep_in_skip.child().unwrap();
    assert!(deep_in_skip.skip().is_err());
}

/// What a general reader makes of the same document.
fn flat_by_quick_xml(text: &str) -> Option<Vec<String>> {
    let mut reader = quick_xml::Reader::from_str(text);
    reader.config_mut().expand_empty_elements = true;
    let (mut out, mut depth, mut leaf) = (Vec::new(), 0, None::<String>);
    loop {
        let event = reader.read_event().ok()?;
        match (&event, &mut leaf) {
            (Event::Start(start), None) => {
                let name = start.local_name().as_ref().to_owned();
                leaf = name.starts_with("leaf").then(String::new);
                out.push(name);
                depth += 1;
            }
            (Event::End(_), _) => {
                out.extend(leaf.take());
                depth -= 1;
                if depth > 0 {
                    out.push("/".to_owned());
                }
            }
            (Event::Text(text), Some(leaf)) => leaf.push_str(text),
            (Event::CData(data), Some(leaf)) => leaf.push_str(data),
            (Event::GeneralRef(name), Some(leaf)) => match name.resolve_char_ref().ok()? {
                Some(character) => leaf.push(character),
                None => leaf.push_str(quick_xml::escape::resolve_predefined_entity(name)?),
            },
            (Event::Text(text), None) if text.trim().is_empty() => {}
            (Event::Comment(_) | Event::PI(_) | Event::Decl(_), _) => {}
            (Event::Eof, _) => return (depth == 0).then_some(out),
            _ => return None,
        }
    }
}

proptest! {
    /// Pieces of markup in any order: what we accept, the general reader accepts and understands alike.
    #[test]
    fn agrees_with_quick_xml(
        pieces in prop::collection::vec(prop::sample::select(vec![
            "<leaf>", "</leaf>", "<a>", "</a>", "<n:a>", "</n:a>", "<leaf/>", "<a/>", " ", "x", "&lt;", "&#x1;", "&#65;",
            "<!-- c -->", "<![CDATA[&<]]>", "<?p i?>", "<leaf b='c'>", "\r\n", "é", "&", "<", ">", "]]>", "'",
        ]), 0..24)
    ) {
        let text = format!("<r>{}</r>", pieces.concat());
        if let Ok(ours) = flat(&text) {
            prop_assert_eq!(Some(ours), flat_by_quick_xml(&text), "{}", text);
        }
    }

    #[test]
    fn never_panics(text in "[<>/!?\\-&;#xa\"'= \\[\\]CDATé]{0,48}") {
        prop_assert!(flat(&text).map_or(true, |out| !out.is_empty()));
    }
}
