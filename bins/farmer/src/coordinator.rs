//! `coordinator`: the farm with the flags, addresses and documents of the Go project's.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use build_client::build_dashboard::Dashboard;
use build_core::buildenv::{Environment, Environments};
use build_core::builders::Farm;
use build_core::key::{GO_DEVELOPMENT_MASTER, MasterKey};
use build_core::recipe::Detect;
use build_server::classic::Classic;
use build_server::coordinator::{Coordinator, Handle};
use build_server::front::Services;
use build_server::grpc::{ClearResults, DashboardResults, FarmResults, Methods, PROTOS};
use build_server::http::{Guard, Hosts, guarded};
use build_server::pool::LocalPool;
use build_server::source::GitCheckouts;
use build_server::store::Store;
use build_server::supervise::Supervisor;
use build_server::web::{PrivateRepos, Site, service_at};
use build_server::who::{self, Directory, Pattern};
use clap::Parser;
use farmer_cli::{Exit, Failure, serving};
use tokio_util::sync::CancellationToken;

use crate::cli::TlsArgs;
use crate::data_dir::data_dir;
use crate::door::Door;
use crate::machines::own_program;
use crate::more_doors::MoreDoors;
use crate::output::{failure, print_text};
use crate::registered::{build_on, registered};
use crate::services::{gomote, programs};
use crate::ssh::{Port, SshArgs};

/// How long the end may take.
const DRAIN: Duration = Duration::from_secs(20);
/// Where a coordinator for development answers.
const DEV: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8119);
/// Where one for others answers.
const PROD: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 443);

const EXAMPLES: &str = "\
Examples:
  coordinator -mode=dev                                     try it: https://localhost:8119
  curl -k 'https://localhost:8119/builders?mode=json'       its builders and hosts
  coordinator -mode=prod -masterkey=key -tls-cert=c.pem -tls-key=k.pem

Without -mode it is dev, unless a master key or a certificate is given.
Exit codes: 0 it was told to stop, 2 bad usage, 3 it cannot run.";

/// Builds commits on machines, and hands machines out, as the Go project's coordinator does.
#[derive(Debug, Parser)]
#[command(name = "coordinator", version, after_help = EXAMPLES)]
struct Args {
    /// File with the master key of builders, hosts and users
    #[arg(
        long,
        value_name = "FILE",
        default_value = "",
        hide_default_value = true
    )]
    masterkey: String,
    /// dev or prod
    #[arg(long, default_value = "", hide_default_value = true)]
    mode: String,
    /// The environment: dev, symbolic-datum-552 or go-dashboard-dev [default: dev in dev mode]
    #[arg(long, default_value = "", hide_default_value = true)]
    env: String,
    /// Machines of Google Compute Engine in dev mode: not available
    #[arg(long = "dev_gce", hide = true)]
    dev_gce: bool,
    /// Machines of EC2 in dev mode: not available
    #[arg(long = "dev_ec2", hide = true)]
    dev_ec2: bool,
    /// Benchmarks in try runs: has no effect, as in the Go program
    #[arg(long = "run_bench", hide = true)]
    run_bench: bool,
    /// Where results of benchmarks go: has no effect, as in the Go program
    #[arg(long = "perf_server", hide = true, default_value = "")]
    perf_server: String,
    /// Builders and hosts [default: those of the Go project in December 2020]
    #[arg(long, value_name = "FILE")]
    builders: Option<PathBuf>,
    /// The address and port to answer on [default: 127.0.0.1:8119 in dev mode, else 0.0.0.0:443]
    #[arg(long, value_name = "IP:PORT")]
    listen: Option<SocketAddr>,
    /// A name under which it is opened, besides localhost and addresses
    #[arg(long, value_name = "NAME")]
    host: Vec<String>,
    /// Machines of this computer
    #[arg(long, value_name = "N", default_value_t = 1)]
    machines: usize,
    /// A repository that only some may read: NAME, or the beginning of names with a *
    #[arg(long, value_name = "NAME")]
    private: Vec<String>,
    /// Where builds, logs and caches are kept [default: coordinator in farmer's data directory]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    #[command(flatten)]
    ssh: SshArgs,
    #[command(flatten)]
    doors: MoreDoors,
    #[command(flatten)]
    tls: TlsArgs,
}

/// What it runs as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Dev,
    Prod,
}

/// The entry point: the arguments without the program's name.
pub(crate) fn main(args: Vec<OsString>) -> ExitCode {
    serving(args, run)
}

