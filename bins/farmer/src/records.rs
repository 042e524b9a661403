//! The recorded builds, read beside whoever owns the data directory.

use std::path::Path;

use build_core::ids::BuildId;
use build_server::record::BuildRow;
use build_server::store::{BuildFilter, Store};
use farmer_cli::{Exit, Failure};

use crate::output::failure;

/// The builds of a data directory, to be asked about.
pub(crate) struct Recorded {
    pub store: Store,
}

impl Recorded {
    /// Opens the data directory without taking it from its owner.
    pub(crate) async fn open(dir: &Path) -> Result<Self, Failure> {
        if !Store::is_in(dir) {
            return Err(Failure::usage(
                format!(
                    "nothing has been built yet: {} holds no builds",
                    dir.display()
                ),
                "build something with: farmer build",
            ));
        }
        let store = Store::open_to_read(dir).await.map_err(|e| failure(&e))?;
        Ok(Self { store })
    }

    /// The build that was named, or the newest.
    pub(crate) async fn find(&self, id: Option<&str>) -> Result<BuildRow, Failure> {
        let found = match id {
            Some(id) => self.by_id(id).await?,
            None => self.newest(1).await?.pop(),
        };
        found.ok_or_else(|| {
            let which = id.map_or("there is no build yet".to_owned(), |id| {
                format!("there is no build {id:?}")
            });
            Failure::usage(which, "list them with: farmer status")
        })
    }

    /// The build with all files that it has kept.
    pub(crate) async fn with_all_files(&self, row: BuildRow) -> Result<BuildRow, Failure> {
        let events = &**self.store.events();
        row.with_all_files(events).await.map_err(|e| failure(&e))
    }

    async fn by_id(&self, id: &str) -> Result<Option<BuildRow>, Failure> {
        let id = BuildId::new(id).map_err(|_| {
            Failure::usage(
                format!("{id:?} is not a build: they look like B0123456789"),
                "list them with: farmer status",
            )
        })?;
        self.store
            .records()
            .build(&id)
            .await
            .map_err(|e| failure(&e))
    }

    /// Every build that has not finished, oldest first.
    pub(crate) async fn open_builds(&self) -> Result<Vec<BuildRow>, Failure> {
        self.store.records().open().await.map_err(|e| failure(&e))
    }

    /// The newest builds, newest first.
    pub(crate) async fn newest(&self, limit: usize) -> Result<Vec<BuildRow>, Failure> {
        if limit == 0 {
            return Err(Failure::silent(Exit::Usage));
        }
        let page = self
            .store
            .records()
            .builds(&BuildFilter::default(), None, limit)
            .await
            .map_err(|e| failure(&e))?;
        Ok(page.builds)
    }
}
