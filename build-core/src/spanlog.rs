//! Steps that begin, take their time and end well, badly, or not at all.
//!
//! ```
//! use build_core::spanlog::{MemorySpans, SpanLog};
//!
//! let log = MemorySpans::default();
//! let span = log.create_span("fetch_source", "net@master");
//! let result: Result<u32, String> = span.done(Err("no route".to_owned()));
//! assert_eq!(result, Err("no route".to_owned()), "unchanged");
//! drop(log.create_span("make", ""));
//! assert_eq!(log.lines(), ["fetch_source net@master: failed: no route", "make: abandoned"]);
//! ```

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// How a step ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Well.
    Done,
    /// With this error.
    Failed(String),
    /// Nobody said: it was given up half-way.
    Abandoned,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done => f.write_str("done"),
            Self::Failed(error) => write!(f, "failed: {error}"),
            Self::Abandoned => f.write_str("abandoned"),
        }
    }
}

/// Where steps are written down.
pub trait SpanLog {
    /// Notes that a step begins, and gives what is told its end. It measures the time itself.
    fn begin(&self, event: &str, detail: &str) -> Box<dyn FnOnce(Outcome) + Send>;

    /// Begins a step. `event` is its kind, a word that programs look for; `detail` is for people
    /// and may be empty.
    fn create_span(&self, event: &str, detail: &str) -> Span {
        Span(Some(self.begin(event, detail)))
    }
}

/// A step on its way. Dropped without [`Span::done`], it was abandoned.
#[must_use = "a step that is dropped at once was abandoned"]
pub struct Span(Option<Box<dyn FnOnce(Outcome) + Send>>);

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Span")
    }
}

impl Span {
    /// Ends the step with this result, which is given back as it is.
    pub fn done<T, E: fmt::Display>(mut self, result: Result<T, E>) -> Result<T, E> {
        let outcome = match &result {
            Ok(_) => Outcome::Done,
            Err(error) => Outcome::Failed(error.to_string()),
        };
        self.end(outcome);
        result
    }

    fn end(&mut self, outcome: Outcome) {
        if let Some(end) = self.0.take() {
            end(outcome);
        }
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        self.end(Outcome::Abandoned);
    }
}

/// Keeps steps in memory, for tests. Clones are the same log.
#[derive(Debug, Clone, Default)]
pub struct MemorySpans(Arc<Mutex<Vec<String>>>);

impl MemorySpans {
    /// The steps that have ended, in that order.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl SpanLog for MemorySpans {
    fn begin(&self, event: &str, detail: &str) -> Box<dyn FnOnce(Outcome) + Send> {
        let (lines, step) = (Arc::clone(&self.0), format!("{event} {detail}"));
        Box::new(move |outcome| {
            let line = format!("{}: {outcome}", step.trim_end());
            lines
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(line);
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_step_has_one_end() {
        let log = MemorySpans::default();
        let well: Result<u8, &str> = log.create_span("make", "go").done(Ok(7));
        assert_eq!(well, Ok(7));
        let badly: Result<u8, &str> = log.create_span("make", "").done(Err("exit status 2"));
        assert_eq!(badly, Err("exit status 2"));
        drop(log.create_span("test", ""));
        assert_eq!(
            log.lines(),
            [
                "make go: done",
                "make: failed: exit status 2",
                "test: abandoned"
            ]
        );
    }
}
