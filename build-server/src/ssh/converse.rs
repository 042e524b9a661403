//! A channel of a client on one side, a command of a machine on the other.

use build_core::buildlet::{
    ExecOutcome, FromCommand, INPUT_WINDOW, MAX_FRAME_BYTES, ToCommand, Window,
};
use bytes::{Bytes, BytesMut};
use russh::server::Msg;
use russh::{ChannelMsg, ChannelReadHalf, ChannelWriteHalf, Sig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::sync::{Semaphore, mpsc};

use super::inlet::{Inlet, Outlet, Piece, way};
use super::machine::Stream;
use super::transcript::Transcript;

/// What the library calls standard error.
pub(super) const STDERR: u32 = 1;
/// What is read of a machine at once.
const PIECE_BYTES: usize = 64 << 10;

/// How it ended.
pub(super) enum End {
    Command(ExecOutcome),
    /// The client has closed the channel, or is gone.
    Left,
    /// The machine is gone.
    Lost,
    /// The client sends what the command does not read.
    Flooded,
}

/// Carries bytes both ways until the command has ended, or one of the sides is gone. When it
/// returns, the machine's connection is closed, and with it a command that still runs.
pub(super) async fn converse(
    stream: Stream,
    read: &mut ChannelReadHalf,
    write: &ChannelWriteHalf<Msg>,
    transcript: Option<&mut Transcript>,
) -> End {
    let (from, to) = tokio::io::split(stream);
    let (inlet, outlet) = way();
    let (control, controls) = mpsc::unbounded_channel();
    let credit = Semaphore::new(INPUT_WINDOW);
    tokio::select! {
        // What the command has said last comes before that the client has nothing more to say.
        biased;
        end = hear_machine(from, write, &credit, transcript) => end,
        end = hear_client(read, inlet, control) => end,
        () = feed_machine(to, outlet, controls, &credit) => End::Lost,
    }
}

async fn hear_machine(
    mut from: ReadHalf<Stream>,
    write: &ChannelWriteHalf<Msg>,
    credit: &Semaphore,
    mut transcript: Option<&mut Transcript>,
) -> End {
    let mut received = BytesMut::new();
    loop {
        let frame = FromCommand::decode(&mut received);
        if let (
            Some(transcript),
            Ok(Some(FromCommand::Output(bytes) | FromCommand::Errors(bytes))),
        ) = (&mut transcript, &frame)
        {
            transcript.said(bytes).await;
        }
        let sent = match frame {
            Ok(Some(FromCommand::Output(bytes))) => write.data_bytes(bytes).await,
            Ok(Some(FromCommand::Errors(bytes))) => write.extended_data_bytes(STDERR, bytes).await,
            Ok(Some(FromCommand::Taken(count))) => {
                // A machine cannot give more than was taken from it.
                let room = INPUT_WINDOW.saturating_sub(credit.available_permits());
                credit.add_permits(room.min(count as usize));
                Ok(())
            }
            Ok(Some(FromCommand::Ended(outcome))) => return End::Command(outcome),
            Ok(None) => {
                received.reserve(PIECE_BYTES);
                match from.read_buf(&mut received).await {
                    Ok(1..) => Ok(()),
                    Ok(0) | Err(_) => return End::Lost,
                }
            }
            Err(error) => {
                tracing::warn!(error = error.chain(), "a machine is not understood");
                return End::Lost;
            }
        };
        if sent.is_err() {
            return End::Left;
        }
    }
}

async fn hear_client(
    read: &mut ChannelReadHalf,
    inlet: Inlet,
    control: mpsc::UnboundedSender<ToCommand>,
) -> End {
    loop {
        let told = match read.wait().await {
            None | Some(ChannelMsg::Close) => return End::Left,
            Some(ChannelMsg::Data { data }) => {
                if inlet.push(data).await.is_err() {
                    return End::Flooded;
                }
                continue;
            }
            Some(ChannelMsg::Eof) => {
                inlet.end();
                continue;
            }
            Some(ChannelMsg::WindowChange {
                col_width,
                row_height,
                pix_width,
                pix_height,
            }) => ToCommand::Window(window(col_width, row_height, pix_width, pix_height)),
            Some(ChannelMsg::Signal { signal }) => match number(&signal) {
                Some(number) => ToCommand::Signal(number),
                None => continue,
            },
            Some(_) => continue,
        };
        // When the machine's side has ended, that is noticed there.
        let _ = control.send(told);
    }
}

/// Sends the machine what has come, of input as much as it has room for. Ends when the machine
/// does not take it.
async fn feed_machine(
    mut to: WriteHalf<Stream>,
    mut outlet: Outlet,
    mut controls: mpsc::UnboundedReceiver<ToCommand>,
    credit: &Semaphore,
) {
    let mut frames = BytesMut::new();
    let mut waiting: Option<Bytes> = None;
    loop {
        let room = async {
            let wanted = waiting.as_ref().map_or(0, Bytes::len);
            // A small number.
            credit
                .acquire_many(wanted.min(MAX_FRAME_BYTES) as u32)
                .await
        };
        tokio::select! {
            biased;
            Some(told) = controls.recv() => told.encode(&mut frames),
            permits = room, if waiting.is_some() => {
                if let (Ok(permits), Some(mut bytes)) = (permits, waiting.take()) {
                    permits.forget();
                    let first = bytes.split_to(bytes.len().min(MAX_FRAME_BYTES));
                    ToCommand::Input(first).encode(&mut frames);
                    waiting = Some(bytes).filter(|rest| !rest.is_empty());
                }
            }
            piece = outlet.next(), if waiting.is_none() => match piece {
                Some(Piece::Bytes(bytes)) => waiting = Some(bytes).filter(|bytes| !bytes.is_empty()),
                Some(Piece::End) => ToCommand::EndOfInput.encode(&mut frames),
                None => std::future::pending().await,
            },
        }
        if !frames.is_empty() {
            if to.write_all(&frames).await.is_err() || to.flush().await.is_err() {
                // What the machine has said last may yet be read.
                std::future::pending::<()>().await;
            }
            frames.clear();
        }
    }
}

/// Sizes are small numbers, whatever a client says.
pub(super) fn window(columns: u32, rows: u32, width: u32, height: u32) -> Window {
    let small = |n: u32| u16::try_from(n).unwrap_or(u16::MAX);
    Window {
        columns: small(columns),
        rows: small(rows),
        width: small(width),
        height: small(height),
    }
}

/// The number of a signal on Linux, as machines know it.
fn number(signal: &Sig) -> Option<i32> {
    Some(match signal {
        Sig::HUP => 1,
        Sig::INT => 2,
        Sig::QUIT => 3,
        Sig::ILL => 4,
        Sig::ABRT => 6,
        Sig::FPE => 8,
        Sig::KILL => 9,
        Sig::USR1 => 10,
        Sig::SEGV => 11,
        Sig::PIPE => 13,
        Sig::ALRM => 14,
        Sig::TERM => 15,
        Sig::Custom(name) if name == "USR2" => 12,
        Sig::Custom(_) => return None,
    })
}

/// A signal by its number, for the client.
pub(super) fn signal(number: i32) -> Sig {
    match number {
        1 => Sig::HUP,
        2 => Sig::INT,
        3 => Sig::QUIT,
        4 => Sig::ILL,
        6 => Sig::ABRT,
        8 => Sig::FPE,
        9 => Sig::KILL,
        10 => Sig::USR1,
        11 => Sig::SEGV,
        12 => Sig::Custom("USR2".into()),
        13 => Sig::PIPE,
        14 => Sig::ALRM,
        15 => Sig::TERM,
        other => Sig::Custom(format!("SIG{other}@{}", super::PRINCIPAL_DOMAIN)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_come_back_and_sizes_are_small() {
        for n in (1..=15).filter(|n| ![5, 7].contains(n)) {
            assert_eq!(number(&signal(n)), Some(n));
        }
        assert_eq!(number(&signal(42)), None);
        assert_eq!(
            window(u32::MAX, 24, 0, 70_000).to_string(),
            "65535x24x0x65535"
        );
    }
}
