//! A server of files with faults on demand: for tests of downloads.

use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{self, BufReader, Read as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use build_core::tarutil::{EntryHeader, FileList};
use sha2::{Digest as _, Sha256};

/// Bytes of a body that are written at once; between them it can stop.
const PIECE: usize = 4096;
/// The longest wait for a gate; a test that forgot it must not hang.
const GATE: Duration = Duration::from_secs(60);

/// Files over HTTP on a port of its own, in threads of its own. It also answers as a proxy does,
/// with its own files, whatever host is asked for.
#[derive(Debug)]
pub struct Mirror {
    url: String,
    state: Arc<State>,
    accepting: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct State {
    inner: Mutex<Inner>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Inner {
    files: HashMap<String, Vec<u8>>,
    cuts: VecDeque<usize>,
    missing: Vec<&'static str>,
    modified: Option<&'static str>,
    statuses: VecDeque<u16>,
    requests: Vec<String>,
    sent: u64,
    /// Bodies stop after this many bytes until the gate opens.
    gate: Option<usize>,
    stopped: bool,
}

impl State {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Mirror {
    /// A mirror without files, on a free port of this machine.
    ///
    /// # Errors
    /// When no port can be had.
    pub fn start() -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let url = format!("http://{}/", listener.local_addr()?);
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        let accepting = std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                if shared.lock().stopped {
                    break;
                }
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || {
                    // A client that goes away is what many tests are about.
                    let _gone = serve(connection, &shared);
                });
            }
        });
        Ok(Self {
            url,
            state,
            accepting: Some(accepting),
        })
    }

    /// Where it is, with a `/` at the end.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Serves a file; it replaces one of the same path.
    pub fn put(&self, path: &str, content: impl Into<Vec<u8>>) {
        let mut inner = self.state.lock();
        inner.files.insert(path.to_owned(), content.into());
    }

    /// Serves a file, and beside it `PATH.sha256`.
    pub fn put_archive(&self, path: &str, content: impl Into<Vec<u8>>) {
        let content = content.into();
        self.put(
            &format!("{path}.sha256"),
            hex::encode(Sha256::digest(&content)),
        );
        self.put(path, content);
    }

    /// No longer serves a file.
    pub fn remove(&self, path: &str) {
        self.state.lock().files.remove(path);
    }

    /// The next answers to GET end after so many bytes of their bodies, one after the other.
    pub fn cut(&self, after: impl IntoIterator<Item = usize>) {
        self.state.lock().cuts.extend(after);
    }

    /// The next answers have these statuses and nothing else.
    pub fn answer(&self, statuses: impl IntoIterator<Item = u16>) {
        self.state.lock().statuses.extend(statuses);
    }

    /// Leaves a header out: `etag`, `last-modified`, `content-length`, or `range` to ignore those.
    pub fn without(&self, header: &'static str) {
        self.state.lock().missing.push(header);
    }

    /// Gives this date as `Last-Modified`.
    pub fn modified(&self, date: &'static str) {
        self.state.lock().modified = Some(date);
    }

    /// Bodies stop after so many bytes, until [`Mirror::open_gate`].
    pub fn close_gate(&self, after: usize) {
        self.state.lock().gate = Some(after);
    }

    /// Bodies go on.
    pub fn open_gate(&self) {
        self.state.lock().gate = None;
        self.state.changed.notify_all();
    }

    /// Waits until a request has come that begins so, as in `GET /go1.9`. `false` after a minute.
    pub fn wait_for(&self, request: &str) -> bool {
        let asked = |inner: &mut Inner| !inner.requests.iter().any(|r| r.starts_with(request));
        let waited = self
            .state
            .changed
            .wait_timeout_while(self.state.lock(), GATE, asked);
        waited.is_ok_and(|(_, waited)| !waited.timed_out())
    }

    /// What was asked so far, as in `GET /file` and `GET /file bytes=7-`.
    pub fn requests(&self) -> Vec<String> {
        self.state.lock().requests.clone()
    }

    /// Bytes of bodies that were sent so far.
    pub fn sent(&self) -> u64 {
        self.state.lock().sent
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        self.state.lock().stopped = true;
        self.open_gate();
        let address = self.url.trim_start_matches("http://").trim_end_matches('/');
        // Wakes the thread that accepts.
        let _woken = TcpStream::connect(address);
        if let Some(accepting) = self.accepting.take() {
            let _ended = accepting.join();
        }
    }
}

struct Request {
    method: String,
    path: String,
    range: Option<usize>,
    if_range: Option<String>,
}

fn read(input: &mut impl io::BufRead) -> io::Result<Option<Request>> {
    let mut line = String::new();
    if input.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace();
    let method = words.next().unwrap_or_default().to_owned();
    let target = words.next().unwrap_or_default();
    // A proxy is asked with the whole address.
    let path = match target.split_once("://") {
        Some((_, rest)) => rest.split_once('/').map_or("", |(_, path)| path),
        None => target.trim_start_matches('/'),
    };
    let mut request = Request {
        method,
        path: path.split('?').next().unwrap_or_default().to_owned(),
        range: None,
        if_range: None,
    };
    loop {
        let mut line = String::new();
        if input.read_line(&mut line)? == 0 || line.trim().is_empty() {
            return Ok(Some(request));
        }
        let Some((name, value)) = line.split_once(':') else {
            continue;
        };
        match name.to_ascii_lowercase().as_str() {
            "range" => {
                let from = value.trim().strip_prefix("bytes=");
                request.range = from.and_then(|from| from.trim_end_matches('-').parse().ok());
            }
            "if-range" => request.if_range = Some(value.trim().to_owned()),
            _ => {}
        }
    }
}

