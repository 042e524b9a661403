//! `POST /exec/attached`: a command that reads what its client sends, on a terminal if wanted.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use build_core::Error;
use build_core::buildlet::{
    ATTACHED_PROTOCOL, ExecOutcome, FromCommand, TerminalModes, ToCommand, Window, param,
};
use build_core::h1::ResponseHead;
use build_core::h1::io::Rewind;
use bytes::{Bytes, BytesMut};
use tokio::io::{
    AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadHalf, WriteHalf,
};
use tokio::net::unix::pipe;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::answer::{Lost, Refusal};
use super::bridge::within;
use super::connection::Io;
use super::exec::{END_GRACE, OUTPUT_GRACE, Prepared, SHUTDOWN_GRACE, end, prepare};
use super::processes::{Child, Ends, Terminal};
use super::routes::{Request, read_params, refuse};
use super::server::App;

/// The size of a terminal, and its modes.
type Wanted = (Window, TerminalModes);

/// What a terminal still says after the command on it has ended, while others hold on to it.
const TERMINAL_GRACE: Duration = Duration::from_millis(250);
/// How long a client may stop the output; people stop that of a terminal for a while.
const STALL: Duration = Duration::from_secs(24 * 60 * 60);
/// Output is read, and sent, in pieces up to this.
const PIECE_BYTES: usize = 32 << 10;
/// Longest name of a type of terminals.
const MOST_TERMINAL_NAME: usize = 64;

type Client<'c> = Rewind<&'c mut Io>;

/// Runs a command between whose streams and the connection bytes go both ways.
pub(crate) async fn attached(app: &Arc<App>, mut request: Request<'_>) -> Result<(), Lost> {
    let (prepared, terminal) = match accept(app, &mut request).await {
        Ok(accepted) => accepted,
        Err(refusal) => return refuse(request, refusal).await,
    };
    let started = start(app, &prepared, terminal.as_ref());
    let head = ResponseHead::new(101)
        .with("Upgrade", ATTACHED_PROTOCOL)
        .with("Connection", "Upgrade");
    let switched = request.switch_protocols(&head).await.map_err(|_| Lost)?;
    let (from, mut to) = tokio::io::split(switched.into_stream());
    match started {
        Ok((child, streams)) => converse(app, child, streams, from, &mut to).await,
        Err(text) => tell_end(&mut to, ExecOutcome::NotStarted(text)).await,
    }
}

async fn accept(
    app: &App,
    request: &mut Request<'_>,
) -> Result<(Prepared, Option<Wanted>), Refusal> {
    app.ensure_command_dirs()?;
    let params = read_params(request).await?;
    let mut prepared = prepare(app, &params)?;
    let terminal = match params.get(param::TERMINAL) {
        None => None,
        Some(name) => {
            let plain = |b: u8| b.is_ascii_alphanumeric() || b"-+._".contains(&b);
            if name.len() > MOST_TERMINAL_NAME || !name.bytes().all(plain) {
                return Err(Refusal::bad(format!("bad terminal {name:?}")));
            }
            let window = params.get(param::WINDOW).map(str::parse::<Window>);
            let window = window.transpose();
            let window = window.map_err(|error| Refusal::bad(error.to_string()))?;
            let modes = params.get(param::MODES).unwrap_or_default().parse();
            let modes = modes.map_err(|error: Error| Refusal::bad(error.to_string()))?;
            if let Ok(command) = &mut prepared.command {
                command.env.push(format!("TERM={name}"));
            }
            Some((window.unwrap_or_default(), modes))
        }
    };
    Ok((prepared, terminal))
}

/// Our ends of a command's streams.
struct Streams {
    input: Option<Pin<Box<dyn AsyncWrite + Send>>>,
    output: Pin<Box<dyn AsyncRead + Send>>,
    errors: Option<Pin<Box<dyn AsyncRead + Send>>>,
    terminal: Option<Terminal>,
}

