//! What an admin changes. Each change is in the audit log before it counts.

use std::sync::PoisonError;

use build_core::clock::Timestamp;
use build_core::event::{Principal, PrincipalKind};
use build_core::key::{GO_DEVELOPMENT_MASTER, MasterKey, Token, same_secret};
use build_core::{Error, ErrorKind, Result};

use super::audit::{Act, AuditEvent};
use super::book::{Book, Indexed, MAX_KEYS, MAX_NOTE, MAX_USERS, Stored};
use super::directory::{BOOK, MASTERS, OWNER};
use super::folder::Folder;
use super::{Directory, Key, KeyId, KeyState, NewKey, Pattern, Role, UserEntry, is_user_name};

/// A key that was made, with its secret: it is told now or never.
#[derive(Debug)]
#[non_exhaustive]
pub struct Made {
    /// The key.
    pub key: Key,
    /// Its secret.
    pub token: Token,
}

/// What changes, for the audit log.
pub(super) struct Note {
    act: Act,
    object: String,
    text: String,
}

impl Note {
    pub(super) fn new(act: Act, object: String, text: impl Into<String>) -> Self {
        let text = text.into();
        Self { act, object, text }
    }
}

pub(super) fn invalid(text: impl Into<String>, hint: &str) -> Error {
    Error::new(ErrorKind::Invalid, text).with_hint(hint)
}

pub(super) fn no_user(name: &str) -> Error {
    Error::new(ErrorKind::NotFound, format!("there is no user {name:?}"))
        .with_hint("list them: farmer user list; add one: farmer user add NAME")
}

fn no_key(id: &KeyId) -> Error {
    Error::new(ErrorKind::NotFound, format!("there is no key {id}"))
        .with_hint("list them: farmer key list")
}

fn object_of(key: &Key) -> String {
    format!("key {} of {}", key.id, key.owner)
}

fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    let drawn = getrandom::fill(&mut bytes);
    drawn.map_err(|e| Error::caused_by(ErrorKind::Bug, "draw a key", e))?;
    Ok(bytes)
}

impl Directory {
    /// Makes a change of the book: one at a time, over all processes.
    pub(super) fn change<T>(
        &self,
        by: &Principal,
        change: impl FnOnce(&mut Book, Timestamp) -> Result<(T, Note)>,
    ) -> Result<T> {
        let _first = self
            .0
            .changing
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let _held = self.folder().map(Folder::lock).transpose()?;
        if self.folder().is_some() {
            self.0.book.forget();
        }
        let mut book = self.book()?.book.clone();
        let now = self.now();
        let (done, note) = change(&mut book, now)?;
        self.write_down(by, now, note)?;
        match self.folder() {
            Some(folder) => {
                let written = folder.write(BOOK, &book.to_json());
                self.0.book.forget();
                written?;
            }
            None => self.0.book.set(Indexed::new(book)),
        }
        Ok(done)
    }

    fn write_down(&self, by: &Principal, at: Timestamp, note: Note) -> Result<()> {
        tracing::info!(%by, act = ?note.act, object = note.object, "a change of users or keys");
        let event = AuditEvent {
            at,
            by: by.clone(),
            act: note.act,
            object: note.object,
            text: note.text,
            from: None,
            times: 1,
        };
        self.0.audit.write(self.folder(), event)
    }

