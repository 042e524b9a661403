//! Credentials in files: git's cookie file, and netrc.

use std::time::{SystemTime, UNIX_EPOCH};

use url::Url;

/// A cookie of a cookie file.
#[derive(Clone, PartialEq, Eq)]
pub struct Cookie {
    domain: String,
    path: String,
    secure: bool,
    /// Seconds since 1970; 0: it does not expire.
    expires: u64,
    name: String,
    value: String,
}

impl std::fmt::Debug for Cookie {
    /// Leaves out the value, which is a secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Cookie({} for {}{})", self.name, self.domain, self.path)
    }
}

impl Cookie {
    /// Whether it is sent to `url` now.
    fn goes_to(&self, url: &Url, now: u64) -> bool {
        let Some(host) = url.host_str() else {
            return false;
        };
        let domain = self.domain.trim_start_matches('.');
        let host_fits = !domain.is_empty()
            && (host.eq_ignore_ascii_case(domain)
                || host
                    .to_ascii_lowercase()
                    .strip_suffix(&domain.to_ascii_lowercase())
                    .is_some_and(|rest| rest.ends_with('.')));
        let path = self.path.trim_end_matches('/');
        let path_fits = path.is_empty()
            || url.path() == path
            || url
                .path()
                .strip_prefix(path)
                .is_some_and(|rest| rest.starts_with('/'));
        host_fits
            && path_fits
            && (!self.secure || url.scheme() == "https")
            && (self.expires == 0 || self.expires > now)
    }
}

/// Reads a cookie file: seven fields and more, separated by tabs, a cookie a line. Other lines
/// are passed over; `#HttpOnly_` before the domain is understood.
#[must_use]
pub fn parse_cookies(text: &str) -> Vec<Cookie> {
    text.lines()
        .filter_map(|line| {
            let line = line.strip_prefix("#HttpOnly_").unwrap_or(line);
            let fields: Vec<&str> = line.split('\t').collect();
            let [domain, _, path, secure, expires, name, value, ..] = fields[..] else {
                return None;
            };
            if domain.starts_with('#') {
                return None;
            }
            Some(Cookie {
                domain: domain.to_owned(),
                path: path.to_owned(),
                secure: secure == "TRUE",
                expires: expires.parse().ok()?,
                name: name.to_owned(),
                value: value.trim_end_matches('\r').to_owned(),
            })
        })
        .collect()
}

/// The value of the `Cookie` header for `url`, when there is a cookie for it.
pub(super) fn header(cookies: &[Cookie], url: &Url) -> Option<String> {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_secs());
    let mut named: Vec<(&str, &str)> = Vec::new();
    for cookie in cookies.iter().filter(|cookie| cookie.goes_to(url, now)) {
        // The last one of a name wins, as in a jar.
        named.retain(|(name, _)| *name != cookie.name);
        named.push((&cookie.name, &cookie.value));
    }
    let pairs: Vec<String> = named
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    (!pairs.is_empty()).then(|| pairs.join("; "))
}

/// User and password for `host`, which has its port when the address has one, from a netrc file
/// with one entry a line: `machine HOST login USER password WORD`.
#[must_use]
pub fn parse_netrc(text: &str, host: &str) -> Option<(String, String)> {
    text.lines().find_map(|line| {
        let words: Vec<&str> = line
            .split_once('#')
            .map_or(line, |(before, _)| before)
            .split_whitespace()
            .collect();
        match words[..] {
            ["machine", machine, "login", user, "password", password, ..] if machine == host => {
                Some((user.to_owned(), password.to_owned()))
            }
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(file: &str, url: &str) -> Option<String> {
        header(&parse_cookies(file), &url.parse().unwrap())
    }

    #[test]
    fn cookies_go_where_they_belong() {
        let file = "# comment\n.example.test\tTRUE\t/\tTRUE\t2147483647\to\tsecret\n\
                    #HttpOnly_plain.test\tFALSE\t/a\tFALSE\t0\tp\tq\n\
                    old.test\tFALSE\t/\tFALSE\t1\tx\ty\nshort\tline\n";
        assert_eq!(parse_cookies(file).len(), 3);
        assert_eq!(sent(file, "https://example.test/a/x").unwrap(), "o=secret");
        assert_eq!(sent(file, "https://go.EXAMPLE.test/").unwrap(), "o=secret");
        assert_eq!(
            sent(file, "http://example.test/"),
            None,
            "secure ones stay home"
        );
        assert_eq!(sent(file, "https://anexample.test/"), None);
        assert_eq!(sent(file, "http://plain.test/a/x").unwrap(), "p=q");
        assert_eq!(sent(file, "http://plain.test/ab"), None);
        assert_eq!(sent(file, "http://old.test/"), None, "expired");
        assert!(!format!("{:?}", parse_cookies(file)).contains("secret"));
    }

    #[test]
    fn netrc_entries_are_one_line_each() {
        let file = "# x\nmachine a.test login u password p # y\nmachine a.test:8080 login v password q\n\
                    machine b.test\n  login u password p\n";
        assert_eq!(parse_netrc(file, "a.test"), Some(("u".into(), "p".into())));
        assert_eq!(
            parse_netrc(file, "a.test:8080"),
            Some(("v".into(), "q".into()))
        );
        assert_eq!(parse_netrc(file, "b.test"), None);
    }
}