impl Streams {
    fn new(ends: Ends) -> std::io::Result<Self> {
        Ok(match ends {
            Ends::Pipes {
                input,
                output,
                errors,
            } => Self {
                input: Some(Box::pin(pipe::Sender::from_owned_fd(input)?)),
                output: Box::pin(pipe::Receiver::from_owned_fd(output)?),
                errors: Some(Box::pin(pipe::Receiver::from_owned_fd(errors)?)),
                terminal: None,
            },
            Ends::Terminal(end) => {
                let terminal = Terminal::new(end)?;
                Self {
                    input: Some(Box::pin(terminal.clone())),
                    output: Box::pin(terminal.clone()),
                    errors: None,
                    terminal: Some(terminal),
                }
            }
        })
    }
}

fn start(
    app: &App,
    prepared: &Prepared,
    terminal: Option<&Wanted>,
) -> Result<(Child, Streams), String> {
    let command = prepared.command.as_ref().map_err(Clone::clone)?;
    let id = app.next_exec_id();
    let spawned = app.processes.spawn_attached(&id, command, terminal);
    let (child, ends) = spawned.map_err(|error| command.spawn_failure(&error))?;
    let streams = Streams::new(ends).map_err(|error| error.to_string())?;
    Ok((child, streams))
}

async fn tell_end(to: &mut WriteHalf<Client<'_>>, outcome: ExecOutcome) -> Result<(), Lost> {
    let mut frames = BytesMut::new();
    FromCommand::Ended(outcome).encode(&mut frames);
    send(to, &frames).await?;
    to.shutdown().await.map_err(|_| Lost)
}

async fn send(to: &mut WriteHalf<Client<'_>>, frames: &[u8]) -> Result<(), Lost> {
    within(STALL, to.write_all(frames))
        .await
        .map_err(|_| Lost)?;
    within(STALL, to.flush()).await.map_err(|_| Lost)
}

/// Carries bytes until the command has ended. Without its client, or at the end of the buildlet,
/// the command is ended with everything it has started.
async fn converse(
    app: &App,
    mut child: Child,
    mut streams: Streams,
    from: ReadHalf<Client<'_>>,
    to: &mut WriteHalf<Client<'_>>,
) -> Result<(), Lost> {
    let (feed, fed) = mpsc::unbounded_channel();
    let (taken, mut takes) = mpsc::unbounded_channel();
    let signals = Signals {
        group: child.pid(),
        ended: AtomicBool::new(false),
    };
    let input = streams.input.take();
    let terminal = streams.terminal.clone();
    let hearing = hear(from, feed, &signals, terminal);
    let feeding = feed_input(fed, input, taken);
    let telling = tell(&mut child, &mut streams, &mut takes, &signals, to);
    let stop = app.supervisor.token();
    let (ended, grace) = tokio::select! {
        // The first: what it has said last is told although the client says nothing more.
        biased;
        ended = telling => (ended, END_GRACE),
        () = hearing => (Err(Lost), END_GRACE),
        () = feeding => unreachable!("it waits for ever at its end"),
        () = stop.cancelled() => (Ok(ExecOutcome::Killed), SHUTDOWN_GRACE),
    };
    let has_ended = signals.ended.load(Ordering::Relaxed);
    drop(streams);
    if !has_ended {
        end(&mut child, grace).await;
    }
    tell_end(to, ended?).await
}

/// Whom signals of the client go to, as long as it is there.
struct Signals {
    group: u32,
    ended: AtomicBool,
}

impl Signals {
    fn send(&self, number: i32) {
        use rustix::process::{Pid, Signal, kill_process_group};
        if self.ended.load(Ordering::Relaxed) {
            return;
        }
        let group = Pid::from_raw(self.group.cast_signed());
        if let (Some(group), Some(signal)) = (group, Signal::from_named_raw(number)) {
            // It may be ending right now: then there is nobody to tell.
            let _ = kill_process_group(group, signal);
        }
    }
}

/// Hears the client, until it is gone or says what is no frame. It never waits for the command,
/// so that signals and the end of the connection are noticed however busy that is.
async fn hear(
    mut from: ReadHalf<Client<'_>>,
    feed: mpsc::UnboundedSender<Option<Bytes>>,
    signals: &Signals,
    terminal: Option<Terminal>,
) {
    let mut received = BytesMut::new();
    loop {
        match ToCommand::decode(&mut received) {
            // The window of the client bounds what lies here.
            Ok(Some(ToCommand::Input(bytes))) => drop(feed.send(Some(bytes))),
            Ok(Some(ToCommand::EndOfInput)) => drop(feed.send(None)),
            Ok(Some(ToCommand::Window(window))) => {
                if let Some(Err(error)) = terminal.as_ref().map(|t| t.resize(window)) {
                    tracing::debug!(%error, "a terminal keeps its size");
                }
            }
            Ok(Some(ToCommand::Signal(number))) => signals.send(number),
            Ok(None) => {
                received.reserve(PIECE_BYTES);
                match from.read_buf(&mut received).await {
                    Ok(1..) => {}
                    Ok(0) | Err(_) => return,
                }
            }
            Err(error) => {
                tracing::debug!(%error, "a client of an attached command is not understood");
                return;
            }
        }
    }
}

