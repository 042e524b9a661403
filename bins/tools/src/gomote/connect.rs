//! Connections to machines.

use std::collections::VecDeque;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;

use build_client::gomote::{GomoteClient, SshTicket};
use build_client::{Error, ErrorKind};
use farmer_cli::Failure;
use futures::stream::{FuturesUnordered, StreamExt as _};
use tokio::io::copy_bidirectional;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::Done;
use super::args::{ConnectSsh, DEFAULT_LOGIN, Forward, Ssh};
use super::place::Place;
use crate::told::failed;

/// Accepts connections and leads each to the port, until told to stop.
pub(super) async fn forward(
    place: &Place,
    args: Forward,
    stop: &CancellationToken,
) -> Result<(), Failure> {
    let client = place.client()?;
    // Said now, not at the first connection.
    place.target(&mut [args.name.clone()].into()).await?;
    client.check_ports().await.map_err(|e| failed(&e))?;
    let listener = TcpListener::bind(&args.listen).await.map_err(|error| {
        Failure::usage(
            format!("cannot listen on {}: {error}", args.listen),
            "choose another place",
        )
    })?;
    let at = listener.local_addr()?;
    println!("{at}");
    eprintln!("# {at} leads to port {} of {}", args.port, args.name);
    let mut carried = FuturesUnordered::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (mut near, from) = accepted?;
                let (name, port) = (&args.name, args.port);
                carried.push(async move {
                    match client.port(name, port).await {
                        Ok(mut far) => {
                            // Either side may end it at any time.
                            let _ = copy_bidirectional(&mut near, &mut far).await;
                        }
                        Err(error) => eprintln!("# {from}: {}", error.chain()),
                    }
                });
            }
            Some(()) = carried.next(), if !carried.is_empty() => {}
            () = stop.cancelled() => return Ok(()),
        }
    }
}

/// A throwaway key, with what is needed to log in at a gateway; gone when it is dropped.
struct Pass {
    dir: tempfile::TempDir,
    ticket: SshTicket,
}

impl Pass {
    /// `None` when the coordinator has no gateway.
    async fn get(client: &GomoteClient, session: &str) -> Result<Option<Self>, Failure> {
        let dir = tempfile::tempdir()?;
        let mut keygen = tokio::process::Command::new("ssh-keygen");
        keygen.args(["-q", "-t", "ed25519", "-N", "", "-C", "gomote", "-f"]);
        let made = keygen.arg(dir.path().join("key")).status().await;
        if !made.map_err(not_started)?.success() {
            return Err(Failure::usage(
                format!("ssh-keygen made no key in {}", dir.path().display()),
                "see that the disk for temporary files has room",
            ));
        }
        let public = std::fs::read_to_string(dir.path().join("key.pub"))?;
        let ticket = client.ssh_ticket(session, public.trim()).await;
        let Some(ticket) = ticket.map_err(|e| failed(&e))? else {
            return Ok(None);
        };
        // Where ssh looks for it by itself.
        let certificate = format!("{}\n", ticket.certificate.trim());
        std::fs::write(dir.path().join("key-cert.pub"), certificate)?;
        let host = format!("[{}]:{}", client.host(), ticket.port);
        // A server of Go does not say which key its gateway shows: ssh asks, or knows it.
        if !ticket.host_key.is_empty() {
            let known = format!("{host} {}\n", ticket.host_key.trim());
            std::fs::write(dir.path().join("known_hosts"), known)?;
        }
        Ok(Some(Self { dir, ticket }))
    }

    /// `ssh` to the session, and whatever is to follow its name.
    fn command(&self, host: &str, session: &str, agent: bool) -> tokio::process::Command {
        let mut command = tokio::process::Command::new("ssh");
        let known = self.dir.path().join("known_hosts");
        command
            .args(["-p", &self.ticket.port.to_string()])
            .arg("-i")
            .arg(self.dir.path().join("key"))
            .args(["-o", "IdentitiesOnly=yes"]);
        if !self.ticket.host_key.is_empty() {
            command
                .args(["-o", "StrictHostKeyChecking=yes", "-o"])
                .arg(format!("UserKnownHostsFile={}", known.display()));
        }
        if agent {
            command.arg("-A");
        }
        command.arg(format!("{session}@{host}"));
        command
    }
}

