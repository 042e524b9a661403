//! Who is there: the directory behind the site, identity providers, private repositories, and
//! wrong keys at full speed.

mod device;
mod oidc;
mod people;
mod private;
mod storm;