    /// Adds a user.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for a name that is none, or a role that is no user's;
    /// [`ErrorKind::Conflict`] when there is one of this name; when it cannot be written.
    pub fn add_user(
        &self,
        by: &Principal,
        name: &str,
        role: Role,
        reads: &[Pattern],
    ) -> Result<UserEntry> {
        if !is_user_name(name) {
            let text = format!("{name:?} is no name of a user");
            return Err(invalid(
                text,
                "use letters, digits and . _ - + @, at most 64",
            ));
        }
        if name == OWNER {
            let text = "the owner is known already, by the token of the data directory";
            return Err(invalid(text, "choose another name"));
        }
        check_role(role)?;
        self.change(by, |book, now| {
            if book.users.contains_key(name) {
                let text = format!("there is a user {name:?} already");
                return Err(Error::new(ErrorKind::Conflict, text)
                    .with_hint("change the role with: farmer user role NAME ROLE"));
            }
            if book.users.len() >= MAX_USERS {
                let text = format!("there are {MAX_USERS} users already");
                return Err(Error::new(ErrorKind::Limit, text).with_hint("remove some"));
            }
            let user = UserEntry {
                role,
                reads: reads.to_vec(),
                added: now,
                added_by: by.clone(),
            };
            book.users.insert(name.to_owned(), user.clone());
            let text = format!("role {role}{}", reading(reads));
            Ok((
                user,
                Note::new(Act::UserAdded, format!("user {name}"), text),
            ))
        })
    }

    /// Gives a user another role, or other private repositories to read; what is `None` stays.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`]; [`ErrorKind::Invalid`] for a role that is no user's; when it
    /// cannot be written.
    pub fn change_user(
        &self,
        by: &Principal,
        name: &str,
        role: Option<Role>,
        reads: Option<&[Pattern]>,
    ) -> Result<UserEntry> {
        role.map(check_role).transpose()?;
        self.change(by, |book, _| {
            let user = book.users.get_mut(name).ok_or_else(|| no_user(name))?;
            user.role = role.unwrap_or(user.role);
            if let Some(reads) = reads {
                user.reads = reads.to_vec();
            }
            let text = format!("role {}{}", user.role, reading(&user.reads));
            let note = Note::new(Act::UserChanged, format!("user {name}"), text);
            Ok((user.clone(), note))
        })
    }

    /// Removes a user. The keys are revoked, and so is the legacy key of the name.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`]; when it cannot be written.
    pub fn remove_user(&self, by: &Principal, name: &str) -> Result<usize> {
        self.change(by, |book, now| {
            book.users.remove(name).ok_or_else(|| no_user(name))?;
            book.refused.insert(format!("user-{name}"));
            let owner = Principal::person(name);
            let keys = book.keys.values_mut().map(|stored| &mut stored.key);
            let mut count = 0;
            for key in keys.filter(|key| key.owner == owner && key.revoked.is_none()) {
                key.revoked = Some(now);
                count += 1;
            }
            book.ssh_keys.retain(|_, key| key.user != name);
            book.ssh_sources.retain(|_, source| source.user != name);
            let text = format!("{count} keys revoked, and the legacy key of user-{name}");
            Ok((
                count,
                Note::new(Act::UserRemoved, format!("user {name}"), text),
            ))
        })
    }

    /// Makes a key.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] for a user that is not known, [`ErrorKind::Invalid`] for a time that
    /// is over or a note that is too long, [`ErrorKind::Limit`] when there are too many; when it
    /// cannot be written.
    pub fn create_key(&self, by: &Principal, new: NewKey) -> Result<Made> {
        if new.note.len() > MAX_NOTE || new.note.contains(char::is_control) {
            let text = format!("a note is one line of at most {MAX_NOTE} bytes");
            return Err(invalid(text, "write a shorter one"));
        }
        self.change(by, |book, now| {
            if book.role_of(&new.owner).is_none() {
                return Err(no_user(new.owner.name()));
            }
            if new.expires.is_some_and(|expires| expires <= now) {
                return Err(invalid(
                    "the key would have expired already",
                    "give a later time",
                ));
            }
            let made = make(book, new, None, by, now)?;
            let text = match made.key.expires {
                Some(expires) => format!("for {}, until {expires}", made.key.scope),
                None => format!("for {}", made.key.scope),
            };
            let note = Note::new(Act::KeyCreated, object_of(&made.key), text);
            Ok((made, note))
        })
    }

    /// Ends a key, at once and for every process. One that has ended stays as it is.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`]; when it cannot be written.
    pub fn revoke_key(&self, by: &Principal, id: &KeyId) -> Result<Key> {
        self.change(by, |book, now| {
            let stored = book.keys.get_mut(id).ok_or_else(|| no_key(id))?;
            stored.key.revoked.get_or_insert(now);
            let note = Note::new(Act::KeyRevoked, object_of(&stored.key), "");
            Ok((stored.key.clone(), note))
        })
    }

