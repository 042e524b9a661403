//! Events of code hosts, as `pubsubhelper` sends them: something changed, look there.
//!
//! ```
//! use build_core::clock::Timestamp;
//! use build_core::pubsubtypes::{Event, GitHubEvent};
//!
//! let event = Event {
//!     time: Some(Timestamp::from_micros(1_608_718_272_500_000)),
//!     github: Some(GitHubEvent {
//!         action: "opened".to_owned(),
//!         repo_owner: "golang".to_owned(),
//!         repo: "go".to_owned(),
//!         issue_number: 42,
//!         pull_request_number: 0,
//!     }),
//!     ..Event::default()
//! };
//! assert!(event.to_json().starts_with("{\n\t\"Time\": \"2020-12-23T10:11:12.5Z\",\n"));
//! assert_eq!(event.topic().as_deref(), Some("github:golang/go"));
//! ```

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::clock::Timestamp;

/// Something happened at a code host; or nothing did, for a while.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Event {
    /// When it came; each is later than the one before. `None` is no time.
    #[serde(default, serialize_with = "write_time", deserialize_with = "read_time")]
    pub time: Option<Timestamp>,
    /// Nothing happened while somebody waited.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub long_poll_timeout: bool,
    /// It happened at Gerrit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gerrit: Option<GerritEvent>,
    /// It happened at GitHub.
    #[serde(rename = "GitHub", default, skip_serializing_if = "Option::is_none")]
    pub github: Option<GitHubEvent>,
}

/// A change of Gerrit is new, or has a new patch set or comment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct GerritEvent {
    /// Where the change is: `https://go-review.googlesource.com/39551`.
    #[serde(rename = "URL")]
    pub url: String,
    /// The project: `go`.
    pub project: String,
    /// The commit of the patch set.
    pub commit_hash: String,
    /// The change's number; 0 when it is not known.
    #[serde(skip_serializing_if = "is_zero")]
    pub change_number: u64,
}

/// An issue or a pull request of GitHub was changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct GitHubEvent {
    /// What was done: `opened`, `labeled`.
    pub action: String,
    /// The owner of the repository.
    pub repo_owner: String,
    /// The repository.
    pub repo: String,
    /// The issue's number; 0 for none.
    #[serde(skip_serializing_if = "is_zero")]
    pub issue_number: u64,
    /// The pull request's number; 0 for none.
    #[serde(skip_serializing_if = "is_zero")]
    pub pull_request_number: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Event {
    /// The event as JSON in the bytes that Go writes: indented by tabs, without a final line's
    /// end, and with `<`, `>` and `&` escaped.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut bytes = Vec::new();
        let format = serde_json::ser::PrettyFormatter::with_indent(b"\t");
        let mut writer = serde_json::Serializer::with_formatter(&mut bytes, format);
        self.serialize(&mut writer)
            .expect("an event can be written as JSON");
        let text = String::from_utf8(bytes).expect("JSON is UTF-8");
        // These are in strings only.
        text.replace('<', "\\u003c")
            .replace('>', "\\u003e")
            .replace('&', "\\u0026")
            .replace('\u{2028}', "\\u2028")
            .replace('\u{2029}', "\\u2029")
    }

    /// What it is about: `github:OWNER/REPO` or `gerrit:SERVER/PROJECT`; `None` for nothing.
    #[must_use]
    pub fn topic(&self) -> Option<String> {
        if let Some(event) = &self.github {
            return Some(format!("github:{}/{}", event.repo_owner, event.repo));
        }
        let event = self.gerrit.as_ref()?;
        let rest = event.url.split_once("://").map_or("", |(_, rest)| rest);
        let host = rest.split('/').next().filter(|host| !host.is_empty())?;
        let server = host.replace("-review.googlesource.com", ".googlesource.com");
        Some(format!("gerrit:{server}/{}", event.project))
    }
}

/// Reads a time as Go writes it: RFC 3339 with up to nine digits of a second.
///
/// # Errors
/// When it is not one.
pub fn parse_time(text: &str) -> crate::Result<Timestamp> {
    let wrong = |e: Box<dyn std::error::Error + Send + Sync>| {
        crate::Error::caused_by(crate::ErrorKind::Invalid, format!("{text:?} is no time"), e)
    };
    if !text.contains('T') {
        return Err(wrong("there is no time of day".into()));
    }
    let time: jiff::Timestamp = text.parse().map_err(|e: jiff::Error| wrong(e.into()))?;
    Ok(Timestamp::from_micros(time.as_microsecond()))
}

/// A time as Go writes it.
fn format_time(time: Timestamp) -> String {
    match jiff::Timestamp::from_microsecond(time.as_micros()) {
        Ok(time) => time.to_string(),
        Err(_) => time.to_string(),
    }
}

#[expect(clippy::ref_option, reason = "serde calls it so")]
fn write_time<S: Serializer>(time: &Option<Timestamp>, to: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => to.serialize_str(&format_time(*time)),
        None => to.serialize_none(),
    }
}

fn read_time<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Timestamp>, D::Error> {
    match Option::<String>::deserialize(from)? {
        None => Ok(None),
        Some(text) if text.is_empty() || text.starts_with("000") => Ok(None),
        Some(text) => parse_time(&text)
            .map(Some)
            .map_err(serde::de::Error::custom),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_what_go_writes() {
        let event = Event {
            time: Some(parse_time("2020-12-23T10:11:12.500Z").unwrap()),
            github: Some(GitHubEvent {
                action: "<opened> & \u{2028}".to_owned(),
                repo_owner: "golang".to_owned(),
                repo: "go".to_owned(),
                issue_number: 42,
                pull_request_number: 0,
            }),
            ..Event::default()
        };
        let json = "{\n\t\"Time\": \"2020-12-23T10:11:12.5Z\",\n\t\"GitHub\": {\n\t\t\"Action\": \
            \"\\u003copened\\u003e \\u0026 \\u2028\",\n\t\t\"RepoOwner\": \"golang\",\n\t\t\"Repo\": \"go\",\n\
            \t\t\"IssueNumber\": 42\n\t}\n}";
        assert_eq!(event.to_json(), json);
        assert_eq!(serde_json::from_str::<Event>(json).unwrap(), event);
        assert_eq!(Event::default().to_json(), "{\n\t\"Time\": null\n}");
    }

    #[test]
    fn no_time_is_written_in_several_ways() {
        for text in [
            "null",
            "\"\"",
            "\"0000-00-00T00:00:00Z\"",
            "\"0001-01-01T00:00:00Z\"",
        ] {
            let event: Event = serde_json::from_str(&format!("{{\"Time\": {text}}}")).unwrap();
            assert_eq!(event.time, None, "{text}");
        }
        for wrong in ["yesterday", "2020-12-23", "2020-12-23T10:11:12"] {
            assert!(parse_time(wrong).is_err(), "{wrong}");
        }
        assert!(parse_time("2020-12-23T10:11:12.123456789+01:00").is_ok());
    }

    #[test]
    fn topics_name_the_server_and_the_project() {
        let event = Event {
            gerrit: Some(GerritEvent {
                url: "https://go-review.googlesource.com/c/39551".to_owned(),
                project: "go".to_owned(),
                ..GerritEvent::default()
            }),
            ..Event::default()
        };
        assert_eq!(
            event.topic().as_deref(),
            Some("gerrit:go.googlesource.com/go")
        );
        assert_eq!(Event::default().topic(), None);
    }
}
