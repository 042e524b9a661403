//! What is done for all machines from time to time: keys that are not good any more send their
//! machines away, and what is remembered is written.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use build_core::Result;
use tokio::time::{Instant, sleep};

use super::machine::Life;
use super::table::Refused;
use super::{ReversePool, Shared};

/// Between two looks at the keys of all machines: a key that is revoked is noticed within a second.
const LOOK: Duration = Duration::from_millis(400);
/// Between two writes of what is remembered.
const WRITE: Duration = Duration::from_secs(5);
/// The same when nothing happens but that machines are there.
const WRITE_SEEN: Duration = Duration::from_secs(60);

impl ReversePool {
    /// Writes what is remembered of machines, where that was asked for. It is written every few
    /// seconds as well, so a program that is killed forgets little.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn flush(&self) -> Result<()> {
        self.0.write_past().await
    }
}

impl Shared {
    /// Begins with it, once.
    pub(super) fn watch(self: &Arc<Self>) {
        if !self.watches.swap(true, Ordering::Relaxed) {
            let watching = watch(Arc::downgrade(self));
            // The pool is over when nobody has it any more, and this ends then.
            drop(self.supervisor.group("watch").spawn("watch", watching));
        }
    }

    /// Sends those away whose keys are not good any more.
    fn check_passes(&self) {
        for life in self.lives() {
            let pass = life.state().pass.clone();
            let Some(pass) = pass else { continue };
            match self.doorman.may_stay(&pass) {
                Ok(true) => {}
                Ok(false) => self.send_away(&life),
                Err(error) => {
                    tracing::debug!(
                        machine = life.name(),
                        error = error.chain(),
                        "key not looked at"
                    );
                    // What cannot be told of one can be told of none.
                    return;
                }
            }
        }
    }

    fn send_away(&self, life: &Life) {
        let why = "its key is not good any more";
        tracing::warn!(machine = life.name(), "machine sent away: {why}");
        let address = life.line.connected().map(|c| c.address.ip());
        life.end(why);
        let (id, now) = (&life.registration.id, self.clock.now());
        {
            let mut table = self.table();
            table.past.left(id, now, why, false);
            if let Some(address) = address {
                table.refuse(Refused {
                    at: now,
                    host: life.registration.host.clone(),
                    host_type: life.registration.host_type.to_string(),
                    address,
                    why: why.to_owned(),
                    count: 1,
                });
            }
            table.sweep();
        }
        self.changed();
    }

    async fn write_past(&self) -> Result<()> {
        let Some(kept) = self.kept.clone() else {
            return Ok(());
        };
        let all = {
            let mut table = self.table();
            table.past.take_new();
            table.history(self.clock.now())
        };
        let writing = self.supervisor.group("write");
        let written = writing.spawn_blocking("write", move || kept.write(&all));
        let written = match written.await {
            Ok(written) => written,
            Err(error) => Err(build_core::Error::caused_by(
                build_core::ErrorKind::Bug,
                "write the past of machines",
                error,
            )),
        };
        if written.is_err() {
            self.table().past.is_unwritten();
        }
        written
    }
}

async fn watch(pool: Weak<Shared>) {
    let mut written = Instant::now();
    loop {
        sleep(LOOK).await;
        let Some(pool) = pool.upgrade() else { return };
        pool.check_passes();
        let is_time = match written.elapsed() {
            spent if spent >= WRITE_SEEN => true,
            spent if spent >= WRITE => pool.table().past.take_new(),
            _ => false,
        };
        if is_time {
            if let Err(error) = pool.write_past().await {
                tracing::warn!(
                    error = error.chain(),
                    "what is remembered of machines is not written"
                );
            }
            written = Instant::now();
        }
    }
}
