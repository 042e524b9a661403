//! What is shown, who it is, and why somebody is refused.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use build_core::event::{Principal, PrincipalKind};
use build_core::{Error, ErrorKind};

use super::{KeyId, Pattern, Right, Role, Scope};

/// Longest text that is looked at, of a token, a key or a name: tokens of identity providers are
/// a few kilobytes.
const MAX_SHOWN: usize = 16 << 10;

/// What somebody shows to say who they are.
#[derive(Clone)]
#[non_exhaustive]
pub enum Credential<'a> {
    /// `Authorization: Bearer TOKEN`: one of our tokens, or a signed one of an identity provider.
    Bearer(Cow<'a, str>),
    /// `Authorization: Basic …`, as Go's gomote sends it: `user-NAME` and a key or token.
    Basic {
        /// `user-NAME`.
        user: Cow<'a, str>,
        /// A legacy key, or a token of that user.
        password: Cow<'a, str>,
    },
    /// A machine or what posts results: a name and its legacy key, or a token.
    Builder {
        /// What the legacy key is made of: the host type at `/reverse`, the builder at `/result`.
        name: Cow<'a, str>,
        /// The key.
        key: Cow<'a, str>,
    },
}

impl<'a> Credential<'a> {
    /// A token.
    pub fn bearer(token: impl Into<Cow<'a, str>>) -> Self {
        Self::Bearer(token.into())
    }

    /// A user with a password.
    pub fn basic(user: impl Into<Cow<'a, str>>, password: impl Into<Cow<'a, str>>) -> Self {
        Self::Basic {
            user: user.into(),
            password: password.into(),
        }
    }

    /// A machine or a builder with its key.
    pub fn builder(name: impl Into<Cow<'a, str>>, key: impl Into<Cow<'a, str>>) -> Self {
        Self::Builder {
            name: name.into(),
            key: key.into(),
        }
    }

    /// Reads the value of a field `Authorization`; `None` for schemes that are not known here,
    /// and for text that is none.
    pub fn of_authorization(value: &str) -> Option<Credential<'static>> {
        let (scheme, rest) = value.trim().split_once(' ')?;
        let rest = rest.trim();
        if rest.is_empty() || rest.len() > MAX_SHOWN {
            return None;
        }
        if scheme.eq_ignore_ascii_case("bearer") {
            return Some(Credential::bearer(rest.to_owned()));
        }
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let text = String::from_utf8(STANDARD.decode(rest).ok()?).ok()?;
        let (user, password) = text.split_once(':')?;
        Some(Credential::basic(user.to_owned(), password.to_owned()))
    }

    /// Whether its texts are short enough to be looked at.
    pub(super) fn is_bounded(&self) -> bool {
        match self {
            Self::Bearer(token) => token.len() <= MAX_SHOWN,
            Self::Basic { user, password } => user.len() + password.len() <= MAX_SHOWN,
            Self::Builder { name, key } => name.len() + key.len() <= MAX_SHOWN,
        }
    }

    /// Who it says it is, for the log: never the secret.
    pub(super) fn claimed(&self) -> String {
        let (kind, name) = match self {
            Self::Bearer(_) => return "a token".into(),
            Self::Basic { user, .. } => ("user", user),
            Self::Builder { name, .. } => ("machine or builder", name),
        };
        let plain = |c: char| if c.is_control() { '?' } else { c };
        let name: String = name.chars().take(80).map(plain).collect();
        format!("{kind} {name:?}")
    }
}

impl fmt::Debug for Credential<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credential({}, hidden)", self.claimed())
    }
}

/// Somebody who has shown who they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    principal: Principal,
    role: Role,
    scope: Scope,
    reads: Vec<Pattern>,
    key: Option<KeyId>,
    legacy: bool,
}

impl Caller {
    /// Somebody of this role, with everything that it allows. A user reads no private repository:
    /// say which with [`Caller::reading`].
    pub fn new(principal: Principal, role: Role) -> Self {
        Self {
            principal,
            role,
            scope: Scope::all(),
            reads: Vec::new(),
            key: None,
            legacy: false,
        }
    }

    /// With less: what a key is good for.
    #[must_use]
    pub fn within(mut self, scope: Scope) -> Self {
        self.scope = scope;
        self
    }

    /// With these private repositories to read.
    #[must_use]
    pub fn reading(mut self, repos: impl IntoIterator<Item = Pattern>) -> Self {
        self.reads = repos.into_iter().collect();
        self
    }

    pub(super) fn by_key(mut self, key: KeyId) -> Self {
        self.key = Some(key);
        self
    }

    pub(super) fn by_legacy_key(mut self) -> Self {
        self.legacy = true;
        self
    }

    /// Who: as events name it.
    pub fn principal(&self) -> &Principal {
        &self.principal
    }

    /// The name of a user, without `user-`; `None` for machines.
    pub fn user(&self) -> Option<&str> {
        let is_person = *self.principal.kind() == PrincipalKind::Person;
        is_person.then(|| self.principal.name())
    }

