//! The result of one test.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::millis;
use crate::name::Name;
use crate::test_lines::TestEnd;

/// One line of the results of a build.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestReport {
    /// What ran it, for people: a step, or a part of one.
    pub unit: String,
    /// Which attempt.
    pub attempt: u32,
    /// Its name, as it was printed.
    pub name: Name,
    /// How it ended.
    pub end: TestEnd,
    /// How long it took, when that was printed.
    #[serde(
        rename = "took_ms",
        default,
        skip_serializing_if = "Option::is_none",
        with = "millis::option"
    )]
    pub took: Option<Duration>,
}
