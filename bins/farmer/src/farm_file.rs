//! `farmer.toml`: the settings of a farm, beside and below its flags, read again when they change.

use std::io::ErrorKind as Io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use build_core::plan::Sandbox;
use build_core::recipe::{
    FarmToml, Host, Identity, MailServer, Notify, StepLimits, show_duration, show_size,
};
use build_core::ref_rules::RefRules;
use build_core::schedule::{Account, Allotment};
use build_core::{Error, ErrorKind, Result};
use build_server::coordinator::Handle;
use build_server::retention::{KEEP_LOGS, KeepArtifacts};
use farmer_cli::Failure;

use crate::cli::Up;
use crate::machines::HostTable;
use crate::output::failure;

/// Where a farm answers when nobody says.
const PORT: u16 = 8119;
/// Between two looks at the file: soon enough for somebody who waits for the effect.
const LOOK: Duration = Duration::from_secs(1);
/// Longest file that is read.
const MAX_BYTES: u64 = 1 << 20;

/// The file, and what it said last.
pub(crate) struct FarmFile {
    path: PathBuf,
    /// It was named by somebody, so it must be there.
    is_given: bool,
    farm: FarmToml,
    /// What was read last, whether it was right or not; `None`: there was no file.
    seen: Option<String>,
    /// What it said last can be read, and its machines cannot be.
    is_refused: bool,
}

/// What a farm that starts goes by: its flags and variables, else its file, else the defaults.
pub(crate) struct Settings {
    pub(crate) addr: IpAddr,
    pub(crate) port: u16,
    pub(crate) names: Vec<String>,
    pub(crate) branches: Vec<String>,
    pub(crate) tags: Vec<String>,
    pub(crate) sandbox: Sandbox,
    pub(crate) keep_logs: Duration,
    pub(crate) keep_artifacts: KeepArtifacts,
    pub(crate) allotment: Allotment,
    pub(crate) notify: Vec<Notify>,
    pub(crate) mail: Option<MailServer>,
    pub(crate) private: Vec<String>,
    pub(crate) identity: Vec<Identity>,
    pub(crate) refs: RefRules,
    pub(crate) limits: StepLimits,
}

impl FarmFile {
    /// Reads the file that was given, else the one in the data directory if it is there.
    pub(crate) fn open(given: Option<&Path>, data: &Path) -> Result<Self, Failure> {
        let mut file = Self {
            path: given.map_or_else(|| data.join(FarmToml::NAME), Path::to_owned),
            is_given: given.is_some(),
            farm: FarmToml::default(),
            seen: None,
            is_refused: false,
        };
        file.seen = file.read().map_err(|e| failure(&e))?;
        file.farm = file.parse().map_err(|e| failure(&e))?;
        Ok(file)
    }

    /// What a farm that starts goes by.
    pub(crate) fn settings(&self, args: &Up) -> Settings {
        let farm = &self.farm;
        let or = |given: &[String], set: &[String]| match given.is_empty() {
            true => set.to_vec(),
            false => given.to_vec(),
        };
        Settings {
            addr: args
                .addr
                .or(farm.addr)
                .unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            port: args.port.or(farm.port).unwrap_or(PORT),
            names: or(&args.host, &farm.names),
            branches: or(&args.branch, &farm.branches),
            tags: or(&args.tag, &farm.tags),
            sandbox: self.sandbox(args.sandbox),
            keep_logs: args.keep_logs.or(farm.keep_logs).unwrap_or(KEEP_LOGS),
            keep_artifacts: self.keep_artifacts(),
            allotment: farm.allotment,
            notify: farm.notify.clone(),
            mail: farm.mail.clone(),
            private: farm.private.clone(),
            identity: farm.identity.clone(),
            refs: farm.refs.clone(),
            limits: farm.limits,
        }
    }

    /// What each step may take at most.
    pub(crate) fn limits(&self) -> StepLimits {
        self.farm.limits
    }

    /// Which changes are built, and whose commits come from outside.
    pub(crate) fn refs(&self) -> RefRules {
        self.farm.refs.clone()
    }

