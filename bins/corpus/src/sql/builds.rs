//! The builds of a farm as a table: read from its records, whatever these are kept in.

use std::path::Path;

use build_server::record::BuildRow;
use build_server::store::{BuildFilter, Store};
use farmer_cli::{Exit, Failure};
use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection as _, QueryBuilder, Sqlite};

use super::broken;
use super::question::BUILDS;

/// Builds read at a time.
const PAGE: usize = 2_000;

/// Whether something was ever built by the farm of a data directory.
pub(crate) fn are_in(data: &Path) -> bool {
    Store::is_in(data)
}

/// Adds the builds of a data directory as the table `builds`, for this connection alone.
pub(crate) async fn add_builds(db: &mut SqliteConnection, data: &Path) -> Result<(), Failure> {
    if !are_in(data) {
        return Err(Failure::usage(
            format!("there are no build records at {}", data.display()),
            "name a data directory in which something was built",
        ));
    }
    let failed = |e: build_core::Error| {
        let exit = match e.kind() {
            build_core::ErrorKind::Unsupported | build_core::ErrorKind::Invalid => Exit::Usage,
            _ => Exit::Infrastructure,
        };
        Failure::because(exit, &e, e.hint())
    };
    let store = Store::open_to_read(data).await.map_err(failed)?;
    let columns = BUILDS.columns.iter();
    let columns: Vec<_> = columns
        .map(|(name, kind)| format!("{name} {kind}"))
        .collect();
    let create = format!("CREATE TEMP TABLE builds({})", columns.join(", "));
    super::row_file::run(db, create).await?;
    let mut filling = db.begin().await.map_err(|e| broken(&e))?;
    let (every, mut before) = (BuildFilter::default(), None);
    loop {
        let page = store.records().builds(&every, before, PAGE);
        let page = page.await.map_err(failed)?;
        insert(&mut filling, &page.builds).await?;
        before = page.next;
        if before.is_none() {
            break;
        }
    }
    filling.commit().await.map_err(|e| broken(&e))
}

async fn insert(db: &mut SqliteConnection, rows: &[BuildRow]) -> Result<(), Failure> {
    if rows.is_empty() {
        return Ok(());
    }
    let mut insert = QueryBuilder::<Sqlite>::new("INSERT INTO builds ");
    insert.push_values(rows, |mut values, row| {
        let item = &row.item;
        let seconds = |at: Option<build_core::clock::Timestamp>| {
            at.map(build_core::clock::Timestamp::as_seconds)
        };
        values
            .push_bind(row.id.as_str())
            .push_bind(row.state.as_str())
            .push_bind(item.repo.as_str())
            .push_bind(
                item.branch
                    .as_ref()
                    .map(|branch| branch.escaped().into_owned()),
            )
            .push_bind(row.builder.as_str())
            .push_bind(item.commit.as_str())
            .push_bind(row.is_open())
            .push_bind(i64::try_from(row.number.0).unwrap_or(i64::MAX))
            .push_bind(row.queued.as_seconds())
            .push_bind(seconds(row.started))
            .push_bind(seconds(row.finished));
    });
    insert.build().execute(db).await.map_err(|e| broken(&e))?;
    Ok(())
}
