//! The records of all machines, and the memos that they are kept in.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Aside, MachineRecord, Verdict};
use crate::clock::Timestamp;
use crate::event::{Memo, MemoKey};
use crate::ids::{HostType, MachineId};

/// What the keys of memos begin with that hold records of machines.
pub const MACHINE_MEMOS: &str = "machine/";
/// Most machines that are remembered; of more, those that worked least recently are forgotten.
const REMEMBERED: usize = 10_000;

/// What is remembered of every machine.
#[derive(Clone, Debug, Default)]
pub struct Records {
    known: BTreeMap<MachineId, MachineRecord>,
    /// The machines that are up, by their kinds.
    up: BTreeMap<MachineId, HostType>,
}

impl Records {
    /// What a memo says, if it is one of these.
    pub fn restore(&mut self, memo: &Memo) {
        let record = memo.key.as_str().strip_prefix(MACHINE_MEMOS);
        let record = record.and_then(|_| serde_json::from_slice(memo.value.as_ref()?).ok());
        if let Some(record) = record {
            let record: MachineRecord = record;
            self.known.insert(record.machine.clone(), record);
        }
    }

    /// These machines are up, and no others.
    pub fn set_up(&mut self, machines: impl IntoIterator<Item = (MachineId, HostType)>) {
        self.up = machines.into_iter().collect();
    }

    /// What is remembered of a machine.
    pub fn of(&self, machine: &MachineId) -> Option<&MachineRecord> {
        self.known.get(machine)
    }

    /// All that is remembered, by machine.
    pub fn all(&self) -> impl Iterator<Item = &MachineRecord> {
        self.known.values()
    }

    /// Whether it is up, or was once.
    pub fn knows(&self, machine: &MachineId) -> bool {
        self.up.contains_key(machine) || self.known.contains_key(machine)
    }

    /// Why and until when a machine is set aside at present.
    pub fn aside(&self, machine: &MachineId, now: Timestamp) -> Option<&Aside> {
        let aside = self.known.get(machine)?.aside.as_ref()?;
        aside.holds(now).then_some(aside)
    }

    /// A lease of a machine has ended. The answer is what is to be written, and why the machine is
    /// set aside, when it is because of this.
    pub fn ended(
        &mut self,
        machine: &MachineId,
        verdict: Verdict,
        busy: Duration,
        why: &str,
        now: Timestamp,
    ) -> (Vec<Memo>, Option<Aside>) {
        let mut memos = self.make_room(machine);
        let others_are_well = verdict == Verdict::Failed && self.is_another_well(machine, now);
        let record = self.record(machine, now);
        record.ended(verdict, busy, why, now);
        let is_new = record.aside.as_ref().is_none_or(|aside| !aside.holds(now));
        let mut aside = None;
        if verdict == Verdict::Failed && record.is_sick() && others_are_well && is_new {
            record.rest(now);
            aside.clone_from(&record.aside);
        } else if is_new {
            // That is over.
            record.aside = None;
        }
        memos.extend(memo_of(record));
        (memos, aside)
    }

    /// Somebody sets a machine aside; what is to be written.
    pub fn put_aside(&mut self, machine: &MachineId, aside: Aside, now: Timestamp) -> Vec<Memo> {
        self.change(machine, now, |record| record.put_aside(aside))
    }

    /// Somebody lets a machine be used again; what is to be written.
    pub fn release(&mut self, machine: &MachineId, now: Timestamp) -> Vec<Memo> {
        self.change(machine, now, MachineRecord::release)
    }

    fn change(
        &mut self,
        machine: &MachineId,
        now: Timestamp,
        change: impl FnOnce(&mut MachineRecord),
    ) -> Vec<Memo> {
        let mut memos = self.make_room(machine);
        let record = self.record(machine, now);
        change(record);
        memos.extend(memo_of(record));
        memos
    }

    fn record(&mut self, machine: &MachineId, now: Timestamp) -> &mut MachineRecord {
        let kind = self.up.get(machine).cloned();
        let record = self.known.entry(machine.clone()).or_insert_with(|| {
            let unknown = || HostType::new("unknown").expect("a plain word");
            MachineRecord::new(machine.clone(), kind.clone().unwrap_or_else(unknown), now)
        });
        if let Some(kind) = kind {
            record.host_type = kind;
        }
        record
    }

    /// Whether another machine of the same kind is up and has not failed the last time.
    fn is_another_well(&self, machine: &MachineId, now: Timestamp) -> bool {
        let Some(kind) = self.up.get(machine) else {
            return false;
        };
        let mut others = self
            .up
            .iter()
            .filter(|(id, of)| *of == kind && *id != machine);
        others.any(|(id, _)| self.known.get(id).is_none_or(|known| known.is_well(now)))
    }

