//! `/builds/ID/lines`: the lines of a run as they are printed, rendered.

use std::convert::Infallible;

use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use build_core::livelog::{LiveLog, LogReader, Position};
use futures::StreamExt;
use serde::Deserialize;

use super::ansi::Painter;
use super::cutter::Cutter;
use super::window::Naming;
use crate::dashboard::error::{Failure, Looking};

/// Bytes read at a time.
const PIECE: usize = 64 << 10;
/// Who is farther behind skips lines: nobody reads so fast.
const BEHIND: u64 = 512 << 10;
/// Bytes of text shown after a skip.
const AFTER_SKIP: u64 = 16 << 10;

#[derive(Deserialize)]
pub(in crate::dashboard) struct Question {
    run: usize,
    from: Option<u64>,
}

/// Streams lines from line `from` (default: the first) until the run ends. Each line ends with a
/// newline, which none has inside.
pub(in crate::dashboard) async fn lines(
    Looking(site): Looking,
    Path(id): Path<String>,
    question: Result<Query<Question>, QueryRejection>,
) -> Result<Response, Failure> {
    let Query(question) = question?;
    let row = super::build(&site, &id).await?;
    let run = super::run(&row, question.run)?;
    if run.end.is_none() {
        // Started as far as is recorded; a moment later there is a log to follow.
        site.handle().logs().begins(&run.exec).await;
    }
    let log = site.handle().logs().open(&row.id, &run.exec).await?;
    let first = question.from.unwrap_or(1).max(1);
    let lines = Following::new(log, first, Naming::of_run(question.run))?;
    let stream = futures::stream::unfold(lines, async |mut lines| {
        let html = lines.next().await?;
        Some((Ok::<_, Infallible>(html), lines))
    });
    // Whoever compresses the answer asks once more after its end.
    let stream = stream.fuse();
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    Ok((headers, Body::from_stream(stream.fuse())).into_response())
}

struct Following {
    log: LiveLog,
    reader: LogReader,
    cutter: Cutter,
    painter: Painter,
    naming: Naming,
    /// The line that comes next, counted from 1.
    line: u64,
    piece: Vec<u8>,
}

impl Following {
    fn new(log: LiveLog, line: u64, naming: Naming) -> Result<Self, Failure> {
        let reader = log.reader(Position::Line(line - 1));
        Ok(Self {
            reader: reader.map_err(build_core::Error::from)?,
            log,
            cutter: Cutter::default(),
            painter: Painter::default(),
            naming,
            line,
            piece: vec![0; PIECE],
        })
    }

    /// The next lines; `None` at the end, also when the log cannot be read any more.
    async fn next(&mut self) -> Option<String> {
        let mut html = String::new();
        while html.is_empty() {
            if let Err(error) = self.skip(&mut html) {
                return stopped(&error);
            }
            let read = match self.reader.read(&mut self.piece).await {
                Ok(read) => read,
                Err(error) => return stopped(&error),
            };
            if read == 0 {
                return self.last();
            }
            let piece = std::mem::take(&mut self.piece);
            let mut rest = &piece[..read];
            while self.cutter.feed(&mut rest) {
                self.draw(&mut html);
            }
            self.piece = piece;
        }
        Some(html)
    }

    fn draw(&mut self, html: &mut String) {
        let (painter, line) = (&mut self.painter, self.cutter.line());
        self.naming.push(html, painter, self.line, line);
        self.cutter.clear();
        self.line += 1;
    }

    /// A line without a newline ends the log.
    fn last(&mut self) -> Option<String> {
        let mut html = String::new();
        if self.cutter.length() > 0 {
            self.draw(&mut html);
        }
        (!html.is_empty()).then_some(html)
    }

    /// Goes on near the end of the log when it is far ahead.
    fn skip(&mut self, html: &mut String) -> std::io::Result<()> {
        let length = self.log.len();
        if length - self.reader.offset() <= BEHIND {
            return Ok(());
        }
        let line = self.log.line_of_offset(length - AFTER_SKIP)?;
        if line < self.line {
            return Ok(());
        }
        self.reader = self.log.reader(Position::Line(line))?;
        self.cutter.clear();
        let (from, skipped) = (self.line, line + 1 - self.line);
        self.line = line + 1;
        html.push_str(&format!(
            "<p>{skipped} lines from line {from} on were printed too fast to show; they are in the log</p>\n"
        ));
        Ok(())
    }
}

fn stopped(error: &std::io::Error) -> Option<String> {
    tracing::warn!(%error, "a log cannot be followed");
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use build_core::livelog::{LogWriter, Options};

    fn following(log: LiveLog, line: u64) -> Following {
        Following::new(log, line, Naming::of_run(1))
            .map_err(|_| "cannot follow")
            .unwrap()
    }

    #[tokio::test]
    async fn whole_lines_are_sent_as_they_come_and_the_rest_at_the_end() {
        let mut writer = LogWriter::in_memory(Options::default());
        writer.append(b"one\ntw").unwrap();
        let mut lines = following(writer.log(), 1);
        let first = lines.next().await.unwrap();
        assert!(first.contains(">one<") && !first.contains("tw"), "{first}");
        writer.append(b"o\nthree").unwrap();
        let second = lines.next().await.unwrap();
        assert!(
            second.contains("id=L2") && second.contains(">two<"),
            "{second}"
        );
        writer.finish().unwrap();
        assert!(lines.next().await.unwrap().contains(">three<"));
        assert_eq!(lines.next().await, None);
    }

    #[tokio::test]
    async fn who_is_far_behind_skips_and_is_told() {
        let mut writer = LogWriter::in_memory(Options::default().memory(8 << 20));
        let text: String = (1..=200_000).map(|n| format!("line {n}\n")).collect();
        writer.append(text.as_bytes()).unwrap();
        let mut lines = following(writer.log(), 5);
        let html = lines.next().await.unwrap();
        assert!(html.contains("lines from line 5 on"), "{html}");
        writer.finish().unwrap();
        let mut last = html;
        while let Some(next) = lines.next().await {
            last = next;
        }
        assert!(last.contains("id=L200000><"), "{last}");
        assert!(last.contains(">line 200000<"));
    }
}
