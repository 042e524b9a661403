//! What people are told while a corpus is brought in step, and when that fails.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::time::{Duration, SystemTime};

use farmer_cli::{Exit, Failure};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use maintner_core::sync::{Control, HostState, HostStatus, SyncError};

/// How often progress is looked at.
const LOOK: Duration = Duration::from_millis(200);
/// How often it is logged where nobody looks.
const SAY: Duration = Duration::from_secs(60);

/// The exit code that an error of a synchronisation asks for, and what to do about it.
pub(crate) fn failure(error: &SyncError) -> Failure {
    let (exit, hint) = match error {
        SyncError::Corpus(error) => return crate::maintq::failure(error),
        SyncError::BadTarget(_) => (Exit::Usage, None),
        SyncError::Stopped => return Failure::interrupted(),
        SyncError::Credentials { .. } => (Exit::Usage, Some("check the token or the App's key")),
        SyncError::Refused { status: 401, .. } => (
            Exit::Usage,
            Some("the token is wrong or has expired: make a new one"),
        ),
        SyncError::Refused { status: 404, .. } => (
            Exit::Usage,
            Some("check the name; a private repository needs a token that may read it"),
        ),
        SyncError::NoGit { .. } => (Exit::Infrastructure, Some("install git")),
        SyncError::Git { .. } => (
            Exit::Infrastructure,
            Some("try the same with git ls-remote; credentials are those of git"),
        ),
        _ => (
            Exit::Infrastructure,
            Some("what was read is kept: run it again"),
        ),
    };
    Failure::because(exit, error, hint)
}

/// How long something takes, for people.
pub(crate) fn words(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7199 => format!("{} min", seconds / 60),
        _ => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

/// One line about a host.
pub(crate) fn line(name: &str, status: &HostStatus, now: SystemTime) -> String {
    let progress = &status.progress;
    let mut text = format!("{name}: {}", status.state.word());
    if status.state == HostState::Syncing || status.state == HostState::Waiting {
        text.push_str(&format!(", {} {}", progress.what, progress.done));
        if let Some(total) = progress.total {
            text.push_str(&format!(" of {total}"));
        }
        if let Some(left) = status.remaining(now) {
            text.push_str(&format!(", about {} left", words(left)));
        }
    }
    if let Some(error) = &status.error {
        text.push_str(&format!(", {error}"));
    }
    text
}

/// Shows progress until `done`: bars on a terminal, lines for `say` now and then elsewhere.
pub(crate) fn show(control: &Control, say: &dyn Fn(&str), done: &dyn Fn() -> bool) {
    let terminal = std::io::stderr().is_terminal();
    let bars = MultiProgress::new();
    let mut shown: BTreeMap<String, ProgressBar> = BTreeMap::new();
    let mut said = SystemTime::now();
    while !done() {
        let now = SystemTime::now();
        if terminal {
            for (name, status) in control.hosts() {
                let bar = shown.entry(name.clone()).or_insert_with(|| {
                    let style = ProgressStyle::with_template("{spinner} {msg}");
                    let bar = bars.add(ProgressBar::new_spinner());
                    bar.with_style(style.expect("the template is valid"))
                });
                bar.set_message(line(&name, &status, now));
                bar.tick();
            }
        } else if now.duration_since(said).is_ok_and(|since| since >= SAY) {
            said = now;
            for (name, status) in control.hosts() {
                say(&line(&name, &status, now));
            }
        }
        std::thread::sleep(LOOK);
    }
    bars.clear().unwrap_or_default();
}

#[cfg(test)]
mod tests {
    use maintner_core::sync::Progress;

    use super::*;

    #[test]
    fn lines_for_people() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(100);
        let status = HostStatus {
            state: HostState::Syncing,
            began: Some(SystemTime::UNIX_EPOCH),
            progress: Progress {
                what: "comments",
                done: 50,
                total: Some(400),
                requests: 50,
            },
            ..HostStatus::default()
        };
        assert_eq!(
            line("github:golang/go", &status, now),
            "github:golang/go: syncing, comments 50 of 400, about 11 min left"
        );
        assert_eq!(words(Duration::from_secs(7260)), "2 h 1 min");
    }
}
