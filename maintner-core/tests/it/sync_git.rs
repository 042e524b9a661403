//! Git remotes and Gerrit projects kept in step, with real repositories as hosts.

use std::path::{Path, PathBuf};

use maintner_core::log::LogWriter;
use maintner_core::query::Project;
use maintner_core::source::{MemoryLog, MutationSink as _};
use maintner_core::sync::gerrit::Gerrit;
use maintner_core::sync::plain::PlainGit;
use maintner_core::sync::remote::{GitMirror, GitRemote as _, Listing};
use maintner_core::sync::{Control, HostReader, Step, SyncError, Writer, sync_once};
use maintner_core::{Corpus, Options, View};

use crate::go_interop::{assert_same, go_dump, go_programs, our_dump, sync};
use crate::made_git::{Git, branches, change, changes};

fn writer() -> (Writer, MemoryLog) {
    let log = MemoryLog::new();
    let corpus = Corpus::load(log.clone(), Options::default().workers(1)).unwrap();
    (Writer::new(log.clone(), corpus), log)
}

fn mirror(git: &Git, home: &Path, name: &str, listing: Listing) -> GitMirror {
    let url = git.repo.to_str().unwrap();
    GitMirror::open(
        url,
        name,
        &home.join("mirrors").join(name),
        listing,
        &Control::new(),
    )
    .unwrap()
}

fn plain(git: &Git, home: &Path) -> PlainGit<GitMirror> {
    PlainGit::new(mirror(git, home, "proj", Listing::Branches))
}

fn gerrit(git: &Git, home: &Path, project: &str) -> Gerrit<GitMirror> {
    Gerrit::new(project, mirror(git, home, "gerrit", Listing::All))
}

fn once(reader: &mut dyn HostReader, writer: &Writer) -> u64 {
    reader.restart(false);
    sync_once(reader, writer, &Control::new()).unwrap()
}

fn refs_of(view: &View, name: &str) -> Vec<(String, String)> {
    let (host, project) = name.split_once('/').unwrap();
    let project: Project<'_> = view.gerrit().project(host, project).unwrap();
    let refs = project.refs();
    refs.map(|r| (r.name().to_owned(), r.hash().to_string()))
        .collect()
}

/// What git says of a repository's branches and tags, tags as their commits.
fn git_refs(git: &Git) -> Vec<(String, String)> {
    let format =
        "--format=%(refname) %(if)%(*objectname)%(then)%(*objectname)%(else)%(objectname)%(end)";
    let listed = git.run(&["for-each-ref", format, "refs/heads", "refs/tags"]);
    let pair = |line: &str| {
        let (name, hash) = line.split_once(' ').unwrap();
        (name.to_owned(), hash.to_owned())
    };
    listed.lines().map(pair).collect()
}

