//! What a step asks for beside its command: reports that are read, toolchains, the page of its build.

use async_trait::async_trait;
use build_core::event::Outcome;
use build_core::plan::Step;
use build_core::{Error, ErrorKind, Result};
use build_server::coordinator::CoordinatorBuilder;
use build_server::record::BuildRow;
use build_server::store::Store;
use build_server::toolchains::{Portable, Provided, Toolchains};
use futures::TryStreamExt;

use crate::farm::{FakePool, Farm, Repository, Steps, step, whole};

async fn build(
    repository: &Repository,
    step: Step,
    more: impl FnOnce(CoordinatorBuilder) -> CoordinatorBuilder,
) -> (BuildRow, String) {
    build_on(FakePool::new(1), repository, step, more).await
}

async fn build_on(
    pool: FakePool,
    repository: &Repository,
    step: Step,
    more: impl FnOnce(CoordinatorBuilder) -> CoordinatorBuilder,
) -> (BuildRow, String) {
    let farm = Farm::start_with(&pool, Store::memory(), Steps(vec![step]), |builder| {
        more(builder.without_reruns())
    });
    let built = farm.build(repository).await;
    let row = farm.handle.records().build(&built.id).await.unwrap();
    let unit = whole("test");
    let log = farm.handle.log(&built.id, &unit, None, 0, false).await;
    let log: Vec<_> = log.unwrap().try_collect().await.unwrap();
    farm.stop().await;
    let log = String::from_utf8(log.concat()).unwrap();
    (row.unwrap(), log)
}

#[tokio::test]
async fn reports_count_instead_of_lines_when_they_are_of_this_run() {
    let repository = Repository::with_file(
        "fixtures/junit.xml",
        "<testsuite><testcase name=\"of somebody else\"><failure/></testcase></testsuite>",
    );
    let report = "<testsuite><testcase classname=\"t.py\" name=\"x[a - b]\" time=\"2.5\"><failure/></testcase>\
                  <testcase classname=\"t.py\" name=\"y\"/></testsuite>";
    let script = format!(
        "echo 'test guessed ... FAILED'; mkdir -p out; echo '{report}' > out/junit.xml; \
         echo '<torn' > out/more.junit.xml; exit 1"
    );
    let mut step = step("test", &script);
    step.reports = vec!["**/junit.xml".into(), "**/*.junit.xml".into()];
    let (row, _) = build(&repository, step, |b| b).await;
    let tested = &row.runs[0].tested;
    assert_eq!(tested.failures, ["t.py::x[a - b]"]);
    assert_eq!((tested.passed, tested.failed), (1, 1));
    assert_eq!(tested.slowest[0].name, "t.py::x[a - b]");
}

#[tokio::test]
async fn without_a_report_lines_are_read() {
    let repository = Repository::with_file("a", "");
    let mut step = step("test", "echo 'test told ... FAILED'; exit 1");
    step.reports = vec!["**/junit.xml".into()];
    let (row, _) = build(&repository, step, |b| b).await;
    assert_eq!(row.runs[0].tested.failures, ["told"]);
}

#[tokio::test]
async fn a_step_is_told_the_page_of_its_build() {
    let repository = Repository::with_file("a", "");
    let step = step("test", "echo \"at $FARMER_URL\"");
    let (row, log) = build(&repository, step, |b| b.address("http://localhost:7")).await;
    assert_eq!(log, format!("at http://localhost:7/builds/{}\n", row.id));
}

/// One toolchain, in a directory.
struct One(std::path::PathBuf);

#[async_trait]
impl Toolchains for One {
    async fn provide(&self, name: &str, version: &str) -> Result<Provided> {
        if (name, version) != ("farmlang", "2.1") {
            let error = Error::new(ErrorKind::NotFound, "no mirror has it");
            return Err(error.with_hint("name a mirror"));
        }
        Ok(Provided {
            path: vec![self.0.to_str().unwrap().to_owned()],
            env: vec!["FARMLANG_ROOT=/there".into()],
        })
    }

