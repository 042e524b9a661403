//! JSON that the servers of a farm show each other: the work of the dashboard, the machines of
//! the coordinator. Members and their order are those of the Go project's `types` package.
//!
//! Go's decoders take the names of members in any case. These take them as Go writes them, or in
//! lower case, and ignore members that they do not know. What is written is exact.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Error, ErrorKind, Result};

/// The dashboard as JSON: `?mode=json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildStatus {
    /// The columns.
    #[serde(default, deserialize_with = "or_default")]
    pub builders: Vec<String>,
    /// The rows.
    #[serde(default, deserialize_with = "or_default")]
    pub revisions: Vec<BuildRevision>,
}

/// A row of the dashboard.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BuildRevision {
    /// The repository, `go` for the main one.
    pub repo: String,
    /// The commit.
    pub revision: String,
    /// The commit of Go, for other repositories.
    #[serde(
        rename = "goRevision",
        alias = "gorevision",
        skip_serializing_if = "String::is_empty"
    )]
    pub go_revision: String,
    /// When, by RFC 3339.
    pub date: String,
    /// The branch.
    pub branch: String,
    /// The branch of Go, for other repositories.
    #[serde(
        rename = "goBranch",
        alias = "gobranch",
        skip_serializing_if = "String::is_empty"
    )]
    pub go_branch: String,
    /// `Name <mail>`.
    pub author: String,
    /// The first line of the message.
    pub desc: String,
    /// For each builder: empty, `ok`, or the URL of the log of a failure.
    #[serde(deserialize_with = "or_default")]
    pub results: Vec<String>,
}

/// A build of a commit that is running: an entry of `/status/post-submit-active.json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ActivePostSubmitBuild {
    /// The builder.
    pub builder: String,
    /// The commit.
    pub commit: String,
    /// The commit of Go, for other repositories.
    #[serde(
        rename = "goCommit",
        alias = "gocommit",
        skip_serializing_if = "String::is_empty"
    )]
    pub go_commit: String,
    /// Where to look at it.
    #[serde(rename = "statusURL", alias = "statusurl")]
    pub status_url: String,
}

/// A line for someone who waits for a machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BuildletWaitStatus {
    /// To show; the rest then means nothing.
    pub message: String,
    /// How many are before.
    pub ahead: u64,
}

/// The machines that connect to a coordinator: `/status/reverse.json`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ReverseBuilderStatus {
    /// By the kind of host. Empty, Go writes `null` for it.
    #[serde(
        default,
        alias = "hosttypes",
        serialize_with = "null_if_empty",
        deserialize_with = "or_default"
    )]
    pub host_types: BTreeMap<String, ReverseHostStatus>,
}

impl ReverseBuilderStatus {
    /// The machines of a kind, which is there from now on.
    pub fn host(&mut self, host_type: &str) -> &mut ReverseHostStatus {
        let new = || ReverseHostStatus {
            host_type: host_type.to_owned(),
            ..ReverseHostStatus::default()
        };
        self.host_types
            .entry(host_type.to_owned())
            .or_insert_with(new)
    }
}

/// The machines of one kind.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ReverseHostStatus {
    /// The kind.
    #[serde(alias = "hosttype")]
    pub host_type: String,
    /// How many are connected.
    #[serde(alias = "connected")]
    pub connected: u32,
    /// How many should be.
    #[serde(alias = "expect")]
    pub expect: u32,
    /// How many wait for work.
    #[serde(alias = "idle")]
    pub idle: u32,
    /// How many work.
    #[serde(alias = "busy")]
    pub busy: u32,
    /// How many wait for such a machine.
    #[serde(alias = "waiters")]
    pub waiters: u32,
    /// By host name.
    #[serde(
        alias = "machines",
        serialize_with = "null_if_empty",
        deserialize_with = "or_default"
    )]
    pub machines: BTreeMap<String, ReverseBuilder>,
}

