//! Files that a build has kept.

use serde::{Deserialize, Serialize};

use super::{PartName, rfc3339};
use crate::clock::Timestamp;
use crate::event::Artifact;
use crate::ids::{BuildId, StepName};
use crate::plan::{Part, Unit};

/// A part of the list of the files of a build, in the order they were kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArtifactPage {
    /// The files.
    pub artifacts: Vec<ListedArtifact>,
    /// Give this as `after` to get the next part; nothing at the end.
    pub next: Option<usize>,
}

/// A kept file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedArtifact {
    /// The step that has kept it.
    pub step: StepName,
    /// The part of the step, of a shard or a listing that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<PartName>,
    /// What it is.
    #[serde(flatten)]
    pub artifact: Artifact,
    /// Where it is fetched: [`artifact_address`].
    pub url: String,
    /// Until when it stays, unless it makes room before; for ever when not given.
    #[serde(
        default,
        with = "rfc3339::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub until: Option<Timestamp>,
    /// It is not there any more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub gone: bool,
}

impl ListedArtifact {
    /// A file that a part of a step has kept, and that stays.
    pub fn new(build: &BuildId, unit: &Unit, artifact: Artifact) -> Self {
        Self {
            step: unit.step.clone(),
            part: Some(PartName(unit.part)).filter(|part| part.0 != Part::Whole),
            url: artifact_address(build, unit, &artifact),
            artifact,
            until: None,
            gone: false,
        }
    }

    /// What has kept it.
    pub fn unit(&self) -> Unit {
        Unit {
            step: self.step.clone(),
            part: self.part.map(|part| part.0).unwrap_or_default(),
        }
    }
}

/// Which kept files to list; the first ones when nothing is said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ArtifactQuery {
    /// Only of this step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<StepName>,
    /// How many files are passed over.
    pub after: usize,
    /// How many at most: 1,000 when not given, never more than 10,000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

/// The address below a farm's own at which a kept file is fetched; it stays.
///
/// ```
/// use build_core::event::Artifact;
/// use build_core::ids::{BuildId, StepName};
/// use build_core::plan::{Part, Unit};
/// use build_core::report::artifact_address;
///
/// let (build, file) = (BuildId::from_bits(1), Artifact { path: "out/a b".into(), size: 0, sha256: String::new() });
/// let mut unit = Unit { step: StepName::new("test").unwrap(), part: Part::Whole };
/// let address = artifact_address(&build, &unit, &file);
/// assert_eq!(address, "/api/v1/builds/B000000001/artifacts/test/out/a%20b");
/// unit.part = Part::Shard(1);
/// assert_eq!(artifact_address(&build, &unit, &file), address + "?part=1");
/// ```
pub fn artifact_address(build: &BuildId, unit: &Unit, artifact: &Artifact) -> String {
    let mut address = format!("/api/v1/builds/{build}/artifacts/");
    for byte in artifact_place(&unit.step, artifact).bytes() {
        match byte {
            b'-' | b'.' | b'_' | b'~' | b'/' => address.push(char::from(byte)),
            byte if byte.is_ascii_alphanumeric() => address.push(char::from(byte)),
            byte => address += &format!("%{byte:02X}"),
        }
    }
    // Shards of one step keep files of the same names.
    if unit.part != Part::Whole {
        address += &format!("?part={}", PartName(unit.part));
    }
    address
}

/// The name of a kept file within its build: `STEP/PATH`, bytes that are no text as `%XX`.
pub fn artifact_place(step: &StepName, artifact: &Artifact) -> String {
    format!("{step}/{}", artifact.path.escaped())
}
