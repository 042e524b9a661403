//! Addresses of buildlets and coordinators, and the names and URLs made from them.

/// `http://` or `https://` URL of a buildlet at `host:port`; the port is left out where it
/// is the usual one.
#[must_use]
pub fn base_url(address: &str, tls: bool) -> String {
    let (scheme, usual) = if tls {
        ("https", ":443")
    } else {
        ("http", ":80")
    };
    format!(
        "{scheme}://{}",
        address.strip_suffix(usual).unwrap_or(address)
    )
}

/// The TLS server name for `host:port`: the host alone, without the brackets of an IPv6
/// address. A name with a port in it is refused by most TLS servers.
#[must_use]
pub fn tls_name(address: &str) -> &str {
    if let Some(inner) = address.strip_prefix('[') {
        return inner.split(']').next().unwrap_or(inner);
    }
    match address.rsplit_once(':') {
        // More than one colon without brackets: a bare IPv6 address.
        Some((host, port)) if !host.contains(':') && port.bytes().all(|b| b.is_ascii_digit()) => {
            host
        }
        _ => address,
    }
}

/// The TLS server name that Go buildlets send for `host:port`: only `:443` is removed, so
/// that servers on other ports see names such as `localhost:8119`.
#[must_use]
pub fn go_tls_name(address: &str) -> &str {
    address.strip_suffix(":443").unwrap_or(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_ports_are_left_out() {
        assert_eq!(base_url("10.0.0.1:80", false), "http://10.0.0.1");
        assert_eq!(base_url("10.0.0.1:443", true), "https://10.0.0.1");
        assert_eq!(base_url("10.0.0.1:443", false), "http://10.0.0.1:443");
        assert_eq!(base_url("localhost:5936", false), "http://localhost:5936");
        assert_eq!(base_url("myhost", false), "http://myhost");
    }

    #[test]
    fn tls_names_have_no_port() {
        let rows = [
            (
                "farmer.golang.org:443",
                "farmer.golang.org",
                "farmer.golang.org",
            ),
            ("localhost:8119", "localhost", "localhost:8119"),
            ("localhost", "localhost", "localhost"),
            ("[::1]:8119", "::1", "[::1]:8119"),
            ("[::1]", "::1", "[::1]"),
            ("::1", "::1", "::1"),
            ("host:port", "host:port", "host:port"),
        ];
        for (address, ours, gos) in rows {
            assert_eq!(tls_name(address), ours);
            assert_eq!(go_tls_name(address), gos);
        }
    }
}