/// Writes what has come into the command, and tells how much of it was taken. Never ends: whether
/// the command reads says nothing of whether it runs.
async fn feed_input(
    mut fed: mpsc::UnboundedReceiver<Option<Bytes>>,
    mut input: Option<Pin<Box<dyn AsyncWrite + Send>>>,
    taken: mpsc::UnboundedSender<u32>,
) {
    while let Some(piece) = fed.recv().await {
        let Some(bytes) = piece else {
            input = None;
            continue;
        };
        if let Some(open) = &mut input
            && open.write_all(&bytes).await.is_err()
        {
            // It reads no more; the client is told that it need not wait.
            input = None;
        }
        let count = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        // Whoever is gone waits for nothing.
        let _ = taken.send(count);
    }
    std::future::pending::<()>().await;
}

/// What is told next.
enum Turn {
    Output(usize),
    Errors(usize),
    Taken(u32),
    Exited(ExecOutcome),
    Held,
}

/// Tells the client what the command writes and reads, until it has ended; returns how.
async fn tell(
    child: &mut Child,
    streams: &mut Streams,
    takes: &mut mpsc::UnboundedReceiver<u32>,
    signals: &Signals,
    to: &mut WriteHalf<Client<'_>>,
) -> Result<ExecOutcome, Lost> {
    let grace = match streams.terminal {
        Some(_) => TERMINAL_GRACE,
        None => OUTPUT_GRACE,
    };
    let (mut output_open, mut errors_open) = (true, streams.errors.is_some());
    let mut nothing: Pin<Box<dyn AsyncRead + Send>> = Box::pin(tokio::io::empty());
    let (output, errors) = (
        &mut streams.output,
        streams.errors.as_mut().unwrap_or(&mut nothing),
    );
    let (mut said, mut complained) = (vec![0; PIECE_BYTES], vec![0; PIECE_BYTES]);
    let (mut frames, mut ended) = (BytesMut::new(), None);
    while output_open || errors_open || ended.is_none() {
        let held_since = ended.as_ref().map(|(_, since)| *since);
        let turn = tokio::select! {
            read = output.read(&mut said), if output_open => Turn::Output(read.unwrap_or(0)),
            read = errors.read(&mut complained), if errors_open => Turn::Errors(read.unwrap_or(0)),
            Some(count) = takes.recv() => Turn::Taken(count),
            exit = child.wait(), if ended.is_none() => Turn::Exited(exit.outcome()),
            () = over(held_since, grace) => Turn::Held,
        };
        match turn {
            Turn::Output(0) => output_open = false,
            Turn::Errors(0) => errors_open = false,
            Turn::Output(count) => {
                FromCommand::Output(Bytes::copy_from_slice(&said[..count])).encode(&mut frames);
            }
            Turn::Errors(count) => {
                let bytes = Bytes::copy_from_slice(&complained[..count]);
                FromCommand::Errors(bytes).encode(&mut frames);
            }
            Turn::Taken(count) => FromCommand::Taken(count).encode(&mut frames),
            Turn::Exited(outcome) => {
                signals.ended.store(true, Ordering::Relaxed);
                ended = Some((outcome, Instant::now()));
            }
            // Somebody whom it has started holds on to the output.
            Turn::Held => break,
        }
        if !frames.is_empty() {
            send(to, &frames).await?;
            frames.clear();
        }
    }
    Ok(ended.map_or(ExecOutcome::Lost, |(outcome, _)| outcome))
}

async fn over(ended: Option<Instant>, grace: Duration) {
    match ended {
        Some(ended) => sleep_until(ended + grace).await,
        None => std::future::pending().await,
    }
}
