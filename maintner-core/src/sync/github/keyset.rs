//! Reading a list that is sorted by the time of the last change, oldest first, while it changes.

use serde::{Deserialize, Serialize};

/// GitHub's lists lag behind by this much at most, in seconds.
const LAG: i64 = 300;

/// How far a list was read. Each page begins at the time at which the last one ended, that time
/// included: a thing that changes meanwhile moves to the end, where it is met again. Pages by
/// number are only taken where one second fills more than a page.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Keyset {
    /// Everything that changed last before this time was read.
    pub(super) since: Option<i64>,
    /// Page within that second, from 1; 0 for the first look.
    page: u32,
    /// Whether one of the pages of this second had something new.
    moved: bool,
}

/// What follows a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// Ask on.
    More,
    /// This was the end of the list.
    End,
}

impl Keyset {
    pub(super) fn from(since: Option<i64>) -> Self {
        Self {
            since,
            ..Self::default()
        }
    }

    /// The end of the query.
    pub(super) fn query(&self) -> String {
        let mut query = String::new();
        if let Some(since) = self.since {
            query.push_str(&format!("&since={}", super::model::iso(since)));
        }
        if self.page > 1 {
            query.push_str(&format!("&page={}", self.page));
        }
        query
    }

    /// Goes on after a page whose last thing changed at `last`. `new`: something on it was not
    /// known; `more`: GitHub says that there is another page.
    pub(super) fn turn(&mut self, last: Option<i64>, new: bool, more: bool) -> Turn {
        let page = self.page.max(1);
        self.moved |= new && page > 1;
        let Some(last) = last.filter(|_| more) else {
            return self.end(last);
        };
        if self.since.is_none_or(|since| last > since) {
            if self.reread() {
                return Turn::More;
            }
            *self = Self::from(Some(last));
        } else {
            self.page = page + 1;
        }
        Turn::More
    }

    /// A thing that left a second which fills several pages moved the rest forward by one, past
    /// the reader: such a second is read until nothing is new.
    fn reread(&mut self) -> bool {
        let again = self.moved;
        if again {
            self.page = 1;
            self.moved = false;
        }
        again
    }

    fn end(&mut self, last: Option<i64>) -> Turn {
        if self.reread() {
            return Turn::More;
        }
        // The last page is the first of the next comparison: its answer may be known by its tag
        // then, and what came late is seen.
        if let (Some(since), Some(last)) = (self.since, last) {
            self.since = Some(since.min(last - LAG));
        }
        self.page = 0;
        Turn::End
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_follow_the_time() {
        let mut keyset = Keyset::default();
        assert_eq!(keyset.query(), "");
        assert_eq!(keyset.turn(Some(1000), true, true), Turn::More);
        assert_eq!(keyset.query(), "&since=1970-01-01T00:16:40Z");
        assert_eq!(keyset.turn(Some(2000), true, false), Turn::End);
        assert_eq!(keyset, Keyset::from(Some(1000)), "the last page once more");
        assert_eq!(keyset.turn(Some(1100), true, false), Turn::End);
        assert_eq!(keyset, Keyset::from(Some(800)), "and what came late");
        assert_eq!(keyset.turn(None, false, false), Turn::End);
        assert_eq!(keyset, Keyset::from(Some(800)));
    }

    #[test]
    fn a_second_of_many_pages_is_read_until_nothing_is_new() {
        let mut keyset = Keyset::from(Some(60));
        assert_eq!(keyset.turn(Some(60), true, true), Turn::More);
        assert_eq!(keyset.query(), "&since=1970-01-01T00:01:00Z&page=2");
        assert_eq!(keyset.turn(Some(70), true, true), Turn::More);
        assert_eq!(keyset.query(), "&since=1970-01-01T00:01:00Z", "again");
        assert_eq!(keyset.turn(Some(60), false, true), Turn::More);
        assert_eq!(keyset.turn(Some(70), false, true), Turn::More);
        assert_eq!(keyset, Keyset::from(Some(70)));
    }
}
