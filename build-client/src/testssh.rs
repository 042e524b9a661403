//! Proves that a person can reach a build machine by ssh, the way the gateway of a farm does:
//! through the buildlet.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use build_core::buildlet::{Route, header};
use build_core::h1::RequestHead;
use build_core::revdial::io::take_over;
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::time::{Instant, sleep, timeout};

use crate::transport::{Connection, Dial, TcpDial};
use crate::{Error, ErrorKind, Result};

/// For a connection that is to become one of ssh: its server may be starting.
const CONNECT: Duration = Duration::from_secs(30);
/// For the whole login.
const LOGIN: Duration = Duration::from_secs(60);
/// What is said when it works.
pub const WORKS: &str = "SSH works";

/// Makes a connection of `dial` to a buildlet one to the ssh server of its machine, and lets the
/// key log in as `user`.
///
/// # Errors
/// The buildlet cannot be reached, or refuses.
pub async fn connect_ssh(dial: &dyn Dial, user: &str, key: &str) -> Result<Connection> {
    let context = || format!("connect to the ssh server of {}", dial.authority());
    let head = RequestHead::new("POST", &Route::ConnectSsh.to_string())
        .with("Host", dial.authority())
        .with(header::SSH_USER, user)
        .with(header::AUTHORIZED_KEY, key.trim());
    let connecting = async {
        let failed = |e: std::io::Error| Error::caused_by(ErrorKind::Unavailable, context(), e);
        let stream = dial.dial().await.map_err(failed)?;
        let taken = take_over(stream, head).await;
        taken.map_err(|e| Error::caused_by(ErrorKind::Unavailable, context(), e))
    };
    match timeout(CONNECT, connecting).await {
        Ok(Ok(stream)) => Ok(Box::new(stream)),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(Error::new(ErrorKind::TimedOut, context())),
    }
}

/// Waits until somebody listens at `address`.
///
/// # Errors
/// [`ErrorKind::TimedOut`].
pub async fn await_listener(address: &str, limit: Duration) -> Result<()> {
    let begin = Instant::now();
    while TcpDial::new(address).dial().await.is_err() {
        if begin.elapsed() > limit {
            let text = format!("nobody listens at {address} after {} s", limit.as_secs());
            return Err(Error::new(ErrorKind::TimedOut, text));
        }
        sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

/// The key pair in `dir`, made by `ssh-keygen` when there is none.
///
/// # Errors
/// It cannot be made or read.
pub async fn key_pair(dir: &Path) -> Result<(PathBuf, String)> {
    let failed = |e: std::io::Error| Error::from(e).while_doing("keep an ssh key");
    std::fs::create_dir_all(dir).map_err(failed)?;
    let private = dir.join("testssh-ed25519");
    if !private.exists() {
        let mut command = Command::new("ssh-keygen");
        command.args(["-q", "-t", "ed25519", "-N", "", "-C", "testssh", "-f"]);
        run(command.arg(&private), "ssh-keygen").await?;
    }
    let public = std::fs::read_to_string(private.with_extension("pub")).map_err(failed)?;
    Ok((private, public))
}

/// Logs in at the buildlet of `dial` and lets the machine say that it works. What `ssh` says is
/// part of the error when it does not.
///
/// # Errors
/// Anything on the way.
pub async fn try_login(dial: &dyn Dial, user: &str, keys: &Path) -> Result<()> {
    let (private, public) = key_pair(keys).await?;
    let failed = |e: std::io::Error| Error::from(e).while_doing("listen for ssh");
    let listener = TcpListener::bind("127.0.0.1:0").await.map_err(failed)?;
    let port = listener.local_addr().map_err(failed)?.port();
    let mut stream = connect_ssh(dial, user, &public).await?;
    let bridge = async {
        let (mut near, _) = listener.accept().await?;
        tokio::io::copy_bidirectional(&mut near, &mut stream).await
    };
    let mut command = Command::new("ssh");
    command
        .args(["-v", "-F", "/dev/null", "-o", "BatchMode=yes"])
        .args([
            "-o",
            "StrictHostKeyChecking=no",
            "-o",
            "UserKnownHostsFile=/dev/null",
        ])
        .args(["-o", "IdentitiesOnly=yes", "-i"])
        .arg(&private)
        .args([
            "-p",
            &port.to_string(),
            "-l",
            user,
            "localhost",
            "echo",
            WORKS,
        ]);
    let login = async {
        tokio::select! {
            said = run(&mut command, "ssh") => said,
            // The bridge ends when ssh does, or the machine: ssh says what happened.
            _ = async { let _ = bridge.await; std::future::pending::<()>().await } => Ok(String::new()),
        }
    };
    let said = timeout(LOGIN, login).await.unwrap_or_else(|_| {
        let text = format!("ssh has not ended in {} s", LOGIN.as_secs());
        Err(Error::new(ErrorKind::TimedOut, text))
    })?;
    match said.contains(WORKS) {
        true => Ok(()),
        false => Err(Error::new(
            ErrorKind::Unavailable,
            format!("the machine did not say {WORKS:?}, but {said:?}"),
        )),
    }
}

/// Runs a program and gives what it prints.
async fn run(command: &mut Command, name: &str) -> Result<String> {
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = command.output().await.map_err(|e| {
        Error::caused_by(ErrorKind::Unavailable, format!("run {name}"), e)
            .with_hint("is it installed, and on PATH?")
    })?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let text = format!("{name}: {}\n{}", output.status, said.trim_end());
        return Err(Error::new(ErrorKind::Unavailable, text));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
