//! TLS of the servers: with a certificate that was kept before, so that no authority is asked.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use build_core::webhook::sign;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::peer::{Peer, git, has};

/// A name that no machine has.
pub(crate) const NAME: &str = "site.example.org";
/// No authority answers there.
pub(crate) const NOBODY: &str = "https://127.0.0.1:9/directory";

/// A folder with a certificate, as `-autocert-cache` keeps it, and the certificate alone.
pub(crate) fn kept(dir: &Path) -> (PathBuf, PathBuf) {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec![NAME.to_owned()])
        .unwrap()
        .self_signed(&key)
        .unwrap();
    let (cache, trusted) = (dir.join("cache"), dir.join("trusted.pem"));
    fs::create_dir_all(&cache).unwrap();
    let both = key.serialize_pem() + &certificate.pem();
    fs::write(cache.join(NAME), both).unwrap();
    fs::write(&trusted, certificate.pem()).unwrap();
    (cache, trusted)
}

fn with_autocert(command: &mut Command, cache: &Path) {
    command
        .args(["-http", "127.0.0.1:0", "-https", "127.0.0.1:0"])
        .args(["-autocert", NAME, "-autocert-directory", NOBODY])
        .arg("-autocert-cache")
        .arg(cache);
}

/// Asks the address `address` as the server `NAME`, by curl; answers head and body.
pub(crate) fn curl(trusted: &Path, address: &str, path: &str, more: &[&str]) -> String {
    try_curl(trusted, address, path, more).unwrap_or_else(|told| panic!("{path}: {told}"))
}

/// The same, or what curl says.
pub(crate) fn try_curl(
    trusted: &Path,
    address: &str,
    path: &str,
    more: &[&str],
) -> Result<String, String> {
    let port = address.rsplit(':').next().unwrap();
    let done = Command::new("curl")
        .args([
            "-sS",
            "-i",
            "--noproxy",
            "*",
            "--max-time",
            "30",
            "--cacert",
        ])
        .arg(trusted)
        .args(["--resolve", &format!("{NAME}:{port}:127.0.0.1")])
        .args(more)
        .arg(format!("https://{NAME}:{port}{path}"))
        .output()
        .unwrap();
    match done.status.success() {
        true => Ok(String::from_utf8_lossy(&done.stdout).into_owned()),
        false => Err(String::from_utf8_lossy(&done.stderr).into_owned()),
    }
}

#[test]
fn tip_sends_everybody_to_tls_and_says_so_for_a_year() {
    if !has("curl") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (cache, trusted) = kept(dir.path());
    let config = dir.path().join("tip.toml");
    let text = "[[source]]\nname = 'x'\nurl = '/nowhere'\n[[step]]\ncommand = ['true']\n\
        [serve]\ncommand = ['true']\n[probe]\npath = '/'\n";
    fs::write(&config, text).unwrap();
    let tip = Peer::start("tip", 2, |command| {
        with_autocert(command, &cache);
        command.arg("-config").arg(&config);
        command.arg("-data").arg(dir.path().join("data"));
    });
    let answer = curl(&trusted, &tip.addresses[1], "/_tipstatus", &[]);
    assert!(answer.contains("\r\n\r\nside="), "{answer}");
    let rule = "strict-transport-security: max-age=31536000; includeSubDomains; preload";
    assert!(answer.contains(rule), "{answer}");

    let port = tip.addresses[1].rsplit(':').next().unwrap();
    let host = format!("Host: {NAME}\r\n");
    let sent = tip.ask("GET", "/pkg/?m=all", &host, b"");
    let to = format!("https://{NAME}:{port}/pkg/?m=all");
    assert_eq!((sent.status, sent.header("location")), (302, Some(&*to)));
    assert_eq!(sent.header("strict-transport-security"), None);
    // Those who only ask whether it lives need no certificate.
    assert_eq!(tip.get("/_ah/health").text(), "Not ready\n");
}

#[test]
fn pubsubhelper_takes_notices_over_its_own_tls_alone() {
    if !has("curl") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (cache, trusted) = kept(dir.path());
    let mut peer = Peer::start("pubsubhelper", 2, |command| {
        with_autocert(command, &cache);
        command.env("PUBSUBHELPER_WEBHOOK_SECRET", "secret");
    });
    let body = r#"{"action":"opened","issue":{"number":7},"repository":{"full_name":"a/b"}}"#;
    let signature = format!("X-Hub-Signature-256: {}", sign(b"secret", body.as_bytes()));
    let head = format!("{signature}\r\n");
    let plain = peer.ask("POST", "/github-webhook", &head, body.as_bytes());
    assert_eq!((plain.status, &*plain.text()), (400, "HTTPS required\n"));
    let more = ["-H", &signature, "--data-binary", body];
    let address = peer.addresses[1].clone();
    let answer = curl(&trusted, &address, "/github-webhook", &more);
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let recent = peer.get("/recent").text();
    assert_eq!(recent.matches("RepoOwner").count(), 1, "{recent}");
    assert_eq!(peer.end(), Some(0));
}

