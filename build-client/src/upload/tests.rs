//! Uploads to a folder and to memory.

use super::*;

fn folder() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&format!("file://{}", dir.path().display()), []).unwrap();
    (dir, store)
}

fn text(text: &str) -> Content {
    Content::from_reader(text.as_bytes()).unwrap()
}

#[tokio::test]
async fn only_what_differs_is_written() {
    let (dir, in_folder) = folder();
    for store in [in_folder, Store::memory()] {
        let upload = Upload::new();
        let put = async |upload: &Upload, content: &str| {
            upload
                .put(&store, "a/b.txt", text(content))
                .await
                .unwrap()
                .outcome
        };
        assert_eq!(put(&upload, "one").await, Outcome::Uploaded);
        assert_eq!(put(&upload, "one").await, Outcome::Unchanged);
        assert_eq!(
            put(&upload, "two").await,
            Outcome::Uploaded,
            "of equal length"
        );
        let private = Upload::new().cache_control("no-cache");
        assert_eq!(
            put(&private, "two").await,
            Outcome::Uploaded,
            "the rule is new"
        );
        assert_eq!(put(&private, "two").await, Outcome::Unchanged);
        assert_eq!(
            put(&upload, "two").await,
            Outcome::Uploaded,
            "the rule is gone"
        );
        assert_eq!(
            put(&upload.clone().always(), "two").await,
            Outcome::Uploaded
        );
        assert_eq!(store.read("a/b.txt").await.unwrap(), "two");
        let headers = store.headers("a/b.txt").await.unwrap().unwrap();
        assert_eq!(headers.content_type.unwrap(), "text/plain; charset=utf-8");
        assert_eq!(store.headers("a/c").await.unwrap(), None);
    }
    std::fs::write(dir.path().join("a/b.txt"), "six").unwrap();
    let store = Store::open(&format!("file://{}", dir.path().display()), []).unwrap();
    let again = Upload::new()
        .put(&store, "a/b.txt", text("two"))
        .await
        .unwrap();
    assert_eq!(
        again.outcome,
        Outcome::Uploaded,
        "somebody wrote to the folder"
    );
}

#[tokio::test]
async fn other_objects_stay_when_asked() {
    let (_dir, store) = folder();
    let upload = Upload::new().if_absent();
    assert_eq!(
        upload.put(&store, "x", text("1")).await.unwrap().outcome,
        Outcome::Uploaded
    );
    assert_eq!(
        upload.put(&store, "x", text("1")).await.unwrap().outcome,
        Outcome::Unchanged
    );
    let error = upload.put(&store, "x", text("2")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    let error = Upload::new()
        .sha256("00")
        .put(&store, "x", text("2"))
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("has SHA-256 d4735e3a"),
        "{error}"
    );
    assert_eq!(store.read("x").await.unwrap(), "1");
}

#[tokio::test]
async fn large_objects_go_in_parts() {
    let large = vec![7; usize::try_from(ONE_REQUEST).unwrap() + 5];
    let (_dir, in_folder) = folder();
    for store in [in_folder, Store::memory()] {
        let content = Content::from_reader(large.as_slice()).unwrap();
        let done = Upload::new().put(&store, "large", content).await.unwrap();
        assert_eq!(done.bytes, large.len() as u64);
        assert_eq!(store.read("large").await.unwrap(), large);
        let content = Content::from_reader(large.as_slice()).unwrap();
        let again = Upload::new().put(&store, "large", content).await.unwrap();
        assert_eq!(again.outcome, Outcome::Unchanged);
    }
}

#[tokio::test]
async fn names_stay_in_the_store() {
    let (dir, store) = folder();
    for name in ["", "/x", "../x", "a/../x", "a//b", "a/", "."] {
        let error = Upload::new()
            .put(&store, name, text("x"))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{name}");
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    assert!(Store::open("nowhere", []).is_err());
    if !cfg!(feature = "objects-cloud") {
        let error = Store::open("s3://bucket", []).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
    }
}

#[test]
fn compressed_content_is_reproducible() {
    let gzip = || {
        text(&"text ".repeat(1000))
            .gzip()
            .unwrap()
            .measure()
            .unwrap()
    };
    assert_eq!(gzip().sha256, gzip().sha256);
    assert!(gzip().size < 200 && gzip().start.starts_with(&[0x1f, 0x8b]));
}
