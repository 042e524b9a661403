//! Files that a build has kept: listed, fetched one by one or as one archive.

use std::ops::RangeInclusive;

use axum::Json;
use axum::body::Body;
use axum::extract::Path;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use build_core::buildlet::ByteStream;
use build_core::event::Artifact;
use build_core::ids::{BuildId, StepName};
use build_core::name::Name;
use build_core::report::{
    ArtifactPage, ArtifactQuery, ListedArtifact, artifact_address, artifact_place,
};
use build_core::tarutil::EntryHeader;
use build_core::{Error, ErrorKind, Result};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};

use super::input::{Id, Params};
use super::public;
use crate::record::BuildRow;
use crate::store::{BlobKey, BlobKind};
use crate::web::{Looking, Refusal, Site};

/// Files in one answer, when nothing is said and at most.
const PAGE: usize = 1000;
const MAX_PAGE: usize = 10_000;
/// A tar archive is made of blocks; two empty ones end it.
const BLOCK: u64 = 512;
pub(super) async fn list(
    Looking(site): Looking,
    Id(id): Id,
    Params(which): Params<ArtifactQuery>,
) -> Result<Json<ArtifactPage>, Refusal> {
    let row = public::find(&site, &id).await?;
    let limit = which.limit.unwrap_or(PAGE).clamp(1, MAX_PAGE);
    let mut rest = kept(&row, which.step.as_ref()).skip(which.after);
    let artifacts: Vec<ListedArtifact> = (rest.by_ref().take(limit))
        .map(|(step, artifact)| ListedArtifact {
            step: step.clone(),
            artifact: artifact.clone(),
            url: artifact_address(&id, step, artifact),
        })
        .collect();
    let next = rest.next().map(|_| which.after + artifacts.len());
    Ok(Json(ArtifactPage { artifacts, next }))
}

/// The files that a build has kept, or one of its steps.
fn kept<'r>(
    row: &'r BuildRow,
    of: Option<&'r StepName>,
) -> impl Iterator<Item = (&'r StepName, &'r Artifact)> {
    let steps = row.kept.iter();
    let steps = steps.filter(move |kept| of.is_none_or(|step| kept.step == *step));
    steps.flat_map(|kept| kept.artifacts.iter().map(|artifact| (&kept.step, artifact)))
}

/// One file by `STEP/PATH`, or by its path alone when one step has kept such a file. Parts of it
/// by `Range`; its SHA-256 is its entity tag.
pub(super) async fn file(
    Looking(site): Looking,
    Path((id, wanted)): Path<(String, String)>,
    fields: HeaderMap,
) -> Result<Response, Refusal> {
    let id = BuildId::new(&id)?;
    let row = public::find(&site, &id).await?;
    let artifact = find(&row, &wanted)?;
    let tag = format!("\"{}\"", artifact.sha256);
    let mut answer = HeaderMap::new();
    let value = |text: &str| HeaderValue::from_str(text).expect("printable ASCII");
    answer.insert(header::ETAG, value(&tag));
    answer.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    if names(&fields, header::IF_NONE_MATCH, &tag) {
        return Ok((StatusCode::NOT_MODIFIED, answer).into_response());
    }
    let size = artifact.size;
    let range = match fields.get(header::RANGE) {
        Some(range) if same_as_before(&fields, &tag) => requested(range, size),
        _ => Requested::All,
    };
    let (status, bytes) = match range {
        Requested::All => (StatusCode::OK, 0..=size.saturating_sub(1)),
        Requested::Part(bytes) => (StatusCode::PARTIAL_CONTENT, bytes),
        Requested::Nothing => {
            answer.insert(header::CONTENT_RANGE, value(&format!("bytes */{size}")));
            return Ok((StatusCode::RANGE_NOT_SATISFIABLE, answer).into_response());
        }
    };
    let length = if size == 0 {
        0
    } else {
        bytes.end() - bytes.start() + 1
    };
    if status == StatusCode::PARTIAL_CONTENT {
        let text = format!("bytes {}-{}/{size}", bytes.start(), bytes.end());
        answer.insert(header::CONTENT_RANGE, value(&text));
    }
    answer.insert(header::CONTENT_LENGTH, length.into());
    // What a build has made is never shown as a page of the farm.
    let plain = HeaderValue::from_static("application/octet-stream");
    answer.insert(header::CONTENT_TYPE, plain);
    answer.insert(header::CONTENT_DISPOSITION, value(&attachment(artifact)));
    let nosniff = HeaderValue::from_static("nosniff");
    answer.insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
    let contents = contents(&site, &id, artifact).await?;
    let body = Body::from_stream(part(contents, *bytes.start(), length));
    Ok((status, answer, body).into_response())
}

