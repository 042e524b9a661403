//! `POST /agent`: a socket on this machine whose connections lead to the ssh agent of somebody
//! elsewhere.
//!
//! The socket is there as long as the connection of that request. Whoever has asked for it takes
//! each connection to it by a `POST /agent/accept`, which waits for the next one. Keys never come
//! here; but whatever runs here, as the user of this buildlet, can have the agent sign.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use build_core::buildlet::header;
use build_core::h1::{Framing, ResponseHead};
use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use tokio::io::AsyncReadExt as _;
use tokio::net::UnixListener;

use super::answer::{Lost, Refusal};
use super::routes::{Request, refuse};
use super::server::App;

/// The longest path of a socket that every system takes.
const MOST_PATH: usize = 103;
/// Sockets at a time: one for each command of people.
const MOST: usize = 64;
const NAME: &str = "s";

/// The sockets there are, by names that nobody can guess.
#[derive(Debug, Default)]
pub(crate) struct Agents(Mutex<HashMap<String, Arc<UnixListener>>>);

impl Agents {
    fn add(&self, id: &str, listener: UnixListener) -> Result<(), Refusal> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST {
            return Err(Refusal::new(503, "too many agents are forwarded here"));
        }
        known.insert(id.to_owned(), Arc::new(listener));
        Ok(())
    }

    fn get(&self, id: &str) -> Option<Arc<UnixListener>> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(id).cloned()
    }

    fn remove(&self, id: &str) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.remove(id);
    }
}

/// A socket in a directory of its own. Dropped, both are gone.
struct Socket {
    /// The directory for what commands leave behind for a moment.
    parent: OwnedFd,
    name: String,
    path: PathBuf,
}

impl Socket {
    /// Binds one below the work directory. No link on the way is followed: commands may have put
    /// one there.
    fn bind(work_dir: &Path, name: &str) -> io::Result<(Self, UnixListener)> {
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let work = rustix::fs::openat(CWD, work_dir, flags, Mode::empty())?;
        let parent = rustix::fs::openat(&work, "tmp", flags, Mode::empty())?;
        rustix::fs::mkdirat(&parent, name, Mode::RWXU)?;
        let path = work_dir.join("tmp").join(name).join(NAME);
        let socket = Self {
            parent,
            name: name.to_owned(),
            path,
        };
        let dir = rustix::fs::openat(&socket.parent, name, flags, Mode::empty())?;
        let bound = std::os::unix::net::UnixListener::bind(socket.reached(&dir))?;
        bound.set_nonblocking(true)?;
        Ok((socket, UnixListener::from_std(bound)?))
    }

    /// The name by which it is bound: by the open directory where the system has such names.
    fn reached(&self, dir: &OwnedFd) -> PathBuf {
        match cfg!(target_os = "linux") {
            true => format!("/proc/self/fd/{}/{NAME}", dir.as_raw_fd()).into(),
            false => self.path.clone(),
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let inside = format!("{}/{NAME}", self.name);
        // Commands may have removed it, with everything else.
        let _ = rustix::fs::unlinkat(&self.parent, inside, AtFlags::empty());
        let _ = rustix::fs::unlinkat(&self.parent, &self.name, AtFlags::REMOVEDIR);
    }
}

fn random() -> Result<String, Refusal> {
    let mut bytes = [0; 16];
    let drawn = getrandom::fill(&mut bytes);
    drawn.map_err(|error| Refusal::new(500, format!("no random bytes: {error}")))?;
    Ok(hex::encode(bytes))
}

fn open(app: &App) -> Result<(Socket, String), Refusal> {
    app.ensure_command_dirs()?;
    // What names the socket to `/agent/accept` is not what commands see.
    let (id, name) = (random()?, random()?);
    let name = format!(".agent-{}", &name[..12]);
    let length = app.work_dir.as_os_str().len() + "/tmp/".len() + name.len() + "/s".len();
    if length > MOST_PATH {
        let text = format!(
            "the work directory {} is too long a path for the socket of an agent",
            app.work_dir.display()
        );
        return Err(Refusal::new(500, text));
    }
    let (socket, listener) = Socket::bind(&app.work_dir, &name)?;
    app.agents.add(&id, listener)?;
    Ok((socket, id))
}

/// Makes a socket, and keeps it as long as the connection lasts.
pub(crate) async fn serve(app: &Arc<App>, request: Request<'_>) -> Result<(), Lost> {
    let opened = match is_bare(&request) {
        true => open(app),
        false => Err(Refusal::bad("requires zero Content-Length")),
    };
    let (socket, id) = match opened {
        Ok(opened) => opened,
        Err(refusal) => return refuse(request, refusal).await,
    };
    let head = ResponseHead::new(101)
        .with("Upgrade", "farmer-agent")
        .with("Connection", "Upgrade")
        .with(header::AGENT, &id)
        .with(header::AGENT_SOCKET, socket.path.display().to_string());
    let lasted = async {
        let switched = request.switch_protocols(&head).await.map_err(|_| Lost)?;
        let mut client = switched.into_stream();
        let mut nothing = [0; 1];
        // Nothing is said on it: whatever can be read is its end.
        let _ = client.read(&mut nothing).await;
        Ok(())
    };
    let stop = app.supervisor.token();
    let ended = tokio::select! {
        ended = lasted => ended,
        () = stop.cancelled() => Ok(()),
    };
    app.agents.remove(&id);
    ended
}

fn is_bare(request: &Request<'_>) -> bool {
    matches!(Framing::of_request(request.head()), Ok(Framing::Length(0)))
}

/// Waits for a connection to a socket, and leads it to the client.
pub(crate) async fn accept(app: &Arc<App>, mut request: Request<'_>) -> Result<(), Lost> {
    let id = request.head().headers().get_str(header::AGENT);
    let listener = id.and_then(|id| app.agents.get(id));
    let Some(listener) = listener.filter(|_| is_bare(&request)) else {
        return refuse(request, Refusal::new(410, "that agent is gone")).await;
    };
    let stop = app.supervisor.token();
    let accepted = tokio::select! {
        accepted = listener.accept() => accepted,
        () = request.closed() => return Err(Lost),
        () = stop.cancelled() => return Ok(()),
    };
    let (mut near, _) = match accepted {
        Ok(accepted) => accepted,
        Err(error) => return refuse(request, error.into()).await,
    };
    let head = ResponseHead::new(101)
        .with("Upgrade", "farmer-agent")
        .with("Connection", "Upgrade");
    let switched = request.switch_protocols(&head).await.map_err(|_| Lost)?;
    let mut client = switched.into_stream();
    tokio::select! {
        // Either side may end it at any time; both know how to tell.
        _ = tokio::io::copy_bidirectional(&mut client, &mut near) => Ok(()),
        () = stop.cancelled() => Ok(()),
    }
}
