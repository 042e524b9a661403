//! Who changed what, and who was refused: a log of lines that are never changed.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use build_core::Result;
use build_core::clock::Timestamp;
use build_core::event::Principal;
use serde::{Deserialize, Serialize};

use super::folder::Folder;

const FILE: &str = "audit.jsonl";
/// From this size on the file becomes the older one, and another begins.
const MAX_BYTES: u64 = 8 << 20;
/// Older files that are kept, the newest first.
const OLDER: [&str; 4] = [
    "audit.1.jsonl",
    "audit.2.jsonl",
    "audit.3.jsonl",
    "audit.4.jsonl",
];
/// Events that a directory in memory keeps.
const KEPT_IN_MEMORY: usize = 1_000;
/// Different refused tries that are told apart between two writes.
const MAX_TRIES: usize = 256;

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Act {
    /// A user was added.
    UserAdded,
    /// A user got another role, or other repositories to read.
    UserChanged,
    /// A user was removed, with the keys.
    UserRemoved,
    /// A key was made.
    KeyCreated,
    /// A key was ended.
    KeyRevoked,
    /// Another key takes the place of one.
    KeyRotated,
    /// The legacy keys of a name are not good any more.
    NameRefused,
    /// They are again.
    NameAllowed,
    /// There is another master key; the one before is still good.
    MasterChanged,
    /// The master keys before the present one are not good any more.
    MasterRetired,
    /// A public key for ssh was added.
    SshKeyAdded,
    /// A public key for ssh was taken away.
    SshKeyRemoved,
    /// A certificate for ssh was signed.
    SshCertified,
    /// Somebody came to a session over ssh.
    SshConnected,
    /// They had their agent forwarded.
    SshAgent,
    /// They have left.
    SshLeft,
    /// Somebody was refused.
    Refused,
    /// Something that this version does not know.
    #[serde(other)]
    Other,
}

/// One line of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct AuditEvent {
    /// When; of several alike, the last time.
    pub at: Timestamp,
    /// Who did it; of refused tries the farm, which refused.
    pub by: Principal,
    /// What.
    pub act: Act,
    /// To whom or what: `user ann`, `key K0123abcd of person:ann`.
    pub object: String,
    /// What else there is to say. Never a secret.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub text: String,
    /// From where, when it came over the network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<IpAddr>,
    /// How often, since the line before that is alike.
    #[serde(default = "one")]
    pub times: u64,
}

impl Act {
    /// In the words of people.
    fn words(self) -> &'static str {
        match self {
            Self::UserAdded => "added",
            Self::UserChanged => "changed",
            Self::UserRemoved => "removed",
            Self::KeyCreated => "made",
            Self::KeyRevoked => "revoked",
            Self::KeyRotated => "rotated",
            Self::NameRefused => "refuses from now on the",
            Self::NameAllowed => "takes again the",
            Self::MasterChanged => "changed the",
            Self::MasterRetired => "retired the older",
            Self::SshKeyAdded => "added",
            Self::SshKeyRemoved => "removed",
            Self::SshCertified => "got a certificate for",
            Self::SshConnected => "came over ssh to",
            Self::SshAgent => "had their ssh agent forwarded to",
            Self::SshLeft => "left, over ssh,",
            Self::Refused => "refused",
            Self::Other => "did something of a later version with",
        }
    }
}

impl fmt::Display for AuditEvent {
    /// As the rest of a sentence that begins with who did it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.act.words(), self.object)?;
        if !self.text.is_empty() {
            write!(f, " ({})", self.text)?;
        }
        if let Some(from) = self.from {
            write!(f, " from {from}")?;
        }
        match self.times {
            1 => Ok(()),
            times => write!(f, ", {times} times"),
        }
    }
}

fn one() -> u64 {
    1
}

/// From where, who it claims to be, and why it was refused.
type Try = (Option<IpAddr>, String, String);

#[derive(Default)]
pub(super) struct Audit {
    /// Refused tries that are not written yet.
    tries: Mutex<HashMap<Try, (Timestamp, u64)>>,
    memory: Mutex<VecDeque<AuditEvent>>,
}

impl Audit {
    /// Writes an event, durable on return.
    pub(super) fn write(&self, folder: Option<&Folder>, event: AuditEvent) -> Result<()> {
        self.write_all(folder, vec![event])
    }

    fn write_all(&self, folder: Option<&Folder>, events: Vec<AuditEvent>) -> Result<()> {
        let Some(folder) = folder else {
            let mut memory = lock(&self.memory);
            memory.extend(events);
            let surplus = memory.len().saturating_sub(KEPT_IN_MEMORY);
            memory.drain(..surplus);
            return Ok(());
        };
        let mut lines = Vec::new();
        for event in &events {
            serde_json::to_writer(&mut lines, event).expect("names and numbers always serialise");
            lines.push(b'\n');
        }
        let bytes = folder.append(FILE, &lines)?;
        if bytes >= MAX_BYTES {
            turn_over(folder);
        }
        Ok(())
    }

