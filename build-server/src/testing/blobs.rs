//! What every store of large contents promises.

use build_client::once;
use build_core::buildlet::ByteStream;
use build_core::{Error, ErrorKind, Result};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use sha2::{Digest, Sha256};

use crate::store::{BlobKey, BlobKind, Blobs};

/// Contents in several pieces, more than any buffer takes.
const LARGE: usize = 3 << 20;

fn large() -> Vec<u8> {
    (0..LARGE).map(|n| (n % 251) as u8).collect()
}

fn pieces(all: &[u8]) -> ByteStream {
    let pieces: Vec<_> = all
        .chunks(100_000)
        .map(|piece| Ok(Bytes::copy_from_slice(piece)))
        .collect();
    futures::stream::iter(pieces).boxed()
}

async fn whole(blobs: &dyn Blobs, key: &BlobKey) -> Result<Option<Vec<u8>>> {
    let Some(contents) = blobs.get(key).await? else {
        return Ok(None);
    };
    let pieces: Vec<Bytes> = contents.try_collect().await?;
    Ok(Some(pieces.concat()))
}

/// Checks what every [`Blobs`] promises, on one that is empty.
///
/// # Errors
/// When the store fails.
///
/// # Panics
/// When it breaks a promise: the text says which.
pub async fn blobs(blobs: &dyn Blobs) -> Result<()> {
    for kind in BlobKind::ALL {
        assert_eq!(blobs.keys(kind).await?, [], "an empty store has no keys");
        assert_eq!(blobs.used(kind).await?, 0, "an empty store holds nothing");
    }
    let key = BlobKey::new(BlobKind::Cache, "contract-1.tgz")?;
    assert_eq!(
        whole(blobs, &key).await?,
        None,
        "what was not put is not there"
    );
    assert_eq!(blobs.size(&key).await?, None, "and has no size");
    assert_eq!(blobs.check(&key).await?, None, "and is not damaged");
    blobs.remove(&key).await?;

    let all = large();
    let info = blobs.put(&key, pieces(&all)).await?;
    let sha256 = hex::encode(Sha256::digest(&all));
    assert_eq!(
        (info.size, &info.sha256),
        (LARGE as u64, &sha256),
        "what was stored"
    );
    assert!(
        whole(blobs, &key).await? == Some(all.clone()),
        "it is read as it was put"
    );
    assert_eq!(
        blobs.size(&key).await?,
        Some(LARGE as u64),
        "its size is that of its contents"
    );
    assert_eq!(
        blobs.check(&key).await?,
        Some(true),
        "it is what was stored"
    );
    assert_eq!(
        blobs.keys(BlobKind::Cache).await?,
        std::slice::from_ref(&key),
        "it is listed"
    );
    assert_eq!(
        blobs.keys(BlobKind::Source).await?,
        [],
        "under its kind alone"
    );
    assert!(
        blobs.used(BlobKind::Cache).await? >= LARGE as u64,
        "it counts"
    );

    let cut = pieces(b"half").chain(futures::stream::iter([Err(Error::new(
        ErrorKind::Unavailable,
        "cut",
    ))]));
    let failed = blobs.put(&key, cut.boxed()).await;
    assert!(failed.is_err(), "a stream that fails fails the put");
    assert!(
        whole(blobs, &key).await? == Some(all),
        "and the old contents stay"
    );
    let old = blobs.get(&key).await?;
    blobs.put(&key, once("new")).await?;
    let pieces: Result<Vec<Bytes>> = match old {
        Some(old) => old.try_collect().await,
        None => Ok(Vec::new()),
    };
    if let Ok(pieces) = pieces {
        assert_eq!(
            pieces.concat().len(),
            LARGE,
            "old contents are read whole or not at all"
        );
    }
    assert_eq!(
        whole(blobs, &key).await?.as_deref(),
        Some(&b"new"[..]),
        "put replaces"
    );
    if let Some(url) = blobs.url(&key).await? {
        assert!(url.as_str().starts_with("http"), "machines can fetch it");
    }
    by_hash(blobs).await?;
    blobs.remove(&key).await?;
    blobs.remove(&key).await?;
    assert_eq!(whole(blobs, &key).await?, None, "what was removed is gone");
    Ok(())
}

async fn by_hash(blobs: &dyn Blobs) -> Result<()> {
    let sha256 = hex::encode(Sha256::digest(b"text"));
    for _twice in 0..2 {
        let (key, info) = blobs.put_by_hash(BlobKind::Artifact, once("text")).await?;
        assert_eq!(
            (key.name(), key.kind()),
            (sha256.as_str(), BlobKind::Artifact)
        );
        assert_eq!(
            (info.size, &info.sha256),
            (4, &sha256),
            "named by its contents"
        );
        assert_eq!(whole(blobs, &key).await?.as_deref(), Some(&b"text"[..]));
    }
    assert_eq!(
        blobs.keys(BlobKind::Artifact).await?.len(),
        1,
        "the same contents once"
    );
    let empty = blobs.put_by_hash(BlobKind::Artifact, once("")).await?.0;
    assert_eq!(
        whole(blobs, &empty).await?.as_deref(),
        Some(&b""[..]),
        "nothing is something"
    );
    assert_eq!(blobs.check(&empty).await?, Some(true));
    Ok(())
}

/// Checks that contents are noticed to be damaged: `key` must have some that are no longer what
/// was stored, as when a byte of them was changed beneath the store.
///
/// # Errors
/// When the store fails otherwise.
///
/// # Panics
/// When damaged contents pass for whole ones.
pub async fn damaged_blob(blobs: &dyn Blobs, key: &BlobKey) -> Result<()> {
    assert_eq!(blobs.check(key).await?, Some(false), "damage is found");
    let read = whole(blobs, key).await;
    let kind = read.err().map(|error| error.kind());
    assert_eq!(
        kind,
        Some(ErrorKind::Corrupt),
        "damaged contents end with an error"
    );
    blobs.put(key, once("again")).await?;
    assert_eq!(blobs.check(key).await?, Some(true), "and can be replaced");
    Ok(())
}
