//! The table of toolchains: where archives are and what they look like.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::platform::Platform;
use super::signature::Signature;
use super::spec::Spec;
use crate::{Error, ErrorKind, Result};

/// The rows that are known without a file of one's own.
const BUILT_IN: &str = include_str!("rows.toml");

/// One kind of toolchain.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    pub(super) title: String,
    /// What runs when the toolchain is called by its name.
    pub(super) program: String,
    /// Where its programs are, below its directory.
    pub(super) bin: String,
    /// The variable that names its directory.
    pub(super) home: Option<String>,
    root: String,
    #[serde(default)]
    pub(super) layout: Layout,
    #[serde(default)]
    pub(super) links: LinkRule,
    archive: String,
    pub(super) mirrors: Vec<String>,
    checksums: Vec<String>,
    pub(super) signature: Option<Signature>,
    versions: Option<String>,
    #[serde(default)]
    os: BTreeMap<String, String>,
    #[serde(default)]
    arch: BTreeMap<String, String>,
    ext: BTreeMap<String, String>,
}

/// What an unpacked archive has to go through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Layout {
    /// Nothing: its one directory is the toolchain.
    #[default]
    Plain,
    /// The components of a Rust installer become one directory.
    RustInstaller,
}

/// Whether an archive may hold links.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum LinkRule {
    /// Those that stay inside.
    #[default]
    Inside,
    /// None, as in the Go programs.
    Refuse,
}

impl Row {
    /// The archive's path below a mirror.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] when the row has no archive for the platform.
    pub fn archive(&self, spec: &Spec, platform: &Platform) -> Result<String> {
        let words = self.words(spec, platform)?;
        Ok(words.fill(&self.archive))
    }

    /// The name as people write it.
    pub fn title(&self) -> &str {
        &self.title
    }

    /// The one directory of the archive.
    pub(super) fn root(&self, words: &Words) -> String {
        words.fill(&self.root)
    }

    /// Where checksums may be found, in the order in which they are asked.
    pub(super) fn checksums(&self, words: &Words) -> Vec<String> {
        self.checksums.iter().map(|url| words.fill(url)).collect()
    }

    /// Where the versions are listed that `version` is the beginning of.
    pub(super) fn versions(&self, mirror: &str, version: &str) -> Option<String> {
        let url = self.versions.as_ref()?.replace("{mirror}", mirror);
        Some(url.replace("{version}", version))
    }

    /// The words of the templates.
    pub(super) fn words(&self, spec: &Spec, platform: &Platform) -> Result<Words> {
        let both = format!("{}-{}", platform.os(), platform.arch());
        let of = |table: &BTreeMap<String, String>, word: &str| {
            let found = table.get(&both).or_else(|| table.get(word));
            found.cloned().unwrap_or_else(|| word.to_owned())
        };
        let ext = self.ext.get(platform.os()).or_else(|| self.ext.get("any"));
        let Some(ext) = ext else {
            let what = format!("there is no {} for {platform}", self.title);
            return Err(Error::new(ErrorKind::Unsupported, what));
        };
        let mut words = Words(vec![
            ("{version}", spec.version().to_owned()),
            ("{os}", of(&self.os, platform.os())),
            ("{arch}", of(&self.arch, platform.arch())),
            ("{ext}", ext.clone()),
        ]);
        words.0.push(("{archive}", words.fill(&self.archive)));
        Ok(words)
    }
}

