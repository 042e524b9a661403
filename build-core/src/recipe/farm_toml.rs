//! `farmer.toml`: what the owner of a farm says about it.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use serde::Deserialize;

use super::farmer_toml::{Host, RawSize, invalid, unreadable};
use super::host_toml::{self, RawAccount, RawHost};
use super::identity_toml::{self, Identity, RawIdentity};
use super::keys;
use super::limits_toml::{RawStepLimits, StepLimits};
use super::notify_toml::{self, MailServer, Notify, RawNotify};
use super::quantity::{parse_duration, parse_size};
use super::repo_toml::{self, RawRepo};
use crate::error::{Error, Result};
use crate::plan::Sandbox;
use crate::ref_rules::RefRules;
use crate::schedule::{Account, Allotment, Quotas, Shares};

/// The settings of a farm. What a repository says about its builds is a
/// [`FarmerToml`](super::FarmerToml).
///
/// ```
/// use build_core::recipe::FarmToml;
///
/// let farm = FarmToml::parse("[quotas]\nauthor = 4")?;
/// assert_eq!(farm.allotment.quotas.author.map(|n| n.get()), Some(4));
/// let error = FarmToml::parse("[quotas]\nauhtor = 4").unwrap_err();
/// assert_eq!(error.to_string(), "unknown key \"quotas.auhtor\"");
/// assert_eq!(error.hint(), Some("did you mean \"author\"?"));
/// # Ok::<(), build_core::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct FarmToml {
    /// How its machines are shared out. This, `hosts`, `accounts` and `machines` may change while
    /// the farm runs.
    pub allotment: Allotment,
    /// Its kinds of machines, beside those that its repositories name.
    pub hosts: Vec<Host>,
    /// The capacities that machines share.
    pub accounts: Vec<Account>,
    /// Globs of branches that are watched besides the default one.
    pub branches: Vec<String>,
    /// Globs of tags that are built when they come.
    pub tags: Vec<String>,
    /// The address to answer on.
    pub addr: Option<IpAddr>,
    /// The port to answer on.
    pub port: Option<u16>,
    /// Names under which its machine is opened.
    pub names: Vec<String>,
    /// Machines to start at most.
    pub machines: Option<u32>,
    /// How far builds are kept apart from its machines.
    pub sandbox: Option<Sandbox>,
    /// How long logs are kept after a build has ended.
    pub keep_logs: Option<Duration>,
    /// How long files that builds have kept stay after the build has ended.
    pub keep_artifacts: Option<Duration>,
    /// Bytes of all files that builds have kept.
    pub max_artifacts: Option<u64>,
    /// Who is told of what.
    pub notify: Vec<Notify>,
    /// Through which server mail goes.
    pub mail: Option<MailServer>,
    /// Names of repositories that only some may read; `team-*`: those that begin so.
    pub private: Vec<String>,
    /// Whose signed tokens are taken.
    pub identity: Vec<Identity>,
    /// Which changes are built, and whose commits come from outside.
    pub refs: RefRules,
    /// What each step may take at most.
    pub limits: StepLimits,
}

#[derive(Deserialize)]
struct Raw {
    #[serde(default)]
    branches: Vec<String>,
    #[serde(default)]
    tags: Vec<String>,
    addr: Option<String>,
    port: Option<u16>,
    #[serde(default)]
    names: Vec<String>,
    machines: Option<u32>,
    sandbox: Option<String>,
    keep_logs: Option<String>,
    keep_artifacts: Option<String>,
    max_artifacts: Option<RawSize>,
    #[serde(default)]
    shares: RawShares,
    #[serde(default)]
    quotas: RawQuotas,
    #[serde(default)]
    account: Vec<RawAccount>,
    #[serde(default)]
    host: Vec<RawHost>,
    #[serde(default)]
    notify: Vec<RawNotify>,
    mail: Option<MailServer>,
    #[serde(default)]
    private: Vec<String>,
    #[serde(default)]
    identity: Vec<RawIdentity>,
    #[serde(default)]
    repo: Vec<RawRepo>,
    #[serde(default)]
    limits: RawStepLimits,
}

#[derive(Default, Deserialize)]
struct RawShares {
    urgent: Option<f64>,
    interactive: Option<f64>,
    #[serde(rename = "try")]
    try_work: Option<f64>,
}

#[derive(Default, Deserialize)]
struct RawQuotas {
    author: Option<u32>,
    repo: Option<u32>,
}

impl FarmToml {
    /// The file's name, in the data directory.
    pub const NAME: &str = "farmer.toml";

