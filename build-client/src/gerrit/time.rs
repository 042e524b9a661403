//! Time stamps as Gerrit writes them.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A moment, in UTC: `2014-10-06 07:35:03.123456789`. Written without the zeros at the end of
/// the fraction; read with and without a fraction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GerritTime(pub Timestamp);

impl fmt::Display for GerritTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let utc = self.0.to_zoned(TimeZone::UTC).datetime();
        let (date, time) = (utc.date(), utc.time());
        write!(
            f,
            "{:04}-{:02}-{:02} {:02}:{:02}:{:02}",
            date.year(),
            date.month(),
            date.day(),
            time.hour(),
            time.minute(),
            time.second()
        )?;
        match time.subsec_nanosecond() {
            0 => Ok(()),
            nanos => write!(f, ".{}", format!("{nanos:09}").trim_end_matches('0')),
        }
    }
}

/// Text that is no time of Gerrit's.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not a time like \"2014-10-06 07:35:03\"")]
pub struct NoTime(String);

impl FromStr for GerritTime {
    type Err = NoTime;

    fn from_str(text: &str) -> Result<Self, NoTime> {
        let bad = || NoTime(text.to_owned());
        // A zone, or the letter T of other formats, is none of Gerrit's.
        let shape = |at: usize, byte: u8| text.as_bytes().get(at) == Some(&byte);
        let plain = text
            .bytes()
            .all(|b| b.is_ascii_digit() || matches!(b, b'-' | b' ' | b':' | b'.'));
        if !(plain
            && shape(4, b'-')
            && shape(7, b'-')
            && shape(10, b' ')
            && shape(13, b':')
            && shape(16, b':'))
        {
            return Err(bad());
        }
        let time: DateTime = text.parse().map_err(|_| bad())?;
        time.to_zoned(TimeZone::UTC)
            .map(|zoned| Self(zoned.timestamp()))
            .map_err(|_| bad())
    }
}

impl Serialize for GerritTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for GerritTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_the_protocol() {
        let time = GerritTime("1888-06-24T06:08:30.123456789+01:00".parse().unwrap());
        assert_eq!(
            serde_json::to_string(&time).unwrap(),
            "\"1888-06-24 05:08:30.123456789\""
        );
        let time = GerritTime("2014-10-06T07:35:03Z".parse().unwrap());
        assert_eq!(time.to_string(), "2014-10-06 07:35:03");
        for text in ["2014-10-06 07:35:03", "2014-10-06 07:35:03.000000000"] {
            assert_eq!(text.parse::<GerritTime>().unwrap(), time);
        }
        let half = "2014-10-06 07:35:03.500000000"
            .parse::<GerritTime>()
            .unwrap();
        assert_eq!(half.to_string(), "2014-10-06 07:35:03.5");
        for bad in [
            "",
            "2014-10-06T07:35:03",
            "2014-10-06 07:35",
            "2014-10-06 07:35:03Z",
            "2014-13-06 07:35:03",
            "012345678901",
        ] {
            assert!(bad.parse::<GerritTime>().is_err(), "{bad}");
        }
        assert!(serde_json::from_str::<GerritTime>("12").is_err());
    }
}