    /// What they are.
    pub fn role(&self) -> Role {
        self.role
    }

    /// What the key is good for.
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Which key was shown, when it is one that is listed.
    pub fn key(&self) -> Option<&KeyId> {
        self.key.as_ref()
    }

    /// Whether a key was shown that a master key makes.
    pub fn is_legacy(&self) -> bool {
        self.legacy
    }

    /// Whether they may do it: their role allows it, and so does their key.
    #[must_use]
    pub fn may(&self, right: Right<'_>) -> bool {
        let reads = |repo| self.role == Role::Admin || self.reads.iter().any(|p| p.matches(repo));
        let is_let = match right {
            Right::Read(repo) => reads(repo),
            _ => true,
        };
        is_let && self.role.allows(right) && self.scope.covers(right)
    }

    /// Nothing when they may do it.
    ///
    /// # Errors
    /// [`Refusal::Forbidden`] that says who may not do what.
    pub fn require(&self, right: Right<'_>) -> Result<(), Refusal> {
        match self.may(right) {
            true => Ok(()),
            false => Err(Refusal::Forbidden {
                who: self.principal.text(),
                what: right.to_string(),
            }),
        }
    }
}

/// Why somebody is refused. No variant says more than they know already.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// Nobody has this key, or the name has another one.
    #[error("the key or token is not known here")]
    Unknown,
    /// It was good.
    #[error("the key {0} has expired")]
    Expired(KeyId),
    /// It was good.
    #[error("the key {0} was revoked")]
    Revoked(KeyId),
    /// A signed token of an identity provider is not accepted.
    #[error("the signed token is not accepted: {0}")]
    Signed(String),
    /// Too many wrong keys came from there.
    #[error("too many wrong keys from this address; try again in {} s", .0.as_secs().max(1))]
    Throttled(Duration),
    /// They are known, and may not do this.
    #[error("{who} may not {what}")]
    Forbidden {
        /// Who.
        who: String,
        /// What.
        what: String,
    },
    /// It cannot be told now.
    #[error("cannot tell who this is: {0}")]
    Unavailable(#[source] Error),
}

impl Refusal {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Unknown => {
                "show the token in the file `token` of the data directory, or one that \
                 `farmer key create` has printed"
            }
            Self::Expired(_) => "ask an admin of this farm for a new one: farmer key rotate",
            Self::Revoked(_) => "ask an admin of this farm for a new one: farmer key create",
            Self::Signed(_) => "get a new one from your identity provider, for this farm",
            Self::Throttled(_) => "wait, then show a key that is right",
            Self::Forbidden { .. } => "ask an admin of this farm for another role or key",
            Self::Unavailable(_) => "ask again a little later; the log of the farm says more",
        }
    }

    /// Whether they are known, and only this is not theirs to do.
    #[must_use]
    pub fn is_forbidden(&self) -> bool {
        matches!(self, Self::Forbidden { .. })
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        let kind = match refusal {
            Refusal::Unavailable(error) => return error,
            Refusal::Throttled(_) => ErrorKind::Unavailable,
            _ => ErrorKind::Denied,
        };
        Self::new(kind, refusal.to_string()).with_hint(refusal.hint())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorization_is_read_as_gomote_sends_it() {
        let basic = Credential::of_authorization("Basic dXNlci1hbGljZTp4OnkK").unwrap();
        assert!(matches!(basic, Credential::Basic { ref user, ref password }
            if user == "user-alice" && password == "x:y\n"));
        assert_eq!(
            format!("{basic:?}"),
            "Credential(user \"user-alice\", hidden)"
        );
        let bearer = Credential::of_authorization("bearer  t0ken ").unwrap();
        assert!(matches!(bearer, Credential::Bearer(ref token) if token == "t0ken"));
        assert!(!format!("{bearer:?}").contains("t0ken"));
        let endless = format!("Bearer {}", "x".repeat(MAX_SHOWN + 1));
        for bad in [
            "",
            "Basic",
            "Basic ",
            "Basic !",
            "Basic eA==",
            "Digest x",
            &endless,
        ] {
            assert!(Credential::of_authorization(bad).is_none(), "{bad:.20}");
        }
    }

    #[test]
    fn a_user_reads_what_both_the_user_and_the_key_may() {
        let reads = [Pattern::new("team-*").unwrap()];
        let ann = Caller::new(Principal::person("ann"), Role::User).reading(reads);
        assert!(ann.may(Right::Read("team-a")) && !ann.may(Right::Read("other")));
        let scoped = ann.within("repo:team-b".parse().unwrap());
        assert!(scoped.may(Right::Read("team-b")) && !scoped.may(Right::Read("team-a")));
        let refusal = scoped.require(Right::Sessions).unwrap_err();
        assert_eq!(refusal.to_string(), "ann may not have sessions");
        let admin = Caller::new(Principal::person("owner"), Role::Admin);
        assert!(admin.may(Right::Read("anything")));
    }
}
