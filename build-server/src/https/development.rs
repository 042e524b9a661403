use std::fs::{DirBuilder, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};

use super::{Certificate, Error};

/// Names that a development server answers to; `go` is what Go clients ask for.
const NAMES: [&str; 4] = ["localhost", "go", "127.0.0.1", "::1"];
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// How long the authority is valid; people trust it by hand.
const AUTHORITY_LIFE: Duration = DAY.saturating_mul(3650);
/// How long a server's certificate is valid. It is made anew at each start.
const SERVER_LIFE: Duration = DAY.saturating_mul(397);

/// A certificate of an authority that is this machine's own.
#[derive(Debug)]
pub struct Development {
    certificate: Certificate,
    ca_path: PathBuf,
}

impl Development {
    /// What to serve.
    #[must_use]
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// The certificate of the authority: clients that are given it trust the server.
    #[must_use]
    pub fn ca_path(&self) -> &Path {
        &self.ca_path
    }
}

/// A certificate for `localhost`, its addresses, `go` and `names`, by an authority in `dir`
/// (`ca.pem`, `ca-key.pem`). The authority is made when there is none; its key is for the owner
/// alone. The server's key is never stored.
///
/// # Errors
/// A file that cannot be written or read; a key that is none.
pub fn development(dir: &Path, names: &[String]) -> Result<Development, Error> {
    let failed = |source| Error::File {
        path: dir.to_owned(),
        source,
    };
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(failed)?;
    let key_path = dir.join("ca-key.pem");
    let ca_path = dir.join("ca.pem");
    let key_pem = keep(&key_path, || {
        Ok(KeyPair::generate().map_err(Error::Make)?.serialize_pem())
    })?;
    let key = KeyPair::from_pem(&key_pem).map_err(Error::Make)?;
    let ca_pem = keep(&ca_path, || {
        Ok(authority().self_signed(&key).map_err(Error::Make)?.pem())
    })?;
    let issuer = Issuer::new(authority(), key);
    let own = KeyPair::generate().map_err(Error::Make)?;
    let signed = server(names)
        .and_then(|params| params.signed_by(&own, &issuer))
        .map_err(Error::Make)?;
    // With the authority behind it: clients that have pinned its key find it there.
    let chain = format!("{}{ca_pem}", signed.pem());
    let certificate = Certificate::from_pem(&chain, &own.serialize_pem())?;
    Ok(Development {
        certificate,
        ca_path,
    })
}

fn authority() -> CertificateParams {
    let mut params = named("Farmer development authority", AUTHORITY_LIFE);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn server(names: &[String]) -> Result<CertificateParams, rcgen::Error> {
    let mut params = named("go", SERVER_LIFE);
    let all = NAMES.iter().map(|name| (*name).to_owned());
    let all: Vec<String> = all.chain(names.iter().cloned()).collect();
    params.subject_alt_names = CertificateParams::new(all)?.subject_alt_names;
    params.is_ca = IsCa::ExplicitNoCa;
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    Ok(params)
}

fn named(name: &str, life: Duration) -> CertificateParams {
    let now = SystemTime::now();
    let mut params = CertificateParams::default();
    // Clocks of other machines may be behind.
    params.not_before = (now - DAY).into();
    params.not_after = (now + life).into();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

/// The text of a file, which is made when it is not there: whole, or not at all. Of two that make
/// it at the same time, one wins.
fn keep(path: &Path, make: impl FnOnce() -> Result<String, Error>) -> Result<String, Error> {
    let failed = |source| Error::File {
        path: path.to_owned(),
        source,
    };
    if !path.exists() {
        let text = make()?;
        let dir = path.parent().unwrap_or(Path::new("."));
        let mut file = tempfile::Builder::new()
            .permissions(Permissions::from_mode(0o600))
            .tempfile_in(dir)
            .map_err(failed)?;
        file.write_all(text.as_bytes()).map_err(failed)?;
        file.as_file().sync_all().map_err(failed)?;
        match file.persist_noclobber(path) {
            Err(error) if error.error.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(failed(error.error));
            }
            _ => {}
        }
    }
    std::fs::read_to_string(path).map_err(failed)
}
