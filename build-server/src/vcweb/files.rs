//! Files of a directory, for everybody or for those who know a password.

use std::fs;
use std::path::{Component, Path, PathBuf};
use std::time::SystemTime;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use build_core::key::same_secret;
use build_core::{Error, ErrorKind, Result};
use serde::Deserialize;
use tokio_util::io::ReaderStream;

use super::serve::Context;
use crate::http::page::text;

/// Who may read the files of a directory: the file `.access` in it, or in one above.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[derive(Default)]
struct Access {
    username: String,
    password: String,
    status_code: u16,
    message: String,
}

/// The path below `dir` that a request names.
fn below(dir: &Path, path: &str) -> Result<PathBuf> {
    let wrong = || Error::new(ErrorKind::Invalid, "the path leaves the directory");
    let decoded = percent_encoding::percent_decode_str(path)
        .decode_utf8()
        .map_err(|_| wrong())?;
    let mut full = dir.to_owned();
    for part in Path::new(decoded.trim_start_matches('/')).components() {
        match part {
            Component::Normal(part) => full.push(part),
            Component::CurDir => {}
            _ => return Err(wrong()),
        }
    }
    if decoded.contains('\0') {
        return Err(wrong());
    }
    match fs::canonicalize(&full) {
        Ok(real) if real.starts_with(fs::canonicalize(dir)?) => Ok(full),
        Ok(_) => Err(wrong()),
        Err(error) => Err(Error::from(error).while_doing("find the file")),
    }
}

/// Answers with a file, a directory's `index.html`, or a directory's list.
pub(super) fn serve(dir: &Path, path: &str, asked: &str) -> Result<Response> {
    let full = match below(dir, path) {
        Ok(full) => full,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Ok(text(StatusCode::NOT_FOUND, "404 page not found\n"));
        }
        Err(error) => return Err(error),
    };
    if !full.is_dir() {
        return file(&full);
    }
    if full.join("index.html").is_file() {
        return file(&full.join("index.html"));
    }
    if !asked.ends_with('/') {
        let to = HeaderValue::from_str(&format!("{asked}/"));
        let to = to.map_err(|e| Error::caused_by(ErrorKind::Invalid, "read the path", e))?;
        return Ok((StatusCode::MOVED_PERMANENTLY, [(header::LOCATION, to)]).into_response());
    }
    list(&full)
}

fn file(path: &Path) -> Result<Response> {
    let mut file = fs::File::open(path)?;
    let mut begin = Vec::new();
    std::io::Read::read_to_end(&mut std::io::Read::take(&mut file, 512), &mut begin)?;
    std::io::Seek::rewind(&mut file)?;
    let about = file.metadata()?;
    let (length, changed) = (about.len(), about.modified()?);
    let name = path.extension().and_then(|e| e.to_str()).unwrap_or("");
    let headers = [
        (header::CONTENT_TYPE, kind(name, &begin).to_owned()),
        (header::CONTENT_LENGTH, length.to_string()),
        (header::LAST_MODIFIED, http_date(changed)),
        (header::ETAG, tag(changed, length)),
    ];
    let body = Body::from_stream(ReaderStream::new(tokio::fs::File::from_std(file)));
    Ok((headers, body).into_response())
}

fn http_date(time: SystemTime) -> String {
    // Times that no calendar has are those of the epoch.
    let time = jiff::Timestamp::try_from(time).unwrap_or_default();
    let printer = jiff::fmt::rfc2822::DateTimePrinter::new();
    printer
        .timestamp_to_rfc9110_string(&time)
        .unwrap_or_default()
}

/// Tells versions of a file apart that are of the same second.
fn tag(changed: SystemTime, length: u64) -> String {
    let since = changed.duration_since(SystemTime::UNIX_EPOCH);
    format!("\"{:x}-{length:x}\"", since.unwrap_or_default().as_nanos())
}

/// The type of a file by its name, or by how it begins.
fn kind(extension: &str, begin: &[u8]) -> &'static str {
    match extension {
        "html" | "htm" => return "text/html; charset=utf-8",
        "css" => return "text/css; charset=utf-8",
        "js" => return "text/javascript; charset=utf-8",
        "json" => return "application/json",
        "zip" => return "application/zip",
        "gz" => return "application/gzip",
        "png" => return "image/png",
        "svg" => return "image/svg+xml",
        _ => {}
    }
    let trimmed = begin.trim_ascii_start().to_ascii_lowercase();
    let html: [&[u8]; 4] = [b"<!doctype html", b"<html", b"<head", b"<meta"];
    if html.iter().any(|tag| trimmed.starts_with(tag)) {
        return "text/html; charset=utf-8";
    }
    let is_text = begin
        .iter()
        .all(|b| *b >= 0x20 || matches!(b, b'\n' | b'\r' | b'\t' | 0x0c | 0x1b));
    if is_text {
        "text/plain; charset=utf-8"
    } else {
        "application/octet-stream"
    }
}

