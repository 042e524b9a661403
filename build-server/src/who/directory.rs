//! The directory itself: who shows this?

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use build_core::clock::{Clock, SystemClock, Timestamp};
use build_core::event::{Principal, PrincipalKind};
use build_core::key::{GO_DEVELOPMENT_MASTER, MasterKey, Token};
use build_core::{Error, ErrorKind, Result};
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use super::audit::{Audit, AuditEvent};
use super::book::{Indexed, Key, KeyState};
use super::folder::{Folder, Watched};
use super::scope::{Grant, Pattern, Scope};
use super::throttle::{Fingerprint, Throttle};
use super::usage::Usage;
use super::{
    Caller, Credential, KeyId, LastUse, Refusal, Role, TokenFile, UserEntry, is_user_name,
};
use crate::supervise::Supervisor;

/// The folder in the data directory.
const FOLDER: &str = "who";
/// Master keys, the present one first, each on a line.
pub(super) const MASTERS: &str = "master-keys";
/// Users and keys.
pub(super) const BOOK: &str = "book.json";
/// Between two writes of what was used and who was refused.
const FLUSH: Duration = Duration::from_secs(5);
/// How the name of a user begins in legacy keys.
const USER: &str = "user-";
/// Who the token of the data directory is; nobody else is called so.
pub(super) const OWNER: &str = "owner";

/// Knows the signed tokens of identity providers.
#[async_trait]
pub trait SignedTokens: Send + Sync {
    /// Who a token names.
    ///
    /// # Errors
    /// [`Refusal::Signed`] with what is wrong with it, [`Refusal::Unavailable`] when the provider
    /// cannot be asked.
    async fn verify(&self, token: &str, now: Timestamp) -> Result<SignedName, Refusal>;
}

/// Whom a signed token names.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SignedName {
    /// The user.
    pub user: String,
    /// What they are, unless the directory knows them; `None`: nothing.
    pub role: Option<Role>,
    /// Which private repositories they read, unless the directory knows them.
    pub reads: Vec<Pattern>,
}

impl SignedName {
    /// A user of this role.
    #[must_use]
    pub fn new(user: impl Into<String>, role: Option<Role>, reads: Vec<Pattern>) -> Self {
        Self {
            user: user.into(),
            role,
            reads,
        }
    }
}

/// What a directory goes by besides its files.
#[derive(Clone)]
pub struct Options {
    clock: Arc<dyn Clock>,
    pub(super) masters: Vec<MasterKey>,
    development: bool,
    signed: Option<Arc<dyn SignedTokens>>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            clock: Arc::new(SystemClock),
            masters: Vec::new(),
            development: false,
            signed: None,
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("masters", &self.masters.len())
            .field("development", &self.development)
            .field("signed", &self.signed.is_some())
            .finish_non_exhaustive()
    }
}

impl Options {
    /// Another clock than the machine's.
    #[must_use]
    pub fn clock(mut self, clock: impl Clock + 'static) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// A master key besides those in the folder, such as the one of the flag `-masterkey`.
    #[must_use]
    pub fn master(mut self, master: MasterKey) -> Self {
        self.masters.push(master);
        self
    }

    /// Takes the public master key of development too, from loopback addresses alone.
    #[must_use]
    pub fn development(mut self) -> Self {
        self.development = true;
        self
    }

    /// Takes signed tokens of identity providers.
    #[must_use]
    pub fn signed_tokens(mut self, signed: impl SignedTokens + 'static) -> Self {
        self.signed = Some(Arc::new(signed));
        self
    }
}

/// Users, keys and roles, and who shows what. Clones are the same directory.
#[derive(Clone)]
pub struct Directory(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) folder: Option<Folder>,
    pub(super) options: Options,
    pub(super) book: Watched<Indexed>,
    pub(super) masters: Watched<Vec<MasterKey>>,
    pub(super) audit: Audit,
    pub(super) changing: std::sync::Mutex<()>,
    owner: Option<TokenFile>,
    development: MasterKey,
    usage: Usage,
    pub(super) throttle: Throttle,
}

