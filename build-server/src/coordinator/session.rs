//! A machine held by hand: a session is a buildlet.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use build_core::Result;
use build_core::buildlet::{
    Buildlet, ByteStream, DirEntry, Exec, ExecStatus, ExecStream, ListDir, Status, Wire,
};
use build_core::dispatch::{Input, SESSION_TTL};
use build_core::ids::{ExecId, SessionId};
use build_core::name::Name;
use build_core::pool::Lease;
use tokio::sync::{mpsc, oneshot};
use tokio::time::interval;

use super::handle::Handle;

/// Between two signs that a session is still used: three of them may get lost.
const RENEW_SESSION: Duration = Duration::from_secs(SESSION_TTL.as_secs() / 4);

/// A machine that somebody holds: everything that a [`Buildlet`] can do, until it is closed.
///
/// While this value is alive the session is renewed in the background. [`Buildlet::close`] gives
/// the machine back and waits for it; dropping the value gives it back too, without waiting.
/// When the process dies instead, the session goes on for
/// [`SESSION_TTL`](build_core::dispatch::SESSION_TTL): the next coordinator finds the machine
/// again, and [`Handle::session`] the session.
pub struct Session {
    id: SessionId,
    lease: Arc<dyn Lease>,
    handle: Handle,
    /// Dropped with the session; whoever renews it sees that.
    holder: Holder,
}

/// The end of a session's line to whoever renews it.
pub(super) struct Holder(oneshot::Sender<Leave>);

/// Says that the session is to go on without this holder.
pub(super) struct Leave;

/// Hears when a session's holder is gone.
pub(super) struct Held(oneshot::Receiver<Leave>);

/// A line between a session and the task that renews it.
pub(super) fn line() -> (Holder, Held) {
    let (sender, receiver) = oneshot::channel();
    (Holder(sender), Held(receiver))
}

/// Renews a session until its holder has gone, then closes it, unless the holder merely leaves.
pub(super) async fn renew(session: SessionId, held: Held, inputs: mpsc::Sender<Input>) {
    let mut rounds = interval(RENEW_SESSION);
    let mut gone = held.0;
    let last = loop {
        tokio::select! {
            biased;
            left = &mut gone => break left,
            _ = rounds.tick() => {
                let session = session.clone();
                if inputs.send(Input::RenewSession { session }).await.is_err() {
                    return;
                }
            }
        }
    };
    if last.is_err() {
        // The dispatcher has ended: the session then ends by expiry.
        let _ = inputs.send(Input::CloseSession { session }).await;
    }
}

impl Session {
    pub(super) fn new(
        id: SessionId,
        lease: Arc<dyn Lease>,
        handle: Handle,
        holder: Holder,
    ) -> Self {
        Self {
            id,
            lease,
            handle,
            holder,
        }
    }

    /// Names it in the event log, in `farmer why` and for [`Handle::session`].
    pub fn id(&self) -> &SessionId {
        &self.id
    }

    /// The machine.
    fn buildlet(&self) -> &dyn Buildlet {
        self.lease.buildlet()
    }

    /// Lets the session go on without this holder: until somebody takes it up again by its id,
    /// or until it ends because nobody did.
    pub fn leave(self) {
        // When nobody renews it any more, the coordinator has ended.
        let _ = self.holder.0.send(Leave);
    }
}

#[async_trait]
impl Buildlet for Session {
    fn name(&self) -> String {
        format!("{} on {}", self.id, self.lease.record().machine)
    }

    async fn status(&self) -> Result<Status> {
        self.buildlet().status().await
    }

    async fn work_dir(&self) -> Result<String> {
        self.buildlet().work_dir().await
    }

    async fn put(&self, path: &str, mode: u32, contents: ByteStream) -> Result<()> {
        self.buildlet().put(path, mode, contents).await
    }

    async fn put_tar(&self, tgz: ByteStream, dir: &str) -> Result<()> {
        self.buildlet().put_tar(tgz, dir).await
    }

    async fn fetch_tar(&self, url: &str, dir: &str) -> Result<()> {
        self.buildlet().fetch_tar(url, dir).await
    }

    async fn get_tar(&self, dir: &str) -> Result<ByteStream> {
        self.buildlet().get_tar(dir).await
    }

    async fn get_files(&self, dir: &str, paths: &[Name]) -> Result<ByteStream> {
        self.buildlet().get_files(dir, paths).await
    }

    async fn list_dir(&self, what: &ListDir) -> Result<Vec<DirEntry>> {
        self.buildlet().list_dir(what).await
    }

    async fn remove_all(&self, paths: &[String]) -> Result<()> {
        self.buildlet().remove_all(paths).await
    }

    async fn stream(&self, exec: Exec) -> Result<ExecStream> {
        self.buildlet().stream(exec).await
    }

    async fn start(&self, exec: Exec) -> Result<ExecStatus> {
        self.buildlet().start(exec).await
    }

    async fn attach(&self, id: &ExecId, offset: u64) -> Result<ExecStream> {
        self.buildlet().attach(id, offset).await
    }

    async fn exec_status(&self, id: &ExecId) -> Result<ExecStatus> {
        self.buildlet().exec_status(id).await
    }

    async fn started(&self) -> Result<Vec<ExecStatus>> {
        self.buildlet().started().await
    }

    async fn kill(&self, id: &ExecId) -> Result<()> {
        self.buildlet().kill(id).await
    }

    async fn connect(&self) -> Result<Wire> {
        self.buildlet().connect().await
    }

    /// Gives the machine back, and waits until it is. Calling it again does nothing.
    async fn close(&self) -> Result<()> {
        self.handle.close_session(&self.id).await
    }
}
