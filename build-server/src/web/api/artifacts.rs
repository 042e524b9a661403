//! Files that a build has kept: listed, fetched one by one or as one archive.

use std::collections::BTreeSet;

use axum::Json;
use axum::body::Body;
use axum::extract::Path;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use build_core::buildlet::ByteStream;
use build_core::event::Artifact;
use build_core::ids::{BuildId, StepName};
use build_core::name::Name;
use build_core::plan::Unit;
use build_core::recipe::show_size;
use build_core::report::{ArtifactPage, ArtifactQuery, ListedArtifact, PartName, artifact_place};
use build_core::tarutil::EntryHeader;
use build_core::{Error, ErrorKind, Result};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use serde::Deserialize;

use super::input::{Id, Params};
use super::public;
use super::ranges::{Requested, part, requested};
use crate::record::BuildRow;
use crate::store::{BlobKey, BlobKind};
use crate::web::{Looking, Refusal, Site};

/// Files in one answer, when nothing is said and at most.
const PAGE: usize = 1000;
const MAX_PAGE: usize = 10_000;
/// A tar archive is made of blocks; two empty ones end it.
const BLOCK: u64 = 512;
/// The entry of an archive that names what is not in it.
const LEFT_OUT: &str = "not-kept-any-more.txt";

pub(super) async fn list(
    Looking(site): Looking,
    Id(id): Id,
    Params(which): Params<ArtifactQuery>,
) -> Result<Json<ArtifactPage>, Refusal> {
    let row = public::find(&site, &id).await?;
    let row = row.with_all_files(&**site.store().events()).await?;
    let limit = which.limit.unwrap_or(PAGE).clamp(1, MAX_PAGE);
    let mut rest = kept(&row, which.step.as_ref()).skip(which.after);
    let mut artifacts = Vec::new();
    for file in rest.by_ref().take(limit) {
        artifacts.push(ListedArtifact {
            until: site.keep_artifacts().until(&row, &file.unit.step),
            gone: gone(&site, &row, &file).await?.is_some(),
            ..ListedArtifact::new(&id, &file.unit, file.artifact.clone())
        });
    }
    let next = rest.next().map(|_| which.after + artifacts.len());
    Ok(Json(ArtifactPage { artifacts, next }))
}

/// A file that a part of a build has kept.
#[derive(Clone)]
struct File<'r> {
    unit: Unit,
    artifact: &'r Artifact,
}

/// The files that a build has kept, or one of its steps.
fn kept<'r>(row: &'r BuildRow, of: Option<&'r StepName>) -> impl Iterator<Item = File<'r>> {
    let steps = row.kept.iter();
    let steps = steps.filter(move |kept| of.is_none_or(|step| kept.step == *step));
    steps.flat_map(|kept| {
        let files = kept.artifacts.iter();
        files.map(|artifact| File {
            unit: kept.unit(),
            artifact,
        })
    })
}

/// Why a file is not there any more; `None`: it is.
async fn gone(site: &Site, row: &BuildRow, file: &File<'_>) -> Result<Option<Refusal>> {
    let keep = site.keep_artifacts();
    let path = &file.artifact.path;
    let step = &file.unit.step;
    let text = if keep.is_over(row, step, site.clock().now()) {
        let until = keep.until(row, step).unwrap_or_default();
        format!("{path} of build {} was kept until {until}", row.id)
    } else {
        let key = BlobKey::new(BlobKind::Artifact, &file.artifact.sha256)?;
        match (site.store().blobs().size(&key).await?, keep.bytes) {
            (Some(_), _) => return Ok(None),
            (None, Some(most)) => {
                let most = show_size(most);
                let id = &row.id;
                format!("{path} of build {id} made room for others: the farm keeps {most} of files")
            }
            (None, None) => format!("{path} of build {} is not kept any more", row.id),
        }
    };
    let hint = format!("build the commit again: farmer rerun {}", row.id);
    let refusal = Refusal::new(ErrorKind::NotFound, text, hint);
    Ok(Some(refusal.with_status(StatusCode::GONE)))
}

/// Which of several files of one name.
#[derive(Default, Deserialize)]
pub(super) struct Which {
    /// That of this part of the step.
    part: Option<PartName>,
}

/// One file by `STEP/PATH`, or by its path alone when one step has kept such a file; that of one
/// shard by `part`. Parts of it by `Range`; its SHA-256 is its entity tag.
pub(super) async fn file(
    Looking(site): Looking,
    Path((id, wanted)): Path<(String, String)>,
    Params(which): Params<Which>,
    fields: HeaderMap,
) -> Result<Response, Refusal> {
    let id = BuildId::new(&id)?;
    let row = public::find(&site, &id).await?;
    let row = row.with_all_files(&**site.store().events()).await?;
    let file = find(&row, &wanted, which.part)?;
    if let Some(refusal) = gone(&site, &row, &file).await? {
        return Err(refusal);
    }
    let artifact = file.artifact;
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
    let contents = contents(&site, artifact).await?;
    let body = Body::from_stream(part(contents, *bytes.start(), length));
    Ok((status, answer, body).into_response())
}

