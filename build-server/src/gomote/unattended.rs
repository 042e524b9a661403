//! Commands that nobody looks at, and for how long they keep their session.

use std::time::Duration;

use build_core::ErrorKind;
use build_core::buildlet::Buildlet;
use build_core::clock::Timestamp;
use tokio::time::timeout;

use super::settings::Settings;

/// For a machine to tell what runs on it.
const TELL: Duration = Duration::from_secs(10);
/// How much longer the session of a machine that cannot be asked is kept: networks come back.
const SILENT: Duration = Duration::from_secs(10 * 60);

/// What a machine does while nobody uses its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Busy {
    /// A command runs.
    Yes,
    /// None does, or none can.
    No,
    /// It does not answer.
    Silent,
}

/// Asks a machine.
pub(super) async fn look(machine: &dyn Buildlet) -> Busy {
    match timeout(TELL, machine.started()).await {
        Ok(Ok(commands)) if commands.iter().any(|command| command.outcome.is_none()) => Busy::Yes,
        Ok(Ok(_)) => Busy::No,
        // Commands of buildlets of 2020 belong to a request, which is a use of the session.
        Ok(Err(error)) if error.kind() == ErrorKind::Unsupported => Busy::No,
        Ok(Err(error)) => {
            tracing::debug!(error = error.chain(), "a machine does not tell what runs");
            Busy::Silent
        }
        Err(_) => Busy::Silent,
    }
}

impl Busy {
    /// Until when a session is kept that was used last at `used`; `None` when its time is over.
    pub(super) fn until(
        self,
        used: Timestamp,
        now: Timestamp,
        settings: &Settings,
    ) -> Option<Timestamp> {
        let last = match self {
            Self::Yes => used + settings.unattended,
            Self::No => return None,
            Self::Silent => used + settings.ttl + SILENT,
        };
        (now < last).then(|| last.min(now + settings.ttl.min(SILENT)))
    }

    /// Why a session is closed then.
    pub(super) fn why(self, settings: &Settings) -> String {
        match self {
            Self::Yes => format!(
                "nobody used it for {} s, and its command did not end",
                settings.unattended.as_secs()
            ),
            Self::No => format!("nobody used it for {} s", settings.ttl.as_secs()),
            Self::Silent => format!(
                "nobody used it for {} s, and its machine does not answer",
                settings.ttl.as_secs()
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_keeps_its_session_for_a_day_and_silence_for_a_moment() {
        let settings = Settings::default();
        let at = |minutes: u64| Timestamp::from_seconds(0) + Duration::from_secs(60 * minutes);
        let used = at(0);
        assert_eq!(Busy::No.until(used, at(30), &settings), None);
        let hour = Busy::Yes.until(used, at(60), &settings);
        assert_eq!(hour, Some(at(70)), "it is looked again in ten minutes");
        let day = 24 * 60;
        assert_eq!(Busy::Yes.until(used, at(day - 1), &settings), Some(at(day)));
        assert_eq!(Busy::Yes.until(used, at(day), &settings), None);
        assert!(Busy::Silent.until(used, at(31), &settings).is_some());
        assert_eq!(Busy::Silent.until(used, at(40), &settings), None);
        assert!(Busy::Yes.why(&settings).contains("86400 s"));
    }
}
