//! Forms that change much are good for the browser that was sent them alone.
//!
//! A form holds a proof that is made of the sign-in of the browser and of a secret of this
//! process: another site can neither guess nor read it. It stands beside the checks of `Origin`
//! and of the cookie, which hold for every request.

use std::sync::OnceLock;

use build_core::key::same_secret;
use build_core::{Error, ErrorKind, Result};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// The secret of the forms of one site.
#[derive(Default)]
pub(crate) struct Forms(OnceLock<[u8; 32]>);

impl Forms {
    fn secret(&self) -> Result<&[u8; 32]> {
        if self.0.get().is_none() {
            let mut bytes = [0; 32];
            let drawn = getrandom::fill(&mut bytes);
            drawn.map_err(|e| Error::caused_by(ErrorKind::Bug, "draw a secret", e))?;
            // Another thread may have been first: then its secret stays.
            let _ = self.0.set(bytes);
        }
        Ok(self
            .0
            .get()
            .expect("set just now, by this thread or another"))
    }

    /// The proof for the browser that has signed in under this id.
    pub(crate) fn proof(&self, sign_in: &str) -> Result<String> {
        let secret = self.secret()?;
        let mut mac =
            Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes keys of any length");
        mac.update(sign_in.as_bytes());
        Ok(hex::encode(mac.finalize().into_bytes()))
    }

    /// Whether a form was sent to this browser.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`] when it was not.
    pub(crate) fn check(&self, sign_in: &str, proof: &str) -> Result<()> {
        match same_secret(self.proof(sign_in)?.as_bytes(), proof.as_bytes()) {
            true => Ok(()),
            false => Err(
                Error::new(ErrorKind::Denied, "this form is not from this site, or old")
                    .with_hint("open the page again, then press the button"),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_good_for_one_browser() {
        let (forms, other) = (Forms::default(), Forms::default());
        let proof = forms.proof("ann").unwrap();
        forms.check("ann", &proof).unwrap();
        assert!(forms.check("bob", &proof).is_err() && other.check("ann", &proof).is_err());
        assert!(forms.check("ann", "").is_err());
    }
}
