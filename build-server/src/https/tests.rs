use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
use tokio_rustls::TlsConnector;

use super::*;

/// What a client that trusts `ca` and offers `protocols` reads from a server.
async fn greet(
    tls: &Tls,
    ca: &str,
    name: &str,
    protocols: &[&[u8]],
) -> io::Result<(String, Option<Vec<u8>>)> {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(ca.as_bytes()).unwrap())
        .unwrap();
    let mut config = ClientConfig::builder_with_provider(sni::provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|p| p.to_vec()).collect();
    let (near, far) = duplex(64 << 10);
    let server = async {
        let mut stream = tls.accept(far).await?;
        stream.write_all(b"hello").await?;
        stream.shutdown().await?;
        io::Result::Ok(Tls::protocol(&stream).map(<[u8]>::to_vec))
    };
    let client = async {
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let connector = TlsConnector::from(Arc::new(config));
        let mut stream = connector.connect(name, near).await?;
        let mut said = String::new();
        stream.read_to_string(&mut said).await?;
        io::Result::Ok(said)
    };
    let (client, server) = tokio::join!(client, server);
    Ok((client?, server?))
}

#[tokio::test]
async fn a_development_certificate_is_trusted_by_its_authority_alone() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let made = development(dir.path(), &["farm.example.com".to_owned()]).unwrap();
    let ca = std::fs::read_to_string(made.ca_path()).unwrap();
    let tls = Tls::new(made.certificate().clone());
    for name in ["localhost", "go", "127.0.0.1", "::1", "farm.example.com"] {
        assert_eq!(
            greet(&tls, &ca, name, &[]).await.unwrap().0,
            "hello",
            "{name}"
        );
    }
    greet(&tls, &ca, "elsewhere.example.com", &[])
        .await
        .unwrap_err();
    let stranger = development(other.path(), &[]).unwrap();
    let strange = std::fs::read_to_string(stranger.ca_path()).unwrap();
    greet(&tls, &strange, "localhost", &[]).await.unwrap_err();

    // The next start has the same authority, and its key is for the owner alone.
    let again = development(dir.path(), &[]).unwrap();
    let tls = Tls::new(again.certificate().clone());
    assert_eq!(greet(&tls, &ca, "localhost", &[]).await.unwrap().0, "hello");
    let mode = std::fs::metadata(dir.path().join("ca-key.pem"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn http1_comes_before_http2() {
    let dir = tempfile::tempdir().unwrap();
    let made = development(dir.path(), &[]).unwrap();
    let ca = std::fs::read_to_string(made.ca_path()).unwrap();
    let tls = Tls::new(made.certificate().clone());
    let both: &[&[u8]] = &[b"h2", b"http/1.1"];
    for (offered, agreed) in [
        (both, Some("http/1.1")),
        (&both[..1], Some("h2")),
        (&[], None),
    ] {
        let (_, protocol) = greet(&tls, &ca, "localhost", offered).await.unwrap();
        assert_eq!(protocol.as_deref(), agreed.map(str::as_bytes));
    }
}

fn pair(dir: &std::path::Path, name: &str) -> (String, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let cert = rcgen::CertificateParams::new(["localhost".to_owned()])
        .unwrap()
        .self_signed(&key)
        .unwrap();
    let (cert, key) = (cert.pem(), key.serialize_pem());
    std::fs::write(dir.join(format!("{name}.pem")), &cert).unwrap();
    std::fs::write(dir.join(format!("{name}-key.pem")), &key).unwrap();
    (cert, key)
}

#[tokio::test]
async fn a_changed_file_is_served_without_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (first, _) = pair(dir.path(), "served");
    let (second, second_key) = pair(dir.path(), "next");
    let paths = (
        dir.path().join("served.pem"),
        dir.path().join("served-key.pem"),
    );
    let mut files = CertificateFiles::open(&paths.0, &paths.1).unwrap();
    let tls = Tls::new(files.certificate().clone());
    assert!(!files.reload().unwrap());
    greet(&tls, &first, "localhost", &[]).await.unwrap();

    // The certificate is there before its key: the old pair stays.
    std::fs::write(&paths.0, &second).unwrap();
    let error = files.reload().unwrap_err();
    assert!(matches!(error, Error::Pair(_)), "{error}");
    greet(&tls, &first, "localhost", &[]).await.unwrap();

    std::fs::write(&paths.1, &second_key).unwrap();
    assert!(files.reload().unwrap());
    greet(&tls, &second, "localhost", &[]).await.unwrap();
    greet(&tls, &first, "localhost", &[]).await.unwrap_err();

    std::fs::remove_file(&paths.1).unwrap();
    let error = files.reload().unwrap_err();
    assert_eq!(error.to_string(), paths.1.display().to_string());
}

#[tokio::test(start_paused = true)]
async fn files_are_watched_until_the_end() {
    let dir = tempfile::tempdir().unwrap();
    pair(dir.path(), "served");
    let (second, second_key) = pair(dir.path(), "next");
    let paths = (
        dir.path().join("served.pem"),
        dir.path().join("served-key.pem"),
    );
    let files = CertificateFiles::open(&paths.0, &paths.1).unwrap();
    let tls = Tls::new(files.certificate().clone());
    let stop = tokio_util::sync::CancellationToken::new();
    let watch = files.watch(stop.clone());
    let story = async {
        std::fs::write(&paths.0, &second).unwrap();
        std::fs::write(&paths.1, &second_key).unwrap();
        tokio::time::sleep(2 * CertificateFiles::INTERVAL).await;
        greet(&tls, &second, "localhost", &[]).await.unwrap();
        stop.cancel();
    };
    tokio::join!(watch, story);
}

#[test]
fn what_is_no_certificate_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (cert, key) = pair(dir.path(), "a");
    let (_, other) = pair(dir.path(), "b");
    assert!(matches!(
        Certificate::from_pem("", &key),
        Err(Error::NoCertificate)
    ));
    assert!(matches!(
        Certificate::from_pem(&cert, ""),
        Err(Error::Key(_))
    ));
    assert!(matches!(
        Certificate::from_pem(&cert, &other),
        Err(Error::Pair(_))
    ));
    let error = CertificateFiles::open("/nowhere/x.pem", "/nowhere/y.pem").unwrap_err();
    assert_eq!(error.to_string(), "/nowhere/x.pem");
}

/// Any bytes as the first record: nothing panics, and only the type of one extension changes.
#[test]
fn hiding_changes_two_bytes_at_the_most() {
    use proptest::prelude::*;
    let strategy = proptest::collection::vec(any::<u8>(), 0..200);
    proptest!(|(mut data in strategy, begin in any::<bool>())| {
        if begin {
            data.splice(0..data.len().min(6), [22, 3, 1, 0, 0, 1]);
        }
        let mut hidden = data.clone();
        sni::hide(&mut hidden);
        let changed = data.iter().zip(&hidden).filter(|(a, b)| a != b).count();
        prop_assert!(changed <= 2 && data.len() == hidden.len());
    });
}
