//! Who says to a farm who somebody is.

use serde::{Deserialize, Serialize};

/// The identity providers whose signed tokens the farm takes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdentityProviders {
    /// The providers.
    pub providers: Vec<IdentityProvider>,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdentityProvider {
    /// Its address, as its tokens name it.
    pub issuer: String,
    /// What the farm is called there: whom tokens must be made for.
    pub client_id: String,
}
