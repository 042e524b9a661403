//! The sessions there are, by name.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use build_core::buildlet::Buildlet as _;
use build_core::clock::{Clock, SystemClock, Timestamp};
use build_core::event::{Outcome, Principal};
use build_core::ids::{BuilderName, SessionId};
use build_core::{Error, ErrorKind, Result};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::instance::{Ended, Instance};
use super::settings::Settings;
use super::unattended;
use super::user::{USER_PREFIX, User};
use crate::coordinator::{Handle, Opening, Session};
use crate::supervise::Supervisor;

/// Between two looks whether sessions have ended or were left, at the longest.
const SWEEP: Duration = Duration::from_secs(60);
/// How long a request waits for a session that is being found again after a restart.
const FOUND_AGAIN: Duration = Duration::from_secs(60);
/// Sessions that have ended of which is remembered why.
const REMEMBERED: usize = 1000;

/// The sessions of all users. Clones are the same.
#[derive(Clone)]
pub struct Sessions(Arc<Inner>);

struct Inner {
    handle: Handle,
    settings: Settings,
    clock: Arc<dyn Clock>,
    tasks: Supervisor,
    table: Mutex<Table>,
    /// Changes whenever the state of a session does.
    changed: watch::Sender<()>,
}

#[derive(Default)]
struct Table {
    entries: BTreeMap<String, Entry>,
    ended: VecDeque<Ended>,
}

struct Entry {
    instance: Instance,
    state: State,
    /// Requests under way.
    uses: usize,
    /// When it was used last.
    used: Timestamp,
}

enum State {
    /// A name is taken; the machine is waited for.
    Waits,
    /// It was there before a restart and is being found again.
    Sought,
    Held(Arc<Session>),
}

/// Why a session cannot be used.
#[derive(Debug)]
pub enum Unusable {
    /// There is none of this name; or it has ended, and whoever asks may know why.
    Unknown(Option<Ended>),
    /// It is somebody else's.
    Foreign,
    /// It was not found again in time.
    NotYet,
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(None) => f.write_str("unknown or expired buildlet"),
            Self::Unknown(Some(ended)) => write!(
                f,
                "unknown or expired buildlet: {} ended at {}: {}",
                ended.name, ended.at, ended.why
            ),
            Self::Foreign => f.write_str("you don't own that buildlet"),
            Self::NotYet => f.write_str("the machine is being found again after a restart"),
        }
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions")
            .field("open", &self.table().entries.len())
            .finish_non_exhaustive()
    }
}

impl Sessions {
    /// The sessions that `handle` knows of, those of an earlier process included. From now on
    /// they expire; the work for that is a task of `tasks`.
    ///
    /// # Errors
    /// When the rows of sessions cannot be read.
    pub async fn open(handle: Handle, settings: Settings, tasks: &Supervisor) -> Result<Self> {
        Self::open_at(handle, settings, tasks, Arc::new(SystemClock)).await
    }

    /// As [`Sessions::open`], by another clock.
    ///
    /// # Errors
    /// As [`Sessions::open`].
    pub async fn open_at(
        handle: Handle,
        settings: Settings,
        tasks: &Supervisor,
        clock: Arc<dyn Clock>,
    ) -> Result<Self> {
        let sessions = Self(Arc::new(Inner {
            handle,
            settings,
            clock,
            tasks: tasks.group("gomote"),
            table: Mutex::default(),
            changed: watch::channel(()).0,
        }));
        sessions.restore().await?;
        let sweeping = sessions.clone();
        let token = sessions.0.tasks.token().clone();
        sessions.0.tasks.spawn("sweep", async move {
            token.run_until_cancelled(sweeping.sweep_for_ever()).await;
        });
        Ok(sessions)
    }

    async fn restore(&self) -> Result<()> {
        for row in self.0.handle.records().open_sessions().await? {
            let (Some(name), None) = (row.name, row.outcome) else {
                continue;
            };
            let Some(host_type) = self.0.handle.host_type_of(&row.builder) else {
                continue;
            };
            let instance = Instance {
                name: name.clone(),
                owner: row.by.name().to_owned(),
                host_type: host_type.clone(),
                builder: row.builder,
                session: row.id.clone(),
                created: row.opened,
                expires: self.expiry(),
            };
            let entry = Entry {
                instance,
                state: State::Sought,
                uses: 0,
                used: self.0.clock.now(),
            };
            self.table().entries.insert(name.clone(), entry);
            let (seeking, token) = (self.clone(), self.0.tasks.token().clone());
            self.0.tasks.spawn("seek", async move {
                token.run_until_cancelled(seeking.seek(name, row.id)).await;
            });
        }
        Ok(())
    }

