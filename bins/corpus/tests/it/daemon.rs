//! `maintnerd` as others see it while it synchronises: followers, askers, other writers.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

use crate::maintnerd::{Served, commit, repository, serve};
use crate::run;

/// Runs a program with caches of its own; what it printed.
fn with_cache(cache: &Path, program: &str, args: &[&str]) -> String {
    let done = Command::new(env!("CARGO_BIN_EXE_farmer-corpus"))
        .arg(program)
        .args(args)
        .env("XDG_CACHE_HOME", cache)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let err = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{program} {args:?}: {err}");
    String::from_utf8(done.stdout).unwrap()
}

fn end(served: &mut Served) -> ExitStatus {
    let id = served.child.id().to_string();
    Command::new("kill").args(["-TERM", &id]).status().unwrap();
    served.child.wait().unwrap()
}

fn flag(name: &str, path: &Path) -> String {
    format!("-{name}={}", path.display())
}

fn dump(path: &Path) -> String {
    let ran = run("maintq", &[&"dump", &"--hash", &path]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    ran.out
}

#[test]
fn it_serves_its_log_and_answers_questions_while_it_syncs() {
    let dir = tempfile::tempdir().unwrap();
    let (repo, data, cache) = (
        dir.path().join("repo"),
        dir.path().join("data"),
        dir.path().join("cache"),
    );
    repository(&repo);
    let mut served = serve(&[
        &flag("watch-git", &repo),
        &flag("data-dir", &data),
        "-every=1",
        "-listen-https-selfsigned=localhost:0",
    ]);
    served.until("/metrics", "maintner_log_records 3");
    let index = served.until("/logs", "\"sha224\"");
    assert!(
        index.contains("\"url\": \"/logs/0\"") || index.contains("\"url\":\"/logs/0\""),
        "{index}"
    );
    let url = format!("http://{}/logs", served.address);
    let theirs = with_cache(&cache, "maintq", &["dump", "--hash", &url]);
    assert_eq!(theirs, dump(&data), "a follower has what the folder has");

    // Questions over plain HTTP/2 and over TLS, on the ports of everything else.
    let head = crate::maintnerd::git(&repo, &["rev-parse", "HEAD"]);
    let first = crate::maintnerd::git(&repo, &["rev-parse", "HEAD~1"]);
    let secure = served.tls.clone().unwrap();
    for server in [format!("http://{}", served.address), secure] {
        let server = format!("-server={server}");
        let ran = run("maintq", &[&server, &"has-ancestor", &head, &first]);
        assert_eq!(
            (ran.code, ran.out.trim()),
            (Some(0), "has_ancestor:true"),
            "{}",
            ran.err
        );
    }
    assert!(data.join("tls/ca.pem").exists());
    assert!(served.get("/debug/anomalies").contains("\"BadCommit\":0"));

    // A long poll and a tail end with the next commit.
    let sum = index
        .lines()
        .find_map(|line| line.strip_prefix("x-sum-segment-size: "));
    let wait = format!("/logs?waitsizenot={}", sum.unwrap());
    let mut watch = Command::new(env!("CARGO_BIN_EXE_farmer-corpus"))
        .args(["maintwatch", "--count=1", &format!("-server={url}")])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    served.until("/metrics", "maintner_log_followers 1");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| served.get(&wait));
        commit(&repo, "third, seen at once");
        assert!(waiting.join().unwrap().starts_with("HTTP/1.1 200"));
    });
    let mut news = String::new();
    BufReader::new(watch.stdout.take().unwrap())
        .read_to_string(&mut news)
        .unwrap();
    assert!(watch.wait().unwrap().success());
    assert!(news.contains("git") || news.contains("gerrit"), "{news}");
    assert_eq!(end(&mut served).code(), Some(0));
}

#[test]
fn without_mutations_it_shows_a_log_that_another_one_writes() {
    let dir = tempfile::tempdir().unwrap();
    let (repo, data) = (dir.path().join("repo"), dir.path().join("data"));
    repository(&repo);
    let served = serve(&[&flag("data-dir", &data), "-generate-mutations=false"]);
    served.until("/healthz", "200 OK");
    let page = served.get("/");
    assert!(page.contains("No host is watched"), "{page}");
    let watch = flag("watch-git", &repo);
    let ran = run(
        "maintnerd",
        &[&watch, &flag("data-dir", &data), &"-sync-and-quit"],
    );
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    served.until("/metrics", "maintner_log_records 3");
    served.until("/logs", "\"sha224\"");
}

