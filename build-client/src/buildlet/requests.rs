//! The requests, byte for byte as the Go client sends them where it knows the call
//! (docs/protocol/buildlet.md).

use std::time::Duration;

use build_core::buildlet::{ByteStream, DirEntry, Exec, ExecOutcome, ListDir, Program};
use build_core::h1::{Headers, RequestHead};
use build_core::ids::{ExecId, Nonce};

use super::exchange::{Body, Request};
use crate::{Error, ErrorKind, Result};

fn request(method: &str, target: &str, body: Body, repeatable: bool) -> Request {
    Request {
        head: RequestHead::new(method, target),
        body,
        repeatable,
        limit: None,
    }
}

pub(super) fn get(target: &str) -> Request {
    request("GET", target, Body::None, true)
}

fn post_form(target: &str, form: Form, repeatable: bool) -> Request {
    let mut request = request("POST", target, Body::Whole(form.0.into_bytes()), repeatable);
    let headers = request.head.headers_mut();
    headers.append("Content-Type", "application/x-www-form-urlencoded");
    request
}

pub(super) fn put(path: &str, mode: u32, contents: ByteStream) -> Request {
    let query = Form::default()
        .with("mode", &mode.to_string())
        .with("path", path);
    request(
        "PUT",
        &format!("/write?{}", query.0),
        Body::Pieces(contents),
        false,
    )
}

pub(super) fn put_tar(tgz: ByteStream, dir: &str) -> Request {
    let query = Form::default().with("dir", dir);
    request(
        "PUT",
        &format!("/writetgz?{}", query.0),
        Body::Pieces(tgz),
        false,
    )
}

pub(super) fn put_tar_from_url(url: &str, dir: &str) -> Request {
    let query = Form::default().with("dir", dir);
    post_form(
        &format!("/writetgz?{}", query.0),
        Form::default().with("url", url),
        false,
    )
}

pub(super) fn get_tar(dir: &str) -> Request {
    get(&format!("/tgz?{}", Form::default().with("dir", dir).0))
}

pub(super) fn list_dir(what: &ListDir) -> Request {
    let query = Form::default()
        .with("digest", bool_text(what.digest))
        .with("dir", &what.dir)
        .with("recursive", bool_text(what.recursive))
        .with_all("skip", &what.skip);
    get(&format!("/ls?{}", query.0))
}

pub(super) fn remove_all(paths: &[String]) -> Request {
    post_form("/removeall", Form::default().with_all("path", paths), true)
}

pub(super) fn halt() -> Request {
    request("POST", "/halt", Body::None, false)
}

pub(super) fn exec(exec: &Exec) -> Request {
    post_form("/exec", exec_form(exec), false)
}

/// The form of `/exec`: keys in order, an empty path as the one value `$EMPTY`.
fn exec_form(exec: &Exec) -> Form {
    let mode = match exec.lookup {
        Program::OfSystem => "sys",
        Program::InWorkDir => "",
    };
    let form = Form::default()
        .with("cmd", &exec.cmd)
        .with_all("cmdArg", &exec.args)
        .with("debug", bool_text(exec.debug))
        .with("dir", &exec.dir)
        .with_all("env", &exec.env)
        .with("mode", mode);
    match exec.path.as_deref() {
        None => form,
        Some([]) => form.with("path", "$EMPTY"),
        Some(elements) => form.with_all("path", elements),
    }
}

/// A command that goes on by itself. Starting it twice starts it once, by its id.
pub(super) fn start(exec: &Exec) -> Request {
    let millis = |limit: Option<Duration>| limit.map(|d| d.as_millis().to_string());
    let number = |limit: Option<u64>| limit.map(|n| n.to_string());
    let fields = [
        ("id", exec.id.as_ref().map(ToString::to_string)),
        ("timeout_ms", millis(exec.timeout)),
        ("quiet_ms", millis(exec.quiet)),
        ("log_bytes", number(exec.log_bytes)),
        ("disk_floor_bytes", number(exec.disk_floor_bytes)),
        ("memory_bytes", number(exec.memory_bytes)),
        ("processes", number(exec.processes.map(u64::from))),
    ];
    let form = fields
        .into_iter()
        .fold(exec_form(exec), |form, (key, value)| match value {
            Some(value) => form.with(key, &value),
            None => form,
        });
    post_form("/exec/start", form, true)
}

pub(super) fn log(id: &ExecId, offset: u64) -> Request {
    let query = Form::default()
        .with("id", id.as_str())
        .with("offset", &offset.to_string());
    get(&format!("/exec/log?{}", query.0))
}

pub(super) fn exec_status(id: &ExecId) -> Request {
    get(&format!(
        "/exec/status?{}",
        Form::default().with("id", id.as_str()).0
    ))
}

pub(super) fn kill(id: &ExecId) -> Request {
    post_form("/exec/kill", Form::default().with("id", id.as_str()), true)
}

pub(super) fn renew_lease(nonce: &Nonce, ttl: Duration) -> Request {
    let form = Form::default()
        .with("nonce", nonce.as_str())
        .with("ttl_ms", &ttl.as_millis().to_string());
    post_form("/lease/renew", form, true)
}

/// How a command ended, by the trailers of its output; `None` when they do not tell.
pub(super) fn outcome(trailers: &Headers) -> Option<ExecOutcome> {
    let state = trailers
        .get_str("Process-State")
        .filter(|text| !text.is_empty())?;
    Some(parse_outcome(state))
}