/// Where the Go project's own gateway is: not on the host of its server.
const GO_SERVER: &str = "gomote.golang.org";
const GO_GATEWAY: &str = "gomotessh.golang.org";

/// The host of the gateway of a server.
fn gateway(server: &str) -> &str {
    match server {
        GO_SERVER => GO_GATEWAY,
        other => other,
    }
}

fn not_started(error: std::io::Error) -> Failure {
    Failure::usage(format!("cannot start ssh: {error}"), "install OpenSSH")
}

/// Starts ssh: to the coordinator's gateway when it has one, else through the coordinator to the
/// machine's own server.
pub(super) async fn ssh(place: &Place, args: Ssh) -> Result<Done, Failure> {
    let mut words = args.words.clone().into();
    let target = place.target(&mut words).await?;
    let _confirmed = args.i_will_not_break_the_host;
    let client = place.client()?;
    let wants_own = args.key.is_some() || args.login != DEFAULT_LOGIN;
    if !wants_own && let Some(pass) = Pass::get(client, &target.name).await? {
        let gateway = gateway(client.host());
        let mut command = pass.command(gateway, &target.name, args.forward_agent);
        command.args(words);
        eprintln!("# {:?}", command.as_std());
        let ended = command.status().await.map_err(not_started)?;
        // So ssh says that it was ended itself.
        let code = ended.code().and_then(|code| u8::try_from(code).ok());
        return Ok(Done::Remote(code.unwrap_or(255)));
    }
    machines_own(&target.name, args, words)
}

/// Becomes ssh, whose connection goes through the coordinator to the machine's own server.
fn machines_own(name: &str, args: Ssh, words: VecDeque<String>) -> Result<Done, Failure> {
    let key = match args.key {
        Some(key) => key,
        None => std::env::home_dir()
            .unwrap_or_default()
            .join(".ssh/id_ed25519"),
    };
    let public = PathBuf::from(format!("{}.pub", key.display()));
    if !public.exists() {
        return Err(Failure::usage(
            format!("there is no key {}", public.display()),
            "make one with: ssh-keygen -t ed25519; or name another with -key",
        ));
    }
    let own = std::env::current_exe()?;
    let options: Vec<String> = std::env::args()
        .skip(1)
        .take_while(|arg| arg != "ssh")
        .collect();
    let quoted = |text: &str| format!("'{}'", text.replace('\'', "'\\''"));
    let mut proxy = vec![quoted(&own.to_string_lossy())];
    proxy.extend(options.iter().map(|option| quoted(option)));
    proxy.extend([
        "connect-ssh".into(),
        quoted(&args.login),
        quoted(&public.to_string_lossy()),
        quoted(name),
    ]);
    let mut command = std::process::Command::new("ssh");
    command
        .arg("-i")
        .arg(&key)
        .arg("-o")
        .arg(format!("ProxyCommand={}", proxy.join(" ")))
        // Each machine has a key of its own, and its name comes again.
        .args([
            "-o",
            "UserKnownHostsFile=/dev/null",
            "-o",
            "StrictHostKeyChecking=no",
        ])
        .args(args.forward_agent.then_some("-A"))
        .arg("-o")
        .arg("LogLevel=ERROR")
        .arg(format!("{}@{name}", args.login))
        .args(words);
    eprintln!("# {command:?}");
    Err(not_started(command.exec()))
}

/// The other end of ssh's `ProxyCommand`.
pub(super) async fn connect_ssh(place: &Place, args: ConnectSsh) -> Result<(), Failure> {
    let key = std::fs::read_to_string(&args.key).map_err(|error| {
        let text = format!("read {}", args.key.display());
        failed(&Error::caused_by(ErrorKind::NotFound, text, error))
    })?;
    let far = place
        .client()?
        .ssh(&args.name, &args.login, key.trim())
        .await;
    let mut far = far.map_err(|e| failed(&e))?;
    let mut near = tokio::io::join(tokio::io::stdin(), tokio::io::stdout());
    // Either side may end it at any time.
    let _ = copy_bidirectional(&mut near, &mut far).await;
    Ok(())
}