async fn run(mut args: Args, stop: CancellationToken) -> Result<(), Failure> {
    let mode = args.mode()?;
    let address = args.address(mode)?;
    let master = master_key(&args.masterkey, mode)?;
    let environment = args.environment(mode)?;
    let farm = builders(args.builders.as_deref())?;
    args.check_certificate(mode)?;
    let data = match args.data.take() {
        Some(dir) => dir,
        None => data_dir(None)?.join("coordinator"),
    };
    eprintln!(
        "coordinator: {} mode, environment {}, {} builders on {} kinds of hosts",
        if mode == Mode::Dev { "dev" } else { "prod" },
        environment.name,
        farm.builders().count(),
        farm.hosts().count()
    );
    let store = Store::open(&data).await.map_err(|e| failure(&e))?;
    let directory = directory(mode, &master, &data)?;
    let registered = registered(&directory, &farm, &data).map_err(|e| failure(&e))?;
    let door = Door::open(address, &args.tls, &args.host, &data).await?;
    let checkouts = GitCheckouts::new(data.join("git"));
    let program = own_program()?;
    let pool = LocalPool::builder(program, args.machines.max(1))
        .called("farmer")
        .data_dir(&data)
        .sandbox(build_core::plan::Sandbox::Auto);
    let coordinator = Coordinator::builder()
        .store(store.clone())
        .checkouts(checkouts.clone())
        .recipe(Detect)
        .pool(pool.build().map_err(|e| failure(&e))?)
        .pool(registered.clone());
    let coordinator = build_on(coordinator, &farm)
        .map_err(|e| failure(&e))?
        .build()
        .map_err(|e| failure(&e))?;
    let handle = coordinator.handle();
    if let Some(lock) = store.lock() {
        let told = Some(door.local_address.clone());
        let token = directory.owner_token().map(|t| t.token().to_owned());
        lock.publish(told, Some(door.address.clone()), token)
            .map_err(|e| failure(&e))?;
    }
    let all = Supervisor::new("coordinator");
    let hosts = args.host.iter().fold(Hosts::default(), Hosts::and);
    let token = directory.owner_token().cloned();
    let token = token.ok_or_else(|| Failure::usage("there is no token", "give -data a folder"))?;
    let site = Site::new(handle.clone(), store, token)
        .with_checkouts(checkouts)
        .with_private(args.private()?)
        .with_directory(directory.clone())
        .with_registered(registered.clone())
        .with_tasks(&all)
        .with_hosts(hosts.clone());
    let classic = Classic::new(handle.clone(), farm, &door.address)
        .with_people(site.clone())
        .with_machines(registered.clone())
        .with_user(user());
    let writing = directory.clone().run(all.token().clone());
    all.group("who").spawn("write", writing);
    let gomote = gomote(&handle, directory.clone(), &all).await;
    let gomote = gomote.map_err(|e| failure(&e))?;
    let ssh = Port::asked(&args.ssh, &data, &gomote, &directory).await?;
    let mut services = services(&site, &classic, hosts)
        .with_pages(programs(&data).router())
        .with_dialect(registered.dialect())
        .with_dialect(gomote.clone());
    if let Some(port) = &ssh {
        services = services.with_dialect(port.tickets(gomote)?);
    }
    let services = with_methods(services, &environment, &handle, master).await?;
    let serving = CancellationToken::new();
    args.doors.open(&data, &all, &serving).await?;
    if let Some(port) = ssh {
        port.serve(&all, &serving);
    }
    print_text(&format!("{}\n", door.address))?;
    door.serve(services, &all, &serving);
    let ran = all.spawn("coordinator", coordinator.run(stop)).await;
    serving.cancel();
    if let Err(error) = all.drain(DRAIN).await {
        tracing::warn!(%error, "the coordinator has ended");
    }
    registered.flush().await.map_err(|e| failure(&e))?;
    ran.map_err(|e| Failure::because(Exit::Infrastructure, &e, None))?
        .map_err(|e| failure(&e))
}

impl Args {
    fn mode(&self) -> Result<Mode, Failure> {
        if self.dev_gce || self.dev_ec2 {
            return Err(Failure::usage(
                "machines of a cloud are not available in dev mode",
                "leave -dev_gce and -dev_ec2 out; machines connect by themselves",
            ));
        }
        if self.run_bench || !self.perf_server.is_empty() {
            eprintln!("coordinator: -run_bench and -perf_server have no effect");
        }
        let is_for_others = !self.masterkey.is_empty() || self.tls.tls_cert.is_some();
        match (self.mode.as_str(), is_for_others) {
            ("dev", _) | ("", false) => Ok(Mode::Dev),
            ("prod", _) | ("", true) => Ok(Mode::Prod),
            (mode, _) => Err(Failure::usage(
                format!("Unknown mode: {mode:?}"),
                "give -mode=dev or -mode=prod",
            )),
        }
    }

