//! Files on their way between clients and machines.
//!
//! The gRPC service carries no files: it tells an address, and the file goes there by HTTP
//! (docs/protocol/gomote.md). An address is `/gomote/objects/TOKEN/NAME`. The token is random,
//! known by its SHA-256 alone, good for one purpose, and forgotten after [`ObjectLimits::life`].
//! Whoever has it needs no other credential, and can do nothing else with it: what was sent to
//! an upload can be written to machines of its owner, and not be fetched.

mod pages;
mod spool;

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use build_core::clock::{Clock, SystemClock, Timestamp};
use build_core::{Error, ErrorKind, Result};
use bytes::Bytes;
use futures::Stream;
use sha2::{Digest as _, Sha256};
use tokio::time::sleep;

pub(super) use self::spool::Content;
use self::spool::Spool;
use crate::supervise::Supervisor;

/// What every address begins with.
pub(super) const PATH: &str = "/gomote/objects/";
/// What clients append to the address of an upload. It tells nothing: the token does.
const UPLOADED: &str = "file";
/// Between two looks for what is to be forgotten.
const SWEEP: Duration = Duration::from_secs(30);

/// What is kept of files on their way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObjectLimits {
    /// How long an address is good (10 min): for an upload to begin, and again from its end.
    pub life: Duration,
    /// Most bytes of one file (4 GiB).
    pub object_bytes: u64,
    /// Most bytes of one user's files (8 GiB).
    pub owner_bytes: u64,
    /// Most bytes of all files (32 GiB).
    pub all_bytes: u64,
    /// Most addresses of one user (200).
    pub per_owner: usize,
}

impl Default for ObjectLimits {
    fn default() -> Self {
        Self {
            life: Duration::from_secs(600),
            object_bytes: 4 << 30,
            owner_bytes: 8 << 30,
            all_bytes: 32 << 30,
            per_owner: 200,
        }
    }
}

/// The files of a farm that are on their way. Clones are the same.
#[derive(Clone)]
pub struct Objects(Arc<Inner>);

struct Inner {
    spool: Spool,
    limits: ObjectLimits,
    clock: Arc<dyn Clock>,
    table: Mutex<HashMap<Key, Object>>,
}

/// The SHA-256 of a token.
type Key = [u8; 32];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    /// A client sends it, for machines.
    Upload,
    /// A machine has given it, for a client.
    Download,
}

struct Object {
    owner: String,
    purpose: Purpose,
    name: String,
    expires: Timestamp,
    state: State,
    /// Whether a machine has got it.
    used: bool,
}

enum State {
    Awaited,
    Arriving,
    There(Arc<Content>),
}

/// Where an object is.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Address {
    token: String,
    pub(super) name: String,
}

impl Address {
    /// A new one that nobody can guess.
    fn new(name: impl Into<String>) -> Result<Self> {
        let mut token = [0; 32];
        getrandom::fill(&mut token)
            .map_err(|error| Error::caused_by(ErrorKind::Unavailable, "no random bytes", error))?;
        Ok(Self {
            token: hex::encode(token),
            name: name.into(),
        })
    }

    /// Which object a URL names; `None` for URLs of others.
    pub(super) fn of_url(url: &url::Url) -> Option<Self> {
        let (token, name) = url.path().strip_prefix(PATH)?.split_once('/')?;
        Some(Self {
            token: token.to_owned(),
            name: name.to_owned(),
        })
    }

    /// The path up to and with the slash before the name.
    pub(super) fn folder(&self) -> String {
        format!("{PATH}{}/", self.token)
    }

    fn key(&self) -> Key {
        key(&self.token)
    }
}

fn key(token: &str) -> Key {
    Sha256::digest(token).into()
}

fn unknown() -> Error {
    let text = "there is no such file here, or its time is over";
    Error::new(ErrorKind::NotFound, text)
}

impl fmt::Debug for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Objects")
            .field("count", &self.table().len())
            .finish_non_exhaustive()
    }
}

impl Objects {
    /// Keeps files in `dir`, which belongs to this process alone. The work to forget them is a
    /// task of `tasks`.
    ///
    /// # Errors
    /// When the directory cannot be used.
    pub fn open(dir: &Path, limits: ObjectLimits, tasks: &Supervisor) -> Result<Self> {
        Self::open_at(dir, limits, tasks, Arc::new(SystemClock))
    }

    /// As [`Objects::open`], by another clock.
    ///
    /// # Errors
    /// As [`Objects::open`].
    pub fn open_at(
        dir: &Path,
        limits: ObjectLimits,
        tasks: &Supervisor,
        clock: Arc<dyn Clock>,
    ) -> Result<Self> {
        let objects = Self(Arc::new(Inner {
            spool: Spool::open(dir, limits)?,
            limits,
            clock,
            table: Mutex::default(),
        }));
        let (sweeping, group) = (objects.clone(), tasks.group("gomote-objects"));
        let token = group.token().clone();
        group.spawn("sweep", async move {
            let sweep = async {
                loop {
                    sleep(SWEEP).await;
                    sweeping.sweep();
                }
            };
            token.run_until_cancelled(sweep).await;
        });
        Ok(objects)
    }

    /// The pages behind the addresses.
    pub fn router(&self) -> axum::Router {
        pages::router(self.clone())
    }

    fn table(&self) -> MutexGuard<'_, HashMap<Key, Object>> {
        // Objects are put and taken whole under the lock: a panic leaves the table whole.
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets what has had its time.
    pub fn sweep(&self) {
        let now = self.0.clock.now();
        let is_good = |object: &Object| match object.state {
            State::Arriving => true,
            State::Awaited | State::There(_) => now < object.expires,
        };
        self.table().retain(|_, object| is_good(object));
    }

