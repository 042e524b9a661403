//! Odd repositories: one odd thing stays local, and everything else goes on.

use std::path::Path;

use build_core::clock::Timestamp;
use build_core::name::Name;
use build_core::tarutil::Untar;
use build_core::work::{Class, SKIP_LABEL, WorkItem, WorkSource};
use build_server::source::{Checkouts, GitCheckouts, GitSource};
use futures::TryStreamExt;

use crate::farm::{Repository, git_in};

struct World {
    dir: tempfile::TempDir,
    checkouts: GitCheckouts,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let checkouts = GitCheckouts::new(dir.path().join("git"));
        Self { dir, checkouts }
    }

    async fn resolve(&self, origin: &str, rev: Option<&str>) -> WorkItem {
        let found = self.checkouts.resolve(origin, rev).await;
        found.unwrap_or_else(|e| panic!("{}", e.chain()))
    }

    async fn unpacked(&self, item: &WorkItem) -> tempfile::TempDir {
        let stream = self.checkouts.pack(item, 50).await;
        let stream = stream.unwrap_or_else(|e| panic!("{}", e.chain()));
        let pieces: Vec<_> = stream.try_collect().await.unwrap();
        let dir = tempfile::tempdir_in(self.dir.path()).unwrap();
        let untar = Untar::open(dir.path()).unwrap();
        untar.unpack(&*pieces.concat()).unwrap();
        dir
    }

    async fn tips(&self, source: GitSource) -> Vec<WorkItem> {
        let source = source.through(self.checkouts.clone());
        source.wanted().await.unwrap()
    }
}

fn url(repository: &Repository) -> String {
    format!("file://{}", repository.origin())
}

fn text(name: &Option<Name>) -> Option<&str> {
    name.as_ref()?.as_str()
}

fn read(dir: &Path, name: &str) -> String {
    std::fs::read_to_string(dir.join(name)).unwrap()
}

#[tokio::test]
async fn a_branch_that_was_replaced_by_a_folder_of_branches_ends_nothing() {
    let world = World::new();
    let repository = Repository::with_file("a", "1");
    repository.git(&["branch", "release"]);
    repository.git(&["tag", "old"]);
    world.resolve(&url(&repository), Some("release")).await;
    repository.git(&["branch", "-D", "release"]);
    repository.git(&["tag", "-d", "old"]);
    repository.git(&["branch", "release/1"]);
    let item = world.resolve(&url(&repository), Some("release/1")).await;
    assert_eq!(text(&item.branch), Some("release/1"));
    for gone in ["release", "old"] {
        let found = world.checkouts.resolve(&url(&repository), Some(gone)).await;
        assert!(found.is_err(), "{gone}");
    }
}

#[tokio::test]
async fn a_commit_that_is_checked_out_is_built_here_and_from_elsewhere() {
    let world = World::new();
    let repository = Repository::with_file("a", "1");
    repository.git(&["checkout", "--quiet", "--detach"]);
    let commit = repository.commit("on no branch");
    let item = world.resolve(&url(&repository), None).await;
    assert_eq!((item.commit.as_str(), item.branch), (&*commit, None));
    let tips = world.tips(GitSource::watch(repository.origin())).await;
    let [tip] = &tips[..] else { panic!("{tips:?}") };
    assert_eq!((tip.commit.as_str(), &tip.branch), (&*commit, &None));
}

#[tokio::test]
async fn objects_with_long_names_are_fetched() {
    let dir = tempfile::tempdir().unwrap();
    git_in(dir.path(), &["init", "--quiet", "--object-format=sha256"]);
    std::fs::write(dir.path().join("a"), "1").unwrap();
    git_in(dir.path(), &["add", "a"]);
    git_in(dir.path(), &["commit", "--quiet", "-m", "first"]);
    let world = World::new();
    let url = format!("file://{}", dir.path().display());
    let item = world.resolve(&url, None).await;
    assert_eq!(item.commit.as_str().len(), 64);
    assert_eq!(read(world.unpacked(&item).await.path(), "a"), "1");
}

