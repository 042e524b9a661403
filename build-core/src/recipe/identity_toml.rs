//! `[[identity]]` of `farmer.toml`: whose signed tokens a farm takes.

use serde::Deserialize;

use super::farmer_toml::invalid;
use crate::error::Result;

/// An identity provider (OpenID Connect), and what its users are on this farm.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Identity {
    /// Its address, as its tokens name it: `https://login.example.org`.
    pub issuer: String,
    /// What tokens must be made for: the name of this farm at the provider.
    pub audience: String,
    /// The claim that names the user.
    pub user: String,
    /// The claim that lists the groups of the user.
    pub groups: String,
    /// Groups whose members are admins.
    pub admins: Vec<String>,
    /// Groups whose members are users; `*`: everybody whom the provider knows.
    pub users: Vec<String>,
    /// A file of certificates that are trusted besides the usual ones.
    pub ca_file: Option<String>,
}

impl Identity {
    /// A provider whose users are nothing yet; the user is the claim `email`, the groups `groups`.
    pub fn new(issuer: impl Into<String>, audience: impl Into<String>) -> Self {
        Self {
            issuer: issuer.into(),
            audience: audience.into(),
            user: "email".into(),
            groups: "groups".into(),
            admins: Vec::new(),
            users: Vec::new(),
            ca_file: None,
        }
    }
}

#[derive(Deserialize)]
pub(super) struct RawIdentity {
    issuer: String,
    audience: String,
    user: Option<String>,
    groups: Option<String>,
    #[serde(default)]
    admins: Vec<String>,
    #[serde(default)]
    users: Vec<String>,
    ca_file: Option<String>,
}

pub(super) fn read(raw: Vec<RawIdentity>) -> Result<Vec<Identity>> {
    let mut all: Vec<Identity> = Vec::new();
    for raw in raw {
        let identity = raw.read()?;
        if all.iter().any(|known| known.issuer == identity.issuer) {
            let text = format!("two [[identity]] have the issuer {:?}", identity.issuer);
            return Err(invalid(text).with_hint("give each provider once"));
        }
        all.push(identity);
    }
    Ok(all)
}

impl RawIdentity {
    fn read(self) -> Result<Identity> {
        let issuer = self.issuer;
        let rest = issuer.strip_prefix("https://");
        let rest = rest.or_else(|| issuer.strip_prefix("http://").filter(|rest| is_local(rest)));
        if rest.is_none_or(str::is_empty) {
            let text = format!("identity.issuer is {issuer:?}, which is no private address");
            return Err(invalid(text).with_hint("write it like \"https://login.example.org\""));
        }
        if self.audience.is_empty() {
            let text = "identity.audience is empty: tokens for other farms would be taken".into();
            return Err(invalid(text).with_hint("give the name of this farm at the provider"));
        }
        if self.admins.iter().any(|group| group == "*") {
            let text = "identity.admins has \"*\": everybody would be an admin".into();
            return Err(invalid(text).with_hint("name the groups of admins"));
        }
        let new = Identity::new(issuer, self.audience);
        Ok(Identity {
            user: self.user.unwrap_or(new.user),
            groups: self.groups.unwrap_or(new.groups),
            admins: self.admins,
            users: self.users,
            ca_file: self.ca_file,
            ..new
        })
    }
}

/// Nobody else can answer there.
fn is_local(rest: &str) -> bool {
    let host = rest.split('/').next().unwrap_or_default();
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    matches!(name, "localhost" | "127.0.0.1" | "[::1]")
}

#[cfg(test)]
mod tests {
    use super::super::FarmToml;
    use super::*;

    #[test]
    fn a_provider_is_read_with_its_defaults() {
        let farm = FarmToml::parse(
            "private = ['secret', 'team-*']\n[[identity]]\nissuer = 'https://login.example.org'\n\
             audience = 'farm'\nadmins = ['ops']\nusers = ['*']",
        )
        .unwrap();
        let identity = &farm.identity[0];
        assert_eq!(
            (identity.user.as_str(), identity.groups.as_str()),
            ("email", "groups")
        );
        assert_eq!((identity.admins.len(), identity.users.len()), (1, 1));
        assert_eq!(farm.private, ["secret", "team-*"]);
    }

    #[test]
    fn what_would_let_everybody_in_is_refused() {
        for (text, message) in [
            (
                "issuer = 'http://login.example.org'\naudience = 'x'",
                "no private address",
            ),
            (
                "issuer = 'http://localhost.evil.example'\naudience = 'x'",
                "no private address",
            ),
            ("issuer = 'https://'\naudience = 'x'", "no private address"),
            ("issuer = 'https://a.example'\naudience = ''", "is empty"),
            (
                "issuer = 'https://a.example'\naudience = 'x'\nadmins = ['*']",
                "an admin",
            ),
            (
                "issuer = 'https://a.example'\naudience = 'x'\n[[identity]]\nissuer = 'https://a.example'\naudience = 'y'",
                "two [[identity]]",
            ),
        ] {
            let error = FarmToml::parse(&format!("[[identity]]\n{text}")).unwrap_err();
            assert!(error.to_string().contains(message), "{error}");
            assert!(error.hint().is_some());
        }
        assert!(is_local("127.0.0.1:8080/x") && is_local("[::1]:1") && !is_local("127.0.0.1.evil"));
    }
}