    /// Makes a key in the place of another, for the same owner and scope. The old one is good for
    /// `grace` more, so that whoever holds it can change over.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`]; [`ErrorKind::Conflict`] when the old one is not good any more; when
    /// it cannot be written.
    pub fn rotate_key(
        &self,
        by: &Principal,
        id: &KeyId,
        grace: std::time::Duration,
    ) -> Result<Made> {
        self.change(by, |book, now| {
            let stored = book.keys.get_mut(id).ok_or_else(|| no_key(id))?;
            let state = stored.key.state(now);
            if state != KeyState::Active {
                let text = format!("the key {id} is {state}");
                return Err(Error::new(ErrorKind::Conflict, text)
                    .with_hint("make another one with: farmer key create"));
            }
            let old = stored.key.clone();
            let last = now + grace;
            stored.key.expires = Some(old.expires.map_or(last, |expires| expires.min(last)));
            let new = NewKey {
                owner: old.owner.clone(),
                scope: old.scope.clone(),
                // It lives as long as the old one was made for.
                expires: old.expires.map(|expires| now + expires.since(old.created)),
                note: old.note.clone(),
            };
            let made = make(book, new, Some(id.clone()), by, now)?;
            let text = format!("by {}; the old one is good until {last}", made.key.id);
            Ok((made, Note::new(Act::KeyRotated, object_of(&old), text)))
        })
    }

    /// Does not take the legacy key of a name any more: of a host type, a builder or `user-NAME`.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for what is no name; when it cannot be written.
    pub fn refuse_name(&self, by: &Principal, name: &str) -> Result<()> {
        Pattern::new(name)?;
        self.change(by, |book, _| {
            book.refused.insert(name.to_owned());
            Ok((
                (),
                Note::new(Act::NameRefused, format!("legacy key of {name}"), ""),
            ))
        })
    }

    /// Takes the legacy key of a name again.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when it is not refused; when it cannot be written.
    pub fn allow_name(&self, by: &Principal, name: &str) -> Result<()> {
        self.change(by, |book, _| {
            if !book.refused.remove(name) {
                let text = format!("the legacy key of {name:?} is not refused");
                return Err(Error::new(ErrorKind::NotFound, text)
                    .with_hint("list the names: farmer key list"));
            }
            Ok((
                (),
                Note::new(Act::NameAllowed, format!("legacy key of {name}"), ""),
            ))
        })
    }

