use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{Certificate, Error};

/// A certificate that two files hold. They are read again when they change.
#[derive(Debug)]
pub struct CertificateFiles {
    chain: PathBuf,
    key: PathBuf,
    certificate: Certificate,
    read: (String, String),
}

impl CertificateFiles {
    /// How often [`CertificateFiles::watch`] looks. Tools that renew do it weeks ahead.
    pub const INTERVAL: Duration = Duration::from_secs(30);

    /// Reads the chain and the key, both PEM.
    ///
    /// # Errors
    /// Naming the file that cannot be read, or when they do not fit each other.
    pub fn open(chain: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Result<Self, Error> {
        let (chain, key) = (chain.into(), key.into());
        let read = (read(&chain)?, read(&key)?);
        let certificate = Certificate::from_pem(&read.0, &read.1)?;
        Ok(Self {
            chain,
            key,
            certificate,
            read,
        })
    }

    /// What to serve; it changes with the files.
    #[must_use]
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// Looks at the files now; true when there was another certificate in them.
    ///
    /// # Errors
    /// As [`CertificateFiles::open`]; the old certificate stays. Files that are replaced one
    /// after the other do not fit for a moment: look again.
    pub fn reload(&mut self) -> Result<bool, Error> {
        let now = (read(&self.chain)?, read(&self.key)?);
        if now == self.read {
            return Ok(false);
        }
        self.certificate.replace(&now.0, &now.1)?;
        self.read = now;
        Ok(true)
    }

    /// Looks at the files from time to time until `stop` is canceled. What is wrong with them is
    /// logged once.
    pub async fn watch(mut self, stop: CancellationToken) {
        let mut trouble = String::new();
        while stop
            .run_until_cancelled(tokio::time::sleep(Self::INTERVAL))
            .await
            .is_some()
        {
            // Two small files: they are read where we are.
            let said = match self.reload() {
                Ok(changed) => {
                    if changed {
                        tracing::info!(file = %self.chain.display(), "serves the new certificate");
                    }
                    String::new()
                }
                Err(error) => super::describe(&error),
            };
            if said != trouble && !said.is_empty() {
                tracing::warn!(error = said, "the old certificate stays");
            }
            trouble = said;
        }
    }
}

fn read(path: &Path) -> Result<String, Error> {
    std::fs::read_to_string(path).map_err(|source| Error::File {
        path: path.to_owned(),
        source,
    })
}