    /// Remembers that somebody was refused; [`Audit::flush`] writes it. However fast they come,
    /// they cost a bounded amount.
    pub(super) fn refused(&self, at: Timestamp, from: Option<IpAddr>, who: String, why: String) {
        let mut tries = lock(&self.tries);
        let key = (from, who, why);
        if tries.len() >= MAX_TRIES && !tries.contains_key(&key) {
            let (_, _, why) = key;
            let rest = (None, "several others".to_owned(), why);
            let rest = tries.entry(rest).or_insert((at, 0));
            *rest = (at, rest.1 + 1);
            return;
        }
        let known = tries.entry(key).or_insert((at, 0));
        *known = (at, known.1 + 1);
    }

    /// Writes the refused tries since the last time, each kind as one line.
    pub(super) fn flush(&self, folder: Option<&Folder>) -> Result<()> {
        let tries = std::mem::take(&mut *lock(&self.tries));
        if tries.is_empty() {
            return Ok(());
        }
        let mut events: Vec<_> = tries
            .into_iter()
            .map(|((from, object, text), (at, times))| AuditEvent {
                at,
                by: Principal::farm(),
                act: Act::Refused,
                object,
                text,
                from,
                times,
            })
            .collect();
        events.sort_by_key(|event| event.at);
        let _held = folder.map(Folder::lock).transpose()?;
        self.write_all(folder, events)
    }

    /// The newest `limit` events, newest first, and how many lines could not be read.
    pub(super) fn read(
        &self,
        folder: Option<&Folder>,
        limit: usize,
    ) -> Result<(Vec<AuditEvent>, usize)> {
        let Some(folder) = folder else {
            let memory = lock(&self.memory);
            return Ok((memory.iter().rev().take(limit).cloned().collect(), 0));
        };
        let (mut events, mut damaged) = (Vec::new(), 0);
        for name in std::iter::once(FILE).chain(OLDER) {
            if events.len() >= limit {
                break;
            }
            let bytes = folder.read(name)?.unwrap_or_default();
            for line in bytes.split(|b| *b == b'\n').rev().filter(|l| !l.is_empty()) {
                if events.len() >= limit {
                    break;
                }
                match serde_json::from_slice(line) {
                    Ok(event) => events.push(event),
                    Err(_) => damaged += 1,
                }
            }
        }
        Ok((events, damaged))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while it holds one of these locks.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The oldest file goes, each other becomes one older. What cannot be renamed goes on growing.
fn turn_over(folder: &Folder) {
    let names: Vec<_> = std::iter::once(FILE).chain(OLDER).collect();
    for pair in names.windows(2).rev() {
        let (from, to) = (folder.path(pair[0]), folder.path(pair[1]));
        if let Err(error) = std::fs::rename(&from, &to)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(%error, file = %from.display(), "the audit log is not turned over");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(n: i64) -> AuditEvent {
        AuditEvent {
            at: Timestamp::from_seconds(n),
            by: Principal::person("owner"),
            act: Act::KeyCreated,
            object: format!("key {n}"),
            text: "x".repeat(100_000),
            from: None,
            times: 1,
        }
    }

    #[test]
    fn the_log_is_turned_over_and_damaged_lines_are_counted() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(dir.path().join("who")).unwrap();
        let audit = Audit::default();
        for n in 0..90 {
            audit.write(Some(&folder), event(n)).unwrap();
        }
        assert!(
            folder.read(OLDER[0]).unwrap().is_some(),
            "it was turned over"
        );
        folder.append(FILE, b"torn").unwrap();
        audit.write(Some(&folder), event(90)).unwrap();
        let (events, damaged) = audit.read(Some(&folder), usize::MAX).unwrap();
        assert_eq!((events.len(), damaged), (91, 1));
        assert_eq!(events[0].object, "key 90");
        assert_eq!(audit.read(Some(&folder), 3).unwrap().0.len(), 3);
    }

    #[test]
    fn any_number_of_refused_tries_are_a_few_lines() {
        let audit = Audit::default();
        for n in 0..100_000_u32 {
            let from = IpAddr::from(n.to_be_bytes());
            audit.refused(
                Timestamp::from_seconds(1),
                Some(from),
                "a token".into(),
                "unknown".into(),
            );
        }
        audit.flush(None).unwrap();
        let (events, _) = audit.read(None, usize::MAX).unwrap();
        assert_eq!(events.len(), MAX_TRIES + 1);
        assert_eq!(events.iter().map(|e| e.times).sum::<u64>(), 100_000);
        audit.flush(None).unwrap();
        assert_eq!(audit.read(None, usize::MAX).unwrap().0.len(), MAX_TRIES + 1);
    }

    #[test]
    fn acts_of_later_versions_are_read() {
        let line = r#"{"at":1,"by":"person:ann","act":"moon-landed","object":"moon"}"#;
        let event: AuditEvent = serde_json::from_str(line).unwrap();
        assert_eq!((event.act, event.times), (Act::Other, 1));
    }
}
