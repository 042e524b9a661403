//! Addresses of object stores.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use build_core::{Error, ErrorKind, Result};
use object_store::ObjectStore;
use object_store::path::Path;
use url::Url;

/// A store that can sign a URL from which others read.
#[async_trait]
pub(super) trait Signed: fmt::Debug + Send + Sync {
    /// A URL of the object at `path` that is good for `valid`.
    async fn signed(&self, path: &Path, valid: Duration) -> object_store::Result<String>;
}

pub(super) struct Opened {
    pub(super) store: Arc<dyn ObjectStore>,
    pub(super) signer: Option<Arc<dyn Signed>>,
    pub(super) prefix: Path,
}

pub(super) fn open(
    url: &str,
    options: impl IntoIterator<Item = (String, String)>,
) -> Result<Opened> {
    let invalid = |why: &str| {
        let text = format!("{url:?} is no address of an object store: {why}");
        Error::new(ErrorKind::Invalid, text).with_hint(
            "for example s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or az://CONTAINER/PREFIX",
        )
    };
    let parsed: Url = url.parse().map_err(|e| invalid(&format!("{e}")))?;
    let prefix = parsed.path().trim_matches('/');
    let prefix = Path::from_url_path(prefix).map_err(|e| invalid(&e.to_string()))?;
    let without_bucket = parsed.host_str().unwrap_or_default().is_empty();
    match parsed.scheme() {
        "memory" => Ok(Opened {
            store: Arc::new(object_store::memory::InMemory::new()),
            signer: None,
            prefix,
        }),
        "s3" | "gs" | "az" if without_bucket => Err(invalid("it names no bucket")),
        "s3" | "gs" | "az" => cloud(&parsed, options, prefix),
        "file" => Err(invalid("files lie in the data directory")),
        scheme => Err(invalid(&format!(
            "no store has addresses that begin with {scheme}:"
        ))),
    }
}

#[cfg(not(feature = "store-cloud"))]
fn cloud(
    url: &Url,
    _options: impl IntoIterator<Item = (String, String)>,
    _prefix: Path,
) -> Result<Opened> {
    let text = format!("this program was built without {}:// stores", url.scheme());
    Err(Error::new(ErrorKind::Unsupported, text).with_hint("build it with the feature `cloud`"))
}

#[cfg(feature = "store-cloud")]
fn cloud(
    url: &Url,
    options: impl IntoIterator<Item = (String, String)>,
    prefix: Path,
) -> Result<Opened> {
    use object_store::aws::AmazonS3Builder;
    use object_store::azure::MicrosoftAzureBuilder;
    use object_store::gcp::GoogleCloudStorageBuilder;

    /// A store of one cloud; options of others are none of its.
    macro_rules! built {
        ($builder:ty) => {{
            let mut builder = <$builder>::new().with_url(url.as_str());
            for (name, value) in options {
                if let Ok(name) = name.to_lowercase().parse() {
                    builder = builder.with_config(name, value);
                }
            }
            builder.build().map(|store| opened(store, prefix))
        }};
    }
    // The clients ask for it. A second one in the process keeps the first, which is the same.
    let _installed_already = rustls::crypto::ring::default_provider().install_default();
    let opened = match url.scheme() {
        "s3" => built!(AmazonS3Builder),
        "gs" => built!(GoogleCloudStorageBuilder),
        _ => built!(MicrosoftAzureBuilder),
    };
    opened.map_err(|e| {
        Error::caused_by(
            ErrorKind::Invalid,
            format!("open the object store {url}"),
            e,
        )
        .with_hint("give the store's settings, such as AWS_REGION and AWS_ACCESS_KEY_ID")
    })
}

#[cfg(feature = "store-cloud")]
fn opened<S: ObjectStore + object_store::signer::Signer>(store: S, prefix: Path) -> Opened {
    let store = Arc::new(store);
    Opened {
        signer: Some(Arc::new(Signing(store.clone()))),
        store,
        prefix,
    }
}

#[cfg(feature = "store-cloud")]
#[derive(Debug)]
struct Signing<S>(Arc<S>);

#[cfg(feature = "store-cloud")]
#[async_trait]
impl<S: object_store::signer::Signer> Signed for Signing<S> {
    async fn signed(&self, path: &Path, valid: Duration) -> object_store::Result<String> {
        let signed = self.0.signed_url(reqwest::Method::GET, path, valid).await?;
        Ok(signed.into())
    }
}
