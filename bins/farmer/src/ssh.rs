//! The port of a farm for ssh, when it is asked for.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use build_server::gomote::{Gomote, SshDoor, SshKeys};
use build_server::ssh::{Gateway, Settings, Tickets};
use build_server::supervise::Supervisor;
use build_server::who::Directory;
use clap::Args;
use farmer_cli::Failure;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::output::failure;

/// The folder of its keys in the data directory.
const FOLDER: &str = "ssh";
/// What commands said, when it is wanted.
const TRANSCRIPTS: &str = "transcripts";
/// A file there for `ssh -o UserKnownHostsFile=`.
const KNOWN_HOSTS: &str = "known_hosts";

/// Reads `PORT` or `IP:PORT`; a port alone is one of the loopback.
pub(crate) fn address(text: &str) -> Result<SocketAddr, String> {
    if let Ok(port) = text.parse::<u16>() {
        return Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    }
    let hint = "give a port, or an address with one: 2222, 0.0.0.0:2222, [::]:2222";
    text.parse()
        .map_err(|_| format!("{text:?} is no address to listen on: {hint}"))
}

/// The flags of the Go project's servers.
#[derive(Debug, Args)]
pub(crate) struct SshArgs {
    /// Let users into their sessions over ssh there, with certificates of this server or their own
    /// keys (farmer key ssh) [default: nowhere]
    #[arg(
        long = "ssh_addr",
        value_name = "IP:PORT",
        value_parser = crate::gomoteserver::address
    )]
    ssh_addr: Option<SocketAddr>,
    /// Write down what commands say to them, in the folder ssh/transcripts of the data directory
    #[arg(long = "ssh_record", requires = "ssh_addr")]
    ssh_record: bool,
    /// Let them have their ssh agents forwarded (ssh -A): what runs on their machine can then sign with their keys
    #[arg(long = "ssh_agent", requires = "ssh_addr")]
    ssh_agent: bool,
}

/// How sessions are served.
#[derive(Clone, Copy, Debug)]
pub(crate) struct How {
    pub(crate) is_recorded: bool,
    pub(crate) with_agents: bool,
}

/// A gateway that listens and serves nobody yet.
pub(crate) struct Port {
    gateway: Gateway,
    listeners: Vec<TcpListener>,
}

impl Port {
    /// One where it is asked for.
    pub(crate) async fn asked(
        args: &SshArgs,
        data: &Path,
        gomote: &Gomote,
        directory: &Directory,
    ) -> Result<Option<Self>, Failure> {
        match args.ssh_addr {
            Some(address) => {
                let how = How {
                    is_recorded: args.ssh_record,
                    with_agents: args.ssh_agent,
                };
                let opened = Self::open(address, how, data, gomote, directory);
                opened.await.map(Some)
            }
            None => Ok(None),
        }
    }

    /// Listens, and says where people find it.
    pub(crate) async fn open(
        address: SocketAddr,
        how: How,
        data: &Path,
        gomote: &Gomote,
        directory: &Directory,
    ) -> Result<Self, Failure> {
        let dir = data.join(FOLDER);
        let settings = Settings {
            agent: how.with_agents,
            transcripts: how.is_recorded.then(|| dir.join(TRANSCRIPTS)),
            ..Settings::default()
        };
        let gateway = Gateway::open(&dir, gomote.sessions().clone(), directory.clone(), settings);
        let gateway = gateway.map_err(|e| failure(&e))?;
        let listener = TcpListener::bind(address).await.map_err(|error| {
            Failure::usage(
                format!("cannot listen on {address} for ssh: {error}"),
                "choose another address for it",
            )
        })?;
        let local = listener.local_addr()?;
        let mut listeners = vec![listener];
        if local.ip() == Ipv4Addr::LOCALHOST {
            // A machine without IPv6, or a program that has the port there: the first one is told.
            let second = SocketAddr::from((Ipv6Addr::LOCALHOST, local.port()));
            listeners.extend(TcpListener::bind(second).await.ok());
        }
        let known = known_hosts(local, gateway.host_key());
        std::fs::write(dir.join(KNOWN_HOSTS), known)?;
        farmer_cli::say!(
            "farmer: sessions answer to: ssh -p {} SESSION@{}; the host key is {}",
            local.port(),
            host(local.ip()),
            gateway.fingerprint()
        );
        Ok(Self { gateway, listeners })
    }

    /// What signs keys of those who ask by gRPC.
    pub(crate) fn keys(&self) -> Arc<dyn SshKeys> {
        Arc::new(self.gateway.clone())
    }

    /// Where clients find it.
    pub(crate) fn door(&self) -> Result<SshDoor, Failure> {
        Ok(SshDoor {
            port: self.listeners[0].local_addr()?.port(),
            host_key: self.gateway.host_key().to_owned(),
        })
    }

    /// Gives certificates for it at the farm's door.
    pub(crate) fn tickets(&self, gomote: Gomote) -> Result<Tickets, Failure> {
        let port = self.door()?.port;
        Ok(Tickets::new(gomote, self.gateway.clone(), port))
    }

    /// Serves until `stop` is canceled.
    pub(crate) fn serve(self, tasks: &Supervisor, stop: &CancellationToken) {
        let group = tasks.group("ssh");
        let connections = group.group("connections");
        let serving = self.gateway.run(self.listeners, connections, stop.clone());
        group.spawn("serve", serving);
    }
}

fn host(ip: IpAddr) -> String {
    match ip.is_loopback() {
        true => "localhost".to_owned(),
        false if ip.is_unspecified() => "THIS-MACHINE".to_owned(),
        false => ip.to_string(),
    }
}

fn known_hosts(local: SocketAddr, key: &str) -> String {
    let port = local.port();
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".into(), "::1".into()];
    if !local.ip().is_loopback() && !local.ip().is_unspecified() {
        names.push(local.ip().to_string());
    }
    let names: Vec<_> = names
        .iter()
        .map(|name| format!("[{name}]:{port}"))
        .collect();
    format!("{} {key}\n", names.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_alone_is_one_of_the_loopback() {
        assert_eq!(address("2222").unwrap(), "127.0.0.1:2222".parse().unwrap());
        assert_eq!(
            address("0.0.0.0:22").unwrap(),
            "0.0.0.0:22".parse().unwrap()
        );
        for bad in ["", "host", "localhost:22", "1.2.3.4", "70000"] {
            assert!(address(bad).is_err(), "{bad}");
        }
        let line = known_hosts("192.0.2.1:22".parse().unwrap(), "ssh-ed25519 AAAA");
        assert!(
            line.ends_with(",[192.0.2.1]:22 ssh-ed25519 AAAA\n"),
            "{line}"
        );
    }
}
