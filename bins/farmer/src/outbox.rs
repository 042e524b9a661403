//! What the readers of a farm have to do, and what they gave up.

use std::path::Path;

use build_core::clock::{Clock, SystemClock, Timestamp};
use build_core::ids::ReaderName;
use build_core::report::{ForgetEffect, OutboxEntry, ReaderStatus, RetryEffects};
use farmer_cli::Failure;

use crate::cli::OutboxCommand;
use crate::describe::took;
use crate::output::{failure, print_json, print_text};
use crate::running::expect;

/// Shows, tries again or forgets.
pub(crate) async fn outbox(
    command: &OutboxCommand,
    data: &Path,
    json: bool,
) -> Result<(), Failure> {
    let farm = expect(data)?;
    let name = |reader: &str| ReaderName::new(reader).map_err(|e| failure(&e));
    let (changed, done) = match command {
        OutboxCommand::List => {
            let readers = farm.outbox().await.map_err(|e| failure(&e))?.readers;
            return match json {
                true => readers.iter().try_for_each(print_json),
                false => print_text(&table(&readers, SystemClock.now())),
            };
        }
        OutboxCommand::Retry { reader, key } => {
            let key = key.as_deref().map(str::parse).transpose();
            let what = RetryEffects {
                key: key.map_err(|e| failure(&e))?,
            };
            (farm.retry(&name(reader)?, &what).await, "tried again")
        }
        OutboxCommand::Forget { reader, key } => {
            let key = key.parse().map_err(|e| failure(&e))?;
            let what = ForgetEffect { key };
            (farm.forget(&name(reader)?, &what).await, "forgotten")
        }
    };
    let changed = changed.map_err(|e| failure(&e))?;
    match json {
        true => print_json(&changed),
        false => print_text(&format!("{} {done}\n", changed.entries)),
    }
}

fn table(readers: &[ReaderStatus], now: Timestamp) -> String {
    let mut text = String::new();
    for reader in readers {
        text += &format!("{}  position {}", reader.reader, reader.position);
        if reader.set_aside > 0 {
            text += &format!(", {} set aside", reader.set_aside);
        }
        if reader.parked {
            text += ", parked: it has read nothing for 30 days";
        }
        text.push('\n');
        if let Some(why) = &reader.stopped {
            text += &format!("  reads no further {why}\n");
        }
        for entry in &reader.entries {
            text += &line(entry, now);
        }
    }
    match text.is_empty() {
        true => "no reader runs\n".into(),
        false => text,
    }
}

fn line(entry: &OutboxEntry, now: Timestamp) -> String {
    let next = match entry.next {
        Some(at) => format!(", next in {}", took(at.since(now))),
        None => String::new(),
    };
    let text = match &entry.text {
        Some(text) => format!(": {text}"),
        None => String::new(),
    };
    let (key, state) = (&entry.key, entry.state.text());
    format!(
        "  {key}  to {}  {state}, {} attempts{next}{text}\n",
        entry.to, entry.attempts
    )
}

#[cfg(test)]
mod tests {
    use build_core::report::EntryWord;

    use super::*;

    #[test]
    fn a_table_says_what_is_to_be_done() {
        let now = Timestamp::from_seconds(1_600_000_000);
        let mut status = ReaderStatus {
            reader: ReaderName::new("notify").unwrap(),
            position: 7,
            moved: now,
            set_aside: 1,
            stopped: None,
            parked: false,
            entries: vec![OutboxEntry {
                key: "chat/broken/B012345678".parse().unwrap(),
                topic: "t".parse().unwrap(),
                to: "notify-chat".parse().unwrap(),
                state: EntryWord::GivenUp,
                attempts: 3,
                text: Some("410 Gone".into()),
                next: None,
                until: now,
            }],
        };
        assert_eq!(
            table(std::slice::from_ref(&status), now),
            "notify  position 7, 1 set aside\n  chat/broken/B012345678  to notify-chat  given up, 3 attempts: 410 Gone\n"
        );
        status.entries.clear();
        status.stopped = Some("at the item before position 8: odd".into());
        assert!(table(&[status], now).contains("reads no further at the item"));
        assert_eq!(table(&[], now), "no reader runs\n");
    }
}
