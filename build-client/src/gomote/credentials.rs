//! Who asks.

use build_core::buildlet::basic_auth;

/// What is shown to the coordinator.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// A user, without the prefix `user-`, and their token.
    User {
        /// The name.
        name: String,
        /// The token, or the key of the user.
        token: String,
    },
    /// A bearer token.
    Bearer(String),
}

impl std::fmt::Debug for Credentials {
    /// Leaves out the secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::User { name, .. } => write!(f, "User({name})"),
            Self::Bearer(_) => f.write_str("Bearer"),
        }
    }
}

impl Credentials {
    pub(super) fn authorization(&self) -> String {
        match self {
            Self::User { name, token } => basic_auth(&format!("user-{name}"), token),
            Self::Bearer(token) => format!("Bearer {token}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_do_not_show() {
        let user = Credentials::User {
            name: "ann".into(),
            token: "s3cret".into(),
        };
        assert_eq!(
            format!("{user:?}{:?}", Credentials::Bearer("x1".into())),
            "User(ann)Bearer"
        );
    }
}
