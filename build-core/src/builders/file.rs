use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::{BuilderRecord, Defaults, Farm, Host};

/// Why a text is not a farm.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The text is not TOML of this form; where, and why.
    #[error("{0}")]
    Text(String),
    /// All that is wrong with the farm.
    #[error("{}", .0.join("; "))]
    Farm(Vec<String>),
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    defaults: Defaults,
    #[serde(default, rename = "host")]
    hosts: Vec<Host>,
    #[serde(default, rename = "builder")]
    builders: Vec<BuilderRecord>,
    #[serde(default)]
    aliases: BTreeMap<String, String>,
}

impl Farm {
    /// Reads `[defaults]`, `[[host]]`, `[[builder]]` and `[aliases]`; the members are those of
    /// the records.
    ///
    /// # Errors
    /// The place where the text is wrong, or all that is wrong with the farm.
    pub fn from_toml(text: &str) -> Result<Self, ConfigError> {
        let file: File =
            toml::from_str(text).map_err(|error| ConfigError::Text(error.to_string()))?;
        Self::new(file.defaults, file.hosts, file.builders, file.aliases).map_err(ConfigError::Farm)
    }

    /// The Go project's farm of 2020-12-23.
    #[must_use]
    pub fn go2020() -> Self {
        static FARM: LazyLock<Farm> = LazyLock::new(|| {
            Farm::from_toml(include_str!("go2020.toml")).expect("the tests read the preset")
        });
        FARM.clone()
    }
}
