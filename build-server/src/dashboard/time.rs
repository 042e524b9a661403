//! Times for people.

use std::fmt;

use build_core::clock::Timestamp;
use build_core::sentences::about;

/// An instant: exact for programs, how long ago for people.
#[derive(Clone, Debug)]
pub(super) struct When {
    at: Timestamp,
    now: Timestamp,
}

impl When {
    pub(super) fn new(at: Timestamp, now: Timestamp) -> Self {
        Self { at, now }
    }
}

impl fmt::Display for When {
    /// An element of HTML; nothing in it comes from outside.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let age = self.now.since(self.at);
        let text = match age.as_secs() {
            0 => "just now".to_owned(),
            _ => format!("{} ago", about(age)),
        };
        let exact = self.at.to_string();
        let title = exact.replace('T', " ").replace('Z', " UTC");
        write!(f, "<time datetime={exact} title=\"{title}\">{text}</time>")
    }
}

/// When as safe HTML.
impl askama::filters::HtmlSafe for When {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_is_exact_and_readable() {
        let when = When::new(Timestamp::from_seconds(0), Timestamp::from_seconds(180));
        assert_eq!(
            when.to_string(),
            "<time datetime=1970-01-01T00:00:00Z title=\"1970-01-01 00:00:00 UTC\">3 min ago</time>"
        );
    }
}
