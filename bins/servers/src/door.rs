//! Where a server answers with TLS, and its certificate.

use std::path::PathBuf;

use build_server::http::Doors;
use build_server::https::acme::{Acme, Autocert};
use build_server::https::{CertificateFiles, Hellos, Tls};
use clap::Args;
use farmer_cli::{CertificateArgs, Exit, Failure};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::listen::listen_as;

/// Where certificates are kept when nobody says.
const CACHE: &str = "autocert-cache";

/// TLS of a server: a certificate from an authority, or one in files.
#[derive(Args, Debug)]
pub(crate) struct DoorArgs {
    #[command(flatten)]
    authority: CertificateArgs,
    /// Where to listen with TLS
    #[arg(long, value_name = "ADDRESS", default_value = ":443")]
    https: String,
    /// A certificate of your own: a PEM file with the chain, the server's own first. It is read
    /// again when it changes
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Its private key, a PEM file
    #[arg(
        long,
        value_name = "FILE",
        requires = "tls_cert",
        conflicts_with = "autocert"
    )]
    tls_key: Option<PathBuf>,
}

/// What keeps a certificate good.
pub(crate) enum Renewed {
    Nothing,
    Files(CertificateFiles),
    Authority(Acme),
}

impl Renewed {
    /// Keeps it good until `stop` is canceled, or for ever when there is nothing to do.
    pub(crate) async fn run(self, stop: CancellationToken) {
        match self {
            Self::Nothing => stop.cancelled_owned().await,
            Self::Files(files) => files.watch(stop).await,
            Self::Authority(acme) => acme.run(stop).await,
        }
    }
}

impl DoorArgs {
    /// Whether there is to be TLS.
    pub(crate) fn is_wanted(&self) -> bool {
        self.tls_cert.is_some() || !self.authority.names().is_empty()
    }

    /// The names of the certificate that an authority is asked for.
    pub(crate) fn names(&self) -> Vec<String> {
        self.authority.names()
    }

    /// Listens with TLS besides `plain`, when that is wanted; handshakes are told to `hellos`.
    pub(crate) async fn open(
        &self,
        plain: TcpListener,
        hellos: Option<&Hellos>,
    ) -> Result<(Doors, Renewed), Failure> {
        let doors = Doors::from(plain);
        if !self.is_wanted() {
            return Ok((doors, Renewed::Nothing));
        }
        let (mut tls, renewed) = self.certificate()?;
        if let Some(hellos) = hellos {
            tls = tls.with_hellos(hellos.clone());
        }
        let listener = listen_as(&self.https, "the same with TLS is served", "https").await?;
        Ok((doors.with_tls(listener, tls), renewed))
    }

    fn certificate(&self) -> Result<(Tls, Renewed), Failure> {
        if let (Some(chain), Some(key)) = (&self.tls_cert, &self.tls_key) {
            let files = CertificateFiles::open(chain, key).map_err(|error| {
                let hint = "give PEM files: the chain, the server's own first, and its private key";
                Failure::because(Exit::Usage, &error, Some(hint))
            })?;
            let tls = Tls::new(files.certificate().clone());
            return Ok((tls, Renewed::Files(files)));
        }
        let wanted = Autocert {
            hosts: self.authority.names(),
            cache: self.authority.cache().unwrap_or_else(|| CACHE.to_owned()),
            directory: self.authority.autocert_directory.clone(),
            root: self.authority.autocert_root.clone(),
            contact: self.authority.autocert_mail.clone(),
        };
        // Credentials of a store are those of the environment, as its own tools read them.
        let acme = wanted.open(std::env::vars()).map_err(|error| {
            let hint = "give names that lead to this machine, and a place that can be written with -autocert-cache";
            Failure::because(Exit::Usage, &error, Some(hint))
        })?;
        Ok((Tls::with_acme(&acme), Renewed::Authority(acme)))
    }
}
