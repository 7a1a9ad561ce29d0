//! `bucketwarden reconcile`: recounts users from the bucket, and shows how it goes: a bar on a terminal, one line
//! per user otherwise. Fails if any user could not be recounted.

use std::io::{IsTerminal as _, Write};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use clap::Args;
use http::Method;
use http_body::Body;
use http_body_util::BodyExt as _;
use serde_json::json;

use super::admin::Gateway;
use super::table::size;
use super::{Failure, runtime};
use crate::admin::{Event, Line};

#[derive(Args)]
pub(super) struct Arguments {
    /// The users
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    users: Vec<String>,
    /// All users
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    gateway: Gateway,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let api = arguments.gateway.connect()?;
    let who = if arguments.all { json!({ "all": true }) } else { json!({ "users": arguments.users }) };
    runtime()?.block_on(async {
        let answer = api.send(Method::POST, "/api/v1/admin/reconcile", Some(&who)).await?;
        let mut out = std::io::stdout();
        let bar = out.is_terminal();
        show(answer.into_body(), bar, &mut out).await
    })?;
    Ok(())
}

/// How far it is.
#[derive(Default)]
struct Seen {
    done: u64,
    failed: u64,
    of: u64,
}

async fn show<B>(mut body: B, bar: bool, out: &mut impl Write) -> anyhow::Result<()>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<anyhow::Error>,
{
    let (mut seen, mut waiting) = (Seen::default(), Vec::new());
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(Into::into).context("the gateway's answer broke off")?.into_data()
        else {
            continue;
        };
        waiting.extend_from_slice(&data);
        while let Some(end) = waiting.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = waiting.drain(..=end).collect();
            let line: Line = serde_json::from_slice(&line).context("a line that is none that is known")?;
            write!(out, "{}", seen.take(&line, bar)).context("standard output")?;
            out.flush().context("standard output")?;
        }
    }
    if bar {
        writeln!(out, "{CLEAR}{} of {} users recounted", seen.done, seen.of).context("standard output")?;
    }
    if seen.failed > 0 {
        bail!("{} of {} users could not be recounted", seen.failed, seen.of);
    }
    if seen.done < seen.of {
        bail!("the gateway stopped after {} of {} users", seen.done, seen.of);
    }
    Ok(())
}

/// Back to the start of a line that is empty.
const CLEAR: &str = "\r\u{1b}[K";
const BAR: u64 = 24;

impl Seen {
    /// What a line looks like.
    fn take(&mut self, line: &Line, bar: bool) -> String {
        self.of = line.of;
        let user = &line.user_id;
        let outcome = match &line.event {
            Event::Counting { objects, bytes } if bar => {
                return format!("{CLEAR}{} {user}: {objects} objects, {}", self.bar(), size(*bytes));
            }
            Event::Counting { .. } => return String::new(),
            Event::Done { objects, bytes, found_bytes, missing_bytes, .. } => {
                self.done += 1;
                let drift = match (found_bytes, missing_bytes) {
                    (0, 0) => "as the ledger had it".to_owned(),
                    (found, 0) => format!("{} more than the ledger had", size(*found)),
                    (0, missing) => format!("{} less than the ledger had", size(*missing)),
                    (found, missing) => {
                        format!("{} that the ledger had not, {} that were gone", size(*found), size(*missing))
                    }
                };
                format!("{user}: {objects} objects, {}, {drift}\n", size(*bytes))
            }
            Event::Failed { error } => {
                self.failed += 1;
                format!("{user}: failed: {error}\n")
            }
        };
        if bar { format!("{CLEAR}{outcome}{}", self.bar()) } else { outcome }
    }

    fn bar(&self) -> String {
        let ended = self.done + self.failed;
        let full = (ended * BAR).checked_div(self.of).unwrap_or(0).min(BAR);
        let cells: String = (0..BAR).map(|cell| if cell < full { '#' } else { '.' }).collect();
        format!("[{cells}] {ended}/{}", self.of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(user: &str, event: Event) -> Line {
        Line { user_id: user.to_owned(), event, number: 1, of: 2 }
    }

    fn done(found_bytes: u64, missing_bytes: u64) -> Event {
        let drift_bytes = found_bytes + missing_bytes;
        Event::Done { objects: 3, bytes: 2048, drift_bytes, found_bytes, missing_bytes }
    }

    #[test]
    fn one_line_per_user_where_nobody_watches() {
        let mut seen = Seen::default();
        assert_eq!(seen.take(&line("a", Event::Counting { objects: 1, bytes: 1 }), false), "");
        let told = seen.take(&line("a", done(0, 0)), false);
        assert_eq!(told, "a: 3 objects, 2.0 KiB, as the ledger had it\n");
        let told = seen.take(&line("b", done(1024, 0)), false);
        assert_eq!(told, "b: 3 objects, 2.0 KiB, 1.0 KiB more than the ledger had\n");
        let told = seen.take(&line("c", Event::Failed { error: "why".into() }), false);
        assert_eq!(told, "c: failed: why\n");
        assert_eq!((seen.done, seen.failed, seen.of), (2, 1, 2));
    }

    #[tokio::test]
    async fn it_fails_if_anybody_was_not_recounted() {
        let text = |lines: &[Line]| -> String {
            lines.iter().map(|line| serde_json::to_string(line).expect("a line") + "\n").collect()
        };
        let show = async |lines: &[Line]| {
            let mut out = Vec::new();
            let shown = show(http_body_util::Full::<Bytes>::from(text(lines)), false, &mut out).await;
            (shown.map_err(|error| error.to_string()), String::from_utf8(out).expect("text"))
        };
        let (shown, out) = show(&[line("a", done(0, 0)), line("b", done(0, 0))]).await;
        assert_eq!((shown, out.lines().count()), (Ok(()), 2));
        let (shown, out) =
            show(&[line("a", Event::Failed { error: "why".into() }), line("b", done(0, 0))]).await;
        assert_eq!(shown, Err("1 of 2 users could not be recounted".to_owned()));
        assert!(out.contains("a: failed: why\n") && out.contains("b: 3 objects"), "{out}");
        let (shown, _) = show(&[line("a", done(0, 0))]).await;
        assert_eq!(shown, Err("the gateway stopped after 1 of 2 users".to_owned()));
    }

    #[test]
    fn a_bar_on_a_terminal() {
        let mut seen = Seen::default();
        let told = seen.take(&line("a", Event::Counting { objects: 1000, bytes: 1 << 30 }), true);
        assert_eq!(told, "\r\u{1b}[K[........................] 0/2 a: 1000 objects, 1.0 GiB");
        let told = seen.take(&line("a", done(0, 1)), true);
        assert!(told.starts_with("\r\u{1b}[Ka: 3 objects"), "{told:?}");
        assert!(told.ends_with("\n[############............] 1/2"), "{told:?}");
    }
}
