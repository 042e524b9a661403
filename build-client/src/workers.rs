//! Keeps containers of build machines running: so many, by name, each replaced when it has ended.
//!
//! The containers of this program carry a label of its own: others are never touched, whatever
//! they are called.

mod docker;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use docker::{Container, Docker};

use crate::{Error, ErrorKind, Result};

/// The label of the containers; its value is their base name.
pub const LABEL: &str = "farmer.workers";
/// First and longest pause after a container could not be started.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Containers to keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workers {
    /// The image.
    pub image: String,
    /// How many.
    pub count: u32,
    /// What their names begin with; a number of two digits follows.
    pub base_name: String,
    /// The whole name of the only one, when it has one of its own.
    pub only_name: Option<String>,
    /// Memory for each, in Docker's words; empty: no limit.
    pub memory: String,
    /// Processors for each; 0: no limit.
    pub cpus: u32,
    /// `GO_BUILDER_ENV` of the buildlet.
    pub builder_env: String,
    /// Where its stage0 finds the buildlet; empty: it knows.
    pub buildlet_url: String,
    /// Whether the buildlet registers, for which it gets a key; otherwise it listens on port 443.
    pub is_reverse: bool,
    /// Where the keys are written for the containers.
    pub key_root: PathBuf,
}

impl Workers {
    /// The names of the containers, in order.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        match &self.only_name {
            Some(name) => vec![name.clone()],
            None => (1..=self.count)
                .map(|number| format!("{}{number:02}", self.base_name))
                .collect(),
        }
    }

    fn key_dir(&self, number: u32) -> PathBuf {
        self.key_root.join(format!("buildkey{number:02}"))
    }

    /// The arguments of `docker` that start number `number`, counted from 1.
    #[must_use]
    pub fn run_arguments(&self, number: u32, name: &str) -> Vec<String> {
        let mut args: Vec<String> = vec!["run".into(), "-d".into(), format!("--name={name}")];
        args.push(format!("--label={LABEL}={}", self.base_name));
        let env = |args: &mut Vec<String>, text: String| args.extend(["-e".into(), text]);
        env(&mut args, format!("HOSTNAME={name}"));
        args.push("--security-opt=seccomp=unconfined".into());
        args.push("--tmpfs=/workdir:rw,exec".into());
        if !self.memory.is_empty() {
            args.push(format!("--memory={}", self.memory));
        }
        match self.is_reverse {
            true => {
                let dir = self.key_dir(number);
                args.extend(["-v".into(), format!("{}:/buildkey/", dir.display())]);
            }
            false => args.extend(["-p".into(), "443:443".into()]),
        }
        if self.cpus > 0 {
            let first = self.cpus * (number - 1);
            args.push(format!("--cpuset-cpus={first}-{}", first + self.cpus - 1));
        }
        if !self.builder_env.is_empty() {
            env(&mut args, format!("GO_BUILDER_ENV={}", self.builder_env));
        }
        if !self.buildlet_url.is_empty() {
            env(
                &mut args,
                format!("META_BUILDLET_BINARY_URL={}", self.buildlet_url),
            );
        }
        if self.is_reverse {
            env(&mut args, "GO_BUILD_KEY_PATH=/buildkey/gobuildkey".into());
            env(&mut args, "GO_BUILD_KEY_DELETE_AFTER_READ=true".into());
        }
        args.push(self.image.clone());
        args
    }

    /// Writes the key for a container, for its owner alone: the buildlet deletes it when it has
    /// read it.
    fn write_key(&self, number: u32, key: &str) -> Result<()> {
        let dir = self.key_dir(number);
        let failed = |e: std::io::Error| {
            Error::from(e).while_doing(format!("write the key into {}", dir.display()))
        };
        write_private(&dir, key).map_err(failed)
    }
}

#[cfg(unix)]
fn write_private(dir: &Path, key: &str) -> std::io::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
    let made = std::fs::DirBuilder::new().mode(0o700).create(dir);
    match made {
        // Somebody may have put a link there: a directory alone will do.
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            if !std::fs::symlink_metadata(dir)?.is_dir() {
                return Err(error);
            }
        }
        made => made?,
    }
    let path = dir.join("gobuildkey");
    let new = dir.join("gobuildkey.new");
    match std::fs::remove_file(&new) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = std::fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&new)?;
    file.write_all(key.as_bytes())?;
    std::fs::rename(new, path)
}

#[cfg(not(unix))]
fn write_private(dir: &Path, key: &str) -> std::io::Result<()> {
    std::fs::create_dir_all(dir)?;
    std::fs::write(dir.join("gobuildkey"), key)
}

/// What one round has done.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Round {
    /// Containers that had ended and were removed.
    pub removed: Vec<String>,
    /// Containers that were started.
    pub started: Vec<String>,
    /// What could not be done, by container.
    pub failed: BTreeMap<String, String>,
}

