//! Figures of a service, for Prometheus.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::SystemTime;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use maintner_core::sync::HostState;

use super::Site;

pub(super) async fn metrics(State(site): State<Arc<Site>>) -> Response {
    let mut text = String::new();
    let mut figure = |name: &str, kind: &str, help: &str, values: &[(String, f64)]| {
        // Writing to a text cannot fail.
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (labels, value) in values {
            let _ = writeln!(text, "{name}{labels} {value}");
        }
    };
    let none = String::new;
    if let Some(corpus) = site.corpus.get() {
        let view = corpus.view();
        let of = |value: u64| [(none(), value as f64)];
        figure(
            "maintner_log_records",
            "gauge",
            "Records of the log.",
            &of(view.records()),
        );
        let bytes = view.position().bytes();
        figure(
            "maintner_log_bytes",
            "gauge",
            "Bytes of the log.",
            &of(bytes),
        );
        let anomalies = view.anomalies().total();
        figure(
            "maintner_anomalies",
            "gauge",
            "Parts of the log that make no sense.",
            &of(anomalies),
        );
    }
    if let Some(logs) = site.logs.get() {
        let waiting = logs.waiting() as f64;
        figure(
            "maintner_log_followers",
            "gauge",
            "Long polls and tails that wait for news of the log.",
            &[(none(), waiting)],
        );
        let trouble = f64::from(logs.trouble().is_some());
        figure(
            "maintner_log_unreadable",
            "gauge",
            "Whether the log could not be read the last time.",
            &[(none(), trouble)],
        );
    }
    let hosts = site.control.hosts();
    let each = |value: &dyn Fn(&maintner_core::sync::HostStatus) -> Option<f64>| {
        let of = hosts.iter().filter_map(|(name, status)| {
            let name = name.replace('\\', "\\\\").replace('"', "\\\"");
            Some((format!("{{host=\"{name}\"}}"), value(status)?))
        });
        of.collect::<Vec<_>>()
    };
    let now = SystemTime::now();
    let lag = each(&|status| {
        let since = now.duration_since(status.in_step?).ok()?;
        Some(since.as_secs_f64())
    });
    figure(
        "maintner_sync_lag_seconds",
        "gauge",
        "Time since a host was last in step.",
        &lag,
    );
    let failing = each(&|status| Some(f64::from(status.state == HostState::Failing)));
    figure(
        "maintner_sync_failing",
        "gauge",
        "Whether the last try failed.",
        &failing,
    );
    let requests = each(&|status| Some(status.progress.requests as f64));
    figure(
        "maintner_sync_requests_total",
        "counter",
        "Questions asked of a host.",
        &requests,
    );
    let mutations = each(&|status| Some(status.mutations as f64));
    figure(
        "maintner_sync_mutations_total",
        "counter",
        "Mutations written.",
        &mutations,
    );
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response()
}
