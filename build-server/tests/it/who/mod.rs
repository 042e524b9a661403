//! Who is there: the directory behind the site, identity providers, private repositories, and
//! wrong keys at full speed.

mod oidc;
mod people;
mod private;
mod storm;
