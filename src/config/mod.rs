//! The configuration. In: a TOML file, the environment, a `.env.local`. Out: one complete, valid [`Config`]
//! with its warnings, or every problem at once, none of them quoting a value.
//!
//! Two steps: `raw` and `layers` say what was said, where, and who is believed; `build` and its neighbours
//! make of it what the program needs (`model`). `schema` lists every key there is.

mod api_key;
mod buckets;
mod build;
mod change;
mod layers;
mod limits;
mod masked;
mod model;
mod prefix;
mod problem;
mod raw;
mod rules;
mod schema;
mod section;
#[cfg(test)]
mod tests;
mod units;
mod upstream;
mod users;
mod warnings;

use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

pub use api_key::ApiKey;
pub use limits::LimitKey;
pub use model::*;
pub use prefix::PrefixTemplate;
pub use problem::{Problem, Problems};
pub use units::{Limit, format_duration, format_size, parse_duration, parse_size};
pub use warnings::Unbuilt;

/// The largest configuration file, in bytes.
const MAX_FILE: u64 = 16 << 20;

/// What a configuration is loaded from.
#[derive(Clone)]
pub struct Sources {
    pub file: Option<PathBuf>,
    /// The process environment, as name and value.
    pub env: Vec<(String, String)>,
    /// Relative paths from the environment start here; so does `.env.local`.
    pub working_dir: PathBuf,
}

/// A configuration and what its operator should know about it, one line each.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub config: Config,
    pub warnings: Vec<String>,
}

impl Config {
    /// Everything that `sources` say, or every problem with it.
    pub fn load(sources: &Sources) -> Result<Loaded, Problems> {
        let mut problems = Vec::new();
        let dot_env = match std::fs::read_to_string(sources.working_dir.join(".env.local")) {
            Ok(text) => layers::parse_dot_env(&Zeroizing::new(text), &mut problems),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(error) => {
                problems.push(unreadable(".env.local", &error));
                Vec::new()
            }
        };
        let mut file = None;
        if let Some(path) = &sources.file {
            let base = sources.working_dir.join(path).parent().map_or_else(PathBuf::new, Path::to_path_buf);
            let name = path.display().to_string();
            match read(&sources.working_dir.join(path)) {
                Ok(text) => file = Some(File { text, name, base }),
                Err(error) => {
                    problems.push(unreadable(&name, &error));
                    // What only the file knows would all be missing; that says nothing.
                    return Err(Problems(problems));
                }
            }
        }
        assemble(file.as_ref(), &sources.env, &dot_env, &sources.working_dir, problems)
    }

    /// A file's text alone, without any environment.
    pub fn from_toml(text: &str, base_dir: &Path) -> Result<Loaded, Problems> {
        let text = Zeroizing::new(text.to_owned());
        let file = File { text, name: "config".to_owned(), base: base_dir.to_owned() };
        assemble(Some(&file), &[], &[], base_dir, Vec::new())
    }

    /// Every key a file can hold: `server.listen`, `tiers.*.burst`, `users[].access_keys[].secret`.
    pub fn keys() -> Vec<String> {
        schema::keys().map(|(key, _)| key).collect()
    }
}

struct File {
    text: Zeroizing<String>,
    name: String,
    /// Relative paths in it start here.
    base: PathBuf,
}

fn assemble(
    file: Option<&File>,
    env: &[(String, String)],
    dot_env: &[(String, String)],
    working_dir: &Path,
    mut problems: Vec<Problem>,
) -> Result<Loaded, Problems> {
    let mut said = raw::Table::new();
    let mut broken = false;
    if let Some(file) = file {
        (said, broken) = raw::parse(&file.text, &file.name, &file.base, &mut problems);
    }
    let tree = layers::merge(said, env, dot_env, working_dir, &mut problems);
    let (home, base) = file.map_or(("environment", working_dir), |file| (&file.name, &file.base));
    let before = problems.len();
    let report = section::Report::new(home.to_owned(), base.to_owned(), problems);
    let config = build::build(&section::Section::root(&report, &tree));
    let mut problems = report.into_problems();
    if broken {
        // What stands in a line that is no TOML seems missing. Only what was read is judged.
        let lines: Vec<_> = problems[..before].iter().filter_map(line).collect();
        let mut index = 0;
        problems.retain(|problem| {
            index += 1;
            index <= before || line(problem).is_some_and(|line| !lines.contains(&line))
        });
    }
    match config {
        Some(config) if problems.is_empty() => {
            let warnings = warnings::warnings(&config, &tree);
            Ok(Loaded { config, warnings })
        }
        Some(_) | None => Err(Problems(problems)),
    }
}

fn line(problem: &Problem) -> Option<usize> {
    problem.position.map(|(line, _)| line)
}

fn read(path: &Path) -> std::io::Result<Zeroizing<String>> {
    if std::fs::metadata(path)?.len() > MAX_FILE {
        return Err(std::io::ErrorKind::FileTooLarge.into());
    }
    std::fs::read_to_string(path).map(Zeroizing::new)
}

fn unreadable(source: &str, error: &std::io::Error) -> Problem {
    let expected = format!("expected a readable file: {}", error.kind());
    Problem { source: source.to_owned(), key: String::new(), position: None, expected }
}
