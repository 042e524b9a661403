//! Moves output from the pipe of a command to its file, on a thread of its own.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use tokio::sync::watch;
use tokio::time::Instant;

use super::State;
use super::spool::Writer;
use crate::buildlet::processes::{pipe, widen};

/// Bytes moved at a time: what the pipe holds at most.
const PIECE_BYTES: usize = 256 << 10;

/// Keeps a pump running; dropping it stops the pump once the pipe is empty.
pub(crate) struct Running(#[expect(dead_code, reason = "its drop is the message")] OwnedFd);

/// What a pump watches for its stop.
pub(crate) struct Stop(OwnedFd);

/// A handle and the thing it stops.
pub(crate) fn stop_pair() -> io::Result<(Running, Stop)> {
    let (stop, running) = pipe()?;
    Ok((Running(running), Stop(stop)))
}

/// What came of a pump.
pub(crate) struct Pumped {
    pub(crate) written: u64,
    /// A part was left out, or somebody still held the pipe when it was stopped.
    pub(crate) truncated: bool,
}

/// Moves output until the last writer has closed the pipe, or until stopped. Blocks.
///
/// # Errors
/// The file cannot be written, or the pipe not be read.
pub(crate) fn pump(
    output: &OwnedFd,
    stop: &Stop,
    mut writer: Writer,
    state: &watch::Sender<State>,
) -> io::Result<Pumped> {
    widen(output);
    let mut piece = vec![0; PIECE_BYTES];
    let stopped = loop {
        if !wait_for_output(output, stop)? {
            break true;
        }
        let count = rustix::io::retry_on_intr(|| rustix::io::read(output, &mut piece[..]))?;
        if count == 0 {
            break false;
        }
        writer.write(&piece[..count])?;
        state.send_modify(|state| {
            state.report.output_bytes = writer.written();
            state.last_output = Instant::now();
        });
    };
    writer.finish()?;
    Ok(Pumped {
        written: writer.written(),
        truncated: stopped || writer.left_out(),
    })
}

/// False when there is no output and the pump was stopped.
fn wait_for_output(output: &OwnedFd, stop: &Stop) -> io::Result<bool> {
    let mut fds = [
        PollFd::from_borrowed_fd(output.as_fd(), PollFlags::IN),
        PollFd::from_borrowed_fd(stop.0.as_fd(), PollFlags::IN),
    ];
    rustix::io::retry_on_intr(|| poll(&mut fds, None))?;
    Ok(!fds[0].revents().is_empty())
}
