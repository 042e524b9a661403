//! What a step sees of a commit.

use std::path::Path;

use build_core::ErrorKind;
use build_core::tarutil::Untar;
use build_core::work::WorkItem;
use build_server::source::{Checkouts, GitCheckouts};
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

    async fn head(&self, repository: &Repository) -> WorkItem {
        self.checkouts
            .resolve(&repository.origin(), None)
            .await
            .unwrap()
    }

    /// The checkout, as a machine unpacks it.
    async fn unpacked(&self, item: &WorkItem, depth: u32) -> tempfile::TempDir {
        let stream = self.checkouts.pack(item, depth).await.unwrap();
        let pieces: Vec<_> = stream.try_collect().await.unwrap();
        let dir = tempfile::tempdir_in(self.dir.path()).unwrap();
        Untar::open(dir.path())
            .unwrap()
            .unpack(&*pieces.concat())
            .unwrap();
        dir
    }

    async fn head_unpacked(&self, repository: &Repository, depth: u32) -> tempfile::TempDir {
        let item = self.head(repository).await;
        self.unpacked(&item, depth).await
    }
}

fn read(dir: &Path, name: &str) -> String {
    std::fs::read_to_string(dir.join(name)).unwrap()
}

#[tokio::test]
async fn a_checkout_has_the_files_modes_and_times_of_the_commit_and_is_clean() {
    let world = World::new();
    let repository = Repository::with_file("dir/file", "text");
    repository.write("run.sh", "#!/bin/sh\n");
    std::os::unix::fs::symlink("dir/file", repository.path().join("link")).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(repository.path().join("run.sh"), mode).unwrap();
    repository.commit("more");
    let item = world.head(&repository).await;
    let dir = world.unpacked(&item, 50).await;
    assert_eq!(read(dir.path(), "dir/file"), "text");
    assert_eq!(read(dir.path(), "link"), "text");
    let about = dir.path().join("run.sh").metadata().unwrap();
    let mode = std::os::unix::fs::PermissionsExt::mode(&about.permissions());
    assert_eq!(mode & 0o111, 0o111);
    for file in ["dir/file", "run.sh"] {
        let about = dir.path().join(file).metadata().unwrap();
        let time = std::os::unix::fs::MetadataExt::mtime(&about);
        assert_eq!(time, item.commit_time.as_seconds(), "{file}");
    }
    assert_eq!(git_in(dir.path(), &["status", "--porcelain"]), "");
    git_in(dir.path(), &["fsck", "--strict"]);
    assert_eq!(
        git_in(dir.path(), &["rev-parse", "HEAD"]),
        item.commit.as_str()
    );
}

#[tokio::test]
async fn the_index_needs_no_refresh_after_unpacking() {
    let world = World::new();
    let repository = Repository::with_file("file", "text");
    let dir = world.head_unpacked(&repository, 50).await;
    git_in(dir.path(), &["diff-index", "--quiet", "HEAD"]);
}

/// Every file below `dir` but git's own: path, permissions, time and contents.
fn files(dir: &Path) -> Vec<(String, u32, i64, Vec<u8>)> {
    use std::os::unix::fs::MetadataExt as _;
    let (mut files, mut dirs) = (Vec::new(), vec![dir.to_owned()]);
    while let Some(next) = dirs.pop() {
        for entry in next.read_dir().unwrap() {
            let path = entry.unwrap().path();
            let about = path.symlink_metadata().unwrap();
            let name = path.strip_prefix(dir).unwrap().to_str().unwrap().to_owned();
            let contents = match about.file_type() {
                kind if kind.is_dir() && name != ".git" => {
                    dirs.push(path);
                    continue;
                }
                kind if kind.is_dir() => continue,
                kind if kind.is_symlink() => {
                    // Links have the time at which they were made.
                    let target = path.read_link().unwrap();
                    files.push((
                        name,
                        about.mode(),
                        0,
                        target.into_os_string().into_encoded_bytes(),
                    ));
                    continue;
                }
                _ => std::fs::read(&path).unwrap(),
            };
            files.push((name, about.mode(), about.mtime(), contents));
        }
    }
    files.sort();
    files
}

