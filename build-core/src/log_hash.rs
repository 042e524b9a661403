//! The name of a log by its contents, as in `/log/HASH` addresses.

use std::fmt;

use sha1::{Digest, Sha1};

/// Hashes a log that comes in pieces.
#[derive(Debug, Clone, Default)]
pub struct LogHasher(Sha1);

impl LogHasher {
    /// Takes the next piece.
    pub fn update(&mut self, piece: &[u8]) {
        self.0.update(piece);
    }

    /// The hash of all pieces.
    #[must_use]
    pub fn finish(self) -> LogHash {
        LogHash(self.0.finalize().into())
    }
}

/// SHA-1 of the text of a log; shown as 40 lower-case hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LogHash([u8; 20]);

impl LogHash {
    /// The hash of a whole log.
    #[must_use]
    pub fn of(log: &[u8]) -> Self {
        Self(Sha1::digest(log).into())
    }

    /// Reads the hex digits of an address; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 20];
        hex::decode_to_slice(text, &mut bytes).ok()?;
        Some(Self(bytes)).filter(|hash| hash.to_string() == text)
    }
}

impl fmt::Display for LogHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_of_the_protocol() {
        assert_eq!(
            LogHash::of(b"").to_string(),
            "da39a3ee5e6b4b0d3255bfef95601890afd80709"
        );
        assert_eq!(
            LogHash::of(b"hello\n").to_string(),
            "f572d396fae9206628714fb2ce00f72e94f2258f"
        );
    }

    #[test]
    fn pieces_and_texts_come_to_the_same() {
        let mut hasher = LogHasher::default();
        hasher.update(b"hel");
        hasher.update(b"lo\n");
        let hash = hasher.finish();
        assert_eq!(hash, LogHash::of(b"hello\n"));
        assert_eq!(LogHash::parse(&hash.to_string()), Some(hash));
        for bad in ["", "da39", &hash.to_string().to_uppercase()] {
            assert_eq!(LogHash::parse(bad), None, "{bad:?}");
        }
    }
}
