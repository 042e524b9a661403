//! Caches of directories: that no verdict is another one for what an earlier build has left.

use build_core::recipe::Detect;
use build_server::store::Store;

use crate::farm::{Built, FakePool, Farm, Repository, whole};

const STEPS: &str = "[[step]]\nname = 'make'\ncache = ['out']\nrun = 'sh before.sh && make test'\n";

/// Passes when what was made of the input is good.
const MAKEFILE: &str = "\
test: out/result
\tgrep -qx good out/result
out/result: input
\tmkdir -p out
\tcat input >out/result
";

/// A project whose test passes; `before.sh` is what happens before its test.
fn project(input: &str, before: &str) -> Repository {
    let project = Repository::new();
    project.write(".farmer.toml", STEPS);
    project.write("Makefile", MAKEFILE);
    change(&project, input, before);
    project
}

fn change(project: &Repository, input: &str, before: &str) {
    project.write("input", input);
    project.write("before.sh", before);
    project.commit("a change");
}

async fn warm(farm: &Farm, project: &Repository) -> Built {
    let built = farm.build(project).await;
    assert_eq!(built.cache_hits(), ["out"], "{:#?}", built.events);
    built
}

#[tokio::test]
async fn no_verdict_passes_for_what_a_build_has_not_made() {
    let pool = FakePool::new(1);
    let farm = Farm::start(&pool, Store::memory(), Detect);
    let project = project("good\n", "");
    assert!(farm.build(&project).await.passed());

    // A build makes nothing of a file that is another one.
    project.write(".farmer.toml", &STEPS.replace("&&", "||"));
    change(&project, "bad\n", "");
    assert!(warm(&farm, &project).await.passed());
    // The next ones do, also one that changes nothing.
    project.write(".farmer.toml", STEPS);
    project.commit("test again");
    assert!(!warm(&farm, &project).await.passed());
    project.write("other", "");
    project.commit("another file");
    assert!(!warm(&farm, &project).await.passed());
    // What comes back is older than what was made of the other one.
    change(&project, "good\n", "");
    assert!(warm(&farm, &project).await.passed());
    farm.stop().await;
}

#[tokio::test]
async fn no_verdict_passes_for_what_was_made_of_another_content() {
    let pool = FakePool::new(1);
    let farm = Farm::start(&pool, Store::memory(), Detect);
    // A build that mends its own source makes good things of a bad one.
    let mends = project("bad\n", "echo good >input; echo more >beside\n");
    assert!(farm.build(&mends).await.passed());
    change(&mends, "bad\n", "");
    let built = warm(&farm, &mends).await;
    assert!(!built.passed(), "{:#?}", built.events);

    // The same object of git becomes another file.
    let attributes = project("good\n", "");
    assert!(farm.build(&attributes).await.passed());
    attributes.write(".gitattributes", "input eol=crlf\n");
    attributes.commit("other ends of lines");
    let built = warm(&farm, &attributes).await;
    let log = farm.log(&built.id, &whole("make")).await;
    assert!(!built.passed(), "{log}");
    farm.stop().await;
}
