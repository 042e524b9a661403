//! What was fetched, in files: a line that describes it, then the body.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use build_core::{Error, Result};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::fs::File;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio_util::io::ReaderStream;

/// Longest description.
const LINE: u64 = 8192;
/// Fields that are kept.
const FIELDS: [HeaderName; 4] = [
    header::CONTENT_TYPE,
    header::ETAG,
    header::LAST_MODIFIED,
    header::CACHE_CONTROL,
];

/// Files of answers. Clones are the same.
#[derive(Clone, Debug)]
pub(super) struct Cache(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    dir: PathBuf,
    most: u64,
    /// Bytes of all files, about.
    bytes: AtomicU64,
    drafts: AtomicU64,
}

/// What describes a body.
#[derive(Serialize, Deserialize)]
struct Kept {
    target: String,
    fields: BTreeMap<String, String>,
}

/// An answer that is still coming.
pub(super) struct Draft {
    cache: Cache,
    file: File,
    path: PathBuf,
    target: String,
    bytes: u64,
    /// How many bytes of a body were promised.
    promised: Option<u64>,
    body: u64,
}

impl Cache {
    /// The cache in a directory, which is made when it is missing.
    pub(super) fn open(dir: PathBuf, most: u64) -> Result<Self> {
        let opened = (|| {
            fs::create_dir_all(&dir)?;
            let mut bytes = 0;
            for entry in fs::read_dir(&dir)? {
                let entry = entry?;
                // What a process has begun that is no more.
                if entry.file_name().to_string_lossy().starts_with(".new-") {
                    fs::remove_file(entry.path())?;
                } else {
                    bytes += entry.metadata()?.len();
                }
            }
            Ok::<_, std::io::Error>(bytes)
        })();
        let bytes = opened.map_err(|error| {
            Error::from(error).while_doing(format!("open the modules in {}", dir.display()))
        })?;
        Ok(Self(Arc::new(Inner {
            dir,
            most,
            bytes: AtomicU64::new(bytes),
            drafts: AtomicU64::new(0),
        })))
    }

    fn path_of(&self, target: &str) -> PathBuf {
        self.0.dir.join(hex::encode(Sha256::digest(target)))
    }

    /// What is kept of that; one that cannot be read is not there.
    pub(super) async fn read(&self, target: &str) -> Option<Response> {
        let path = self.path_of(target);
        let file = File::open(&path).await.ok()?;
        let length = file.metadata().await.ok()?.len();
        let mut reader = BufReader::new(file);
        let mut line = Vec::new();
        let read = (&mut reader).take(LINE).read_until(b'\n', &mut line).await;
        read.ok()?;
        let kept: Kept = serde_json::from_slice(&line).ok()?;
        if kept.target != target {
            return None;
        }
        let mut fields = HeaderMap::new();
        for (name, value) in kept.fields {
            let name = name.parse::<HeaderName>().ok()?;
            fields.insert(name, HeaderValue::from_str(&value).ok()?);
        }
        let body = length.checked_sub(line.len() as u64)?;
        fields.insert(header::CONTENT_LENGTH, body.into());
        // Those that were used last are kept longest; without the mark it is only less so.
        let file = fs::File::options().append(true).open(&path);
        let _ = file.and_then(|file| file.set_modified(SystemTime::now()));
        let body = Body::from_stream(ReaderStream::new(reader));
        Some((fields, body).into_response())
    }

    /// Begins to keep an answer; `None` when that cannot be: it is only not kept then.
    pub(super) async fn draft(&self, target: &str, headers: &HeaderMap) -> Option<Draft> {
        let number = self.0.drafts.fetch_add(1, Ordering::Relaxed);
        let path = self.0.dir.join(format!(".new-{number}"));
        let value = |name: &HeaderName| {
            let value = headers.get(name)?.to_str().ok()?;
            Some((name.as_str().to_owned(), value.to_owned()))
        };
        let kept = Kept {
            target: target.to_owned(),
            fields: FIELDS.iter().filter_map(value).collect(),
        };
        let mut line = serde_json::to_vec(&kept).ok()?;
        line.push(b'\n');
        let promised = headers.get(header::CONTENT_LENGTH);
        let promised = promised.and_then(|value| value.to_str().ok()?.parse().ok());
        if line.len() as u64 > LINE || promised.is_some_and(|bytes| bytes > self.0.most / 4) {
            return None;
        }
        let file = match File::create_new(&path).await {
            Ok(file) => file,
            Err(error) => {
                tracing::warn!(%error, file = %path.display(), "a module is not kept");
                return None;
            }
        };
        let draft = Draft {
            cache: self.clone(),
            file,
            path,
            target: target.to_owned(),
            bytes: 0,
            promised,
            body: 0,
        };
        let mut draft = draft.put(&line).await?;
        draft.body = 0;
        Some(draft)
    }

