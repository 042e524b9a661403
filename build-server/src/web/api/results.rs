//! The result of each test of a build, however many there are.

use std::time::Duration;

use axum::body::Body;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use build_core::buildlet::ByteStream;
use build_core::plan::Unit;
use build_core::report::TestReport;
use build_core::test_lines::ResultsReader;
use build_core::{Error, ErrorKind, Result};
use bytes::Bytes;
use futures::TryStreamExt;
use tokio::sync::mpsc;
use tokio_util::io::{StreamReader, SyncIoBridge};

use super::input::Id;
use super::public;
use crate::record::BuildRow;
use crate::store::{BlobKey, BlobKind, Blobs};
use crate::web::{Looking, Refusal};

/// Pieces that wait for a reader who is slower than the disk.
const PIECES: usize = 4;
/// Bytes of a piece, about.
const PIECE_BYTES: usize = 32 << 10;

/// Results of one run, to be read.
struct Kept {
    unit: Unit,
    attempt: u32,
    contents: ByteStream,
}

/// A line of JSON for each test that the last attempt of each unit printed.
pub(super) async fn tests(Looking(site): Looking, Id(id): Id) -> Result<Response, Refusal> {
    let row = public::find(&site, &id).await?;
    let kept = find(&row, &**site.store().blobs()).await?;
    let (pieces, sent) = mpsc::channel(PIECES);
    // It ends when its reader does, or with the last result.
    drop(tokio::task::spawn_blocking(move || {
        for run in kept {
            if let Err(error) = send(run, &pieces) {
                // A broken answer is seen by whoever reads it; they may also have gone.
                let _gone = pieces.blocking_send(Err(error));
                return;
            }
        }
    }));
    let body = Body::from_stream(futures::stream::unfold(sent, |mut sent| async {
        let piece = sent.recv().await?;
        Some((piece, sent))
    }));
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response())
}

async fn find(row: &BuildRow, blobs: &dyn Blobs) -> Result<Vec<Kept>> {
    let mut kept: Vec<Kept> = Vec::new();
    for run in &row.runs {
        let Some(results) = &run.results else {
            continue;
        };
        let key = BlobKey::new(BlobKind::Artifact, &*results.sha256)?;
        let Some(contents) = blobs.get(&key).await? else {
            let text = format!("the results of {} in build {} are gone", run.unit, row.id);
            return Err(Error::new(ErrorKind::NotFound, text));
        };
        kept.retain(|other| other.unit != run.unit);
        kept.push(Kept {
            unit: run.unit.clone(),
            attempt: run.attempt,
            contents,
        });
    }
    Ok(kept)
}

fn send(run: Kept, pieces: &mpsc::Sender<Result<Bytes>>) -> Result<()> {
    let reader = StreamReader::new(run.contents.map_err(std::io::Error::other));
    let unit = run.unit.to_string();
    let mut piece = Vec::with_capacity(PIECE_BYTES);
    for result in ResultsReader::new(SyncIoBridge::new(reader))? {
        let result = result?;
        let line = TestReport {
            unit: unit.clone(),
            attempt: run.attempt,
            name: result.name,
            end: result.end,
            took: result.took_us.map(Duration::from_micros),
        };
        serde_json::to_writer(&mut piece, &line)
            .map_err(|e| Error::caused_by(ErrorKind::Bug, "write a test result", e))?;
        piece.push(b'\n');
        if piece.len() >= PIECE_BYTES
            && pieces
                .blocking_send(Ok(std::mem::take(&mut piece).into()))
                .is_err()
        {
            return Ok(());
        }
    }
    // Whoever asked may have gone.
    let _gone = pieces.blocking_send(Ok(piece.into()));
    Ok(())
}
