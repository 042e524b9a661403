//! Two files over one standard input: what a launcher is told, and what its command reads.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg, sockopt,
};

/// A standard input that holds both.
pub(super) fn hand(file: &File, pipe: &OwnedFd) -> io::Result<OwnedFd> {
    let (ours, theirs) = UnixStream::pair()?;
    let both = [file.as_fd(), pipe.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut message = SendAncillaryBuffer::new(&mut space);
    message.push(SendAncillaryMessage::ScmRights(&both));
    // One byte carries them, and lies in the socket until it is read.
    sendmsg(
        &ours,
        &[IoSlice::new(&[0])],
        &mut message,
        SendFlags::empty(),
    )?;
    Ok(theirs.into())
}

/// What `hand` has put into a standard input; `None` when it is the file itself.
pub(super) fn take(stdin: &impl AsFd) -> io::Result<Option<(File, OwnedFd)>> {
    if sockopt::socket_type(stdin).is_err() {
        return Ok(None);
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut message = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let mut bytes = [IoSliceMut::new(&mut byte)];
    recvmsg(stdin, &mut bytes, &mut message, RecvFlags::CMSG_CLOEXEC)?;
    let mut both = message.drain().flat_map(|part| match part {
        RecvAncillaryMessage::ScmRights(files) => files.collect::<Vec<_>>(),
        _ => Vec::new(),
    });
    match (both.next(), both.next()) {
        (Some(file), Some(pipe)) => Ok(Some((file.into(), pipe))),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}
