//! The door of a farm: where it listens, how it encrypts, and what is behind it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use build_server::front::{Front, Limits, Plain, Services};
use build_server::https::acme::{Acme, Autocert};
use build_server::https::{CertificateFiles, Tls, development};
use build_server::supervise::Supervisor;
use farmer_cli::{Exit, Failure};
use rustix::process::{Resource, getrlimit};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::cli::TlsArgs;

/// Where the authority of `--tls-dev` lies in the data directory.
const AUTHORITY: &str = "tls";

/// What keeps the certificate good.
enum Renewed {
    Nothing,
    Files(CertificateFiles),
    Acme(Acme),
}

/// A door that listens and serves nobody yet.
pub(crate) struct Door {
    listeners: Vec<TcpListener>,
    tls: Option<Tls>,
    plain: Plain,
    renewed: Renewed,
    /// Where people find it.
    pub(crate) address: String,
    /// Where programs of this machine find it, without TLS.
    pub(crate) local_address: String,
}

impl Door {
    /// Listens; `names` are what the machine is called, for a development certificate.
    pub(crate) async fn open(
        address: SocketAddr,
        args: &TlsArgs,
        names: &[String],
        data: &Path,
    ) -> Result<Self, Failure> {
        let is_encrypted = args.tls_dev || args.tls_cert.is_some() || !args.acme.is_empty();
        check_reach(address.ip(), is_encrypted || args.insecure_http)?;
        let (tls, renewed) = encryption(args, names, data)?;
        let listeners = listen(address).await?;
        let local = listeners[0].local_addr()?;
        let authority = match local.ip().is_loopback() {
            true => format!("localhost:{}", local.port()),
            false => local.to_string(),
        };
        let scheme = if is_encrypted { "https" } else { "http" };
        Ok(Self {
            listeners,
            tls,
            plain: match args.insecure_http {
                true => Plain::Serve,
                false => Plain::Local,
            },
            renewed,
            address: format!("{scheme}://{authority}"),
            local_address: format!("http://{authority}"),
        })
    }

    /// Serves until `stop` is canceled.
    pub(crate) fn serve(self, services: Services, tasks: &Supervisor, stop: &CancellationToken) {
        let limits = match getrlimit(Resource::Nofile).current {
            Some(descriptors) => Limits::for_descriptors(descriptors),
            None => Limits::default(),
        };
        #[cfg(feature = "sim")]
        let limits = crate::bench::chaos::fewer_places(limits);
        let mut front = Front::new(services)
            .with_limits(limits)
            .with_plain(self.plain);
        if let Some(tls) = self.tls {
            front = front.with_tls(tls);
        }
        let serving = front.run_all(self.listeners, stop.clone());
        tasks.group("door").spawn("serve", serving);
        let renewing = tasks.group("certificate");
        match self.renewed {
            Renewed::Nothing => {}
            Renewed::Files(files) => drop(renewing.spawn("watch", files.watch(stop.clone()))),
            Renewed::Acme(acme) => drop(renewing.spawn("renew", acme.run(stop.clone()))),
        }
    }
}

/// Others on the network read and talk in the clear: only when that is wanted.
fn check_reach(addr: IpAddr, is_fine: bool) -> Result<(), Failure> {
    if addr.is_loopback() || is_fine {
        return Ok(());
    }
    Err(Failure::usage(
        format!("{addr} can be reached from other machines, and HTTP is not private"),
        "give a certificate with --tls-cert and --tls-key or --acme, or accept it with --insecure-http",
    ))
}

fn encryption(
    args: &TlsArgs,
    names: &[String],
    data: &Path,
) -> Result<(Option<Tls>, Renewed), Failure> {
    if let (Some(chain), Some(key)) = (&args.tls_cert, &args.tls_key) {
        let files = CertificateFiles::open(chain, key).map_err(|error| {
            let hint = "give PEM files: the chain, the server's own first, and its private key";
            Failure::because(Exit::Usage, &error, Some(hint))
        })?;
        let tls = Tls::new(files.certificate().clone());
        return Ok((Some(tls), Renewed::Files(files)));
    }
    if !args.acme.is_empty() {
        let acme = acme(args, data)?;
        return Ok((Some(Tls::with_acme(&acme)), Renewed::Acme(acme)));
    }
    if !args.tls_dev {
        return Ok((None, Renewed::Nothing));
    }
    let dir: PathBuf = data.join(AUTHORITY);
    let made = development(&dir, names).map_err(|error| {
        let hint = format!("see that {} can be written", dir.display());
        Failure::because(Exit::Infrastructure, &error, Some(&hint))
    })?;
    farmer_cli::say!(
        "farmer: clients may trust the authority {}",
        made.ca_path().display()
    );
    Ok((Some(Tls::new(made.certificate().clone())), Renewed::Nothing))
}

/// A certificate from an authority, kept where the flags say.
fn acme(args: &TlsArgs, data: &Path) -> Result<Acme, Failure> {
    let failed = |error: build_server::https::Error| {
        let hint = "give names that lead to this machine, and a place that can be written";
        Failure::because(Exit::Usage, &error, Some(hint))
    };
    let kept = args.acme_cache.clone();
    let wanted = Autocert {
        hosts: args.acme.clone(),
        cache: kept.unwrap_or_else(|| data.join("acme").display().to_string()),
        directory: args.acme_directory.clone(),
        root: args.acme_root.clone(),
        contact: args.acme_mail.clone(),
    };
    // Credentials of a store are those of the environment, as its own tools read them.
    wanted.open(std::env::vars()).map_err(failed)
}

/// Listens on the address; on the loopback one of the other family too, for browsers may try
/// that first for `localhost`.
async fn listen(first: SocketAddr) -> Result<Vec<TcpListener>, Failure> {
    let listener = TcpListener::bind(first).await.map_err(|e| busy(first, e))?;
    let port = listener.local_addr()?.port();
    let mut listeners = vec![listener];
    if first.ip() == Ipv4Addr::LOCALHOST {
        let second = SocketAddr::from((Ipv6Addr::LOCALHOST, port));
        // A machine without IPv6, or a program that has it: the first address is the one told.
        listeners.extend(TcpListener::bind(second).await.ok());
    }
    Ok(listeners)
}

fn busy(address: SocketAddr, error: std::io::Error) -> Failure {
    if error.kind() == std::io::ErrorKind::AddrInUse {
        return Failure::usage(
            format!("another program listens on {address}"),
            "choose another port with --port, or any free one with --port 0",
        );
    }
    Failure::usage(
        format!("cannot listen on {address}: {error}"),
        "choose another address with --addr and --port",
    )
}