    /// Reads the settings of a farm.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid): the place of a syntax error, an unknown
    /// key with the nearest known one as hint, a bad value with its key.
    pub fn parse(text: &str) -> Result<Self> {
        let not_toml = |e: &toml::de::Error| {
            unreadable(e).with_hint("docs/configuration.md shows each key of a farm")
        };
        let table: toml::Table = text.parse().map_err(|e| not_toml(&e))?;
        keys::check(&table, keys::FARM, "")?;
        let raw: Raw = toml::from_str(text).map_err(|e| not_toml(&e))?;
        let (accounts, hosts) = host_toml::read(raw.account, raw.host)?;
        Ok(Self {
            allotment: Allotment {
                shares: raw.shares.read()?,
                quotas: raw.quotas.read()?,
            },
            hosts,
            accounts,
            branches: raw.branches,
            tags: raw.tags,
            addr: raw.addr.as_deref().map(address).transpose()?,
            port: raw.port,
            names: raw.names,
            machines: raw
                .machines
                .map(|n| positive("machines", n))
                .transpose()?
                .map(NonZeroU32::get),
            sandbox: raw.sandbox.as_deref().map(sandbox).transpose()?,
            keep_logs: time("keep_logs", raw.keep_logs.as_deref())?,
            keep_artifacts: time("keep_artifacts", raw.keep_artifacts.as_deref())?,
            max_artifacts: size("max_artifacts", raw.max_artifacts)?,
            notify: notify_toml::read(raw.notify, raw.mail.as_ref())?,
            mail: raw.mail,
            private: private(raw.private)?,
            identity: identity_toml::read(raw.identity)?,
            limits: raw.limits.read()?,
            refs: repo_toml::read(raw.repo)?,
        })
    }
}

fn address(text: &str) -> Result<IpAddr> {
    text.parse().map_err(|_| {
        invalid(format!("addr is {text:?}, which is no address"))
            .with_hint("write it like \"127.0.0.1\" or \"::1\"")
    })
}

/// Names, or how names begin.
fn private(names: Vec<String>) -> Result<Vec<String>> {
    for name in &names {
        let begin = name.strip_suffix('*').unwrap_or(name);
        if name.is_empty() || begin.contains(|c: char| c == '*' || c == ',' || c.is_whitespace()) {
            let text = format!("private has {name:?}, which is no name of a repository");
            return Err(
                invalid(text).with_hint("write \"secret\", or \"team-*\" for all that begin so")
            );
        }
    }
    Ok(names)
}

fn sandbox(text: &str) -> Result<Sandbox> {
    Sandbox::parse(text).map_err(|e| {
        let hint = e.hint().unwrap_or_default().to_owned();
        invalid(format!("sandbox: {e}")).with_hint(hint)
    })
}

fn time(key: &str, text: Option<&str>) -> Result<Option<Duration>> {
    let read = text.map(parse_duration).transpose();
    read.map_err(|e| of_key(key, &e))
}

fn size(key: &str, raw: Option<RawSize>) -> Result<Option<u64>> {
    match raw {
        Some(RawSize::Text(text)) => parse_size(&text).map(Some).map_err(|e| of_key(key, &e)),
        Some(RawSize::Bytes(bytes)) => Ok(Some(bytes)),
        None => Ok(None),
    }
}

fn of_key(key: &str, error: &Error) -> Error {
    let hint = error.hint().unwrap_or_default().to_owned();
    invalid(format!("{key}: {error}")).with_hint(hint)
}

fn positive(name: &str, count: u32) -> Result<NonZeroU32> {
    NonZeroU32::new(count).ok_or_else(|| {
        invalid(format!("{name} is 0, with which nothing is ever built"))
            .with_hint("give a number from 1, or leave it out")
    })
}

impl RawShares {
    fn read(self) -> Result<Shares> {
        let default = Shares::default();
        let share = |given: Option<f64>, name: &str, default: f64| match given {
            None => Ok(default),
            Some(share) if (0.0..=1.0).contains(&share) => Ok(share),
            Some(other) => {
                let text = format!("shares.{name} is {other}, which is no part of the machines");
                Err(invalid(text).with_hint("give a number from 0 to 1"))
            }
        };
        Ok(Shares {
            urgent: share(self.urgent, "urgent", default.urgent)?,
            interactive: share(self.interactive, "interactive", default.interactive)?,
            try_work: share(self.try_work, "try", default.try_work)?,
        })
    }
}

impl RawQuotas {
    fn read(self) -> Result<Quotas> {
        let quota = |given: Option<u32>, name| given.map(|n| positive(name, n)).transpose();
        Ok(Quotas {
            author: quota(self.author, "quotas.author")?,
            repo: quota(self.repo, "quotas.repo")?,
        })
    }
}

/// For fuzzing: no text makes it panic, and what it cannot read it refuses with a hint.
pub fn fuzz_farm_toml(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data)
        && let Err(error) = FarmToml::parse(text)
    {
        assert!(hint_of(&error), "{error} has no hint");
    }
}