#[test]
fn a_log_in_a_bucket_moves_to_other_hosts_and_has_one_writer() {
    let dir = tempfile::tempdir().unwrap();
    let place = |name: &str| dir.path().join(name);
    let (repo, bucket) = (
        place("repo"),
        format!("-bucket=file://{}", place("bucket").display()),
    );
    repository(&repo);
    let watch = flag("watch-git", &repo);
    let start = |name: &str| serve(&[&watch, &flag("data-dir", &place(name)), &bucket, "-every=1"]);
    let mut one = start("one");
    one.until("/metrics", "maintner_log_records 3");
    let other = start("other");
    let standing = other.until("/healthz", "standing by");
    assert!(standing.contains("is written by"), "{standing}");
    assert!(standing.starts_with("HTTP/1.1 503"), "{standing}");
    let mut third = start("never");
    third.until("/healthz", "standing by");
    assert_eq!(
        end(&mut third).code(),
        Some(0),
        "it ends also while it waits"
    );
    assert_eq!(end(&mut one).code(), Some(0));
    // It goes on at once, with everything that the first one had.
    other.until("/healthz", "200 OK");
    commit(&repo, "third");
    other.until("/metrics", "maintner_log_records 5");
    let mut other = other;
    assert_eq!(end(&mut other).code(), Some(0));

    let ran = run(
        "maintnerd",
        &[
            &watch,
            &flag("data-dir", &place("third")),
            &bucket,
            &"-sync-and-quit",
        ],
    );
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert_eq!(dump(&place("third")), dump(&place("other")));
    // Somebody who only looks needs no host, and gets what comes.
    let reader = serve(&[
        &flag("data-dir", &place("reader")),
        &bucket,
        "-generate-mutations=false",
    ]);
    reader.until("/metrics", "maintner_log_records 5");
    reader.until("/logs", "\"sha224\"");
    // The first one's folder is behind, and catches up.
    commit(&repo, "fourth");
    let ran = run(
        "maintnerd",
        &[
            &watch,
            &flag("data-dir", &place("one")),
            &bucket,
            &"-sync-and-quit",
        ],
    );
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    reader.until("/metrics", "maintner_log_records 7");
}

#[test]
fn a_folder_is_migrated_and_a_wrong_bucket_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let (repo, data) = (dir.path().join("repo"), dir.path().join("data"));
    repository(&repo);
    let folder = flag("data-dir", &data);
    let ran = run("maintnerd", &[&"-migrate-disk-to-gcs", &folder]);
    assert_eq!(ran.code, Some(2));
    assert!(
        ran.err
            .contains("--bucket flag required with --migrate-disk-to-gcs"),
        "{}",
        ran.err
    );
    let ran = run(
        "maintnerd",
        &[&flag("watch-git", &repo), &folder, &"-sync-and-quit"],
    );
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let bucket = format!("-bucket=file://{}", dir.path().join("bucket").display());
    let ran = run("maintnerd", &[&"-migrate-disk-to-gcs", &folder, &bucket]);
    assert!(
        ran.code == Some(0) && ran.out.starts_with("Success: 1 objects"),
        "{}{}",
        ran.out,
        ran.err
    );
    let copy = dir.path().join("copy");
    let ran = run(
        "maintnerd",
        &[
            &flag("watch-git", &repo),
            &flag("data-dir", &copy),
            &bucket,
            &"-sync-and-quit",
        ],
    );
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert_eq!(dump(&copy), dump(&data));
    let ran = run(
        "maintnerd",
        &[&"-bucket=ftp://host/x", &folder, &"-sync-and-quit"],
    );
    assert_eq!(ran.code, Some(2));
    assert!(
        ran.err
            .contains("is no object store that this program knows"),
        "{}",
        ran.err
    );
    let ran = run("maintnerd", &[&"-config=go", &"-watch-github=a/b", &folder]);
    assert_eq!(ran.code, Some(2));
    assert!(
        ran.err
            .contains("can't set both --config and --watch-github"),
        "{}",
        ran.err
    );
}

