//! Durations and sizes as people write them: `30m`, `1h30m`, `64 MiB`.

use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};

const DURATION_UNITS: [(&str, u64); 5] = [
    ("ms", 1),
    ("s", 1_000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
];

const SIZE_UNITS: [(&str, u64); 11] = [
    ("B", 1),
    ("kB", 1_000),
    ("KB", 1_000),
    ("KiB", 1 << 10),
    ("MB", 1_000_000),
    ("MiB", 1 << 20),
    ("GB", 1_000_000_000),
    ("GiB", 1 << 30),
    ("TB", 1_000_000_000_000),
    ("TiB", 1 << 40),
    ("", 1),
];

/// Reads a duration such as `90s`, `30m`, `1h30m` or `500ms`.
///
/// # Errors
/// [`ErrorKind::Invalid`] naming the text.
pub fn parse_duration(text: &str) -> Result<Duration> {
    let bad = || {
        Error::new(ErrorKind::Invalid, format!("bad duration {text:?}"))
            .with_hint("write it like \"90s\", \"30m\" or \"1h30m\"")
    };
    let mut rest = text.trim();
    let mut millis: u64 = 0;
    if rest.is_empty() {
        return Err(bad());
    }
    while !rest.is_empty() {
        let (number, unit, after) = number_and_unit(rest).ok_or_else(bad)?;
        let (_, factor) = DURATION_UNITS
            .iter()
            .find(|(name, _)| *name == unit)
            .ok_or_else(bad)?;
        millis = number
            .checked_mul(*factor)
            .and_then(|n| millis.checked_add(n))
            .ok_or_else(bad)?;
        rest = after;
    }
    Ok(Duration::from_millis(millis))
}

/// Reads a size such as `64 MiB`, `10GB` or `4096` (bytes).
///
/// # Errors
/// [`ErrorKind::Invalid`] naming the text.
pub fn parse_size(text: &str) -> Result<u64> {
    let bad = || {
        Error::new(ErrorKind::Invalid, format!("bad size {text:?}"))
            .with_hint("write it like \"64 MiB\", \"10GB\" or \"4096\"")
    };
    let (number, unit, after) = number_and_unit(text.trim()).ok_or_else(bad)?;
    let (_, factor) = SIZE_UNITS
        .iter()
        .find(|(name, _)| *name == unit)
        .ok_or_else(bad)?;
    if !after.is_empty() {
        return Err(bad());
    }
    number.checked_mul(*factor).ok_or_else(bad)
}

fn number_and_unit(text: &str) -> Option<(u64, &str, &str)> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let number = text[..digits].parse().ok()?;
    let rest = text[digits..].trim_start();
    let letters = rest
        .find(|c: char| !c.is_ascii_alphabetic())
        .unwrap_or(rest.len());
    Some((number, &rest[..letters], rest[letters..].trim_start()))
}

/// Writes a duration the way [`parse_duration`] reads it, exactly to the millisecond.
pub fn show_duration(duration: Duration) -> String {
    let mut millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if millis == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    for (unit, factor) in DURATION_UNITS.iter().rev() {
        let count = millis / factor;
        if count > 0 {
            text.push_str(&format!("{count}{unit}"));
            millis %= factor;
        }
    }
    text
}

/// Writes a size the way [`parse_size`] reads it, exactly.
pub fn show_size(bytes: u64) -> String {
    let binary = SIZE_UNITS
        .iter()
        .rev()
        .filter(|(name, _)| name.ends_with("iB"));
    for (unit, factor) in binary {
        if bytes >= *factor && bytes.is_multiple_of(*factor) {
            return format!("{} {unit}", bytes / factor);
        }
    }
    format!("{bytes} B")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_as_people_write_them() {
        assert_eq!(parse_duration("1h30m").unwrap(), Duration::from_secs(5400));
        assert_eq!(parse_duration(" 90 s ").unwrap(), Duration::from_secs(90));
        for bad in [
            "",
            "m",
            "10",
            "10x",
            "-1s",
            "1h 30",
            "99999999999999999999s",
            "9999999999999999999d",
        ] {
            assert!(parse_duration(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn sizes_as_people_write_them() {
        assert_eq!(parse_size("64 MiB").unwrap(), 64 << 20);
        assert_eq!(parse_size("4096").unwrap(), 4096);
        for bad in ["", "MiB", "1 XiB", "1.5GB", "1 MiB 2", "99999999999999 TiB"] {
            assert!(parse_size(bad).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_back(millis in 0u64..=u64::MAX / 2, bytes: u64) {
            let duration = Duration::from_millis(millis);
            prop_assert_eq!(parse_duration(&show_duration(duration)).unwrap(), duration);
            prop_assert_eq!(parse_size(&show_size(bytes)).unwrap(), bytes);
        }
    }
}
