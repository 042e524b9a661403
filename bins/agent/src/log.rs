//! What happens, on standard error: one line each, without a filter language.
//!
//! The agent is small and runs on machines where every dependency counts, so it has its own
//! subscriber of a page.

use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::time::SystemTime;

use build_core::clock::Timestamp;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

struct Stderr {
    most: Level,
}

/// Writes events up to `most` from now on; keeps a log that is installed already.
pub(crate) fn install(most: Level) {
    // Another program in this process has installed its own.
    let _ = tracing::subscriber::set_global_default(Stderr { most });
}

impl Subscriber for Stderr {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= self.most
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(format!(
            "{} {} ",
            Timestamp::from(SystemTime::now()),
            event.metadata().level()
        ));
        event.record(&mut line);
        line.0.push('\n');
        // When standard error is gone there is nobody left to tell.
        let _ = std::io::stderr().write_all(line.0.as_bytes());
    }
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a string cannot fail.
        let _ = match field.name() {
            "message" => write!(self.0, "{value:?} "),
            name => write!(self.0, "{name}={value:?} "),
        };
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }
}
