//! What goes over a connection to a command that reads from its client: `/exec/attached` (ours).
//!
//! The request is the form of `/exec`, with `terminal` and `window` when the command is to have a
//! terminal; the answer is 101, and then both sides send frames: a kind, the length of what
//! follows in four bytes, big-endian, and that. At most [`INPUT_WINDOW`] bytes of input may be
//! on their way: whatever the command has read is given back by [`FromCommand::Taken`].

use std::fmt;
use std::str::FromStr;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::ExecOutcome;
use crate::error::{Error, ErrorKind, Result};

/// Most bytes that a frame carries.
pub const MAX_FRAME_BYTES: usize = 64 << 10;
/// Most bytes of input that the command has not read yet.
pub const INPUT_WINDOW: usize = 256 << 10;
/// The value of `Upgrade` in the answer.
pub const ATTACHED_PROTOCOL: &str = "farmer-attached";
const HEAD_BYTES: usize = 5;

/// The size of a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// In letters.
    pub columns: u16,
    /// In letters.
    pub rows: u16,
    /// In pixels; 0 when it is not known.
    pub width: u16,
    /// In pixels; 0 when it is not known.
    pub height: u16,
}

impl Default for Window {
    /// What terminals were before they had sizes: 80 letters, 24 lines.
    fn default() -> Self {
        Self {
            columns: 80,
            rows: 24,
            width: 0,
            height: 0,
        }
    }
}

impl fmt::Display for Window {
    /// `80x24x0x0`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            columns,
            rows,
            width,
            height,
        } = self;
        write!(f, "{columns}x{rows}x{width}x{height}")
    }
}

impl FromStr for Window {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = || Error::new(ErrorKind::Invalid, format!("bad window {text:?}"));
        let mut numbers = text.split('x').map(|n| n.parse::<u16>().ok());
        let mut next = || numbers.next().flatten().ok_or_else(bad);
        let window = Self {
            columns: next()?,
            rows: next()?,
            width: next()?,
            height: next()?,
        };
        match numbers.next() {
            None => Ok(window),
            Some(_) => Err(bad()),
        }
    }
}

/// What a client sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToCommand {
    /// Bytes for its standard input.
    Input(Bytes),
    /// There are no more.
    EndOfInput,
    /// Its terminal has another size.
    Window(Window),
    /// A signal for its process group, by number.
    Signal(i32),
}

/// What a machine sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FromCommand {
    /// Bytes of its standard output, or of its terminal.
    Output(Bytes),
    /// Bytes of its standard error.
    Errors(Bytes),
    /// It has read so many bytes of input more.
    Taken(u32),
    /// It has ended; the last frame.
    Ended(ExecOutcome),
}

mod kind {
    pub(super) const INPUT: u8 = 1;
    pub(super) const END_OF_INPUT: u8 = 2;
    pub(super) const WINDOW: u8 = 3;
    pub(super) const SIGNAL: u8 = 4;
    pub(super) const OUTPUT: u8 = 17;
    pub(super) const ERRORS: u8 = 18;
    pub(super) const TAKEN: u8 = 19;
    pub(super) const ENDED: u8 = 20;
}

fn put(out: &mut BytesMut, kind: u8, payload: &[u8]) {
    debug_assert!(payload.len() <= MAX_FRAME_BYTES);
    out.reserve(HEAD_BYTES + payload.len());
    out.put_u8(kind);
    // At most MAX_FRAME_BYTES.
    out.put_u32(payload.len() as u32);
    out.put_slice(payload);
}

/// Bytes as frames, as many as it takes.
fn put_all(out: &mut BytesMut, kind: u8, bytes: &[u8]) {
    for piece in bytes.chunks(MAX_FRAME_BYTES) {
        put(out, kind, piece);
    }
}

/// The first whole frame of what has come.
fn take(received: &mut BytesMut) -> Result<Option<(u8, Bytes)>> {
    let Some(head) = received.get(..HEAD_BYTES) else {
        return Ok(None);
    };
    let (kind, mut length) = (head[0], &head[1..]);
    let length = length.get_u32() as usize;
    if length > MAX_FRAME_BYTES {
        return Err(corrupt(format!("a frame of {length} bytes is too long")));
    }
    if received.len() < HEAD_BYTES + length {
        return Ok(None);
    }
    received.advance(HEAD_BYTES);
    Ok(Some((kind, received.split_to(length).freeze())))
}

fn corrupt(text: impl Into<String>) -> Error {
    Error::new(ErrorKind::Corrupt, text)
}

fn number(payload: &[u8]) -> Result<u32> {
    let bytes = payload.try_into();
    let bytes = bytes.map_err(|_| corrupt("a frame with a number has four bytes"))?;
    Ok(u32::from_be_bytes(bytes))
}