    /// Takes another master key for legacy keys, from now on and without a restart; drawn when
    /// `given` is `None`. Keys of the one before are good until [`Directory::retire_masters`].
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] when it is empty, has several lines, is the public one of
    /// development, or is the present one already; [`ErrorKind::Unsupported`] in memory; when it
    /// cannot be written.
    pub fn change_master(&self, by: &Principal, given: Option<&str>) -> Result<()> {
        let drawn;
        let new = match given {
            Some(given) => given.trim(),
            None => {
                drawn = hex::encode(random::<32>()?);
                &drawn
            }
        };
        MasterKey::new(new)?;
        if new.contains('\n') {
            return Err(invalid("a master key is one line", "give its file alone"));
        }
        if same_secret(new.as_bytes(), GO_DEVELOPMENT_MASTER.as_bytes()) {
            let hint = "leave the key out: a random one is drawn";
            return Err(invalid(
                "everybody knows the master key of development",
                hint,
            ));
        }
        self.change_masters(by, Act::MasterChanged, |old| {
            let present = old.first().map_or("", String::as_str);
            if same_secret(present.as_bytes(), new.as_bytes()) {
                return Err(Error::new(
                    ErrorKind::Conflict,
                    "it is the present one already",
                ));
            }
            Ok(std::iter::once(new.to_owned())
                .chain(old.into_iter().take(1))
                .collect())
        })
    }

    /// Takes legacy keys of the present master key alone.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is no other; [`ErrorKind::Unsupported`] in memory; when
    /// it cannot be written.
    pub fn retire_masters(&self, by: &Principal) -> Result<()> {
        self.change_masters(by, Act::MasterRetired, |mut old| {
            if old.len() < 2 {
                let text = "there is no master key before the present one";
                return Err(Error::new(ErrorKind::NotFound, text));
            }
            old.truncate(1);
            Ok(old)
        })
    }

    fn change_masters(
        &self,
        by: &Principal,
        act: Act,
        change: impl FnOnce(Vec<String>) -> Result<Vec<String>>,
    ) -> Result<()> {
        let folder = self.folder().ok_or_else(|| {
            let text = "a directory in memory is given its master keys at the start";
            Error::new(ErrorKind::Unsupported, text)
        })?;
        let _held = folder.lock()?;
        let bytes = folder.read(MASTERS)?.unwrap_or_default();
        let text = String::from_utf8(bytes)
            .map_err(|e| Error::caused_by(ErrorKind::Corrupt, "the master keys are no text", e))?;
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let new = change(lines.map(str::to_owned).collect())?;
        self.write_down(by, self.now(), Note::new(act, "master key".into(), ""))?;
        let written = folder.write(MASTERS, format!("{}\n", new.join("\n")).as_bytes());
        self.0.masters.forget();
        written
    }

    /// The present master key: of the folder, else the one of the options.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is none; when it cannot be read.
    pub fn master(&self) -> Result<MasterKey> {
        let masters = self.masters()?;
        let found = masters.first().or_else(|| self.0.options.masters.first());
        found.cloned().ok_or_else(|| {
            Error::new(
                ErrorKind::NotFound,
                "this farm has no master key for legacy keys",
            )
            .with_hint("make one with: farmer key master new")
        })
    }
}

fn check_role(role: Role) -> Result<()> {
    match role {
        Role::Builder => Err(invalid(
            "a builder is no user",
            "make the key of a machine with: farmer key builder NAME",
        )),
        _ => Ok(()),
    }
}

fn reading(reads: &[Pattern]) -> String {
    match reads {
        [] => String::new(),
        some => {
            let names: Vec<_> = some.iter().map(Pattern::as_str).collect();
            format!(", reads {}", names.join(", "))
        }
    }
}

fn make(
    book: &mut Book,
    new: NewKey,
    replaces: Option<KeyId>,
    by: &Principal,
    now: Timestamp,
) -> Result<Made> {
    forget_ended(book, now);
    if book.keys.len() >= MAX_KEYS {
        let text = format!("there are {MAX_KEYS} keys already");
        return Err(Error::new(ErrorKind::Limit, text).with_hint("revoke some"));
    }
    let token = Token::from_entropy(random()?);
    let id = loop {
        let id = KeyId::of_number(u32::from_le_bytes(random()?));
        if !book.keys.contains_key(&id) {
            break id;
        }
    };
    let key = Key {
        id: id.clone(),
        owner: new.owner,
        scope: new.scope,
        note: new.note,
        created: now,
        created_by: by.clone(),
        expires: new.expires,
        revoked: None,
        replaces,
    };
    let stored = Stored {
        key: key.clone(),
        hash: token.hash().to_string(),
    };
    book.keys.insert(id, stored);
    Ok(Made { key, token })
}

/// Keys that ended more than a year ago are known to the audit log alone.
fn forget_ended(book: &mut Book, now: Timestamp) {
    let year = std::time::Duration::from_secs(365 * 24 * 60 * 60);
    book.keys.retain(|_, stored| {
        let ended = stored.key.revoked.or(stored.key.expires);
        ended.is_none_or(|ended| ended + year > now)
    });
}

impl Directory {
    /// Whether an owner of keys is a person that is known, or no person.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn knows(&self, owner: &Principal) -> Result<bool> {
        let book = self.book()?;
        Ok(*owner.kind() != PrincipalKind::Person || book.book.users.contains_key(owner.name()))
    }
}
