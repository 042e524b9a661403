//! What the pages cost with a long past: 100,000 commits on 100 builders, all recorded, and
//! 5,000 builds that wait.
//!
//! `cargo bench -p build-server --features sqlite,web --bench dashboard -- [COMMITS]` prints one
//! JSON line for each page: milliseconds from the request to the whole page, and its size.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use build_core::clock::Timestamp;
use build_core::event::{Batch, BuildEvent, NewEvent, Outcome, Principal, Version};
use build_core::ids::{BuildId, BuilderName, CommitHash, HostType, RepoName};
use build_core::recipe::Detect;
use build_core::work::{Builder, Class, WorkItem};
use build_server::coordinator::Coordinator;
use build_server::pool::LocalPool;
use build_server::store::Store;
use build_server::web::{Site, TokenFile, service};
use sqlx::{Connection, Executor, SqliteConnection};
use tower::ServiceExt;

const BUILDERS: u64 = 100;
/// Builds that wait while the pages are asked for.
const WAITING: u64 = 5_000;
const REQUESTS: u64 = 500;
const MAX_BYTES: usize = 60_000;

#[tokio::main]
async fn main() -> Result<()> {
    let mut numbers = std::env::args().filter_map(|arg| arg.parse().ok());
    let commits: u64 = numbers.next().unwrap_or(100_000);
    let dir = tempfile::tempdir()?;
    // Made and closed again: the tables are there.
    drop(Store::open(dir.path()).await?);
    let begun = Instant::now();
    record(dir.path(), commits).await?;
    let rows = commits * BUILDERS;
    eprintln!(
        "{rows} results recorded in {:.0} s",
        begun.elapsed().as_secs_f64()
    );
    let begun = Instant::now();
    let store = Store::open(dir.path()).await?;
    eprintln!("opened in {:.1} ms", begun.elapsed().as_secs_f64() * 1e3);
    fill_the_queue(&store).await?;
    let router = site(store)?;
    let newest = |_| "/".to_owned();
    measure(&router, "newest", newest).await?;
    for (name, path) in [
        ("build", "/builds/B000000001"),
        ("queue", "/queue"),
        ("machines", "/machines"),
        ("tests", "/tests?repo=bench&builder=builder-001"),
    ] {
        measure(&router, name, |_| path.to_owned()).await?;
    }
    // Anywhere in the past: no page is nearer than another.
    let anywhere = |n: u64| {
        let commit = n.wrapping_mul(0x9e37_79b9) % commits + 1;
        format!(
            "/?repo=bench&branch=main&before={}.{commit}",
            commit * 60_000_000
        )
    };
    measure(&router, "anywhere", anywhere).await
}

/// A build that has passed, and builds that wait: as many as a night of commits leaves.
async fn fill_the_queue(store: &Store) -> Result<()> {
    let at = Timestamp::from_seconds(1_600_000_000);
    let queued = |n: u64| -> Result<NewEvent> {
        let item = WorkItem {
            subject: format!("tree: let branch number {n} wait"),
            ..item(n)?
        };
        let builder = BuilderName::new(format!("builder-{:03}", n % BUILDERS + 1))?;
        let (build, event) = (BuildId::from_bits(n), BuildEvent::Queued { item, builder });
        Ok(NewEvent::new(build, at, Principal::farm(), &event)?)
    };
    let mut events = (1..=WAITING).map(queued).collect::<Result<Vec<_>>>()?;
    let outcome = Outcome::Passed;
    let finished = BuildEvent::Finished { outcome };
    let first = BuildId::from_bits(1);
    events.push(NewEvent::new(&first, at, Principal::farm(), &finished)?);
    let expects = (1..=WAITING).map(|n| (BuildId::from_bits(n).into(), Version(0)));
    let batch = Batch {
        expects: expects.collect(),
        events,
        closes: vec![first.into()],
        ..Batch::default()
    };
    store.ledger().append(batch).await?;
    Ok(())
}

