//! What issues share: users, teams, labels, milestones. The last word in the log counts.

use hashbrown::HashMap;
use zerocopy::{FromBytes, FromZeros as _, Immutable, IntoBytes, KnownLayout};

use super::super::chunk::{Column, Index};
use super::super::text::{Locator, TextRef, Texts};
use super::{GitHub, id_hash};
use crate::mutation::{BoolChangeView, LabelView, MilestoneView, TeamView, UserView};

/// A user or team.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct Account {
    pub(crate) id: i64,
    /// Login or slug.
    pub(crate) name: TextRef,
}

/// Accounts by id.
#[derive(Debug, Clone, Default)]
pub(crate) struct Accounts {
    pub(crate) rows: Column<Account>,
    pub(crate) index: Index,
}

impl Accounts {
    pub(crate) fn find(&self, id: i64) -> Option<Account> {
        self.row(id).map(|row| self.rows.get(row))
    }

    fn row(&self, id: i64) -> Option<u32> {
        let key = account_hash(&self.index, id);
        self.index.find(key, |row| self.rows.get(row).id == id)
    }

    /// The name is not compared with the one known: that would read the log far back.
    fn set(&mut self, id: i64, name: TextRef) {
        match self.row(id) {
            None => {
                let row = self.rows.push(Account { id, name });
                let key = account_hash(&self.index, id);
                self.index.insert(key, row);
            }
            Some(row) if !name.is_none() => self.rows.update(row, |account| account.name = name),
            Some(_) => {}
        }
    }
}

fn account_hash(index: &Index, id: i64) -> u64 {
    index.hash_pair(id.cast_unsigned(), 0u64)
}

/// A label of a repository.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct Label {
    pub(crate) id: i64,
    pub(crate) name: TextRef,
    pub(crate) repo: u32,
    unused: u32,
}

/// A milestone of a repository.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct Milestone {
    pub(crate) id: i64,
    pub(crate) number: i64,
    pub(crate) title: TextRef,
    pub(crate) repo: u32,
    pub(crate) closed: u32,
}

/// What kind of object is shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    User,
    Team,
    Label,
    Milestone,
}

/// A statement about a shared object, with the place in the log where it was made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SharedOp {
    position: u64,
    kind: Kind,
    /// 0 for users and teams.
    repo: u32,
    id: i64,
    /// Login, slug, name or title; none says nothing, like number 0.
    name: TextRef,
    number: i64,
    closed: Option<bool>,
}

impl SharedOp {
    /// The same statement with the repository's row in place of its local number.
    pub(crate) fn with_repo(self, rows: &[u32]) -> Self {
        Self {
            repo: rows[self.repo as usize],
            ..self
        }
    }
}

/// The last word about one property.
#[derive(Debug, Clone, Copy)]
struct Last<T>(Option<(u64, T)>);

impl<T> Last<T> {
    fn say(&mut self, position: u64, value: Option<T>) {
        if let Some(value) = value
            && self
                .0
                .as_ref()
                .is_none_or(|&(before, _)| before <= position)
        {
            self.0 = Some((position, value));
        }
    }

    fn word(self) -> Option<T> {
        self.0.map(|(_, value)| value)
    }
}

/// What a batch says about one shared object.
#[derive(Debug)]
struct Said {
    kind: Kind,
    repo: u32,
    id: i64,
    name: Last<TextRef>,
    number: Last<i64>,
    closed: Last<bool>,
}

/// What a batch says about shared objects, each of them once: most statements repeat what many
/// records of the same batch say.
#[derive(Debug, Default)]
pub(super) struct SharedBatch {
    numbers: HashMap<(Kind, u32, i64), usize>,
    said: Vec<Said>,
}

impl SharedBatch {
    /// Adds a statement; of two about the same place in the log the later call counts.
    pub(super) fn add(&mut self, op: &SharedOp) {
        let said = &mut self.said;
        let number = *self
            .numbers
            .entry((op.kind, op.repo, op.id))
            .or_insert_with(|| {
                said.push(Said {
                    kind: op.kind,
                    repo: op.repo,
                    id: op.id,
                    name: Last(None),
                    number: Last(None),
                    closed: Last(None),
                });
                said.len() - 1
            });
        let object = &mut said[number];
        let name = Some(op.name).filter(|name| !name.is_none());
        object.name.say(op.position, name);
        let number = Some(op.number).filter(|&number| number != 0);
        object.number.say(op.position, number);
        object.closed.say(op.position, op.closed);
    }
}

/// Collects statements; entries without id are counted instead.
pub(crate) struct SharedSink<'a, 'o> {
    locator: Locator<'a>,
    position: u64,
    out: &'o mut Vec<SharedOp>,
    skipped: u64,
}

