//! A session channel: what is asked for, and the command that comes of it.

use std::sync::Arc;

use build_core::buildlet::{Buildlet as _, Exec, ExecEvent, ExecOutcome, TerminalModes};
use futures::StreamExt as _;
use russh::server::{Handle, Msg};
use russh::{Channel, ChannelId, ChannelMsg, ChannelReadHalf, ChannelWriteHalf};

use super::agent;
use super::converse::{End, STDERR, converse, signal, window};
use super::forward::carry;
use super::machine::{self, AgentSocket, Refused, Terminal, attach};
use super::transcript::Transcript;
use super::visitor::Visit;

/// How a shell says that it could not start a command.
const NOT_STARTED: u32 = 127;
/// How ssh says that the connection is at fault.
const LOST: u32 = 255;
/// Most variables that a client sets, and the longest.
const MAX_VARIABLES: usize = 200;
const MAX_VARIABLE: usize = 32 << 10;
/// Becomes the shell of whoever the buildlet runs as: the one it names, or the best there is.
const SHELL: &str = "for s in \"$SHELL\" /bin/bash /bin/sh; do \
    if [ -x \"$s\" ]; then SHELL=\"$s\"; export SHELL; exec \"$s\"; fi; done; exit 127";

/// What is to be done on a channel.
enum Task {
    Shell,
    Command(Vec<u8>),
    Sftp,
}

/// How it is to be done.
#[derive(Default)]
struct Manner {
    terminal: Option<Terminal>,
    variables: Vec<(String, String)>,
    /// Whether the client wants its agent forwarded.
    agent: bool,
}

/// Whether a client may set it: any variable of an ordinary name, for whoever is let in here may
/// run any command with it.
pub(super) fn is_variable(name: &str, value: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let starts_well = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    starts_well
        && name.bytes().all(plain)
        && name.len() + value.len() <= MAX_VARIABLE
        && !value.contains('\0')
}

/// Serves a channel to its end.
pub(super) async fn serve(visit: Arc<Visit>, channel: Channel<Msg>, handle: Handle) {
    let id = channel.id();
    let (mut read, write) = channel.split();
    let Some((task, manner)) = wishes(&mut read).await else {
        return;
    };
    let end = match task {
        Task::Sftp => files(&visit, &manner, &mut read, &write).await,
        Task::Shell => run(&visit, &handle, None, &manner, (&mut read, &write)).await,
        Task::Command(line) => match String::from_utf8(line) {
            Ok(line) => run(&visit, &handle, Some(line), &manner, (&mut read, &write)).await,
            Err(_) => {
                say(&write, &manner, "the command is not text in UTF-8").await;
                Ended::Exit(NOT_STARTED)
            }
        },
    };
    tell_end(&handle, id, end).await;
}

/// Listens until it is said what to do. The library's handler has answered meanwhile.
async fn wishes(read: &mut ChannelReadHalf) -> Option<(Task, Manner)> {
    let mut manner = Manner::default();
    loop {
        match read.wait().await? {
            ChannelMsg::Close => return None,
            ChannelMsg::RequestPty {
                term,
                col_width,
                row_height,
                pix_width,
                pix_height,
                terminal_modes,
                ..
            } => {
                let modes = terminal_modes.into_iter();
                manner.terminal = Some(Terminal {
                    name: term,
                    window: window(col_width, row_height, pix_width, pix_height),
                    modes: TerminalModes::new(modes.map(|(mode, value)| (mode as u8, value))),
                });
            }
            ChannelMsg::WindowChange {
                col_width,
                row_height,
                pix_width,
                pix_height,
            } => {
                if let Some(terminal) = &mut manner.terminal {
                    terminal.window = window(col_width, row_height, pix_width, pix_height);
                }
            }
            ChannelMsg::SetEnv {
                variable_name,
                variable_value,
                ..
            } if is_variable(&variable_name, &variable_value)
                && manner.variables.len() < MAX_VARIABLES =>
            {
                manner.variables.push((variable_name, variable_value));
            }
            ChannelMsg::AgentForward { .. } => manner.agent = true,
            ChannelMsg::RequestShell { .. } => return Some((Task::Shell, manner)),
            ChannelMsg::Exec { command, .. } => return Some((Task::Command(command), manner)),
            ChannelMsg::RequestSubsystem { name, .. } if name == "sftp" => {
                return Some((Task::Sftp, manner));
            }
            _ => {}
        }
    }
}