#[tokio::test]
async fn files_straight_from_objects_are_those_of_a_checkout() {
    let world = World::new();
    for format in ["sha1", "sha256"] {
        let repository = Repository::new();
        std::fs::remove_dir_all(repository.path().join(".git")).unwrap();
        let format = format!("--object-format={format}");
        repository.git(&["init", "--quiet", "--initial-branch=main", &format]);
        let deep = format!("{}file", "directory-of-some-length/".repeat(12));
        for (name, text) in [
            ("empty", ""),
            ("a-b", "before a/"),
            ("a/b", "within a"),
            ("a.b", "after a/"),
            ("crlf", "one\r\ntwo\n"),
            ("wörld/ß", "not ASCII"),
            ("line\nbreak", "odd"),
            (&deep, "deep"),
            ("large", &"0123456789abcde\n".repeat(100_000)),
            (".gitignore", "*.o\n"),
        ] {
            repository.write(name, text);
        }
        repository.write("run.sh", "#!/bin/sh\n");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(repository.path().join("run.sh"), mode).unwrap();
        std::os::unix::fs::symlink("a/b", repository.path().join("link")).unwrap();
        repository.write(".gitattributes", "*.c diff=cpp\n*.txt text=auto\n");
        repository.commit("plain");
        let plain = world.head(&repository).await;
        // An attribute by which git might change a file, if there were one of that name.
        repository.write(".gitattributes", "nothing ident\n");
        repository.commit("not plain");
        let mut checked_out = world.head(&repository).await;
        checked_out.commit_time = plain.commit_time;

        let straight = world.unpacked(&plain, 50).await;
        let checkout = world.unpacked(&checked_out, 50).await;
        let without_attributes = |dir: &Path| {
            let mut files = files(dir);
            files.retain(|file| file.0 != ".gitattributes");
            files
        };
        let straight_files = without_attributes(straight.path());
        assert_eq!(straight_files.len(), 12);
        assert_eq!(straight_files, without_attributes(checkout.path()));
        for (dir, head) in [(&straight, &plain), (&checkout, &checked_out)] {
            git_in(dir.path(), &["diff-files", "--quiet", "--", ".", ":!link"]);
            assert_eq!(git_in(dir.path(), &["status", "--porcelain"]), "");
            git_in(dir.path(), &["fsck", "--strict"]);
            assert_eq!(
                git_in(dir.path(), &["rev-parse", "HEAD"]),
                head.commit.as_str()
            );
        }
        // A step may commit, and go back.
        std::fs::write(straight.path().join("a/b"), "changed").unwrap();
        git_in(
            straight.path(),
            &["commit", "--quiet", "-am", "a step's own"],
        );
        git_in(
            straight.path(),
            &["checkout", "--quiet", plain.commit.as_str()],
        );
        assert_eq!(files(straight.path()), {
            let again = world.unpacked(&plain, 50).await;
            let mut files = files(again.path());
            let now = straight.path().join("a/b").metadata().unwrap();
            let changed = files.iter_mut().find(|file| file.0 == "a/b").unwrap();
            changed.2 = std::os::unix::fs::MetadataExt::mtime(&now);
            files
        });
    }
}

#[tokio::test]
async fn what_git_changes_on_the_way_to_the_disk_is_changed() {
    let world = World::new();
    let repository = Repository::with_file("dir/lines.bat", "one\ntwo\n");
    repository.write("dir/.gitattributes", "*.bat text eol=crlf\n");
    repository.commit("with line ends");
    let dir = world.head_unpacked(&repository, 50).await;
    assert_eq!(read(dir.path(), "dir/lines.bat"), "one\r\ntwo\r\n");
    assert_eq!(git_in(dir.path(), &["status", "--porcelain"]), "");
}

#[tokio::test]
async fn a_pack_made_for_an_earlier_commit_serves_later_ones() {
    let world = World::new();
    let repository = Repository::with_file("kept", "kept");
    for n in 0..6 {
        repository.write("changed", &n.to_string());
        repository.commit(&n.to_string());
        // Gone from the work tree and back again: the pack of the commit between lacks it.
        if n % 2 == 0 {
            repository.write("sometimes", "there");
        } else {
            std::fs::remove_file(repository.path().join("sometimes")).unwrap();
        }
        let dir = world.head_unpacked(&repository, 1).await;
        assert_eq!(read(dir.path(), "changed"), n.to_string());
        assert_eq!(read(dir.path(), "kept"), "kept");
        assert_eq!(dir.path().join("sometimes").exists(), n % 2 == 1);
        git_in(dir.path(), &["fsck", "--strict"]);
        assert_eq!(git_in(dir.path(), &["status", "--porcelain"]), "");
        assert_eq!(git_in(dir.path(), &["rev-list", "--count", "HEAD"]), "1");
    }
    let checkouts = world.dir.path().join("git/checkouts");
    let left = checkouts.read_dir().unwrap().count();
    assert_eq!(left, 1, "the last pack, and nothing else");
}