    async fn seek(&self, name: String, id: SessionId) {
        match self.0.handle.session(&id).await {
            Ok(session) => drop(self.hold(&name, session)),
            Err(error) => {
                tracing::info!(%name, error = error.chain(), "a session was not found again");
                // Its row knows more than whoever looked for it.
                let why = self.outcome(&id).await.map(|outcome| outcome.to_string());
                drop(self.forget(&name, &why.unwrap_or_else(|| error.chain())));
            }
        }
    }

    fn hold(&self, name: &str, session: Session) -> Option<Instance> {
        let mut table = self.table();
        let entry = table.entries.get_mut(name)?;
        entry.state = State::Held(Arc::new(session));
        entry.used = self.0.clock.now();
        entry.instance.expires = self.expiry();
        let instance = entry.instance.clone();
        drop(table);
        self.0.changed.send_replace(());
        Some(instance)
    }

    /// Takes an entry out; its session is returned, for the caller to close or to drop.
    fn forget(&self, name: &str, why: &str) -> Option<Arc<Session>> {
        let mut table = self.table();
        let entry = table.entries.remove(name)?;
        if !matches!(entry.state, State::Waits) {
            table.ended.push_back(Ended {
                name: name.to_owned(),
                owner: entry.instance.owner,
                at: self.0.clock.now(),
                why: why.to_owned(),
            });
            if table.ended.len() > REMEMBERED {
                table.ended.pop_front();
            }
        }
        drop(table);
        self.0.changed.send_replace(());
        match entry.state {
            State::Held(session) => Some(session),
            _ => None,
        }
    }

    /// The coordinator behind.
    pub fn handle(&self) -> &Handle {
        &self.0.handle
    }

    /// What the farm allows.
    pub fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// The sessions of a user, by name.
    pub fn list(&self, caller: &User) -> Vec<Instance> {
        let table = self.table();
        let own = table.entries.values().filter(|entry| {
            entry.instance.owner == caller.name() && !matches!(entry.state, State::Waits)
        });
        own.map(|entry| entry.instance.clone()).collect()
    }

    /// Asks for a session on a builder, or a kind of machine. `with_prefix` names it as in 2020:
    /// `user-NAME-BUILDER-N`, with the lowest free number.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] for an unknown builder, [`ErrorKind::Limit`] when the user has as
    /// many as one may have.
    pub async fn create(
        &self,
        caller: &User,
        builder: &str,
        with_prefix: bool,
    ) -> Result<Creating> {
        let builder = self.0.handle.builder_called(builder)?;
        let reserved = self.reserve(caller, &builder, with_prefix)?;
        let by = Principal::person(caller.name());
        let name = reserved.name.clone();
        let opening = self.0.handle.open(builder.as_str(), by, Some(name)).await?;
        if let Some(entry) = self.table().entries.get_mut(&reserved.name) {
            entry.instance.session = opening.id().clone();
        }
        Ok(Creating { reserved, opening })
    }

    fn reserve(&self, caller: &User, builder: &BuilderName, with_prefix: bool) -> Result<Reserved> {
        let host_type = self.0.handle.host_type_of(builder);
        let host_type = host_type.ok_or_else(|| {
            Error::new(
                ErrorKind::NotFound,
                format!("there is no builder {builder}"),
            )
        })?;
        let now = self.0.clock.now();
        let mut table = self.table();
        let own = table.entries.values();
        let own = own.filter(|entry| entry.instance.owner == caller.name());
        let (count, most) = (own.count(), self.0.settings.per_user);
        if count >= most {
            let text = format!(
                "{} has {count} sessions, and may have {most}",
                caller.name()
            );
            return Err(Error::new(ErrorKind::Limit, text)
                .with_hint("destroy one that is not needed any more: gomote list"));
        }
        let prefix = if with_prefix { USER_PREFIX } else { "" };
        let named = |n: usize| format!("{prefix}{}-{builder}-{n}", caller.short_name());
        // As many names as there are entries and one more: one of them is free.
        let name = (0..=table.entries.len())
            .map(named)
            .find(|name| !table.entries.contains_key(name))
            .unwrap_or_else(|| named(table.entries.len()));
        let instance = Instance {
            name: name.clone(),
            owner: caller.name().to_owned(),
            builder: builder.clone(),
            host_type: host_type.clone(),
            session: SessionId::from_bits(0),
            created: now,
            expires: self.expiry(),
        };
        let entry = Entry {
            instance,
            state: State::Waits,
            uses: 0,
            used: now,
        };
        table.entries.insert(name.clone(), entry);
        Ok(Reserved {
            sessions: self.clone(),
            name,
            kept: false,
        })
    }