#[test]
fn a_plain_remote_has_its_commits_branches_and_tags() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path();
    let git = Git::init(home, "proj");
    branches(&git);
    // A date that no calendar has, and a tag of a file.
    let raw = format!(
        "tree {}\nparent {}\nauthor A <a@b> 99999999999999999999 +0000\ncommitter C <c@d> soon\n\nodd\n",
        git.run(&["rev-parse", "HEAD^{tree}"]),
        git.run(&["rev-parse", "HEAD"]),
    );
    std::fs::write(home.join("raw"), raw).unwrap();
    let path = home.join("raw");
    let odd = [
        "hash-object",
        "-t",
        "commit",
        "-w",
        "--literally",
        path.to_str().unwrap(),
    ];
    let odd = git.run(&odd);
    std::fs::write(git.repo.join(".git/refs/heads/odd"), format!("{odd}\n")).unwrap();
    git.run(&["tag", "file", "HEAD:README"]);

    let (writer, _) = writer();
    let mut reader = plain(&git, home);
    assert!(once(&mut reader, &writer) > 0);
    let view = writer.view();
    let mut wanted = git_refs(&git);
    wanted.retain(|(name, _)| name != "refs/tags/file");
    assert_eq!(refs_of(&view, "local/proj"), wanted);
    let listed = git.run(&["rev-list", "--branches", "--tags", "odd"]);
    assert_eq!(view.git().commits().count(), listed.lines().count());
    assert!(view.git().commits().all(|commit| commit.is_known()));
    let commit = view.git().commit(odd.parse().unwrap()).unwrap();
    assert_eq!(
        (commit.author().email(), commit.author().time().seconds()),
        ("a@b", 0)
    );
    let since = view
        .git()
        .commit(wanted_hash(&wanted, "refs/heads/master"))
        .unwrap();
    let tag = wanted_hash(&wanted, "refs/tags/v1.0.0");
    assert!(view.git().has_ancestor(since.hash(), tag).unwrap());
    assert_eq!(once(&mut reader, &writer), 0, "in step");
    assert_eq!(
        once(&mut plain(&git, home), &writer),
        0,
        "also from the start"
    );

    // One commit more costs one commit and one ref.
    git.commit("README", b"more\n", "more\n");
    assert_eq!(once(&mut reader, &writer), 2);
    // A rewound branch, a deleted one, and one where a folder of names was.
    git.run(&["reset", "--quiet", "--hard", "HEAD~2"]);
    git.run(&["branch", "--quiet", "-D", "side"]);
    git.run(&["branch", "--quiet", "side/deep"]);
    git.run(&["tag", "--delete", "v1.0.0"]);
    assert_eq!(once(&mut reader, &writer), 1, "refs alone");
    let mut wanted = git_refs(&git);
    wanted.retain(|(name, _)| name != "refs/tags/file");
    assert_eq!(refs_of(&writer.view(), "local/proj"), wanted);
    git.run(&["branch", "--quiet", "-D", "side/deep"]);
    git.run(&["branch", "--quiet", "side"]);
    assert_eq!(once(&mut reader, &writer), 1);
}

fn wanted_hash(refs: &[(String, String)], name: &str) -> maintner_core::GitHash {
    let found = refs.iter().find(|(known, _)| known == name).unwrap();
    found.1.parse().unwrap()
}

#[test]
fn a_repository_here_has_its_branches_and_tags() {
    let dir = tempfile::tempdir().unwrap();
    let git = Git::init(dir.path(), "proj");
    branches(&git);
    let corpus = Corpus::from_git(&git.repo).unwrap();
    let mut refs = refs_of(&corpus.view(), "local/proj");
    assert_eq!(refs.remove(0).0, "HEAD");
    assert_eq!(refs, git_refs(&git));
    git.run(&["branch", "--quiet", "-D", "side"]);
    let change = corpus.update().unwrap().unwrap();
    assert_eq!(change.commits().count(), 0);
    assert_eq!(refs_of(&corpus.view(), "local/proj")[1..], git_refs(&git));
}

#[test]
fn a_remote_that_is_not_there_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let url = dir.path().join("nothing");
    let folder = dir.path().join("mirror");
    let control = Control::new();
    let open = || GitMirror::open(url.to_str().unwrap(), "x", &folder, Listing::All, &control);
    let error = open().unwrap().list().unwrap_err();
    assert!(
        error.to_string().contains("ls-remote") && error.to_string().contains("nothing"),
        "{error}"
    );
    control.stop();
    let mut mirror = GitMirror::open(
        url.to_str().unwrap(),
        "x",
        &dir.path().join("mirror"),
        Listing::All,
        &Control::new(),
    )
    .unwrap();
    assert!(mirror.fetch(&[]).unwrap().is_empty());
    assert!(matches!(open().unwrap_err(), SyncError::Stopped));
}

/// Steps a fresh reader once for each write: as if the program were killed after every one.
fn killed_at_every_step(make: &dyn Fn() -> Box<dyn HostReader>, writer: &Writer) -> usize {
    for lives in 1.. {
        let mut reader = make();
        loop {
            match reader.step(&writer.view()).unwrap() {
                Step::Write(mutations) => {
                    writer.write(&mutations).unwrap();
                    break;
                }
                Step::Done => return lives,
                Step::Again | Step::Wait(_) => {}
            }
        }
    }
    unreachable!("a reader ends")
}

fn dump(writer: &Writer) -> Vec<String> {
    writer.view().canonical_dump().lines().to_vec()
}

