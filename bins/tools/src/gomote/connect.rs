//! Connections to machines.

use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;

use build_client::{Error, ErrorKind};
use farmer_cli::Failure;
use futures::stream::{FuturesUnordered, StreamExt as _};
use tokio::io::copy_bidirectional;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::Done;
use super::args::{ConnectSsh, Forward, Ssh};
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

/// Becomes ssh, whose connection goes through the coordinator to the machine's own server.
pub(super) async fn ssh(place: &Place, args: Ssh) -> Result<Done, Failure> {
    let mut words = args.words.into();
    let target = place.target(&mut words).await?;
    let _confirmed = args.i_will_not_break_the_host;
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
        quoted(&target.name),
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
        .arg("-o")
        .arg("LogLevel=ERROR")
        .arg(format!("{}@{}", args.login, target.name))
        .args(words);
    eprintln!("# {command:?}");
    let error = command.exec();
    Err(Failure::usage(
        format!("cannot start ssh: {error}"),
        "install OpenSSH",
    ))
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