    fn address(&self, mode: Mode) -> Result<SocketAddr, Failure> {
        let address = self.listen.unwrap_or(match mode {
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
        Ok(address)
    }

    fn environment(&self, mode: Mode) -> Result<Environment, Failure> {
        let name = match (self.env.as_str(), mode) {
            ("", Mode::Dev) => "dev",
            ("", Mode::Prod) => "symbolic-datum-552",
            (name, _) => name,
        };
        let all = Environments::go2020();
        all.by_name(name).cloned().map_err(|e| failure(&e))
    }

    fn private(&self) -> Result<PrivateRepos, Failure> {
        let patterns = self.private.iter().map(|name| Pattern::new(name));
        let patterns: build_core::Result<Vec<_>> = patterns.collect();
        Ok(PrivateRepos::new(patterns.map_err(|e| failure(&e))?))
    }

    /// Everybody in prod mode is told who it is that they talk to.
    fn check_certificate(&mut self, mode: Mode) -> Result<(), Failure> {
        if self.tls.tls_cert.is_some() || self.tls.tls_dev {
            return Ok(());
        }
        if mode == Mode::Prod {
            return Err(Failure::usage(
                "no certificate was given",
                "give one with -tls-cert and -tls-key",
            ));
        }
        self.tls.tls_dev = true;
        Ok(())
    }
}

/// The secret that keys are made from. The public key of dev mode is taken nowhere else.
pub(crate) fn master_key(file: &str, mode: Mode) -> Result<MasterKey, Failure> {
    if file.is_empty() {
        return match mode {
            Mode::Dev => MasterKey::new(GO_DEVELOPMENT_MASTER).map_err(|e| failure(&e)),
            Mode::Prod => Err(Failure::usage(
                "No builder master key provided",
                "give the file that holds it with -masterkey",
            )),
        };
    }
    let name = file;
    let text = std::fs::read(file).map_err(|error| {
        let text = format!("cannot read the master key {name}: {error}");
        Failure::usage(text, "give a file that can be read with -masterkey")
    })?;
    let is_public = text.trim_ascii() == GO_DEVELOPMENT_MASTER.as_bytes();
    let key = MasterKey::new(text).map_err(|_| {
        let hint = "put a long random secret into it, for example: openssl rand -hex 32";
        Failure::usage(format!("the master key {name} is empty"), hint)
    })?;
    if mode == Mode::Prod && is_public {
        let text = format!("the master key {name} is the public one of dev mode");
        return Err(Failure::usage(text, "use a secret of your own"));
    }
    Ok(key)
}

/// The builders and hosts of a file, else those of the Go project.
pub(crate) fn builders(file: Option<&Path>) -> Result<Farm, Failure> {
    let Some(file) = file else {
        return Ok(Farm::go2020());
    };
    let name = file.display();
    let text = std::fs::read_to_string(file).map_err(|error| {
        let text = format!("cannot read the builders {name}: {error}");
        Failure::usage(text, "give a file that can be read with -builders")
    })?;
    Farm::from_toml(&text).map_err(|error| {
        Failure::usage(
            format!("the builders {name} are wrong: {error}"),
            "docs/configuration.md describes the file",
        )
    })
}

/// Users, keys and machines of the data directory, and what the master key makes.
fn directory(mode: Mode, master: &MasterKey, data: &Path) -> Result<Directory, Failure> {
    let options = match mode {
        // From this machine alone.
        Mode::Dev => who::Options::default().development(),
        Mode::Prod => who::Options::default(),
    };
    let options = match mode == Mode::Prod || !is_public(master) {
        true => options.master(master.clone()),
        false => options,
    };
    Directory::open_with(data, options).map_err(|e| failure(&e))
}

/// Whether everybody knows it.
fn is_public(master: &MasterKey) -> bool {
    let public = MasterKey::new(GO_DEVELOPMENT_MASTER);
    public.is_ok_and(|public| public.key_of("x") == master.key_of("x"))
}

/// Everything that it serves on its port but gRPC.
fn services(site: &Site, classic: &Classic, hosts: Hosts) -> Services {
    let pages = classic.router().merge(classic.front_page());
    Services::new()
        .with_pages(service_at(site.clone(), "/board"))
        .with_pages(guarded(pages, Guard::new(hosts)))
}

/// Results are cleared on the dashboard of the environment; without one they are the farm's own.
async fn with_methods(
    services: Services,
    environment: &Environment,
    handle: &Handle,
    master: MasterKey,
) -> Result<Services, Failure> {
    let clear = match environment.dash_base() {
        Some(base) => {
            let dashboard = Dashboard::new(base)
                .map_err(|error| Failure::because(Exit::Infrastructure, &error, None))?;
            ClearResults::new(DashboardResults::new(dashboard))
        }
        None => ClearResults::new(FarmResults::new(handle.clone(), master)),
    };
    let methods = Methods::new().with(clear, PROTOS).into_router().await;
    let methods = methods.map_err(|e| Failure::because(Exit::Infrastructure, &e, None))?;
    Ok(services.with_grpc(methods))
}

/// Whom this process runs as, for hosts that are this machine.
fn user() -> String {
    std::env::var("USER").unwrap_or_default()
}