#[tokio::test]
async fn a_commit_from_before_1970_is_one_like_others() {
    let world = World::new();
    let repository = Repository::with_file("a", "1");
    let (tree, parent) = (
        repository.git(&["rev-parse", "HEAD^{tree}"]),
        repository.git(&["rev-parse", "HEAD"]),
    );
    let text = format!(
        "tree {tree}\nparent {parent}\nauthor A <a@b> -3600 +0000\ncommitter A <a@b> -3600 +0000\n\nold\n"
    );
    repository.write(".git/odd", &text);
    let odd = [
        "hash-object",
        "-t",
        "commit",
        "-w",
        "--literally",
        ".git/odd",
    ];
    let odd = repository.git(&odd);
    repository.git(&["update-ref", "refs/heads/rel/x", &odd]);
    let source = GitSource::watch(repository.origin()).branch("rel/*");
    let tips = world.tips(source).await;
    let mut found: Vec<_> = tips.iter().map(|tip| tip.commit.as_str()).collect();
    found.sort_unstable();
    let mut expected = [&*odd, &*parent];
    expected.sort_unstable();
    assert_eq!(found, expected);
    let item = tips.iter().find(|tip| tip.commit.as_str() == odd).unwrap();
    assert!(item.commit_time <= Timestamp::from_seconds(0));
    assert_eq!(item.subject, "old");
    assert_eq!(read(world.unpacked(item).await.path(), "a"), "1");
}

#[tokio::test]
async fn a_tag_with_the_name_of_a_branch_is_told_from_it() {
    let world = World::new();
    let repository = Repository::with_file("a", "1");
    repository.git(&["tag", "-a", "-m", "one", "twin"]);
    let tagged = repository.git(&["rev-parse", "HEAD"]);
    repository.git(&["branch", "twin"]);
    repository.git(&["checkout", "--quiet", "refs/heads/twin"]);
    repository.git(&["symbolic-ref", "HEAD", "refs/heads/twin"]);
    let tip = repository.commit("on the branch");
    let origin = repository.origin();
    let item = world.resolve(&origin, Some("twin")).await;
    assert_eq!(item.commit.as_str(), tagged);
    assert_eq!((text(&item.branch), text(&item.tag)), (None, Some("twin")));
    let item = world.resolve(&origin, Some("refs/heads/twin")).await;
    assert_eq!(item.commit.as_str(), tip);
    assert_eq!((text(&item.branch), text(&item.tag)), (Some("twin"), None));
    let tips = world.tips(GitSource::watch(origin).branch("*")).await;
    let twin = tips.iter().find(|tip| text(&tip.branch) == Some("twin"));
    assert_eq!(twin.unwrap().commit.as_str(), tip);
}

#[tokio::test]
async fn what_is_replaced_is_seen_as_git_sees_it() {
    let world = World::new();
    let repository = Repository::with_file("a", "before");
    let before = repository.git(&["rev-parse", "HEAD"]);
    repository.write("a", "after");
    repository.write("new", "file");
    let after = repository.commit("after");
    repository.git(&["reset", "--quiet", "--hard", &before]);
    repository.git(&["replace", &before, &after]);
    let item = world.resolve(&repository.origin(), None).await;
    assert_eq!(item.commit.as_str(), before);
    let dir = world.unpacked(&item).await;
    assert_eq!(read(dir.path(), "a"), "after");
    assert_eq!(read(dir.path(), "new"), "file");
    assert_eq!(git_in(dir.path(), &["status", "--porcelain"]), "");
    // One file by another.
    let repository = Repository::with_file("a", "before");
    let blob = repository.git(&["rev-parse", "HEAD:a"]);
    repository.write(".git/other", "other");
    let other = repository.git(&["hash-object", "-w", ".git/other"]);
    repository.git(&["replace", &blob, &other]);
    let item = world.resolve(&repository.origin(), None).await;
    assert_eq!(read(world.unpacked(&item).await.path(), "a"), "other");
}

