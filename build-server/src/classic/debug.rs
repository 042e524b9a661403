//! `/debug`: what this process does inside, for admins.

use axum::Router;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;

use crate::web::{Admin, Site};

/// The pages of `/debug`; none where nobody is known.
pub(super) fn router(people: Option<&Site>) -> Router {
    let Some(people) = people else {
        return Router::new();
    };
    Router::new()
        .route("/debug/tasks", get(tasks))
        // Where the Go program has its own.
        .route("/debug/goroutines", get(tasks))
        .with_state(people.clone())
}

/// What runs, a line for each task, and what the process holds.
async fn tasks(Admin(_): Admin, State(site): State<Site>) -> impl IntoResponse {
    let mut text = String::new();
    for (what, file) in [
        ("threads", "/proc/self/task"),
        ("descriptors", "/proc/self/fd"),
    ] {
        if let Ok(entries) = std::fs::read_dir(file) {
            text.push_str(&format!("{what}: {}\n", entries.count()));
        }
    }
    if let Some(tasks) = site.tasks() {
        let names = tasks.task_names();
        text.push_str(&format!("tasks: {}\n", names.len()));
        for name in names {
            text.push_str(&format!("  {name}\n"));
        }
    }
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text)
}