    /// Whose a session is; `None` when there is none of this name.
    pub fn owner_of(&self, name: &str) -> Option<String> {
        let table = self.table();
        let entry = table.entries.get(name)?;
        Some(entry.instance.owner.clone())
    }

    /// A session, to be used by its owner. It does not expire while the answer lives, and lasts
    /// for its full time afterwards. Asking for somebody else's changes nothing of it.
    ///
    /// # Errors
    /// Why it cannot be used. Sessions that are being found again are waited for, a minute at
    /// the longest.
    pub async fn find(&self, caller: &User, name: &str) -> Result<Use, Unusable> {
        let mut changed = self.0.changed.subscribe();
        let found = async {
            loop {
                if let Some(found) = self.look(caller, name)? {
                    return Ok(found);
                }
                if changed.changed().await.is_err() {
                    return Err(Unusable::NotYet);
                }
            }
        };
        timeout(FOUND_AGAIN, found)
            .await
            .unwrap_or(Err(Unusable::NotYet))
    }

    fn look(&self, caller: &User, name: &str) -> Result<Option<Use>, Unusable> {
        let expires = self.expiry();
        let mut table = self.table();
        let Some(entry) = table.entries.get_mut(name) else {
            let mut ended = table.ended.iter().rev();
            let ended = ended.find(|e| e.name == name && e.owner == caller.name());
            return Err(Unusable::Unknown(ended.cloned()));
        };
        if entry.instance.owner != caller.name() {
            return Err(Unusable::Foreign);
        }
        match &entry.state {
            State::Waits => Err(Unusable::Unknown(None)),
            State::Sought => Ok(None),
            State::Held(session) => {
                entry.uses += 1;
                entry.used = self.0.clock.now();
                entry.instance.expires = expires;
                Ok(Some(Use {
                    sessions: self.clone(),
                    instance: entry.instance.clone(),
                    session: session.clone(),
                }))
            }
        }
    }

    fn expiry(&self) -> Timestamp {
        self.0.clock.now() + self.0.settings.ttl
    }

    async fn sweep_for_ever(&self) {
        let pause = SWEEP.min(self.0.settings.ttl / 4);
        loop {
            sleep(pause).await;
            self.sweep().await;
        }
    }

    /// Closes the sessions that nobody has used for their time and on which nothing runs, and
    /// forgets those that have ended without us.
    pub async fn sweep(&self) {
        let now = self.0.clock.now();
        let due: Vec<(String, SessionId, bool)> = {
            let table = self.table();
            let settled = table.entries.values();
            let settled = settled.filter(|entry| matches!(entry.state, State::Held(_)));
            let due = |entry: &Entry| entry.uses == 0 && entry.instance.expires <= now;
            settled
                .map(|e| (e.instance.name.clone(), e.instance.session.clone(), due(e)))
                .collect()
        };
        for (name, id, is_due) in due {
            if is_due {
                self.close_unless_busy(&name).await;
            } else if let Some(outcome) = self.outcome(&id).await {
                drop(self.forget(&name, &outcome.to_string()));
            }
        }
    }

    /// Closes a session whose time is over, unless a command runs on its machine that was started
    /// to go on by itself.
    async fn close_unless_busy(&self, name: &str) {
        let held = match self.table().entries.get(name).map(|entry| &entry.state) {
            Some(State::Held(session)) => Arc::clone(session),
            _ => return,
        };
        let busy = unattended::look(&*held).await;
        drop(held);
        let (now, settings) = (self.0.clock.now(), &self.0.settings);
        if let Some(entry) = self.table().entries.get_mut(name) {
            if entry.uses > 0 || entry.instance.expires > now {
                // Somebody has come meanwhile.
                return;
            }
            if let Some(until) = busy.until(entry.used, now, settings) {
                entry.instance.expires = until;
                return;
            }
        }
        let why = busy.why(settings);
        self.close_in_background(name, &why);
    }

