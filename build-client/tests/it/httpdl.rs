//! Downloads that are cut, changed, asked for twice.

use std::sync::Mutex;
use std::time::Duration;

use build_client::httpdl::{Download, Downloaded, HttpClient, HttpOptions, Progress, sum_of};
use build_client::testing::Mirror;
use build_client::{Error, ErrorKind};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use tempfile::TempDir;

fn client() -> HttpClient {
    HttpOptions::default().build().unwrap()
}

/// A mirror, a directory, and a file to be downloaded into it.
struct Story {
    mirror: Mirror,
    dir: TempDir,
    client: HttpClient,
}

impl Story {
    fn new(content: impl Into<Vec<u8>>) -> Self {
        let mirror = Mirror::start().unwrap();
        mirror.put("file", content);
        let dir = tempfile::tempdir().unwrap();
        Self {
            mirror,
            dir,
            client: client(),
        }
    }

    fn download(&self) -> Download {
        let url = format!("{}file", self.mirror.url());
        Download::new(url, self.dir.path().join("file")).attempts(1, Duration::ZERO)
    }

    async fn run(&self, download: &Download) -> Result<Downloaded, Error> {
        download.run(&self.client, &|_| ()).await
    }

    fn file(&self) -> Vec<u8> {
        std::fs::read(self.dir.path().join("file")).unwrap_or_default()
    }

    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.dir.path()).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

fn noise(bytes: usize) -> Vec<u8> {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    (0..bytes).map(|_| rng.random()).collect()
}

fn sum(content: &[u8]) -> [u8; 32] {
    use sha2::Digest as _;
    sha2::Sha256::digest(content).into()
}

/// The three acceptance checks of `internal/httpdl`, and the second run that only asks.
#[tokio::test]
async fn a_current_file_is_only_asked_about() {
    let story = Story::new("one");
    let fetched = |bytes| Downloaded::Fetched { bytes, resumed: 0 };
    assert_eq!(story.run(&story.download()).await.unwrap(), fetched(3));
    let modified = std::fs::metadata(story.dir.path().join("file"))
        .unwrap()
        .modified()
        .unwrap();
    let since = modified.duration_since(std::time::UNIX_EPOCH).unwrap();
    assert_eq!(
        since.as_secs(),
        784_111_777,
        "the time that the server gives"
    );
    let before = story.mirror.requests().len();
    assert_eq!(
        story.run(&story.download()).await.unwrap(),
        Downloaded::Current
    );
    assert_eq!(story.mirror.requests()[before..], ["HEAD /file"]);

    // Touched, resized, or changed on the server without a new time.
    let file = std::fs::File::options()
        .append(true)
        .open(story.dir.path().join("file"))
        .unwrap();
    file.set_modified(std::time::SystemTime::now()).unwrap();
    assert_eq!(story.run(&story.download()).await.unwrap(), fetched(3));
    std::fs::write(story.dir.path().join("file"), "resized").unwrap();
    assert_eq!(story.run(&story.download()).await.unwrap(), fetched(3));
    story.mirror.put("file", "two");
    assert_eq!(story.run(&story.download()).await.unwrap(), fetched(3));
    assert_eq!(story.file(), b"two");
    assert_eq!(story.names(), ["file", "file.etag"]);
}

#[tokio::test]
async fn a_failure_leaves_the_old_file() {
    let story = Story::new("new");
    let told = async |download: Download| {
        std::fs::write(story.dir.path().join("file"), "old!").unwrap();
        let error = story.run(&download).await.unwrap_err();
        assert_eq!(story.file(), b"old!");
        assert_eq!(story.names(), ["file"], "{}", error.chain());
        (error.kind(), error.chain())
    };
    story.mirror.without("etag");
    story.mirror.without("last-modified");
    let (kind, text) = told(story.download()).await;
    assert_eq!(kind, ErrorKind::Invalid);
    assert!(text.contains("Last-Modified"), "{text}");
    story.mirror.answer([404]);
    assert_eq!(told(story.download()).await.0, ErrorKind::NotFound);
    let expected = story.download().sha256(sum(b"new"));
    assert_eq!(told(expected.clone().bytes(5)).await.0, ErrorKind::Corrupt);
    assert_eq!(told(expected.clone().at_most(2)).await.0, ErrorKind::Limit);
    let (kind, text) = told(story.download().sha256(sum(b"other"))).await;
    assert_eq!(kind, ErrorKind::Corrupt);
    assert!(
        text.contains("corrupt? does not have expected SHA-256 of"),
        "{text}"
    );
    story.mirror.answer([503]);
    assert_eq!(told(expected).await.0, ErrorKind::Unavailable);
    let nowhere = Download::new("http://127.0.0.1:1/file", story.dir.path().join("file"));
    assert_eq!(
        told(nowhere.attempts(1, Duration::ZERO)).await.0,
        ErrorKind::Unavailable
    );
}

