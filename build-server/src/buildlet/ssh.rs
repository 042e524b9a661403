//! `POST /connect-ssh`: the connection becomes one to the ssh server of this machine.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use build_core::buildlet::header;
use build_core::h1::io::Rewind;
use build_core::h1::{Headers, ResponseHead};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::answer::{Lost, Refusal};
use super::config::SshAccess;
use super::connection::Io;
use super::routes::{Request, refuse};
use super::server::App;

/// Attempts to reach the server, and the pause between them: it may be starting.
const ATTEMPTS: u32 = 5;
const PAUSE: Duration = Duration::from_secs(1);
const DIAL: Duration = Duration::from_secs(5);
/// Go clients drop what comes together with the answer: the server's first bytes wait for the
/// client's, but not for ever.
const HOLD_BACK: Duration = Duration::from_millis(500);
const MOST_KEY_BYTES: usize = 16 << 10;

/// Connects the client with the ssh server.
pub(crate) async fn connect(app: &Arc<App>, request: Request<'_>) -> Result<(), Lost> {
    let headers = request.head().headers().clone();
    let server = match reach(app, &headers).await {
        Ok(server) => server,
        Err(refusal) => return refuse(request, refusal).await,
    };
    let head = ResponseHead::new(101)
        .with("Upgrade", "ssh")
        .with("Connection", "Upgrade");
    let switched = request.switch_protocols(&head).await.map_err(|_| Lost)?;
    let stop = app.supervisor.token();
    tokio::select! {
        // Either side may end it at any time; both know how to tell.
        _ = relay(switched.into_stream(), server) => Ok(()),
        () = stop.cancelled() => Ok(()),
    }
}

async fn relay(mut client: Rewind<&mut Io>, mut server: TcpStream) -> io::Result<()> {
    let mut first = [0; 4096];
    if let Ok(count) = timeout(HOLD_BACK, client.read(&mut first)).await {
        server.write_all(&first[..count?]).await?;
    }
    tokio::io::copy_bidirectional(&mut client, &mut server)
        .await
        .map(drop)
}

async fn reach(app: &App, headers: &Headers) -> Result<TcpStream, Refusal> {
    if headers
        .get_str("Content-Length")
        .is_some_and(|length| length.trim() != "0")
    {
        return Err(Refusal::bad("requires zero Content-Length"));
    }
    let Some(access) = app.config.ssh else {
        return Err(Refusal::bad(
            "ssh is not allowed by this buildlet: it was started without --ssh",
        ));
    };
    allow_key(headers)
        .map_err(|text| Refusal::bad(format!("adding ssh authorized key: {text}")))?;
    dial(access)
        .await
        .map_err(|error| Refusal::new(502, error.to_string()))
}

async fn dial(access: SshAccess) -> io::Result<TcpStream> {
    let mut last = io::Error::from(io::ErrorKind::TimedOut);
    for attempt in 1..=ATTEMPTS {
        match timeout(DIAL, TcpStream::connect(("localhost", access.port()))).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = error,
            Err(_) => {}
        }
        if attempt < ATTEMPTS {
            sleep(PAUSE).await;
        }
    }
    Err(io::Error::new(
        last.kind(),
        format!("ssh server at port {}: {last}", access.port()),
    ))
}

/// Lets the key of the request log in as the user it names, if it has both.
fn allow_key(headers: &Headers) -> Result<(), String> {
    let (user, key) = (
        headers.get_str(header::SSH_USER),
        headers.get_str(header::AUTHORIZED_KEY),
    );
    let (Some(user), Some(key)) = (user, key) else {
        return Ok(());
    };
    if user.is_empty() || key.is_empty() {
        return Ok(());
    }
    if !is_user(user) {
        return Err(format!("bad user name {user:?}"));
    }
    if !is_key(key) {
        return Err("bad key line".into());
    }
    add_key(&ssh_dir(user), key).map_err(|error| error.to_string())
}

fn is_user(name: &str) -> bool {
    let mut letters = name.bytes();
    let starts_well = letters
        .next()
        .is_some_and(|b| b.is_ascii_lowercase() || b == b'_');
    let goes_on = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-');
    starts_well && name.len() <= 32 && letters.all(goes_on)
}

/// One line, a type and a key: no options, which could run commands.
fn is_key(line: &str) -> bool {
    let mut words = line.trim().split(' ');
    let kind = words.next().unwrap_or_default();
    let known = ["ssh-", "ecdsa-", "sk-ssh-", "sk-ecdsa-"]
        .iter()
        .any(|start| kind.starts_with(start));
    let base64 = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'=');
    let has_key = words
        .next()
        .is_some_and(|key| key.len() > 16 && key.bytes().all(base64));
    known && has_key && line.len() <= MOST_KEY_BYTES && !line.contains(char::is_control)
}

fn ssh_dir(user: &str) -> PathBuf {
    match user {
        "root" => PathBuf::from("/root/.ssh"),
        user => Path::new("/home").join(user).join(".ssh"),
    }
}

fn add_key(dir: &Path, key: &str) -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)?;
    let path = dir.join("authorized_keys");
    let known = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error),
    };
    if known.lines().any(|line| line.trim() == key.trim()) {
        return Ok(());
    }
    let separator = if known.is_empty() || known.ends_with('\n') {
        ""
    } else {
        "\n"
    };
    let mut file = fs::OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(format!("{separator}{}\n", key.trim()).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ gopher@example";

    #[test]
    fn users_and_keys_are_plain() {
        assert!(is_user("root") && is_user("_x-1"));
        for bad in ["", "../root", "a/b", "Root", "a b", "-x", "x\n"] {
            assert!(!is_user(bad), "{bad:?}");
        }
        assert!(is_key(KEY));
        for bad in [
            "",
            "ssh-rsa",
            "ssh-rsa x\nssh-rsa y",
            "command=\"id\" ssh-rsa AAAAB3NzaC1yc2EAAAADAQAB",
        ] {
            assert!(!is_key(bad), "{bad:?}");
        }
        assert!(!is_key(&format!("{KEY}\nssh-rsa AAAAB3NzaC1yc2EAAAADAQAB")));
    }

    #[test]
    fn a_key_is_added_once_behind_the_others() {
        use std::os::unix::fs::PermissionsExt as _;
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join(".ssh");
        add_key(&dir, KEY).unwrap();
        let path = dir.join("authorized_keys");
        fs::write(&path, "ssh-rsa older").unwrap();
        add_key(&dir, KEY).unwrap();
        add_key(&dir, KEY).unwrap();
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            format!("ssh-rsa older\n{KEY}\n")
        );
        assert_eq!(
            fs::metadata(&dir).unwrap().permissions().mode() & 0o777,
            0o700
        );
    }
}
