//! Which part of a step ran, as one word.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{Error, ErrorKind};
use crate::plan::Part;

/// `whole`, `list`, or the number of a shard counted from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct PartName(pub Part);

impl fmt::Display for PartName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Part::Whole => f.write_str("whole"),
            Part::List => f.write_str("list"),
            Part::Shard(n) => write!(f, "{n}"),
        }
    }
}

impl FromStr for PartName {
    type Err = Error;

    /// Reads what [`fmt::Display`] writes.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`].
    fn from_str(text: &str) -> Result<Self, Error> {
        let shard = |_| {
            let text = "part is `whole`, `list`, or the number of a shard";
            Error::new(ErrorKind::Invalid, text)
        };
        Ok(Self(match text {
            "whole" => Part::Whole,
            "list" => Part::List,
            number => Part::Shard(number.parse().map_err(shard)?),
        }))
    }
}

impl Serialize for PartName {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PartName {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
