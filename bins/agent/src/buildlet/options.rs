//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use build_core::tarutil;
use build_server::buildlet::{Address, SshAccess};
use tracing::Level;

use crate::flags::{Flag, Given, help};

/// Where development coordinators are.
const COORDINATOR: &str = "localhost:8119";
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
        "keep-dir",
        "DIR",
        "toolchains of builds are kept here between builds; several buildlets may\nshare it. Default: trees in the state directory",
    ),
    Flag::value(
        "keep-size",
        "SIZE",
        "what they may take of the disk (500M, 20G): beyond it those go that nobody\nasked for in a day; those of a month ago go anyway. Default: 20G",
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
        "paths of requests may lead out of the work directory through symbolic\nlinks; without it such links may exist and are never followed",
    ),
    Flag::value(
        "go-cache",
        "DIR",
        "commands have this GOCACHE, which others may share, instead of\nWORKDIR/gocache",
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
    Flag::switch(
        "sandbox",
        "starts each command behind the fence that sandbox.json in the state directory\ndescribes, and none without it",
    ),
    Flag::value("log", "LEVEL", "error, warn, info or debug. Default: info"),
    Flag::value(
        "reverse-type",
        "HOST_TYPE",
        "registers at a coordinator as a machine of that kind instead of listening;\nthe work directory is emptied before each use",
    ),
    Flag::value(
        "coordinator",
        "ADDRESS",
        "that coordinator, host:port. Default: localhost:8119",
    ),
    Flag::value(
        "hostname",
        "NAME",
        "name to register with. Default: $HOSTNAME, else the machine's",
    ),
    Flag::value(
        "key-file",
        "FILE",
        "key or token of this machine. Default: $GO_BUILD_KEY_PATH, else\n~/.gobuildkey-HOST_TYPE; for a coordinator on this machine, if there is none,\nthe public development key",
    ),
    Flag::value(
        "pin",
        "sha256:HEX",
        "the coordinator's key, or that of the authority which is its own",
    ),
    Flag::value(
        "ca-file",
        "FILE",
        "PEM of the authorities that vouch for the coordinator",
    ),
    Flag::switch(
        "compat-go-dev-mode",
        "any certificate and the public development key, for every coordinator but\nfarmer.golang.org, as the Go buildlet does; dangerous on a network",
    ),
    Flag::value("labels", "LIST", "what this machine has: gpu,big"),
    Flag::switch(
        "reconnect",
        "registers again when the coordinator is lost. Default: true",
    ),
    Flag::switch(
        "stay",
        "begins anew after /halt instead of ending: for machines without a supervisor",
    ),
    Flag::value(
        "self-update",
        "NAME",
        "keeps this program equal to the one that the coordinator offers under that\nname (buildlet, farmer), between two uses: whoever has the coordinator then\nchooses the program of this machine. Default: never",
    ),
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
  buildlet -coordinator=farm.example:443 -reverse-type=host-linux-arm --key-file=/etc/farm.key

A machine that registers goes through HTTPS_PROXY where it cannot connect directly, unless
NO_PROXY names the coordinator.

Exit codes: 0 stopped or halted, 1 cannot run or is refused by the coordinator, 2 bad usage,
75 the coordinator was lost (with --reconnect=false).

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
    pub(super) keep_dir: Option<PathBuf>,
    pub(super) keep_bytes: Option<u64>,
    pub(super) lease_ttl: Option<Duration>,
    pub(super) insecure: bool,
    pub(super) go_cache: Option<String>,
    pub(super) links_may_leave: bool,
    pub(super) fetch_anywhere: bool,
    pub(super) archives: tarutil::Policy,
    pub(super) ssh: Option<SshAccess>,
    pub(super) sandbox: bool,
    pub(super) log_level: Level,
    /// At which coordinator to register, and as what.
    pub(super) reverse: Option<ReverseOptions>,
}

/// How to register.
#[derive(Clone, Debug)]
#[cfg_attr(not(feature = "tls"), expect(dead_code, reason = "needs TLS"))]
pub(super) struct ReverseOptions {
    pub(super) host_type: String,
    pub(super) coordinator: String,
    pub(super) host_name: Option<String>,
    pub(super) key_file: Option<PathBuf>,
    pub(super) pin: Option<String>,
    pub(super) ca_file: Option<PathBuf>,
    pub(super) compat_dev: bool,
    pub(super) labels: Vec<String>,
    pub(super) reconnect: bool,
    pub(super) stay: bool,
    /// What the coordinator calls this program, when it is to be kept equal to that one.
    pub(super) self_update: Option<String>,
}