#[tokio::test]
async fn history_is_as_deep_as_asked() {
    let world = World::new();
    let repository = Repository::with_file("file", "0");
    for n in 1..10 {
        repository.write("file", &n.to_string());
        repository.commit(&n.to_string());
    }
    let dir = world.head_unpacked(&repository, 3).await;
    let count = git_in(dir.path(), &["rev-list", "--count", "HEAD"]);
    assert_eq!(count, "3");
    assert!(git_in(dir.path(), &["log", "-p", "--format=%s"]).contains("+9"));
}

#[tokio::test]
async fn git_describe_says_what_it_says_at_home() {
    let world = World::new();
    let repository = Repository::with_file("file", "0");
    let describe = |dir: &Path| {
        let annotated = git_in(dir, &["describe", "--long"]);
        let any = git_in(dir, &["describe", "--long", "--tags"]);
        (annotated, any)
    };
    // A branch from before the tag is merged after it.
    repository.git(&["checkout", "--quiet", "-b", "side"]);
    repository.commit("on the side");
    repository.git(&["checkout", "--quiet", "main"]);
    for n in 0..4 {
        repository.commit(&format!("before {n}"));
    }
    repository.git(&["tag", "-a", "-m", "release", "v1.0"]);
    for n in 0..6 {
        repository.commit(&format!("between {n}"));
    }
    repository.git(&["merge", "--quiet", "--no-ff", "-m", "merge", "side"]);
    repository.git(&["tag", "light"]);
    for n in 0..5 {
        repository.commit(&format!("after {n}"));
    }
    let home = describe(repository.path());
    assert!(home.0.starts_with("v1.0-13-"), "{home:?}");
    for depth in [1, 3, 8, 50] {
        let dir = world.head_unpacked(&repository, depth).await;
        assert_eq!(describe(dir.path()), home, "with depth {depth}");
        assert_eq!(git_in(dir.path(), &["status", "--porcelain"]), "");
        git_in(dir.path(), &["fsck"]);
    }
}

#[tokio::test]
async fn submodules_and_theirs_are_there() {
    let world = World::new();
    let inner = Repository::with_file("inner.txt", "inner");
    let middle = Repository::with_file("middle.txt", "middle");
    middle.git(&["submodule", "--quiet", "add", &inner.origin(), "in"]);
    middle.commit("with a submodule");
    let outer = Repository::with_file("outer.txt", "outer");
    outer.git(&["submodule", "--quiet", "add", &middle.origin(), "mid"]);
    outer.commit("with a submodule");
    let dir = world.head_unpacked(&outer, 50).await;
    assert_eq!(read(dir.path(), "mid/middle.txt"), "middle");
    assert_eq!(read(dir.path(), "mid/in/inner.txt"), "inner");
    assert_eq!(git_in(dir.path(), &["status", "--porcelain"]), "");
}

#[tokio::test]
async fn a_repository_from_elsewhere_cannot_name_directories_of_this_machine() {
    let world = World::new();
    let secret = Repository::with_file("secret", "");
    let outer = Repository::with_file("a", "");
    outer.git(&["submodule", "--quiet", "add", &secret.origin(), "sub"]);
    outer.commit("with a submodule");
    let elsewhere = Elsewhere::serve(&outer);
    let item = world.checkouts.resolve(&elsewhere.url, None).await.unwrap();
    let error = world.checkouts.pack(&item, 50).await.err().unwrap();
    assert!(
        error.chain().contains("names a directory of this machine"),
        "{}",
        error.chain()
    );
}

/// `git daemon` for one repository.
struct Elsewhere {
    daemon: std::process::Child,
    url: String,
}