fn find<'r>(row: &'r BuildRow, wanted: &str) -> Result<&'r Artifact, Refusal> {
    let mut whole =
        kept(row, None).filter(|(step, artifact)| artifact_place(step, artifact) == wanted);
    if let Some((_, artifact)) = whole.next() {
        return Ok(artifact);
    }
    let path = Name::unescape(wanted);
    let mut alone = kept(row, None).filter(|(_, artifact)| artifact.path == path);
    let hint = format!("list them with GET /api/v1/builds/{}/artifacts", row.id);
    match (alone.next(), alone.next()) {
        (Some((_, artifact)), None) => Ok(artifact),
        (Some(_), Some(_)) => {
            let text = format!("several steps of build {} have kept {path}", row.id);
            Err(Refusal::new(
                ErrorKind::Invalid,
                text,
                "name the step before it: STEP/PATH",
            ))
        }
        (None, _) => {
            let text = format!("build {} has kept no file {path}", row.id);
            Err(Refusal::new(ErrorKind::NotFound, text, hint))
        }
    }
}

/// Under the last part of its path.
fn attachment(artifact: &Artifact) -> String {
    let bytes = artifact.path.as_bytes();
    let last = bytes.rsplit(|b| *b == b'/').next().unwrap_or_default();
    let plain = |b: &u8| match b {
        b'"' | b'\\' => '_',
        b' '..=b'~' => char::from(*b),
        _ => '_',
    };
    let name: String = last.iter().map(plain).collect();
    format!("attachment; filename=\"{name}\"")
}

/// Whether a field of entity tags names this one.
fn names(fields: &HeaderMap, field: header::HeaderName, tag: &str) -> bool {
    let tags = fields.get(field).and_then(|value| value.to_str().ok());
    tags.is_some_and(|tags| {
        let mut tags = tags.split(',').map(str::trim);
        tags.any(|t| t == "*" || t.trim_start_matches("W/") == tag)
    })
}

/// Whether a part fits to what the caller has of it already.
fn same_as_before(fields: &HeaderMap, tag: &str) -> bool {
    !fields.contains_key(header::IF_RANGE) || names(fields, header::IF_RANGE, tag)
}

#[derive(Debug, PartialEq, Eq)]
enum Requested {
    All,
    Part(RangeInclusive<u64>),
    /// It begins behind the end.
    Nothing,
}

/// One range of bytes; what is no such range, or several of them, asks for everything
/// (RFC 9110, 14.2).
fn requested(range: &HeaderValue, size: u64) -> Requested {
    let text = range.to_str().unwrap_or_default().trim();
    let Some((first, last)) = text.strip_prefix("bytes=").and_then(|r| r.split_once('-')) else {
        return Requested::All;
    };
    let (first, last) = (first.trim(), last.trim());
    let bytes = match (first.parse::<u64>(), last.parse::<u64>()) {
        (Ok(first), Ok(last)) if first <= last => first..=last.min(size.saturating_sub(1)),
        (Ok(first), Err(_)) if last.is_empty() => first..=size.saturating_sub(1),
        (Err(_), Ok(count)) if first.is_empty() => {
            if count == 0 {
                return Requested::Nothing;
            }
            size.saturating_sub(count)..=size.saturating_sub(1)
        }
        _ => return Requested::All,
    };
    match *bytes.start() < size {
        true => Requested::Part(bytes),
        false => Requested::Nothing,
    }
}

/// What was kept of a file.
async fn contents(site: &Site, build: &BuildId, artifact: &Artifact) -> Result<ByteStream> {
    let key = BlobKey::new(BlobKind::Artifact, &artifact.sha256)?;
    let found = site.store().blobs().get(&key).await?;
    found.ok_or_else(|| {
        let text = format!("{} of build {build} is not kept any more", artifact.path);
        Error::new(ErrorKind::NotFound, text).with_hint("build the commit again: farmer rerun")
    })
}