/// Writes the files of `dir` as an archive.
pub(crate) fn pack(dir: &Path, to: &Path) {
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    let mut zip = ZipWriter::new(fs::File::create(to).unwrap());
    add(&mut zip, dir, "");
    zip.finish().unwrap();
}

fn add(zip: &mut ZipWriter<fs::File>, dir: &Path, below: &str) {
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let name = format!("{below}{}", entry.file_name().to_str().unwrap());
        if entry.path().is_dir() {
            zip.add_directory(&name, SimpleFileOptions::default())
                .unwrap();
            add(zip, &entry.path(), &format!("{name}/"));
        } else {
            zip.start_file(name, SimpleFileOptions::default()).unwrap();
            std::io::copy(&mut fs::File::open(entry.path()).unwrap(), zip).unwrap();
        }
    }
}

#[test]
fn vcweb_serves_archives_over_tls_and_shows_what_clients_say() {
    if !has("curl") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let here = dir.path();
    let (cache, trusted) = kept(here);
    let work = here.join("work");
    fs::create_dir(&work).unwrap();
    git(&work, &["init", "-q"]);
    let publish = |text: &str| {
        fs::write(work.join("hello"), text).unwrap();
        git(&work, &["add", "-A"]);
        git(&work, &["commit", "-qm", "c"]);
        let bare = here.join("bare");
        let _ = fs::remove_dir_all(&bare);
        git(here, &["clone", "-q", "--bare", "work", "bare"]);
        pack(&bare, &here.join("zips/git/hello.zip"));
    };
    publish("one\n");
    // One site has the archives in a folder, the other fetches them from there.
    let origin = Peer::start("vcweb", 2, |command| {
        command
            .args(["-http", "127.0.0.1:0", "-d"])
            .arg(here.join("origin"));
    });
    fs::create_dir_all(here.join("origin/go")).unwrap();
    fs::rename(here.join("zips"), here.join("origin/go/zips")).unwrap();
    std::os::unix::fs::symlink(here.join("origin/go/zips"), here.join("zips")).unwrap();
    let mut site = Peer::start("vcweb", 3, |command| {
        with_autocert(command, &cache);
        command.args(["-zips", &origin.url("/go/zips")]);
        command.arg("-d").arg(here.join("data"));
    });
    // Told after the address in the clear and that of Subversion.
    let address = site.addresses[2].clone();
    let port = address.rsplit(':').next().unwrap().to_owned();
    let cloned = |name: &str| {
        let url = format!("https://{NAME}:{port}/git/hello");
        let resolve = format!("http.curloptResolve={NAME}:{port}:127.0.0.1");
        // What the environment says of certificates is above settings.
        let done = Command::new("git")
            .args(["-c", &resolve, "-c", "http.proxy="])
            .args(["clone", "-q", &url, name])
            .env("GIT_SSL_CAINFO", &trusted)
            .current_dir(here)
            .output()
            .unwrap();
        assert!(done.status.success(), "{done:?}");
        fs::read_to_string(here.join(name).join("hello")).unwrap()
    };
    assert_eq!(cloned("first"), "one\n");
    publish("two\n");
    assert_eq!(cloned("second"), "one\n", "looked at a moment ago");
    site.get("/git/hello?vcweb-force-reload=1");
    assert_eq!(cloned("third"), "two\n");
    fs::write(here.join("zips/git/hello.zip"), "no archive").unwrap();
    site.get("/git/hello?go-get=1");
    assert_eq!(
        cloned("fourth"),
        "two\n",
        "a damaged archive changes nothing"
    );
    assert!(site.get("/").text().contains("the archive is damaged"));

    // A client that trusts nobody, one that speaks no TLS that there is, and one that is fine.
    let foreign = Command::new("curl")
        .args(["-sS", "--noproxy", "*", "--tls-max", "1.2"])
        .args(["--ciphers", "AES128-SHA", "-k"])
        .arg(format!("https://127.0.0.1:{port}/"))
        .output()
        .unwrap();
    assert!(!foreign.status.success());
    let page = curl(&trusted, &address, "/tls", &["-A", "a client of <tests>"]);
    let own = &page[page.find("Your request").unwrap()..page.find("Recent requests").unwrap()];
    for part in [
        NAME,
        "TLSv1_3, TLS13_",
        "a client of &#60;tests&#62;",
        "X25519",
    ] {
        assert!(own.contains(part), "{part}: {own}");
    }
    let silent = &page[page.find("without a request").unwrap()..];
    assert!(silent.contains("CipherSuite(0x2f)"), "{silent}");
    assert!(silent.contains("failed: "), "{silent}");
    let own = site.get("/tls").text();
    assert!(own.contains("without TLS"), "{own}");
    assert_eq!(site.end(), Some(0));
}
