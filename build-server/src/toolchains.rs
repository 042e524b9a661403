//! Toolchains that steps ask for and their machines do not have.

use std::path::PathBuf;

use async_trait::async_trait;
use build_core::{Error, ErrorKind, Result};

/// What makes a toolchain the one that a command sees.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Provided {
    /// Directories that come first on `PATH`.
    pub path: Vec<String>,
    /// Variables, as `NAME=value`.
    pub env: Vec<String>,
}

/// A toolchain that is carried to another machine: a directory of this one, and what makes a copy of
/// it the one that a command sees there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Portable {
    /// Its name with its version, such as `go1.22.12`: letters, digits, `.`, `+` and `-`.
    pub name: String,
    /// Its directory on this machine.
    pub root: PathBuf,
    /// Tells it from another one that was in the same directory before.
    pub stamp: String,
    /// Directories below it that come first on `PATH`, with `/`; empty for itself.
    pub path: Vec<String>,
    /// The variable that names its directory, if there is one.
    pub home: Option<String>,
    /// More variables, as `NAME=value`.
    pub env: Vec<String>,
}

/// Gets toolchains for machines.
#[async_trait]
pub trait Toolchains: Send + Sync {
    /// The toolchain `name` at `version` or the newest that it is the beginning of, for a machine that
    /// sees the files of this one: what was got before, else from a mirror. Nothing that somebody else
    /// has installed is touched.
    ///
    /// Cancel safe: what was received is there for the next call.
    ///
    /// # Errors
    /// When there is none, or none can be got; the hint says what to do.
    async fn provide(&self, name: &str, version: &str) -> Result<Provided>;

    /// The same for a machine with files of its own and of another kind perhaps: `platform` in Go's
    /// words, `linux/amd64`. The default has none.
    ///
    /// # Errors
    /// As [`Toolchains::provide`].
    async fn portable(&self, name: &str, version: &str, platform: &str) -> Result<Portable> {
        let text =
            format!("this farm gets no {name} {version} for machines elsewhere ({platform})");
        let hint = format!("install {name} {version} on the machine");
        Err(Error::new(ErrorKind::Unsupported, text).with_hint(hint))
    }
}

#[cfg(feature = "toolchains")]
pub use cache::ToolchainCache;

#[cfg(feature = "toolchains")]
mod cache {
    use std::path::PathBuf;
    use std::time::UNIX_EPOCH;

    use async_trait::async_trait;
    use build_client::toolchain::{Platform, Ready, Source, Spec, ToolchainDir};
    use build_core::Result;

    use super::{Portable, Provided, Toolchains};

    /// A project that names another version must not fetch it behind our back.
    const NO_OTHER: &str = "GOTOOLCHAIN=local";

    /// Toolchains in a directory of the farm's own, from the mirrors of a [`Source`].
    #[derive(Clone, Debug)]
    pub struct ToolchainCache {
        dir: PathBuf,
        source: Source,
    }

    impl ToolchainCache {
        /// Keeps toolchains below `dir`; nobody else's are there. Those for machines of another kind
        /// are in a directory of their own, such as `linux-arm64`.
        pub fn new(dir: impl Into<PathBuf>, source: Source) -> Self {
            let dir = dir.into();
            Self { dir, source }
        }

        /// A version of three numbers as it is; of less the newest that it is the beginning of, or
        /// exactly it where no list of versions can be had.
        async fn find(&self, name: &str, version: &str, platform: &Platform) -> Result<Ready> {
            let (dir, source) = self.of(platform);
            let exact = Spec::new(name, version)?.to_string();
            if version.split('.').count() > 2 {
                return dir.available(&exact, &source, &|_| ()).await;
            }
            let newest = format!("{name}@{version}");
            let found = dir.available(&newest, &source, &|_| ()).await;
            match found {
                Ok(ready) => Ok(ready),
                Err(error) => {
                    let found = dir.available(&exact, &source, &|_| ()).await;
                    found.map_err(|_| error)
                }
            }
        }

        /// Where toolchains of a platform are, and what they come from.
        fn of(&self, platform: &Platform) -> (ToolchainDir, Source) {
            let source = self.source.clone().platform(platform.clone());
            let dir = match *platform == Platform::here() {
                true => self.dir.clone(),
                false => self.dir.join(platform.to_string().replace('/', "-")),
            };
            (ToolchainDir::new(dir), source)
        }

        async fn found(&self, name: &str, version: &str, platform: &Platform) -> Result<Ready> {
            let found = self.find(name, version, platform).await;
            found.map_err(|error| {
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
                let doing = format!("get {name} {version}");
                error.while_doing(doing).with_hint(hint)
            })
        }
    }

    #[async_trait]
    impl Toolchains for ToolchainCache {
        async fn provide(&self, name: &str, version: &str) -> Result<Provided> {
            let ready = self.found(name, version, &Platform::here()).await?;
            let mut provided = Provided {
                path: Vec::new(),
                env: vec![NO_OTHER.to_owned()],
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

        async fn portable(&self, name: &str, version: &str, platform: &str) -> Result<Portable> {
            let platform: Platform = platform.parse()?;
            let ready = self.found(name, version, &platform).await?;
            let unpacked = ready.unpacked_at()?.duration_since(UNIX_EPOCH);
            let called = ready.root().file_name().unwrap_or_default();
            Ok(Portable {
                name: called.to_string_lossy().into_owned(),
                stamp: unpacked.unwrap_or_default().as_nanos().to_string(),
                path: vec![ready.programs_below().to_string_lossy().into_owned()],
                home: ready.home_variable().map(str::to_owned),
                env: vec![NO_OTHER.to_owned()],
                root: ready.root().to_owned(),
            })
        }
    }
}
