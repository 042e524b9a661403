//! How often a provider is asked, and when no more (RFC 8628, 3.2 and 3.5).

use std::time::Duration;

use crate::ErrorKind;

/// Between two questions, when the provider says nothing.
const USUAL: u64 = 5;
/// How much longer, each time that the provider wants it.
const SLOWER: Duration = Duration::from_secs(5);
/// Whatever the provider says.
const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(60);
const LONGEST_LIFE: u64 = 30 * 60;

/// Why a login has ended, and what to do.
pub(super) type End = (ErrorKind, &'static str, &'static str);

/// What follows an answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Ask again.
    Ask,
    /// It has ended.
    End(End),
    /// It has ended, as the provider says.
    Said,
}

pub(super) const EXPIRED: End = (
    ErrorKind::TimedOut,
    "nobody has confirmed this login in time",
    "begin again, and open the address right away",
);

/// The time between two questions.
pub(super) fn interval(seconds: Option<u64>) -> Duration {
    Duration::from_secs(seconds.unwrap_or(USUAL)).clamp(SHORTEST, LONGEST)
}

/// How long a login is waited for.
pub(super) fn lifetime(seconds: u64) -> Duration {
    Duration::from_secs(seconds.clamp(1, LONGEST_LIFE))
}

#[derive(Debug)]
pub(super) struct Patience(Duration);

impl Patience {
    pub(super) fn new(interval: Duration) -> Self {
        Self(interval)
    }

    /// How long is waited before the next question.
    pub(super) fn interval(&self) -> Duration {
        self.0
    }

    fn slow_down(&mut self, to: Duration) {
        self.0 = to.min(LONGEST);
    }

    /// What follows an error of the provider.
    pub(super) fn after(&mut self, error: &str) -> Next {
        match error {
            "authorization_pending" => Next::Ask,
            "slow_down" => {
                self.slow_down(self.0 + SLOWER);
                Next::Ask
            }
            "access_denied" => Next::End((
                ErrorKind::Denied,
                "the login was refused",
                "begin again, and say yes",
            )),
            "expired_token" => Next::End(EXPIRED),
            _ => Next::Said,
        }
    }

    /// Whether one more question is in order after none was answered: half as often.
    pub(super) fn bears(&mut self, kind: ErrorKind) -> bool {
        self.slow_down(self.0 * 2);
        matches!(kind, ErrorKind::Unavailable | ErrorKind::TimedOut)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_provider_is_asked_as_often_as_it_wants() {
        let mut patience = Patience::new(interval(None));
        assert_eq!(patience.interval(), Duration::from_secs(5));
        assert_eq!(patience.after("authorization_pending"), Next::Ask);
        assert_eq!(patience.interval(), Duration::from_secs(5));
        // For this question and all that follow.
        assert_eq!(patience.after("slow_down"), Next::Ask);
        assert_eq!(patience.after("slow_down"), Next::Ask);
        assert_eq!(patience.interval(), Duration::from_secs(15));
        assert!(patience.bears(ErrorKind::TimedOut) && patience.bears(ErrorKind::Unavailable));
        assert_eq!(patience.interval(), LONGEST);
        assert!(!patience.bears(ErrorKind::Corrupt));
    }

    #[test]
    fn it_ends_when_somebody_says_no_or_nothing() {
        let mut patience = Patience::new(interval(Some(1)));
        assert!(matches!(
            patience.after("access_denied"),
            Next::End((ErrorKind::Denied, ..))
        ));
        assert_eq!(patience.after("expired_token"), Next::End(EXPIRED));
        assert_eq!(patience.after("invalid_client"), Next::Said);
    }

    #[test]
    fn whatever_a_provider_says_there_are_bounds() {
        assert_eq!(interval(Some(0)), SHORTEST);
        assert_eq!(interval(Some(u64::MAX)), LONGEST);
        assert_eq!(lifetime(0), Duration::from_secs(1));
        assert_eq!(lifetime(u64::MAX), Duration::from_secs(1800));
    }
}