#[test]
fn presets_show_or_continue_the_log_of_a_server() {
    let dir = tempfile::tempdir().unwrap();
    let (repo, data, cache) = (
        dir.path().join("repo"),
        dir.path().join("data"),
        dir.path().join("cache"),
    );
    repository(&repo);
    let leader = serve(&[
        &flag("watch-git", &repo),
        &flag("data-dir", &data),
        "-every=1",
    ]);
    leader.until("/metrics", "maintner_log_records 3");
    leader.until("/logs", "\"sha224\"");
    let server = format!("-godata-server=http://{}/logs", leader.address);
    // devgo: its log is copied into the folder, in the place of what was there.
    let dev = dir.path().join("dev");
    std::fs::create_dir(&dev).unwrap();
    std::fs::write(dev.join("maintner-2020-01-01.mutlog"), "").unwrap();
    let args = [
        "-config=devgo",
        &server,
        &flag("data-dir", &dev),
        "-init-and-quit",
    ];
    let said = with_cache(&cache, "maintnerd", &args);
    assert!(
        said.starts_with("Loaded data in ") && said.contains(" MB ("),
        "{said}"
    );
    assert_eq!(dump(&dev), dump(&data));
    assert!(!dev.join("maintner-2020-01-01.mutlog").exists());
    // godata: a mirror of the server, live.
    let mut mirror = Command::new(env!("CARGO_BIN_EXE_farmer-corpus"));
    mirror.env("XDG_CACHE_HOME", &cache);
    let mirror = Served::start(
        mirror,
        &["-config=godata", &server, &flag("data-dir", &dev)],
    );
    mirror.until("/metrics", "maintner_log_records 3");
    commit(&repo, "third");
    mirror.until("/metrics", "maintner_log_records 5");
    let line = BufReader::new(mirror.get("/logs").as_bytes())
        .lines()
        .next();
    assert!(line.unwrap().unwrap().contains("200"));
}

#[test]
fn with_a_certificate_for_its_name_it_answers_pages_and_questions() {
    const NAME: &str = "maintner.example.org";
    let dir = tempfile::tempdir().unwrap();
    let (repo, data) = (dir.path().join("repo"), dir.path().join("data"));
    repository(&repo);
    // Kept from before: no authority is asked.
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec![NAME.to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap().pem();
    let (cache, trusted) = (data.join("autocert"), dir.path().join("trusted.pem"));
    std::fs::create_dir_all(&cache).unwrap();
    std::fs::write(cache.join(NAME), key.serialize_pem() + &certificate).unwrap();
    std::fs::write(&trusted, &certificate).unwrap();
    let served = serve(&[
        &flag("watch-git", &repo),
        &flag("data-dir", &data),
        "-every=1",
        "-listen-https=127.0.0.1:0",
        &format!("-autocert={NAME}"),
        "-autocert-directory=https://127.0.0.1:9/directory",
    ]);
    served.until("/metrics", "maintner_log_records 3");
    let secure = served.tls.clone().unwrap();
    let port = secure.rsplit(':').next().unwrap();
    let asked = Command::new("curl")
        .args(["-sS", "--http2", "--noproxy", "*", "--cacert"])
        .arg(&trusted)
        .args(["--resolve", &format!("{NAME}:{port}:127.0.0.1")])
        .args(["-w", "%{http_version}", "-o", "/dev/null"])
        .arg(format!("https://{NAME}:{port}/logs"))
        .output()
        .unwrap();
    // Go clients of gRPC need HTTP/2, and take what the server prefers.
    assert_eq!(String::from_utf8_lossy(&asked.stdout), "2", "{asked:?}");
    let ran = run(
        "maintnerd",
        &[
            &"-autocert=nodots",
            &"-listen-https=127.0.0.1:0",
            &"-listen=127.0.0.1:0",
            &flag("data-dir", &dir.path().join("other")),
            &flag("watch-git", &repo),
        ],
    );
    assert_eq!(ran.code, Some(2), "{}", ran.err);
    assert!(ran.err.contains("no authority vouches"), "{}", ran.err);
}
