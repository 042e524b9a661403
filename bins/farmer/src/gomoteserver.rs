//! `gomoteserver`: machines for people and nothing else, with flags of the Go project's.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use build_core::builders::Farm;
use build_core::key::MasterKey;
use build_core::recipe::Detect;
use build_core::work::Builder;
use build_server::coordinator::Coordinator;
use build_server::pool::{LocalPool, ReversePool};
use build_server::source::GitCheckouts;
use build_server::store::Store;
use build_server::supervise::Supervisor;
use build_server::web::{Hosts, Site, TokenFile};
use build_server::who::{self, Directory, Oidc};
use clap::Parser;
use farmer_cli::{Exit, Failure, serving};
use tokio_util::sync::CancellationToken;

use crate::cli::TlsArgs;
use crate::coordinator::{Mode, builders, master_key};
use crate::data_dir::data_dir;
use crate::door::Door;
use crate::farm_file::FarmFile;
use crate::machines::own_program;
use crate::output::{failure, print_text};
use crate::services::{gomote, services, with_grpc};
use crate::ssh::{Port, SshArgs};

/// How long the end may take.
const DRAIN: Duration = Duration::from_secs(20);
/// Where one for development answers, and one for others.
const DEV: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8119);
const PROD: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 443);
/// The kind of this computer's machines.
const LOCAL: &str = "host-linux-amd64-localdev";

const EXAMPLES: &str = "\
Examples:
  gomoteserver -mode=dev                       try it: gomote -localdev create linux-amd64-localdev
  gomoteserver -mode=dev -listen-https-selfsigned=localhost:7443 -machines=4
  gomoteserver -mode=prod -masterkey=key -listen-https-autocert=:443 -acme=gomote.example.com
  gomoteserver -mode=prod -masterkey=key -listen-https-autocert=:443 -acme=gomote.example.com -ssh_addr=:2222
  gomoteserver -mode=prod -masterkey=key -tls-cert=c.pem -tls-key=k.pem -farm=farmer.toml

Machines register at it by themselves, with keys that genbuilderkey makes of the master key.
People show a key, a token (farmer key create), or a token of an identity provider that the
file of -farm names. Without -mode it is dev, unless a master key or a certificate is given.
Exit codes: 0 it was told to stop, 2 bad usage, 3 it cannot run.";

/// Hands machines out to people: the interfaces of gomote, of 2020 and by gRPC, on one port.
#[derive(Debug, Parser)]
#[command(name = "gomoteserver", version, after_help = EXAMPLES)]
struct Args {
    /// dev or prod
    #[arg(long, default_value = "", hide_default_value = true)]
    mode: String,
    /// The environment: has no effect, a farm is one by itself
    #[arg(long, hide = true)]
    env: Option<String>,
    #[command(flatten)]
    ssh: SshArgs,
    /// Answer there with a certificate for this machine, by an authority in the data directory
    #[arg(long, value_name = "IP:PORT", value_parser = address, group = "address")]
    listen_https_selfsigned: Option<SocketAddr>,
    /// Answer there with a certificate from an authority; see -acme
    #[arg(
        long,
        value_name = "IP:PORT",
        value_parser = address,
        group = "address",
        requires = "acme"
    )]
    listen_https_autocert: Option<SocketAddr>,
    /// Answer there without encryption
    #[arg(long, value_name = "IP:PORT", value_parser = address, group = "address")]
    listen_http: Option<SocketAddr>,
    /// Answer there [default: 127.0.0.1:8119 in dev mode, else 0.0.0.0:443]
    #[arg(long, value_name = "IP:PORT", value_parser = address, group = "address")]
    listen: Option<SocketAddr>,
    /// File with the master key of hosts and users
    #[arg(
        long,
        value_name = "FILE",
        default_value = "",
        hide_default_value = true
    )]
    masterkey: String,
    /// Builders and hosts [default: those of the Go project in December 2020]
    #[arg(long, value_name = "FILE")]
    builders: Option<PathBuf>,
    /// Settings of the farm, of which the identity providers count [default: farmer.toml in the
    /// data directory]
    #[arg(long, value_name = "FILE")]
    farm: Option<PathBuf>,
    /// A name under which it is opened, besides localhost and addresses
    #[arg(long, value_name = "NAME")]
    host: Vec<String>,
    /// Machines of this computer, of the kind host-linux-amd64-localdev [default: 1 in dev mode,
    /// else 0]
    #[arg(long, value_name = "N")]
    machines: Option<usize>,
    /// Where sessions, users and files on their way are kept [default: gomoteserver in farmer's
    /// data directory]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    #[command(flatten)]
    tls: TlsArgs,
}

