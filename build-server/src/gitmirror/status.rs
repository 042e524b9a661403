//! How a repository does, in the words that its watchers know.

use std::collections::VecDeque;
use std::time::Duration;

use build_core::clock::Timestamp;
use serde::Serialize;

use crate::http::page::span;

/// Entries that are kept.
const KEPT: usize = 50;
/// Until the first report is missed.
const START: Duration = Duration::from_secs(5 * 60);
/// Until a success is too long ago.
const QUIET: Duration = Duration::from_secs(6 * 60);
/// For which a failure that is over is told.
const RECENT: Duration = Duration::from_secs(3600);

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// When.
    pub at: Timestamp,
    /// What.
    pub text: String,
}

/// How a repository does.
#[derive(Clone, Debug, Serialize)]
pub struct Health {
    began: Timestamp,
    last_good: Option<Timestamp>,
    last_bad: Option<Timestamp>,
    /// Since when it fails without a success.
    bad_since: Option<Timestamp>,
    error: Option<String>,
    entries: VecDeque<Entry>,
}

impl Health {
    pub(super) fn new(now: Timestamp) -> Self {
        Self {
            began: now,
            last_good: None,
            last_bad: None,
            bad_since: None,
            error: None,
            entries: VecDeque::new(),
        }
    }

    pub(super) fn note(&mut self, now: Timestamp, text: impl Into<String>) {
        let text = text.into();
        self.entries.push_front(Entry { at: now, text });
        self.entries.truncate(KEPT);
    }

    pub(super) fn good(&mut self, now: Timestamp) {
        self.last_good = Some(now);
        self.bad_since = None;
        self.error = None;
    }

    pub(super) fn bad(&mut self, now: Timestamp, error: String) {
        self.note(now, error.clone());
        self.last_bad = Some(now);
        self.bad_since.get_or_insert(now);
        self.error = Some(error);
    }

    /// What went wrong last, if nothing has gone well since.
    pub fn error(&self) -> Option<&str> {
        self.error.as_deref()
    }

    /// What happened, the newest first.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    /// The line for watchers: it begins with `ok` when all is well.
    pub fn line(&self, now: Timestamp) -> String {
        let ago = |at: Timestamp| span(now.since(at));
        if let Some(since) = self.bad_since {
            return match self.last_good {
                Some(_) => format!("broken for {}", ago(since)),
                None => format!("broken; permanently? always failing, for {}", ago(since)),
            };
        }
        match (self.last_good, self.last_bad) {
            (None, _) if now.since(self.began) < START => {
                "ok; starting up, no report yet".to_owned()
            }
            (None, _) => format!(
                "hung; hang at start-up? no report since start {} ago",
                ago(self.began)
            ),
            (Some(good), _) if now.since(good) > QUIET => {
                format!("hung? no activity since last success {} ago", ago(good))
            }
            (Some(_), Some(bad)) if now.since(bad) < RECENT => {
                format!("ok; recent failure {} ago", ago(bad))
            }
            (Some(_), _) => "ok".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_that_watchers_know() {
        let at = Timestamp::from_seconds;
        let mut health = Health::new(at(0));
        assert_eq!(health.line(at(10)), "ok; starting up, no report yet");
        assert_eq!(
            health.line(at(600)),
            "hung; hang at start-up? no report since start 10m0s ago"
        );
        health.bad(at(20), "x".to_owned());
        assert_eq!(
            health.line(at(80)),
            "broken; permanently? always failing, for 1m0s"
        );
        health.good(at(90));
        assert_eq!(health.line(at(100)), "ok; recent failure 1m20s ago");
        health.bad(at(200), "y".to_owned());
        health.bad(at(210), "z".to_owned());
        assert_eq!(health.line(at(260)), "broken for 1m0s");
        assert_eq!(health.error(), Some("z"));
        health.good(at(300));
        assert_eq!(
            health.line(at(661)),
            "hung? no activity since last success 6m1s ago"
        );
        health.good(at(9000));
        assert_eq!(health.line(at(9001)), "ok");
    }
}
