use std::path::PathBuf;

use super::super::Error;
use super::{Acme, CertificateCache, FolderCache};

/// What a program is told of its certificate: by `-autocert` and what belongs to it.
#[derive(Debug, Clone, Default)]
pub struct Autocert {
    /// The names that it is for.
    pub hosts: Vec<String>,
    /// Where it is kept: a folder, or, with the feature `acme-objects`, the address of a part of an
    /// object store.
    pub cache: String,
    /// The directory of another authority than Let's Encrypt.
    pub directory: Option<String>,
    /// The certificate by which the authority itself is known.
    pub root: Option<PathBuf>,
    /// The mail address to which the authority writes.
    pub contact: Option<String>,
}

impl Autocert {
    /// What keeps the certificate good. `options` are those of an object store, such as what the
    /// environment says.
    ///
    /// # Errors
    /// When a name is none that an authority vouches for, or the place cannot be used.
    pub fn open(&self, options: impl IntoIterator<Item = (String, String)>) -> Result<Acme, Error> {
        let mut acme = Acme::new(&self.hosts, cache_at(&self.cache, options)?)?;
        if let Some(directory) = &self.directory {
            acme = acme.directory(directory);
        }
        if let Some(root) = &self.root {
            acme = acme.root_file(root);
        }
        if let Some(contact) = &self.contact {
            acme = acme.contact(format!("mailto:{contact}"));
        }
        Ok(acme)
    }
}

/// The cache at a place: a folder, or the address of an object store.
fn cache_at(
    place: &str,
    options: impl IntoIterator<Item = (String, String)>,
) -> Result<Box<dyn CertificateCache>, Error> {
    if !place.contains("://") {
        return Ok(Box::new(FolderCache::open(place)?));
    }
    #[cfg(feature = "acme-objects")]
    return Ok(Box::new(super::ObjectCache::at(place, options)?));
    #[cfg(not(feature = "acme-objects"))]
    {
        drop(options);
        let text = format!("this program keeps certificates in folders, not at {place}");
        Err(Error::Acme(text))
    }
}