#[tokio::test]
async fn a_clone_whose_remote_has_another_name_finds_its_submodules() {
    let world = World::new();
    let place = tempfile::tempdir().unwrap();
    let [sub, outer, clone] = ["sub", "outer", "clone"].map(|name| place.path().join(name));
    for (dir, file) in [(&sub, "inner"), (&outer, "outer")] {
        std::fs::create_dir(dir).unwrap();
        git_in(dir, &["init", "--quiet", "--initial-branch=main"]);
        std::fs::write(dir.join(file), file).unwrap();
        git_in(dir, &["add", "."]);
        git_in(dir, &["commit", "--quiet", "-m", "first"]);
    }
    git_in(
        &outer,
        &[
            "config",
            "remote.origin.url",
            sub.parent().unwrap().join("outer").to_str().unwrap(),
        ],
    );
    git_in(&outer, &["submodule", "--quiet", "add", "../sub", "in"]);
    git_in(&outer, &["commit", "--quiet", "-m", "with a submodule"]);
    let args = ["clone", "--quiet", "-o", "upstream", "outer", "clone"];
    git_in(place.path(), &args);
    let item = world.resolve(clone.to_str().unwrap(), None).await;
    assert_eq!(
        read(world.unpacked(&item).await.path(), "in/inner"),
        "inner"
    );
}

#[tokio::test]
async fn a_partial_clone_is_built_without_its_remote() {
    let world = World::new();
    let place = tempfile::tempdir().unwrap();
    let repository = Repository::with_file("a", "first");
    repository.git(&["config", "uploadpack.allowFilter", "true"]);
    repository.write("a", "second");
    repository.commit("second");
    let url = url(&repository);
    let args = ["clone", "--quiet", "--filter=blob:none", &url, "clone"];
    git_in(place.path(), &args);
    drop(repository);
    let clone = place.path().join("clone");
    let item = world.resolve(clone.to_str().unwrap(), None).await;
    let dir = world.unpacked(&item).await;
    assert_eq!(read(dir.path(), "a"), "second");
    assert_eq!(git_in(dir.path(), &["rev-list", "--count", "HEAD"]), "2");
}

#[tokio::test]
async fn the_default_branch_is_the_one_of_the_remote() {
    let world = World::new();
    let place = tempfile::tempdir().unwrap();
    let repository = Repository::with_file("a", "1");
    let url = url(&repository);
    git_in(place.path(), &["clone", "--quiet", &url, "clone"]);
    let clone = place.path().join("clone");
    git_in(&clone, &["checkout", "--quiet", "-b", "topic"]);
    let origin = clone.to_str().unwrap();
    let default = world.checkouts.default_branch(origin).await.unwrap();
    assert_eq!(text(&default), Some("main"));
    let tips = world.tips(GitSource::watch(origin)).await;
    assert_eq!(text(&tips[0].branch), Some("main"));
    assert_eq!(tips[0].class, Class::DefaultTip);
    // Without a remote it is what is checked out.
    repository.git(&["checkout", "--quiet", "-b", "topic"]);
    let default = world.checkouts.default_branch(&repository.origin()).await;
    assert_eq!(text(&default.unwrap()), Some("topic"));
}

#[tokio::test]
async fn commits_stand_behind_their_parents_whatever_their_dates_say() {
    let world = World::new();
    let repository = Repository::with_file("a", "1");
    for n in 0..3 {
        repository.commit(&format!("of one second {n}"));
    }
    let tree = repository.git(&["rev-parse", "HEAD^{tree}"]);
    let parent = repository.git(&["rev-parse", "HEAD"]);
    let text = format!(
        "tree {tree}\nparent {parent}\nauthor A <a@b> 1500000000 +0000\ncommitter A <a@b> 1500000000 +0000\n\nlate [skip ci]\n"
    );
    repository.write(".git/odd", &text);
    let odd = repository.git(&["hash-object", "-t", "commit", "-w", ".git/odd"]);
    repository.git(&["reset", "--quiet", "--hard", &odd]);
    let source = GitSource::watch(repository.origin()).through(world.checkouts.clone());
    let tips = source.wanted().await.unwrap();
    let earlier = source.earlier(&tips[0], 10).await.unwrap();
    assert!(tips[0].labels.contains(SKIP_LABEL));
    let all: Vec<_> = tips.iter().chain(&earlier).collect();
    assert_eq!(all.len(), 5);
    for pair in all.windows(2) {
        assert!(pair[0].place() > pair[1].place(), "{pair:?}");
    }
}
