//! Who is there: people and machines, by the keys that they show.
//!
//! A [`Directory`] knows users, keys and roles. Somebody shows a [`Credential`]; the directory
//! answers with a [`Caller`], who says what it may do ([`Right`]), or with a [`Refusal`].
//!
//! | Shown | Who it is |
//! |---|---|
//! | the token in the data directory | the owner of the farm: everything |
//! | a random token `farmer_…` of a user | that user, within the scope of the token |
//! | a random token of a machine | that machine: registers under its name and kind alone |
//! | a legacy key by HMAC-MD5 of `user-NAME` | that user, never an admin |
//! | a legacy key of a host type or a builder | a machine of that kind, or that builder |
//!
//! Over ssh, whoever holds the private half of an [`SshPublicKey`] is its user.
//!
//! Everything lies in the folder `who` of the data directory, which several processes may use at
//! a time: `book.json` (users and keys, tokens hashed), `master-keys` (legacy), `used.json` (when a
//! key was used last) and `audit.jsonl` (who changed what, who was refused). A change of one
//! process counts at the next question in every other.
//!
//! ```
//! use build_core::event::Principal;
//! use build_server::who::{Credential, Directory, NewKey, Right, Role};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> build_core::Result<()> {
//! let directory = Directory::memory();
//! let owner = Principal::person("owner");
//! directory.add_user(&owner, "ann", Role::User, &[])?;
//! let made = directory.create_key(&owner, NewKey::of_user("ann"))?;
//! let caller = directory.caller(&Credential::bearer(made.token.reveal()), None).await.unwrap();
//! assert!(caller.may(Right::Sessions) && !caller.may(Right::Administer));
//! directory.revoke_key(&owner, &made.key.id)?;
//! assert!(directory.caller(&Credential::bearer(made.token.reveal()), None).await.is_err());
//! # Ok(())
//! # }
//! ```

mod audit;
mod book;
mod caller;
mod change;
mod directory;
mod folder;
#[cfg(feature = "oidc")]
mod oidc;
mod role;
mod scope;
mod ssh_key;
mod ssh_source;
mod throttle;
mod token_file;
mod usage;

pub use audit::{Act, AuditEvent};
pub use book::{Key, KeyId, KeyState, NewKey, UserEntry, is_user_name};
pub use caller::{Caller, Credential, Refusal};
pub use change::Made;
pub use directory::{Directory, Options, SignedName, SignedTokens};
#[cfg(feature = "oidc")]
pub use oidc::Oidc;
pub use role::{Right, Role};
pub use scope::{Grant, Pattern, Scope};
pub use ssh_key::{SshKey, SshPublicKey};
pub use ssh_source::SshSource;
pub use token_file::TokenFile;
pub use usage::LastUse;

#[cfg(test)]
mod tests;