    /// Forgets those that were not used for longest, until there is room again.
    fn make_room(&self) {
        let Ok(entries) = fs::read_dir(&self.0.dir) else {
            return;
        };
        let mut files: Vec<_> = entries
            .flatten()
            .filter(|entry| !entry.file_name().to_string_lossy().starts_with('.'))
            .filter_map(|entry| {
                let metadata = entry.metadata().ok()?;
                Some((metadata.modified().ok()?, metadata.len(), entry.path()))
            })
            .collect();
        files.sort();
        let mut bytes: u64 = files.iter().map(|(_, length, _)| length).sum();
        for (_, length, path) in files {
            if bytes <= self.0.most / 4 * 3 {
                break;
            }
            if fs::remove_file(path).is_ok() {
                bytes -= length;
            }
        }
        self.0.bytes.store(bytes, Ordering::Relaxed);
    }
}

impl Draft {
    /// Goes on; `None` when it cannot be written.
    pub(super) async fn write(self, piece: &Bytes) -> Option<Self> {
        self.put(piece).await
    }

    async fn put(mut self, bytes: &[u8]) -> Option<Self> {
        self.bytes += bytes.len() as u64;
        self.body += bytes.len() as u64;
        if self.bytes > self.cache.0.most / 4 {
            return None;
        }
        match self.file.write_all(bytes).await {
            Ok(()) => Some(self),
            Err(error) => {
                tracing::warn!(%error, "a module is not kept");
                None
            }
        }
    }

    /// It is whole.
    pub(super) async fn keep(mut self) {
        if self.promised.is_some_and(|promised| promised != self.body) {
            return;
        }
        let path = self.cache.path_of(&self.target);
        let kept = async {
            self.file.flush().await?;
            self.file.sync_all().await?;
            tokio::fs::rename(&self.path, &path).await
        };
        if let Err(error) = kept.await {
            tracing::warn!(%error, "a module is not kept");
            return;
        }
        let inner = &self.cache.0;
        let bytes = inner.bytes.fetch_add(self.bytes, Ordering::Relaxed) + self.bytes;
        if bytes > inner.most {
            self.cache.make_room();
        }
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // One that was kept has another name by now.
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt as _;

    async fn keep(cache: &Cache, target: &str, body: &[u8], promised: usize) {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_LENGTH, promised.into());
        headers.insert(header::ETAG, HeaderValue::from_static("\"e\""));
        let draft = cache.draft(target, &headers).await.unwrap();
        let draft = draft.write(&Bytes::copy_from_slice(body)).await.unwrap();
        draft.keep().await;
    }

    async fn read(cache: &Cache, target: &str) -> Option<Bytes> {
        let response = cache.read(target).await?;
        assert_eq!(response.headers()[header::ETAG], "\"e\"");
        Some(response.into_body().collect().await.unwrap().to_bytes())
    }

    #[tokio::test]
    async fn whole_answers_are_kept_and_the_oldest_are_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path().into(), 4000).unwrap();
        keep(&cache, "/a", b"torn", 5).await;
        assert!(read(&cache, "/a").await.is_none());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        for n in 0..6_u64 {
            let target = format!("/{n}");
            keep(&cache, &target, &[b'x'; 900], 900).await;
            // Clocks of file systems are coarse.
            let kept = fs::File::options()
                .append(true)
                .open(cache.path_of(&target));
            let age = std::time::Duration::from_secs(1000 - n);
            kept.unwrap().set_modified(SystemTime::now() - age).unwrap();
        }
        assert!(read(&cache, "/0").await.is_none(), "forgotten");
        assert_eq!(read(&cache, "/5").await.unwrap().len(), 900);
        let again = Cache::open(dir.path().into(), 4000).unwrap();
        assert_eq!(read(&again, "/5").await.unwrap().len(), 900);
        fs::write(again.path_of("/5"), "damaged").unwrap();
        assert!(read(&again, "/5").await.is_none());
    }
}
