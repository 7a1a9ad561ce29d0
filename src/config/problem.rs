//! What is wrong with a configuration: each problem says where it is and what was expected, and never what
//! was there, since that may be a secret in the wrong place.

use std::fmt;

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// The file's path or the environment variable's name.
    pub source: String,
    /// `server.listen`, `users[1].access_keys[0].id`; empty when it is the whole source.
    pub key: String,
    /// Line and column, from 1.
    pub position: Option<(usize, usize)>,
    /// What was expected, as a phrase.
    pub expected: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)?;
        if let Some((line, column)) = self.position {
            write!(f, ":{line}:{column}")?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        write!(f, ": {}", self.expected)
    }
}

/// Every problem of a configuration, one per line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problems(pub(super) Vec<Problem>);

impl Problems {
    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.0.iter()
    }
}

impl<'a> IntoIterator for &'a Problems {
    type Item = &'a Problem;
    type IntoIter = std::slice::Iter<'a, Problem>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}