    /// Forgets what machines have got already, when space is short.
    fn make_room(&self, owner: &str) {
        self.sweep();
        if self.0.spool.is_crowded(owner) {
            self.table().retain(|_, object| !object.used);
        }
    }

    fn put(&self, key: Key, object: Object) -> Result<()> {
        let most = self.0.limits.per_owner;
        let mut table = self.table();
        let own = |table: &HashMap<Key, Object>| {
            table
                .values()
                .filter(|one| one.owner == object.owner)
                .count()
        };
        if own(&table) >= most {
            table.retain(|_, one| one.owner != object.owner || !one.used);
        }
        if own(&table) >= most {
            let text = format!(
                "{} has {most} files on their way, and may have no more",
                object.owner
            );
            return Err(Error::new(ErrorKind::Limit, text).with_hint("try again in some minutes"));
        }
        table.insert(key, object);
        Ok(())
    }

    fn object(&self, owner: &str, purpose: Purpose, name: &str, state: State) -> Object {
        Object {
            owner: owner.to_owned(),
            purpose,
            name: name.to_owned(),
            expires: self.0.clock.now() + self.0.limits.life,
            state,
            used: false,
        }
    }

    /// An address to which somebody may send a file.
    ///
    /// # Errors
    /// [`ErrorKind::Limit`] when they have too many.
    pub(super) fn offer(&self, owner: &str) -> Result<Address> {
        self.sweep();
        let address = Address::new(UPLOADED)?;
        let object = self.object(owner, Purpose::Upload, UPLOADED, State::Awaited);
        self.put(address.key(), object)?;
        Ok(address)
    }

    /// Keeps what a machine gives, for a client.
    ///
    /// # Errors
    /// As those of `contents`; [`ErrorKind::Limit`] for too much.
    pub(super) async fn pack(
        &self,
        owner: &str,
        name: &str,
        contents: impl Stream<Item = Result<Bytes>> + Send + Unpin,
    ) -> Result<Address> {
        self.make_room(owner);
        let address = Address::new(name)?;
        let content = Arc::new(self.0.spool.store(owner, contents).await?);
        let object = self.object(owner, Purpose::Download, name, State::There(content));
        self.put(address.key(), object)?;
        Ok(address)
    }

    /// Awaits a file at the address of an upload. Until [`Arriving::keep`] nobody else can send
    /// one there; dropped, somebody can again.
    fn arriving(&self, token: &str) -> Result<Arriving> {
        let key = key(token);
        let now = self.0.clock.now();
        let mut table = self.table();
        let object = table.get_mut(&key).filter(|object| {
            object.purpose == Purpose::Upload
                && (now < object.expires || matches!(object.state, State::Arriving))
        });
        let object = object.ok_or_else(unknown)?;
        match object.state {
            State::Awaited => object.state = State::Arriving,
            State::Arriving | State::There(_) => {
                let text = "a file was sent there already";
                return Err(Error::new(ErrorKind::Conflict, text));
            }
        }
        Ok(Arriving {
            objects: self.clone(),
            key,
            owner: object.owner.clone(),
            kept: false,
        })
    }

    /// What was sent to the address of an upload, by its owner.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] for all others; [`ErrorKind::Conflict`] when it is not there yet.
    pub(super) fn sent(&self, owner: &str, address: &Address) -> Result<Arc<Content>> {
        self.look(address, Purpose::Upload, |object| object.owner == owner)
    }

    /// Notes that a machine has got what was sent there.
    pub(super) fn used(&self, address: &Address) {
        if let Some(object) = self.table().get_mut(&address.key()) {
            object.used = true;
        }
    }

    /// What is kept for a client.
    fn packed(&self, address: &Address) -> Result<Arc<Content>> {
        self.look(address, Purpose::Download, |_| true)
    }

    fn look(
        &self,
        address: &Address,
        purpose: Purpose,
        may: impl Fn(&Object) -> bool,
    ) -> Result<Arc<Content>> {
        let now = self.0.clock.now();
        let table = self.table();
        let object = table.get(&address.key()).filter(|object| {
            object.purpose == purpose
                && object.name == address.name
                && now < object.expires
                && may(object)
        });
        match &object.ok_or_else(unknown)?.state {
            State::There(content) => Ok(Arc::clone(content)),
            State::Awaited | State::Arriving => {
                let text = "no file was sent there yet";
                Err(Error::new(ErrorKind::Conflict, text))
            }
        }
    }
}

/// A file that is being sent.
struct Arriving {
    objects: Objects,
    key: Key,
    owner: String,
    kept: bool,
}

impl Arriving {
    /// Writes it down.
    async fn store(
        &self,
        contents: impl Stream<Item = Result<Bytes>> + Send + Unpin,
    ) -> Result<Content> {
        self.objects.make_room(&self.owner);
        self.objects.0.spool.store(&self.owner, contents).await
    }

    /// Says that this is all of it.
    fn keep(mut self, content: Content) {
        self.kept = true;
        let expires = self.objects.0.clock.now() + self.objects.0.limits.life;
        if let Some(object) = self.objects.table().get_mut(&self.key) {
            object.state = State::There(Arc::new(content));
            object.expires = expires;
        }
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        if !self.kept
            && let Some(object) = self.objects.table().get_mut(&self.key)
        {
            object.state = State::Awaited;
        }
    }
}