    async fn portable(&self, name: &str, version: &str, platform: &str) -> Result<Portable> {
        self.provide(name, version).await?;
        Ok(Portable {
            name: format!("{name}{version}+x"),
            root: self.0.clone(),
            stamp: "1".into(),
            path: vec!["links".into()],
            home: Some("FARMLANG_ROOT".into()),
            env: vec![format!("FARMLANG_FOR={platform}")],
        })
    }
}

fn program(dir: &std::path::Path, version: &str) {
    let file = dir.join("farmlang");
    std::fs::write(&file, format!("#!/bin/sh\necho farmlang {version}\n")).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(file, mode).unwrap();
}

#[tokio::test]
async fn a_step_gets_the_toolchain_that_it_names() {
    let (given, own) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    program(given.path(), "2.1.7");
    program(own.path(), "2.10.0");
    let repository = Repository::with_file("a", "");
    let mut asks = step(
        "test",
        "farmlang; echo $FARMLANG_ROOT; echo ${GOTOOLCHAIN-}",
    );
    asks.tools = vec!["farmlang".into()];
    asks.toolchain.insert("farmlang".into(), "2.1".into());
    let provider = || One(given.path().to_owned());
    let (row, log) = build(&repository, asks.clone(), |b| b.toolchains(provider())).await;
    assert!(row.outcome.unwrap().is_passed(), "{log}");
    assert_eq!(log, "farmlang 2.1.7\n/there\n\n");
    // What the machine has is not got again; 2.10 is another version than 2.1.
    let path = format!("{}:/usr/bin:/bin", own.path().display());
    asks.env.insert("PATH".into(), path);
    asks.toolchain.insert("farmlang".into(), "2.10".into());
    let (row, log) = build(&repository, asks.clone(), |b| b.toolchains(provider())).await;
    assert!(row.outcome.unwrap().is_passed(), "{log}");
    assert_eq!(log, "farmlang 2.10.0\n\nlocal\n");
    // One that nobody has ends the build, and its log says why.
    asks.toolchain.insert("farmlang".into(), "3".into());
    for with in [true, false] {
        let (row, log) = build(&repository, asks.clone(), |b| match with {
            true => b.toolchains(provider()),
            false => b,
        })
        .await;
        let Some(Outcome::Misconfigured { text, hint }) = row.outcome else {
            panic!("{:?}", row.outcome);
        };
        assert!(text.contains("farmlang 3"), "{text}");
        assert!(hint.contains("farmlang 3"), "{hint}");
        let said = if with {
            "no mirror has it; name a mirror"
        } else {
            "gets no toolchains"
        };
        assert!(log.contains(said), "{log}");
    }
}

#[tokio::test]
async fn a_machine_that_keeps_nothing_is_lent_a_toolchain_for_the_build() {
    let given = tempfile::tempdir().unwrap();
    program(given.path(), "2.1.7");
    std::fs::create_dir(given.path().join("links")).unwrap();
    let link = given.path().join("links/farmlang");
    std::os::unix::fs::symlink("../farmlang", link).unwrap();
    let repository = Repository::with_file("a", "");
    let mut asks = step(
        "test",
        "farmlang; echo $FARMLANG_ROOT $FARMLANG_FOR; exit 1",
    );
    asks.toolchain.insert("farmlang".into(), "2.1".into());
    let pool = || FakePool::new(1).elsewhere();
    let provider = || One(given.path().to_owned());
    let (_, log) = build_on(pool(), &repository, asks.clone(), |b| {
        b.toolchains(provider())
    })
    .await;
    let lines: Vec<&str> = log.lines().collect();
    assert!(
        lines[0].starts_with("farmer: farmlang2.1+x: sending it, 0.0 MB, for this build alone")
    );
    assert_eq!(
        lines[1..3],
        ["farmer: toolchains are ready", "farmlang 2.1.7"]
    );
    assert!(
        lines[3].ends_with("/.farmer-toolchains/farmlang2.1+x linux/amd64"),
        "{log}"
    );
    // One that nobody has is said once, and no command begins.
    asks.toolchain.insert("farmlang".into(), "3".into());
    let (row, log) = build_on(pool(), &repository, asks, |b| b.toolchains(provider())).await;
    assert!(matches!(row.outcome, Some(Outcome::Misconfigured { .. })));
    assert_eq!(log, "farmer: farmlang 3: no mirror has it; name a mirror\n");
}

