//! A listing of several windows, made to look like one of a bucket that holds just what they show. In: the windows,
//! what the client asks, and a way to ask the upstream for one run of names. Out: the portions of a page, and where
//! the next page begins. Pure but for that way to ask.
//!
//! Names between windows are other people's and are never listed: the cost depends on the caller's own. One call lists
//! a window; a window that folds into a common prefix takes one look whether it holds anything. A page ends when it is
//! full and it is known whether more follows, or after [`MOST_CALLS`]; windows ahead are asked for a few at once.

use futures_util::future::{BoxFuture, try_join_all};

use crate::error::Result;
use crate::s3::xml::{Next, Portion};

/// Runs asked for at once; a page begins with one, and doubles.
const AT_ONCE: usize = 8;
/// What is asked of a run whose turn has not come: most jobs have fewer logs, and no more is held for nothing.
const AHEAD: u32 = 100;
/// Runs that one page asks for. More can be needed only where most of a caller's windows are empty.
const MOST_CALLS: usize = 1000;

/// What is in a run, at most so many entries of it.
pub(super) trait Source: Sync {
    fn portion<'a>(&'a self, run: &'a Run, max: u32) -> BoxFuture<'a, Result<Portion>>;
}

/// Names in order that one listing of the upstream can show.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Run {
    /// No name of an earlier run is greater, none of a later one is less. Names the run in tokens.
    start: String,
    /// All names begin so, …
    pub prefix: String,
    /// … come after this, …
    pub from: Option<Next>,
    /// … and before this.
    pub until: Option<String>,
    /// All that a client sees of them.
    pub folds_into: Option<String>,
}

/// A place between runs or in one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Place {
    /// Where the run starts in which it goes on.
    run: String,
    /// Where in it, by the upstream's word.
    within: Option<Next>,
    /// The greatest name before.
    after: String,
}

impl Place {
    /// The place as a token for V2, to be sealed.
    pub(super) fn token(&self) -> String {
        match &self.within {
            Some(Next::Token(token)) => [&self.run, "\0", token].concat(),
            Some(Next::After { .. }) | None => self.run.clone(),
        }
    }

    /// The place as a marker.
    pub(super) fn marker(self) -> Next {
        self.within.unwrap_or(Next::After { name: self.after, id: None })
    }
}

impl Run {
    fn whole(prefix: String) -> Self {
        Self { start: prefix.clone(), prefix, from: None, until: None, folds_into: None }
    }

    fn is_shown_as(&self, name: &str) -> bool {
        self.folds_into.as_deref() == Some(name)
    }

    /// What is left of it after a marker.
    fn after(mut self, marker: &str, id: Option<&str>) -> Option<Self> {
        let inside = marker.starts_with(&self.prefix);
        let passed = self.is_shown_as(marker)
            || self.until.as_deref().is_some_and(|until| until <= marker)
            || (!inside && self.prefix.as_str() < marker);
        if passed {
            return None;
        }
        if inside && self.start.as_str() <= marker {
            self.from = Some(Next::After { name: marker.to_owned(), id: id.map(str::to_owned) });
        }
        Some(self)
    }
}

/// A name that comes after every likely one that begins so: keys do not hold the last of all characters.
fn past(prefix: &str) -> String {
    format!("{prefix}{}", char::MAX)
}

/// The runs of a listing, in order. `windows` are in order too, and none lies in another.
pub(super) fn all<'w>(
    windows: impl Iterator<Item = &'w str>,
    prefix: &str,
    delimiter: Option<&str>,
) -> Vec<Run> {
    let mut runs = Vec::new();
    for window in windows {
        if prefix.starts_with(window) {
            return vec![Run::whole(prefix.to_owned())];
        }
        let Some(rest) = window.strip_prefix(prefix) else { continue };
        let whole = Run::whole(window.to_owned());
        match delimiter.map(|delimiter| (delimiter, rest.find(delimiter))) {
            None => runs.push(whole),
            Some((delimiter, Some(at))) => {
                let common = window[..prefix.len() + at + delimiter.len()].to_owned();
                runs.push(Run { folds_into: Some(common), ..whole });
            }
            Some((delimiter, None)) => split(whole, rest, delimiter, &mut runs),
        }
    }
    runs
}

/// A delimiter of several characters may begin in the window's own name and end in the keys'. The upstream looks for it
/// only after the prefix it is given, so what folds there is a run of its own.
fn split(window: Run, rest: &str, delimiter: &str, runs: &mut Vec<Run>) {
    let cuts = delimiter.char_indices().map(|(at, _)| delimiter.split_at(at));
    let mut tails: Vec<&str> =
        cuts.filter(|(head, _)| !head.is_empty() && rest.ends_with(head)).map(|(_, tail)| tail).collect();
    tails.sort_unstable();
    // The first place where the delimiter is found counts, and that is where the shorter tail belongs.
    tails.dedup_by(|tail, shorter| tail.starts_with(&**shorter));
    let mut left = window;
    for tail in tails {
        let common = [&left.prefix, tail].concat();
        runs.push(Run { until: Some(common.clone()), ..left.clone() });
        runs.push(Run { folds_into: Some(common.clone()), ..Run::whole(common.clone()) });
        left.start = past(&common);
        left.from = Some(Next::After { name: left.start.clone(), id: None });
    }
    runs.push(left);
}

