//! Toolchains from a mirror on this machine: whole ones, and those that must not become one.

use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use build_client::httpdl::{HttpClient, HttpOptions};
use build_client::testing::{Mirror, go_archive};
use build_client::toolchain::{Happening, Installed, Platform, Rows, Source, Spec, ToolchainDir};
use build_client::{Error, ErrorKind};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

/// A mirror, and toolchains from it.
pub(crate) struct Story {
    pub(crate) mirror: Mirror,
    pub(crate) home: tempfile::TempDir,
    pub(crate) dir: ToolchainDir,
    client: HttpClient,
}

impl Story {
    pub(crate) fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        Self {
            mirror: Mirror::start().unwrap(),
            client: HttpOptions::default().build().unwrap(),
            dir: ToolchainDir::new(home.path().join("sdk")),
            home,
        }
    }

    pub(crate) fn rows(&self) -> Rows {
        let mut rows = Rows::default();
        for name in ["go", "node", "rust"] {
            let mirror = self.mirror.url().to_owned();
            rows.set_mirrors(name, vec![mirror]).unwrap();
        }
        rows
    }

    pub(crate) fn source(&self) -> Source {
        Source::new(self.client.clone(), self.rows()).platform(linux())
    }

    pub(crate) fn put(&self, name: &str, bytes: usize) {
        let archive = go_archive(name, bytes).unwrap();
        self.mirror
            .put_archive(&format!("{name}.linux-amd64.tar.gz"), archive);
    }

    pub(crate) async fn download(&self, name: &str) -> Result<Installed, Error> {
        let spec = spec(name);
        self.dir.download(&spec, &self.source(), &|_| ()).await
    }

    pub(crate) fn names_of_work(&self) -> Vec<String> {
        let work = self.home.path().join("sdk/.farmer");
        let entries = std::fs::read_dir(work).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }
}

pub(crate) fn linux() -> Platform {
    "linux-amd64".parse().unwrap()
}

pub(crate) fn spec(name: &str) -> Spec {
    Spec::parse(name, &Rows::default()).unwrap()
}

pub(crate) fn read(path: impl AsRef<Path>) -> String {
    std::fs::read_to_string(path).unwrap()
}