impl fmt::Debug for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Directory")
            .field("folder", &self.0.folder)
            .field("options", &self.0.options)
            .finish_non_exhaustive()
    }
}

fn parse_masters(path: &Path, bytes: Option<&[u8]>) -> Result<Vec<MasterKey>> {
    let Some(bytes) = bytes else {
        return Ok(Vec::new());
    };
    let lines = bytes.split(|b| *b == b'\n').map(<[u8]>::trim_ascii);
    let keys: Result<Vec<_>> = lines
        .filter(|l| !l.is_empty())
        .map(MasterKey::new)
        .collect();
    match keys? {
        none if none.is_empty() => {
            let text = format!("{} holds no master key", path.display());
            let hint = "remove it, or put one there with: farmer key master";
            Err(Error::new(ErrorKind::Invalid, text).with_hint(hint))
        }
        keys => Ok(keys),
    }
}

impl Directory {
    /// The directory of a data directory: its folder and the owner's token are made when missing.
    ///
    /// # Errors
    /// When others may read the token, the folder cannot be used, or a file in it is damaged.
    pub fn open(data_dir: &Path) -> Result<Self> {
        Self::open_with(data_dir, Options::default())
    }

    /// The same with options.
    ///
    /// # Errors
    /// As [`Directory::open`].
    pub fn open_with(data_dir: &Path, options: Options) -> Result<Self> {
        let folder = Folder::open(data_dir.join(FOLDER))?;
        let owner = TokenFile::open(data_dir)?;
        let directory = Self::new(Some(folder), Some(owner), options);
        directory.book()?;
        directory.masters()?;
        Ok(directory)
    }

    /// A directory that forgets with the process, and has no token of an owner.
    #[must_use]
    pub fn memory() -> Self {
        Self::memory_with(Options::default())
    }

    /// The same with options.
    #[must_use]
    pub fn memory_with(options: Options) -> Self {
        Self::new(None, None, options)
    }

    fn new(folder: Option<Folder>, owner: Option<TokenFile>, options: Options) -> Self {
        let development = MasterKey::new(GO_DEVELOPMENT_MASTER).expect("it is not empty");
        Self(Arc::new(Inner {
            folder,
            options,
            book: Watched::new(BOOK, Indexed::parse),
            masters: Watched::new(MASTERS, parse_masters),
            audit: Audit::default(),
            changing: std::sync::Mutex::default(),
            owner,
            development,
            usage: Usage::default(),
            throttle: Throttle::default(),
        }))
    }

    /// The token of the owner; `None` in memory.
    #[must_use]
    pub fn owner_token(&self) -> Option<&TokenFile> {
        self.0.owner.as_ref()
    }

    pub(super) fn folder(&self) -> Option<&Folder> {
        self.0.folder.as_ref()
    }

    pub(super) fn now(&self) -> Timestamp {
        self.0.options.clock.now()
    }

    pub(super) fn book(&self) -> Result<Arc<Indexed>> {
        self.0.book.get(self.folder())
    }

    pub(super) fn masters(&self) -> Result<Arc<Vec<MasterKey>>> {
        self.0.masters.get(self.folder())
    }

    /// Where the master keys lie, when there is a folder.
    #[must_use]
    pub fn master_file(&self) -> Option<PathBuf> {
        self.folder().map(|folder| folder.path(MASTERS))
    }