/// `length` bytes from `start` on.
fn part(contents: ByteStream, start: u64, length: u64) -> ByteStream {
    let state = (contents, start, length);
    let pieces = stream::try_unfold(state, async |(mut contents, mut skip, left)| {
        if left == 0 {
            return Ok(None);
        }
        loop {
            let Some(mut piece) = contents.try_next().await? else {
                let text = "a kept file is shorter than it was";
                return Err(Error::new(ErrorKind::Corrupt, text));
            };
            let passed = skip.min(piece.len() as u64);
            skip -= passed;
            piece = piece.slice(passed as usize..);
            piece.truncate(usize::try_from(left).unwrap_or(usize::MAX));
            if !piece.is_empty() {
                let left = left - piece.len() as u64;
                return Ok(Some((piece, (contents, skip, left))));
            }
        }
    });
    pieces.boxed()
}

/// All files of a build as one tar archive, each below the name of its step.
pub(super) async fn archive(
    Looking(site): Looking,
    Id(id): Id,
    Params(which): Params<ArtifactQuery>,
) -> Result<Response, Refusal> {
    let row = public::find(&site, &id).await?;
    let files: Vec<_> = kept(&row, which.step.as_ref())
        .map(|(step, artifact)| (step.clone(), artifact.clone()))
        .collect();
    if files.is_empty() {
        let text = format!("build {id} has kept no files");
        let hint = "name what a step keeps: artifacts = [\"out/**\"]";
        return Err(Refusal::new(ErrorKind::NotFound, text, hint));
    }
    let name = format!("attachment; filename=\"{id}.tar\"");
    let fields = [
        (header::CONTENT_TYPE, "application/x-tar".to_owned()),
        (header::CONTENT_DISPOSITION, name),
    ];
    let entries = stream::iter(files).then(move |(step, artifact)| {
        let (site, id) = (site.clone(), id.clone());
        async move {
            let mut path = format!("{step}/").into_bytes();
            path.extend(artifact.path.as_bytes());
            let head = EntryHeader::file(path, artifact.size).head_blocks();
            let contents = contents(&site, &id, &artifact).await?;
            let whole = part(contents, 0, artifact.size);
            let padding = artifact.size.next_multiple_of(BLOCK) - artifact.size;
            Ok::<_, Error>(once(head).chain(whole).chain(zeros(padding)))
        }
    });
    let body = entries.try_flatten().chain(zeros(2 * BLOCK));
    Ok((fields, Body::from_stream(body)).into_response())
}

fn once(bytes: Vec<u8>) -> ByteStream {
    stream::iter([Ok(Bytes::from(bytes))]).boxed()
}

fn zeros(count: u64) -> ByteStream {
    once(vec![0; usize::try_from(count).expect("at most two blocks")])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_the_standard_says() {
        use Requested::{All, Nothing, Part};
        let cases = [
            ("bytes=0-3", Part(0..=3)),
            ("bytes=4-", Part(4..=9)),
            ("bytes=-3", Part(7..=9)),
            ("bytes=-30", Part(0..=9)),
            ("bytes=8-30", Part(8..=9)),
            ("bytes=10-", Nothing),
            ("bytes=-0", Nothing),
            ("bytes=3-2", All),
            ("bytes=0-1,4-5", All),
            ("lines=1-2", All),
            ("bytes=", All),
        ];
        for (text, wanted) in cases {
            assert_eq!(
                requested(&HeaderValue::from_static(text), 10),
                wanted,
                "{text}"
            );
        }
        assert_eq!(requested(&HeaderValue::from_static("bytes=0-"), 0), Nothing);
        let odd = HeaderValue::from_bytes(b"bytes=\xff-").unwrap();
        assert_eq!(requested(&odd, 10), All);
    }

    #[tokio::test]
    async fn a_part_crosses_pieces_and_a_short_file_is_told() {
        let pieces = || {
            let pieces = ["abc", "", "defg", "hi"].map(|p| Ok(Bytes::from_static(p.as_bytes())));
            stream::iter(pieces).boxed()
        };
        let read = async |start, length| {
            let parts: Result<Vec<_>> = part(pieces(), start, length).try_collect().await;
            parts.map(|parts| String::from_utf8(parts.concat()).unwrap())
        };
        assert_eq!(read(0, 9).await.unwrap(), "abcdefghi");
        assert_eq!(read(2, 4).await.unwrap(), "cdef");
        assert_eq!(read(7, 1).await.unwrap(), "h");
        assert_eq!(read(9, 0).await.unwrap(), "");
        assert_eq!(read(8, 2).await.unwrap_err().kind(), ErrorKind::Corrupt);
    }
}