/// Cut at seeded points, each time by the end of the run: every byte is sent once.
#[tokio::test]
async fn it_goes_on_where_it_was_cut() {
    let content = noise(300_000);
    for (seed, validators) in [(1_u64, true), (2, true), (3, false)] {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let story = Story::new(content.clone());
        if !validators {
            story.mirror.without("etag");
            story.mirror.without("last-modified");
        }
        let download = story.download().sha256(sum(&content));
        let cuts: Vec<usize> = (0..12).map(|_| rng.random_range(0..40_000)).collect();
        // The second request of a run brings nothing and ends it.
        story.mirror.cut(cuts.iter().flat_map(|&cut| [cut, 0]));
        for _ in &cuts {
            if story.mirror.sent() >= 300_000 {
                break;
            }
            let _cut = story.run(&download).await;
        }
        let done = story.run(&download).await.unwrap();
        assert_eq!(story.file(), content, "seed {seed}");
        assert_eq!(story.mirror.sent(), 300_000, "seed {seed}");
        if let Downloaded::Fetched { bytes, resumed } = done {
            assert_eq!(bytes, 300_000);
            assert!(resumed > 0);
        }
        assert!(!story.names().contains(&"file.part".to_owned()));
    }
}

#[tokio::test]
async fn one_run_bears_cuts_as_long_as_something_comes() {
    let content = noise(100_000);
    let story = Story::new(content.clone());
    story.mirror.cut([0, 10, 0, 40_000, 0, 0]);
    let seen = Mutex::new(Vec::new());
    let tell = |progress| {
        if let Progress::Retrying { cause, .. } = progress {
            seen.lock().unwrap().push(cause);
        }
    };
    let download = story.download().attempts(3, Duration::ZERO);
    download.run(&story.client, &tell).await.unwrap();
    assert_eq!(story.file(), content);
    assert_eq!(seen.lock().unwrap().len(), 6);
}

/// The file changes between two runs, and within one: never a mix of both.
#[tokio::test]
async fn a_file_that_is_swapped_midway_begins_anew() {
    let (old, new) = (noise(50_000), noise(60_000)[10_000..].to_vec());
    for (checked, ranges) in [(false, true), (true, true), (true, false)] {
        let story = Story::new(old.clone());
        if !ranges {
            story.mirror.without("range");
        }
        if checked {
            // Without validators only the checksum can tell.
            story.mirror.without("etag");
        }
        // Until a request brings nothing.
        story.mirror.cut([20_000, 0]);
        if !ranges {
            story.mirror.cut([0]);
        }
        let download = |content: &[u8]| match checked {
            true => story.download().sha256(sum(content)),
            false => story.download(),
        };
        story.run(&download(&old)).await.unwrap_err();
        assert!(!story.dir.path().join("file").exists());
        story.mirror.put("file", new.clone());
        story.run(&download(&new)).await.unwrap();
        assert_eq!(story.file(), new);
    }
}

#[tokio::test]
async fn a_part_of_something_else_is_not_used() {
    let content = noise(30_000);
    for (part, origin) in [
        (noise(40_000), "{}".to_owned()),
        (vec![0; 10_000], "{".to_owned()),
        (
            vec![0; 10_000],
            r#"{"url":"http://elsewhere/","validator":"\"x\"","total":30000}"#.to_owned(),
        ),
    ] {
        for checked in [false, true] {
            let story = Story::new(content.clone());
            std::fs::write(story.dir.path().join("file.part"), &part).unwrap();
            std::fs::write(story.dir.path().join("file.part.json"), &origin).unwrap();
            let download = match checked {
                true => story.download().sha256(sum(&content)),
                false => story.download(),
            };
            story.run(&download).await.unwrap();
            assert_eq!(story.file(), content);
        }
    }
}

#[tokio::test]
async fn downloads_of_one_file_share_the_work() {
    let content = noise(100_000);
    let story = Story::new(content.clone());
    story.mirror.close_gate(50_000);
    let download = story.download().sha256(sum(&content));
    let waits = tokio::sync::Notify::new();
    let tell = |progress| {
        if progress == Progress::Waiting {
            waits.notify_one();
        }
    };
    let client = &story.client;
    let (first, second, ()) = tokio::join!(
        download.run(client, &tell),
        download.run(client, &tell),
        async {
            waits.notified().await;
            story.mirror.open_gate();
        }
    );
    let done = [first.unwrap(), second.unwrap()];
    assert!(done.contains(&Downloaded::Current), "{done:?}");
    assert_eq!(story.file(), content);
    assert_eq!(story.mirror.sent(), 100_000);
}

#[tokio::test]
async fn a_proxy_is_asked_for_everything_but_what_it_is_not_for() {
    let story = Story::new("direct");
    let proxy = Mirror::start().unwrap();
    proxy.put("file", "by the proxy");
    let url = "http://mirror.invalid/file";
    let through = HttpOptions::default()
        .http_proxy(proxy.url())
        .no_proxy("127.0.0.1")
        .build()
        .unwrap();
    let file = story.dir.path().join("file");
    Download::new(url, &file)
        .run(&through, &|_| ())
        .await
        .unwrap();
    assert_eq!(story.file(), b"by the proxy");
    story.download().run(&through, &|_| ()).await.unwrap();
    assert_eq!(story.file(), b"direct");
}

#[tokio::test]
async fn a_download_ends_at_its_deadline() {
    let story = Story::new(noise(10_000));
    story.mirror.close_gate(5_000);
    let download = story.download().deadline(Duration::from_millis(300));
    assert_eq!(
        story.run(&download).await.unwrap_err().kind(),
        ErrorKind::TimedOut
    );
    story.mirror.open_gate();
    story.run(&story.download()).await.unwrap();
    let file = story.dir.path().join("file");
    assert_eq!(sum_of(&file).await.unwrap(), sum(&noise(10_000)));
}