#[test]
fn a_gerrit_project_is_what_the_go_program_sees() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path();
    let git = Git::init(home, "proj");
    branches(&git);
    changes(&git);
    git.set("refs/meta/config", &git.run(&["rev-parse", "HEAD"]));
    git.set(
        "refs/changes/05/5/robot-comments",
        &git.run(&["rev-parse", "HEAD"]),
    );

    let (writer, log) = writer();
    let mut reader = gerrit(&git, home, "gerrit.test/proj");
    once(&mut reader, &writer);
    assert_eq!(once(&mut reader, &writer), 0, "in step");
    git.commit("README", b"hello again\n", "later\n");
    git.run(&["branch", "--quiet", "-D", "side"]);
    assert_eq!(once(&mut reader, &writer), 3, "a deletion, a commit, refs");
    let view = writer.view();
    let project = view.gerrit().project("gerrit.test", "proj").unwrap();
    assert_eq!(project.cl(14_700).unwrap().version(), 12);
    assert_eq!(project.cls().count(), 3);

    let (killed, _) = self::writer();
    let make = || Box::new(gerrit(&git, home, "gerrit.test/proj")) as Box<dyn HostReader>;
    let lives = killed_at_every_step(&make, &killed);
    assert!(lives >= 3, "{lives} lives");
    assert_eq!(dump(&killed), dump(&writer));

    let Some(programs) = go_programs() else {
        return;
    };
    let instead = format!(
        "[url \"file://{}/\"]\n\tinsteadOf = https://gerrit.test/\n[protocol \"file\"]\n\tallow = always\n",
        home.display()
    );
    std::fs::write(home.join(".gitconfig"), instead).unwrap();
    let by_go = home.join("by-go");
    sync(programs, home, &by_go, &["-gerrit", "gerrit.test/proj"]);
    assert_same(&go_dump(programs, &by_go), &dump(&writer));
    // And the Go corpus reads our log as we do.
    let by_us = copy_of(&log, &home.join("by-us"));
    assert_same(&go_dump(programs, &by_us), our_dump(&by_us).lines());
}

/// A log in memory as day files.
fn copy_of(log: &MemoryLog, folder: &Path) -> PathBuf {
    use maintner_core::log::{LogPosition, LogReader};
    use maintner_core::source::MutationSource as _;
    let mut reader = LogReader::new(log.segments().unwrap(), LogPosition::START).unwrap();
    let mut to = LogWriter::open(folder).unwrap();
    while let Some((_, payload)) = reader.next_record().unwrap() {
        maintner_core::source::MutationSink::append(&mut to, &[payload]).unwrap();
    }
    folder.to_owned()
}

#[test]
fn deleted_changes_and_patch_sets_are_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path();
    let git = Git::init(home, "proj");
    branches(&git);
    changes(&git);
    let (writer, log) = writer();
    let mut reader = gerrit(&git, home, "gerrit.test/proj");
    once(&mut reader, &writer);
    git.run(&["update-ref", "-d", "refs/changes/00/14700/12"]);
    git.run(&["update-ref", "-d", "refs/changes/05/5/1"]);
    git.run(&["update-ref", "-d", "refs/changes/05/5/2"]);
    git.run(&["update-ref", "-d", "refs/changes/05/5/meta"]);
    assert_eq!(once(&mut reader, &writer), 1);
    let view = writer.view();
    let project = view.gerrit().project("gerrit.test", "proj").unwrap();
    assert!(project.try_cl(5).is_none());
    let cl = project.cl(14_700).unwrap();
    assert_eq!((cl.version(), cl.patch_sets().count()), (11, 11));
    assert_eq!(once(&mut reader, &writer), 0, "noticed once");
    // The slow applier agrees.
    let by_us = copy_of(&log, &home.join("by-us"));
    let slow = maintner_core::log::LogFolder::open(&by_us).unwrap();
    let slow = crate::reference::Reference::load(slow.segments().to_vec()).dump();
    assert_eq!(slow.lines(), dump(&writer));
    // It comes back, as a new change.
    change(&git, 5, 1, "new");
    once(&mut reader, &writer);
    let view = writer.view();
    let project = view.gerrit().project("gerrit.test", "proj").unwrap();
    assert_eq!(project.cl(5).unwrap().version(), 1);
}

