//! `gotip` from a repository like Go's.

use std::path::{Path, PathBuf};

use build_client::toolchain::{Gotip, TipRef};
use build_client::{Error, ErrorKind};

use super::toolchain::{Story, read};

fn git(dir: &Path, args: &[&str]) -> String {
    let done = std::process::Command::new("git")
        .arg("-C")
        .arg(dir)
        .args(["-c", "user.name=t", "-c", "user.email=t@localhost"])
        .args(args)
        .output()
        .unwrap();
    assert!(
        done.status.success(),
        "git {args:?}: {}",
        String::from_utf8_lossy(&done.stderr)
    );
    String::from_utf8(done.stdout).unwrap().trim().to_owned()
}

/// A repository like Go's, whose build makes a `go` that says which commit it is of.
struct Remote(tempfile::TempDir);

impl Remote {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        git(dir.path(), &["init", "-q", "-b", "master"]);
        Self(dir)
    }

    fn commit(&self, says: &str) -> String {
        use std::os::unix::fs::PermissionsExt as _;
        let source = self.0.path().join("src");
        std::fs::create_dir_all(&source).unwrap();
        let make = format!(
            "#!/bin/sh\nset -e\n{says} || exit 1\nmkdir -p ../bin\n\
             printf '#!/bin/sh\\necho {says} \"$GOTOOLCHAIN\" $GOROOT_BOOTSTRAP\\n' >../bin/go\nchmod +x ../bin/go\n\
             echo ${{GOROOT_BOOTSTRAP:-none}} >../bootstrap\n"
        );
        std::fs::write(source.join("make.bash"), make).unwrap();
        let executable = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(source.join("make.bash"), executable).unwrap();
        std::fs::write(self.0.path().join(".gitignore"), "bin/\nbootstrap\n").unwrap();
        git(self.0.path(), &["add", "-A"]);
        git(
            self.0.path(),
            &["commit", "-q", "--allow-empty", "-m", says],
        );
        git(self.0.path(), &["rev-parse", "HEAD"])
    }
}

#[tokio::test]
async fn gotip_is_built_from_a_branch_a_change_and_a_commit() {
    let (remote, story) = (Remote::new(), Story::new());
    let first = remote.commit("echo first");
    remote.commit("echo second");
    git(remote.0.path(), &["branch", "dev.x", &first]);
    for (patch_set, says) in [(9, "echo ninth"), (10, "echo tenth")] {
        let hash = remote.commit(says);
        git(
            remote.0.path(),
            &[
                "update-ref",
                &format!("refs/changes/37/227037/{patch_set}"),
                &hash,
            ],
        );
        git(remote.0.path(), &["reset", "-q", "--hard", "HEAD~1"]);
    }
    let tip = Gotip::new(story.dir.clone(), remote.0.path().to_str().unwrap())
        .bootstrap(Some(PathBuf::from("/boot")));
    let build = async |tip_ref: TipRef| {
        let root = tip.download(&tip_ref, &|| ()).await?;
        Ok::<_, Error>(read(root.join("bin/go")).lines().last().unwrap().to_owned())
    };
    assert!(story.dir.ready_tip(&story.rows()).is_err());
    assert!(build(TipRef::Master).await.unwrap().contains("second"));
    assert_eq!(
        read(story.home.path().join("sdk/gotip/bootstrap")).trim(),
        "/boot"
    );
    assert!(
        build(TipRef::Branch("dev.x".into()))
            .await
            .unwrap()
            .contains("first")
    );
    assert_eq!(tip.last(), TipRef::Branch("dev.x".into()));
    assert!(
        build(TipRef::Change(227_037))
            .await
            .unwrap()
            .contains("tenth")
    );
    assert!(
        build(TipRef::Commit(first))
            .await
            .unwrap()
            .contains("first")
    );
    for absent in [TipRef::Branch("absent".into()), TipRef::Change(5)] {
        assert_eq!(build(absent).await.unwrap_err().kind(), ErrorKind::NotFound);
    }
    // A commit that does not build never replaces one that does.
    remote.commit("false");
    let error = build(TipRef::Master).await.unwrap_err();
    assert!(
        error.chain().contains("make.bash failed"),
        "{}",
        error.chain()
    );
    let ready = story.dir.ready_tip(&story.rows()).unwrap();
    assert!(read(ready.program_path()).contains("first"));
    // Nor is work of one's own lost.
    remote.commit("echo third");
    let mine = story.home.path().join("sdk/gotip/src/make.bash");
    std::fs::write(&mine, "mine").unwrap();
    assert_eq!(
        build(TipRef::Master).await.unwrap_err().kind(),
        ErrorKind::Conflict
    );
    git(mine.parent().unwrap(), &["checkout", "-q", "."]);
    assert!(build(TipRef::Master).await.unwrap().contains("third"));
    assert_eq!(story.dir.list(&story.rows()).unwrap()[0].name, "gotip");
}