fn list(dir: &Path) -> Result<Response> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let slash = if entry.file_type()?.is_dir() { "/" } else { "" };
        names.push(format!("{}{slash}", entry.file_name().to_string_lossy()));
    }
    names.sort();
    let mut page =
        String::from("<!doctype html>\n<meta name=viewport content=width=device-width>\n<pre>\n");
    for name in names {
        let link = percent_encoding::utf8_percent_encode(&name, percent_encoding::NON_ALPHANUMERIC);
        let link = link.to_string().replace("%2F", "/");
        let shown = name
            .replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;");
        page.push_str(&format!("<a href=\"{link}\">{shown}</a>\n"));
    }
    page.push_str("</pre>\n");
    Ok(([(header::CONTENT_TYPE, "text/html; charset=utf-8")], page).into_response())
}

/// Answers with a file of a directory that has a password.
pub(super) fn serve_to_some(
    dir: &Path,
    context: &Context<'_>,
    request: &Request,
) -> Result<Response> {
    let path = context.path;
    if path
        .rsplit('/')
        .next()
        .is_some_and(|name| name.starts_with('.'))
    {
        return Ok(text(
            StatusCode::BAD_REQUEST,
            "filename contains leading dot\n",
        ));
    }
    let full = match below(dir, path) {
        Ok(full) => full,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Ok(text(StatusCode::NOT_FOUND, "404 page not found\n"));
        }
        Err(error) => return Err(error),
    };
    let from = if full.is_dir() {
        full.as_path()
    } else {
        full.parent().unwrap_or(dir)
    };
    let above = from.ancestors().take_while(|above| above.starts_with(dir));
    let Some(access) = above.map(|d| d.join(".access")).find(|file| file.is_file()) else {
        let said = "failed to locate access file\n";
        return Ok(text(StatusCode::INTERNAL_SERVER_ERROR, said));
    };
    let Ok(known) = serde_json::from_slice::<Access>(&fs::read(&access)?) else {
        let said = "malformed access file\n";
        return Ok(text(StatusCode::INTERNAL_SERVER_ERROR, said));
    };
    if known.admits(request) {
        return serve(dir, path, request.uri().path());
    }
    let status = match known.status_code {
        0 => StatusCode::UNAUTHORIZED,
        code => StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
    };
    let mut response = text(status, format!("{}\n", known.message));
    if status == StatusCode::UNAUTHORIZED {
        let realm = access.parent().and_then(|p| p.strip_prefix(dir).ok());
        let realm = format!("basic realm=/{}", realm.unwrap_or(Path::new("")).display());
        if let Ok(realm) = HeaderValue::from_str(&realm) {
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, realm);
        }
    }
    Ok(response)
}

impl Access {
    fn admits(&self, request: &Request) -> bool {
        let shown = request.headers().get(header::AUTHORIZATION);
        let shown = shown.and_then(|value| value.to_str().ok());
        let decoded = shown
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("basic"))
            .and_then(|(_, code)| BASE64_STANDARD.decode(code.trim()).ok());
        let wanted = format!("{}:{}", self.username, self.password);
        decoded.is_some_and(|shown| same_secret(&shown, wanted.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_cannot_leave_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        fs::create_dir(&root).unwrap();
        fs::write(root.join("a"), "x").unwrap();
        fs::write(dir.path().join("secret"), "x").unwrap();
        std::os::unix::fs::symlink("../secret", root.join("link")).unwrap();
        assert!(below(&root, "/a").is_ok());
        assert!(below(&root, "/%61").is_ok());
        for wrong in [
            "/../secret",
            "/%2e%2e/secret",
            "/link",
            "/a/../../secret",
            "/a%00",
            "/%ff",
        ] {
            assert!(below(&root, wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn types_are_known_by_name_or_by_beginning() {
        assert_eq!(kind("", b" <!DOCTYPE html>"), "text/html; charset=utf-8");
        assert_eq!(kind("", b"v1.0.0\n"), "text/plain; charset=utf-8");
        assert_eq!(kind("", b"\x00\x01"), "application/octet-stream");
        assert_eq!(kind("json", b"x"), "application/json");
    }
}
