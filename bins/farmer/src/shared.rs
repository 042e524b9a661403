//! A `farmer build` that builds for others too, while it lasts.

use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use build_core::ids::BuildId;
use build_server::coordinator::Handle;
use build_server::front::Services;
use build_server::source::GitCheckouts;
use build_server::store::Store;
use build_server::supervise::Supervisor;
use build_server::web::{Site, TokenFile, service};
use farmer_cli::Failure;
use tokio_util::sync::CancellationToken;

use crate::cli::TlsArgs;
use crate::door::Door;
use crate::output::failure;

/// Between two looks at what others have asked for.
const LOOK: Duration = Duration::from_millis(100);

/// A build whose owner told others that it is there.
pub(crate) struct Shared {
    /// Whether its settings are such that others can have theirs built by it.
    is_usual: bool,
    serving: CancellationToken,
    /// What was open before: it goes on at whatever start has time for it.
    before: HashSet<BuildId>,
}

impl Shared {
    /// Tells others that this program ends with its builds, and how it builds.
    pub(crate) fn announce(store: &Store, how: Option<String>) -> Result<Self, Failure> {
        if let Some(lock) = store.lock() {
            let said = how.clone().unwrap_or_else(|| "as no other".to_owned());
            lock.say_passing(said).map_err(|e| failure(&e))?;
        }
        Ok(Self {
            is_usual: how.is_some(),
            serving: CancellationToken::new(),
            before: HashSet::new(),
        })
    }

    /// Answers to others of this user, on this machine.
    pub(crate) async fn open(
        mut self,
        handle: &Handle,
        store: &Store,
        checkouts: GitCheckouts,
        data: &Path,
        all: &Supervisor,
    ) -> Result<Self, Failure> {
        if !self.is_usual {
            return Ok(self);
        }
        let open = handle.records().open().await.map_err(|e| failure(&e))?;
        self.before = open.into_iter().map(|row| row.id).collect();
        let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let door = Door::open(anywhere, &TlsArgs::default(), &[], data).await?;
        let token = TokenFile::open(data).map_err(|e| failure(&e))?;
        let told = (door.local_address.clone(), token.token().to_owned());
        let site = Site::new(handle.clone(), store.clone(), token).with_checkouts(checkouts);
        let services = Services::new().with_pages(service(site));
        door.serve(services, all, &self.serving);
        if let Some(lock) = store.lock() {
            let (address, token) = told;
            lock.publish(Some(address), None, Some(token))
                .map_err(|e| failure(&e))?;
        }
        Ok(self)
    }

    /// Waits until everything has ended that others have asked for meanwhile, or this program is told
    /// to stop: then they go on with it.
    pub(crate) async fn wait_for_others(&self, handle: &Handle, stop: &CancellationToken) {
        let mut is_said = !self.is_usual;
        while self.is_usual && !stop.is_cancelled() {
            let open = handle.records().open().await.unwrap_or_default();
            let theirs = open.iter().filter(|row| row.outcome.is_none());
            let theirs = theirs.filter(|row| !self.before.contains(&row.id)).count();
            if theirs == 0 {
                return;
            }
            if !std::mem::replace(&mut is_said, true) {
                let builds = if theirs == 1 { "build" } else { "builds" };
                farmer_cli::say!(
                    "farmer: {theirs} {builds} of another farmer build still run here; Ctrl-C \
                     leaves them to that program"
                );
            }
            stop.run_until_cancelled(tokio::time::sleep(LOOK)).await;
        }
    }

    /// Answers nobody any more.
    pub(crate) fn close(&self) {
        self.serving.cancel();
    }
}
