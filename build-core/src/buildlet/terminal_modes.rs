//! The modes of a terminal, as `stty` shows them.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, ErrorKind, Result};

/// More than there are.
const MOST: usize = 160;
/// Numbers from here on have values of another form, or are none.
const END: u8 = 160;

/// Modes of a terminal by the numbers of RFC 4254 (section 8): characters, and settings that are on
/// or off.
///
/// ```
/// use build_core::buildlet::TerminalModes;
///
/// let modes: TerminalModes = "3=8,53=0".parse()?;
/// assert_eq!(modes.iter().collect::<Vec<_>>(), [(3, 8), (53, 0)]);
/// # Ok::<(), build_core::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TerminalModes(Vec<(u8, u32)>);

impl TerminalModes {
    /// These; what cannot be one is left out.
    pub fn new(modes: impl IntoIterator<Item = (u8, u32)>) -> Self {
        let known = modes
            .into_iter()
            .filter(|(mode, _)| (1..END).contains(mode));
        Self(known.take(MOST).collect())
    }

    /// Each mode with its value.
    pub fn iter(&self) -> impl Iterator<Item = (u8, u32)> + '_ {
        self.0.iter().copied()
    }

    /// Whether none is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for TerminalModes {
    /// `3=8,53=0`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, (mode, value)) in self.0.iter().enumerate() {
            let comma = if n == 0 { "" } else { "," };
            write!(f, "{comma}{mode}={value}")?;
        }
        Ok(())
    }
}

impl FromStr for TerminalModes {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = || Error::new(ErrorKind::Invalid, format!("bad modes {text:?}"));
        if text.is_empty() {
            return Ok(Self::default());
        }
        let one = |pair: &str| {
            let (mode, value) = pair.split_once('=').ok_or_else(bad)?;
            let mode = mode.parse().ok().filter(|mode| (1..END).contains(mode));
            Ok((mode.ok_or_else(bad)?, value.parse().map_err(|_| bad())?))
        };
        let modes: Vec<_> = text
            .split(',')
            .take(MOST + 1)
            .map(one)
            .collect::<Result<_>>()?;
        match modes.len() > MOST {
            true => Err(bad()),
            false => Ok(Self(modes)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_come_back_and_what_is_none_is_refused() {
        let modes = TerminalModes::new([(0, 1), (3, 127), (53, 1), (129, 38400), (255, 0)]);
        assert_eq!(modes.to_string(), "3=127,53=1,129=38400");
        assert_eq!(modes.to_string().parse::<TerminalModes>().unwrap(), modes);
        assert!("".parse::<TerminalModes>().unwrap().is_empty());
        let many = vec!["53=1"; MOST + 1].join(",");
        for bad in ["3", "=", "0=1", "160=1", "3=x", "3=1,", "3=-1", &many] {
            assert!(bad.parse::<TerminalModes>().is_err(), "{bad}");
        }
    }
}
