//! The access log: one line per request, when its last body ended, failed or was dropped. Text from clients is
//! escaped, so a line is always a line. Signatures and tokens never get here: the query is not logged.
//! Lines go to a writer thread over a bounded queue; a stuck terminal loses lines, never requests.

use std::io::Write;
use std::net::IpAddr;

use serde::Serialize;
use tracing_appender::non_blocking::NonBlocking;

use crate::config::LogFormat;

#[derive(Serialize)]
pub struct Entry<'a> {
    pub request_id: &'a str,
    pub user: Option<&'a str>,
    pub auth: Option<&'static str>,
    pub operation: Option<&'static str>,
    pub bucket: Option<&'a str>,
    pub key: Option<&'a str>,
    pub status: u16,
    /// The S3 error code, or why an answer did not reach its end.
    pub code: Option<&'static str>,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub duration_ms: f64,
    pub ttfb_ms: Option<f64>,
    pub upstream_ms: Option<f64>,
    pub remote: IpAddr,
    pub user_agent: Option<&'a str>,
}

#[derive(Serialize)]
struct Line<'a> {
    timestamp: String,
    level: &'static str,
    target: &'static str,
    #[serde(flatten)]
    entry: &'a Entry<'a>,
}

#[derive(Clone)]
pub struct AccessLog {
    writer: Option<NonBlocking>,
    format: LogFormat,
}

impl AccessLog {
    pub fn new(writer: NonBlocking, format: LogFormat) -> Self {
        Self { writer: Some(writer), format }
    }

    pub fn off() -> Self {
        Self { writer: None, format: LogFormat::Json }
    }

    pub fn write(&self, entry: &Entry<'_>) {
        let Some(mut writer) = self.writer.clone() else {
            return;
        };
        let timestamp = humantime::format_rfc3339_millis(crate::now()).to_string();
        let mut line = Vec::with_capacity(512);
        let written = match self.format {
            LogFormat::Json => {
                serde_json::to_writer(&mut line, &Line { timestamp, level: "INFO", target: "access", entry })
                    .map_err(std::io::Error::from)
            }
            LogFormat::Text => write_text(&mut line, &timestamp, entry),
        };
        line.push(b'\n');
        // The queue takes whole lines or drops them; there is nobody to tell about a lost log line.
        written.and_then(|()| writer.write_all(&line)).ok();
    }
}

fn write_text(line: &mut Vec<u8>, timestamp: &str, entry: &Entry<'_>) -> std::io::Result<()> {
    let fields = serde_json::to_value(entry)?;
    write!(line, "{timestamp}  INFO access:")?;
    for (name, value) in fields.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null()) {
        write!(line, " {name}={value}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry<'a>(key: &'a str, user_agent: &'a str) -> Entry<'a> {
        Entry {
            request_id: "0123",
            user: Some("alice"),
            auth: Some("sigv4"),
            operation: Some("GetObject"),
            bucket: Some("datasets"),
            key: Some(key),
            status: 200,
            code: None,
            bytes_in: 0,
            bytes_out: 5,
            duration_ms: 1.5,
            ttfb_ms: Some(1.0),
            upstream_ms: None,
            remote: IpAddr::from([127, 0, 0, 1]),
            user_agent: Some(user_agent),
        }
    }

    fn written(format: LogFormat, entry: &Entry<'_>) -> String {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let (writer, guard) = tracing_appender::non_blocking(file.reopen().expect("the file"));
        AccessLog::new(writer, format).write(entry);
        drop(guard);
        std::fs::read_to_string(file.path()).expect("the log")
    }

    #[test]
    fn a_line_is_a_line_whatever_the_client_sends() {
        let nasty = entry("a\r\nb\u{1b}[31m", "x\n{\"user\":\"bob\"}");
        for format in [LogFormat::Json, LogFormat::Text] {
            let text = written(format, &nasty);
            assert_eq!(text.lines().count(), 1, "{text}");
            assert!(!text.contains('\u{1b}') && !text.contains('\r'), "{text}");
        }
        let line: serde_json::Value = serde_json::from_str(&written(LogFormat::Json, &nasty)).expect("JSON");
        assert_eq!(line["key"], "a\r\nb\u{1b}[31m");
        assert_eq!(line["user"], "alice");
        assert!(line["timestamp"].as_str().is_some_and(|time| time.ends_with('Z')));
    }
}
