//! Names and versions of toolchains.

use std::cmp::Ordering;
use std::fmt;

use super::rows::Rows;
use crate::{Error, ErrorKind, Result};

/// A toolchain at an exact version: `go1.11beta1` is `go` at `1.11beta1`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    toolchain: String,
    version: String,
}

impl Spec {
    /// From the name of a program: a row's name, then the version.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] when it is none.
    pub fn parse(name: &str, rows: &Rows) -> Result<Self> {
        let begins = name.find(|c: char| c.is_ascii_digit());
        let parts = begins.map(|at| name.split_at(at));
        if let Some((toolchain, version)) = parts
            && rows.row(toolchain).is_ok()
        {
            return Self::new(toolchain, version);
        }
        let known: Vec<&str> = rows.names().collect();
        let what = format!("{name:?} is not the name of a toolchain");
        Err(Error::new(ErrorKind::Invalid, what).with_hint(format!(
            "write it as go1.22.5 or node20.11.0; toolchains: {}",
            known.join(", ")
        )))
    }

    /// A toolchain and an exact version.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] when the version is not one that can be part of a file's name.
    pub fn new(toolchain: &str, version: &str) -> Result<Self> {
        let plain = version.len() <= 64
            && version.starts_with(|c: char| c.is_ascii_digit())
            && version
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'+'))
            && !version.contains("..")
            && !version.ends_with('.');
        if plain && (toolchain != "go" || is_go(version)) {
            return Ok(Self {
                toolchain: toolchain.to_owned(),
                version: version.to_owned(),
            });
        }
        let what = format!("{version:?} is not a version of {toolchain}");
        Err(Error::new(ErrorKind::Invalid, what))
    }

    /// The name of its row.
    pub fn toolchain(&self) -> &str {
        &self.toolchain
    }

    /// The version alone.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The order of releases: 1.9 before 1.10beta1, that before 1.10rc1, that before 1.10.
    #[must_use]
    pub fn cmp_version(&self, other: &Self) -> Ordering {
        key(&self.version).cmp(&key(&other.version))
    }
}

impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.toolchain, self.version)
    }
}

/// Numbers with dots, then `beta` or `rc` and a number: every Go release, past and to come.
fn is_go(version: &str) -> bool {
    let number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let (numbers, before) = match version.find(|c: char| c.is_ascii_alphabetic()) {
        Some(at) => version.split_at(at),
        None => (version, ""),
    };
    let before = before.strip_prefix("beta").or(before.strip_prefix("rc"));
    numbers.split('.').all(number) && (numbers.len() == version.len() || before.is_some_and(number))
}

/// What versions are compared by: numbers, then whether it comes before the release, then how.
fn key(version: &str) -> (Vec<u64>, bool, String, u64) {
    let at = version.find(|c: char| c != '.' && !c.is_ascii_digit());
    let (numbers, before) = version.split_at(at.unwrap_or(version.len()));
    let mut numbers: Vec<u64> = numbers
        .split('.')
        .map(|n| n.parse().unwrap_or(u64::MAX))
        .collect();
    while numbers.last() == Some(&0) {
        numbers.pop();
    }
    let digits = before
        .find(|c: char| c.is_ascii_digit())
        .unwrap_or(before.len());
    let (word, number) = before.split_at(digits);
    (
        numbers,
        before.is_empty(),
        word.to_owned(),
        number.parse().unwrap_or(0),
    )
}

/// The newest of `versions` that `wanted` is the beginning of: of 1.21.5, 1.22, 1.22.1 and 1.220
/// `1.22` means 1.22.1. Versions before a release count only when they are named whole.
pub fn newest<'a>(wanted: &str, versions: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let fits = |version: &&str| {
        let rest = version.strip_prefix(wanted);
        let released = version.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        *version == wanted || (released && rest.is_some_and(|rest| rest.starts_with('.')))
    };
    let versions = versions.into_iter().filter(fits);
    versions.max_by(|a, b| key(a).cmp(&key(b)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_go_release_is_a_name_and_nothing_else() {
        let rows = Rows::default();
        for name in [
            "go1",
            "go1.8",
            "go1.8.7",
            "go1.9.2rc2",
            "go1.11beta1",
            "go1.22rc1",
            "go1.99.0",
            "node20.11.0",
            "node21.0.0-rc.1",
        ] {
            assert_eq!(Spec::parse(name, &rows).unwrap().to_string(), name);
        }
        for name in [
            "",
            "go",
            "gotip",
            "go1.",
            "go1..8",
            "go1.8alpha1",
            "go1.8beta",
            "go1.8/..",
            "goo1",
            "x1.2",
            "go1.8 ",
            "node20/../../x",
            "node20..1",
        ] {
            assert!(Spec::parse(name, &rows).is_err(), "{name}");
        }
    }

    #[test]
    fn versions_are_in_the_order_of_releases() {
        let order = [
            "1.8.7",
            "1.9beta1",
            "1.9beta2",
            "1.9rc1",
            "1.9rc2",
            "1.9",
            "1.9.1",
            "1.10beta1",
            "1.10",
        ];
        for pair in order.windows(2) {
            assert!(key(pair[0]) < key(pair[1]), "{pair:?}");
        }
    }

    #[test]
    fn the_beginning_of_a_version_means_the_newest() {
        let versions = ["1.21.5", "1.22", "1.22.10", "1.22.9", "1.220", "1.23rc1"];
        assert_eq!(newest("1.22", versions), Some("1.22.10"));
        assert_eq!(newest("1", versions), Some("1.220"));
        assert_eq!(newest("1.22.9", versions), Some("1.22.9"));
        assert_eq!(newest("1.23", versions), None);
        assert_eq!(newest("1.23rc1", versions), Some("1.23rc1"));
        assert_eq!(newest("2", versions), None);
    }
}
