use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _, PutPayload};

use super::super::Error;
use super::CertificateCache;

/// How long one request may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A part of an object store, for nothing else.
#[derive(Debug, Clone)]
pub struct ObjectCache {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
}

impl ObjectCache {
    /// The store at an address: `memory:///`, and with the feature `acme-cloud`
    /// `s3://BUCKET/PREFIX`, `gs://BUCKET/PREFIX` and `az://CONTAINER/PREFIX`. `options` are those
    /// of the store, such as `aws_region`.
    ///
    /// # Errors
    /// When the address is none, or of a store that is not compiled in.
    pub fn at(
        address: &str,
        options: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, Error> {
        let parsed = url::Url::parse(address)
            .map_err(|e| Error::Acme(format!("{address:?} is no address of a store: {e}")))?;
        // The clouds' clients ask for it, and another crate may have compiled them in. A second
        // one in the process keeps the first, which is the same.
        let _installed_already = rustls::crypto::ring::default_provider().install_default();
        let (store, prefix) =
            object_store::parse_url_opts(&parsed, options).map_err(|e| {
                match cfg!(feature = "acme-cloud") {
                    true => failed(address, e),
                    false => Error::Acme(format!(
                        "the cache of certificates, {address}: {e}; \
                     for S3, Google Cloud Storage and Azure build with the feature `cloud`"
                    )),
                }
            })?;
        Ok(Self {
            store: Arc::from(store),
            prefix,
        })
    }

    fn path(&self, name: &str) -> Path {
        self.prefix.clone().join(name)
    }
}

fn failed(name: &str, error: object_store::Error) -> Error {
    Error::Acme(format!("the cache of certificates, {name}: {error}"))
}

async fn in_time<T>(
    name: &str,
    asked: impl Future<Output = object_store::Result<T>>,
) -> Result<Option<T>, Error> {
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(Ok(done)) => Ok(Some(done)),
        Ok(Err(object_store::Error::NotFound { .. })) => Ok(None),
        Ok(Err(error)) => Err(failed(name, error)),
        Err(_) => Err(Error::Acme(format!(
            "the cache of certificates, {name}: no answer"
        ))),
    }
}

#[async_trait]
impl CertificateCache for ObjectCache {
    async fn get(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        let path = self.path(name);
        let asked = async { self.store.get(&path).await?.bytes().await };
        Ok(in_time(name, asked).await?.map(|bytes| bytes.to_vec()))
    }

    async fn put(&self, name: &str, contents: Vec<u8>) -> Result<(), Error> {
        let path = self.path(name);
        let asked = self.store.put(&path, PutPayload::from(contents));
        in_time(name, asked).await.map(|_| ())
    }

    async fn delete(&self, name: &str) -> Result<(), Error> {
        let path = self.path(name);
        in_time(name, self.store.delete(&path)).await.map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_object_store_is_a_cache() {
        let cache = ObjectCache::at("memory:///certificates", Vec::new()).unwrap();
        super::super::cache::check(&cache).await;
        assert!(ObjectCache::at("certificates", Vec::new()).is_err());
        assert!(ObjectCache::at("gopher://x", Vec::new()).is_err());
        // Compiled in by this feature, or by another crate's.
        match ObjectCache::at("s3://bucket", Vec::new()) {
            Ok(cloud) => assert!(format!("{cloud:?}").contains("bucket")),
            Err(error) => assert!(error.to_string().contains("`cloud`"), "{error}"),
        }
    }
}
