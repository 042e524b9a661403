//! A certificate from an authority of this machine: pebble, which checks what it is told.

use std::net::TcpListener as StdListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use build_server::https::Tls;
use build_server::https::acme::{Acme, CertificateCache, FolderCache, MemoryCache, ObjectCache};
use rustls::pki_types::ServerName;
use rustls::pki_types::pem::PemObject as _;
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};

use crate::interop::trusting;

const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/pebble");
/// Longer than anything here takes on a loaded machine.
const SOON: Duration = Duration::from_secs(120);

/// The authority and its name server, built once; `None` without Go.
fn programs() -> Option<PathBuf> {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("pebble");
    let programs = ["pebble", "pebble-challtestsrv"];
    if programs.iter().all(|name| dir.join(name).exists()) {
        return Some(dir);
    }
    let packages = programs.map(|name| format!("github.com/letsencrypt/pebble/v2/cmd/{name}"));
    let built = Command::new("go")
        .args(["build", "-mod=readonly", "-o"])
        .arg(format!("{}/", dir.display()))
        .args(packages)
        .current_dir(SOURCES)
        .env("GOFLAGS", "")
        .stdin(Stdio::null())
        .output();
    let trouble = match built {
        Ok(output) if output.status.success() => return Some(dir),
        Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
        Err(error) => format!("go: {error}"),
    };
    let in_ci = std::env::var_os("CI").is_some_and(|value| value == "true");
    assert!(!in_ci, "pebble cannot be built: {trouble}");
    eprintln!("SKIPPED: no certificate from an authority, pebble cannot be built: {trouble}");
    None
}

struct Authority {
    children: Vec<Child>,
    address: String,
    /// The certificate of its own server.
    root: PathBuf,
    _dir: tempfile::TempDir,
}

impl Drop for Authority {
    fn drop(&mut self) {
        for child in &mut self.children {
            // It may have ended already.
            let _ended = child.kill();
            let _reaped = child.wait();
        }
    }
}

