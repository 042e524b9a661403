//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use build_core::tarutil;
use build_server::buildlet::{Address, SshAccess};
use tracing::Level;

use crate::flags::{Flag, Given, help};

/// Where Go buildlets listen on machines outside of a cloud.
const LOCAL: &str = "localhost:5936";
/// Where the ssh server of a build machine is reached.
const SSH_PORT: u16 = if cfg!(all(target_os = "linux", target_arch = "x86_64")) {
    2200
} else {
    22
};

const FLAGS: &[Flag] = &[
    Flag::value(
        "workdir",
        "DIR",
        "work directory; must exist. Default: /workdir when it is a tmpfs,\nelse a directory in the temporary one, emptied at the start",
    ),
    Flag::value(
        "listen",
        "ADDRESS",
        "host:port, :port or unix:/path. Default AUTO: localhost:5936,\nor with --role=vm :443 when there is a TLS certificate, else :80",
    ),
    Flag::switch(
        "halt",
        "/halt turns the machine off. Default: only with --role=vm (the Go\nbuildlet's default is true on every machine)",
    ),
    Flag::switch("reboot", "/halt restarts the machine"),
    Flag::value(
        "role",
        "vm|process",
        "vm: this machine exists for builds alone. Default: process",
    ),
    Flag::value(
        "state-dir",
        "DIR",
        "lock, buildlet.json and output of detached commands. Default: in\nthe temporary directory, named after the work directory",
    ),
    Flag::value(
        "lease-ttl",
        "DURATION",
        "ends all commands and itself when nobody renews its lease for so long\n(60s, 5m); the nonce of the lease is in FARMER_LEASE_NONCE",
    ),
    Flag::switch(
        "i-know-this-is-insecure",
        "listens on other addresses than localhost without password and TLS,\nas the Go buildlet does: for private networks only",
    ),
    Flag::switch(
        "links-may-leave",
        "paths may lead out of the work directory through symbolic links",
    ),
    Flag::switch(
        "fetch-anywhere",
        "/writetgz may download from link-local and metadata addresses",
    ),
    Flag::switch(
        "go2020-archives",
        "archives are unpacked as in 2020: symbolic links are left out, hard\nlinks become empty files",
    ),
    Flag::switch(
        "ssh",
        "/connect-ssh may add keys to authorized_keys and reach the ssh server.\nDefault: only with --role=vm",
    ),
    Flag::value(
        "ssh-port",
        "PORT",
        "port of that ssh server. Default: 2200 on linux-amd64, else 22",
    ),
    Flag::value("log", "LEVEL", "error, warn, info or debug. Default: info"),
    Flag::value(
        "reverse-type",
        "HOST_TYPE",
        "registers at a coordinator instead of listening (not in this version)",
    ),
    Flag::value(
        "coordinator",
        "ADDRESS",
        "that coordinator. Default: localhost:8119",
    ),
    Flag::value("hostname", "NAME", "name to register with"),
    Flag::switch("help", "prints this"),
    Flag::switch("version", "prints the version"),
];

const HEAD: &str = "\
buildlet takes files, runs commands and gives files back, over HTTP.

Usage: buildlet [--flag[=value]]...     (one dash will do as well)

Password and TLS come from the environment, where a leading @ names a file to read:
META_password, META_tls_cert, META_tls_key (or META_PASSWORD, ...).

Examples:
  buildlet                                     on this machine, for this machine
  buildlet --workdir=/var/build --listen=unix:/run/build/sock
  META_password=@pw META_tls_cert=@c.pem META_tls_key=@k.pem buildlet --listen=:443
  curl -d 'mode=sys&cmd=date' localhost:5936/exec

Flags:
";

/// What the command line asks for.
pub(super) enum Asked {
    /// To run.
    Run(Box<Options>),
    /// To print this and end.
    Tell(String),
}

/// How to run.
#[derive(Clone, Debug)]
pub(super) struct Options {
    pub(super) work_dir: Option<PathBuf>,
    listen: Option<Address>,
    role_vm: bool,
    pub(super) halt: bool,
    pub(super) reboot: bool,
    pub(super) state_dir: Option<PathBuf>,
    pub(super) lease_ttl: Option<Duration>,
    pub(super) insecure: bool,
    pub(super) links_may_leave: bool,
    pub(super) fetch_anywhere: bool,
    pub(super) archives: tarutil::Policy,
    pub(super) ssh: Option<SshAccess>,
    pub(super) log_level: Level,
}