#[test]
fn a_project_that_moved_is_complete_under_both_names() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path();
    let git = Git::init(home, "proj");
    branches(&git);
    changes(&git);
    let (writer, _) = writer();
    once(&mut gerrit(&git, home, "gerrit.test/old"), &writer);
    let alone = dump(&writer);
    once(&mut gerrit(&git, home, "gerrit.test/new"), &writer);
    let view = writer.view();
    let changes = |name: &str| {
        let project = view.gerrit().project("gerrit.test", name).unwrap();
        (project.cls().count(), project.refs().count())
    };
    assert_eq!(changes("old"), changes("new"));
    assert!(
        alone.iter().all(|line| dump(&writer).contains(line)),
        "nothing is lost"
    );
    // News is said once for each name, with the shared history left alone.
    git.commit("README", b"news\n", "news\n");
    let mut old = gerrit(&git, home, "gerrit.test/old");
    assert_eq!(once(&mut old, &writer), 2, "a commit and refs");
    assert_eq!(once(&mut old, &writer), 0);
}

#[test]
fn a_log_whose_writer_left_out_commits_is_completed() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path();
    let git = Git::init(home, "proj");
    branches(&git);
    let (whole, _) = writer();
    once(&mut plain(&git, home), &whole);
    // The Go program writes children first: a crash leaves their parents out.
    let tip = git.run(&["rev-parse", "master"]);
    let (writer, mut log) = writer();
    let mirror = mirror(&git, home, "proj", Listing::Branches);
    let tip = tip.parse().unwrap();
    let commit = mirror.read(&[(tip, tip)]).unwrap().remove(0);
    let mutation = maintner_core::pb::GitMutation {
        repo: None,
        commit: Some(commit),
    };
    log.append_mutations(&[maintner_core::pb::Mutation {
        git: Some(mutation),
        ..Default::default()
    }])
    .unwrap();
    writer.corpus().update().unwrap();
    once(&mut plain(&git, home), &writer);
    assert_eq!(dump(&writer), dump(&whole));
}

/// Refs of changes in one packed file, as a server of many years has them.
#[test]
fn of_many_refs_only_those_that_changed_are_fetched() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path();
    let git = Git::init(home, "proj");
    branches(&git);
    changes(&git);
    // More in the soak.
    let wanted = std::env::var("MAINTNER_SYNC_REFS").map_or(3_000, |n| n.parse().unwrap());
    git.run(&["pack-refs", "--all"]);
    let packed = git.repo.join(".git/packed-refs");
    let text = std::fs::read_to_string(&packed).unwrap();
    let hash = |name: &str| git.run(&["rev-parse", name]);
    let (head, meta) = (
        hash("refs/changes/01/301/1"),
        hash("refs/changes/01/301/meta"),
    );
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let comment = lines.remove(0);
    for number in 20_000..20_000 + wanted / 2 {
        let folder = format!("refs/changes/{:02}/{number}", number % 100);
        lines.push(format!("{head} {folder}/1"));
        lines.push(format!("{meta} {folder}/meta"));
    }
    // A peeled tag belongs behind its tag.
    let mut sorted: Vec<(String, String)> = Vec::new();
    for line in lines {
        match line.split_once(' ') {
            Some((_, name)) => sorted.push((name.to_owned(), line)),
            None => sorted.last_mut().unwrap().1.push_str(&format!("\n{line}")),
        }
    }
    sorted.sort();
    let lines: Vec<String> = sorted.into_iter().map(|(_, line)| line).collect();
    std::fs::write(&packed, format!("{comment}\n{}\n", lines.join("\n"))).unwrap();

    let (writer, _) = writer();
    let mut reader = gerrit(&git, home, "gerrit.test/proj");
    once(&mut reader, &writer);
    let changes = 3 + wanted as usize / 2;
    let count = |writer: &Writer| {
        let view = writer.view();
        let project = view.gerrit().project("gerrit.test", "proj").unwrap();
        project.cls().count()
    };
    assert_eq!(count(&writer), changes);
    assert_eq!(once(&mut reader, &writer), 0, "in step");
    change(&git, 9_000_001, 2, "new");
    // Two patch sets, three meta commits, and their refs in one mutation.
    assert_eq!(
        once(&mut reader, &writer),
        6,
        "what is new and nothing else"
    );
    assert_eq!(count(&writer), changes + 1);
}