    /// The identity providers that are believed.
    pub(crate) fn identity(&self) -> &[Identity] {
        &self.farm.identity
    }

    /// How long files stay that builds have kept.
    pub(crate) fn keep_artifacts(&self) -> KeepArtifacts {
        let keep = KeepArtifacts::default().age(self.farm.keep_artifacts);
        keep.bytes(self.farm.max_artifacts)
    }

    /// How builds are kept apart from this machine.
    pub(crate) fn sandbox(&self, given: Option<Sandbox>) -> Sandbox {
        given.or(self.farm.sandbox).unwrap_or_default()
    }

    /// What the file said last.
    pub(crate) fn farm(&self) -> &FarmToml {
        &self.farm
    }

    /// Looks for ever whether the file has changed. What it says of machines, shares and quotas
    /// counts at once; a file that cannot be read changes nothing, and everybody who looks is told.
    pub(crate) async fn follow(mut self, handle: Handle, hosts: HostTable) {
        loop {
            tokio::time::sleep(LOOK).await;
            let read = self.read();
            if read.as_ref().is_ok_and(|text| *text == self.seen) {
                // What was wrong with reading it may be over; what is wrong in it is not.
                if !self.is_refused && self.parse().is_ok() {
                    handle.set_misconfigured(None);
                }
                continue;
            }
            let farm = read.and_then(|text| {
                self.seen = text;
                self.parse()
            });
            match farm.and_then(|farm| self.set_hosts(&farm, &hosts).map(|()| farm)) {
                Ok(farm) => self.take(farm, &handle).await,
                Err(error) => self.refuse(&error, &handle),
            }
        }
    }

    /// All of the file counts, or nothing of it.
    fn set_hosts(&mut self, farm: &FarmToml, hosts: &HostTable) -> Result<()> {
        let machines = |farm: &FarmToml| (farm.hosts.clone(), farm.accounts.clone(), farm.machines);
        self.is_refused = false;
        if machines(farm) == machines(&self.farm) {
            return Ok(());
        }
        let path = self.path.display();
        let set = hosts.set(farm);
        self.is_refused = set.is_err();
        set.map_err(|e| e.while_doing(format!("read {path}")))?;
        farmer_cli::say!("farmer: {path} was read again: {}", machines_of(farm));
        (self.farm.hosts, self.farm.accounts, self.farm.machines) = machines(farm);
        Ok(())
    }

    async fn take(&mut self, farm: FarmToml, handle: &Handle) {
        handle.set_misconfigured(None);
        let path = self.path.display();
        if farm.allotment != self.farm.allotment && handle.allot(farm.allotment).await.is_ok() {
            farmer_cli::say!("farmer: {path} was read again: {}", allotment(&farm));
        }
        self.farm.allotment = farm.allotment;
        if farm != self.farm {
            farmer_cli::say!(
                "farmer: {path}: other settings than machines, [[host]], [[account]], [shares] and [quotas] count from the next start"
            );
        }
        self.farm = farm;
    }

    fn refuse(&self, error: &Error, handle: &Handle) {
        let hint = error.hint().map(|hint| format!("; {hint}"));
        let text = format!(
            "{}{}; the settings before it go on",
            error.chain(),
            hint.unwrap_or_default()
        );
        if handle.set_misconfigured(Some(text.clone())) {
            tracing::error!("{text}");
        }
    }

    /// The file as it is now. A short file once a second: not worth a thread.
    fn read(&self) -> Result<Option<String>> {
        let cannot = |e: std::io::Error| {
            let text = format!("read {}", self.path.display());
            Error::caused_by(ErrorKind::Invalid, text, e)
                .with_hint("see that the file is there and may be read, or leave --farm out")
        };
        match std::fs::metadata(&self.path) {
            Ok(meta) if meta.len() > MAX_BYTES => {
                let text = format!("{} is larger than {MAX_BYTES} bytes", self.path.display());
                return Err(Error::new(ErrorKind::Invalid, text)
                    .with_hint("a farm needs a few lines; docs/configuration.md shows them"));
            }
            Err(e) if e.kind() == Io::NotFound && !self.is_given => return Ok(None),
            Err(e) => return Err(cannot(e)),
            Ok(_) => {}
        }
        std::fs::read_to_string(&self.path)
            .map(Some)
            .map_err(cannot)
    }