    /// Who shows `credential`, from `peer` when it came over the network.
    ///
    /// A random token is good within its scope for whatever its owner may do now. A legacy key
    /// makes a machine or a user, never an admin. What is wrong is remembered for the audit log,
    /// and makes its address slow after a while. Changes of other processes count at once.
    ///
    /// # Errors
    /// A [`Refusal`], which says no more than the caller knows already.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn caller(
        &self,
        credential: &Credential<'_>,
        peer: Option<IpAddr>,
    ) -> Result<Caller, Refusal> {
        let now = self.now();
        let found = match credential.is_bounded() {
            true => self.look_up(credential, peer, now).await,
            false => Err(Refusal::Unknown),
        };
        match found {
            Ok(caller) => {
                if let Some(key) = caller.key() {
                    self.0.usage.used(key, now, peer);
                }
                Ok(caller)
            }
            Err(refusal) => Err(self.refused(credential, peer, now, refusal)),
        }
    }

    /// Remembers a refused try. Once an address is throttled, it does not even learn that.
    fn refused(
        &self,
        credential: &Credential<'_>,
        peer: Option<IpAddr>,
        now: Timestamp,
        refusal: Refusal,
    ) -> Refusal {
        if let Refusal::Unavailable(error) = &refusal {
            tracing::error!(error = error.chain(), "cannot tell who somebody is");
            return refusal;
        }
        let wait = self.0.throttle.wait(peer, now);
        if !matches!(refusal, Refusal::Throttled(_)) {
            self.0.throttle.wrong(peer, now);
        }
        let (who, why) = (credential.claimed(), why(&refusal));
        self.0.audit.refused(now, peer, who, why.into());
        match (refusal, wait) {
            (Refusal::Unknown, Some(wait)) => Refusal::Throttled(wait),
            (refusal, _) => refusal,
        }
    }

    async fn look_up(
        &self,
        credential: &Credential<'_>,
        peer: Option<IpAddr>,
        now: Timestamp,
    ) -> Result<Caller, Refusal> {
        let shown = match credential {
            Credential::Bearer(token) => token,
            Credential::Basic { password, .. } => password,
            Credential::Builder { key, .. } => key,
        };
        if let Ok(token) = Token::parse(shown) {
            return self.by_token(&token, credential, now);
        }
        let fingerprint = fingerprint(credential);
        if let Some(wait) = self.0.throttle.wait(peer, now)
            && !self.0.throttle.is_proven(&fingerprint, now)
        {
            return Err(Refusal::Throttled(wait));
        }
        let found = match credential {
            Credential::Bearer(token) => self.by_signed_token(token, now).await,
            Credential::Basic { user, password } => self.by_user_key(user, password, peer, now),
            Credential::Builder { name, key } => self.by_builder_key(name, key, peer, now),
        };
        match &found {
            Ok(_) => self.0.throttle.right(fingerprint, now),
            Err(_) => self.0.throttle.disprove(&fingerprint),
        }
        found
    }

    fn by_token(
        &self,
        token: &Token,
        credential: &Credential<'_>,
        now: Timestamp,
    ) -> Result<Caller, Refusal> {
        if self
            .0
            .owner
            .as_ref()
            .is_some_and(|owner| owner.accepts(token))
        {
            return Ok(Caller::new(Principal::person(OWNER), Role::Admin));
        }
        let book = self.book().map_err(Refusal::Unavailable)?;
        let key = book.find(token).ok_or(Refusal::Unknown)?;
        // A token of one user does not speak for another.
        if let Credential::Basic { user, .. } = credential
            && (user.strip_prefix(USER) != Some(key.owner.name())
                || *key.owner.kind() != PrincipalKind::Person)
        {
            return Err(Refusal::Unknown);
        }
        of_key(&book, key, now)
    }

    /// The caller of a key that was shown a while ago, as things are now; `None` when the key is
    /// not good any more.
    ///
    /// # Errors
    /// When it cannot be told now.
    pub fn still(&self, key: &KeyId) -> Result<Option<Caller>> {
        let book = self.book()?;
        let found = book.book.keys.get(key);
        Ok(found.and_then(|stored| of_key(&book, &stored.key, self.now()).ok()))
    }

    /// The same for somebody who has shown something else than a key that is listed: a user that
    /// was changed, or refused by name, since then.
    ///
    /// # Errors
    /// When it cannot be told now.
    pub fn still_user(&self, caller: &Caller) -> Result<Option<Caller>> {
        let Some(name) = caller.user() else {
            return Ok(Some(caller.clone()));
        };
        let book = self.book()?;
        if book.book.refused.contains(&format!("{USER}{name}")) {
            return Ok(None);
        }
        let Some(user) = book.book.users.get(name) else {
            return Ok(Some(caller.clone()));
        };
        let now = Caller::new(caller.principal().clone(), user.role);
        Ok(Some(now.reading(user.reads.clone())))
    }

    /// The machine or builder that has shown this legacy key a while ago, as things are now; `None`
    /// when it is not good any more. Nothing is remembered of the question.
    ///
    /// # Errors
    /// When it cannot be told now.
    pub fn still_builder(&self, name: &str, key: &str, from: IpAddr) -> Result<Option<Caller>> {
        match self.by_builder_key(name, key, Some(from), self.now()) {
            Ok(caller) => Ok(Some(caller)),
            Err(Refusal::Unavailable(error)) => Err(error),
            Err(_) => Ok(None),
        }
    }

    async fn by_signed_token(&self, token: &str, now: Timestamp) -> Result<Caller, Refusal> {
        let looks_signed = token.split('.').count() == 3;
        let Some(signed) = self.0.options.signed.as_ref().filter(|_| looks_signed) else {
            return Err(Refusal::Unknown);
        };
        let name = signed.verify(token, now).await?;
        if !is_user_name(&name.user) || name.user == OWNER {
            let text = format!("{:?} is no name of a user here", name.user);
            return Err(Refusal::Signed(text));
        }
        let book = self.book().map_err(Refusal::Unavailable)?;
        if book.book.refused.contains(&format!("{USER}{}", name.user)) {
            let text = format!("user {:?} is refused here", name.user);
            return Err(Refusal::Signed(text));
        }
        let (role, reads) = match book.book.users.get(&name.user) {
            Some(user) => (Some(user.role), user.reads.clone()),
            None => (name.role, name.reads),
        };
        let role = role.ok_or_else(|| {
            Refusal::Signed(format!("user {:?} is nothing on this farm", name.user))
        })?;
        Ok(Caller::new(Principal::person(&name.user), role).reading(reads))
    }

    fn by_user_key(
        &self,
        user: &str,
        key: &str,
        peer: Option<IpAddr>,
        now: Timestamp,
    ) -> Result<Caller, Refusal> {
        let name = user.strip_prefix(USER).filter(|name| is_user_name(name));
        let name = name.ok_or(Refusal::Unknown)?;
        let book = self.by_master(user, key, peer, now)?;
        let known = book.book.users.get(name);
        // A key that can be computed from one secret makes nobody an admin.
        let role = match known.map(|user| user.role) {
            None | Some(Role::Admin) => Role::User,
            Some(role) => role,
        };
        let reads = known.map(|user| user.reads.clone()).unwrap_or_default();
        let caller = Caller::new(Principal::person(name), role).reading(reads);
        Ok(caller.by_legacy_key())
    }

    fn by_builder_key(
        &self,
        name: &str,
        key: &str,
        peer: Option<IpAddr>,
        now: Timestamp,
    ) -> Result<Caller, Refusal> {
        // The key of a user is no machine's, though both are made alike.
        let pattern = match Pattern::new(name) {
            Ok(pattern) if !name.starts_with(USER) && !name.ends_with('*') => pattern,
            _ => return Err(Refusal::Unknown),
        };
        self.by_master(name, key, peer, now)?;
        let scope = Scope::of([
            Grant::Machine(pattern.clone(), Pattern::any()),
            Grant::Builder(pattern),
        ]);
        let principal = Principal::new(PrincipalKind::Machine, name);
        let caller = Caller::new(principal, Role::Builder);
        Ok(caller.within(scope.unwrap_or_default()).by_legacy_key())
    }

    /// Whether a master key makes `key` of `name`. Each is tried, however early one fits.
    fn by_master(
        &self,
        name: &str,
        key: &str,
        peer: Option<IpAddr>,
        now: Timestamp,
    ) -> Result<Arc<Indexed>, Refusal> {
        let masters = self.masters().map_err(Refusal::Unavailable)?;
        let is_local = peer.is_some_and(|peer| peer.to_canonical().is_loopback());
        let public = (self.0.options.development && is_local).then_some(&self.0.development);
        let seconds = u64::try_from(now.as_seconds()).unwrap_or(0);
        let all = masters.iter().chain(&self.0.options.masters).chain(public);
        let fits = all.fold(false, |fits, master| {
            master.accepts_at(name, key, seconds) | fits
        });
        let book = self.book().map_err(Refusal::Unavailable)?;
        match fits && !book.book.refused.contains(name) {
            true => Ok(book),
            false => Err(Refusal::Unknown),
        }
    }

    /// Every user by name.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn users(&self) -> Result<Vec<(String, UserEntry)>> {
        let book = self.book()?;
        let pair = |(name, user): (&String, &UserEntry)| (name.clone(), user.clone());
        Ok(book.book.users.iter().map(pair).collect())
    }

    /// Every key with its last use, the newest first.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn keys(&self) -> Result<Vec<(Key, Option<LastUse>)>> {
        let (book, uses) = (self.book()?, self.0.usage.all(self.folder())?);
        let pair = |key: &Key| (key.clone(), uses.get(&key.id).copied());
        let mut keys: Vec<_> = book.book.keys.values().map(|s| pair(&s.key)).collect();
        keys.sort_by(|(a, _), (b, _)| (b.created, &b.id).cmp(&(a.created, &a.id)));
        Ok(keys)
    }

    /// The names whose legacy keys are refused.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn refused_names(&self) -> Result<Vec<String>> {
        Ok(self.book()?.book.refused.iter().cloned().collect())
    }

    /// The newest `limit` lines of the audit log, newest first, and how many lines were damaged.
    /// Refused tries of other processes are some seconds late.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn audit(&self, limit: usize) -> Result<(Vec<AuditEvent>, usize)> {
        self.0.audit.flush(self.folder())?;
        self.0.audit.read(self.folder(), limit)
    }

    /// Writes when keys were used, and who was refused.
    ///
    /// # Errors
    /// When the folder cannot be written; what was used is written the next time.
    pub fn flush(&self) -> Result<()> {
        let book = self.book()?;
        let is_kept = |key: &KeyId| book.book.keys.contains_key(key);
        self.0.usage.flush(self.folder(), is_kept)?;
        self.0.audit.flush(self.folder())
    }

    /// Writes from time to time when keys were used and who was refused, until `stop` is canceled,
    /// and once more then.
    pub async fn run(self, stop: CancellationToken) {
        // Blocking work is waited for, also at the end.
        let writing = Supervisor::new("who");
        loop {
            let pause = tokio::time::sleep(FLUSH);
            let ended = stop.run_until_cancelled(pause).await.is_none();
            let own = self.clone();
            // It waits for the disk, and for other processes.
            let done = writing.spawn_blocking("write", move || own.flush()).await;
            if let Ok(Err(error)) = done {
                tracing::warn!(error = error.chain(), "the last use of keys is not written");
            }
            if ended {
                return;
            }
        }
    }
}

