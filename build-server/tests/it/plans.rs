//! What plans ask for: commands without a shell, several inputs, snapshots.

use build_core::buildlet::ExecOutcome;
use build_core::event::Outcome;
use build_core::name::Name;
use build_core::plan::CommandLine;
use build_server::store::Store;

use crate::farm::{FakePool, Farm, Repository, Steps, step, whole};

/// What a machine of Windows does not have.
const OF_UNIX: [&str; 5] = ["/bin/sh", "sh", "bash", "find", "xargs"];

fn without_a_shell(count: usize) -> FakePool {
    OF_UNIX.iter().fold(FakePool::new(count), |pool, program| {
        pool.scripted(program, |_| {
            let text = "The system cannot find the file specified.";
            (Vec::new(), ExecOutcome::NotStarted(text.into()))
        })
    })
}

fn words(words: &[&str]) -> CommandLine {
    CommandLine::Argv(words.iter().map(|word| (*word).to_owned()).collect())
}

#[tokio::test]
async fn a_machine_without_a_shell_builds_keeps_and_caches() {
    let repository = Repository::with_file("a/in.txt", "hello\n");
    repository.write("Makefile", "");
    repository.commit("second");
    let mut make = step("make", "");
    make.run = words(&["cp", "--preserve=timestamps", "a/in.txt", "out/kept file"]);
    make.artifacts = vec!["out/*".into()];
    make.cache = vec!["out".into()];
    make.tools = vec!["cp".into()];
    let mut dir = step("dir", "");
    dir.run = words(&["mkdir", "-p", "out"]);
    let make = make.needing(&dir.name);
    let mut literal = step("literal", "");
    literal.run = words(&["printf", "%s", "$HOME; *"]);
    let literal = literal.needing(&make.name);
    let mut newer = step("newer", "");
    // Of the cached build the source is older than what was made of it, unless it has changed.
    newer.run = words(&["test", "!", "a/in.txt", "-nt", "out/kept file"]);
    let newer = newer.needing(&literal.name);
    let pool = without_a_shell(1).scripted("where", |_| (Vec::new(), ExecOutcome::Ok));
    let farm = Farm::start(
        &pool,
        Store::memory(),
        Steps(vec![dir, make, literal, newer]),
    );
    let built = farm.build(&repository).await;
    assert!(built.passed(), "{:#?}", built.events);
    assert_eq!(farm.log(&built.id, &whole("literal")).await, "$HOME; *");
    let row = farm
        .handle
        .records()
        .build(&built.id)
        .await
        .unwrap()
        .unwrap();
    let kept = &row.kept[0].artifacts;
    let kept: Vec<_> = kept.iter().map(|a| (a.path.as_str(), a.size)).collect();
    assert_eq!(kept, [(Some("out/kept file"), 6)]);

    repository.write("b.txt", "more");
    repository.commit("third");
    let again = farm.build(&repository).await;
    assert!(again.passed(), "{:#?}", again.events);
    assert_eq!(again.cache_hits(), ["out"]);
    farm.stop().await;
}

#[tokio::test]
async fn a_line_for_a_shell_that_is_not_there_is_a_fault_of_the_configuration() {
    let repository = Repository::with_file("a", "");
    let pool = without_a_shell(1);
    let farm = Farm::start(&pool, Store::memory(), Steps(vec![step("a", "exit 0")]));
    let built = farm.build(&repository).await;
    let Outcome::Misconfigured { text, .. } = built.outcome() else {
        panic!("{:?}", built.outcome());
    };
    assert!(text.contains("the shell /bin/sh: not found"), "{text}");
    farm.stop().await;
}

#[tokio::test]
async fn names_of_files_and_branches_are_bytes() {
    let repository = Repository::with_file("a", "");
    let mut make = step(
        "make",
        "mkdir -p out; for name in 'caf\\351' 'two\\nlines' 'tab\\t' plain; do \
         printf %s \"$name\" >\"out/$(printf \"$name\")\"; done; printf %s \"$FARMER_BRANCH\" | od -An -tx1",
    );
    make.artifacts = vec!["out/*".into()];
    let farm = Farm::start(&FakePool::new(1), Store::memory(), Steps(vec![make]));
    let item = farm.checkouts.resolve(&repository.origin(), None).await;
    let mut item = item.unwrap();
    item.branch = Some(b"caf\xe9"[..].into());
    let id = farm.handle.submit(item, &farm.builder()).await.unwrap();
    let built = farm.built(&id).await;
    assert!(built.passed(), "{:#?}", built.events);
    let log = farm.log(&id, &whole("make")).await;
    assert_eq!(log.trim(), "63 61 66 e9");
    let row = farm.handle.records().build(&id).await.unwrap().unwrap();
    let kept = row.kept[0].artifacts.iter().map(|file| file.path.clone());
    let kept: Vec<Name> = kept.collect();
    let names = [
        &b"out/caf\xe9"[..],
        b"out/plain",
        b"out/tab\t",
        b"out/two\nlines",
    ];
    assert_eq!(kept, names.map(Name::from));
    farm.stop().await;
}
