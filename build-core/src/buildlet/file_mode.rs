//! File modes as the protocol writes them: in decimal for `/write`, as letters for `/ls`.

use std::fmt;

use crate::error::{Error, ErrorKind, Result};

/// The letters of the high bits, from bit 31 downwards.
const LETTERS: [u8; 13] = *b"dalTLDpSugct?";
const PERMISSIONS: [u8; 9] = *b"rwxrwxrwx";

/// A mode in the bit set of the Go implementation: permissions in bits 0 to 8, what kind of
/// file it is and set-id and sticky bits from 19 upwards.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct FileMode(u32);

impl FileMode {
    /// A directory.
    pub const DIR: Self = Self(1 << 31);
    /// A symbolic link.
    pub const SYMLINK: Self = Self(1 << 27);
    /// A block device; together with [`FileMode::CHAR_DEVICE`] a character device.
    pub const DEVICE: Self = Self(1 << 26);
    /// A fifo.
    pub const FIFO: Self = Self(1 << 25);
    /// A socket.
    pub const SOCKET: Self = Self(1 << 24);
    /// Set user id.
    pub const SETUID: Self = Self(1 << 23);
    /// Set group id.
    pub const SETGID: Self = Self(1 << 22);
    /// A character device, with [`FileMode::DEVICE`].
    pub const CHAR_DEVICE: Self = Self(1 << 21);
    /// Sticky.
    pub const STICKY: Self = Self(1 << 20);
    /// Something else that is no regular file.
    pub const IRREGULAR: Self = Self(1 << 19);

    const TYPE_BITS: u32 = Self::DIR.0
        | Self::SYMLINK.0
        | Self::DEVICE.0
        | Self::FIFO.0
        | Self::SOCKET.0
        | Self::CHAR_DEVICE.0
        | Self::IRREGULAR.0;

    /// A mode from the bits of the protocol.
    #[must_use]
    pub fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// The bits of the protocol.
    #[must_use]
    pub fn bits(self) -> u32 {
        self.0
    }

    /// A mode from `st_mode` of a Unix system.
    #[must_use]
    pub fn from_unix(st_mode: u32) -> Self {
        let kind = match st_mode & 0o170_000 {
            0o100_000 => 0,
            0o040_000 => Self::DIR.0,
            0o120_000 => Self::SYMLINK.0,
            0o060_000 => Self::DEVICE.0,
            0o020_000 => Self::DEVICE.0 | Self::CHAR_DEVICE.0,
            0o010_000 => Self::FIFO.0,
            0o140_000 => Self::SOCKET.0,
            _ => Self::IRREGULAR.0,
        };
        let special = [
            (0o4000, Self::SETUID),
            (0o2000, Self::SETGID),
            (0o1000, Self::STICKY),
        ];
        let set = special
            .iter()
            .filter(|(unix, _)| st_mode & unix != 0)
            .map(|(_, bit)| bit.0);
        Self(kind | st_mode & 0o777 | set.fold(0, |all, bit| all | bit))
    }

    /// The permission, set-id and sticky bits as a Unix system takes them, at most `0o7777`.
    #[must_use]
    pub fn to_unix_permissions(self) -> u32 {
        let special = [
            (0o4000, Self::SETUID),
            (0o2000, Self::SETGID),
            (0o1000, Self::STICKY),
        ];
        let set = special
            .iter()
            .filter(|(_, bit)| self.has(*bit))
            .map(|(unix, _)| unix);
        self.0 & 0o777 | set.fold(0, |all, bit| all | bit)
    }

    /// Reads the `mode` parameter of `/write`: decimal, of which the low 32 bits count.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`], with the protocol's words `bad mode`, for other text and for
    /// modes that are not those of a regular file.
    pub fn parse_decimal(text: &str) -> Result<Self> {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let bits: Option<u64> = text.parse().ok().filter(|_| digits);
        let mode = bits.map(|bits| Self((bits & u64::from(u32::MAX)) as u32));
        mode.filter(|mode| mode.is_regular())
            .ok_or_else(|| Error::new(ErrorKind::Invalid, "bad mode"))
    }

    /// Whether it is the mode of a regular file.
    #[must_use]
    pub fn is_regular(self) -> bool {
        self.0 & Self::TYPE_BITS == 0
    }

    /// Whether it is the mode of a directory.
    #[must_use]
    pub fn is_dir(self) -> bool {
        self.has(Self::DIR)
    }

