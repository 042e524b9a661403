//! The requests, byte for byte as the Go client sends them where it knows the call.

use std::time::Duration;

use build_core::buildlet::{
    ByteStream, Exec, ExecOutcome, Form, ListDir, Route, exec_form, header, param, trailer,
};
use build_core::h1::{Headers, RequestHead};
use build_core::ids::{ExecId, Nonce};
use build_core::name::Name;

use super::exchange::{Body, Request};

fn request(method: &str, target: &str, body: Body, repeatable: bool) -> Request {
    Request {
        head: RequestHead::new(method, target),
        body,
        repeatable,
        limit: None,
    }
}

pub(super) fn get(route: Route<'_>) -> Request {
    request("GET", &route.to_string(), Body::None, true)
}

fn get_with(route: Route<'_>, query: &Form) -> Request {
    request("GET", &target(route, query), Body::None, true)
}

fn target(route: Route<'_>, query: &Form) -> String {
    format!("{route}?{}", query.encode())
}

fn post_form(target: &str, form: &Form, repeatable: bool) -> Request {
    let body = Body::Whole(form.encode().into_bytes());
    let mut request = request("POST", target, body, repeatable);
    let headers = request.head.headers_mut();
    headers.append("Content-Type", header::FORM_TYPE);
    request
}

pub(super) fn put(path: &str, mode: u32, contents: ByteStream) -> Request {
    let query = Form::new()
        .with(param::MODE, mode.to_string())
        .with(param::PATH, path);
    request(
        "PUT",
        &target(Route::Write, &query),
        Body::Pieces(contents),
        false,
    )
}

pub(super) fn put_tar(tgz: ByteStream, dir: &str) -> Request {
    let query = Form::new().with(param::DIR, dir);
    request(
        "PUT",
        &target(Route::WriteTgz, &query),
        Body::Pieces(tgz),
        false,
    )
}

pub(super) fn put_tar_from_url(url: &str, dir: &str) -> Request {
    let target = target(Route::WriteTgz, &Form::new().with(param::DIR, dir));
    post_form(&target, &Form::new().with(param::URL, url), false)
}

pub(super) fn kept_tree(sha256: &str) -> Request {
    get(Route::TreeOf(sha256))
}

/// Sending the same tree twice does no harm, but its stream is read once.
pub(super) fn keep_tree(sha256: &str, tgz: ByteStream) -> Request {
    let target = Route::TreeOf(sha256).to_string();
    request("PUT", &target, Body::Pieces(tgz), false)
}

pub(super) fn keep_tree_from(sha256: &str, url: &str) -> Request {
    let target = Route::TreeOf(sha256).to_string();
    post_form(&target, &Form::new().with(param::URL, url), false)
}

pub(super) fn get_tar(dir: &str) -> Request {
    get_with(Route::Tgz, &Form::new().with(param::DIR, dir))
}

/// Files of a directory, which a form names.
pub(super) fn get_files(dir: &str, paths: &[Name]) -> Request {
    let target = target(Route::Tgz, &Form::new().with(param::DIR, dir));
    let escaped = paths.iter().filter(|path| path.as_str().is_none());
    let form = Form::new()
        .with_all(param::PATH, paths.iter().filter_map(Name::as_str))
        .with_all(param::ESCAPED_PATH, escaped.map(Name::escaped));
    post_form(&target, &form, true)
}

pub(super) fn list_dir(what: &ListDir) -> Request {
    let query = Form::new()
        .with(param::DIGEST, what.digest.to_string())
        .with(param::DIR, &what.dir)
        .with(param::RECURSIVE, what.recursive.to_string())
        .with_all(param::SKIP, &what.skip);
    let mut request = get_with(Route::Ls, &query);
    // In lines of text names with tabs and line feeds cannot be told; a buildlet of 2020 has no other.
    let headers = request.head.headers_mut();
    headers.append("Accept", header::NDJSON_TYPE);
    request
}

pub(super) fn remove_all(paths: &[String]) -> Request {
    post_form(
        &Route::RemoveAll.to_string(),
        &Form::new().with_all(param::PATH, paths),
        true,
    )
}

pub(super) fn halt() -> Request {
    request("POST", &Route::Halt.to_string(), Body::None, false)
}

pub(super) fn exec(exec: &Exec) -> Request {
    post_form(&Route::Exec.to_string(), &exec_form(exec), false)
}

/// A command that goes on by itself. Starting it twice starts it once, by its id.
pub(super) fn start(exec: &Exec) -> Request {
    post_form(&Route::ExecStart.to_string(), &exec_form(exec), true)
}

pub(super) fn log(id: &ExecId, offset: u64) -> Request {
    let query = Form::new()
        .with(param::FOLLOW, "1")
        .with(param::OFFSET, offset.to_string());
    get_with(Route::ExecLog(id.as_str()), &query)
}

pub(super) fn exec_state(id: &ExecId) -> Request {
    get(Route::ExecOf(id.as_str()))
}

pub(super) fn kill(id: &ExecId) -> Request {
    request(
        "POST",
        &Route::ExecKill(id.as_str()).to_string(),
        Body::None,
        true,
    )
}

pub(super) fn renew_lease(nonce: &Nonce, ttl: Duration) -> Request {
    let form = Form::new()
        .with(param::NONCE, nonce.as_str())
        .with(param::TTL_MS, ttl.as_millis().to_string());
    post_form(&Route::Lease.to_string(), &form, true)
}

/// How a command ended, by the trailers of its output; `None` when they do not tell.
pub(super) fn outcome(trailers: &Headers) -> Option<ExecOutcome> {
    let state = trailers
        .get_str(trailer::PROCESS_STATE)
        .filter(|text| !text.is_empty())?;
    Some(ExecOutcome::parse_process_state(state))
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
        let files = get_files("src", &["a b".into(), "c".into()]);
        assert_eq!(
            (files.head.target(), whole(&files)),
            ("/tgz?dir=src", "path=a+b&path=c")
        );
        let fetch = put_tar_from_url("http://x/a.tgz", "go1.4");
        assert_eq!(
            (fetch.head.target(), whole(&fetch)),
            ("/writetgz?dir=go1.4", "url=http%3A%2F%2Fx%2Fa.tgz")
        );
    }

    #[test]
    fn only_what_can_be_sent_twice_is_repeatable() {
        let id = ExecId::new("e1").unwrap();
        let exec_once = Exec::new("true").id(id.clone());
        assert!(!exec(&exec_once).repeatable && start(&exec_once).repeatable);
        assert!(log(&id, 7).repeatable && kill(&id).repeatable && !halt().repeatable);
        assert_eq!(log(&id, 7).head.target(), "/exec/e1/log?follow=1&offset=7");
    }

    #[test]
    fn without_a_state_there_is_no_outcome() {
        assert_eq!(outcome(&Headers::new()), None);
        assert_eq!(outcome(&Headers::new().with("Process-State", "")), None);
        assert_eq!(
            outcome(&Headers::new().with("process-state", "exit status 3")),
            Some(ExecOutcome::Exit(3))
        );
    }
}