#[cfg(feature = "toolchains")]
#[tokio::test]
async fn toolchains_come_from_a_mirror_once() {
    use build_client::httpdl::HttpOptions;
    use build_client::testing::{Mirror, go_archive};
    use build_client::toolchain::{Platform, Rows, Source};
    use build_server::toolchains::ToolchainCache;

    let home = tempfile::tempdir().unwrap();
    let mirror = Mirror::start().unwrap();
    let platform = Platform::here().to_string().replace('/', "-");
    let archive = go_archive("go1.11.13", 100).unwrap();
    mirror.put_archive(&format!("go1.11.13.{platform}.tar.gz"), archive);
    let mut rows = Rows::default();
    rows.set_mirrors("go", vec![mirror.url().to_owned()])
        .unwrap();
    let client = HttpOptions::default().build().unwrap();
    let cache = ToolchainCache::new(home.path().join("cache"), Source::new(client, rows));
    let repository = Repository::with_file("a", "");
    let mut asks = step("test", "go version; echo $GOTOOLCHAIN");
    asks.toolchain.insert("go".into(), "1.11.13".into());
    for _ in 0..2 {
        let (row, log) = build(&repository, asks.clone(), |b| b.toolchains(cache.clone())).await;
        assert!(row.outcome.unwrap().is_passed(), "{log}");
        assert_eq!(log, "go version go1.11.13\nlocal\n");
        // The second build needs no mirror.
        mirror.remove(&format!("go1.11.13.{platform}.tar.gz"));
    }
    asks.toolchain.insert("go".into(), "1.11.99".into());
    let (row, log) = build(&repository, asks, |b| b.toolchains(cache)).await;
    assert!(matches!(row.outcome, Some(Outcome::Misconfigured { .. })));
    assert!(log.contains("go 1.11.99"), "{log}");
}

#[tokio::test]
async fn thousands_of_names_are_one_command() {
    let repository = Repository::with_file("a", "");
    let mut step = step(
        "test",
        "for name in {tests}; do echo $name; done | wc -l | xargs test 10000 -eq",
    );
    step.tests =
        Some("i=0; while [ $i -lt 20000 ]; do echo tests::number::$i; i=$((i+1)); done".into());
    step.shards = 2;
    let pool = FakePool::new(2);
    let farm = Farm::start(&pool, Store::memory(), Steps(vec![step]));
    let built = farm.build(&repository).await;
    assert!(built.passed(), "{:?}", built.outcome());
    farm.stop().await;
}

#[tokio::test]
async fn more_names_than_the_system_takes_are_run_all() {
    let repository = Repository::with_file("a", "");
    let counts = tempfile::tempdir().unwrap();
    let counted = counts.path().join("counted");
    let run = format!("/bin/echo {{tests}} | wc -w >>{}", counted.display());
    let mut step = step("test", &run);
    let name = "tests::with::a::name::that::is::as::long::as::some::are";
    step.tests = Some(format!("seq -f {name}::%.0f 40000").as_str().into());
    let farm = Farm::start(&FakePool::new(1), Store::memory(), Steps(vec![step]));
    let built = farm.build(&repository).await;
    assert!(built.passed(), "{:?}", built.outcome());
    let counted = std::fs::read_to_string(counted).unwrap();
    let each: Vec<u32> = counted.lines().map(|n| n.trim().parse().unwrap()).collect();
    assert!(each.len() > 1, "they are more than 2 MB: {each:?}");
    assert_eq!(each.iter().sum::<u32>(), 40_000);
    farm.stop().await;
}
