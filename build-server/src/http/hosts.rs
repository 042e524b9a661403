//! The names a site answers to.

use std::net::IpAddr;

/// The names a site answers to.
///
/// A page of another site can make a browser send requests to this machine under that site's
/// own name (DNS rebinding): its `Host` then is not one of these. Addresses are always fine,
/// for nobody can make one point elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hosts {
    names: Vec<String>,
}

impl Hosts {
    /// Answers to `name` too, besides `localhost` and addresses. Ports do not matter.
    #[must_use]
    pub fn and(mut self, name: impl AsRef<str>) -> Self {
        self.names.push(name.as_ref().to_ascii_lowercase());
        self
    }

    /// Whether `authority`, a host with or without a port, is one of them.
    pub fn accept(&self, authority: &str) -> bool {
        let Some(name) = name_of(authority) else {
            return false;
        };
        let name = name.to_ascii_lowercase();
        let is_address = || {
            name.trim_start_matches('[')
                .trim_end_matches(']')
                .parse::<IpAddr>()
                .is_ok()
        };
        name == "localhost" || is_address() || self.names.contains(&name)
    }
}

/// The host without its port; `None` when the port is not a number.
fn name_of(authority: &str) -> Option<&str> {
    let begin_of_port = match authority.rfind(']') {
        Some(end) => authority[end..].find(':').map(|colon| end + colon),
        None => authority.find(':'),
    };
    let Some(colon) = begin_of_port else {
        return Some(authority);
    };
    let port = &authority[colon + 1..];
    port.parse::<u16>().is_ok().then(|| &authority[..colon])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_and_addresses_are_accepted_and_foreign_names_are_not() {
        let hosts = Hosts::default().and("Farm.Example");
        for fine in [
            "localhost",
            "LOCALHOST:8119",
            "127.0.0.1:8119",
            "[::1]:8119",
            "[::1]",
            "10.0.0.7",
            "farm.example:443",
        ] {
            assert!(hosts.accept(fine), "{fine}");
        }
        for foreign in [
            "",
            "attacker.example",
            "localhost.attacker.example",
            "127.0.0.1.attacker.example:8119",
            "localhost:x",
            "localhost:1:2",
            "user@localhost",
        ] {
            assert!(!hosts.accept(foreign), "{foreign}");
        }
    }
}
