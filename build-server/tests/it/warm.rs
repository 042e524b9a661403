//! Warm starts: what they save, and that no verdict is another one for it.

use std::path::Path;

use build_core::event::{BuildEvent, Start};
use build_core::recipe::Detect;
use build_core::work::{COLD_LABEL, Trust, WorkItem};
use build_server::store::Store;

use crate::farm::{Built, FakePool, Farm, Repository, told, whole};

const STEPS: &str = "warm = ['out']\n[[step]]\nname = 'make'\nrun = 'make test'\n";

const MAKEFILE: &str = "\
CC ?= cc
OBJS = $(patsubst %.c,out/%.o,$(wildcard *.c))
test: out/app
\tout/app
out/app: $(OBJS)
\t$(CC) -o $@ $(OBJS)
out/%.o: %.c
\t@mkdir -p out
\techo compiling $<
\t$(CC) -Ifirst -Isecond -c -o $@ $<
";

const MAIN: &str =
    "#include \"limit.h\"\nint part(void);\nint main(void) { return part() > LIMIT; }\n";

/// A project in C whose test passes; nothing tells make of its headers.
fn project() -> Repository {
    let project = Repository::new();
    project.write(".farmer.toml", STEPS);
    project.write("Makefile", MAKEFILE);
    project.write("main.c", MAIN);
    project.write("part.c", "int part(void) { return 1; }\n");
    project.write("second/limit.h", "#define LIMIT 1\n");
    project.write("check.sh", "exit 0\n");
    project.commit("first");
    project
}

const BAD_PART: &str = "int part(void) { return 2; }\n";

fn start_of(built: &Built) -> Start {
    let mut starts = built.events.iter().filter_map(|event| match told(event) {
        BuildEvent::Prepared { start, .. } => start,
        _ => None,
    });
    starts.next_back().expect("it says how it began")
}

fn why_cold(built: &Built) -> String {
    match start_of(built) {
        Start::Cold { why } => why,
        other => panic!("{other}"),
    }
}

fn is_warm(built: &Built) -> bool {
    matches!(start_of(built), Start::Warm { .. })
}

fn farm(pool: &FakePool) -> Farm {
    Farm::start(pool, Store::memory(), Detect)
}

async fn build_with(
    farm: &Farm,
    project: &Repository,
    change: impl FnOnce(&mut WorkItem),
) -> Built {
    let item = farm.checkouts.resolve(&project.origin(), None).await;
    let mut item = item.unwrap();
    change(&mut item);
    let id = farm
        .handle
        .submit_anew(item, &farm.builder(), "me")
        .await
        .unwrap();
    farm.built(&id).await
}

#[tokio::test]
async fn one_changed_file_is_all_that_is_made_again() {
    let (pool, project) = (FakePool::new(1), project());
    let farm = farm(&pool);
    let first = farm.build(&project).await;
    assert!(first.passed(), "{:#?}", first.events);
    assert_eq!(
        why_cold(&first),
        "no build of an earlier commit has left anything here"
    );
    let made = async |built: &Built| {
        let log = farm.log(&built.id, &whole("make")).await;
        let made = log
            .lines()
            .filter_map(|line| line.strip_prefix("compiling "));
        made.map(str::to_owned).collect::<Vec<_>>()
    };
    project.write("part.c", "int part(void) { return 0; }\n");
    project.commit("second");
    let second = farm.build(&project).await;
    assert!(second.passed() && is_warm(&second), "{:#?}", second.events);
    assert_eq!(made(&second).await, ["part.c"]);
    let row = farm.handle.records().build(&second.id).await.unwrap();
    let shown = row.unwrap().start.unwrap().to_string();
    let of_first = format!("began warm, with out of build {}, ", first.id);
    assert!(shown.starts_with(&of_first), "{shown}");

    // The same commit again: nothing is made, unless that is asked for.
    let again = build_with(&farm, &project, |_| ()).await;
    assert!(again.passed() && is_warm(&again));
    assert!(made(&again).await.is_empty());
    let cold = build_with(&farm, &project, |item| {
        item.labels.insert(COLD_LABEL.to_owned());
    });
    let cold = cold.await;
    assert_eq!(why_cold(&cold), "it was asked for");
    assert_eq!(made(&cold).await.len(), 2);
    // Nothing is shared with changes from outside.
    let outside = build_with(&farm, &project, |item| item.trust = Trust::Untrusted).await;
    assert_eq!(why_cold(&outside), "it is a change from outside");
    farm.stop().await;
}

/// What a commit changes so that a build from nothing fails, and how it is built all the same.
type Case = (&'static str, fn(&Repository), &'static str);

