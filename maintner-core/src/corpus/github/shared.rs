//! What issues share: users, teams, labels, milestones. The last word in the log counts.

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

/// A statement about a shared object, with the place in the log where it was made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SharedOp {
    position: u64,
    repo: u32,
    what: What,
}

#[derive(Debug, Clone, Copy)]
enum What {
    User {
        id: i64,
        login: TextRef,
    },
    Team {
        id: i64,
        slug: TextRef,
    },
    Label {
        id: i64,
        name: TextRef,
    },
    Milestone {
        id: i64,
        number: i64,
        title: TextRef,
        closed: Option<bool>,
    },
}

impl SharedOp {
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// The same statement with the repository's row in place of its local number.
    pub(crate) fn with_repo(self, rows: &[u32]) -> Self {
        Self {
            repo: rows[self.repo as usize],
            ..self
        }
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

    fn push(&mut self, repo: u32, id: i64, what: What) {
        if id == 0 {
            self.skip();
        } else {
            self.out.push(SharedOp {
                position: self.position,
                repo,
                what,
            });
        }
    }

    fn text(&self, text: &[u8]) -> TextRef {
        self.locator.locate(text)
    }

    pub(crate) fn user(&mut self, user: &UserView<'_>) {
        let login = self.text(user.login.bytes());
        self.push(
            0,
            user.id(),
            What::User {
                id: user.id(),
                login,
            },
        );
    }

    pub(crate) fn team(&mut self, team: &TeamView<'_>) {
        let slug = self.text(team.slug.bytes());
        self.push(
            0,
            team.id(),
            What::Team {
                id: team.id(),
                slug,
            },
        );
    }

    pub(crate) fn label(&mut self, repo: u32, label: &LabelView<'_>) {
        let name = self.text(label.name.bytes());
        self.push(
            repo,
            label.id(),
            What::Label {
                id: label.id(),
                name,
            },
        );
    }

    pub(crate) fn milestone(&mut self, repo: u32, milestone: &MilestoneView<'_>) {
        let title = self.text(milestone.title.bytes());
        let closed = milestone.closed().map(BoolChangeView::val);
        let (id, number) = (milestone.id(), milestone.number());
        self.push(
            repo,
            id,
            What::Milestone {
                id,
                number,
                title,
                closed,
            },
        );
    }

    /// The milestone as an issue names it.
    pub(crate) fn issue_milestone(&mut self, repo: u32, id: i64, number: i64, title: &[u8]) {
        let title = self.text(title);
        self.push(
            repo,
            id,
            What::Milestone {
                id,
                number,
                title,
                closed: None,
            },
        );
    }
}

impl GitHub {
    pub(super) fn apply_shared(&mut self, log: &Texts, op: &SharedOp) {
        match op.what {
            What::User { id, login } => self.users.set(id, login),
            What::Team { id, slug } => self.teams.set(id, slug),
            What::Label { id, name } => self.set_label(log, op.repo, id, name),
            What::Milestone {
                id,
                number,
                title,
                closed,
            } => {
                self.set_milestone(log, op.repo, id, number, title, closed);
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

    fn set_milestone(
        &mut self,
        log: &Texts,
        repo: u32,
        id: i64,
        number: i64,
        title: TextRef,
        closed: Option<bool>,
    ) {
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
        if number != 0 {
            new.number = number;
        }
        if !title.is_none() && log.bytes(old.title) != log.bytes(title) {
            new.title = title;
        }
        if let Some(closed) = closed {
            new.closed = closed.into();
        }
        if new.as_bytes() != old.as_bytes() {
            self.milestones.set(row, new);
        }
    }
}