/// What stands for the words in braces.
#[derive(Clone, Debug)]
pub(super) struct Words(Vec<(&'static str, String)>);

impl Words {
    pub(super) fn fill(&self, template: &str) -> String {
        let fill = |text: String, (word, value): &(&str, String)| text.replace(word, value);
        self.0.iter().fold(template.to_owned(), fill)
    }

    /// With the mirror too.
    pub(super) fn at(&self, mirror: &str) -> Self {
        let mut words = self.clone();
        // First, because a mirror may itself name the version.
        words.0.insert(0, ("{mirror}", mirror.to_owned()));
        words
    }
}

/// All rows, by the name that their toolchains begin with.
#[derive(Clone, Debug)]
pub struct Rows(BTreeMap<String, Row>);

impl Default for Rows {
    fn default() -> Self {
        let rows = toml::from_str(BUILT_IN).expect("the built-in rows are valid");
        Self(rows)
    }
}

impl Rows {
    /// These rows with those of a file of one's own, in TOML of the same form: what it says of a
    /// row replaces that, and a new row needs everything.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] with the place in the text.
    pub fn with(text: &str) -> Result<Self> {
        let wrong = |error: toml::de::Error| {
            Error::caused_by(ErrorKind::Invalid, "the rows cannot be read", error)
        };
        let mut all: toml::Table = toml::from_str(BUILT_IN).map_err(wrong)?;
        for (name, own) in toml::from_str::<toml::Table>(text).map_err(wrong)? {
            let valid =
                !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
            if !valid {
                let what = format!("a row cannot be called {name:?}");
                let error = Error::new(ErrorKind::Invalid, what);
                return Err(error.with_hint("lower-case letters and dashes"));
            }
            match (all.get_mut(&name), own) {
                (Some(toml::Value::Table(row)), toml::Value::Table(own)) => row.extend(own),
                (_, own) => drop(all.insert(name, own)),
            }
        }
        let mut rows = BTreeMap::new();
        for (name, row) in all {
            let row: Row = row.try_into().map_err(|error| {
                wrong(error).while_doing(format!("the row [{name}] of the toolchains"))
            })?;
            if row.mirrors.is_empty() || row.checksums.is_empty() {
                let what = format!("the row [{name}] needs mirrors and checksums");
                return Err(Error::new(ErrorKind::Invalid, what));
            }
            rows.insert(name, row);
        }
        Ok(Self(rows))
    }

    /// The row of this name.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] with the names that there are.
    pub fn row(&self, name: &str) -> Result<&Row> {
        self.0.get(name).ok_or_else(|| {
            let known: Vec<&str> = self.names().collect();
            let what = format!("no toolchain is called {name:?}");
            Error::new(ErrorKind::NotFound, what)
                .with_hint(format!("there are {}", known.join(", ")))
        })
    }

    /// The names of the rows.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Asks these mirrors for the toolchains of a row, in this order, and no others. Checksums are
    /// then taken from the mirrors too, where the row knows how.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is no such row.
    pub fn set_mirrors(&mut self, name: &str, mirrors: Vec<String>) -> Result<()> {
        self.row(name)?;
        if let Some(row) = self.0.get_mut(name) {
            row.mirrors = mirrors.into_iter().map(with_slash).collect();
            let own = |url: &String| url.contains("{mirror}");
            if row.checksums.iter().any(own) {
                row.checksums.retain(own);
            }
        }
        Ok(())
    }
}

/// A mirror is the beginning of addresses.
fn with_slash(mut mirror: String) -> String {
    if !mirror.ends_with(['/', '=']) {
        mirror.push('/');
    }
    mirror
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(name: &str, platform: &str) -> String {
        let rows = Rows::default();
        let spec = Spec::parse(name, &rows).unwrap();
        let row = rows.row(spec.toolchain()).unwrap();
        row.archive(&spec, &platform.parse().unwrap()).unwrap()
    }

    #[test]
    fn archives_are_called_as_their_projects_call_them() {
        for (name, platform, wanted) in [
            ("go1.9", "linux-amd64", "go1.9.linux-amd64.tar.gz"),
            ("go1.9", "linux-arm", "go1.9.linux-armv6l.tar.gz"),
            ("go1.22.1", "windows-amd64", "go1.22.1.windows-amd64.zip"),
            ("go1.22.1", "darwin-arm64", "go1.22.1.darwin-arm64.tar.gz"),
            (
                "node20.11.0",
                "linux-amd64",
                "v20.11.0/node-v20.11.0-linux-x64.tar.gz",
            ),
            (
                "rust1.80.0",
                "linux-amd64",
                "rust-1.80.0-x86_64-unknown-linux-gnu.tar.xz",
            ),
            (
                "rust1.80.0",
                "macos-aarch64",
                "rust-1.80.0-aarch64-apple-darwin.tar.xz",
            ),
            (
                "zig0.15.2",
                "linux-amd64",
                "0.15.2/zig-x86_64-linux-0.15.2.tar.xz",
            ),
        ] {
            assert_eq!(archive(name, platform), wanted);
        }
    }

    #[test]
    fn a_row_of_ones_own_is_laid_over_the_built_in_one() {
        let rows = Rows::with("[go]\nmirrors = [\"https://go.example/\"]\n").unwrap();
        let go = rows.row("go").unwrap();
        assert_eq!(go.mirrors, ["https://go.example/"]);
        assert_eq!(go.program, "go");
        for (text, told) in [
            ("[go]\nmirror = 1\n", "mirror"),
            ("[own]\ntitle = \"x\"\n", "[own]"),
            ("[\"../x\"]\n", "cannot be called"),
            ("[go]\nchecksums = []\n", "needs mirrors and checksums"),
            ("[", "cannot be read"),
        ] {
            let error = Rows::with(text).unwrap_err();
            assert!(error.chain().contains(told), "{}", error.chain());
        }
    }
}
