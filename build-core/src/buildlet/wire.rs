//! A connection to a machine on which its protocol is spoken.

use std::fmt;

use crate::h1::RequestHead;
use crate::h1::io::Duplex;

/// A connection to a buildlet, and what every request on it must carry.
pub struct Wire {
    io: Box<dyn Duplex>,
    authority: String,
    fields: Vec<(String, String)>,
}

impl Wire {
    /// A connection to the buildlet called `authority` in `Host` lines; `fields` are what every
    /// request must carry, such as its password.
    pub fn new(
        io: Box<dyn Duplex>,
        authority: impl Into<String>,
        fields: Vec<(String, String)>,
    ) -> Self {
        Self {
            io,
            authority: authority.into(),
            fields,
        }
    }

    /// Makes a request the machine's: names it, and shows its password in the place of any other.
    #[must_use]
    pub fn address(&self, mut head: RequestHead) -> RequestHead {
        let headers = head.headers_mut();
        headers.set("Host", &self.authority);
        for (name, value) in &self.fields {
            headers.set(name, value);
        }
        head
    }

    /// The connection.
    pub fn into_io(self) -> Box<dyn Duplex> {
        self.io
    }
}

impl fmt::Debug for Wire {
    /// Leaves out the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Wire({})", self.authority)
    }
}
