//! A repository, whatever it is called and wherever it lies: what tells `a/server` from `b/server`.

use std::collections::BTreeSet;

use crate::error::{Error, ErrorKind, Result};
use crate::event::{Recorded, RepoEvent, StreamId};
use crate::ids::{RepoId, RepoName};

/// One repository, folded from its events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepoState {
    id: RepoId,
    name: RepoName,
    origin: String,
    origins: BTreeSet<String>,
    foreign: bool,
}

impl RepoState {
    /// The state after the first event of a repository.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] when it is not [`RepoEvent::Found`].
    pub fn new(first: &Recorded) -> Result<Self> {
        match (&first.stream, first.read()) {
            (StreamId::Repo(id), Some(RepoEvent::Found { name, origin })) => Ok(Self {
                id: id.clone(),
                name,
                origins: BTreeSet::from([origin.clone()]),
                origin,
                foreign: false,
            }),
            (stream, _) => {
                let text =
                    format!("the events of {stream} do not begin as those of a repository do");
                Err(Error::new(ErrorKind::Corrupt, text))
            }
        }
    }

    /// Takes one more event into account. One that is not understood changes nothing.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] when it contradicts the ones before it.
    pub fn apply(&mut self, recorded: &Recorded) -> Result<()> {
        match recorded.read() {
            _ if self.foreign => {}
            Some(RepoEvent::Found { .. }) => {
                let text = format!("repository {} cannot be found twice", self.id);
                return Err(Error::new(ErrorKind::Corrupt, text));
            }
            Some(RepoEvent::Moved { origin }) => {
                self.origins.insert(origin.clone());
                self.origin = origin;
            }
            Some(RepoEvent::Named { name }) => self.name = name,
            None => self.foreign = recorded.must,
        }
        Ok(())
    }

    /// The state after all `events` of a repository.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] when they contradict each other, or there are none.
    pub fn of(events: &[Recorded]) -> Result<Self> {
        let Some((first, rest)) = events.split_first() else {
            let text = "a repository has no events";
            return Err(Error::new(ErrorKind::Corrupt, text));
        };
        let mut state = Self::new(first)?;
        rest.iter().try_for_each(|event| state.apply(event))?;
        Ok(state)
    }

    /// What it is.
    pub fn id(&self) -> &RepoId {
        &self.id
    }

    /// What it is called.
    pub fn name(&self) -> &RepoName {
        &self.name
    }

    /// Where it can be fetched from, by what was told last.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Every place where it was ever found.
    pub fn origins(&self) -> impl Iterator<Item = &str> {
        self.origins.iter().map(String::as_str)
    }
}

/// Names for the repository at `origin`, the shortest first: more of its path each, so that
/// `b/server` is told from `a/server`.
///
/// ```
/// use build_core::repository::longer_names;
/// assert_eq!(longer_names("https://x.org/b/server.git"), ["b/server", "x.org/b/server"]);
/// assert_eq!(longer_names("/home/ann/server"), ["ann/server", "home/ann/server"]);
/// ```
pub fn longer_names(origin: &str) -> Vec<String> {
    let place = origin.split_once("://").map_or(origin, |(_, place)| place);
    // Who fetches is not where it lies.
    let place = match place.split_once('/') {
        Some((host, path)) if host.contains('@') => {
            let host = host.rsplit('@').next().unwrap_or(host);
            format!("{host}/{path}")
        }
        _ => place.to_owned(),
    };
    let place = place.trim_end_matches('/').trim_end_matches(".git");
    let parts: Vec<&str> = place
        .split(['/', ':', '\\'])
        .filter(|p| !p.is_empty())
        .collect();
    let from = |n: usize| parts[parts.len() - n..].join("/");
    (2..=parts.len()).map(from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::event::{NewEvent, Principal, Seq, Version};

    fn events(events: &[RepoEvent]) -> Vec<Recorded> {
        let id = RepoId::from_bits(1);
        let recorded = |(n, event): (u64, &RepoEvent)| {
            let new = NewEvent::new(id.clone(), Timestamp::default(), Principal::farm(), event);
            new.unwrap().recorded(Seq(n), Version(n))
        };
        (1..).zip(events).map(recorded).collect()
    }

    #[test]
    fn a_repository_stays_what_it_is_whatever_it_is_called_and_wherever_it_lies() {
        let name = |text: &str| RepoName::new(text).unwrap();
        let found = RepoEvent::Found {
            name: name("server"),
            origin: "/a/server".into(),
        };
        let moved = RepoEvent::Moved {
            origin: "/b/server".into(),
        };
        let named = RepoEvent::Named {
            name: name("front"),
        };
        let state = RepoState::of(&events(&[found.clone(), moved, named])).unwrap();
        assert_eq!(
            (state.name().as_str(), state.origin()),
            ("front", "/b/server")
        );
        assert_eq!(state.origins().count(), 2);
        assert!(RepoState::of(&events(&[found.clone(), found])).is_err());
        assert!(RepoState::of(&[]).is_err());
    }

    #[test]
    fn longer_names_leave_out_who_fetches() {
        assert_eq!(longer_names("ssh://git@x.org/b/s"), ["b/s", "x.org/b/s"]);
        assert_eq!(longer_names("git@x.org:b/s.git"), ["b/s", "x.org/b/s"]);
        assert!(longer_names("s").is_empty());
    }
}
