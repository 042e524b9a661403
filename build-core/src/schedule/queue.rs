//! The order of waiters, and the turns of authors.

use std::collections::HashMap;

use super::policy::Rank;
use super::quotas::AccountAt;
use crate::ids::HostType;

/// Place of a waiter, fixed when it enters: lower is served first. `seq` makes it unique.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Order {
    pub(super) tier: u8,
    pub(super) turn: u64,
    pub(super) key: i64,
    pub(super) seq: u64,
}

/// Round-robin over authors with places that never change: an author's waiters get one turn
/// each, beginning with the turn that is being served.
#[derive(Default)]
pub(super) struct Turns {
    /// The latest turn that was served.
    now: u64,
    taking_turns: HashMap<(HostType, Option<AccountAt>), Author>,
}

struct Author {
    last: u64,
    waiting: u32,
}

impl Turns {
    /// The turn of one more waiter of `author`; 0 where authors do not take turns.
    pub(super) fn enter(
        &mut self,
        rank: Rank,
        host_type: &HostType,
        author: Option<AccountAt>,
    ) -> u64 {
        if !rank.is_fair_by_author() {
            return 0;
        }
        let now = self.now;
        let turns = self.taking_turns.entry((host_type.clone(), author));
        let turns = turns.or_insert(Author {
            last: now,
            waiting: 0,
        });
        turns.last = turns.last.max(now) + 1;
        turns.waiting += 1;
        turns.last
    }

    /// A waiter has left the queue; whether it was served.
    pub(super) fn leave(
        &mut self,
        turn: u64,
        host_type: &HostType,
        author: Option<AccountAt>,
        served: bool,
    ) {
        if turn == 0 {
            return;
        }
        if served {
            self.now = self.now.max(turn);
        }
        let key = (host_type.clone(), author);
        if let Some(known) = self.taking_turns.get_mut(&key) {
            known.waiting -= 1;
            if known.waiting == 0 {
                self.taking_turns.remove(&key);
            }
        }
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
        let many: Vec<u64> = (0..50).map(|_| turns.enter(rank, &host, Some(1))).collect();
        let turn = turns.enter(rank, &host, Some(2));
        assert_eq!(turn, many[0]);
        turns.leave(turn, &host, Some(2), true);
        assert_eq!(turns.enter(rank, &host, Some(3)), many[1]);
        assert_eq!(turns.enter(Rank::new(3, 0), &host, Some(2)), 0);
    }
}
