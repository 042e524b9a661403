//! `POST /exec`: a command that lives as long as its client stays.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use build_core::buildlet::{
    Exec, ExecOutcome, Params, PathStyle, Program, WirePath, debug_line, param, parse_bool,
    parse_exec, trailer,
};
use build_core::h1::io::ResponseWriter;
use build_core::h1::{BodySize, Headers, ResponseHead, Version};
use bytes::BytesMut;
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;
use tokio::time::{Instant, sleep, sleep_until};

use super::answer::{Lost, Refusal};
use super::bridge::{STALL, within};
use super::connection::Io;
use super::paths::{Outside, Places};
use super::processes::{Child, Command, Grace, widen};
use super::routes::{Request, read_params};
use super::sandbox::Bounds;
use super::server::App;

/// From SIGTERM to SIGKILL.
pub(crate) const END_GRACE: Duration = Duration::from_secs(5);
/// The same when the buildlet itself has to end: service managers wait six seconds or so.
pub(crate) const SHUTDOWN_GRACE: Duration = Duration::from_secs(3);
/// How long output is read after the command's first process has ended.
pub(crate) const OUTPUT_GRACE: Duration = Duration::from_secs(5);

/// How long the head of an answer waits for something to go with it: a command that has ended
/// by then is answered in one write.
const HEAD_HOLD: Duration = Duration::from_millis(5);

/// Output is read, and sent as a chunk, in pieces up to this, once there is much of it.
const PIECE_BYTES: usize = 256 << 10;
/// The same before: most commands say little.
const FIRST_PIECE_BYTES: usize = 8 << 10;
/// What an answer announces to follow its body.
const TRAILERS: &str =
    "Process-State, X-Exit-Code, X-Signal, X-Duration-Ms, X-Output-Bytes, X-Output";

/// What is said of a directory that no command may run in.
const BAD_DIR: &str = "bogus 'dir' parameter";

/// A command as it will be started.
pub(crate) struct Prepared {
    pub(crate) exec: Exec,
    /// Or why it cannot be started, in the protocol's words.
    pub(crate) command: Result<Command, String>,
    /// The line that tells what is run, when it was asked for.
    pub(crate) banner: String,
}

/// Runs a command and streams its output.
pub(crate) async fn exec(app: &Arc<App>, mut request: Request<'_>) -> Result<(), Lost> {
    let prepared = match accept(app, &mut request).await {
        Ok(prepared) => prepared,
        Err(refusal) => {
            let head =
                ResponseHead::refusal(refusal.status).with("Trailer", trailer::PROCESS_STATE);
            let text = format!("{}\n", refusal.text);
            return request
                .respond(head, text.as_bytes())
                .await
                .map_err(|_| Lost);
        }
    };
    let head = ResponseHead::new(200).with("Trailer", TRAILERS);
    let mut response = request.prepare(head, BodySize::Unknown).map_err(|_| Lost)?;
    response
        .write(prepared.banner.as_bytes())
        .await
        .map_err(|_| Lost)?;
    if app.processes.may_have_strays() {
        // That takes seconds, and clients wait only so long for a head.
        response.flush().await.map_err(|_| Lost)?;
        app.end_strays().await;
    }
    let started = Instant::now();
    let run = match start(app, &prepared) {
        Ok((child, output)) => stream(app, child, output, &mut response).await?,
        Err(text) => Run::not_started(text),
    };
    let trailers = run.trailers(started.elapsed(), prepared.banner.len() as u64);
    response.finish(&trailers).await.map_err(|_| Lost)
}

async fn accept(app: &App, request: &mut Request<'_>) -> Result<Prepared, Refusal> {
    if request.head().version() != Version::HTTP_11 {
        return Err(Refusal::bad("HTTP/1.1 or higher required"));
    }
    app.ensure_command_dirs()?;
    let params = read_params(request).await?;
    prepare(app, &params)
}