/// How a channel ends.
enum Ended {
    Exit(u32),
    Signal {
        number: i32,
        core: bool,
    },
    /// Nobody is there to be told.
    Left,
}

/// Says something to the person at the other end, on the stream for it.
async fn say(write: &ChannelWriteHalf<Msg>, manner: &Manner, text: &str) {
    let said = match manner.terminal {
        // A terminal has one stream, and wants to be told where a line begins.
        Some(_) => write.data_bytes(format!("farmer: {text}\r\n")).await,
        None => {
            let line = format!("farmer: {text}\n");
            write.extended_data_bytes(STDERR, line).await
        }
    };
    if let Err(error) = said {
        tracing::debug!(%error, "nobody is there to be told");
    }
}

/// A transcript of what comes, where the farm wants one.
async fn begin(
    visit: &Visit,
    line: Option<&str>,
    manner: &Manner,
) -> std::io::Result<Option<Transcript>> {
    let dir = visit.gateway.settings().transcripts.as_ref();
    let (Some(dir), Some(admitted)) = (dir, visit.admitted()) else {
        return Ok(None);
    };
    let session = &admitted.session.instance().name;
    let who = admitted.who.text();
    let title = format!("{who} on {session}: {}", line.unwrap_or("a shell"));
    let window = manner.terminal.as_ref().map(|terminal| terminal.window);
    Transcript::begin(dir, session, &title, window)
        .await
        .map(Some)
}

/// The agent of the client on the machine, where it is wanted; says why there is none.
async fn agent_of(
    visit: &Visit,
    manner: &Manner,
    write: &ChannelWriteHalf<Msg>,
) -> Option<AgentSocket> {
    if !manner.agent {
        return None;
    }
    match agent::open(visit).await {
        Ok(socket) => Some(socket),
        Err(why) => {
            say(write, manner, &why).await;
            None
        }
    }
}

async fn run(
    visit: &Visit,
    handle: &Handle,
    line: Option<String>,
    manner: &Manner,
    (read, write): (&mut ChannelReadHalf, &ChannelWriteHalf<Msg>),
) -> Ended {
    let Some(session) = visit.session() else {
        return Ended::Left;
    };
    let mut transcript = match begin(visit, line.as_deref(), manner).await {
        Ok(transcript) => transcript,
        Err(error) => {
            tracing::error!(%error, "a transcript cannot be written");
            let text = "this farm writes down what commands say, and cannot now";
            say(write, manner, text).await;
            return Ended::Exit(LOST);
        }
    };
    let builder = visit.builder_env();
    let set = |exec: Exec, (name, value): (&str, &str)| exec.env(name, value);
    let exec = Exec::shell(line.as_deref().unwrap_or(SHELL));
    let exec = builder.fold(exec, set);
    let own = manner.variables.iter();
    let exec = own.map(|(n, v)| (n.as_str(), v.as_str())).fold(exec, set);
    let agent = agent_of(visit, manner, write).await;
    let exec = match &agent {
        Some(socket) => exec.env(agent::SOCKET, &socket.path),
        None => exec,
    };
    let end = match attach(session, &exec, manner.terminal.as_ref()).await {
        Ok(stream) => {
            if line.is_none() && manner.terminal.is_some() {
                let welcome = visit.welcome();
                // Whoever is gone needs no welcome.
                let _ = write.data_bytes(welcome).await;
            }
            let talk = converse(stream, read, write, transcript.as_mut());
            match &agent {
                None => talk.await,
                Some(socket) => tokio::select! {
                    end = talk => end,
                    () = agent::serve(socket, session, handle) => End::Lost,
                },
            }
        }
        Err(Refused::Because(text)) => {
            say(write, manner, &text).await;
            return Ended::Exit(LOST);
        }
        Err(Refused::Unknown) => {
            let both = (read, write);
            return without_input(visit, line, exec, manner, both, transcript).await;
        }
    };
    match end {
        End::Command(outcome) => of_outcome(outcome, write, manner).await,
        End::Left => Ended::Left,
        End::Lost => {
            let why = match session.why_gone().await {
                Some(why) => format!("the session has ended: {why}"),
                None => "the machine was lost".into(),
            };
            say(write, manner, &why).await;
            Ended::Exit(LOST)
        }
        End::Flooded => {
            say(
                write,
                manner,
                "the command does not read what is sent to it",
            )
            .await;
            Ended::Exit(LOST)
        }
    }
}