/// Builds a project that passes, then one that must not: from whatever the first one has left.
async fn never_passes(cases: &[Case]) {
    let pool = FakePool::new(1);
    let farm = farm(&pool);
    for (name, change, why) in cases {
        let project = project();
        let first = farm.build(&project).await;
        assert!(first.passed(), "{name}: {:#?}", first.events);
        change(&project);
        project.commit("change");
        let second = farm.build(&project).await;
        assert!(!second.passed(), "{name}");
        match start_of(&second) {
            Start::Warm { .. } => assert_eq!(*why, "", "{name}"),
            Start::Cold { why: said } => {
                assert!(said.contains(why) && !why.is_empty(), "{name}: {said}");
            }
            other => panic!("{name}: {other}"),
        }
    }
    farm.stop().await;
}

#[tokio::test]
async fn no_verdict_passes_for_what_sources_have_become() {
    never_passes(&[
        (
            "a source is another one",
            |p| p.write("part.c", BAD_PART),
            "",
        ),
        (
            "a file is gone",
            |p| drop(p.git(&["rm", "--quiet", "part.c"])),
            "part.c was removed",
        ),
        (
            "a header is another one",
            |p| p.write("second/limit.h", "#define LIMIT 0\n"),
            "second/limit.h has changed",
        ),
        (
            "a header comes first in the search path",
            |p| p.write("first/limit.h", "#define LIMIT 0\n"),
            "first/limit.h was added",
        ),
        (
            "a file has another name",
            |p| drop(p.git(&["mv", "second/limit.h", "second/limits.h"])),
            "second/limit",
        ),
    ])
    .await;
}

#[tokio::test]
async fn no_verdict_passes_for_what_rules_have_become() {
    never_passes(&[
        (
            "flags are others",
            |p| p.write("Makefile", &MAKEFILE.replace("-Isecond", "-Inone")),
            "Makefile has changed",
        ),
        (
            "the command is another one",
            |p| {
                p.write(
                    ".farmer.toml",
                    &STEPS.replace("make test", "make test CC=false"),
                );
            },
            "are others than those of build",
        ),
        (
            "a script is another one",
            |p| {
                let steps = STEPS.replace("make test", "make test && sh check.sh");
                p.write(".farmer.toml", &steps);
                p.write("check.sh", "exit 1\n");
            },
            "are others than those of build",
        ),
        (
            "a source is included by another one",
            |p| {
                p.write("part.c", "#define LIMITS 0\n");
                p.write(
                    "main.c",
                    "#include \"part.c\"\nint main(void) { return 1; }\n",
                );
            },
            "main.c includes it",
        ),
    ])
    .await;
}

/// Whether a tool that a Makefile calls does its work.
fn write_tool(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[tokio::test]
async fn no_verdict_passes_for_another_past() {
    let (pool, project) = (FakePool::new(1), project());
    let farm = farm(&pool);
    let tools = tempfile::tempdir().unwrap();
    let (compiler, skip) = (tools.path().join("cc"), tools.path().join("skip"));
    write_tool(&compiler, "#!/bin/sh\nexec cc \"$@\"\n");
    let run = format!(
        "test -e {} || make test CC={}",
        skip.display(),
        compiler.display()
    );
    project.write(".farmer.toml", &STEPS.replace("make test", &run));
    project.commit("another compiler");
    assert!(farm.build(&project).await.passed());

    // A file was changed while nothing was made of it.
    std::fs::write(&skip, "").unwrap();
    project.write("part.c", BAD_PART);
    project.commit("bad");
    let skipped = farm.build(&project).await;
    assert!(skipped.passed() && is_warm(&skipped));
    std::fs::remove_file(&skip).unwrap();
    let after = build_with(&farm, &project, |_| ()).await;
    assert!(is_warm(&after) && !after.passed(), "{:#?}", after.events);

    // The good file comes back, then the bad one: each is older than what was made of the other.
    project.write("part.c", "int part(void) { return 0; }\n");
    project.commit("good");
    assert!(farm.build(&project).await.passed());
    project.git(&["checkout", "--quiet", "HEAD~1", "--", "part.c"]);
    project.commit("bad again");
    let older = farm.build(&project).await;
    assert!(is_warm(&older) && !older.passed());

    // Another branch, from before the good one.
    project.git(&["checkout", "--quiet", "-b", "side", "HEAD~2"]);
    project.write("other.c", "int other;\n");
    project.commit("side");
    let side = farm.build(&project).await;
    assert!(!side.passed());

    // Another compiler at the same place.
    project.git(&["checkout", "--quiet", "main"]);
    project.write("part.c", "int part(void) { return 0; }\n");
    project.commit("good again");
    assert!(farm.build(&project).await.passed());
    write_tool(&compiler, "#!/bin/sh\nexit 1\n");
    pool.set_tools("others");
    let other = build_with(&farm, &project, |_| ()).await;
    assert!(!other.passed());
    assert!(why_cold(&other).contains("the tools of the machine"));
    farm.stop().await;
}
