//! Toolchains that steps ask for and their machines do not have.

use async_trait::async_trait;
use build_core::Result;

/// What makes a toolchain the one that a command sees.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Provided {
    /// Directories that come first on `PATH`.
    pub path: Vec<String>,
    /// Variables, as `NAME=value`.
    pub env: Vec<String>,
}

/// Gets toolchains for machines that see the files of this one.
#[async_trait]
pub trait Toolchains: Send + Sync {
    /// The toolchain `name` at `version` or the newest that it is the beginning of: what was got
    /// before, else from a mirror. Nothing that somebody else has installed is touched.
    ///
    /// Cancel safe: what was received is there for the next call.
    ///
    /// # Errors
    /// When there is none, or none can be got; the hint says what to do.
    async fn provide(&self, name: &str, version: &str) -> Result<Provided>;
}

#[cfg(feature = "toolchains")]
pub use cache::ToolchainCache;

#[cfg(feature = "toolchains")]
mod cache {
    use std::path::PathBuf;

    use async_trait::async_trait;
    use build_client::toolchain::{Ready, Source, Spec, ToolchainDir};
    use build_core::{Error, Result};

    use super::{Provided, Toolchains};

    /// Toolchains in a directory of the farm's own, from the mirrors of a [`Source`].
    #[derive(Clone, Debug)]
    pub struct ToolchainCache {
        dir: ToolchainDir,
        source: Source,
    }

    impl ToolchainCache {
        /// Keeps toolchains below `dir`; nobody else's are there.
        pub fn new(dir: impl Into<PathBuf>, source: Source) -> Self {
            let dir = ToolchainDir::new(dir);
            Self { dir, source }
        }
    }

    impl ToolchainCache {
        /// A version of three numbers as it is; of less the newest that it is the beginning of, or
        /// exactly it where no list of versions can be had.
        async fn find(&self, name: &str, version: &str) -> Result<Ready> {
            let exact = Spec::new(name, version)?.to_string();
            if version.split('.').count() > 2 {
                return self.dir.available(&exact, &self.source, &|_| ()).await;
            }
            let newest = format!("{name}@{version}");
            let found = self.dir.available(&newest, &self.source, &|_| ()).await;
            match found {
                Ok(ready) => Ok(ready),
                Err(error) => {
                    let found = self.dir.available(&exact, &self.source, &|_| ()).await;
                    found.map_err(|_| error)
                }
            }
        }
    }

    #[async_trait]
    impl Toolchains for ToolchainCache {
        async fn provide(&self, name: &str, version: &str) -> Result<Provided> {
            let found = self.find(name, version).await;
            let ready = found.map_err(|error: Error| {
                let known: Vec<&str> = self.source.rows().names().collect();
                let hint = match error.hint() {
                    Some(hint) => hint.to_owned(),
                    None => format!(
                        "install it on the machine, or name a mirror that has it with \
                         FARMER_MIRROR_{}; toolchains: {}",
                        name.to_uppercase().replace('-', "_"),
                        known.join(", ")
                    ),
                };
                error
                    .while_doing(format!("get {name} {version}"))
                    .with_hint(hint)
            })?;
            let mut provided = Provided {
                path: Vec::new(),
                // A project that names another version must not fetch it behind our back.
                env: vec!["GOTOOLCHAIN=local".to_owned()],
            };
            for (variable, value) in ready.environment(None) {
                let value = value.to_string_lossy().into_owned();
                match variable.to_str() {
                    Some("PATH") => provided.path.push(value),
                    Some(name) => provided.env.push(format!("{name}={value}")),
                    None => {}
                }
            }
            Ok(provided)
        }
    }
}
