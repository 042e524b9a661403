//! What the readers of a farm have to do, and what they gave up.

use std::path::Path;

use build_core::clock::{Clock, SystemClock, Timestamp};
use build_server::readers::{OutboxEntry, ReaderStatus};
use farmer_cli::Failure;
use serde::Deserialize;
use serde_json::json;

use crate::cli::OutboxCommand;
use crate::describe::took;
use crate::farm::encode;
use crate::output::{failure, print_json, print_text};
use crate::remote::Remote;

#[derive(Deserialize)]
struct Listed {
    readers: Vec<ReaderStatus>,
}

#[derive(Deserialize)]
struct Changed {
    entries: usize,
}

/// Shows, tries again or forgets.
pub(crate) async fn outbox(
    command: &OutboxCommand,
    data: &Path,
    json: bool,
) -> Result<(), Failure> {
    let farm = Remote::expect(data)?;
    match command {
        OutboxCommand::List => {
            let listed: Listed = farm.get("/api/v1/outbox").await.map_err(|e| failure(&e))?;
            match json {
                true => listed.readers.iter().try_for_each(print_json),
                false => print_text(&table(&listed.readers, SystemClock.now())),
            }
        }
        OutboxCommand::Retry { reader, key } => {
            change(
                &farm,
                "retry",
                reader,
                &json!({ "key": key }),
                json,
                "tried again",
            )
            .await
        }
        OutboxCommand::Forget { reader, key } => {
            change(
                &farm,
                "forget",
                reader,
                &json!({ "key": key }),
                json,
                "forgotten",
            )
            .await
        }
    }
}

async fn change(
    farm: &Remote,
    what: &str,
    reader: &str,
    wish: &serde_json::Value,
    json: bool,
    done: &str,
) -> Result<(), Failure> {
    let path = format!("/api/v1/outbox/{}/{what}", encode(reader));
    let changed: Changed = farm.post(&path, wish).await.map_err(|e| failure(&e))?;
    match json {
        true => print_json(&json!({ "entries": changed.entries })),
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
    let (key, state) = (&entry.key, &entry.state);
    format!(
        "  {key}  to {}  {state}, {} attempts{next}{text}\n",
        entry.to, entry.attempts
    )
}

#[cfg(test)]
mod tests {
    use build_core::ids::ReaderName;

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
                state: "given up".into(),
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
