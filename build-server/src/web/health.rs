//! What those who look after the farm ask: does it live, does it take work, how does it do.

use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};

use axum::Router;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;
use build_core::ErrorKind;
use build_core::report::BuildStatus;

use super::{Refusal, Site};
use crate::coordinator::{Counts, FarmStatus, Histogram};
use crate::record::BuildRow;

/// How a build may end: each is told, also while none has ended so.
const ENDS: [BuildStatus; 5] = [
    BuildStatus::Passed,
    BuildStatus::Failed,
    BuildStatus::Misconfigured,
    BuildStatus::Infrastructure,
    BuildStatus::Canceled,
];

/// The routes.
pub(super) fn router() -> Router<Site> {
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
}

/// Whether it takes work and can record it.
async fn ready(State(site): State<Site>) -> Result<&'static str, Refusal> {
    site.store().events().head().await?;
    let status = site.handle().status().await?;
    match status.stalled_text() {
        None => Ok("ok\n"),
        Some(why) => Err(Refusal::new(
            ErrorKind::Unavailable,
            format!("nothing new begins {why}"),
            "see that the disk of the data directory has room and can be written",
        )),
    }
}

/// The figures in the text format of Prometheus.
async fn metrics(State(site): State<Site>) -> Result<impl IntoResponse, Refusal> {
    let head = site.store().events().head().await?;
    let records = site.handle().records();
    let active = records.active().await?;
    let oldest = records.queued(1).await?;
    let queued = records.count_queued().await?;
    let status = site.handle().status().await?;
    let mut text = Text::default();
    text.family(
        "farmer_events_recorded_total",
        "counter",
        "Events in the log.",
    );
    text.value("farmer_events_recorded_total", "", head.0);
    let running = active.iter().filter(|row| !row.state.is_final()).count();
    builds(&mut text, queued, running);
    oldest_wait(&mut text, &site, oldest.first());
    done(&mut text, &site.handle().counts());
    machines(&mut text, &status);
    process(&mut text);
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, kind)], text.0))
}

fn builds(text: &mut Text, queued: usize, running: usize) {
    let name = "farmer_builds_open";
    text.family(name, "gauge", "Builds that have not ended.");
    for (state, count) in [("queued", queued), ("running", running)] {
        text.value(name, &format!("state=\"{state}\""), count);
    }
}

fn oldest_wait(text: &mut Text, site: &Site, oldest: Option<&BuildRow>) {
    let now = site.clock().now();
    let waited = oldest.map_or(0, |row| now.since(row.queued).as_secs());
    let name = "farmer_queue_oldest_wait_seconds";
    let help = "Age of the oldest build that has no machine yet.";
    text.family(name, "gauge", help);
    text.value(name, "", waited);
}

/// What the coordinator has done since it began.
fn done(text: &mut Text, counts: &Counts) {
    let name = "farmer_builds_ended_total";
    text.family(name, "counter", "Builds that ended, by outcome.");
    for outcome in ENDS {
        let word = outcome.as_str();
        let count = counts.outcomes.get(word).copied().unwrap_or_default();
        text.value(name, &format!("outcome=\"{word}\""), count);
    }
    let name = "farmer_build_seconds";
    let help = "From the first machine of a build to its result.";
    text.histogram(name, help, &counts.builds);
    let name = "farmer_queue_wait_seconds";
    let help = "From being asked for to the first machine.";
    text.histogram(name, help, &counts.waits);
    let name = "farmer_log_bytes_total";
    let help = "Output recorded, of commands that have ended.";
    text.family(name, "counter", help);
    text.value(name, "", counts.log_bytes);
}

fn machines(text: &mut Text, status: &FarmStatus) {
    let mut counts: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for machine in &status.machines {
        let state = match (&machine.trouble, &machine.lease) {
            (Some(_), _) => "troubled",
            (None, Some(_)) => "held",
            (None, None) => "free",
        };
        *counts
            .entry((machine.host_type.as_str(), state))
            .or_default() += 1;
    }
    text.family("farmer_machines", "gauge", "Machines of the pools.");
    for ((host_type, state), count) in counts {
        let labels = format!("host_type=\"{host_type}\",state=\"{state}\"");
        text.value("farmer_machines", &labels, count);
    }
    text.family(
        "farmer_store_stalled",
        "gauge",
        "1 while events cannot be recorded.",
    );
    text.value(
        "farmer_store_stalled",
        "",
        u64::from(status.stalled.is_some()),
    );
    text.family(
        "farmer_misconfigured",
        "gauge",
        "1 while the settings of the farm cannot be read, and those before go on.",
    );
    text.value(
        "farmer_misconfigured",
        "",
        u64::from(status.misconfigured.is_some()),
    );
}

/// What the system knows of this process; nothing where it does not tell.
fn process(text: &mut Text) {
    if let Some(bytes) = resident_bytes() {
        let name = "process_resident_memory_bytes";
        text.family(name, "gauge", "Memory of this process.");
        text.value(name, "", bytes);
    }
    if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
        text.family("process_open_fds", "gauge", "Open file descriptors.");
        text.value("process_open_fds", "", open.count() as u64);
    }
}

fn resident_bytes() -> Option<u64> {
    let pages = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = pages.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

/// Families of figures, line by line.
#[derive(Default)]
struct Text(String);

impl Text {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _infallible = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) {
        self.family(name, "histogram", help);
        let bucket = format!("{name}_bucket");
        for (end, count) in histogram.buckets() {
            self.value(&bucket, &format!("le=\"{end}\""), count);
        }
        self.value(&bucket, "le=\"+Inf\"", histogram.count());
        self.value(&format!("{name}_sum"), "", histogram.sum().as_secs_f64());
        self.value(&format!("{name}_count"), "", histogram.count());
    }

    fn value(&mut self, name: &str, labels: &str, value: impl Display) {
        let _infallible = match labels {
            "" => writeln!(self.0, "{name} {value}"),
            labels => writeln!(self.0, "{name}{{{labels}}} {value}"),
        };
    }
}