fn serve(connection: TcpStream, state: &State) -> io::Result<()> {
    let mut input = BufReader::new(connection.try_clone()?);
    let mut out = connection;
    while let Some(request) = read(&mut input)? {
        if !answer(&request, &mut out, state)? {
            return out.shutdown(std::net::Shutdown::Both);
        }
    }
    Ok(())
}

/// Answers one request; `false` when the connection is to be cut.
fn answer(request: &Request, out: &mut impl io::Write, state: &State) -> io::Result<bool> {
    let mut inner = state.lock();
    let range = request.range.map(|from| format!(" bytes={from}-"));
    let Request { method, path, .. } = request;
    inner
        .requests
        .push(format!("{method} /{path}{}", range.unwrap_or_default()));
    state.changed.notify_all();
    let status = inner.statuses.pop_front();
    let content = inner.files.get(path).cloned();
    let (Some(content), None) = (content, status) else {
        drop(inner);
        let status = status.unwrap_or(404);
        write!(out, "HTTP/1.1 {status} x\r\nContent-Length: 0\r\n\r\n")?;
        return Ok(true);
    };
    let mut hash = DefaultHasher::new();
    content.hash(&mut hash);
    let etag = format!("\"{:x}\"", hash.finish());
    let has = |inner: &Inner, header| !inner.missing.contains(&header);
    let ranged = request.range.filter(|_| has(&inner, "range"));
    let same = request.if_range.as_ref().is_none_or(|known| *known == etag);
    let from = ranged.filter(|_| same).unwrap_or(0);
    let mut head = match from {
        0 => "HTTP/1.1 200 OK\r\n".to_owned(),
        _ if from >= content.len() => {
            let total = content.len();
            format!("HTTP/1.1 416 x\r\nContent-Range: bytes */{total}\r\n")
        }
        _ => {
            let (last, total) = (content.len() - 1, content.len());
            format!("HTTP/1.1 206 x\r\nContent-Range: bytes {from}-{last}/{total}\r\n")
        }
    };
    let body = &content[from.min(content.len())..];
    let length = has(&inner, "content-length");
    match length {
        true => head += &format!("Content-Length: {}\r\n", body.len()),
        false => head += "Connection: close\r\n",
    }
    if has(&inner, "etag") {
        head += &format!("ETag: {etag}\r\n");
    }
    if has(&inner, "last-modified") {
        let date = inner.modified.unwrap_or("Sun, 06 Nov 1994 08:49:37 GMT");
        head += &format!("Last-Modified: {date}\r\n");
    }
    let get = method == "GET";
    let cut = if get { inner.cuts.pop_front() } else { None };
    drop(inner);
    write!(out, "{head}\r\n")?;
    if !get {
        return Ok(true);
    }
    send(body, cut.unwrap_or(usize::MAX), out, state)?;
    Ok(cut.is_none() && length)
}

fn send(body: &[u8], cut: usize, out: &mut impl io::Write, state: &State) -> io::Result<()> {
    let mut done = 0;
    let all = body.len().min(cut);
    while done < all {
        let inner = state.lock();
        let shut = |inner: &mut Inner| inner.gate.is_some_and(|gate| done >= gate);
        let passed = state.changed.wait_timeout_while(inner, GATE, shut);
        let gate = passed.map_or(usize::MAX, |(inner, _)| inner.gate.unwrap_or(usize::MAX));
        let most = all.min(done + PIECE).min(gate.max(done + 1));
        out.write_all(&body[done..most])?;
        out.flush()?;
        state.lock().sent += (most - done) as u64;
        done = most;
    }
    Ok(())
}

/// The archive of a Go toolchain of this version, with a `go` that prints what it was started with:
/// `GOROOT=…`, the first of `PATH`, `arg=…` for each argument. `go exit 7` ends so, `go kill TERM`
/// ends by that signal, `go cat` copies its input. The archive also has `bytes` of noise.
///
/// # Errors
/// None in fact: it is made in memory.
pub fn go_archive(version: &str, bytes: usize) -> io::Result<Vec<u8>> {
    let program = "#!/bin/sh
case $1 in
exit) exit \"$2\" ;;
kill) kill -\"$2\" $$ ;;
cat) exec cat ;;
version) echo \"go version $(cat \"$GOROOT/VERSION\")\"; exit ;;
esac
echo \"GOROOT=$GOROOT\"
echo \"PATH=${PATH%%:*}\"
for arg; do echo \"arg=$arg\"; done
";
    let mut state = 1_u64;
    let noise = std::iter::repeat_with(|| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 56) as u8
    });
    let noise: Vec<u8> = noise.take(bytes).collect();
    let mut list = FileList::new();
    list.add(EntryHeader::dir("go"))
        .add_bytes(EntryHeader::file("go/VERSION", 0), version.to_owned())
        .add_bytes(EntryHeader::file("go/bin/go", 0).mode(0o755), program)
        .add_bytes(EntryHeader::file("go/pkg/noise", 0), noise);
    let mut archive = Vec::new();
    list.open_gz().read_to_end(&mut archive)?;
    Ok(archive)
}