fn find<'r>(row: &'r BuildRow, wanted: &str, part: Option<PartName>) -> Result<File<'r>, Refusal> {
    let of_part = |file: &File<'_>| part.is_none_or(|part| part.0 == file.unit.part);
    let all = || kept(row, None).filter(of_part);
    let whole = all().filter(|file| artifact_place(&file.unit.step, file.artifact) == wanted);
    if let Some(file) = last_of_first(whole) {
        return Ok(file);
    }
    let path = Name::unescape(wanted);
    let alone: Vec<File<'_>> = all().filter(|file| file.artifact.path == path).collect();
    let steps: BTreeSet<&StepName> = alone.iter().map(|file| &file.unit.step).collect();
    if steps.len() > 1 {
        let text = format!("several steps of build {} have kept {path}", row.id);
        let hint = "name the step before it: STEP/PATH";
        return Err(Refusal::new(ErrorKind::Invalid, text, hint));
    }
    last_of_first(alone.into_iter()).ok_or_else(|| {
        let text = format!("build {} has kept no file {path}", row.id);
        let hint = format!("list them with GET /api/v1/builds/{}/artifacts", row.id);
        Refusal::new(ErrorKind::NotFound, text, hint)
    })
}

/// Of files of one name that of the first part; a part that ran again has the last word.
fn last_of_first<'r>(mut files: impl Iterator<Item = File<'r>>) -> Option<File<'r>> {
    let first = files.next()?;
    let unit = first.unit.clone();
    files
        .filter(|file| file.unit == unit)
        .last()
        .or(Some(first))
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

/// What was kept of a file. No sweep removes it while it is read.
async fn contents(site: &Site, artifact: &Artifact) -> Result<ByteStream> {
    let key = BlobKey::new(BlobKind::Artifact, &artifact.sha256)?;
    let reading = site.store().in_use().read(&key).await;
    let found = site.store().blobs().get(&key).await?;
    let contents = found.ok_or_else(|| {
        let text = format!("{} is not kept any more", artifact.path);
        Error::new(ErrorKind::NotFound, text)
    })?;
    let held = contents.map(move |piece| {
        let _until_then = &reading;
        piece
    });
    Ok(held.boxed())
}

/// All files of a build that are still there as one tar archive, each below the name of its step, or of
/// the part of it.
pub(super) async fn archive(
    Looking(site): Looking,
    Id(id): Id,
    Params(which): Params<ArtifactQuery>,
) -> Result<Response, Refusal> {
    let row = public::find(&site, &id).await?;
    let row = row.with_all_files(&**site.store().events()).await?;
    let (mut files, mut left_out) = (Vec::new(), Vec::new());
    for file in kept(&row, which.step.as_ref()) {
        let key = BlobKey::new(BlobKind::Artifact, &file.artifact.sha256)?;
        let reading = site.store().in_use().read(&key).await;
        match gone(&site, &row, &file).await? {
            None => files.push((file.unit, file.artifact.clone(), reading)),
            Some(refusal) => left_out.push(refusal),
        }
    }
    if files.is_empty() {
        let text = format!("build {id} has kept no files");
        let hint = "name what a step keeps: artifacts = [\"out/**\"]";
        let nothing = Refusal::new(ErrorKind::NotFound, text, hint);
        return Err(left_out.pop().unwrap_or(nothing));
    }
    let name = format!("attachment; filename=\"{id}.tar\"");
    let fields = [
        (header::CONTENT_TYPE, "application/x-tar".to_owned()),
        (header::CONTENT_DISPOSITION, name),
    ];
    let entries = stream::iter(files).then(move |(unit, artifact, reading)| {
        let site = site.clone();
        async move {
            let mut path = format!("{unit}/").into_bytes();
            path.extend(artifact.path.as_bytes());
            let contents = contents(&site, &artifact).await?;
            drop(reading);
            Ok::<_, Error>(entry(path, artifact.size, contents))
        }
    });
    let first = missing(&left_out).map(Ok::<_, Error>);
    let body = stream::iter(first).chain(entries);
    let body = body.try_flatten().chain(zeros(2 * BLOCK));
    Ok((fields, Body::from_stream(body)).into_response())
}

/// One entry of a tar archive.
fn entry(path: Vec<u8>, size: u64, contents: ByteStream) -> ByteStream {
    let head = EntryHeader::file(path, size).head_blocks();
    let padding = size.next_multiple_of(BLOCK) - size;
    let whole = part(contents, 0, size);
    once(head).chain(whole).chain(zeros(padding)).boxed()
}

/// An entry that names the files which are not there any more, if there are such.
fn missing(left_out: &[Refusal]) -> Option<ByteStream> {
    let lines = left_out
        .iter()
        .map(|refusal| format!("{}\n", refusal.message()));
    let bytes = lines.collect::<String>().into_bytes();
    let some = !bytes.is_empty();
    some.then(|| entry(LEFT_OUT.into(), bytes.len() as u64, once(bytes)))
}

fn once(bytes: Vec<u8>) -> ByteStream {
    stream::iter([Ok(Bytes::from(bytes))]).boxed()
}

fn zeros(count: u64) -> ByteStream {
    once(vec![0; usize::try_from(count).expect("at most two blocks")])
}
