//! Instants as text in UTC: `2020-12-23T19:58:56Z`, with a fraction when there is one.
//!
//! For `#[serde(with = "rfc3339")]`. Instants before the year 0 and behind the year 9999, which
//! RFC 3339 cannot say, are written as the first and the last one that it can.

use jiff::Timestamp as Jiff;
use serde::{Deserialize, Deserializer, Serializer};

use crate::clock::Timestamp;

/// `0000-01-01T00:00:00Z` and `9999-12-30T22:00:00Z`, the last that the calendar has.
const FIRST: i64 = -62_167_219_200_000_000;
const LAST: i64 = 253_402_207_200_000_000;

/// The text of an instant.
pub fn text(at: Timestamp) -> String {
    let micros = at.as_micros().clamp(FIRST, LAST);
    Jiff::from_microsecond(micros)
        .unwrap_or_default()
        .to_string()
}

/// Reads an instant, in whatever offset it is given.
///
/// # Errors
/// When it is none.
pub fn parse(text: &str) -> Result<Timestamp, jiff::Error> {
    Ok(Timestamp::from_micros(
        text.parse::<Jiff>()?.as_microsecond(),
    ))
}

/// Writes an instant.
///
/// # Errors
/// Those of the serializer.
pub fn serialize<S: Serializer>(at: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&text(*at))
}

/// Reads an instant.
///
/// # Errors
/// Those of the deserializer, and when it is none.
pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Timestamp, D::Error> {
    let text = String::deserialize(from)?;
    parse(&text).map_err(serde::de::Error::custom)
}

/// The same for an instant that may be missing.
pub mod option {
    use super::{Deserialize, Deserializer, Serializer, Timestamp};

    /// Writes an instant, or nothing.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(at: &Option<Timestamp>, to: S) -> Result<S::Ok, S::Error> {
        match at {
            Some(at) => to.serialize_some(&super::text(*at)),
            None => to.serialize_none(),
        }
    }

    /// Reads an instant, or nothing.
    ///
    /// # Errors
    /// Those of the deserializer, and when it is none.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Timestamp>, D::Error> {
        let text = Option::<String>::deserialize(from)?;
        let read = |text: String| super::parse(&text).map_err(serde::de::Error::custom);
        text.map(read).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_come_back_to_the_microsecond_and_odd_ones_stay_in_the_calendar() {
        for micros in [
            0,
            1,
            -1,
            1_608_753_536_000_000,
            1_608_753_536_000_007,
            FIRST,
            LAST,
        ] {
            let at = Timestamp::from_micros(micros);
            assert_eq!(parse(&text(at)).unwrap(), at, "{}", text(at));
        }
        assert_eq!(
            text(Timestamp::from_seconds(1_608_753_536)),
            "2020-12-23T19:58:56Z"
        );
        assert_eq!(
            text(Timestamp::from_micros(7)),
            "1970-01-01T00:00:00.000007Z"
        );
        assert_eq!(
            text(Timestamp::from_micros(i64::MAX)),
            text(Timestamp::from_micros(LAST))
        );
        assert!(text(Timestamp::from_micros(i64::MIN)).starts_with("0000-01-01T00:00:00"));
        assert_eq!(
            parse("2020-12-23T20:58:56+01:00").unwrap(),
            Timestamp::from_seconds(1_608_753_536)
        );
        assert!(parse("yesterday").is_err());
    }
}
