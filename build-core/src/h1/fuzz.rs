//! Entry points of the fuzz targets, run as properties in the tests as well.
//!
//! Each reads the data as a peer would send them, whole and byte by byte, and checks that
//! both ways give the same result.

use bytes::BytesMut;

use super::{
    BodyDecoder, BodyEvent, ClientConn, Error, Event, Framing, Headers, Limits, RequestHead,
    ResponseHead, ServerConn,
};

/// Any bytes as a request connection and as a response connection.
pub fn fuzz_head(data: &[u8]) {
    assert_eq!(
        serve(data, data.len()),
        serve(data, 1),
        "requests depend on the split"
    );
    assert_eq!(
        fetch(data, data.len()),
        fetch(data, 1),
        "responses depend on the split"
    );
    if let Ok(head) = RequestHead::parse(data, 100) {
        let mut out = Vec::new();
        if head.write(&mut out).is_ok() {
            out.extend_from_slice(b"\r\n");
            let again = RequestHead::parse(&out, 101).expect("a written head parses");
            assert_eq!(
                (again.method(), again.target()),
                (head.method(), head.target())
            );
        }
    }
    if let Ok(head) = ResponseHead::parse(data, 100) {
        let mut out = Vec::new();
        if head.write(&mut out).is_ok() {
            out.extend_from_slice(b"\r\n");
            let again = ResponseHead::parse(&out, 100).expect("a written head parses");
            assert_eq!(
                (again.status(), again.headers()),
                (head.status(), head.headers())
            );
        }
    }
}

/// A chunked body: the first byte chooses the size of the pieces it is fed in.
pub fn fuzz_chunks(data: &[u8]) {
    let Some((&step, data)) = data.split_first() else {
        return;
    };
    let whole = decode(Framing::Chunked, data, data.len());
    assert_eq!(
        whole,
        decode(Framing::Chunked, data, usize::from(step) + 1),
        "the split shows"
    );
}

/// A body of a declared length or up to the end, chosen by the first byte.
pub fn fuzz_body(data: &[u8]) {
    let Some((&kind, data)) = data.split_first() else {
        return;
    };
    let framing = if kind == 0 {
        Framing::UntilClose
    } else {
        Framing::Length(u64::from(kind))
    };
    let decoded = decode(framing, data, data.len());
    assert_eq!(decoded, decode(framing, data, 1), "the split shows");
    let wanted = if kind == 0 {
        data.len()
    } else {
        usize::from(kind)
    };
    match decoded {
        Ok((body, trailers)) => {
            assert_eq!(body, data[..wanted]);
            assert!(trailers.is_empty());
        }
        Err(error) => assert!(error == Error::Truncated && data.len() < wanted),
    }
}

/// Body bytes and trailers, fed in pieces of `step` bytes.
pub(crate) fn decode(
    framing: Framing,
    data: &[u8],
    step: usize,
) -> Result<(Vec<u8>, Headers), Error> {
    let mut decoder = BodyDecoder::new(framing, Limits::default());
    let (mut input, mut body) = (BytesMut::new(), Vec::new());
    for piece in data.chunks(step.max(1)) {
        input.extend_from_slice(piece);
        while let Some(event) = decoder.decode(&mut input)? {
            match event {
                BodyEvent::Data(piece) => body.extend_from_slice(&piece),
                BodyEvent::End(trailers) => return Ok((body, trailers)),
            }
        }
    }
    while let Some(event) = decoder
        .decode(&mut input)?
        .map_or_else(|| decoder.decode_eof(), |e| Ok(Some(e)))?
    {
        if let BodyEvent::End(trailers) = event {
            return Ok((body, trailers));
        }
    }
    Err(Error::Truncated)
}

/// What a server understands of a connection: heads, body bytes, trailers, final error.
fn serve(data: &[u8], step: usize) -> (Vec<RequestHead>, Vec<u8>, Vec<Headers>, Option<Error>) {
    let mut conn = ServerConn::new(Limits::default());
    let (mut heads, mut body, mut trailers) = (Vec::new(), Vec::new(), Vec::new());
    for piece in data.chunks(step.max(1)) {
        conn.feed(piece);
        loop {
            match conn.poll_event() {
                Ok(Some(Event::Head(head))) => heads.push(head),
                Ok(Some(Event::Data(piece))) => body.extend_from_slice(&piece),
                Ok(Some(Event::End(fields))) => {
                    trailers.push(fields);
                    let mut out = Vec::new();
                    let head = ResponseHead::new(204);
                    conn.respond(&head, super::BodySize::None, &mut out)
                        .expect("one answer each");
                    if !conn.next_request() {
                        return (heads, body, trailers, None);
                    }
                }
                Ok(_) => break,
                Err(error) => return (heads, body, trailers, Some(error)),
            }
        }
    }
    (heads, body, trailers, None)
}

/// What a client understands of the answer to a GET.
fn fetch(
    data: &[u8],
    step: usize,
) -> (
    Option<ResponseHead>,
    Vec<u8>,
    Option<Headers>,
    Option<Error>,
) {
    let mut conn = ClientConn::new(Limits::default());
    let request = RequestHead::new("GET", "/");
    conn.request(&request, super::BodySize::None, &mut Vec::new())
        .expect("a fresh connection");
    let (mut head, mut body, mut trailers) = (None, Vec::new(), None);
    for piece in data.chunks(step.max(1)) {
        conn.feed(piece);
        loop {
            match conn.poll_event() {
                Ok(Some(Event::Head(got))) => head = Some(got),
                Ok(Some(Event::Data(piece))) => body.extend_from_slice(&piece),
                Ok(Some(Event::End(fields))) => trailers = Some(fields),
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(error) => return (head, body, trailers, Some(error)),
            }
        }
    }
    (head, body, trailers, None)
}