impl Options {
    pub(super) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Asked, String> {
        let given = Given::parse(FLAGS, args)?;
        let switch = |name| Ok::<_, String>(given.switch(name)?.unwrap_or(false));
        if switch("help")? {
            return Ok(Asked::Tell(format!("{HEAD}{}", help(FLAGS))));
        }
        if switch("version")? {
            return Ok(Asked::Tell(format!(
                "buildlet {}\n",
                env!("CARGO_PKG_VERSION")
            )));
        }
        if given
            .get("reverse-type")
            .is_some_and(|kind| !kind.is_empty())
        {
            return Err("--reverse-type: this version only listens".into());
        }
        let role_vm = match given.get("role") {
            None | Some("process" | "") => false,
            Some("vm") => true,
            Some(other) => return Err(format!("--role={other}: neither vm nor process")),
        };
        let listen = given
            .get("listen")
            .filter(|text| !matches!(*text, "" | "AUTO"));
        let ssh = given.switch("ssh")?.unwrap_or(role_vm);
        let ssh_port = given.get("ssh-port").map_or(Ok(SSH_PORT), str::parse);
        let ssh_port = ssh_port.map_err(|_| "--ssh-port: not a port".to_owned())?;
        Ok(Asked::Run(Box::new(Self {
            work_dir: path(&given, "workdir"),
            listen: listen
                .map(str::parse)
                .transpose()
                .map_err(|text: String| format!("--listen: {text}"))?,
            role_vm,
            halt: given.switch("halt")?.unwrap_or(role_vm),
            reboot: switch("reboot")?,
            state_dir: path(&given, "state-dir"),
            lease_ttl: given.get("lease-ttl").map(duration).transpose()?,
            insecure: switch("i-know-this-is-insecure")?,
            links_may_leave: switch("links-may-leave")?,
            fetch_anywhere: switch("fetch-anywhere")?,
            archives: if switch("go2020-archives")? {
                tarutil::Policy::go2020()
            } else {
                tarutil::Policy::default()
            },
            ssh: ssh.then(|| SshAccess::at_port(ssh_port)),
            log_level: level(given.get("log").unwrap_or("info"))?,
        })))
    }

    /// Where to listen; `AUTO` depends on what the machine is for.
    pub(super) fn address(&self, has_tls: bool) -> Result<Address, String> {
        let auto = match (self.role_vm, has_tls) {
            (false, _) => LOCAL,
            (true, true) => ":443",
            (true, false) => ":80",
        };
        self.listen.clone().map_or_else(|| auto.parse(), Ok)
    }
}

fn path(given: &Given, name: &str) -> Option<PathBuf> {
    given
        .get(name)
        .filter(|text| !text.is_empty())
        .map(PathBuf::from)
}

fn level(text: &str) -> Result<Level, String> {
    text.parse()
        .map_err(|_| format!("--log={text}: no such level"))
}

/// A whole number with a unit: `90s`, `5m`, `1h`, `250ms`; without one, seconds.
fn duration(text: &str) -> Result<Duration, String> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number
        .parse()
        .map_err(|_| format!("{text:?} is no duration"))?;
    match unit {
        "ms" => Ok(Duration::from_millis(number)),
        "s" | "" => Ok(Duration::from_secs(number)),
        "m" => Ok(Duration::from_secs(number.saturating_mul(60))),
        "h" => Ok(Duration::from_secs(number.saturating_mul(3600))),
        _ => Err(format!(
            "{text:?} is no duration: the unit is ms, s, m or h"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(args: &[&str]) -> Options {
        match Options::parse(args.iter().map(OsString::from)) {
            Ok(Asked::Run(options)) => *options,
            Ok(Asked::Tell(text)) => panic!("{text}"),
            Err(text) => panic!("{text}"),
        }
    }

    #[test]
    fn the_machine_is_turned_off_only_when_that_was_meant() {
        assert!(!options(&[]).halt);
        assert!(options(&["-halt"]).halt);
        assert!(options(&["-role=vm"]).halt);
        assert!(!options(&["-role=vm", "-halt=false"]).halt);
        assert!(options(&[]).ssh.is_none() && options(&["-role", "vm"]).ssh.is_some());
    }

    #[test]
    fn the_address_depends_on_the_role_and_the_certificate() {
        let address = |args: &[&str], tls| options(args).address(tls).unwrap().to_string();
        assert_eq!(address(&[], true), "localhost:5936");
        assert_eq!(address(&["-listen=AUTO", "-role=vm"], true), ":443");
        assert_eq!(address(&["-role=vm"], false), ":80");
        assert_eq!(address(&["-listen", "unix:/s"], false), "unix:/s");
    }

    #[test]
    fn durations_have_units() {
        assert_eq!(duration("90"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        for bad in ["", "s", "1d", "-1s", "1.5s"] {
            assert!(duration(bad).is_err(), "{bad:?}");
        }
    }
}