    async fn outcome(&self, id: &SessionId) -> Option<Outcome> {
        match self.0.handle.records().session(id).await {
            Ok(row) => row.and_then(|row| row.outcome),
            Err(error) => {
                tracing::warn!(error = error.chain(), "cannot look at a session");
                None
            }
        }
    }

    fn close_in_background(&self, name: &str, why: &str) {
        if let Some(session) = self.forget(name, why) {
            let name = name.to_owned();
            self.0.tasks.spawn("close", async move {
                if let Err(error) = session.close().await {
                    tracing::warn!(%name, error = error.chain(), "a session was not closed");
                }
            });
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // Entries are put and taken whole under the lock: a panic leaves the table whole.
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A name that is taken for a session to come; dropped, it is free again.
struct Reserved {
    sessions: Sessions,
    name: String,
    kept: bool,
}

impl Drop for Reserved {
    fn drop(&mut self) {
        if !self.kept {
            drop(self.sessions.forget(&self.name, "it was given up"));
        }
    }
}

/// A session that waits for its machine. Dropped, it is given up.
pub struct Creating {
    reserved: Reserved,
    opening: Opening,
}

/// Why somebody waits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// What holds it back, in a sentence; empty when nothing does.
    pub why: String,
    /// How many are served before it.
    pub ahead: usize,
}

/// Looks why a session waits.
pub struct Watcher {
    handle: Handle,
    id: SessionId,
}

impl Watcher {
    /// Why it waits now.
    pub async fn look(&self) -> Waiting {
        // Who cannot be asked now is asked again soon.
        let waiting = self.handle.explain(&self.id).await.unwrap_or_default();
        waiting
            .first()
            .map_or_else(Waiting::default, |waiting| Waiting {
                why: waiting.why.to_string(),
                ahead: waiting.why.ahead,
            })
    }
}

impl Creating {
    /// Tells why it waits, as often as it is asked.
    pub fn watcher(&self) -> Watcher {
        Watcher {
            handle: self.reserved.sessions.handle().clone(),
            id: self.opening.id().clone(),
        }
    }

    /// Waits for the machine.
    ///
    /// # Errors
    /// As [`Handle::create`].
    pub async fn ready(self) -> Result<Instance> {
        let Self {
            mut reserved,
            opening,
        } = self;
        let session = opening.ready().await?;
        let held = reserved.sessions.hold(&reserved.name, session);
        reserved.kept = held.is_some();
        held.ok_or_else(|| {
            let text = format!("{} was given up meanwhile", reserved.name);
            Error::new(ErrorKind::Canceled, text)
        })
    }
}

/// A session in use.
pub struct Use {
    sessions: Sessions,
    instance: Instance,
    session: Arc<Session>,
}

impl Use {
    /// What is known of it.
    pub fn instance(&self) -> &Instance {
        &self.instance
    }

    /// The machine.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Completes when the session has ended, however it did.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn ended(&self) {
        let mut changed = self.sessions.0.changed.subscribe();
        let is_there = || {
            let table = self.sessions.table();
            let entry = table.entries.get(&self.instance.name);
            entry.is_some_and(|entry| entry.instance.session == self.instance.session)
        };
        while is_there() && changed.changed().await.is_ok() {}
    }

    /// Gives the machine back.
    pub fn destroy(self) {
        self.sessions
            .close_in_background(&self.instance.name, "it was destroyed");
    }

    /// Why the session has ended, when a request to its machine has failed because of that.
    pub async fn why_gone(&self) -> Option<String> {
        let outcome = self.sessions.outcome(&self.instance.session).await?;
        let why = outcome.to_string();
        drop(self.sessions.forget(&self.instance.name, &why));
        Some(why)
    }
}

impl Drop for Use {
    fn drop(&mut self) {
        let expires = self.sessions.expiry();
        if let Some(entry) = self.sessions.table().entries.get_mut(&self.instance.name)
            && entry.instance.session == self.instance.session
        {
            entry.uses = entry.uses.saturating_sub(1);
            entry.used = self.sessions.0.clock.now();
            entry.instance.expires = expires;
        }
    }
}