fn item(n: u64) -> Result<WorkItem> {
    Ok(WorkItem {
        repo: RepoName::new("bench")?,
        origin: "/bench".into(),
        commit: CommitHash::new(format!("{:040x}", n + (1 << 40)))?,
        commit_time: Timestamp::default(),
        subject: String::new(),
        branch: Some("main".into()),
        tag: None,
        order: None,
        change: None,
        author: Some("Ada <ada@example.org>".into()),
        class: Class::Backfill,
        labels: BTreeSet::new(),
        worktree: false,
        rerun_of: None,
        repo_id: None,
        host: None,
        patch_set: None,
        trust: Default::default(),
        rest: Default::default(),
    })
}

/// The rows as the store keeps them; appending ten million builds would take an hour.
async fn record(dir: &std::path::Path, commits: u64) -> Result<()> {
    let path = dir.join("farmer.db");
    let url = format!("sqlite:{}", path.display());
    let mut db = SqliteConnection::connect(&url).await?;
    db.execute("CREATE TEMP TABLE n (i INTEGER PRIMARY KEY)")
        .await?;
    sqlx::query(
        "WITH RECURSIVE count(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM count WHERE i < ?)
         INSERT INTO n SELECT i FROM count",
    )
    .bind(i64::try_from(commits)?)
    .execute(&mut db)
    .await?;
    for sql in [
        "INSERT INTO branch VALUES ('bench', 'main', 0)",
        "INSERT INTO line SELECT i, 'bench', 'main', printf('%040x', i), i * 60000000,
           json_object('hash', printf('%040x', i), 'subject', 'tree: grow branch number ' || i,
             'branch', 'main', 'author', 'Ada <ada@example.org>', 'time', i * 60000000) FROM n",
        "INSERT INTO cell SELECT n.i, printf('builder-%03d', b.i), n.i * 100 + b.i,
           json_object('builder', printf('builder-%03d', b.i), 'build', printf('B%09x', n.i * 100 + b.i),
             'state', CASE (n.i * 7 + b.i) % 11 WHEN 0 THEN 'failed' ELSE 'passed' END,
             'started', n.i * 60000000 + 1, 'finished', n.i * 60000000 + 95000000)
         FROM n CROSS JOIN n AS b WHERE b.i <= 100",
    ] {
        db.execute(sql).await?;
    }
    Ok(())
}

fn site(store: Store) -> Result<Router> {
    let mut farm = Coordinator::builder()
        .pool(LocalPool::new("/bin/false", 1))
        .recipe(Detect)
        .store(store.clone());
    for n in 1..=BUILDERS {
        farm = farm.build_on(Builder {
            name: BuilderName::new(format!("builder-{n:03}"))?,
            host_type: HostType::new("local")?,
            labels: BTreeSet::new(),
            env: BTreeMap::new(),
        });
    }
    let token = TokenFile::open(store.dir()?)?;
    // The coordinator itself ends here: this measures pages and records alone.
    let handle = farm.build()?.handle();
    Ok(service(Site::new(handle, store, token)))
}

async fn measure(router: &Router, name: &str, path: impl Fn(u64) -> String) -> Result<()> {
    let (mut samples, mut largest) = (Vec::new(), 0);
    for n in 0..REQUESTS {
        let request = Request::get(path(n)).header("host", "localhost:8119");
        let begun = Instant::now();
        let response = router.clone().oneshot(request.body(Body::empty())?).await?;
        let status = response.status();
        let body = to_bytes(response.into_body(), 16 << 20).await?;
        samples.push(begun.elapsed());
        ensure!(
            status == StatusCode::OK,
            "{status}: {}",
            String::from_utf8_lossy(&body)
        );
        largest = largest.max(body.len());
    }
    ensure!(largest <= MAX_BYTES, "a page of {largest} bytes");
    samples.sort();
    let at = |part: usize| samples.get(samples.len() * part / 100).copied();
    let ms = |time: Duration| (time.as_secs_f64() * 1e5).round() / 100.0;
    let line = serde_json::json!({
        "bench": format!("dashboard {name}"), "unit": "ms", "requests": samples.len(),
        "p50": ms(at(50).context("no sample")?), "p99": ms(at(99).context("no sample")?),
        "max": samples.last().copied().map(ms), "largest_page_bytes": largest,
    });
    println!("{line}");
    Ok(())
}