/// Reads what is to be run.
pub(crate) fn prepare(app: &App, params: &Params) -> Result<Prepared, Refusal> {
    let exec = parse_exec(params).map_err(|error| Refusal::bad(error.to_string()))?;
    let (program, dir) = match exec.lookup {
        Program::OfSystem => match system_dir(app, &exec.dir) {
            Ok(dir) => (system_program(app, &exec, &dir), dir),
            // As a directory that is missing: what the commit holds is no fault of the machine.
            Err(refusal) => (Err(refusal.text), app.work_dir.clone()),
        },
        Program::InWorkDir => {
            let program = work_program(app, &exec)?;
            let dir = work_program_dir(app, &exec.dir, &program)?;
            (Ok(program), dir)
        }
    };
    let overrides = params
        .get(param::OVERRIDE_TMP)
        .and_then(parse_bool)
        .unwrap_or(true);
    let environment = app.environment.clone().override_tmp(overrides);
    let env = environment.of_command(&exec.env, exec.path.as_deref(), |path| {
        Path::new(path).exists()
    });
    let command = program.map(|program| Command {
        program,
        args: exec.args.clone(),
        env,
        env_bytes: exec.env_bytes.clone(),
        dir,
        sandbox: exec.sandbox,
        network: exec.network,
        bounds: Bounds {
            memory_bytes: exec.memory_bytes,
            processes: exec.processes.map(u64::from),
            ..Bounds::default()
        },
    });
    let banner = if exec.debug {
        banner(&command)
    } else {
        String::new()
    };
    Ok(Prepared {
        exec,
        command,
        banner,
    })
}

fn banner(command: &Result<Command, String>) -> String {
    let Ok(command) = command else {
        return String::new();
    };
    let program = command.program.display().to_string();
    let mut args = vec![program.clone()];
    args.extend_from_slice(&command.args);
    debug_line(
        &program,
        &args,
        &command.env,
        &command.dir.display().to_string(),
    )
}

fn work_program(app: &App, exec: &Exec) -> Result<PathBuf, Refusal> {
    let bad = |_| Refusal::bad("requires 'cmd' parameter");
    Ok(app.work_dir.join(
        WirePath::of_entry(&exec.cmd, PathStyle::HERE)
            .map_err(bad)?
            .as_str(),
    ))
}

fn work_program_dir(app: &App, dir: &str, program: &Path) -> Result<PathBuf, Refusal> {
    if dir.is_empty() {
        return Ok(program.parent().unwrap_or(&app.work_dir).to_owned());
    }
    let place = Places::of(app).dir(dir);
    let place = place.map_err(|outside| outside.refusal(BAD_DIR, dir))?;
    Ok(place.path())
}

/// Absolute as it is, as is one whose text leads up; otherwise below the work directory, where no
/// link leads it out.
fn system_dir(app: &App, dir: &str) -> Result<PathBuf, Refusal> {
    match Places::of(app).dir(dir) {
        Ok(place) => Ok(place.path()),
        Err(Outside::ByText) => Ok(app.work_dir.join(dir)),
        Err(outside) => Err(outside.refusal(BAD_DIR, dir)),
    }
}