    /// Whether all of these bits are set.
    #[must_use]
    pub fn has(self, bits: Self) -> bool {
        self.0 & bits.0 == bits.0
    }

    /// Reads the letters that [`fmt::Display`] writes; `None` for other text.
    #[must_use]
    pub fn parse_letters(text: &str) -> Option<Self> {
        let (high, low) = text
            .as_bytes()
            .split_at_checked(text.len().checked_sub(9)?)?;
        let mut bits = 0;
        for (at, (&letter, &full)) in low.iter().zip(&PERMISSIONS).enumerate() {
            match letter {
                b'-' => {}
                _ if letter == full => bits |= 1 << (8 - at),
                _ => return None,
            }
        }
        for letter in high.iter().filter(|_| high != b"-") {
            let at = LETTERS.iter().position(|known| known == letter)?;
            bits |= 1 << (31 - at);
        }
        // Letters in another order, repeated or missing are not ours.
        Some(Self(bits)).filter(|mode| mode.to_string() == text)
    }
}

impl std::ops::BitOr for FileMode {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Display for FileMode {
    /// The letters of `/ls`: one for each high bit, or `-`; then nine for the permissions.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::with_capacity(10);
        let high = LETTERS
            .iter()
            .enumerate()
            .filter(|(at, _)| self.0 & (1 << (31 - at)) != 0);
        text.extend(high.map(|(_, &letter)| char::from(letter)));
        if text.is_empty() {
            text.push('-');
        }
        for (at, &letter) in PERMISSIONS.iter().enumerate() {
            let set = self.0 & (1 << (8 - at)) != 0;
            text.push(if set { char::from(letter) } else { '-' });
        }
        f.write_str(&text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn decimal_modes_of_the_protocol() {
        assert_eq!(FileMode::parse_decimal("420").unwrap().bits(), 0o644);
        // Decimal, whatever it looks like: 644 is 0o1204.
        assert_eq!(FileMode::parse_decimal("0644").unwrap().bits(), 644);
        let setuid = FileMode::parse_decimal("8389101").unwrap();
        assert_eq!(setuid.to_unix_permissions(), 0o4755);
        assert_eq!(setuid, FileMode::SETUID | FileMode::from_bits(0o755));
        assert_eq!(
            FileMode::parse_decimal("4294967716").unwrap().bits(),
            420,
            "low 32 bits"
        );
    }

    #[test]
    fn bad_modes_are_refused() {
        let kinds = [31, 27, 26, 25, 24, 21, 19].map(|bit| (1u64 << bit | 0o644).to_string());
        let texts = [
            "",
            "0o644",
            "-1",
            "+420",
            " 420",
            "4x",
            "18446744073709551616",
        ];
        for text in kinds.iter().map(String::as_str).chain(texts) {
            assert_eq!(
                FileMode::parse_decimal(text).unwrap_err().to_string(),
                "bad mode",
                "{text:?}"
            );
        }
    }

    #[test]
    fn letters_of_the_protocol() {
        let rows = [
            (0o040_755, "drwxr-xr-x"),
            (0o100_644, "-rw-r--r--"),
            (0o104_755, "urwxr-xr-x"),
            (0o120_777, "Lrwxrwxrwx"),
            (0o010_644, "prw-r--r--"),
            (0o041_777, "dtrwxrwxrwx"),
            (0o020_666, "Dcrw-rw-rw-"),
            (0o140_700, "Srwx------"),
        ];
        for (unix, text) in rows {
            let mode = FileMode::from_unix(unix);
            assert_eq!(mode.to_string(), text);
            assert_eq!(FileMode::parse_letters(text), Some(mode));
            assert_eq!(mode.to_unix_permissions(), unix & 0o7777);
        }
        for bad in [
            "",
            "rwxrwxrwx",
            "drwxrwxrwt",
            "tdrwxrwxrwx",
            "ddrwxrwxrwx",
            "d-rwxrwxrwx",
            "\u{e9}rwxrwxrwx",
            "-rw-r--r-\u{e9}",
        ] {
            assert_eq!(FileMode::parse_letters(bad), None, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn letters_come_back(high in 0u32..1 << 13, low in 0u32..0o1000) {
            let mode = FileMode::from_bits(high << 19 | low);
            prop_assert_eq!(FileMode::parse_letters(&mode.to_string()), Some(mode));
        }

        #[test]
        fn any_text_is_taken_or_refused(text in "\\PC{0,16}") {
            let _ = FileMode::parse_letters(&text);
            let _ = FileMode::parse_decimal(&text);
        }
    }
}