/// A port that was free just now.
fn free_port() -> u16 {
    StdListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

impl Authority {
    /// One that asks each name on this port.
    async fn start(programs: &Path, tls_port: u16) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let (root, chain, key) = (path("root.pem"), path("chain.pem"), path("key.pem"));
        let ca_key = rcgen::KeyPair::generate().unwrap();
        let mut ca = rcgen::CertificateParams::default();
        ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        std::fs::write(&root, ca.self_signed(&ca_key).unwrap().pem()).unwrap();
        let issuer = rcgen::Issuer::new(ca, ca_key);
        let pair = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        std::fs::write(&chain, params.signed_by(&pair, &issuer).unwrap().pem()).unwrap();
        std::fs::write(&key, pair.serialize_pem()).unwrap();
        let [port, management, dns, dns_management] = [(); 4].map(|()| free_port());
        let config = serde_json::json!({ "pebble": {
            "listenAddress": format!("127.0.0.1:{port}"),
            "managementListenAddress": format!("127.0.0.1:{management}"),
            "certificate": chain, "privateKey": key,
            "httpPort": free_port(), "tlsPort": tls_port,
            "profiles": { "default": { "description": "short", "validityPeriod": 7776000 } },
        }});
        let file = dir.path().join("pebble.json");
        std::fs::write(&file, config.to_string()).unwrap();
        let names = Command::new(programs.join("pebble-challtestsrv"))
            .args([
                "-defaultIPv4",
                "127.0.0.1",
                "-defaultIPv6",
                "",
                "-http01",
                "",
                "-https01",
                "",
                "-tlsalpn01",
                "",
                "-doh",
                "",
            ])
            .args(["-dnsserver", &format!("127.0.0.1:{dns}")])
            .args(["-management", &format!("127.0.0.1:{dns_management}")])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let pebble = Command::new(programs.join("pebble"))
            .arg("-config")
            .arg(&file)
            .args(["-dnsserver", &format!("127.0.0.1:{dns}")])
            .env("PEBBLE_VA_NOSLEEP", "1")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let authority = Self {
            children: vec![names, pebble],
            address: format!("https://localhost:{port}/dir"),
            root,
            _dir: dir,
        };
        let up = async {
            for port in [port, dns] {
                while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        };
        tokio::time::timeout(SOON, up)
            .await
            .expect("the authority starts");
        authority
    }

    fn acme(&self, cache: impl CertificateCache + 'static) -> Acme {
        let names = ["farm.example.org", "www.example.org"];
        let acme = Acme::new(names, cache).unwrap();
        acme.directory(&self.address)
            .root_file(&self.root)
            .contact("mailto:ann@example.org")
    }
}

/// The certificate that a server shows to whoever asks for a name.
async fn shown(port: u16, name: &'static str) -> Option<Vec<u8>> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let name = ServerName::try_from(name).unwrap();
    let stream = trusting::connector().connect(name, stream).await.ok()?;
    let chain = stream.get_ref().1.peer_certificates()?;
    Some(chain[0].to_vec())
}

/// Greets whoever comes.
async fn greet(listener: TcpListener, tls: Tls) {
    while let Ok((stream, _)) = listener.accept().await {
        let tls = tls.clone();
        tokio::spawn(async move {
            // Until the other end has read what it wanted.
            if let Ok(mut stream) = tls.accept(stream).await {
                let _rest = stream.read(&mut [0; 1]).await;
            }
        });
    }
}

#[tokio::test]
async fn a_certificate_is_obtained_served_kept_and_not_ordered_twice() {
    let Some(programs) = programs() else {
        return;
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let authority = Authority::start(&programs, port).await;
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("acme");
    let acme = authority.acme(FolderCache::open(&folder).unwrap());
    let serving = tokio::spawn(greet(listener, Tls::with_acme(&acme)));
    assert_eq!(
        shown(port, "farm.example.org").await,
        None,
        "there is none yet"
    );
    let left = tokio::time::timeout(SOON, acme.step())
        .await
        .unwrap()
        .unwrap();
    assert!(left > Duration::from_secs(24 * 60 * 60), "{left:?}");
    let first = shown(port, "farm.example.org").await.unwrap();
    assert_eq!(shown(port, "www.example.org").await.unwrap(), first);
    assert_eq!(
        shown(port, "evil.example.org").await,
        None,
        "another name is refused"
    );
    assert_eq!(
        acme.step().await.unwrap().as_secs() / 60,
        left.as_secs() / 60
    );

    // Another process finds it, also in another kind of cache; the authority is not asked.
    let kept = FolderCache::open(&folder)
        .unwrap()
        .get("farm.example.org")
        .await
        .unwrap()
        .unwrap();
    assert!(
        kept.starts_with(b"-----BEGIN PRIVATE KEY-----"),
        "as Go's autocert keeps it"
    );
    let certificates = rustls::pki_types::CertificateDer::pem_slice_iter(&kept);
    let leaf = certificates.map(|c| c.unwrap()).next().unwrap();
    assert_eq!(leaf.to_vec(), first);
    let objects = ObjectCache::at("memory:///", Vec::new()).unwrap();
    objects.put("farm.example.org", kept).await.unwrap();
    drop(authority);
    let nobody = Acme::new(["farm.example.org", "www.example.org"], objects).unwrap();
    nobody
        .directory("https://localhost:9/dir")
        .step()
        .await
        .unwrap();
    // One for other names is of no use: it would be ordered, and nobody is there.
    let memory = Arc::new(MemoryCache::default());
    memory
        .put("other.example.org", b"damaged".to_vec())
        .await
        .unwrap();
    let other = Acme::new(["other.example.org"], memory).unwrap();
    let error = other
        .directory("https://localhost:9/dir")
        .step()
        .await
        .unwrap_err();
    assert!(error.to_string().contains("make an account"), "{error}");
    serving.abort();
}

#[tokio::test]
async fn an_authority_that_does_not_reach_this_server_says_so() {
    let Some(programs) = programs() else {
        return;
    };
    let authority = Authority::start(&programs, free_port()).await;
    let acme = authority.acme(MemoryCache::default());
    let error = tokio::time::timeout(SOON, acme.step())
        .await
        .unwrap()
        .unwrap_err();
    let said = error.to_string();
    assert!(said.contains("could not verify farm.example.org"), "{said}");
    assert!(said.contains("port 443"), "{said}");
}
