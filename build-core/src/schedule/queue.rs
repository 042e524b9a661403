//! The order of waiters, and the turns of authors.

use std::collections::HashMap;
use std::sync::Arc;

use super::policy::Rank;
use crate::ids::HostType;

/// Place of a waiter, fixed when it enters: lower is served first. `seq` makes it unique.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Order {
    pub(super) tier: u8,
    pub(super) turn: u64,
    pub(super) key: i64,
    pub(super) seq: u64,
}

/// An author of waiters, by number.
pub(super) type AuthorAt = u32;

/// The authors of waiters, each name kept once, as long as something of it waits.
#[derive(Default)]
pub(super) struct Authors {
    known: Vec<(Arc<str>, u32)>,
    vacant: Vec<AuthorAt>,
    by_name: HashMap<Arc<str>, AuthorAt>,
}

impl Authors {
    /// One more waiter of an author.
    fn enter(&mut self, name: &str) -> AuthorAt {
        if let Some(at) = self.by_name.get(name) {
            self.known[*at as usize].1 += 1;
            return *at;
        }
        let name: Arc<str> = name.into();
        let entry = (Arc::clone(&name), 1);
        let at = match self.vacant.pop() {
            Some(at) => {
                self.known[at as usize] = entry;
                at
            }
            None => {
                self.known.push(entry);
                (self.known.len() - 1) as AuthorAt
            }
        };
        self.by_name.insert(name, at);
        at
    }

    fn leave(&mut self, at: AuthorAt) {
        let (name, waiting) = &mut self.known[at as usize];
        *waiting -= 1;
        if *waiting == 0 {
            self.by_name.remove(name);
            self.vacant.push(at);
        }
    }

    fn name(&self, at: AuthorAt) -> &str {
        &self.known[at as usize].0
    }
}

/// Round-robin over authors with places that never change: an author's waiters get one turn
/// each, beginning with the turn that is being served.
#[derive(Default)]
pub(super) struct Turns {
    /// The latest turn that was served.
    now: u64,
    authors: Authors,
    taking_turns: HashMap<(HostType, Option<AuthorAt>), Author>,
}

struct Author {
    last: u64,
    waiting: u32,
}

impl Turns {
    /// One more waiter of `author`, and its turn; 0 where authors do not take turns.
    pub(super) fn enter(
        &mut self,
        rank: Rank,
        host_type: &HostType,
        author: Option<&str>,
    ) -> (Option<AuthorAt>, u64) {
        let author = author.map(|name| self.authors.enter(name));
        if !rank.is_fair_by_author() {
            return (author, 0);
        }
        let now = self.now;
        let turns = self.taking_turns.entry((host_type.clone(), author));
        let turns = turns.or_insert(Author {
            last: now,
            waiting: 0,
        });
        turns.last = turns.last.max(now) + 1;
        turns.waiting += 1;
        (author, turns.last)
    }

    /// A waiter has left the queue; whether it was served.
    pub(super) fn leave(
        &mut self,
        turn: u64,
        host_type: &HostType,
        author: Option<AuthorAt>,
        served: bool,
    ) {
        if turn > 0 {
            self.leave_turn(turn, (host_type.clone(), author), served);
        }
        if let Some(author) = author {
            self.authors.leave(author);
        }
    }

    fn leave_turn(&mut self, turn: u64, key: (HostType, Option<AuthorAt>), served: bool) {
        if served {
            self.now = self.now.max(turn);
        }
        if let Some(known) = self.taking_turns.get_mut(&key) {
            known.waiting -= 1;
            if known.waiting == 0 {
                self.taking_turns.remove(&key);
            }
        }
    }

    /// The name of the author of something that waits.
    pub(super) fn name(&self, author: AuthorAt) -> &str {
        self.authors.name(author)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_author_with_one_change_does_not_wait_for_one_with_fifty() {
        let mut turns = Turns::default();
        let host = HostType::new("linux").unwrap();
        let rank = Rank::new(2, 0);
        let many: Vec<u64> = (0..50)
            .map(|_| turns.enter(rank, &host, Some("many")).1)
            .collect();
        let (one, turn) = turns.enter(rank, &host, Some("one"));
        assert_eq!(turn, many[0]);
        turns.leave(turn, &host, one, true);
        assert_eq!(turns.enter(rank, &host, Some("late")).1, many[1]);
        assert_eq!(turns.enter(Rank::new(3, 0), &host, Some("one")).1, 0);
    }
}