/// Keeps containers running, round by round.
#[derive(Debug)]
pub struct Keeper {
    workers: Workers,
    docker: Docker,
    key: Option<String>,
    pulls: bool,
    /// Failed starts in a row.
    failures: u32,
}

impl Keeper {
    /// A keeper; `key` is what reverse buildlets prove themselves with.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] without an image, or without a key for machines that register.
    pub fn new(workers: Workers, docker: Docker, key: Option<String>) -> Result<Self> {
        if workers.image.is_empty() {
            return Err(Error::new(ErrorKind::Invalid, "docker --image is required"));
        }
        if workers.is_reverse && key.is_none() {
            let text = "machines that register need a key";
            return Err(Error::new(ErrorKind::Invalid, text));
        }
        Ok(Self {
            workers,
            docker,
            key,
            pulls: false,
            failures: 0,
        })
    }

    /// Fetches the image before each start.
    #[must_use]
    pub fn pulling(self, pulls: bool) -> Self {
        Self { pulls, ..self }
    }

    /// Removes the containers that have ended, and starts those that are missing.
    ///
    /// # Errors
    /// The containers could not be listed: nothing was done.
    pub async fn round(&mut self) -> Result<Round> {
        let wanted = self.workers.names();
        let label = format!("{LABEL}={}", self.workers.base_name);
        let here = self.docker.list(&label).await?;
        let mut round = Round::default();
        let mut running: Vec<&str> = Vec::new();
        for container in &here {
            if !container.has_ended() && wanted.contains(&container.name) {
                running.push(&container.name);
                continue;
            }
            match self.docker.remove(&container.id).await {
                Ok(()) => round.removed.push(container.name.clone()),
                Err(error) => {
                    round.failed.insert(container.name.clone(), error.chain());
                }
            }
        }
        for (name, number) in wanted.iter().zip(1..) {
            if running.contains(&name.as_str()) || round.failed.contains_key(name) {
                continue;
            }
            match self.start(number, name).await {
                Ok(()) => round.started.push(name.clone()),
                Err(error) => {
                    round.failed.insert(name.clone(), error.chain());
                }
            }
        }
        self.failures = match round.failed.is_empty() {
            true => 0,
            false => self.failures.saturating_add(1),
        };
        Ok(round)
    }

    async fn start(&self, number: u32, name: &str) -> Result<()> {
        if self.pulls
            && let Err(error) = self.docker.pull(&self.workers.image).await
        {
            // The image that is there may do.
            tracing::warn!(
                image = self.workers.image,
                error = error.chain(),
                "not pulled"
            );
        }
        if let Some(key) = self.key.as_ref().filter(|_| self.workers.is_reverse) {
            self.workers.write_key(number, key)?;
        }
        self.docker
            .run(&self.workers.run_arguments(number, name))
            .await
    }

    /// How long until the next round: longer while starts fail.
    #[must_use]
    pub fn pause(&self) -> Duration {
        FIRST_PAUSE
            .saturating_mul(1 << self.failures.min(10))
            .min(LONGEST_PAUSE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workers() -> Workers {
        Workers {
            image: "golang/builder".into(),
            count: 2,
            base_name: "builder".into(),
            only_name: None,
            memory: "3g".into(),
            cpus: 4,
            builder_env: "host-linux-arm64-packet".into(),
            buildlet_url: String::new(),
            is_reverse: true,
            key_root: "/tmp".into(),
        }
    }

    #[test]
    fn containers_are_started_as_in_2020_with_a_label() {
        let workers = workers();
        assert_eq!(workers.names(), ["builder01", "builder02"]);
        assert_eq!(
            workers.run_arguments(2, "builder02").join(" "),
            "run -d --name=builder02 --label=farmer.workers=builder -e HOSTNAME=builder02 \
             --security-opt=seccomp=unconfined --tmpfs=/workdir:rw,exec --memory=3g \
             -v /tmp/buildkey02:/buildkey/ --cpuset-cpus=4-7 \
             -e GO_BUILDER_ENV=host-linux-arm64-packet \
             -e GO_BUILD_KEY_PATH=/buildkey/gobuildkey -e GO_BUILD_KEY_DELETE_AFTER_READ=true \
             golang/builder"
        );
        let listens = Workers {
            is_reverse: false,
            only_name: Some("ec2".into()),
            memory: String::new(),
            cpus: 0,
            ..workers
        };
        assert_eq!(listens.names(), ["ec2"]);
        let args = listens.run_arguments(1, "ec2").join(" ");
        assert!(
            args.contains("-p 443:443") && !args.contains("buildkey"),
            "{args}"
        );
    }

    #[test]
    fn a_keeper_needs_image_and_key() {
        let docker = || Docker::new("docker");
        let no_image = Workers {
            image: String::new(),
            ..workers()
        };
        for (workers, key) in [(no_image, Some("k".into())), (workers(), None)] {
            let error = Keeper::new(workers, docker(), key).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid);
        }
    }
}