/// An address as Go writes them: without a host it is every one of this machine.
pub(crate) fn address(text: &str) -> Result<SocketAddr, String> {
    let whole = match text.split_once(':') {
        Some(("", port)) => format!("0.0.0.0:{port}"),
        Some(("localhost", port)) => format!("127.0.0.1:{port}"),
        _ => text.to_owned(),
    };
    let address = whole.parse().ok();
    address.ok_or_else(|| "an address is IP:PORT, localhost:PORT or :PORT".into())
}

/// The entry point: the arguments without the program's name.
pub(crate) fn main(args: Vec<OsString>) -> ExitCode {
    serving(args, run)
}

async fn run(mut args: Args, stop: CancellationToken) -> Result<(), Failure> {
    let mode = args.mode()?;
    let listening = args.door(mode)?;
    let master = master_key(&args.masterkey, mode)?;
    let farm = builders(args.builders.as_deref())?;
    let data = match args.data.take() {
        Some(dir) => dir,
        None => data_dir(None)?.join("gomoteserver"),
    };
    let file = FarmFile::open(args.farm.as_deref(), &data)?;
    let machines = args.machines.unwrap_or(usize::from(mode == Mode::Dev));
    eprintln!(
        "gomoteserver: {} mode, {} builders on {} kinds of hosts, {machines} machines of this computer",
        if mode == Mode::Dev { "dev" } else { "prod" },
        farm.builders().count(),
        farm.hosts().count()
    );
    let store = Store::open(&data).await.map_err(|e| failure(&e))?;
    let token = TokenFile::open(&data).map_err(|e| failure(&e))?;
    let directory = directory(&data, &file, master, mode)?;
    let door = Door::open(listening, &args.tls, &args.host, &data).await?;
    if let Some(lock) = store.lock() {
        let (local, shown) = (door.local_address.clone(), door.address.clone());
        let told = lock.publish(Some(local), Some(shown), Some(token.token().to_owned()));
        told.map_err(|e| failure(&e))?;
    }
    let reverse = ReversePool::builder(directory.clone())
        .spool_dir(data.join("reverse"))
        .build();
    let checkouts = GitCheckouts::new(data.join("git"));
    let coordinator = coordinator(&farm, &store, &checkouts, &reverse, machines, &data)?;
    let handle = coordinator.handle();
    let names = args.host.iter().chain(&args.tls.acme);
    let site = Site::new(handle.clone(), store.clone(), token)
        .with_outboxes(handle.outboxes().clone())
        .with_checkouts(checkouts)
        .with_directory(directory.clone())
        .with_identity(file.identity())
        .with_hosts(names.fold(Hosts::default(), Hosts::and));
    let all = Supervisor::new("gomoteserver");
    let writing = directory.clone().run(all.token().clone());
    all.group("who").spawn("write", writing);
    let gomote = gomote(&handle, directory.clone(), &all).await;
    let gomote = gomote.map_err(|e| failure(&e))?;
    let services = services(&site, &reverse, gomote.clone());
    let ssh = Port::asked(&args.ssh, &data, &gomote, &directory).await?;
    let services = with_grpc(services, gomote, ssh.as_ref(), &data, &all).await?;
    print_text(&format!("{}\n", door.address))?;
    let serving = CancellationToken::new();
    if let Some(port) = ssh {
        port.serve(&all, &serving);
    }
    door.serve(services, &all, &serving);
    let ran = all.spawn("coordinator", coordinator.run(stop)).await;
    serving.cancel();
    if let Err(error) = all.drain(DRAIN).await {
        tracing::warn!(%error, "the server has ended");
    }
    if let Err(error) = store.close().await {
        tracing::warn!(error = error.chain(), "the store has ended");
    }
    ran.map_err(|e| Failure::because(Exit::Infrastructure, &e, None))?
        .map_err(|e| failure(&e))
}

