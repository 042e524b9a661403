//! One life of a machine: from a clean start until everything that it ran has ended.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use build_client::{HttpBuildlet, Timeouts};
use build_core::buildlet::Buildlet;
use build_core::ids::LeaseId;
use build_core::pool::LeaseRequest;
use build_core::schedule::Machine as Slot;
use build_core::{Error, ErrorKind, Result};
use tokio::sync::Mutex as AsyncMutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Timing;
use super::doorman::Pass;
use super::lease::ReverseLease;
use super::line::Line;
use super::registration::Registration;
use crate::pool::Undetached;

/// A machine from its registration on. It may be away for a while and come back.
pub(super) struct Life {
    pub(super) registration: Registration,
    pub(super) line: Line,
    pub(super) client: HttpBuildlet,
    /// For a buildlet without detached commands.
    undetached: Option<Undetached>,
    /// Whether it ends by itself when its lease is not renewed.
    pub(super) is_leasable: bool,
    /// Canceled when it is over for good.
    pub(super) over: CancellationToken,
    /// Who acquires it, one at a time.
    pub(super) turn: AsyncMutex<()>,
    state: Mutex<State>,
}

/// What a machine does.
pub(super) struct State {
    pub(super) hold: Hold,
    /// Since when it does that.
    pub(super) since: Instant,
    /// Since when it is connected; `None` while it is away.
    pub(super) connected: Option<Instant>,
    /// Until when it lives without being renewed, as far as this side knows.
    pub(super) expires: Option<Instant>,
    /// Why it is over.
    pub(super) end: Option<String>,
    /// What it was let in by, the last time.
    pub(super) pass: Option<Pass>,
    /// Its holder gives it back: that it leaves now is as it should be.
    pub(super) is_given_back: bool,
}

/// Who holds a machine.
#[derive(Clone)]
pub(super) enum Hold {
    /// Nobody.
    Idle,
    /// A lease of this process.
    Held(LeaseId, Weak<ReverseLease>),
    /// A lease that this process does not know (yet).
    Foreign,
}

impl Life {
    /// `detached` and `leasable` as the machine has said.
    pub(super) fn new(
        registration: Registration,
        line: Line,
        undetached: Option<Undetached>,
        status: &build_core::buildlet::Status,
        client: HttpBuildlet,
    ) -> Self {
        let hold = match status.leased {
            true => Hold::Foreign,
            false => Hold::Idle,
        };
        Self {
            is_leasable: status.leasable && registration.instance.is_some(),
            registration,
            line,
            client,
            undetached,
            over: CancellationToken::new(),
            turn: AsyncMutex::default(),
            state: Mutex::new(State {
                hold,
                since: Instant::now(),
                connected: None,
                expires: None,
                end: None,
                pass: None,
                is_given_back: false,
            }),
        }
    }

    /// A client of a machine that may be away for as long as its lease lasts: the pool, not the
    /// client, says when it is dead.
    pub(super) fn client(line: &Line, name: &str, timing: &Timing) -> HttpBuildlet {
        let patience = timing.held.as_secs() / 20 + 3;
        let timeouts = Timeouts::default()
            .with_misses(u32::try_from(patience).unwrap_or(u32::MAX))
            .with_reattach(timing.held / 3);
        HttpBuildlet::builder(line.clone())
            .name(name)
            .timeouts(timeouts)
            .build()
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        // Every lock covers a single change: a panic leaves the state whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn buildlet(&self) -> &dyn Buildlet {
        match &self.undetached {
            Some(undetached) => undetached,
            None => &self.client,
        }
    }

    pub(super) fn name(&self) -> &str {
        self.registration.id.as_str()
    }

    pub(super) fn is_connected(&self) -> bool {
        self.state().connected.is_some() && !self.over.is_cancelled()
    }

    /// Whether the scheduler may count on it.
    pub(super) fn is_usable(&self) -> bool {
        self.is_connected() && !matches!(self.state().hold, Hold::Foreign)
    }

    pub(super) fn slot(&self, labels: build_core::schedule::Labels) -> Slot {
        let known = &self.registration;
        Slot::new(known.id.clone(), known.host_type.clone(), labels)
    }

    pub(super) fn set_hold(&self, hold: Hold) {
        let mut state = self.state();
        state.hold = hold;
        state.since = Instant::now();
    }

    /// The lease that holds it, while somebody has it.
    pub(super) fn lease(&self) -> Option<Arc<ReverseLease>> {
        match &self.state().hold {
            Hold::Held(_, lease) => lease.upgrade(),
            _ => None,
        }
    }

    /// Makes the machine ready for a lease.
    pub(super) async fn prepare(&self, request: &LeaseRequest, held: Duration) -> Result<()> {
        if !self.is_leasable {
            // What an earlier user has left; the machine's own directories are made again.
            return self.client.remove_all(&[".".to_owned()]).await;
        }
        let asked = Instant::now();
        let ttl = held.max(request.ttl);
        match self.client.renew_lease(&request.nonce, ttl).await {
            Ok(()) => {
                self.state().expires = Some(asked + ttl);
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::Denied => {
                self.set_hold(Hold::Foreign);
                let text = format!("{} is still held by an earlier lease", self.name());
                Err(Error::caused_by(ErrorKind::Conflict, text, error))
            }
            Err(error) => Err(error),
        }
    }

    /// Ends it for good: every call under way fails, and says why.
    pub(super) fn end(&self, why: &str) {
        {
            let mut state = self.state();
            if state.end.is_some() {
                return;
            }
            state.end = Some(why.to_owned());
            state.connected = None;
        }
        self.over.cancel();
        self.client
            .mark_broken(Error::new(ErrorKind::Unavailable, why.to_owned()));
        self.line.hang_up();
    }

    /// Why it is over.
    pub(super) fn ended(&self) -> Option<Error> {
        let why = self.state().end.clone()?;
        let text = format!("machine {}: {why}", self.name());
        Some(Error::new(ErrorKind::NotFound, text))
    }
}
