//! Who reads the documents: what is private and not theirs is not there.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use super::{Classic, Said};

/// The documents as the one who asks is shown them.
pub(super) struct Reading(pub(super) Classic);

impl FromRequestParts<Classic> for Reading {
    type Rejection = Said;

    #[cfg(feature = "web")]
    async fn from_request_parts(parts: &mut Parts, site: &Classic) -> Result<Self, Said> {
        use crate::web::Looking;

        let Some(people) = &site.0.people else {
            return Ok(Self(site.clone()));
        };
        let looking = Looking::from_request_parts(parts, people).await;
        let Looking(seen) =
            looking.map_err(|refusal| Said(refusal.status(), refusal.message().to_owned()))?;
        Ok(Self(site.reading(seen.records())))
    }

    #[cfg(not(feature = "web"))]
    async fn from_request_parts(_: &mut Parts, site: &Classic) -> Result<Self, Said> {
        Ok(Self(site.clone()))
    }
}
