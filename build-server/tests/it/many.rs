//! Many commits, refs and repositories at once; `.ci/run soak "many at once"` takes more of each.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use build_server::coordinator::CoordinatorBuilder;
use build_server::source::GitSource;
use build_server::store::{BuildFilter, Store};

use crate::farm::{FakePool, Farm, Repository, Steps, step, whole};

/// How many: what the environment says, else few enough for a check of every commit.
fn how_many(variable: &str, few: usize) -> usize {
    let told = std::env::var(variable).ok();
    told.map_or(few, |text| text.parse().unwrap())
}

async fn passed(farm: &Farm) -> BTreeSet<(String, String)> {
    let all = BuildFilter::default();
    let page = farm.handle.records().builds(&all, None, 10_000).await;
    let ended = page.unwrap().builds.into_iter();
    let ended = ended.filter(|row| row.outcome.is_some());
    ended
        .map(|row| (row.item.origin, row.item.commit.to_string()))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_that_are_pushed_at_once_are_built_each() {
    let many = how_many("FARMER_PUSHED", 25);
    let repository = Repository::with_file("a", "");
    let steps = Steps(vec![step("ok", "true")]);
    let source = GitSource::watch(repository.origin());
    let pool = FakePool::new(4);
    let farm = Farm::start_with(&pool, Store::memory(), steps, |b| b.source(source));
    farm.until_finished(1).await;
    // They come by one change of the branch, as by one push.
    let tree = repository.git(&["rev-parse", "HEAD^{tree}"]);
    let mut commits = vec![repository.git(&["rev-parse", "HEAD"])];
    for n in 0..many {
        let last = commits.last().cloned().unwrap_or_default();
        let number = format!("number {n}");
        commits.push(repository.git(&["commit-tree", &tree, "-p", &last, "-m", &number]));
    }
    repository.git(&["update-ref", "refs/heads/main", commits.last().unwrap()]);
    let begun = std::time::Instant::now();
    farm.until_finished(many + 1).await;
    eprintln!(
        "{many} commits of one push: all built in {:.1?}",
        begun.elapsed()
    );
    let origin = repository.origin();
    let expected = commits.into_iter().map(|commit| (origin.clone(), commit));
    assert_eq!(passed(&farm).await, expected.collect());
    farm.stop().await;
}

/// Adds refs as git writes them when they are packed; half of them are annotated tags.
fn add_refs(repository: &Repository, count: usize) {
    let commit = repository.git(&["rev-parse", "HEAD"]);
    repository.git(&["tag", "-a", "-m", "x", "annotated"]);
    let tag = repository.git(&["rev-parse", "annotated"]);
    repository.git(&["tag", "-d", "annotated"]);
    let mut text = String::from("# pack-refs with: peeled fully-peeled sorted \n");
    for n in 0..count / 2 {
        writeln!(text, "{commit} refs/heads/topic/{n:06}").unwrap();
    }
    for n in 0..count / 2 {
        match n % 2 {
            0 => writeln!(text, "{tag} refs/tags/v{n:06}\n^{commit}").unwrap(),
            _ => writeln!(text, "{commit} refs/tags/v{n:06}").unwrap(),
        }
    }
    std::fs::write(repository.path().join(".git/packed-refs"), text).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_branches_and_tags_cost_a_build_nothing_and_wake_nobody() {
    let many = how_many("FARMER_REFS", 2000);
    let repository = Repository::with_file("a", "");
    add_refs(&repository, many);
    let run = "git tag | wc -l; find .git/refs -type f | wc -l";
    let steps = Steps(vec![step("look", run)]);
    let source = GitSource::watch(repository.origin());
    let farm = Farm::start_with(&FakePool::new(1), Store::memory(), steps, |b| {
        b.source(source)
    });
    let begun = std::time::Instant::now();
    farm.until_finished(1).await;
    eprintln!("{many} refs: the first build took {:.1?}", begun.elapsed());
    let all = BuildFilter::default();
    let page = farm.handle.records().builds(&all, None, 9).await.unwrap();
    let log = farm.log(&page.builds[0].id, &whole("look")).await;
    let said: Vec<_> = log.lines().map(str::trim).collect();
    // All tags are there, and in one file.
    assert_eq!(said[0], (many / 2).to_string(), "{log}");
    assert_eq!(said[1], "0", "{log}");
    let before = spent();
    tokio::time::sleep(Duration::from_millis(how_many("FARMER_IDLE_MS", 100) as u64)).await;
    eprintln!(
        "{many} refs: {:?} of processor time while idle",
        spent() - before
    );
    farm.stop().await;
}

/// Processor time of this process and of those that it has waited for.
fn spent() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after = stat.rsplit(')').next().unwrap_or_default();
    // utime, stime, cutime, cstime: fields 14 to 17 of all, in hundredths.
    let fields = after.split_whitespace().skip(11).take(4);
    let ticks: u64 = fields.filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(10 * ticks)
}

#[tokio::test(flavor = "multi_thread")]
async fn many_repositories_are_watched_by_one_farm() {
    let many = how_many("FARMER_REPOSITORIES", 12);
    let all: Vec<_> = (0..many).map(|_| Repository::with_file("a", "")).collect();
    let steps = Steps(vec![step("ok", "true")]);
    let begun = std::time::Instant::now();
    let farm = Farm::start_with(&FakePool::new(4), Store::memory(), steps, |builder| {
        let sources = all.iter().map(Repository::origin);
        let sources = sources.map(GitSource::watch);
        sources.fold(builder, CoordinatorBuilder::source)
    });
    // Pages are answered while everything begins.
    let mut slowest = Duration::ZERO;
    for _ in 0..20 {
        let asked = std::time::Instant::now();
        farm.handle.status().await.unwrap();
        slowest = slowest.max(asked.elapsed());
    }
    farm.until_finished(many).await;
    eprintln!(
        "{many} repositories: all built in {:.1?}, the slowest of 20 answers took {slowest:.1?}",
        begun.elapsed()
    );
    let expected = all.iter().map(|repository| {
        let commit = repository.git(&["rev-parse", "HEAD"]);
        (repository.origin(), commit)
    });
    assert_eq!(passed(&farm).await, expected.collect());
    farm.stop().await;
}