fn hint_of(error: &Error) -> bool {
    error.hint().is_some_and(|hint| !hint.is_empty())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::notify_toml::Channel;
    use super::*;
    use crate::ids::RepoName;
    use crate::work::Trust;

    #[test]
    fn a_whole_file_is_read() {
        let farm = FarmToml::parse(
            r#"
            branches = ["release/*"]
            tags = ["v*"]
            addr = "::1"
            port = 8000
            names = ["farm.example.org"]
            machines = 4
            keep_logs = "30d"
            keep_artifacts = "7d"
            max_artifacts = "2 GiB"
            [shares]
            interactive = 0.5
            [quotas]
            author = 2
            repo = 3
            [mail]
            server = "smtps://mail.example.org"
            from = "farm@example.org"
            [limits]
            quota = "1 GiB"
            files = 9
            [[repo]]
            name = "acme/*"
            changes = ["refs/pull/*/head"]
            trusted = ["refs/heads/**"]
            [[notify]]
            name = "team"
            mail = ["team@example.org"]
            [[notify]]
            name = "chat"
            on = ["broken"]
            webhook = "https://chat.example.org/hook"
            secret_file = "/etc/farmer/chat"
        "#,
        )
        .unwrap();
        let (shares, quotas) = (farm.allotment.shares, farm.allotment.quotas);
        assert_eq!((shares.urgent, shares.interactive), (0.0, 0.5));
        let quotas = [quotas.author, quotas.repo];
        assert_eq!(quotas.map(|q| q.map(NonZeroU32::get)), [Some(2), Some(3)]);
        let (mail, chat) = (&farm.notify[0], &farm.notify[1]);
        assert_eq!(mail.channel, Channel::Mail(vec!["team@example.org".into()]));
        assert_eq!((mail.on.len(), chat.on.len()), (2, 1));
        assert_eq!((farm.port, farm.machines), (Some(8000), Some(4)));
        assert_eq!(farm.keep_logs, Some(Duration::from_secs(30 * 86_400)));
        let limits = (farm.limits.disk_bytes, farm.limits.files);
        assert_eq!(limits, (Some(1 << 30), Some(9)));
        assert_eq!(farm.limits.memory_bytes.or(farm.limits.processes), None);
        let refs = farm.refs.of(&RepoName::new("acme/app").unwrap());
        assert!(refs.is_change(b"refs/pull/17/head"));
        assert_eq!(refs.trust(b"refs/heads/main"), Trust::Trusted);
        assert_eq!(farm.keep_artifacts, Some(Duration::from_secs(7 * 86_400)));
        assert_eq!(farm.max_artifacts, Some(2 << 30));
        assert_eq!(farm.addr, Some("::1".parse().unwrap()));
        assert_eq!(FarmToml::parse("").unwrap(), FarmToml::default());
    }

    #[test]
    fn errors_name_the_key_and_the_remedy() {
        let cases = [
            (
                "[quota]\n",
                "unknown key \"quota\"",
                "did you mean \"quotas\"?",
            ),
            (
                "[shares]\ntry = 5",
                "shares.try is 5,",
                "give a number from 0 to 1",
            ),
            (
                "[quotas]\nrepo = 0",
                "quotas.repo is 0,",
                "from 1, or leave it out",
            ),
            ("machines = 0", "machines is 0,", "from 1, or leave it out"),
            ("addr = \"here\"", "addr is \"here\",", "write it like"),
            (
                "keep_logs = \"long\"",
                "keep_logs: bad duration",
                "write it like",
            ),
            (
                "max_artifacts = \"much\"",
                "max_artifacts: bad size",
                "write it like",
            ),
            (
                "[[notify]]\nname = 'x'",
                "notify \"x\": no way to tell",
                "give one of command",
            ),
            (
                "[[notify]]\nname = 'x'\nmail = ['a@b']",
                "there is no mail server",
                "say in [mail]",
            ),
            (
                "[[notify]]\nname = 'x'\non = ['bored']\ncommand = ['y']",
                "unknown news \"bored\"",
                "there are broken and fixed",
            ),
            (
                "[[notify]]\nname = 'x'\ncommand = ['y']\n[[notify]]\nname = 'x'\ncommand = ['z']",
                "two [[notify]] are called \"x\"",
                "a name of its own",
            ),
            (
                "[[repo]]\nname = 'x'\nchanges = ['pull/*']",
                "\"pull/*\" is no pattern",
                "refs/pull/*/head",
            ),
            (
                "[limits]\nmemory = 0",
                "limits.memory is 0,",
                "leave it out for no limit",
            ),
            ("port = 70000", "line 1", "docs/configuration.md"),
            (
                "[[step]]\nname = 'x'",
                "unknown key \"step\"",
                "known keys here: branches",
            ),
        ];
        for (text, message, hint) in cases {
            let error = FarmToml::parse(text).unwrap_err();
            assert!(error.to_string().contains(message), "{error}");
            assert!(error.hint().unwrap().contains(hint), "{error:?}");
        }
    }

    #[test]
    fn the_schema_is_the_committed_one() {
        keys::check_committed("farm.schema.json", &keys::farm_schema());
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "(\\[(shares|quotas)\\]\n)?(author|repo|try|port|addr|keep_logs) ?= ?[\\[\"'a-z0-9.\\]-]{0,12}\n.{0,40}") {
            fuzz_farm_toml(text.as_bytes());
        }
    }
}
