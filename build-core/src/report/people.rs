//! Users and keys of a farm, for programs of its admins.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{millis, rfc3339};
use crate::clock::Timestamp;
use crate::event::Principal;

/// Every user.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Users {
    /// The users, by name.
    pub users: Vec<User>,
}

/// One user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// The name.
    pub name: String,
    /// What they are to the farm: `anyone`, `user`, `builder` or `admin`.
    pub role: String,
    /// The private repositories that they may read: names, or beginnings of names with a `*`.
    pub reads: Vec<String>,
    /// When they were added.
    #[serde(with = "rfc3339")]
    pub added: Timestamp,
    /// By whom.
    pub added_by: Principal,
}

/// A user that is to be added.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewUser {
    /// The name.
    pub name: String,
    /// As of [`User::role`]; without it `user`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// As of [`User::reads`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reads: Vec<String>,
}

/// What becomes of a user; what is not said stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserChange {
    /// As of [`User::role`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// As of [`User::reads`]; all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reads: Option<Vec<String>>,
}

/// A user that is gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserRemoved {
    /// The name.
    pub name: String,
    /// How many keys ended with that.
    pub keys_revoked: usize,
}

/// Every key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keys {
    /// The keys, those that have ended too.
    pub keys: Vec<Key>,
}

/// One key, without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// Its id.
    pub id: String,
    /// Whose it is.
    pub owner: Principal,
    /// What it is good for.
    pub scope: String,
    /// What people wrote beside it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
    /// When it was made.
    #[serde(with = "rfc3339")]
    pub created: Timestamp,
    /// By whom.
    pub created_by: Principal,
    /// From when on it is not good any more.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "rfc3339::option"
    )]
    pub expires: Option<Timestamp>,
    /// When somebody ended it.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "rfc3339::option"
    )]
    pub revoked: Option<Timestamp>,
    /// The id of the key whose place it takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<String>,
    /// Whether it is good.
    pub state: KeyWord,
    /// The last time that it was shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used: Option<KeyUse>,
}

/// Whether a key is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum KeyWord {
    /// It is.
    Active,
    /// Its time is over.
    Expired,
    /// Somebody has ended it.
    Revoked,
}

/// When a key was shown, and from where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyUse {
    /// When.
    #[serde(with = "rfc3339")]
    pub at: Timestamp,
    /// The address, when it came over the network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
}

/// A key that is to be made: of a user, or of a machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewKey {
    /// Of whom.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Of which machine, by its own name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<String>,
    /// The kind of that machine; without it `local`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_type: Option<String>,
    /// What it is good for; without it for everything that its owner may do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// From when on it is not good any more; without it, it does not end by itself.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "rfc3339::option"
    )]
    pub expires: Option<Timestamp>,
    /// What people want to find beside it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
}

/// Another key is wanted in the place of one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyRotation {
    /// How long the old one is good yet; without it for a day.
    #[serde(
        default,
        rename = "grace_ms",
        skip_serializing_if = "Option::is_none",
        with = "millis::option"
    )]
    pub grace: Option<Duration>,
}

/// A key with its secret, which is told once.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MadeKey {
    /// The key.
    #[serde(flatten)]
    pub key: Key,
    /// The secret.
    pub token: String,
}

/// Without the secret.
impl std::fmt::Debug for MadeKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MadeKey")
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_was_made_does_not_show_its_secret_by_accident() {
        let json = r#"{"id":"K00000001","owner":"person:ann","scope":"all",
            "created":"2020-12-23T19:58:56Z","created_by":"person:owner",
            "state":"active","token":"farmer_secret"}"#;
        let made: MadeKey = serde_json::from_str(json).unwrap();
        assert_eq!(made.token, "farmer_secret");
        assert!(!format!("{made:?}").contains("secret"));
        assert_eq!(made.key.created, Timestamp::from_seconds(1_608_753_536));
        let new = NewKey {
            user: Some("ann".into()),
            ..NewKey::default()
        };
        assert_eq!(serde_json::to_string(&new).unwrap(), r#"{"user":"ann"}"#);
        let hour = r#"{"grace_ms":3600000}"#;
        let rotation: KeyRotation = serde_json::from_str(hour).unwrap();
        assert_eq!(rotation.grace, Some(Duration::from_secs(3600)));
        assert_eq!(serde_json::to_string(&rotation).unwrap(), hour);
        assert_eq!(
            serde_json::from_str::<KeyRotation>("{}").unwrap(),
            KeyRotation::default()
        );
    }
}
