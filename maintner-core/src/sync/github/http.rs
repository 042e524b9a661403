//! Requests and answers, whoever carries them.

/// A request to the interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// `GET` or `POST`.
    pub method: &'static str,
    /// Path and query, or an absolute URL that GitHub gave.
    pub path: String,
    /// `If-None-Match`: only an answer that differs is of interest.
    pub etag: Option<String>,
    /// Sent as JSON.
    pub body: Option<String>,
}

impl Request {
    /// Asks for something.
    pub fn get(path: impl Into<String>) -> Self {
        Self {
            method: "GET",
            path: path.into(),
            etag: None,
            body: None,
        }
    }

    /// As messages name it.
    pub fn name(&self) -> String {
        format!("{} {}", self.method, self.path)
    }
}

/// What came back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// The content.
    pub body: Vec<u8>,
}

impl Answer {
    /// The first header of this name, which is in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        let found = headers.find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// GitHub's clock when it answered, in Unix seconds.
    pub fn date(&self) -> Option<i64> {
        let date = self.header("date")?;
        let date = jiff::fmt::rfc2822::parse(date).ok()?;
        Some(date.timestamp().as_second())
    }

    /// The URL that the `Link` header names so, for example `next`.
    pub fn link(&self, rel: &str) -> Option<&str> {
        let wanted = format!("rel=\"{rel}\"");
        self.header("link")?.split(',').find_map(|link| {
            let (url, rest) = link.trim().strip_prefix('<')?.split_once('>')?;
            rest.split(';')
                .any(|part| part.trim() == wanted)
                .then_some(url)
        })
    }

    /// What GitHub says in words.
    pub(super) fn message(&self) -> String {
        #[derive(serde::Deserialize)]
        struct Words {
            message: String,
        }
        match serde_json::from_slice::<Words>(&self.body) {
            Ok(words) => words.message,
            Err(_) => {
                let start = &self.body[..self.body.len().min(200)];
                String::from_utf8_lossy(start).trim().to_owned()
            }
        }
    }
}

/// Something that carries requests to GitHub: the `rest` module's client, or a test.
///
/// It adds the host, the credentials and `User-Agent`, follows no redirects, and gives up after
/// a time of its own choice.
pub trait Http: Send {
    /// Sends a request and waits for the whole answer.
    ///
    /// # Errors
    /// Why there is no whole answer: no connection, a time-out, a body that was cut short.
    fn send(&mut self, request: &Request) -> Result<Answer, String>;

    /// The credentials were refused: those of the next request should be new ones. Returns
    /// whether there can be any.
    fn renew(&mut self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers() {
        let answer = Answer {
            headers: vec![
                ("date".into(), "Tue, 10 Oct 2017 16:00:00 GMT".into()),
                (
                    "link".into(),
                    "<https://api/x?page=2>; rel=\"next\", <https://api/x?page=5>; rel=\"last\""
                        .into(),
                ),
            ],
            body: br#"{"message":"Moved Permanently"}"#.to_vec(),
            ..Answer::default()
        };
        assert_eq!(answer.date(), Some(1_507_651_200));
        assert_eq!(answer.link("next"), Some("https://api/x?page=2"));
        assert_eq!(answer.link("last"), Some("https://api/x?page=5"));
        assert_eq!(answer.link("prev"), None);
        assert_eq!(answer.message(), "Moved Permanently");
    }
}
