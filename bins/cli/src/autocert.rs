//! Flags of a server's certificate, as Go programs have them.

use std::path::PathBuf;

use clap::Args;

/// A certificate from an authority, or from files.
#[derive(Args, Clone, Debug, Default)]
pub struct CertificateArgs {
    /// Listen with TLS as well, with a certificate of Let's Encrypt for these names, parted by
    /// commas; they must lead here, and port 443 to -https
    #[arg(
        long,
        value_name = "NAMES",
        default_value = "",
        hide_default_value = true
    )]
    pub autocert: String,
    /// Where certificates are kept: a folder, or a part of an object store such as gs://BUCKET
    #[arg(long, value_name = "PLACE")]
    pub autocert_cache: Option<String>,
    /// The bucket of Google Cloud Storage in which certificates are kept: gs://NAME
    #[arg(long, value_name = "NAME", conflicts_with = "autocert_cache")]
    pub autocert_bucket: Option<String>,
    /// The directory of another authority that speaks ACME
    #[arg(long, value_name = "URL")]
    pub autocert_directory: Option<String>,
    /// A file with the certificate by which that authority is known
    #[arg(long, value_name = "FILE")]
    pub autocert_root: Option<PathBuf>,
    /// The mail address to which the authority writes when something is wrong
    #[arg(long, value_name = "ADDRESS")]
    pub autocert_mail: Option<String>,
}

impl CertificateArgs {
    /// The names of the certificate.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let names = self.autocert.split(',').map(str::trim);
        names
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
            .collect()
    }

    /// Where certificates are kept.
    #[must_use]
    pub fn cache(&self) -> Option<String> {
        let bucket = self
            .autocert_bucket
            .as_ref()
            .filter(|name| !name.is_empty());
        bucket
            .map(|name| format!("gs://{name}"))
            .or_else(|| self.autocert_cache.clone())
    }
}