/// What is left of the runs from a place on.
pub(super) fn from(runs: Vec<Run>, place: Option<Next>) -> Vec<Run> {
    match place {
        None => runs,
        Some(Next::After { name, id }) => {
            runs.into_iter().filter_map(|run| run.after(&name, id.as_deref())).collect()
        }
        Some(Next::Token(token)) => {
            let (start, token) = match token.split_once('\0') {
                Some((start, token)) => (start, Some(token)),
                None => (token.as_str(), None),
            };
            let mut left: Vec<Run> = runs.into_iter().filter(|run| run.start.as_str() >= start).collect();
            // If its window is not the caller's any more, the next one begins.
            if let (Some(run), Some(token)) = (left.first_mut().filter(|run| run.start == start), token) {
                run.from = Some(Next::Token(token.to_owned()));
            }
            left
        }
    }
}

/// Fills a page of at most `max` entries.
pub(super) async fn fill(
    runs: Vec<Run>,
    max: u32,
    source: &impl Source,
) -> Result<(Vec<Portion>, Option<Place>)> {
    let mut portions: Vec<Portion> = Vec::new();
    let (mut left, mut calls, mut at_once) = (u64::from(max), 0, 1);
    // The greatest name so far: also the common prefix that has been shown.
    let mut last = String::new();
    let mut rest = runs.as_slice();
    loop {
        rest = &rest[rest.iter().take_while(|run| run.is_shown_as(&last)).count()..];
        let (now, later) = rest.split_at(at_once.min(rest.len()));
        if now.is_empty() {
            return Ok((portions, None));
        }
        // Nothing fits any more, but whether something follows must be known.
        let fits = u32::try_from(left).unwrap_or(max).max(1);
        let asked = if at_once == 1 { fits } else { fits.min(AHEAD) };
        let found = try_join_all(now.iter().map(|run| source.portion(run, asked))).await?;
        for (run, mut portion) in now.iter().zip(found) {
            if (portion.count == 0 && portion.next.is_none()) || run.is_shown_as(&last) {
                continue;
            }
            if left == 0 {
                return Ok((portions, Some(Place { run: run.start.clone(), within: None, after: last })));
            }
            let fits = u32::try_from(left).unwrap_or(max);
            if portion.count > left || (portion.next.is_some() && asked < fits) {
                portion = source.portion(run, fits).await?;
            }
            left = left.saturating_sub(portion.count);
            if let Some(name) = &portion.last {
                last.clone_from(name);
            }
            let next = portion.next.take();
            portions.push(portion);
            if next.is_some() {
                return Ok((portions, Some(Place { run: run.start.clone(), within: next, after: last })));
            }
        }
        calls += now.len();
        at_once = AT_ONCE.min(at_once * 2);
        rest = later;
        if let (Some(done), Some(run)) = (now.last().filter(|run| run.until.is_none()), rest.first())
            && calls >= MOST_CALLS
        {
            let place = Place { run: run.start.clone(), within: None, after: past(&done.prefix) };
            return Ok((portions, Some(place)));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Windows that hold nothing, but for the last one.
    struct Empty {
        last: String,
        asked: AtomicUsize,
    }

    impl Source for Empty {
        fn portion<'a>(&'a self, run: &'a Run, _: u32) -> BoxFuture<'a, Result<Portion>> {
            self.asked.fetch_add(1, Ordering::Relaxed);
            let mut portion = Portion::default();
            portion.count = u64::from(run.prefix == self.last);
            Box::pin(async move { Ok(portion) })
        }
    }

    #[tokio::test]
    async fn a_page_ends_after_so_many_calls_and_the_next_goes_on_there() {
        let windows: Vec<String> = (0..2500).map(|n| format!("job{n:04}/")).collect();
        let source = Empty { last: windows[2499].clone(), asked: AtomicUsize::new(0) };
        for as_token in [true, false] {
            let (mut place, mut pages, mut found) = (None, 0, 0);
            loop {
                let runs = from(all(windows.iter().map(String::as_str), "", None), place);
                let (portions, next) = fill(runs, 1000, &source).await.expect("a page");
                found += portions.len();
                pages += 1;
                let asked = source.asked.swap(0, Ordering::Relaxed);
                assert!(asked < MOST_CALLS + AT_ONCE, "{asked}");
                let Some(next) = next else { break };
                place = Some(if as_token { Next::Token(next.token()) } else { next.marker() });
            }
            assert_eq!((pages, found), (3, 1));
        }
    }

    #[test]
    fn a_token_of_a_window_that_is_gone_goes_on_with_the_next() {
        let runs = |windows: &[&'static str]| all(windows.iter().copied(), "", None);
        let token = || Some(Next::Token("b/\0upstream's".to_owned()));
        let left = from(runs(&["a/", "b/", "c/"]), token());
        assert_eq!(left.iter().map(|run| &*run.prefix).collect::<Vec<_>>(), ["b/", "c/"]);
        assert_eq!(left[0].from, Some(Next::Token("upstream's".to_owned())));
        let left = from(runs(&["a/", "c/"]), token());
        assert_eq!((left.len(), left[0].from.clone()), (1, None));
    }

    #[test]
    fn a_delimiter_may_begin_in_a_window_and_end_in_its_keys() {
        let runs = all(["x/a/"].into_iter(), "x/", Some("/a/a"));
        let shape: Vec<_> = runs
            .iter()
            .map(|run| (&*run.prefix, run.from.is_some(), run.until.as_deref(), run.folds_into.as_deref()))
            .collect();
        assert_eq!(
            shape,
            [
                ("x/a/", false, Some("x/a/a/a"), None),
                ("x/a/a/a", false, None, Some("x/a/a/a")),
                ("x/a/", true, None, None),
            ]
        );
        // Where two could begin, the first one counts.
        let runs = all(["x/a/"].into_iter(), "x", Some("/a/a"));
        assert_eq!(runs.len(), 3);
        assert_eq!(runs[1].folds_into.as_deref(), Some("x/a/a"));
    }
}