    /// Forgets some, for one that is new.
    fn make_room(&mut self, machine: &MachineId) -> Vec<Memo> {
        if self.known.len() < REMEMBERED || self.known.contains_key(machine) {
            return Vec::new();
        }
        let gone = self
            .known
            .values()
            .filter(|known| !self.up.contains_key(&known.machine));
        let oldest = gone.min_by_key(|known| known.last);
        let Some(oldest) = oldest.map(|known| known.machine.clone()) else {
            return Vec::new();
        };
        self.known.remove(&oldest);
        vec![Memo::removed(key_of(&oldest))]
    }
}

fn key_of(machine: &MachineId) -> MemoKey {
    MemoKey::new(format!("{MACHINE_MEMOS}{machine}")).expect("an id is short and printable")
}

fn memo_of(record: &MachineRecord) -> Option<Memo> {
    let text = serde_json::to_vec(record).ok()?;
    Some(Memo::set(key_of(&record.machine), text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u32) -> MachineId {
        MachineId::new(format!("m{n}")).unwrap()
    }

    fn up(records: &mut Records, machines: &[(u32, &str)]) {
        let kind = |name: &str| HostType::new(name).unwrap();
        records.set_up(machines.iter().map(|(n, name)| (id(*n), kind(name))));
    }

    fn fail(records: &mut Records, n: u32, now: i64) -> Option<Aside> {
        let now = Timestamp::from_seconds(now);
        let why = "it does not answer";
        records
            .ended(&id(n), Verdict::Failed, Duration::ZERO, why, now)
            .1
    }

    /// Machine 1 fails; who stands beside it decides what that means.
    #[test]
    fn only_a_machine_that_fails_while_others_do_not_is_set_aside() {
        let set_aside = |machines: &[(u32, &str)], others_fail: bool| {
            let mut records = Records::default();
            up(&mut records, machines);
            if others_fail {
                fail(&mut records, 2, 0);
            }
            (1..=3).filter_map(|now| fail(&mut records, 1, now)).count()
        };
        assert_eq!(set_aside(&[(1, "a"), (2, "a")], false), 1);
        assert_eq!(
            set_aside(&[(1, "a"), (2, "a")], true),
            0,
            "all of them fail"
        );
        assert_eq!(
            set_aside(&[(1, "a"), (2, "b")], false),
            0,
            "nobody else can do its work"
        );
        assert_eq!(set_aside(&[(2, "a")], false), 0, "it is not there");
    }

    #[test]
    fn what_is_remembered_comes_back_from_its_memos() {
        let mut records = Records::default();
        up(&mut records, &[(1, "a"), (2, "a")]);
        let now = Timestamp::from_seconds(9);
        let mut memos = Vec::new();
        for _ in 0..3 {
            let ended = records.ended(&id(1), Verdict::Failed, Duration::from_secs(2), "lost", now);
            memos = ended.0;
        }
        let mut again = Records::default();
        memos.iter().for_each(|memo| again.restore(memo));
        again.restore(&Memo::set(MemoKey::new("machine/x").unwrap(), "torn"));
        again.restore(&Memo::set(MemoKey::new("lease/x").unwrap(), "secret"));
        assert_eq!(
            again.all().collect::<Vec<_>>(),
            records.all().collect::<Vec<_>>()
        );
        let until = again.aside(&id(1), now).unwrap().until;
        assert_eq!(until, now + super::super::FIRST_REST);
        assert!(again.aside(&id(1), until).is_none());
        again.release(&id(1), now);
        assert!(again.aside(&id(1), now).is_none());
    }

    #[test]
    fn the_ones_that_worked_least_recently_are_forgotten() {
        let mut records = Records::default();
        up(&mut records, &[(0, "a")]);
        let total = REMEMBERED as u32 + 2;
        let mut forgotten = 0;
        for n in 0..total {
            let now = Timestamp::from_seconds(n.into());
            let ended = records.ended(&id(n), Verdict::Well, Duration::ZERO, "", now);
            forgotten += ended.0.iter().filter(|memo| memo.value.is_none()).count();
        }
        assert_eq!((records.all().count(), forgotten), (REMEMBERED, 2));
        assert!(records.of(&id(0)).is_some(), "it is up");
        assert!(records.of(&id(1)).is_none() && records.of(&id(3)).is_some());
    }
}