impl ReverseOptions {
    fn parse(given: &Given) -> Result<Option<Self>, String> {
        let text = |name| given.get(name).filter(|text| !text.is_empty());
        let Some(host_type) = text("reverse-type") else {
            return Ok(None);
        };
        build_core::ids::HostType::new(host_type)
            .map_err(|error| format!("--reverse-type: {error}"))?;
        if text("pin").is_some() && text("ca-file").is_some() {
            return Err("--pin and --ca-file: one of them is enough".into());
        }
        let labels = text("labels").unwrap_or_default().split(',').map(str::trim);
        Ok(Some(Self {
            host_type: host_type.to_owned(),
            coordinator: text("coordinator").unwrap_or(COORDINATOR).to_owned(),
            host_name: text("hostname").map(str::to_owned),
            key_file: path(given, "key-file"),
            pin: text("pin").map(str::to_owned),
            ca_file: path(given, "ca-file"),
            compat_dev: given.switch("compat-go-dev-mode")?.unwrap_or(false),
            labels: labels
                .filter(|label| !label.is_empty())
                .map(str::to_owned)
                .collect(),
            reconnect: given.switch("reconnect")?.unwrap_or(true),
            stay: given.switch("stay")?.unwrap_or(false),
            self_update: text("self-update").map(str::to_owned),
        }))
    }
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
            keep_dir: path(&given, "keep-dir"),
            keep_bytes: given.get("keep-size").map(size).transpose()?,
            lease_ttl: given.get("lease-ttl").map(duration).transpose()?,
            insecure: switch("i-know-this-is-insecure")?,
            go_cache: given
                .get("go-cache")
                .filter(|dir| !dir.is_empty())
                .map(str::to_owned),
            links_may_leave: switch("links-may-leave")?,
            fetch_anywhere: switch("fetch-anywhere")?,
            archives: if switch("go2020-archives")? {
                tarutil::Policy::go2020()
            } else {
                tarutil::Policy::trees()
            },
            ssh: ssh.then(|| SshAccess::at_port(ssh_port)),
            sandbox: switch("sandbox")?,
            log_level: level(given.get("log").unwrap_or("info"))?,
            reverse: ReverseOptions::parse(&given)?,
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

/// A whole number of bytes, or of KiB, MiB, GiB: `500M`, `20G`.
fn size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let shift = match &text[digits.len()..] {
        "" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        _ => return Err(format!("{text:?} is no size: the unit is K, M or G")),
    };
    let number: Option<u64> = digits.parse().ok();
    let bytes = number.and_then(|number| number.checked_mul(1 << shift));
    bytes.ok_or_else(|| format!("{text:?} is no size"))
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
    fn a_machine_registers_as_what_it_is_told() {
        assert!(options(&[]).reverse.is_none());
        let told = options(&["-reverse-type=host-linux-arm", "--labels=gpu, big,"]);
        let reverse = told.reverse.unwrap();
        assert_eq!(reverse.coordinator, "localhost:8119");
        assert_eq!(reverse.labels, ["gpu", "big"]);
        assert!(reverse.reconnect && !reverse.stay && !reverse.compat_dev);
        for bad in [
            &["-reverse-type=../x"][..],
            &["-reverse-type=x", "--pin=p", "--ca-file=c"],
        ] {
            assert!(
                Options::parse(bad.iter().map(OsString::from)).is_err(),
                "{bad:?}"
            );
        }
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!(size("500M"), Ok(500 << 20));
        assert_eq!(size("20G"), Ok(20 << 30));
        assert_eq!(size("7"), Ok(7));
        for bad in ["", "G", "1T", "-1", "1.5G", "99999999999G"] {
            assert!(size(bad).is_err(), "{bad:?}");
        }
        let told = options(&["--keep-dir=/k", "--keep-size=1G"]);
        assert_eq!(told.keep_dir, Some("/k".into()));
        assert_eq!(told.keep_bytes, Some(1 << 30));
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