async fn files(
    visit: &Visit,
    manner: &Manner,
    read: &mut ChannelReadHalf,
    write: &ChannelWriteHalf<Msg>,
) -> Ended {
    let Some(session) = visit.session() else {
        return Ended::Left;
    };
    let text = match machine::files(session).await {
        Ok(stream) => {
            carry(stream, read, write).await;
            return Ended::Exit(0);
        }
        Err(Refused::Unknown) => "the buildlet of this machine knows no sftp".into(),
        Err(Refused::Because(text)) => text,
    };
    say(write, manner, &text).await;
    Ended::Exit(LOST)
}

/// Buildlets of Go know neither terminals nor input; what can be run without them is.
async fn without_input(
    visit: &Visit,
    line: Option<String>,
    exec: Exec,
    manner: &Manner,
    (read, write): (&mut ChannelReadHalf, &ChannelWriteHalf<Msg>),
    mut transcript: Option<Transcript>,
) -> Ended {
    if line.is_none() {
        let text = "the buildlet of this machine gives no terminal: give a command, as in: ssh SESSION COMMAND";
        say(write, manner, text).await;
        return Ended::Exit(LOST);
    }
    if manner.terminal.is_some() {
        let text = "the buildlet of this machine gives no terminal, and the command no input";
        say(write, manner, text).await;
    }
    let Some(session) = visit.session() else {
        return Ended::Left;
    };
    let mut events = match session.session().stream(exec).await {
        Ok(events) => events,
        Err(error) => {
            say(write, manner, &error.chain()).await;
            return Ended::Exit(LOST);
        }
    };
    loop {
        let event = tokio::select! {
            event = events.next() => event,
            () = left(read) => return Ended::Left,
        };
        match event {
            Some(Ok(ExecEvent::Output(bytes))) => {
                if let Some(transcript) = &mut transcript {
                    transcript.said(&bytes).await;
                }
                let written = tokio::select! {
                    written = write.data_bytes(bytes) => written,
                    () = left(read) => return Ended::Left,
                };
                if written.is_err() {
                    return Ended::Left;
                }
            }
            Some(Ok(ExecEvent::Ended(outcome))) => return of_outcome(outcome, write, manner).await,
            Some(Err(error)) => {
                say(write, manner, &error.chain()).await;
                return Ended::Exit(LOST);
            }
            None => return Ended::Exit(LOST),
        }
    }
}

/// Completes when the client has closed the channel. What it sends meanwhile is not taken.
async fn left(read: &mut ChannelReadHalf) {
    while !matches!(read.wait().await, None | Some(ChannelMsg::Close)) {}
}

async fn of_outcome(outcome: ExecOutcome, write: &ChannelWriteHalf<Msg>, manner: &Manner) -> Ended {
    match &outcome {
        ExecOutcome::Ok => Ended::Exit(0),
        // Exit statuses have eight bits.
        ExecOutcome::Exit(code) => Ended::Exit(code.cast_unsigned() & 0xff),
        ExecOutcome::Signal(_) | ExecOutcome::Killed => match outcome.signal() {
            Some(number) => Ended::Signal {
                number,
                core: outcome.to_string().contains("core dumped"),
            },
            None => Ended::Exit(LOST),
        },
        ExecOutcome::NotStarted(text) => {
            say(write, manner, text).await;
            Ended::Exit(NOT_STARTED)
        }
        other => {
            say(write, manner, &other.to_string()).await;
            Ended::Exit(LOST)
        }
    }
}

async fn tell_end(handle: &Handle, id: ChannelId, end: Ended) {
    let told = async {
        match end {
            Ended::Exit(code) => {
                handle.exit_status_request(id, code).await?;
            }
            Ended::Signal { number, core } => {
                let (name, text) = (signal(number), String::new());
                handle
                    .exit_signal_request(id, name, core, text, String::new())
                    .await?;
            }
            Ended::Left => {}
        }
        handle.eof(id).await?;
        handle.close(id).await
    };
    if told.await.is_err() {
        tracing::debug!("nobody is there to be told how a command ended");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_variables_are_plain() {
        assert!(is_variable("LC_ALL", "C") && is_variable("_x", ""));
        for (name, value) in [
            ("", "x"),
            ("1x", ""),
            ("a=b", ""),
            ("a b", ""),
            ("A", "x\0y"),
        ] {
            assert!(!is_variable(name, value), "{name:?}");
        }
        assert!(!is_variable("A", &"x".repeat(MAX_VARIABLE)));
    }
}