fn why(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::Expired(_) => "expired",
        Refusal::Revoked(_) => "revoked",
        Refusal::Signed(_) => "signed token not accepted",
        Refusal::Throttled(_) => "throttled",
        _ => "unknown",
    }
}

/// The caller of a key, if it is good.
fn of_key(book: &Indexed, key: &Key, now: Timestamp) -> Result<Caller, Refusal> {
    match key.state(now) {
        KeyState::Revoked => return Err(Refusal::Revoked(key.id.clone())),
        KeyState::Expired => return Err(Refusal::Expired(key.id.clone())),
        KeyState::Active => {}
    }
    let role = book.book.role_of(&key.owner).ok_or(Refusal::Unknown)?;
    let user = book.book.users.get(key.owner.name());
    let user = user.filter(|_| *key.owner.kind() == PrincipalKind::Person);
    let reads = user.map(|user| user.reads.clone()).unwrap_or_default();
    let caller = Caller::new(key.owner.clone(), role).reading(reads);
    Ok(caller.within(key.scope.clone()).by_key(key.id.clone()))
}

fn fingerprint(credential: &Credential<'_>) -> Fingerprint {
    let (kind, name, secret) = match credential {
        Credential::Bearer(token) => ("bearer", "", token),
        Credential::Basic { user, password } => ("basic", user.as_ref(), password),
        Credential::Builder { name, key } => ("builder", name.as_ref(), key),
    };
    let mut hash = Sha256::new();
    for part in [kind, name, secret.as_ref()] {
        hash.update(part.len().to_le_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}
