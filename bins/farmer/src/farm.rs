//! Where a build is followed: in this process, or in a farm that runs.

use std::sync::Arc;

use async_trait::async_trait;
use build_core::buildlet::ByteStream;
use build_core::event::{Recorded, Seq};
use build_core::ids::BuildId;
use build_core::plan::{Part, Unit};
use build_core::{Error, ErrorKind, Result};
use build_server::coordinator::{EventStream, Handle};
use build_server::flakes::FailedTest;
use build_server::record::BuildRow;
use bytes::BytesMut;
use futures::{StreamExt, stream};

use crate::remote::Remote;

/// What somebody who follows a build asks.
#[async_trait]
pub(crate) trait Farm: Send + Sync {
    /// What happens to a build, from its first event until nothing more does.
    async fn events(&self, build: &BuildId) -> Result<EventStream>;

    /// The output of an attempt, on to its end.
    async fn log(&self, build: &BuildId, unit: &Unit, attempt: u32) -> Result<ByteStream>;

    /// What the past says of the tests that failed in a build.
    async fn failed_tests(&self, row: &BuildRow) -> Result<Vec<FailedTest>>;

    /// The build as it is recorded now.
    async fn row(&self, build: &BuildId) -> Result<Option<BuildRow>>;
}

/// A farm to follow builds in.
pub(crate) type AnyFarm = Arc<dyn Farm>;

#[async_trait]
impl Farm for Handle {
    async fn events(&self, build: &BuildId) -> Result<EventStream> {
        Ok(Handle::events(self, build, Seq(0)))
    }

    async fn log(&self, build: &BuildId, unit: &Unit, attempt: u32) -> Result<ByteStream> {
        Handle::log(self, build, unit, Some(attempt), 0, true).await
    }

    async fn failed_tests(&self, row: &BuildRow) -> Result<Vec<FailedTest>> {
        Handle::failed_tests(self, row).await
    }

    async fn row(&self, build: &BuildId) -> Result<Option<BuildRow>> {
        self.records().build(build).await
    }
}

#[async_trait]
impl Farm for Remote {
    async fn events(&self, build: &BuildId) -> Result<EventStream> {
        let path = format!("/api/v1/builds/{build}/events");
        Ok(parse(self.stream(&path).await?))
    }

    async fn log(&self, build: &BuildId, unit: &Unit, attempt: u32) -> Result<ByteStream> {
        let part = match unit.part {
            Part::Whole => "whole".to_owned(),
            Part::List => "list".to_owned(),
            Part::Shard(n) => n.to_string(),
        };
        let step = encode(unit.step.as_str());
        self.stream(&format!(
            "/api/v1/builds/{build}/log?step={step}&part={part}&attempt={attempt}&follow=true"
        ))
        .await
    }

    async fn failed_tests(&self, row: &BuildRow) -> Result<Vec<FailedTest>> {
        #[derive(serde::Deserialize)]
        struct Answer {
            failed_tests: Vec<FailedTest>,
        }
        let answer: Answer = self.get(&format!("/api/v1/builds/{}", row.id)).await?;
        Ok(answer.failed_tests)
    }

    async fn row(&self, build: &BuildId) -> Result<Option<BuildRow>> {
        self.get(&format!("/api/v1/builds/{build}")).await.map(Some)
    }
}

/// Text as the value of a parameter.
pub(crate) fn encode(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

/// The events in a stream of server-sent ones.
fn parse(pieces: ByteStream) -> EventStream {
    let reader = (pieces, BytesMut::new());
    let events = stream::try_unfold(reader, async |(mut pieces, mut buffer)| {
        loop {
            if let Some(event) = take_event(&mut buffer)? {
                return Ok(Some((event, (pieces, buffer))));
            }
            match pieces.next().await {
                Some(piece) => buffer.extend_from_slice(&piece?),
                None => return Ok(None),
            }
        }
    });
    events.boxed()
}

/// The next whole event; what is none, such as a sign of life, is passed over.
fn take_event(buffer: &mut BytesMut) -> Result<Option<Recorded>> {
    while let Some(end) = buffer.windows(2).position(|pair| pair == b"\n\n") {
        let block = buffer.split_to(end + 2);
        let mut lines = block[..].split(|byte| *byte == b'\n');
        if let Some(data) = lines.find_map(|line| line.strip_prefix(b"data: ")) {
            let event = serde_json::from_slice(data);
            return event
                .map(Some)
                .map_err(|e| Error::caused_by(ErrorKind::Corrupt, "read an event of the farm", e));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_whole_however_they_are_cut() {
        let text = ": sign of life\n\nid: 7\ndata: {\"seq\":7,\"stream\":\"build/B000000001\",\
            \"version\":2,\"at\":1,\"by\":\"person:me\",\"kind\":\"cancel_requested\",\"v\":1,\
            \"must\":true,\"body\":{\"by\":\"person:me\"}}\n\n";
        for cut in 0..text.len() {
            let (begin, end) = text.as_bytes().split_at(cut);
            let mut buffer = BytesMut::from(begin);
            assert!(take_event(&mut buffer).unwrap().is_none(), "cut at {cut}");
            buffer.extend_from_slice(end);
            assert_eq!(take_event(&mut buffer).unwrap().unwrap().seq, Seq(7));
            assert!(take_event(&mut buffer).unwrap().is_none());
        }
        assert!(take_event(&mut BytesMut::from("data: {\n\n")).is_err());
    }
}
