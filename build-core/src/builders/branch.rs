use std::fmt;
use std::str::FromStr;

/// A version of Go, as far as policies look: `1.15`. The default is 0.0, older than all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Deserialize)]
#[serde(try_from = "String")]
pub struct GoVersion {
    /// The first number.
    pub major: u16,
    /// The second.
    pub minor: u16,
}

impl GoVersion {
    /// Version 1.`minor`.
    #[must_use]
    pub fn go1(minor: u16) -> Self {
        Self { major: 1, minor }
    }
}

impl fmt::Display for GoVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl FromStr for GoVersion {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts = text.split_once('.');
        let parsed = parts.and_then(|(major, minor)| {
            Some(Self {
                major: number(major)?,
                minor: number(minor)?,
            })
        });
        parsed.ok_or_else(|| format!("{text:?} is not a Go version such as \"1.15\""))
    }
}

impl TryFrom<String> for GoVersion {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

/// A branch of one release: `release-branch.go1.15`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReleaseBranch(pub GoVersion);

impl ReleaseBranch {
    /// Reads the name of a branch; `None` for every other branch. `release-branch.go2` is 2.0,
    /// which has no name with a zero.
    #[must_use]
    pub fn parse(branch: &str) -> Option<Self> {
        let version = branch.strip_prefix("release-branch.go")?;
        let (major, minor) = version.split_once('.').unwrap_or((version, "0"));
        let written_zero = version.ends_with(".0");
        let version = GoVersion {
            major: number(major)?,
            minor: number(minor)?,
        };
        (version.major > 0 && !written_zero).then_some(Self(version))
    }
}

/// A number of at most three digits, without a sign or leading zeros.
fn number(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    let canonical = digits && text.len() <= 3 && (text == "0" || !text.starts_with('0'));
    canonical.then(|| text.parse().ok()).flatten()
}

/// Whether a branch has Go 1.`minor` or a later 1: the main branch, development branches, and
/// release branches from that on. A branch that is none of them has not.
#[must_use]
pub fn at_least_go1(branch: &str, minor: u16) -> bool {
    let release = ReleaseBranch::parse(branch);
    branch == "master"
        || branch.starts_with("dev.")
        || release.is_some_and(|branch| branch.0.major == 1 && branch.0.minor >= minor)
}

/// Whether a branch is a release branch of Go 1 up to 1.`minor`.
#[must_use]
pub fn at_most_go1(branch: &str, minor: u16) -> bool {
    let release = ReleaseBranch::parse(branch);
    release.is_some_and(|branch| branch.0.major == 1 && branch.0.minor <= minor)
}
