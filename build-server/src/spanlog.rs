//! Steps in the program's log.

use std::time::Instant;

use build_core::spanlog::{Outcome, SpanLog};

/// Writes each step to `tracing` when it ends: its kind, what it was about, how long it took.
/// Failures and steps that were given up are debug messages as well: they are their caller's to
/// judge.
///
/// ```
/// use build_core::spanlog::SpanLog as _;
/// use build_server::spanlog::Steps;
///
/// let span = Steps.create_span("make", "go@master");
/// assert_eq!(span.done(Ok::<_, std::io::Error>(1))?, 1);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct Steps;

impl SpanLog for Steps {
    fn begin(&self, event: &str, detail: &str) -> Box<dyn FnOnce(Outcome) + Send> {
        if !tracing::enabled!(tracing::Level::DEBUG) {
            return Box::new(|_| {});
        }
        let (event, detail, begin) = (event.to_owned(), detail.to_owned(), Instant::now());
        Box::new(move |outcome| {
            let seconds = begin.elapsed().as_secs_f64();
            tracing::debug!(event, detail, %outcome, seconds, "step");
        })
    }
}
