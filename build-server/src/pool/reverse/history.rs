//! What is remembered of machines, kept in a file over a restart of the coordinator.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::io::{ErrorKind as Io, Write as _};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use build_core::Error;
use build_core::clock::Timestamp;
use build_core::ids::{HostType, MachineId};
use build_core::report::{PastEvent, PastMachine};
use serde::{Deserialize, Serialize};

use super::registration::Registration;

/// The file in its directory.
const FILE: &str = "machines.json";
/// Most machines that are remembered; of more, those that were gone first are forgotten.
const REMEMBERED: usize = 10_000;
/// Most happenings of a machine that are remembered.
const TRAIL: usize = 20;
/// Longest text of a happening.
const WORDS: usize = 400;

/// What is remembered of a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Seen {
    /// The machine.
    pub machine: MachineId,
    /// Its own name.
    pub host: String,
    /// Its kind.
    pub host_type: HostType,
    /// The version of its buildlet.
    pub version: String,
    /// Where it connected from the last time.
    pub address: IpAddr,
    /// When it registered for the first time.
    pub first: Timestamp,
    /// When it was last there: now, for those that are.
    pub last: Timestamp,
    /// How often it has registered.
    pub registrations: u64,
    /// How often somebody has held it.
    #[serde(default)]
    pub leases: u64,
    /// For how long somebody has held it, all together; microseconds in JSON.
    #[serde(default, with = "micros")]
    pub busy: Duration,
    /// How often it was lost while somebody held it, or gave no sign of life.
    #[serde(default)]
    pub failures: u64,
    /// Why it left the last time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_words: Option<String>,
    /// The last things that happened to it, oldest first.
    #[serde(default)]
    pub trail: VecDeque<(Timestamp, String)>,
}

impl From<Seen> for PastMachine {
    fn from(seen: Seen) -> Self {
        let trail = seen.trail.into_iter();
        Self {
            machine: seen.machine,
            host: seen.host,
            host_type: seen.host_type,
            version: seen.version,
            address: seen.address,
            first: seen.first,
            last: seen.last,
            registrations: seen.registrations,
            leases: seen.leases,
            busy: seen.busy,
            failures: seen.failures,
            last_words: seen.last_words,
            trail: trail.map(|(at, what)| PastEvent { at, what }).collect(),
        }
    }
}

/// A time as whole microseconds.
mod micros {
    use super::*;

    pub(super) fn serialize<S: serde::Serializer>(
        time: &Duration,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.serialize_u64(u64::try_from(time.as_micros()).unwrap_or(u64::MAX))
    }

    pub(super) fn deserialize<'de, D: serde::Deserializer<'de>>(
        from: D,
    ) -> Result<Duration, D::Error> {
        u64::deserialize(from).map(Duration::from_micros)
    }
}

/// Machines by their ids, and whether that is written.
#[derive(Default)]
pub(super) struct History {
    seen: BTreeMap<MachineId, Seen>,
    is_new: bool,
}

impl History {
    /// A machine has registered. Those that `is_there` knows are not forgotten for it.
    pub(super) fn registered(
        &mut self,
        by: &Registration,
        address: IpAddr,
        now: Timestamp,
        is_there: impl Fn(&MachineId) -> bool,
    ) {
        if self.seen.len() >= REMEMBERED && !self.seen.contains_key(&by.id) {
            let gone = self.seen.values().filter(|s| !is_there(&s.machine));
            let oldest = gone.min_by_key(|seen| seen.last).map(|s| s.machine.clone());
            if let Some(oldest) = oldest {
                self.seen.remove(&oldest);
            }
        }
        let seen = self.seen.entry(by.id.clone()).or_insert_with(|| Seen {
            machine: by.id.clone(),
            host: by.host.clone(),
            host_type: by.host_type.clone(),
            version: String::new(),
            address,
            first: now,
            last: now,
            registrations: 0,
            leases: 0,
            busy: Duration::ZERO,
            failures: 0,
            last_words: None,
            trail: VecDeque::new(),
        });
        seen.address = address;
        seen.version.clone_from(&by.version);
        seen.last = now;
        seen.registrations += 1;
        self.is_new = true;
    }

    /// Changes what is remembered of a machine, if anything is.
    fn change(&mut self, id: &MachineId, change: impl FnOnce(&mut Seen)) {
        if let Some(seen) = self.seen.get_mut(id) {
            change(seen);
            self.is_new = true;
        }
    }

    /// Something has happened to a machine that is there.
    pub(super) fn note(&mut self, id: &MachineId, now: Timestamp, what: &str) {
        self.change(id, |seen| {
            seen.last = now;
            if seen.trail.len() >= TRAIL {
                seen.trail.pop_front();
            }
            let what = what.chars().take(WORDS).collect();
            seen.trail.push_back((now, what));
        });
    }

    /// Somebody holds it.
    pub(super) fn leased(&mut self, id: &MachineId) {
        self.change(id, |seen| seen.leases += 1);
    }

    /// Somebody has held it for so long.
    pub(super) fn worked(&mut self, id: &MachineId, busy: Duration) {
        // As it is written: whole microseconds.
        let busy = Duration::from_micros(u64::try_from(busy.as_micros()).unwrap_or(u64::MAX));
        self.change(id, |seen| seen.busy = seen.busy.saturating_add(busy));
    }

    /// It has left, and that was a failure or not.
    pub(super) fn left(&mut self, id: &MachineId, now: Timestamp, why: &str, is_failure: bool) {
        self.note(id, now, &format!("left: {why}"));
        self.change(id, |seen| {
            seen.failures += u64::from(is_failure);
            seen.last_words = Some(why.chars().take(WORDS).collect());
        });
    }

