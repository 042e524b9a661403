//! What `tip` is told: sources, how a side is built and started, and when it is good.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use build_core::{Error, ErrorKind, Result};
use serde::Deserialize;

/// Presets, by the word that `TIP_BUILDER` has.
const PRESETS: [(&str, &str); 2] = [
    ("golangorg", include_str!("presets/golangorg.toml")),
    ("talks", include_str!("presets/talks.toml")),
];

/// How a site is made from the newest commits of its sources.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Repositories whose newest commits make a side.
    #[serde(rename = "source")]
    pub sources: Vec<Source>,
    /// Commands that build a side, in order.
    #[serde(rename = "step", default)]
    pub steps: Vec<Step>,
    /// The command that serves a side.
    pub serve: Serve,
    /// When a side is good.
    #[serde(default)]
    pub probe: Probe,
    /// Seconds between two looks at the sources.
    #[serde(default = "every")]
    pub every_seconds: f64,
    /// Seconds for which the side before goes on beside a new one, to be switched back to.
    #[serde(default = "settle")]
    pub settle_seconds: f64,
    /// Good sides of before that are kept on disk.
    #[serde(default = "keep")]
    pub keep: usize,
    /// Seconds until a side that failed is built again; doubled each time, an hour at most.
    #[serde(default = "retry")]
    pub retry_seconds: f64,
    /// Hosts that are answered by sending the browser elsewhere: host to address.
    #[serde(default)]
    pub redirect: BTreeMap<String, String>,
}

/// A repository.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// Its directory in a side, and its name in the signature.
    pub name: String,
    /// Where git fetches it from.
    pub url: String,
    /// The branch that is followed.
    #[serde(default = "branch")]
    pub branch: String,
}

/// A command that builds. `{side}` in its words is the side's directory.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// The program and its arguments; no shell reads them.
    pub command: Vec<String>,
    /// Where, below the side's directory.
    #[serde(default)]
    pub dir: String,
    /// Variables.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Seconds it may take.
    #[serde(default = "step_limit")]
    pub limit_seconds: f64,
}

/// The command that serves a side: `{side}` and `{port}` are replaced; it listens on loopback.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Serve {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// Where, below the side's directory.
    #[serde(default)]
    pub dir: String,
    /// Variables.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
}

/// When a side is good: what it answers at a path.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Probe {
    /// The path.
    pub path: String,
    /// The status it answers with.
    pub status: u16,
    /// What the answer must hold.
    pub contains: String,
    /// What the answer must not hold; empty for nothing.
    pub lacks: String,
    /// Seconds a new side may take until it is good.
    pub within_seconds: f64,
    /// Seconds between two looks.
    pub every_seconds: f64,
}

impl Default for Probe {
    fn default() -> Self {
        Self {
            path: "/".to_owned(),
            status: 200,
            contains: String::new(),
            lacks: String::new(),
            within_seconds: 600.0,
            every_seconds: 1.0,
        }
    }
}

fn every() -> f64 {
    30.0
}
fn settle() -> f64 {
    5.0
}
fn keep() -> usize {
    2
}
fn retry() -> f64 {
    60.0
}
fn branch() -> String {
    "master".to_owned()
}
fn step_limit() -> f64 {
    3600.0
}

impl Config {
    /// Reads a configuration in TOML; `name` is for errors.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] with the line that is wrong, or what is missing.
    pub fn parse(text: &str, name: &str) -> Result<Self> {
        let config: Self = toml::from_str(text)
            .map_err(|e| Error::caused_by(ErrorKind::Invalid, format!("read {name}"), e))?;
        config
            .check()
            .map_err(|e| e.while_doing(format!("read {name}")))?;
        Ok(config)
    }

    /// The preset `golangorg` or `talks`: the sites that the Go project served so.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] for another word.
    pub fn preset(name: &str) -> Result<Self> {
        match PRESETS.iter().find(|(known, _)| *known == name) {
            Some((_, text)) => Self::parse(text, name),
            None => Err(
                Error::new(ErrorKind::NotFound, format!("no site is called {name:?}"))
                    .with_hint("set TIP_BUILDER to golangorg or talks, or give -config FILE"),
            ),
        }
    }

    fn check(&self) -> Result<()> {
        let wrong = |text: String| Err(Error::new(ErrorKind::Invalid, text));
        if self.sources.is_empty() {
            return wrong("no [[source]] is named: there is nothing to follow".to_owned());
        }
        for source in &self.sources {
            let fine = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
            if source.name.is_empty() || !source.name.chars().all(fine) {
                return wrong(format!("a source cannot be called {:?}", source.name));
            }
            if source.url.is_empty() || source.url.starts_with('-') {
                return wrong(format!("{:?} names no repository", source.url));
            }
            if !crate::child::is_safe_ref(&source.branch) {
                return wrong(format!("{:?} names no branch", source.branch));
            }
            if self
                .sources
                .iter()
                .filter(|s| s.name == source.name)
                .count()
                > 1
            {
                return wrong(format!("two sources are called {}", source.name));
            }
        }
        if self.serve.command.is_empty() || self.steps.iter().any(|s| s.command.is_empty()) {
            return wrong("a command has no words".to_owned());
        }
        if !self.probe.path.starts_with('/') {
            return wrong(format!(
                "the probe's path {:?} begins without /",
                self.probe.path
            ));
        }
        let dirs = self.steps.iter().map(|s| &s.dir).chain([&self.serve.dir]);
        for dir in dirs {
            let mut parts = Path::new(dir).components();
            if !parts.all(|part| matches!(part, std::path::Component::Normal(_))) {
                return wrong(format!("the directory {dir:?} is not below the side's"));
            }
        }
        let times = [
            self.every_seconds,
            self.settle_seconds,
            self.retry_seconds,
            self.probe.within_seconds,
            self.probe.every_seconds,
        ];
        let limits = self.steps.iter().map(|s| s.limit_seconds);
        for seconds in times.into_iter().chain(limits) {
            if Duration::try_from_secs_f64(seconds).is_err() {
                return wrong(format!("{seconds} is no number of seconds"));
            }
        }
        Ok(())
    }
}

/// A number of seconds that was checked when it was read.
pub(super) fn seconds(number: f64) -> Duration {
    Duration::try_from_secs_f64(number).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_presets_are_valid_and_others_are_refused() {
        let go = Config::preset("golangorg").unwrap();
        let names: Vec<_> = go.sources.iter().map(|s| s.name.as_str()).collect();
        assert_eq!(names, ["go", "website"]);
        assert!(Config::preset("talks").is_ok());
        let error = Config::preset("beta").unwrap_err();
        assert!(error.hint().unwrap().contains("golangorg or talks"));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let minimal = "[[source]]\nname='a'\nurl='/r'\n[serve]\ncommand=['x']\n";
        assert!(Config::parse(minimal, "f").is_ok());
        for (change, told) in [
            (minimal.replace("'a'", "'../a'"), "cannot be called"),
            (
                minimal.replace("'/r'", "'--upload-pack=x'"),
                "names no repository",
            ),
            (minimal.replace("['x']", "[]"), "has no words"),
            (
                format!("settle_seconds = -1.0\n{minimal}"),
                "no number of seconds",
            ),
            (format!("colour = 1\n{minimal}"), "colour"),
            (format!("{minimal}dir='../x'\n"), "not below"),
        ] {
            let error = Config::parse(&change, "f").unwrap_err().chain();
            assert!(error.contains(told), "{error}");
        }
    }
}
