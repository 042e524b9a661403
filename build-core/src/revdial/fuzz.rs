//! Entry point of the fuzz target, run as a property in the tests as well.

use std::time::Instant;

use super::{DialerConn, DialerId, Error, LineReader, ListenerConn, MAX_LINE_SENT, Message};

/// Any bytes as a control connection, to both ends.
///
/// # Panics
/// When the split of the bytes shows, a message is not read back as it was written, or a sent
/// line is too long.
pub fn fuzz_control(data: &[u8]) {
    let whole = read(data, data.len());
    assert_eq!(whole, read(data, 1), "messages depend on the split");
    for message in &whole.0 {
        let mut line = Vec::new();
        message.write(&mut line);
        assert_eq!(line.pop(), Some(b'\n'));
        // Only paths that were asked for are reported.
        if let Message::PickupFailed { path, .. } = message
            && !super::line::is_target(path)
        {
            continue;
        }
        if !matches!(message, Message::Unknown(_)) {
            assert!(line.len() < MAX_LINE_SENT, "{} bytes", line.len());
            let again = Message::parse(&line).expect("a written line is read");
            assert!(is_same(message, &again), "{message:?} became {again:?}");
        }
    }
    let now = Instant::now();
    let mut dialer = DialerConn::new(DialerId::from_entropy([1; 16]), "/r", now);
    let wanted = dialer.dial(now);
    let _ = dialer.feed(data, now);
    assert!(wanted.is_ok() && dialer.waiting() <= 1);
    let mut listener = ListenerConn::new(now);
    let fed = listener.feed(data, now);
    assert_eq!(fed.is_err(), listener.ended().is_some());
    while listener.poll_event().is_some() {}
}

/// The same, but for a shortened error.
fn is_same(a: &Message, b: &Message) -> bool {
    match (a, b) {
        (
            Message::PickupFailed { path, error },
            Message::PickupFailed {
                path: path_b,
                error: error_b,
            },
        ) => path == path_b && error.starts_with(error_b),
        _ => a == b,
    }
}

fn read(data: &[u8], step: usize) -> (Vec<Message>, Option<Error>) {
    let (mut reader, mut messages) = (LineReader::default(), Vec::new());
    for piece in data.chunks(step.max(1)) {
        if let Err(error) = reader.feed(piece, &mut messages) {
            return (messages, Some(error));
        }
    }
    (messages, None)
}