impl ToCommand {
    /// Appends the frame; long input becomes several.
    pub fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Input(bytes) => put_all(out, kind::INPUT, bytes),
            Self::EndOfInput => put(out, kind::END_OF_INPUT, b""),
            Self::Window(window) => put(out, kind::WINDOW, window.to_string().as_bytes()),
            Self::Signal(number) => put(out, kind::SIGNAL, &number.to_be_bytes()),
        }
    }

    /// Takes the first frame off what was received; `None` when it is not whole yet.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] for what is no such frame: the connection is of no more use.
    pub fn decode(received: &mut BytesMut) -> Result<Option<Self>> {
        let Some((kind, payload)) = take(received)? else {
            return Ok(None);
        };
        Ok(Some(match kind {
            kind::INPUT => Self::Input(payload),
            kind::END_OF_INPUT if payload.is_empty() => Self::EndOfInput,
            kind::WINDOW => {
                let text = std::str::from_utf8(&payload);
                let text = text.map_err(|_| corrupt("a window is no text"))?;
                Self::Window(text.parse().map_err(|e: Error| corrupt(e.to_string()))?)
            }
            kind::SIGNAL => Self::Signal(number(&payload)?.cast_signed()),
            kind => return Err(corrupt(format!("a client sends no frame of kind {kind}"))),
        }))
    }
}

impl FromCommand {
    /// Appends the frame; long output becomes several.
    pub fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Output(bytes) => put_all(out, kind::OUTPUT, bytes),
            Self::Errors(bytes) => put_all(out, kind::ERRORS, bytes),
            Self::Taken(count) => put(out, kind::TAKEN, &count.to_be_bytes()),
            Self::Ended(outcome) => {
                let state = outcome.to_process_state();
                let end = state.floor_char_boundary(MAX_FRAME_BYTES);
                put(out, kind::ENDED, &state.as_bytes()[..end]);
            }
        }
    }

    /// As [`ToCommand::decode`].
    ///
    /// # Errors
    /// As [`ToCommand::decode`].
    pub fn decode(received: &mut BytesMut) -> Result<Option<Self>> {
        let Some((kind, payload)) = take(received)? else {
            return Ok(None);
        };
        Ok(Some(match kind {
            kind::OUTPUT => Self::Output(payload),
            kind::ERRORS => Self::Errors(payload),
            kind::TAKEN => Self::Taken(number(&payload)?),
            kind::ENDED => {
                let state = String::from_utf8_lossy(&payload);
                Self::Ended(ExecOutcome::parse_process_state(&state))
            }
            kind => return Err(corrupt(format!("a machine sends no frame of kind {kind}"))),
        }))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn windows_are_four_numbers() {
        assert_eq!(Window::default().to_string(), "80x24x0x0");
        assert_eq!("80x24x0x0".parse::<Window>().unwrap(), Window::default());
        for bad in ["", "80x24", "80x24x0x0x0", "-1x2x3x4", "70000x1x1x1"] {
            assert!(bad.parse::<Window>().is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_no_frame_is_refused_before_it_is_kept() {
        let mut long = BytesMut::from(&[1, 0, 1, 0, 1][..]);
        assert!(ToCommand::decode(&mut long).is_err());
        for bad in [
            &[17, 0, 0, 0, 0][..],
            &[4, 0, 0, 0, 1, 9],
            &[3, 0, 0, 0, 1, 9],
        ] {
            assert!(ToCommand::decode(&mut BytesMut::from(bad)).is_err());
        }
        assert!(FromCommand::decode(&mut BytesMut::from(&[1, 0, 0, 0, 0][..])).is_err());
    }

    fn frames_to() -> impl Strategy<Value = ToCommand> {
        let bytes = prop::collection::vec(any::<u8>(), 1..300).prop_map(Bytes::from);
        prop_oneof![
            bytes.prop_map(ToCommand::Input),
            Just(ToCommand::EndOfInput),
            any::<[u16; 4]>().prop_map(|[columns, rows, width, height]| {
                ToCommand::Window(Window {
                    columns,
                    rows,
                    width,
                    height,
                })
            }),
            any::<i32>().prop_map(ToCommand::Signal),
        ]
    }

    proptest! {
        #[test]
        fn frames_come_back_however_they_are_cut(
            sent in prop::collection::vec(frames_to(), 0..8), cut in 1usize..50,
        ) {
            let mut wire = BytesMut::new();
            sent.iter().for_each(|frame| frame.encode(&mut wire));
            let (mut received, mut got) = (BytesMut::new(), Vec::new());
            for piece in wire.chunks(cut) {
                received.extend_from_slice(piece);
                while let Some(frame) = ToCommand::decode(&mut received).unwrap() {
                    got.push(frame);
                }
            }
            prop_assert_eq!(got, sent);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            let mut received = BytesMut::from(&bytes[..]);
            while let Ok(Some(_)) = ToCommand::decode(&mut received) {}
            let mut received = BytesMut::from(&bytes[..]);
            while let Ok(Some(_)) = FromCommand::decode(&mut received) {}
        }
    }

    #[test]
    fn long_output_becomes_several_frames_and_the_end_is_told() {
        let bytes = Bytes::from(vec![7; MAX_FRAME_BYTES + 1]);
        let mut wire = BytesMut::new();
        FromCommand::Output(bytes.clone()).encode(&mut wire);
        FromCommand::Ended(ExecOutcome::Exit(7)).encode(&mut wire);
        let mut got = BytesMut::new();
        while let Some(FromCommand::Output(piece)) = FromCommand::decode(&mut wire).unwrap() {
            got.extend_from_slice(&piece);
            if got.len() == bytes.len() {
                break;
            }
        }
        assert_eq!(got, bytes);
        let end = FromCommand::decode(&mut wire).unwrap();
        assert_eq!(end, Some(FromCommand::Ended(ExecOutcome::Exit(7))));
    }
}