fn system_program(app: &App, exec: &Exec, dir: &Path) -> Result<PathBuf, String> {
    if exec.cmd.contains('/') {
        return Ok(dir.join(&exec.cmd));
    }
    let dirs = app.search_path.iter().map(|dir| dir.join(&exec.cmd));
    dirs.into_iter()
        .find(|path| is_program(path))
        .ok_or_else(|| format!("exec: {:?}: executable file not found in $PATH", exec.cmd))
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    path.metadata()
        .is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

fn start(app: &App, prepared: &Prepared) -> Result<(Child, OwnedFd), String> {
    let command = prepared.command.as_ref().map_err(Clone::clone)?;
    let id = app.next_exec_id();
    app.processes
        .spawn(&id, command)
        .map_err(|error| command.spawn_failure(&error))
}

/// How a streamed command ended.
struct Run {
    outcome: ExecOutcome,
    output_bytes: u64,
    truncated: bool,
}

impl Run {
    fn not_started(text: String) -> Self {
        Self {
            outcome: ExecOutcome::NotStarted(text),
            output_bytes: 0,
            truncated: false,
        }
    }

    fn trailers(&self, took: Duration, banner_bytes: u64) -> Headers {
        let mut trailers = outcome_trailers(&self.outcome);
        trailers.append(trailer::DURATION_MS, took.as_millis().to_string());
        trailers.append(
            trailer::OUTPUT_BYTES,
            (self.output_bytes + banner_bytes).to_string(),
        );
        if self.truncated {
            trailers.append(trailer::OUTPUT, "truncated");
        }
        trailers
    }
}

/// How a command ended, as trailers.
pub(crate) fn outcome_trailers(outcome: &ExecOutcome) -> Headers {
    let mut trailers = Headers::new().with(trailer::PROCESS_STATE, outcome.to_process_state());
    if let Some(code) = outcome.exit_code() {
        trailers.append(trailer::EXIT_CODE, code.to_string());
    }
    if let Some(signal) = outcome.signal() {
        trailers.append(trailer::SIGNAL, signal.to_string());
    }
    trailers
}

/// What happens next to a running command.
enum Turn {
    Output(io::Result<usize>),
    Exited(ExecOutcome),
    /// Its first process ended, and somebody else holds on to the output.
    Held,
    /// Nothing has come that the head could go with.
    HeadDue,
    ClientGone,
    Shutdown,
}

/// Sends the output of a command until it has ended. Without its client, or at the end of the
/// buildlet, it is ended with everything it has started.
async fn stream(
    app: &App,
    mut child: Child,
    output: OwnedFd,
    response: &mut ResponseWriter<'_, Io>,
) -> Result<Run, Lost> {
    let mut run = Run {
        outcome: ExecOutcome::Lost,
        output_bytes: 0,
        truncated: false,
    };
    let mut output = pipe::Receiver::from_owned_fd(output).map_err(|_| Lost)?;
    let mut piece = BytesMut::with_capacity(FIRST_PIECE_BYTES);
    let mut hold = pin!(sleep(HEAD_HOLD));
    let stop = app.supervisor.token();
    let (mut open, mut ended) = (true, None);
    while open || ended.is_none() {
        let turn = tokio::select! {
            read = output.read_buf(&mut piece), if open => Turn::Output(read),
            exit = child.wait(), if ended.is_none() => Turn::Exited(exit.outcome()),
            () = held_too_long(ended) => Turn::Held,
            () = &mut hold, if response.is_held() => Turn::HeadDue,
            () = response.closed() => Turn::ClientGone,
            () = stop.cancelled() => Turn::Shutdown,
        };
        match turn {
            Turn::Output(Ok(0) | Err(_)) => open = false,
            Turn::Output(Ok(count)) => {
                run.output_bytes += count as u64;
                let sent = tokio::select! {
                    sent = within(STALL, response.write(&piece)) => sent,
                    () = stop.cancelled() => Err(Lost),
                };
                if sent.is_err() {
                    drop(output);
                    end(&mut child, END_GRACE).await;
                    return Err(Lost);
                }
                if count == FIRST_PIECE_BYTES {
                    widen(&output);
                    piece = BytesMut::with_capacity(PIECE_BYTES);
                }
                piece.clear();
            }
            Turn::HeadDue => {
                // A client that is gone is noticed as such.
                let _ = response.flush().await;
            }
            Turn::Exited(outcome) => {
                run.outcome = outcome;
                ended = Some(Instant::now());
            }
            Turn::Held => {
                run.truncated = true;
                open = false;
            }
            Turn::ClientGone => {
                drop(output);
                end(&mut child, END_GRACE).await;
                return Err(Lost);
            }
            Turn::Shutdown => {
                drop(output);
                end(&mut child, SHUTDOWN_GRACE).await;
                run.outcome = ExecOutcome::Killed;
                return Ok(run);
            }
        }
    }
    Ok(run)
}

async fn held_too_long(ended: Option<Instant>) {
    match ended {
        Some(ended) => sleep_until(ended + OUTPUT_GRACE).await,
        None => std::future::pending().await,
    }
}

pub(crate) async fn end(child: &mut Child, grace: Duration) {
    child.end_tree(Grace::Wait(grace)).await;
    // SIGKILL was sent to the first process: this only takes it off.
    let _ = tokio::time::timeout(OUTPUT_GRACE, child.wait()).await;
}
