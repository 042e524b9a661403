//! Where a build is followed: in this process, or in a farm that runs.

use std::sync::Arc;

use async_trait::async_trait;
use build_client::farm::FarmClient;
use build_core::Result;
use build_core::buildlet::ByteStream;
use build_core::event::{Recorded, Seq};
use build_core::ids::BuildId;
use build_core::plan::Unit;
use build_core::report::{Build, LogQuery, PartName};
use build_server::coordinator::{EventStream, Handle};
use futures::{StreamExt, TryStreamExt};

/// What somebody who follows a build asks.
#[async_trait]
pub(crate) trait Farm: Send + Sync {
    /// What happens to a build, from its first event until nothing more does.
    async fn events(&self, build: &BuildId) -> Result<EventStream>;

    /// The output of an attempt, on to its end.
    async fn log(&self, build: &BuildId, unit: &Unit, attempt: u32) -> Result<ByteStream>;

    /// The build as it is recorded now, with what the past says of its failed tests.
    async fn build(&self, build: &BuildId) -> Result<Option<Build>>;
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

    async fn build(&self, build: &BuildId) -> Result<Option<Build>> {
        let Some(row) = self.records().build(build).await? else {
            return Ok(None);
        };
        let failed = self.failed_tests(&row).await?;
        let mut build = Build::from(row);
        build.failed_tests = Some(failed);
        Ok(Some(build))
    }
}

#[async_trait]
impl Farm for FarmClient {
    async fn events(&self, build: &BuildId) -> Result<EventStream> {
        let events = FarmClient::events(self, build, None).await?;
        Ok(events.map_ok(Recorded::from).boxed())
    }

    async fn log(&self, build: &BuildId, unit: &Unit, attempt: u32) -> Result<ByteStream> {
        let which = LogQuery {
            step: Some(unit.step.clone()),
            part: Some(PartName(unit.part)),
            attempt: Some(attempt),
            follow: true,
            ..LogQuery::default()
        };
        FarmClient::log(self, build, &which).await
    }

    async fn build(&self, build: &BuildId) -> Result<Option<Build>> {
        FarmClient::build(self, build).await.map(Some)
    }
}
