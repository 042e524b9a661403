//! What a farm's builders are: on which host, for which repositories and branches, with which
//! tests.
//!
//! A [`Farm`] is a value, read from TOML with `Farm::from_toml`, checked as a whole: every
//! mistake is named at once. Its policies are those of the Go project's `dashboard` package, and
//! its tables of December 2020 are a preset, `Farm::go2020`.
//!
//! ```
//! # #[cfg(feature = "config")] {
//! use build_core::builders::{Farm, Target};
//!
//! let farm = Farm::go2020();
//! let tried = farm.try_builders(&Target::go("master"))?;
//! assert_eq!(tried.len(), 20);
//!
//! let builder = farm.builder("linux-386-387").expect("there");
//! let crypto = Target::subrepo("crypto", "master", "release-branch.go1.16");
//! println!("{}", builder.explain_post_submit(&crypto)?);
//! assert!(!builder.builds_post_submit(&crypto)?);
//! # }
//! # Ok::<(), build_core::Error>(())
//! ```

mod branch;
mod builder;
mod columns;
mod dist_tests;
#[cfg(feature = "config")]
mod file;
mod host;
mod lint;
mod page;
mod rule;

use std::collections::{BTreeMap, BTreeSet};

pub use branch::{GoVersion, ReleaseBranch, at_least_go1, at_most_go1};
pub use builder::{Builder, CrossCompile, Record as BuilderRecord, TestTime, tests_in_gopath_mode};
pub use columns::{Span, spans};
pub use dist_tests::{DistRule, When};
#[cfg(feature = "config")]
pub use file::ConfigError;
pub use host::{Host, Kind};
pub use lint::Finding;
pub use rule::{Clause, Condition, Decision, Repos, Target};

use crate::Result;

/// What holds for all builders of a farm.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Defaults {
    /// Older release branches are built by nobody.
    pub min_release: GoVersion,
    /// Repositories that a builder without rules of its own does not build.
    pub repos_except: Vec<String>,
    /// Repositories that are not built on release branches.
    pub release_except: Vec<String>,
    /// Branches of the main repository that only some builders build.
    pub pins: Vec<Pin>,
    /// Dist tests that normal try runs leave to some builders.
    pub try_tests: Vec<TryTest>,
}

/// A branch, with those below it (`x.*`), that only some builders build.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pin {
    /// The branch.
    pub branch: String,
    /// Names of builders.
    pub builders: Vec<String>,
}

/// A dist test that normal try runs leave to some builders.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TryTest {
    /// Its name.
    pub test: String,
    /// Names of builders.
    pub builders: Vec<String>,
}

/// The hosts and builders of a farm.
#[derive(Debug, Clone)]
pub struct Farm {
    pub(super) defaults: Defaults,
    pub(super) hosts: BTreeMap<String, Host>,
    pub(super) builders: BTreeMap<String, BuilderRecord>,
    pub(super) aliases: BTreeMap<String, String>,
}

impl Farm {
    /// Puts a farm together.
    ///
    /// # Errors
    /// All that is wrong, each with the name of its host or builder.
    pub fn new(
        defaults: Defaults,
        hosts: Vec<Host>,
        builders: Vec<BuilderRecord>,
        aliases: BTreeMap<String, String>,
    ) -> Result<Self, Vec<String>> {
        let mut problems = Vec::new();
        let mut farm = Self {
            defaults,
            hosts: BTreeMap::new(),
            builders: BTreeMap::new(),
            aliases,
        };
        for host in hosts {
            problems.extend(host.problems());
            if farm.hosts.contains_key(&host.name) {
                problems.push(format!("host {:?} is there twice", host.name));
            }
            farm.hosts.insert(host.name.clone(), host);
        }
        for builder in builders {
            problems.extend(builder.problems());
            if !farm.hosts.contains_key(&builder.host) {
                problems.push(format!(
                    "builder {:?}: there is no host {:?}",
                    builder.name, builder.host
                ));
            }
            if farm.builders.contains_key(&builder.name) {
                problems.push(format!("builder {:?} is there twice", builder.name));
            }
            farm.builders.insert(builder.name.clone(), builder);
        }
        for (alias, name) in &farm.aliases {
            if !name.is_empty() && !farm.builders.contains_key(name) {
                problems.push(format!("alias {alias:?}: there is no builder {name:?}"));
            }
        }
        match problems.is_empty() {
            true => Ok(farm),
            false => Err(problems),
        }
    }

    /// What holds for all builders.
    #[must_use]
    pub fn defaults(&self) -> &Defaults {
        &self.defaults
    }

    /// A host by its name.
    #[must_use]
    pub fn host(&self, name: &str) -> Option<&Host> {
        self.hosts.get(name)
    }

    /// All hosts, by name.
    pub fn hosts(&self) -> impl Iterator<Item = &Host> {
        self.hosts.values()
    }

    /// A builder by its name.
    #[must_use]
    pub fn builder(&self, name: &str) -> Option<Builder<'_>> {
        let record = self.builders.get(name)?;
        Some(Builder::new(self, record, &self.hosts[&record.host]))
    }

    /// All builders, by name.
    pub fn builders(&self) -> impl Iterator<Item = Builder<'_>> {
        let make = |record: &'_ BuilderRecord| self.builder(&record.name);
        self.builders.values().filter_map(make)
    }

    /// The builders that try a change, by name.
    ///
    /// # Errors
    /// A target without its branches.
    pub fn try_builders(&self, target: &Target) -> Result<Vec<Builder<'_>>> {
        let mut found = Vec::new();
        for builder in self.builders() {
            if builder.builds_try(target)? {
                found.push(builder);
            }
        }
        Ok(found)
    }

    /// The builders that build a commit after it is in, by name.
    ///
    /// # Errors
    /// A target without its branches.
    pub fn post_submit_builders(&self, target: &Target) -> Result<Vec<Builder<'_>>> {
        let mut found = Vec::new();
        for builder in self.builders() {
            if builder.builds_post_submit(target)? {
                found.push(builder);
            }
        }
        Ok(found)
    }

    /// The builder that a person means: its name, or an alias of it. An alias of nothing names
    /// a port that nobody builds.
    #[must_use]
    pub fn match_term(&self, term: &str) -> Option<Builder<'_>> {
        let alias = self.aliases.get(term).map(String::as_str);
        alias
            .and_then(|name| self.builder(name))
            .or_else(|| self.builder(term))
    }

    /// Hosts that no builder runs or compiles on.
    #[must_use]
    pub fn unused_hosts(&self) -> Vec<&str> {
        let used: BTreeSet<&str> = self.builders.values().map(|b| b.host.as_str()).collect();
        let all = self.hosts.keys().map(String::as_str);
        all.filter(|name| !used.contains(name)).collect()
    }

    /// How many machines should be connected, of all hosts whose names begin so.
    #[must_use]
    pub fn expected_machines(&self, prefix: &str) -> u32 {
        let hosts = self.hosts.values();
        let wanted = hosts.filter(|host| host.name.starts_with(prefix));
        wanted.map(|host| host.expect).sum()
    }
}

#[cfg(test)]
mod tests;