    /// Every machine, with `now` for those that are there.
    pub(super) fn all(&self, now: Timestamp, is_there: impl Fn(&MachineId) -> bool) -> Vec<Seen> {
        let mut all: Vec<Seen> = self.seen.values().cloned().collect();
        for seen in &mut all {
            if is_there(&seen.machine) {
                seen.last = now;
            }
        }
        all
    }

    /// Whether something is new since the last question.
    pub(super) fn take_new(&mut self) -> bool {
        std::mem::take(&mut self.is_new)
    }

    /// What was asked for with [`History::take_new`] could not be written.
    pub(super) fn is_unwritten(&mut self) {
        self.is_new = true;
    }
}

/// Where it is kept.
#[derive(Clone, Debug)]
pub(super) struct Kept(PathBuf);

impl Kept {
    /// In that directory, which is made by the first write.
    pub(super) fn new(dir: impl Into<PathBuf>) -> Self {
        Self(dir.into())
    }

    /// What was written there. What cannot be read is laid aside and begins anew: nothing of the
    /// work of a farm depends on it.
    pub(super) fn read(&self) -> History {
        let path = self.0.join(FILE);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == Io::NotFound => return History::default(),
            Err(error) => {
                tracing::warn!(%error, file = %path.display(), "the past of machines is not known");
                return History::default();
            }
        };
        match serde_json::from_slice::<Vec<Seen>>(&bytes) {
            Ok(all) => {
                let pairs = all.into_iter().map(|seen| (seen.machine.clone(), seen));
                History {
                    seen: pairs.collect(),
                    is_new: false,
                }
            }
            Err(error) => {
                let aside = path.with_extension("damaged");
                // A second damaged one takes the place of the first.
                let moved = fs::rename(&path, &aside);
                tracing::warn!(%error, file = %path.display(), aside = %aside.display(),
                    is_aside = moved.is_ok(), "the past of machines is damaged and begins anew");
                History::default()
            }
        }
    }

    /// Writes it, whole or not at all.
    ///
    /// # Errors
    /// When that cannot be done; what was written before stays.
    pub(super) fn write(&self, all: &[Seen]) -> build_core::Result<()> {
        let path = self.0.join(FILE);
        let bytes = serde_json::to_vec(all).expect("names, times and numbers always serialise");
        replace(&self.0, &path, &bytes).map_err(|error| {
            Error::from(error).while_doing(format!("write the past of machines {}", path.display()))
        })
    }
}

fn replace(dir: &Path, path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    fs::create_dir_all(dir)?;
    let mut draft = tempfile::Builder::new().prefix(".new-").tempfile_in(dir)?;
    draft.write_all(bytes)?;
    draft.as_file().sync_all()?;
    draft.persist(path).map_err(|error| error.error)?;
    fs::File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::reverse::registration::Registration;
    use build_core::schedule::Labels;

    fn registration(host: &str) -> Registration {
        Registration {
            id: MachineId::new(format!("{host}@linux")).unwrap(),
            host: host.into(),
            host_type: HostType::new("linux").unwrap(),
            version: "25".into(),
            instance: None,
            labels: Labels::default(),
        }
    }

    #[test]
    fn the_past_survives_a_restart_and_damage_costs_the_past_alone() {
        let dir = tempfile::tempdir().unwrap();
        let kept = Kept::new(dir.path().join("reverse"));
        let mut history = kept.read();
        let (box1, at) = (registration("box1"), Timestamp::from_seconds);
        let address = "192.0.2.1".parse().unwrap();
        history.registered(&box1, address, at(10), |_| true);
        history.leased(&box1.id);
        history.worked(&box1.id, Duration::from_secs(5));
        history.left(&box1.id, at(20), &"x".repeat(WORDS + 9), true);
        assert!(history.take_new() && !history.take_new());
        let all = history.all(at(99), |_| false);
        kept.write(&all).unwrap();

        let mut again = kept.read();
        assert_eq!(again.all(at(99), |_| false), all);
        assert_eq!(
            (all[0].last, all[0].leases, all[0].failures),
            (at(20), 1, 1)
        );
        assert_eq!(all[0].last_words.as_ref().unwrap().len(), WORDS);
        again.registered(&box1, address, at(30), |_| true);
        assert_eq!(again.all(at(31), |_| true)[0].registrations, 2);
        assert_eq!(again.all(at(31), |_| true)[0].last, at(31));

        let file = dir.path().join("reverse").join(FILE);
        fs::write(&file, "[{torn").unwrap();
        assert!(kept.read().all(at(99), |_| true).is_empty());
        let aside = fs::read_to_string(file.with_extension("damaged")).unwrap();
        assert_eq!(aside, "[{torn", "nothing is lost");
    }

    #[test]
    fn the_ones_that_were_gone_first_are_forgotten() {
        let mut history = History::default();
        let address = "192.0.2.1".parse().unwrap();
        for number in 0..REMEMBERED + 10 {
            let by = registration(&format!("box{number}"));
            let now = Timestamp::from_seconds(number as i64);
            history.registered(&by, address, now, |id| id.as_str() == "box0@linux");
        }
        let all = history.all(Timestamp::from_seconds(0), |_| false);
        assert_eq!(all.len(), REMEMBERED);
        let has = |host: &str| all.iter().any(|seen| seen.host == host);
        assert!(has("box0") && !has("box1") && !has("box10") && has("box11"));
    }
}