#[tokio::test]
async fn versions_stand_side_by_side_and_run_as_the_go_programs_run_them() {
    let story = Story::new();
    story.put("go1.8", 10);
    story.put("go1.11beta1", 10);
    let (one, two) = tokio::join!(story.download("go1.8"), story.download("go1.11beta1"));
    let (one, two) = (one.unwrap(), two.unwrap());
    assert_eq!(one.path, story.home.path().join("sdk/go1.8"));
    assert_eq!(read(one.path.join("VERSION")), "go1.8");
    assert_eq!(read(two.path.join("VERSION")), "go1.11beta1");
    let mark = std::fs::metadata(one.path.join(".unpacked-success")).unwrap();
    assert_eq!(mark.len(), 0);
    assert!(
        story.names_of_work().is_empty(),
        "{:?}",
        story.names_of_work()
    );

    let listed = story.dir.list(&story.rows()).unwrap();
    assert_eq!(
        listed
            .iter()
            .map(|one| one.name.as_str())
            .collect::<Vec<_>>(),
        ["go1.8", "go1.11beta1"]
    );
    let ready = story.dir.ready(&spec("go1.8"), &story.rows()).unwrap();
    let done = ready
        .command(Some("/bin:/usr/bin".as_ref()))
        .arg("x")
        .output()
        .unwrap();
    let root = one.path.display();
    assert_eq!(
        String::from_utf8(done.stdout).unwrap(),
        format!("GOROOT={root}\nPATH={root}/bin\narg=x\n")
    );

    let before = story.mirror.requests().len();
    story.download("go1.8").await.unwrap();
    assert_eq!(
        story.mirror.requests().len(),
        before,
        "nothing is asked for what is there"
    );
    story.dir.remove("go1.8", None).await.unwrap();
    let told = story.dir.ready(&spec("go1.8"), &story.rows()).unwrap_err();
    assert_eq!(
        told.to_string(),
        format!("not downloaded. Run 'go1.8 download' to install to {root}")
    );
    assert!(two.path.exists() && story.names_of_work().is_empty());
    let gone = story.dir.remove("go1.8", None).await.unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn what_no_mirror_has_is_told_as_by_the_go_programs() {
    let story = Story::new();
    let error = story.download("go1.99").await.unwrap_err();
    let url = format!("{}go1.99.linux-amd64.tar.gz", story.mirror.url());
    assert_eq!(
        error.chain(),
        format!("no binary release of go1.99 for linux/amd64 at {url}")
    );
    assert_eq!(error.kind(), ErrorKind::NotFound);
    // An archive without a checksum is not taken.
    story.mirror.put("go1.99.linux-amd64.tar.gz", "x");
    let error = story.download("go1.99").await.unwrap_err();
    assert!(error.chain().contains("no SHA-256"), "{}", error.chain());
    assert!(!story.home.path().join("sdk/go1.99").exists());
}

/// Every request is cut at a seeded point, every run ends there; the next one goes on.
#[tokio::test]
async fn a_cut_download_goes_on_the_next_time() {
    let size = go_archive("go1.9", 200_000).unwrap().len() as u64;
    for seed in 0..6 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let story = Story::new();
        story.put("go1.9", 200_000);
        let mut runs = 0;
        loop {
            // The checksum's answer is cut too.
            story
                .mirror
                .cut([rng.random_range(64..100), rng.random_range(1..60_000)]);
            let spec = spec("go1.9");
            let source = story.source();
            let run = story.dir.download(&spec, &source, &|_| ());
            let stop = Duration::from_millis(rng.random_range(5..80));
            // Dropped at any point, as a process is that is killed.
            if tokio::time::timeout(stop, run)
                .await
                .is_ok_and(|done| done.is_ok())
            {
                break;
            }
            runs += 1;
            assert!(runs < 200);
            assert!(
                !story.home.path().join("sdk/go1.9/bin").exists()
                    || story.download("go1.9").await.is_ok()
            );
        }
        let root = story.home.path().join("sdk/go1.9");
        assert_eq!(read(root.join("VERSION")), "go1.9");
        assert_eq!(
            std::fs::read(root.join("pkg/noise")).unwrap().len(),
            200_000
        );
        let body = story.mirror.sent();
        assert!(
            body < 3 * size,
            "{body} bytes were sent for {size}, in {runs} runs"
        );
    }
}

#[tokio::test]
async fn two_downloads_at_once_share_the_work() {
    let story = Story::new();
    story.put("go1.9", 50_000);
    story.mirror.close_gate(20_000);
    let seen = Mutex::new(Vec::new());
    let tell = |happening| seen.lock().unwrap().push(happening);
    let (spec, source) = (spec("go1.9"), story.source());
    let opening = async {
        while !seen.lock().unwrap().contains(&Happening::Waiting) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        story.mirror.open_gate();
    };
    let (one, two, ()) = tokio::join!(
        story.dir.download(&spec, &source, &tell),
        story.dir.download(&spec, &source, &tell),
        opening
    );
    assert_eq!(one.unwrap(), two.unwrap());
    let archives = story.mirror.requests();
    let archives = archives
        .iter()
        .filter(|request| request.starts_with("GET /go1.9.linux-amd64.tar.gz"));
    assert_eq!(
        archives
            .filter(|request| !request.contains("sha256"))
            .count(),
        1
    );
}

#[tokio::test]
async fn the_next_mirror_is_asked_when_one_fails() {
    let (bad, good) = (Story::new(), Story::new());
    bad.put("go1.9", 100);
    bad.mirror.put("go1.9.linux-amd64.tar.gz", "swapped");
    good.put("go1.9", 100);
    let mut rows = good.rows();
    let mirrors = [
        "http://127.0.0.1:1".to_owned(),
        bad.mirror.url().to_owned(),
        good.mirror.url().to_owned(),
    ];
    rows.set_mirrors("go", mirrors.to_vec()).unwrap();
    let source = Source::new(HttpOptions::default().build().unwrap(), rows).platform(linux());
    let causes = Mutex::new(Vec::new());
    let tell = |happening| {
        if let Happening::NextMirror { cause } = happening {
            causes.lock().unwrap().push(cause);
        }
    };
    good.dir
        .download(&spec("go1.9"), &source, &tell)
        .await
        .unwrap();
    let causes = causes.into_inner().unwrap();
    assert_eq!(causes.len(), 2, "{causes:?}");
    assert!(causes[1].contains("corrupt?"), "{causes:?}");
}

