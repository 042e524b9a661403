//! What the process does just now.

use std::fmt::Write as _;
use std::sync::Arc;

use build_core::buildlet::param;
use build_core::h1::ResponseHead;

use super::answer::Lost;
use super::routes::{Reply, Request, query_params};
use super::server::App;

/// Most bytes of a dump.
const MOST_DUMP_BYTES: usize = 2 << 20;
/// Most bytes of `/debug/x`.
const MOST_X: u64 = 1 << 20;

/// `/debug/goroutines`: the tasks of this buildlet.
pub(crate) fn tasks(app: &Arc<App>) -> Reply {
    let names = app.supervisor.task_names();
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{} tasks", names.len());
    for name in names {
        if text.len() + name.len() >= MOST_DUMP_BYTES {
            break;
        }
        let _ = writeln!(text, "{name}");
    }
    Reply::Text(text)
}

/// `/debug/x`: so many bytes, to try the way to the client.
pub(crate) async fn bytes(request: Request<'_>) -> Result<(), Lost> {
    let count = query_params(&request)
        .ok()
        .and_then(|params| params.get(param::N)?.parse().ok());
    let count = usize::try_from(count.unwrap_or(0).min(MOST_X)).unwrap_or(0);
    let body = vec![b'X'; count];
    let head = ResponseHead::new(200).with("Content-Type", "text/plain; charset=utf-8");
    request.respond(head, &body).await.map_err(|_| Lost)
}
