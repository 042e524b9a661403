//! The calls about detached commands.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use build_core::buildlet::{Route, param, trailer};
use build_core::h1::io::ResponseWriter;
use build_core::h1::{BodySize, Headers, ResponseHead};
use build_core::ids::ExecId;
use tokio::sync::watch;

use super::answer::{Lost, Refusal, chain};
use super::bridge::{STALL, within};
use super::connection::Io;
use super::detached::{Entry, Order, StartError, State};
use super::exec::{outcome_trailers, prepare};
use super::routes::{Reply, Request, query_params, read_params, refuse, reply};
use super::server::App;

/// Output is read from its file, and sent, in pieces up to this.
const PIECE_BYTES: usize = 256 << 10;
/// What an answer with output announces to follow it.
const TRAILERS: &str = "Process-State, X-Exit-Code, X-Signal, X-Output-Bytes";

/// `POST /exec/start`.
pub(crate) async fn start(app: &Arc<App>, mut request: Request<'_>) -> Result<(), Lost> {
    let result = try_start(app, &mut request).await;
    reply(request, result).await
}

async fn try_start(app: &App, request: &mut Request<'_>) -> Result<Reply, Refusal> {
    let params = read_params(request).await?;
    app.ensure_command_dirs()?;
    let prepared = prepare(app, &params)?;
    let id = prepared
        .exec
        .id
        .clone()
        .ok_or_else(|| Refusal::bad("requires 'id' parameter"))?;
    if Route::of(&format!("/exec/{id}")) != Some(Route::ExecOf(id.as_str())) {
        let text = format!("no command can have the id \"{id}\": its path is another call");
        return Err(Refusal::bad(text));
    }
    if let Some(known) = app.detached.find(&id) {
        return Reply::json(&known.report());
    }
    app.end_strays().await;
    let order = Order {
        id,
        exec: prepared.exec,
        command: prepared.command,
        banner: prepared.banner.into_bytes(),
    };
    match app.detached.start(order).await {
        Ok(report) => Reply::json(&report),
        Err(error @ StartError::TooMany) => Err(Refusal::new(503, error.to_string())),
        Err(error) => Err(Refusal::failed(chain(&error))),
    }
}

/// `GET /exec`.
pub(crate) async fn list(app: &App, request: Request<'_>) -> Result<(), Lost> {
    reply(request, Reply::json(&app.detached.reports())).await
}

/// `GET /exec/ID`.
pub(crate) fn status(app: &App, id: &str) -> Result<Reply, Refusal> {
    Reply::json(&find(app, id)?.report())
}

/// `POST /exec/ID/kill`: answers when it has ended.
pub(crate) async fn kill(app: &App, request: Request<'_>, id: &str) -> Result<(), Lost> {
    let entry = match find(app, id) {
        Ok(entry) => entry,
        Err(refusal) => return refuse(request, refusal).await,
    };
    entry.kill().await;
    reply(request, Ok(Reply::Empty)).await
}

/// `DELETE /exec/ID`: ends and forgets it.
pub(crate) async fn forget(app: &App, request: Request<'_>, id: &str) -> Result<(), Lost> {
    let entry = match find(app, id) {
        Ok(entry) => entry,
        Err(refusal) => return refuse(request, refusal).await,
    };
    entry.kill().await;
    app.detached.forget(&entry);
    reply(request, Ok(Reply::Empty)).await
}

fn find(app: &App, id: &str) -> Result<Arc<Entry>, Refusal> {
    let id = ExecId::new(id).map_err(|error| Refusal::bad(error.to_string()))?;
    app.detached
        .find(&id)
        .ok_or_else(|| Refusal::new(404, format!("no command {id} is known")))
}

/// `GET /exec/ID/log`: the output from an offset on, if wanted until the end of the command.
pub(crate) async fn log(app: &Arc<App>, request: Request<'_>, id: &str) -> Result<(), Lost> {
    let mut log = match Log::open(app, &request, id) {
        Ok(log) => log,
        Err(refusal) => return refuse(request, refusal).await,
    };
    let head = ResponseHead::new(200)
        .with("Content-Type", "application/octet-stream")
        .with("Trailer", TRAILERS);
    let mut response = request
        .start(head, BodySize::Unknown)
        .await
        .map_err(|_| Lost)?;
    log.send(&mut response).await?;
    response.finish(&log.trailers()).await.map_err(|_| Lost)
}

/// Output on its way to a client.
struct Log {
    app: Arc<App>,
    state: watch::Receiver<State>,
    /// Keeps the sender of `state` alive.
    _entry: Arc<Entry>,
    file: Arc<File>,
    offset: u64,
    follow: bool,
}

impl Log {
    fn open(app: &Arc<App>, request: &Request<'_>, id: &str) -> Result<Self, Refusal> {
        let entry = find(app, id)?;
        let params = query_params(request)?;
        let offset = params
            .number(param::OFFSET)
            .map_err(|error| Refusal::bad(error.to_string()))?;
        let offset = offset.unwrap_or(0);
        let (state, report) = (entry.follow(), entry.report());
        if offset > report.output_bytes {
            let text = format!(
                "offset {offset} is beyond the output of {} bytes",
                report.output_bytes
            );
            return Err(Refusal::new(416, text));
        }
        let file = Arc::new(app.detached.open_output(&entry)?);
        let follow = params.flag(param::FOLLOW);
        Ok(Self {
            app: app.clone(),
            state,
            _entry: entry,
            file,
            offset,
            follow,
        })
    }

    async fn send(&mut self, response: &mut ResponseWriter<'_, Io>) -> Result<(), Lost> {
        let mut piece = Vec::new();
        loop {
            let state = self.state.borrow_and_update().clone();
            while self.offset < state.report.output_bytes {
                let left = state.report.output_bytes - self.offset;
                piece = self.read(piece, left).await?;
                within(STALL, response.write(&piece)).await?;
                self.offset += piece.len() as u64;
            }
            if state.is_ended() || !self.follow {
                return Ok(());
            }
            tokio::select! {
                changed = self.state.changed() => changed.map_err(|_| Lost)?,
                () = response.closed() => return Err(Lost),
            }
        }
    }

    /// The next piece, in the buffer of the last one.
    async fn read(&self, mut piece: Vec<u8>, left: u64) -> Result<Vec<u8>, Lost> {
        let count = usize::try_from(left)
            .unwrap_or(PIECE_BYTES)
            .min(PIECE_BYTES);
        let (file, offset) = (self.file.clone(), self.offset);
        let work = move || -> io::Result<Vec<u8>> {
            piece.resize(count, 0);
            file.read_exact_at(&mut piece, offset)?;
            Ok(piece)
        };
        match self
            .app
            .supervisor
            .spawn_blocking("read output", work)
            .await
        {
            Ok(Ok(piece)) => Ok(piece),
            Ok(Err(error)) => {
                tracing::warn!(%error, "cannot read spooled output");
                Err(Lost)
            }
            Err(_) => Err(Lost),
        }
    }

    fn trailers(&self) -> Headers {
        let report = &self.state.borrow().report;
        match report.outcome() {
            // More came since the last piece was read: the client asks again.
            Some(outcome) if self.offset == report.output_bytes => outcome_trailers(&outcome)
                .with(trailer::OUTPUT_BYTES, report.output_bytes.to_string()),
            _ => Headers::new(),
        }
    }
}