#[tokio::test]
async fn what_is_in_the_way_and_not_ours_is_left_alone() {
    let story = Story::new();
    story.put("go1.9", 100);
    let root = story.home.path().join("sdk/go1.9");
    std::fs::create_dir_all(root.join("src")).unwrap();
    std::fs::write(root.join("src/mine.go"), "mine").unwrap();
    let error = story.download("go1.9").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert_eq!(
        story.dir.remove("go1.9", None).await.unwrap_err().kind(),
        ErrorKind::Conflict
    );
    assert_eq!(read(root.join("src/mine.go")), "mine");
    assert!(!story.dir.list(&story.rows()).unwrap()[0].ready);
    // What a Go program has begun is taken over: its archive is not received again.
    std::fs::write(
        root.join("go1.9.linux-amd64.tar.gz"),
        go_archive("go1.9", 100).unwrap(),
    )
    .unwrap();
    story.download("go1.9").await.unwrap();
    assert!(
        !story
            .mirror
            .requests()
            .contains(&"GET /go1.9.linux-amd64.tar.gz".to_owned())
    );
    assert!(!root.join("src").exists());
}

/// OpenPGP by gpgv, with a key made by gpg.
#[tokio::test]
async fn a_row_with_a_keyring_needs_its_signature() {
    let story = Story::new();
    let keys = tempfile::Builder::new()
        .prefix("g")
        .tempdir_in("/tmp")
        .unwrap();
    let gpg = |args: &[&str]| {
        let done = std::process::Command::new("gpg")
            .args([
                "--homedir",
                keys.path().to_str().unwrap(),
                "--batch",
                "--quiet",
                "--yes",
                "--passphrase",
                "",
            ])
            .args(args)
            .stderr(std::process::Stdio::null())
            .status();
        done.is_ok_and(|status| status.success())
    };
    if !gpg(&[
        "--quick-generate-key",
        "t@localhost",
        "ed25519",
        "sign",
        "never",
    ]) {
        let in_ci = std::env::var_os("CI").is_some_and(|value| value == "true");
        assert!(!in_ci, "gpg cannot make a key");
        eprintln!("SKIPPED: no test of OpenPGP signatures, gpg cannot make a key");
        return;
    }
    let file = |name: &str| keys.path().join(name).to_str().unwrap().to_owned();
    assert!(
        gpg(&["--export", "-o", &file("ring.gpg"), "t@localhost"])
            || gpg(&["-o", &file("ring.gpg"), "--export", "t@localhost"])
    );
    let archive = go_archive("go1.9", 100).unwrap();
    std::fs::write(file("archive"), &archive).unwrap();
    assert!(gpg(&[
        "-o",
        &file("sig"),
        "--detach-sign",
        &file("archive")
    ]));
    story
        .mirror
        .put_archive("go1.9.linux-amd64.tar.gz", archive);
    let rows = Rows::with(&format!(
        "[go]\nmirrors = [\"{0}\"]\nchecksums = [\"{{mirror}}{{archive}}.sha256\"]\n\
         signature = {{ kind = \"pgp\", url = \"{{mirror}}{{archive}}.asc\", keyring = \"{1}\" }}\n",
        story.mirror.url(),
        file("ring.gpg")
    ));
    let client = HttpOptions::default().build().unwrap();
    let source = Source::new(client, rows.unwrap()).platform(linux());
    let download = async || story.dir.download(&spec("go1.9"), &source, &|_| ()).await;
    assert_eq!(
        download().await.unwrap_err().kind(),
        ErrorKind::NotFound,
        "no signature"
    );
    story.mirror.put("go1.9.linux-amd64.tar.gz.asc", "forged");
    assert_eq!(download().await.unwrap_err().kind(), ErrorKind::Corrupt);
    assert!(!story.dir.path(&"go1.9").exists());
    story.mirror.put(
        "go1.9.linux-amd64.tar.gz.asc",
        std::fs::read(file("sig")).unwrap(),
    );
    download().await.unwrap();
}