impl<'a, 'o> SharedSink<'a, 'o> {
    pub(crate) fn new(locator: Locator<'a>, position: u64, out: &'o mut Vec<SharedOp>) -> Self {
        Self {
            locator,
            position,
            out,
            skipped: 0,
        }
    }

    /// Entries that had no id.
    pub(crate) fn skipped(&self) -> u64 {
        self.skipped
    }

    pub(crate) fn skip(&mut self) {
        self.skipped += 1;
    }

    fn push(&mut self, kind: Kind, repo: u32, id: i64, name: &[u8]) -> Option<&mut SharedOp> {
        if id == 0 {
            self.skip();
            return None;
        }
        self.out.push(SharedOp {
            position: self.position,
            kind,
            repo,
            id,
            name: self.locator.locate(name),
            number: 0,
            closed: None,
        });
        self.out.last_mut()
    }

    pub(crate) fn user(&mut self, user: &UserView<'_>) {
        self.push(Kind::User, 0, user.id(), user.login.bytes());
    }

    pub(crate) fn team(&mut self, team: &TeamView<'_>) {
        self.push(Kind::Team, 0, team.id(), team.slug.bytes());
    }

    pub(crate) fn label(&mut self, repo: u32, label: &LabelView<'_>) {
        self.push(Kind::Label, repo, label.id(), label.name.bytes());
    }

    pub(crate) fn milestone(&mut self, repo: u32, milestone: &MilestoneView<'_>) {
        let (id, title) = (milestone.id(), milestone.title.bytes());
        if let Some(op) = self.push(Kind::Milestone, repo, id, title) {
            op.number = milestone.number();
            op.closed = milestone.closed().map(BoolChangeView::val);
        }
    }

    /// The milestone as an issue names it.
    pub(crate) fn issue_milestone(&mut self, repo: u32, id: i64, number: i64, title: &[u8]) {
        if let Some(op) = self.push(Kind::Milestone, repo, id, title) {
            op.number = number;
        }
    }
}

impl GitHub {
    pub(super) fn apply_shared(&mut self, log: &Texts, batch: &SharedBatch) {
        for said in &batch.said {
            let name = said.name.word().unwrap_or_default();
            match said.kind {
                Kind::User => self.users.set(said.id, name),
                Kind::Team => self.teams.set(said.id, name),
                Kind::Label => self.set_label(log, said.repo, said.id, name),
                Kind::Milestone => self.set_milestone(log, said, name),
            }
        }
    }

    pub(crate) fn find_label(&self, repo: u32, id: i64) -> Option<u32> {
        let key = id_hash(&self.label_index, repo, id);
        self.label_index.find(key, |row| {
            let label = self.labels.get(row);
            (label.repo, label.id) == (repo, id)
        })
    }

    fn set_label(&mut self, log: &Texts, repo: u32, id: i64, name: TextRef) {
        match self.find_label(repo, id) {
            None => {
                let row = self.labels.push(Label {
                    id,
                    name,
                    repo,
                    unused: 0,
                });
                let key = id_hash(&self.label_index, repo, id);
                self.label_index.insert(key, row);
            }
            Some(row) => {
                let old = self.labels.get(row).name;
                if !name.is_none() && log.bytes(old) != log.bytes(name) {
                    self.labels.update(row, |label| label.name = name);
                }
            }
        }
    }

    pub(crate) fn find_milestone(&self, repo: u32, id: i64) -> Option<u32> {
        let key = id_hash(&self.milestone_index, repo, id);
        self.milestone_index.find(key, |row| {
            let milestone = self.milestones.get(row);
            (milestone.repo, milestone.id) == (repo, id)
        })
    }

    fn set_milestone(&mut self, log: &Texts, said: &Said, title: TextRef) {
        let (repo, id) = (said.repo, said.id);
        let row = self.find_milestone(repo, id).unwrap_or_else(|| {
            let new = Milestone {
                id,
                repo,
                ..Milestone::new_zeroed()
            };
            let row = self.milestones.push(new);
            let key = id_hash(&self.milestone_index, repo, id);
            self.milestone_index.insert(key, row);
            row
        });
        let old = self.milestones.get(row);
        let mut new = old;
        if let Some(number) = said.number.word() {
            new.number = number;
        }
        if !title.is_none() && log.bytes(old.title) != log.bytes(title) {
            new.title = title;
        }
        if let Some(closed) = said.closed.word() {
            new.closed = closed.into();
        }
        if new.as_bytes() != old.as_bytes() {
            self.milestones.set(row, new);
        }
    }
}