/// Everybody who has a key of the master key, users and keys of the data directory, and people
/// whom an identity provider knows.
fn directory(
    data: &Path,
    file: &FarmFile,
    master: MasterKey,
    mode: Mode,
) -> Result<Directory, Failure> {
    let mut options = who::Options::default();
    options = match mode {
        Mode::Dev => options.development(),
        Mode::Prod => options.master(master),
    };
    if !file.identity().is_empty() {
        let believed = Oidc::new(file.identity()).map_err(|e| failure(&e))?;
        options = options.signed_tokens(believed);
    }
    Directory::open_with(data, options).map_err(|e| failure(&e))
}

/// One without work of its own: it holds machines for sessions alone.
fn coordinator(
    farm: &Farm,
    store: &Store,
    checkouts: &GitCheckouts,
    reverse: &ReversePool,
    machines: usize,
    data: &Path,
) -> Result<Coordinator, Failure> {
    let mut parts = Coordinator::builder()
        .store(store.clone())
        .checkouts(checkouts.clone())
        .recipe(Detect)
        .pool(reverse.clone());
    if machines > 0 {
        let local = LOCAL.parse().map_err(|e: build_core::Error| failure(&e))?;
        let pool = LocalPool::builder(own_program()?, machines)
            .called("farmer")
            .data_dir(data)
            .host_type(local)
            .sandbox(build_core::plan::Sandbox::Auto);
        parts = parts.pool(pool.build().map_err(|e| failure(&e))?);
    }
    for builder in farm.builders() {
        let name = builder.name().parse().map_err(|e| failure(&e))?;
        let host = builder.host().name.parse().map_err(|e| failure(&e))?;
        let mut known = Builder::new(name, host);
        let env = builder.env().into_iter();
        let pairs = env.filter_map(|line| {
            let (name, value) = line.split_once('=')?;
            Some((name.to_owned(), value.to_owned()))
        });
        known.env.extend(pairs);
        parts = parts.build_on(known);
    }
    parts.build().map_err(|e| failure(&e))
}

impl Args {
    fn mode(&self) -> Result<Mode, Failure> {
        if self.env.is_some() {
            eprintln!("gomoteserver: -env has no effect");
        }
        let is_for_others = !self.masterkey.is_empty()
            || self.tls.tls_cert.is_some()
            || self.listen_https_autocert.is_some();
        match (self.mode.as_str(), is_for_others) {
            ("dev", _) | ("", false) => Ok(Mode::Dev),
            ("prod", _) | ("", true) => Ok(Mode::Prod),
            (mode, _) => Err(Failure::usage(
                format!("Unknown mode: {mode:?}"),
                "give -mode=dev or -mode=prod",
            )),
        }
    }

    /// Where it answers; says in `tls` how.
    fn door(&mut self, mode: Mode) -> Result<SocketAddr, Failure> {
        let given = self
            .listen_https_selfsigned
            .or(self.listen_https_autocert)
            .or(self.listen_http)
            .or(self.listen);
        let address = given.unwrap_or(match mode {
            Mode::Dev => DEV,
            Mode::Prod => PROD,
        });
        if mode == Mode::Dev && !address.ip().is_loopback() {
            return Err(Failure::usage(
                format!(
                    "{address} can be reached from other machines, and everybody knows the key of dev mode"
                ),
                "listen on 127.0.0.1, or use -mode=prod with a master key of your own",
            ));
        }
        let has_certificate = self.tls.tls_cert.is_some() || !self.tls.acme.is_empty();
        let is_plain = self.listen_http.is_some();
        if self.listen_https_selfsigned.is_some() && has_certificate {
            return Err(Failure::usage(
                "a certificate was given, and one for this machine is to be made",
                "leave one of them out",
            ));
        }
        if !is_plain && !has_certificate {
            let is_wanted = self.listen_https_selfsigned.is_some() || self.tls.tls_dev;
            if mode == Mode::Prod && !is_wanted {
                return Err(Failure::usage(
                    "no certificate was given",
                    "give one with -tls-cert and -tls-key, or -listen-https-autocert and -acme",
                ));
            }
            self.tls.tls_dev = true;
        }
        Ok(address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_those_of_go() {
        for (text, means) in [
            (":443", "0.0.0.0:443"),
            ("localhost:7443", "127.0.0.1:7443"),
            ("10.1.2.3:1", "10.1.2.3:1"),
            ("[::1]:2", "[::1]:2"),
        ] {
            assert_eq!(address(text).unwrap().to_string(), means);
        }
        for text in ["", "443", ":x", "name:1", ":70000"] {
            assert!(address(text).is_err(), "{text}");
        }
    }
}
