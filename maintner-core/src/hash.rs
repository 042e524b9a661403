//! Names of git objects.

use std::fmt;
use std::str::FromStr;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The SHA-1 name of a git object. Parses from forty hexadecimal digits of either case.
///
/// ```
/// use maintner_core::GitHash;
/// let hash: GitHash = "0123456789ABCDEF0123456789abcdef01234567".parse()?;
/// assert_eq!(hash.to_string(), "0123456789abcdef0123456789abcdef01234567");
/// assert!("0123".parse::<GitHash>().is_err(), "no abbreviations");
/// # Ok::<(), maintner_core::BadHash>(())
/// ```
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(transparent)]
pub struct GitHash([u8; 20]);

/// The text is not forty hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("commit hash is not forty hexadecimal digits")]
pub struct BadHash;

const NO_DIGIT: u8 = 0x80;

/// Values of hexadecimal digits. Loading a log reads millions of hashes: one table look-up a
/// digit and one test a hash beats checking each digit.
const NIBBLES: [u8; 256] = {
    let mut table = [NO_DIGIT; 256];
    let mut digit = 0;
    while digit < 16 {
        table[b"0123456789abcdef"[digit] as usize] = digit as u8;
        table[b"0123456789ABCDEF"[digit] as usize] = digit as u8;
        digit += 1;
    }
    table
};

impl GitHash {
    /// The hash with these bytes.
    pub const fn new(bytes: [u8; 20]) -> Self {
        Self(bytes)
    }

    /// The twenty bytes.
    pub const fn as_bytes(&self) -> &[u8; 20] {
        &self.0
    }

    pub(crate) fn from_hex(digits: &[u8]) -> Option<Self> {
        let digits: &[u8; 40] = digits.try_into().ok()?;
        let mut bytes = [0; 20];
        let mut bad = 0;
        for (byte, pair) in bytes.iter_mut().zip(digits.as_chunks::<2>().0) {
            let (high, low) = (NIBBLES[pair[0] as usize], NIBBLES[pair[1] as usize]);
            bad |= high | low;
            *byte = high << 4 | low & 15;
        }
        (bad & NO_DIGIT == 0).then_some(Self(bytes))
    }
}

impl FromStr for GitHash {
    type Err = BadHash;

    fn from_str(text: &str) -> Result<Self, BadHash> {
        Self::from_hex(text.as_bytes()).ok_or(BadHash)
    }
}

impl fmt::Display for GitHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut digits = [0; 40];
        hex::encode_to_slice(self.0, &mut digits).expect("forty digits fit in forty bytes");
        f.write_str(std::str::from_utf8(&digits).expect("hexadecimal digits are ASCII"))
    }
}

impl fmt::Debug for GitHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
