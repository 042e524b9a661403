//! Keeps spares ready and cleans up after the dead. A reconciler: each round compares what is
//! with what should be, whoever woke it.

use std::fs::File;
use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Duration;

use build_core::Result;
use tokio::time::Instant;

use super::machine::{Binding, Machine};
use super::{Shared, place};
use crate::file_lock::FileLock;

/// How long the pool waits for its tasks at the end: one round, and one deletion.
pub(super) const DRAIN: Duration = Duration::from_secs(20);
/// Spares are renewed so many times before they would expire.
const RENEWALS: u32 = 4;

/// How long nobody has taken or given back a machine before more than a few spares are started:
/// making them takes the processor from those who work.
const CALM: Duration = Duration::from_millis(500);

/// Runs until the pool is dropped or closed, and does not keep it alive.
pub(super) fn start(shared: &Arc<Shared>) {
    let pool = Arc::downgrade(shared);
    let wake = Arc::clone(&shared.wake);
    let token = shared.supervisor.token().clone();
    let pause = shared.recipe.ttl / RENEWALS;
    shared.supervisor.spawn("keep spares", async move {
        while let Some(()) = round(&pool).await {
            let next = Instant::now() + pause;
            let mut calm = None;
            // Whoever wakes it wants spares, and there may be hundreds of them in a second.
            loop {
                let most = tokio::select! {
                    () = token.cancelled() => return,
                    () = wake.notified() => super::SPARES,
                    () = tokio::time::sleep_until(calm.unwrap_or(next).min(next)) => usize::MAX,
                };
                if Instant::now() >= next {
                    break;
                }
                calm = (most == super::SPARES).then(|| Instant::now() + CALM);
                let Some(pool) = pool.upgrade() else { return };
                pool.top_up(most).await;
            }
        }
    });
}

/// One round; `None` when the pool is gone.
async fn round(pool: &Weak<Shared>) -> Option<()> {
    let shared = pool.upgrade()?;
    shared.renew_spares().await;
    shared.top_up(usize::MAX).await;
    if let Err(error) = shared.sweep().await {
        tracing::warn!(error = %error.chain(), "cannot clean up after local machines");
    }
    Some(())
}

impl Shared {
    async fn renew_spares(&self) {
        let spares = self.table().spares().to_vec();
        for spare in spares {
            if let Err(error) = spare.renew(self.recipe.ttl).await {
                tracing::warn!(machine = spare.name(), error = %error.chain(), "a spare machine is lost");
                self.table().lose_spare(&spare);
            }
        }
    }

    /// Starts the spares that are wanted, as far as there are fewer than `most`.
    async fn top_up(&self, most: usize) {
        while self.spares_missing(most) {
            match self.start().await {
                Ok((machine, _in_hand)) => self.table().add_spare(machine),
                Err(error) => {
                    // Tried again in the next round; whoever asks for a machine sees it too.
                    tracing::warn!(error = %error.chain(), "cannot start a spare machine");
                    return;
                }
            }
        }
    }

    fn spares_missing(&self, most: usize) -> bool {
        if self.supervisor.token().is_cancelled() {
            return false;
        }
        let (slots, wanted) = {
            let offer = self.offer();
            (offer.slots.len(), offer.spares_wanted())
        };
        let table = self.table();
        let free = slots.saturating_sub(table.holders().len());
        // Those who are served next when all slots are leased do not wait for a start either.
        table.spares().len() < wanted.min(free + super::SPARES).min(most)
    }

    /// Cleans away what belongs to nobody: machines whose process has ended, spares of an earlier
    /// farm, and what a deletion has left.
    async fn sweep(&self) -> Result<()> {
        let _one_at_a_time = self.cleaning.lock().await;
        for dir in self.place.machines()? {
            if self.table().is_in_use(&place::name_of(&dir)) {
                continue;
            }
            // One that cannot be cleaned away is no reason to keep the others.
            if let Err(error) = self.sweep_one(&dir).await {
                #[cfg(feature = "sim")]
                if build_core::plant::grows(build_core::plant::ProcessPlant::EndedSweep) {
                    return Err(error);
                }
                let dir = dir.display();
                tracing::warn!(error = %error.chain(), %dir, "cannot clean up after a machine");
            }
        }
        self.place
            .trash()?
            .into_iter()
            .for_each(|trash| self.trash.delete(&self.supervisor, trash));
        Ok(())
    }

    async fn sweep_one(&self, dir: &Path) -> Result<()> {
        let machine = match Machine::find_again(dir) {
            // Its files are damaged: it ends by itself, and is cleaned away then.
            Err(error) if is_locked(dir) => return Err(error.into()),
            Err(_) => None,
            Ok(machine) => machine,
        };
        match machine {
            // Its farm may come back for it; if not, it ends by itself. Of one that lives and
            // cannot tell whose it is the same is true.
            Some(_) if !matches!(Binding::read(dir), Ok(None)) => Ok(()),
            Some(spare) => self.end(&spare).await,
            // Somebody has just been started there by an earlier farm.
            None if is_locked(dir) => Ok(()),
            None => self.clean(dir).await,
        }
    }
}

/// Whether a process has its hand on a machine's state.
pub(super) fn is_locked(dir: &Path) -> bool {
    let lock = File::open(dir.join("lock"));
    lock.is_ok_and(|lock| matches!(FileLock::take(lock, Duration::ZERO), Ok(None)))
}
