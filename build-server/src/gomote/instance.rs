//! A session as its user sees it.

use build_core::clock::Timestamp;
use build_core::ids::{BuilderName, HostType, SessionId};
use serde::Serialize;

use super::user::USER_PREFIX;

/// A session of somebody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// What it is called: `user-alice-linux-amd64-0`.
    pub name: String,
    /// Whose it is, without the prefix `user-`.
    pub owner: String,
    /// The builder whose machine it is.
    pub builder: BuilderName,
    /// The kind of that machine.
    pub host_type: HostType,
    /// The session in the event log.
    pub session: SessionId,
    /// When it was created.
    pub created: Timestamp,
    /// When it ends unless it is used.
    pub expires: Timestamp,
}

/// The record of 2020, in Go's order (docs/protocol/gomote.md).
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Record<'a> {
    user: String,
    name: &'a str,
    host_type: &'a str,
    builder_type: &'a str,
    created: String,
    expires: String,
}

impl Instance {
    pub(super) fn record(&self) -> Record<'_> {
        Record {
            user: format!("{USER_PREFIX}{}", self.owner),
            name: &self.name,
            host_type: self.host_type.as_str(),
            builder_type: self.builder.as_str(),
            created: rfc3339(self.created),
            expires: rfc3339(self.expires),
        }
    }
}

/// With as many digits behind the second as there are.
fn rfc3339(at: Timestamp) -> String {
    match jiff::Timestamp::from_microsecond(at.as_micros()) {
        Ok(time) => time.to_string(),
        Err(_) => at.to_string(),
    }
}

/// A session that is not there any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// What it was called.
    pub name: String,
    /// Whose it was.
    pub owner: String,
    /// When it ended.
    pub at: Timestamp,
    /// Why.
    pub why: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_record_is_that_of_2020() {
        let instance = Instance {
            name: "gopher-linux-amd64-test-0".into(),
            owner: "gopher".into(),
            builder: BuilderName::new("linux-amd64-test").unwrap(),
            host_type: HostType::new("test-host").unwrap(),
            session: SessionId::from_bits(1),
            created: Timestamp::from_micros(123_000_000),
            expires: Timestamp::from_micros(1_923_100_000),
        };
        assert_eq!(
            serde_json::to_string(&instance.record()).unwrap(),
            r#"{"User":"user-gopher","Name":"gopher-linux-amd64-test-0","HostType":"test-host","BuilderType":"linux-amd64-test","Created":"1970-01-01T00:02:03Z","Expires":"1970-01-01T00:32:03.1Z"}"#
        );
    }
}