/// One machine that has connected.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ReverseBuilder {
    /// Its host name.
    #[serde(alias = "name")]
    pub name: String,
    /// Its kind.
    #[serde(alias = "hosttype")]
    pub host_type: String,
    /// For how many seconds it has been connected.
    #[serde(alias = "connectedsec")]
    pub connected_sec: f64,
    /// For how many seconds it has waited.
    #[serde(alias = "idlesec", skip_serializing_if = "is_zero")]
    pub idle_sec: f64,
    /// For how many seconds it has worked.
    #[serde(alias = "busysec", skip_serializing_if = "is_zero")]
    pub busy_sec: f64,
    /// Of its buildlet.
    #[serde(alias = "version")]
    pub version: String,
    /// Whether it works.
    #[serde(alias = "busy")]
    pub busy: bool,
}

/// Reads a record that a Go program wrote.
///
/// # Errors
/// [`ErrorKind::Invalid`] for text that is not such a record.
pub fn read<T: DeserializeOwned>(text: &[u8]) -> Result<T> {
    let invalid = |e| Error::caused_by(ErrorKind::Invalid, "read a status record", e);
    let value: Value = serde_json::from_slice(text).map_err(invalid)?;
    T::deserialize(&value).map_err(invalid)
}

/// Reads the dashboard's JSON.
///
/// # Errors
/// [`ErrorKind::Invalid`]; also for a row that has not one result for each builder.
pub fn read_build_status(text: &[u8]) -> Result<BuildStatus> {
    // The decoder would take a list for a record as well.
    if text.trim_ascii_start().first() != Some(&b'{') {
        let said = "bogus JSON response from dashboard: not an object";
        return Err(Error::new(ErrorKind::Invalid, said));
    }
    let status: BuildStatus = read(text)?;
    match status
        .revisions
        .iter()
        .find(|row| row.results.len() != status.builders.len())
    {
        None => Ok(status),
        Some(row) => Err(Error::new(
            ErrorKind::Invalid,
            format!(
                "bogus JSON response from dashboard: {} results of {} builders for {}",
                row.results.len(),
                status.builders.len(),
                row.revision
            ),
        )),
    }
}

fn is_zero(seconds: &f64) -> bool {
    *seconds == 0.0
}

/// Go writes `null` for maps and lists that were never made.
fn or_default<'de, T: Default + Deserialize<'de>, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

fn null_if_empty<T: Serialize, S: serde::Serializer>(
    map: &BTreeMap<String, T>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match map.is_empty() {
        true => serializer.serialize_none(),
        false => map.serialize(serializer),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::go_json;

    #[test]
    fn records_are_written_as_go_writes_them() {
        let mut status = ReverseBuilderStatus::default();
        assert_eq!(go_json::to_string(&status), r#"{"HostTypes":null}"#);
        status.host("host-a").expect = 2;
        assert_eq!(
            go_json::to_string(&status),
            r#"{"HostTypes":{"host-a":{"HostType":"host-a","Connected":0,"Expect":2,"Idle":0,"Busy":0,"Waiters":0,"Machines":null}}}"#
        );
        assert_eq!(
            read::<ReverseBuilderStatus>(go_json::to_string(&status).as_bytes()).unwrap(),
            status
        );
        let active = ActivePostSubmitBuild {
            builder: "b".into(),
            commit: "c".into(),
            status_url: "u".into(),
            ..Default::default()
        };
        assert_eq!(
            go_json::to_string(&active),
            r#"{"builder":"b","commit":"c","statusURL":"u"}"#
        );
        let waiting = BuildletWaitStatus::default();
        assert_eq!(go_json::to_string(&waiting), r#"{"message":"","ahead":0}"#);
    }

    #[test]
    fn a_dashboard_is_read_and_its_rows_are_counted() {
        let text = r#"{"builders":["a","b"],"more":1,"revisions":[{"repo":"go","revision":"r","date":"","branch":"master","author":"","desc":"","results":["ok",""]}]}"#;
        let status = read_build_status(text.as_bytes()).unwrap();
        assert_eq!(status.revisions[0].results, ["ok", ""]);
        let short = text.replace(r#""ok","""#, r#""ok""#);
        let error = read_build_status(short.as_bytes()).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("bogus JSON response from dashboard"),
            "{error}"
        );
        assert_eq!(
            read_build_status(br#"{"builders":null,"revisions":null}"#).unwrap(),
            BuildStatus::default()
        );
        assert!(read_build_status(b"[]").is_err());
    }
}