fn parse_outcome(state: &str) -> ExecOutcome {
    let by_status = || {
        state
            .strip_prefix("exit status ")?
            .parse()
            .ok()
            .map(ExecOutcome::Exit)
    };
    let by_signal = || {
        Some(ExecOutcome::Signal(
            state.strip_prefix("signal: ")?.to_owned(),
        ))
    };
    match state {
        "ok" => ExecOutcome::Ok,
        "timed out" => ExecOutcome::TimedOut,
        "no output for too long" => ExecOutcome::Silent,
        "disk quota" => ExecOutcome::DiskQuota,
        "lost" => ExecOutcome::Lost,
        _ => by_status()
            .or_else(by_signal)
            .unwrap_or_else(|| ExecOutcome::NotStarted(state.to_owned())),
    }
}

/// One line of a listing: mode, name, and for regular files size, time and digest.
pub(super) fn parse_entry(line: &str) -> Result<DirEntry> {
    let mut fields = line.split('\t');
    let bad = || {
        Error::new(
            ErrorKind::Corrupt,
            format!("bad line in a listing: {line:?}"),
        )
    };
    let (Some(mode), Some(name)) = (fields.next(), fields.next()) else {
        return Err(bad());
    };
    let size = fields
        .next()
        .map(str::parse)
        .transpose()
        .map_err(|_| bad())?;
    Ok(DirEntry {
        mode: mode.to_owned(),
        name: name.to_owned(),
        size,
        modified: fields.next().map(str::to_owned),
        digest: fields.next().map(str::to_owned),
    })
}

fn bool_text(value: bool) -> &'static str {
    if value { "true" } else { "false" }
}

/// Pairs in the encoding of forms and queries, escaped as the Go client does it.
#[derive(Default)]
struct Form(String);

impl Form {
    fn with(mut self, key: &str, value: &str) -> Self {
        if !self.0.is_empty() {
            self.0.push('&');
        }
        escape(key, &mut self.0);
        self.0.push('=');
        escape(value, &mut self.0);
        self
    }

    fn with_all(self, key: &str, values: &[String]) -> Self {
        values
            .iter()
            .fold(self, |form, value| form.with(key, value))
    }
}

fn escape(text: &str, out: &mut String) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in text.bytes() {
        match byte {
            b' ' => out.push('+'),
            b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            _ if byte.is_ascii_alphanumeric() => out.push(char::from(byte)),
            _ => {
                let digits =
                    [byte >> 4, byte & 15].map(|digit| char::from(HEX[usize::from(digit)]));
                out.push('%');
                out.extend(digits);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(request: &Request) -> &str {
        match &request.body {
            Body::Whole(bytes) => std::str::from_utf8(bytes).unwrap(),
            _ => panic!("not a whole body"),
        }
    }

    /// The request that a Go client was seen to send for the same call.
    #[test]
    fn exec_looks_as_the_go_client_sends_it() {
        let mut command = Exec::in_work_dir("go/src/make.bash").arg("-x").arg("y z");
        command.debug = true;
        command.env = vec!["A=1".into(), "B=2".into()];
        command.path = Some(vec![]);
        let request = exec(&command);
        assert_eq!(
            whole(&request),
            "cmd=go%2Fsrc%2Fmake.bash&cmdArg=-x&cmdArg=y+z&debug=true&dir=&env=A%3D1&env=B%3D2&mode=&path=%24EMPTY"
        );
        assert!(!request.repeatable);
    }

    #[test]
    fn queries_look_as_the_go_client_sends_them() {
        let nothing = || crate::once("");
        assert_eq!(
            put("a/b c.txt", 0o644, nothing()).head.target(),
            "/write?mode=420&path=a%2Fb+c.txt"
        );
        assert_eq!(put_tar(nothing(), "go").head.target(), "/writetgz?dir=go");
        assert_eq!(get_tar("").head.target(), "/tgz?dir=");
        let what = ListDir {
            dir: "go".into(),
            recursive: true,
            digest: true,
            skip: vec!["pkg".into(), "bin".into()],
        };
        assert_eq!(
            list_dir(&what).head.target(),
            "/ls?digest=true&dir=go&recursive=true&skip=pkg&skip=bin"
        );
        assert_eq!(
            whole(&remove_all(&["a".into(), "b".into()])),
            "path=a&path=b"
        );
    }

    #[test]
    fn a_detached_command_carries_its_limits() {
        let mut command = Exec::new("true").id(ExecId::new("e1").unwrap());
        command.timeout = Some(Duration::from_millis(1500));
        command.processes = Some(7);
        let form = start(&command);
        assert!(
            whole(&form).ends_with("&mode=sys&id=e1&timeout_ms=1500&processes=7"),
            "{}",
            whole(&form)
        );
    }

    #[test]
    fn every_state_text_has_its_outcome() {
        use ExecOutcome::*;
        for outcome in [
            Ok,
            Exit(3),
            Signal("segmentation fault (core dumped)".into()),
            TimedOut,
            Silent,
            DiskQuota,
            Lost,
        ] {
            assert_eq!(parse_outcome(&outcome.to_string()), outcome);
        }
        let text = "fork/exec /w/nosuch: no such file or directory";
        assert_eq!(parse_outcome(text), NotStarted(text.into()));
        assert_eq!(outcome(&Headers::new()), None);
    }

    #[test]
    fn listings_are_parsed_by_tabs() {
        let entry = parse_entry("-rw-r--r--\ta/b.txt\t6\t2026-11-22T14:44:19Z\tf572d396").unwrap();
        assert_eq!(
            (entry.name.as_str(), entry.size, entry.digest.as_deref()),
            ("a/b.txt", Some(6), Some("f572d396"))
        );
        let sticky = parse_entry("dtrwxrwxrwx\td/").unwrap();
        assert!(sticky.is_dir() && sticky.size.is_none());
        for bad in ["", "nothing", "-rw\tname\tsize"] {
            assert_eq!(
                parse_entry(bad).unwrap_err().kind(),
                ErrorKind::Corrupt,
                "{bad:?}"
            );
        }
    }
}