impl Elsewhere {
    fn serve(repository: &Repository) -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let number = port.local_addr().unwrap().port();
        drop(port);
        // Not through `git`, which would start it as a child that outlives it.
        let programs = std::process::Command::new("git")
            .arg("--exec-path")
            .output();
        let programs = String::from_utf8(programs.unwrap().stdout).unwrap();
        let daemon = std::process::Command::new(format!("{}/git-daemon", programs.trim()))
            .args(["--export-all", "--reuseaddr", "--listen=127.0.0.1"])
            .arg(format!("--port={number}"))
            .arg(format!("--base-path={}", repository.origin()))
            .spawn()
            .unwrap();
        let begin = std::time::Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", number)).is_err() {
            assert!(
                begin.elapsed() < crate::farm::SOON,
                "git daemon does not answer"
            );
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        let url = format!("git://127.0.0.1:{number}/.git");
        Self { daemon, url }
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        self.daemon.kill().unwrap();
        self.daemon.wait().unwrap();
    }
}

#[tokio::test]
async fn a_repository_without_commits_is_told_as_such() {
    let world = World::new();
    let empty = Repository::new();
    let error = world
        .checkouts
        .resolve(&empty.origin(), None)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().ends_with("has no commits yet"), "{error}");
    let nothing = tempfile::tempdir().unwrap();
    let origin = nothing.path().to_str().unwrap();
    let error = world.checkouts.resolve(origin, None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.hint().is_some());
    let some = Repository::with_file("a", "");
    let error = world
        .checkouts
        .resolve(&some.origin(), Some("no-such"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
}

#[tokio::test]
async fn uncommitted_files_are_counted_and_built_when_asked_for() {
    let world = World::new();
    let repository = Repository::with_file("kept", "old");
    repository.write("gone", "");
    repository.write(".gitignore", "ignored\n");
    repository.commit("second");
    repository.write("kept", "new");
    repository.write("dir/added", "added");
    repository.write("ignored", "");
    std::fs::remove_file(repository.path().join("gone")).unwrap();
    let uncommitted = world
        .checkouts
        .uncommitted(&repository.origin())
        .await
        .unwrap();
    assert_eq!(uncommitted, 3);

    let mut item = world.head(&repository).await;
    let committed = world.unpacked(&item, 50).await;
    assert_eq!(read(committed.path(), "kept"), "old");
    assert!(committed.path().join("gone").exists());
    item.worktree = true;
    let dir = world.unpacked(&item, 50).await;
    assert_eq!(read(dir.path(), "kept"), "new");
    assert_eq!(read(dir.path(), "dir/added"), "added");
    assert!(!dir.path().join("gone").exists());
    assert!(!dir.path().join("ignored").exists());
    let tree = world.checkouts.tree(&item).await.unwrap();
    assert_eq!(tree.read("kept", 99).await.unwrap().unwrap(), b"new");
}

#[tokio::test]
async fn files_of_a_commit_are_listed_and_read() {
    let world = World::new();
    let repository = Repository::with_file("dir/sub/file", "text");
    repository.write("top", "0123456789");
    repository.commit("second");
    let item = world.head(&repository).await;
    let tree = world.checkouts.tree(&item).await.unwrap();
    assert_eq!(tree.list("").await.unwrap(), ["dir/", "top"]);
    assert_eq!(tree.list("dir").await.unwrap(), ["sub/"]);
    assert!(tree.list("none").await.unwrap().is_empty());
    assert_eq!(
        tree.read("dir/sub/file", 4).await.unwrap().unwrap(),
        b"text"
    );
    assert_eq!(tree.read("none", 4).await.unwrap(), None);
    assert_eq!(tree.read("dir", 4).await.unwrap(), None);
    assert_eq!(
        tree.read("top", 9).await.unwrap_err().kind(),
        ErrorKind::Limit
    );
}

#[tokio::test]
async fn a_repository_at_a_url_is_copied_and_followed() {
    let world = World::new();
    let repository = Repository::with_file("file", "1");
    // The transport that git itself would use for another machine, without one.
    let url = format!("file://{}", repository.origin());
    let first = world.checkouts.resolve(&url, None).await.unwrap();
    assert_eq!(first.branch, Some("main".into()));
    repository.write("file", "2");
    repository.commit("second");
    let second = world.checkouts.resolve(&url, Some("main")).await.unwrap();
    let changed = world
        .checkouts
        .changed_since(&second, &first.commit)
        .await
        .unwrap();
    assert_eq!(changed.unwrap(), ["file"]);
    let before = world
        .checkouts
        .changed_since(&first, &second.commit)
        .await
        .unwrap();
    assert_eq!(
        before, None,
        "the later one does not come before the earlier one"
    );
}
