//! Certificates in object stores that are spoken to.

use std::fs;
use std::time::{Duration, Instant};

use build_server::https::acme::{CertificateCache as _, ObjectCache};

use super::door::{NAME, NOBODY, kept, try_curl};
use super::peer::{LIMIT, Peer, has};
use super::s3::{SECRET, Store, environment};

type Settings = Vec<(&'static str, String)>;

/// What a cache is told of the store.
fn options(settings: &Settings) -> Vec<(String, String)> {
    let settings = settings.iter();
    let pairs = settings.map(|(name, value)| (name.to_ascii_lowercase(), value.clone()));
    pairs.collect()
}

/// S3, and Google's, which this one asks for no signatures.
fn stores() -> [(Store, &'static str, Settings); 2] {
    let s3 = Store::start();
    let settings = environment(&s3, SECRET);
    let google = Store::start();
    google.state().is_open = true;
    let key = serde_json::json!({
        "gcs_base_url": google.address, "disable_oauth": true,
        "client_email": "", "private_key": "", "private_key_id": "",
    });
    let told = vec![
        ("GOOGLE_SERVICE_ACCOUNT_KEY", key.to_string()),
        ("GOOGLE_ALLOW_HTTP", "true".to_owned()),
    ];
    [
        (s3, "s3://certificates/farm", settings),
        (google, "gs://certificates/farm", told),
    ]
}

#[tokio::test]
async fn certificates_are_kept_in_s3_and_in_google_cloud_storage() {
    for (store, place, settings) in stores() {
        let cache = ObjectCache::at(place, options(&settings)).unwrap();
        assert_eq!(cache.get(NAME).await.unwrap(), None, "{place}");
        cache.delete(NAME).await.unwrap();
        cache.put(NAME, b"one".to_vec()).await.unwrap();
        cache.put(NAME, b"two".to_vec()).await.unwrap();
        cache
            .put("acme_account+key", b"key".to_vec())
            .await
            .unwrap();
        let again = ObjectCache::at(place, options(&settings)).unwrap();
        assert_eq!(again.get(NAME).await.unwrap().unwrap(), b"two");
        let account = again.get("acme_account+key").await.unwrap();
        assert_eq!(account.unwrap(), b"key");
        again.delete(NAME).await.unwrap();
        assert_eq!(cache.get(NAME).await.unwrap(), None, "{place}");
        assert_eq!(store.state().objects.len(), 1, "{place}");
    }
    // Somebody else's key opens nothing, and is not told.
    let s3 = Store::start();
    let cache = ObjectCache::at("s3://x", options(&environment(&s3, "another one"))).unwrap();
    let error = cache.put(NAME, b"one".to_vec()).await.unwrap_err();
    assert!(!error.to_string().contains("another one"), "{error}");
}

#[tokio::test]
async fn a_server_finds_its_certificate_in_an_object_store() {
    if !has("curl") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (folder, trusted) = kept(dir.path());
    for (store, place, settings) in stores() {
        let cache = ObjectCache::at(place, options(&settings)).unwrap();
        let certificate = fs::read(folder.join(NAME)).unwrap();
        cache.put(NAME, certificate).await.unwrap();
        let mut peer = Peer::start("pubsubhelper", 2, |command| {
            command
                .args(["-http", "127.0.0.1:0", "-https", "127.0.0.1:0"])
                .args(["-autocert", NAME, "-autocert-directory", NOBODY])
                .args(["-autocert-cache", place])
                .env("PUBSUBHELPER_WEBHOOK_SECRET", "secret")
                .envs(settings);
        });
        // It listens before it has read its certificate.
        let until = Instant::now() + LIMIT;
        let answer = loop {
            match try_curl(&trusted, &peer.addresses[1], "/healthz", &[]) {
                Ok(answer) => break answer,
                Err(told) => assert!(Instant::now() < until, "{place}: {told}"),
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        assert!(answer.starts_with("HTTP/1.1 200"), "{place}: {answer}");
        let asked = store.state().asked.clone();
        assert!(
            asked.iter().any(|asked| asked.starts_with("GET")),
            "{asked:?}"
        );
        assert_eq!(peer.end(), Some(0));
    }
}
