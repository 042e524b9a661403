//! Files that a build has kept.

use serde::{Deserialize, Serialize};

use crate::event::Artifact;
use crate::ids::{BuildId, StepName};

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
    /// What it is.
    #[serde(flatten)]
    pub artifact: Artifact,
    /// Where it is fetched: [`artifact_address`].
    pub url: String,
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
/// use build_core::report::artifact_address;
///
/// let file = Artifact { path: "out/a b".into(), size: 0, sha256: String::new() };
/// let step = StepName::new("test").unwrap();
/// let address = artifact_address(&BuildId::from_bits(1), &step, &file);
/// assert_eq!(address, "/api/v1/builds/B000000001/artifacts/test/out/a%20b");
/// ```
pub fn artifact_address(build: &BuildId, step: &StepName, artifact: &Artifact) -> String {
    let mut address = format!("/api/v1/builds/{build}/artifacts/");
    for byte in artifact_place(step, artifact).bytes() {
        match byte {
            b'-' | b'.' | b'_' | b'~' | b'/' => address.push(char::from(byte)),
            byte if byte.is_ascii_alphanumeric() => address.push(char::from(byte)),
            byte => address += &format!("%{byte:02X}"),
        }
    }
    address
}

/// The name of a kept file within its build: `STEP/PATH`, bytes that are no text as `%XX`.
pub fn artifact_place(step: &StepName, artifact: &Artifact) -> String {
    format!("{step}/{}", artifact.path.escaped())
}
