use build_client::once;
use object_store::PutPayload;

use super::*;
use crate::testing;

fn memory(quota: Quota) -> (tempfile::TempDir, ObjectBlobs) {
    let dir = tempfile::tempdir().unwrap();
    let spool = dir.path().join("spool");
    let blobs = ObjectBlobs::open("memory:///farm", Vec::new(), spool, quota).unwrap();
    (dir, blobs)
}

#[tokio::test]
async fn an_object_store_keeps_contents_as_files_do() {
    let (dir, blobs) = memory(Quota::default());
    testing::blobs(&blobs).await.unwrap();
    let key = BlobKey::new(BlobKind::Cache, "damaged").unwrap();
    blobs.put(&key, once("some contents")).await.unwrap();
    let name = Attribute::Metadata(SHA256.into());
    let sha256 = hex::encode(Sha256::digest(b"some contents"));
    let attributes = Attributes::from_iter([(name, sha256)]);
    let changed = PutPayload::from_static(b"Some contents");
    let path = blobs.path(&key);
    let put = blobs.store.put_opts(&path, changed, attributes.into());
    put.await.unwrap();
    testing::damaged_blob(&blobs, &key).await.unwrap();
    let left = dir.path().join("spool").read_dir().unwrap().count();
    assert_eq!(left, 0, "what was spooled is gone");
}

#[tokio::test]
async fn what_was_stored_first_makes_room_and_artifacts_never_do() {
    let (_dir, blobs) = memory(Quota {
        cache: 10,
        artifact: 10,
        ..Quota::default()
    });
    let key = |name: &str| BlobKey::new(BlobKind::Cache, name).unwrap();
    for name in ["first", "second", "third"] {
        blobs.put(&key(name), once("12345")).await.unwrap();
    }
    let mut kept = blobs.keys(BlobKind::Cache).await.unwrap();
    kept.sort_by(|a, b| a.name().cmp(b.name()));
    assert_eq!(kept, [key("second"), key("third")]);
    let large = blobs.put(&key("large"), once("12345678901")).await;
    assert_eq!(large.unwrap_err().kind(), ErrorKind::Limit);

    let artifact = |text: &'static str| blobs.put_by_hash(BlobKind::Artifact, once(text));
    artifact("12345").await.unwrap();
    artifact("12345").await.unwrap();
    artifact("54321").await.unwrap();
    let full = artifact("more").await.unwrap_err();
    assert_eq!(full.kind(), ErrorKind::Limit);
    assert_eq!(blobs.used(BlobKind::Artifact).await.unwrap(), 10);
}

#[test]
fn addresses_that_no_store_has_are_refused_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let opened = |url| ObjectBlobs::open(url, Vec::new(), dir.path(), Quota::default());
    for (url, why) in [
        ("bucket", "no address"),
        ("file:///srv/blobs", "data directory"),
        ("gopher://bucket", "gopher:"),
        ("s3:///prefix", "no bucket"),
    ] {
        let error = opened(url).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{url}");
        assert!(error.to_string().contains(why), "{url}: {error}");
        assert!(error.hint().is_some());
    }
    if !cfg!(feature = "store-cloud") {
        let error = opened("s3://bucket").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
    }
}

#[cfg(feature = "store-cloud")]
#[tokio::test]
#[ignore = "needs a server with S3's interface: .ci/stores.py blobs"]
async fn machines_fetch_from_s3_by_themselves() {
    let server = std::env::var("FARMER_TEST_S3").expect(".ci/stores.py sets it");
    let options = [
        ("aws_endpoint", &*server),
        ("aws_allow_http", "true"),
        ("aws_region", "us-east-1"),
        ("aws_access_key_id", "test"),
        ("aws_secret_access_key", "test"),
    ];
    let options = options.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let dir = tempfile::tempdir().unwrap();
    let url = "s3://logs/farm";
    let blobs = ObjectBlobs::open(url, options, dir.path(), Quota::default()).unwrap();
    blobs.check_reachable().await.unwrap();
    testing::blobs(&blobs).await.unwrap();
    // More than one part, so that it is sent in several.
    let large = vec![7u8; PART_BYTES * 2 + 1];
    let key = BlobKey::new(BlobKind::Source, "large.tgz").unwrap();
    blobs.put(&key, once(large.clone())).await.unwrap();
    assert_eq!(blobs.check(&key).await.unwrap(), Some(true));
    let url = blobs.url(&key).await.unwrap().expect("S3 signs");
    let fetched = reqwest::get(url.as_str()).await.unwrap();
    assert!(fetched.status().is_success(), "{}", fetched.status());
    assert!(fetched.bytes().await.unwrap() == large);
    let unsigned = url.as_str().split('?').next().unwrap();
    assert!(!format!("{url:?}").contains("Signature"));
    assert!(unsigned.len() < url.as_str().len());
    let absent = BlobKey::new(BlobKind::Source, "absent").unwrap();
    assert_eq!(blobs.url(&absent).await.unwrap(), None);
}