    fn parse(&self) -> Result<FarmToml> {
        FarmToml::parse(self.seen.as_deref().unwrap_or_default())
            .map_err(|e| e.while_doing(format!("read {}", self.path.display())))
    }

    /// What the file says, for people; `None` when there is none.
    pub(crate) fn explain(&self) -> Option<String> {
        self.seen.as_ref()?;
        let farm = &self.farm;
        let lines = [
            farm.addr.map(|addr| format!("answers on {addr}")),
            farm.port.map(|port| format!("answers on port {port}")),
            listed("is opened as", &farm.names),
            listed("watches branches too:", &farm.branches),
            listed("builds tags that come:", &farm.tags),
            farm.machines
                .map(|n| format!("starts at most {n} machines")),
            farm.sandbox
                .and_then(Sandbox::word)
                .map(|word| format!("keeps builds apart with sandbox level {word}")),
            farm.keep_logs
                .map(|time| format!("keeps logs for {}", show_duration(time))),
            farm.keep_artifacts
                .map(|time| format!("keeps files of builds for {}", show_duration(time))),
            farm.max_artifacts
                .map(|most| format!("keeps {} of files of builds", show_size(most))),
            listed("shows to some only:", &farm.private),
            listed(
                "has rules for the refs of",
                &farm.refs.repos().map(str::to_owned).collect::<Vec<_>>(),
            ),
            listed(
                "takes signed tokens of",
                &farm
                    .identity
                    .iter()
                    .map(|i| i.issuer.clone())
                    .collect::<Vec<_>>(),
            ),
            (!farm.hosts.is_empty() || !farm.accounts.is_empty()).then(|| machines_of(farm)),
            Some(allotment(farm)),
        ];
        let lines: Vec<_> = lines.into_iter().flatten().collect();
        let path = self.path.display();
        Some(format!("farm of {path}:\n  {}\n", lines.join("\n  ")))
    }

    /// What the file says, for programs.
    pub(crate) fn allotment(&self) -> Option<Allotment> {
        self.seen.as_ref().map(|_| self.farm.allotment)
    }
}

fn listed(what: &str, names: &[String]) -> Option<String> {
    (!names.is_empty()).then(|| format!("{what} {}", names.join(", ")))
}

/// Its machines, in words.
fn machines_of(farm: &FarmToml) -> String {
    let host = |host: &Host| {
        let count = host
            .count
            .map_or("as many as cores".to_owned(), |n| n.to_string());
        let draws = host.draws.iter();
        let draws: Vec<_> = draws
            .map(|draw| format!("{} of {}", draw.units, draw.account))
            .collect();
        let each = match draws.is_empty() {
            true => String::new(),
            false => format!(", each takes {}", draws.join(" and ")),
        };
        format!("host {} ({count}{each})", host.name)
    };
    let account = |account: &Account| {
        let Account { name, units, unit } = account;
        format!("account {name} of {units} {unit}")
    };
    let most = farm.machines.map(|n| format!("{n} machines of each kind"));
    let hosts = farm.hosts.iter().map(host);
    let accounts = farm.accounts.iter().map(account);
    let all: Vec<_> = most.into_iter().chain(hosts).chain(accounts).collect();
    match all.is_empty() {
        true => "no hosts of its own".to_owned(),
        false => all.join(", "),
    }
}

/// How machines are shared out, in words.
fn allotment(farm: &FarmToml) -> String {
    let Allotment { shares, quotas } = farm.allotment;
    let quota = |whose: &str, quota: Option<std::num::NonZeroU32>| match quota {
        Some(n) => format!("{n} machines for one {whose}"),
        None => format!("any number of machines for one {whose}"),
    };
    format!(
        "{}, {}; kept for urgent work {}, interactive {}, changes under review {}",
        quota("author", quotas.author),
        quota("repository", quotas.repo),
        shares.urgent,
        shares.interactive,
        shares.try_work
    )
}
