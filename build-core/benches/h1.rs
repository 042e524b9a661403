//! Heads and bodies of the HTTP/1.1 dialect; the bare header parser beside them as the floor.

use std::hint::black_box;

use build_core::h1::{
    BodyDecoder, BodyEncoder, BodyEvent, BodySize, ClientConn, Event, Framing, Limits, RequestHead,
    ResponseHead, ServerConn,
};
use bytes::BytesMut;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const STATUS: &[u8] = b"GET /status HTTP/1.1\r\nHost: myhost\r\nUser-Agent: Go-http-client/1.1\r\n\
    Accept-Encoding: gzip\r\n\r\n";
const REVERSE: &[u8] = b"GET /reverse HTTP/1.1\r\nHost: \r\nUser-Agent: Go-http-client/1.1\r\n\
    X-Go-Builder-Hostname: myhost\r\nX-Go-Builder-Key: 2c3751c948a3f763672397642ac5515c\r\n\
    X-Go-Builder-Version: 25\r\nX-Go-Host-Type: host-linux-foo\r\nX-Revdial-Version: 2\r\n\r\n";
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nTrailer: Process-State\r\n\
    Date: Sun, 22 Nov 2026 14:44:19 GMT\r\nTransfer-Encoding: chunked\r\n\r\n";
const BODY_BYTES: usize = 1 << 20;

fn heads(c: &mut Criterion) {
    let mut group = c.benchmark_group("h1_head");
    group.throughput(Throughput::Bytes(REVERSE.len() as u64));
    group.bench_function("httparse_reverse", |b| {
        b.iter(|| {
            let mut table = [httparse::EMPTY_HEADER; 32];
            let mut request = httparse::Request::new(&mut table);
            black_box(request.parse(black_box(REVERSE))).map(|status| status.is_complete())
        });
    });
    group.bench_function("parse_reverse", |b| {
        b.iter(|| RequestHead::parse(black_box(REVERSE), 100));
    });
    group.throughput(Throughput::Bytes(ANSWER.len() as u64));
    group.bench_function("parse_answer", |b| {
        b.iter(|| ResponseHead::parse(black_box(ANSWER), 100));
    });
    group.finish();
}

/// A whole exchange through the state machine: request read, short answer written.
fn exchange(c: &mut Criterion) {
    let mut conn = ServerConn::new(Limits::default());
    let head = ResponseHead::new(200).with("Content-Type", "application/json; charset=utf-8");
    let mut out = Vec::with_capacity(1024);
    c.bench_function("h1_exchange/status", |b| {
        b.iter(|| {
            conn.feed(black_box(STATUS));
            while !matches!(conn.poll_event(), Ok(Some(Event::End(_)))) {}
            out.clear();
            let mut body = conn
                .respond(&head, BodySize::Known(14), &mut out)
                .expect("one answer");
            body.encode(b"{\"Version\":25}", &mut out)
                .expect("fits the length");
            assert!(conn.next_request());
        });
    });
}

fn chunked_encoder() -> BodyEncoder {
    let head = RequestHead::new("PUT", "/writetgz");
    let mut conn = ClientConn::new(Limits::default());
    conn.request(&head, BodySize::Unknown, &mut Vec::new())
        .expect("a fresh connection")
}

/// 1 MiB of output in chunks of one pipe read (4 KiB) and of one big read (64 KiB).
fn chunks(c: &mut Criterion) {
    let mut group = c.benchmark_group("h1_chunks");
    group.throughput(Throughput::Bytes(BODY_BYTES as u64));
    for size in [4 << 10, 64 << 10] {
        let data = vec![b'x'; size];
        let mut wire = Vec::with_capacity(BODY_BYTES * 2);
        group.bench_function(format!("encode_{size}"), |b| {
            b.iter(|| {
                wire.clear();
                let mut encoder = chunked_encoder();
                for _ in 0..BODY_BYTES / size {
                    encoder
                        .encode(black_box(&data), &mut wire)
                        .expect("any length");
                }
                encoder
                    .finish(&Default::default(), &mut wire)
                    .expect("no trailers");
            });
        });
        group.bench_function(format!("decode_{size}"), |b| {
            b.iter(|| {
                let mut decoder = BodyDecoder::new(Framing::Chunked, Limits::default());
                let mut input = BytesMut::from(&wire[..]);
                let mut bytes = 0;
                while let Ok(Some(BodyEvent::Data(piece))) = decoder.decode(&mut input) {
                    bytes += piece.len();
                }
                assert_eq!(bytes, BODY_BYTES);
            });
        });
    }
    group.finish();
}

criterion_group!(benches, heads, exchange, chunks);
criterion_main!(benches);
