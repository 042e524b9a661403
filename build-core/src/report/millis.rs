//! Spans of time as milliseconds: whole ones are whole numbers, finer ones have up to three
//! digits behind the point, so that no microsecond is lost.
//!
//! For `#[serde(rename = "…_ms", with = "millis")]`.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serializer};

/// Writes a span, finer than microseconds rounded down.
///
/// # Errors
/// Those of the serializer.
pub fn serialize<S: Serializer>(span: &Duration, to: S) -> Result<S::Ok, S::Error> {
    let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
    match micros % 1000 {
        0 => to.serialize_u64(micros / 1000),
        _ => to.serialize_f64(micros as f64 / 1000.0),
    }
}

/// Reads a span.
///
/// # Errors
/// Those of the deserializer, and when it is negative or no span.
pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    read(f64::deserialize(from)?)
}

fn read<E: serde::de::Error>(millis: f64) -> Result<Duration, E> {
    let micros = Duration::try_from_secs_f64(millis / 1000.0).map_err(E::custom)?;
    // The nearest microsecond: a number with a point is not exact.
    let micros = (micros.as_nanos() + 500) / 1000;
    Ok(Duration::from_micros(
        u64::try_from(micros).unwrap_or(u64::MAX),
    ))
}

/// The same for a span that may be missing.
pub mod option {
    use super::{Deserialize, Deserializer, Duration, Serializer};

    /// Writes a span, or nothing.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(span: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
        match span {
            Some(span) => super::serialize(span, to),
            None => to.serialize_none(),
        }
    }

    /// Reads a span, or nothing.
    ///
    /// # Errors
    /// Those of the deserializer, and when it is no span.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
        Option::<f64>::deserialize(from)?
            .map(super::read)
            .transpose()
    }
}

#[cfg(test)]
mod tests {
    use serde::Serialize;

    use super::*;

    #[derive(Serialize, Deserialize)]
    struct Took(#[serde(with = "super")] Duration);

    #[test]
    fn spans_come_back_to_the_microsecond() {
        for (micros, text) in [
            (0, "0"),
            (250_000, "250"),
            (1, "0.001"),
            (312_457, "312.457"),
            (86_400_000_001, "86400000.001"),
        ] {
            let took = Took(Duration::from_micros(micros));
            assert_eq!(serde_json::to_string(&took).unwrap(), text);
            let read: Took = serde_json::from_str(text).unwrap();
            assert_eq!(read.0, took.0, "{text}");
        }
        for bad in ["-1", "1e300", "\"1\"", "null"] {
            assert!(serde_json::from_str::<Took>(bad).is_err(), "{bad}");
        }
    }
}
