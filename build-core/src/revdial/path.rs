use std::fmt;

/// The parameter that names the dialer.
const DIALER: &str = "revdial.dialer=";
/// The parameter that names the connection; Go's dialers have none.
const CONN: &str = "revdial.conn=";

/// Which control connection a fetched connection belongs to. Whoever knows it can pose as the
/// machine: it is random, and does not show in debug output.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct DialerId([u8; 16]);

impl DialerId {
    /// An id from random bytes, which must come from the system's generator.
    #[must_use]
    pub fn from_entropy(random: [u8; 16]) -> Self {
        Self(random)
    }

    /// Reads 32 lower-case hex digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 16];
        let lower = text.bytes().all(|b| !b.is_ascii_uppercase());
        (lower && hex::decode_to_slice(text, &mut bytes).is_ok()).then_some(Self(bytes))
    }

    /// The text for paths, 32 lower-case hex digits.
    #[must_use]
    pub fn reveal(&self) -> String {
        hex::encode(self.0)
    }
}

impl fmt::Debug for DialerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DialerId(hidden)")
    }
}

/// One wanted connection of a dialer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(u64);

impl ConnId {
    pub(super) fn new(number: u64) -> Self {
        Self(number)
    }
}

/// What a machine asks for to fetch a connection: the request target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnPath {
    /// Whose connection.
    pub dialer: DialerId,
    /// Which of them; `None` in the paths of Go dialers.
    pub conn: Option<ConnId>,
}

impl ConnPath {
    /// Reads the parameters of a request target; `None` without a dialer's id, or with text
    /// that no id has.
    #[must_use]
    pub fn parse(target: &str) -> Option<Self> {
        let (_, query) = target.split_once('?')?;
        let find = |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name));
        let conn = match find(CONN) {
            Some(digits) => Some(parse_conn(digits)?),
            None => None,
        };
        Some(Self {
            dialer: DialerId::parse(find(DIALER)?)?,
            conn,
        })
    }

    /// The path of a connection under the path where the server takes them.
    #[must_use]
    pub fn text(&self, mount: &str) -> String {
        let sep = if mount.contains('?') { '&' } else { '?' };
        let mut text = format!("{mount}{sep}{DIALER}{}", self.dialer.reveal());
        if let Some(ConnId(number)) = self.conn {
            text.push_str(&format!("&{CONN}{number:016x}"));
        }
        text
    }
}

fn parse_conn(digits: &str) -> Option<ConnId> {
    let lower = digits.len() == 16
        && digits
            .bytes()
            .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let number = u64::from_str_radix(digits, 16).ok()?;
    lower.then_some(ConnId(number))
}
