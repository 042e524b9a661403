//! Environments: where a farm runs, and where it keeps what it makes.
//!
//! An [`Environments`] value is read from TOML; the Go project's three of December 2020 are a
//! preset, `Environments::go2020`.
//!
//! ```
//! # #[cfg(feature = "config")] {
//! use build_core::buildenv::Environments;
//!
//! let all = Environments::go2020();
//! let production = all.by_name("production")?;
//! assert_eq!(production.region(), Some("us-central1"));
//! let error = all.by_name("nosuch").unwrap_err();
//! assert!(error.hint().unwrap().contains("staging"));
//! # }
//! # Ok::<(), build_core::Error>(())
//! ```

use crate::{Error, ErrorKind, Result};

/// A cluster of containers.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cluster {
    /// Its name.
    pub name: String,
    /// Fewest machines.
    pub min_nodes: u32,
    /// Most machines.
    pub max_nodes: u32,
    /// Their kind.
    pub machine_type: String,
}

/// Where a farm runs. Empty members are not there.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Environment {
    /// What people call it.
    pub name: String,
    /// The cloud project.
    pub project: String,
    /// Its number.
    pub project_number: u64,
    /// The project of the results.
    pub go_project: String,
    /// Whether others depend on it.
    pub is_prod: bool,
    /// The zone of the coordinator.
    pub control_zone: String,
    /// Zones for machines.
    pub vm_zones: Vec<String>,
    /// The coordinator's address.
    pub static_ip: String,
    /// Kind of the coordinator's machine.
    pub machine_type: String,
    /// The cluster of builds.
    pub kube_build: Cluster,
    /// The cluster of tools.
    pub kube_tools: Cluster,
    /// Containers run on machines of their own.
    pub prefer_containers_on_cos: bool,
    /// The dashboard.
    pub dash_url: String,
    /// Data of benchmarks.
    pub perf_data_url: String,
    /// The coordinator's name.
    pub coordinator_name: String,
    /// Bucket of buildlet programs.
    pub buildlet_bucket: String,
    /// Bucket of logs.
    pub log_bucket: String,
    /// Bucket of built trees.
    pub snap_bucket: String,
    /// Most builds at a time; 0: no limit.
    pub max_builds: u32,
    /// Bucket of certificates.
    pub autocert_cache_bucket: String,
    /// Account of the machines.
    pub cos_service_account: String,
    /// Security group on AWS.
    pub aws_security_group: String,
    /// Region on AWS.
    pub aws_region: String,
}

impl Environment {
    /// Where its computers are managed.
    #[must_use]
    pub fn compute_prefix(&self) -> String {
        format!(
            "https://www.googleapis.com/compute/v1/projects/{}",
            self.project
        )
    }

    /// The region of the control zone; `None` without a zone.
    #[must_use]
    pub fn region(&self) -> Option<&str> {
        Some(self.control_zone.rsplit_once('-')?.0)
    }

    /// A zone for a machine; all are as likely when `random` is uniform. The control zone when
    /// there are none for machines.
    #[must_use]
    pub fn vm_zone(&self, random: u64) -> &str {
        match self.vm_zones.len() as u64 {
            0 => &self.control_zone,
            count => &self.vm_zones[(random % count) as usize],
        }
    }

    /// Where the built tree of a commit of Go is.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for a revision that is not 40 lower-case hexadecimal digits.
    pub fn snapshot_url(&self, builder: &str, rev: &str) -> Result<String> {
        let hex = rev.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if rev.len() != 40 || !hex {
            let said = format!("revision {rev:?} of a snapshot is not 40 hexadecimal digits");
            return Err(Error::new(ErrorKind::Invalid, said));
        }
        let bucket = &self.snap_bucket;
        Ok(format!(
            "https://storage.googleapis.com/{bucket}/go/{builder}/{rev}.tar.gz"
        ))
    }

    /// The dashboard; `None` where there is none. (Go's programs then read the one of
    /// production.)
    #[must_use]
    pub fn dash_base(&self) -> Option<&str> {
        (!self.dash_url.is_empty()).then_some(&*self.dash_url)
    }
}

/// The environments that a program can be told.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Environments {
    #[serde(default, rename = "environment")]
    all: Vec<Environment>,
}

impl Environments {
    /// Reads `[[environment]]` tables.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] with the place where the text is wrong, or the name that two have.
    #[cfg(feature = "config")]
    pub fn from_toml(text: &str) -> Result<Self> {
        let read: Self = toml::from_str(text)
            .map_err(|e| Error::caused_by(ErrorKind::Invalid, "read environments", e))?;
        for (at, one) in read.all.iter().enumerate() {
            if one.name.is_empty() || read.all[..at].iter().any(|other| other.name == one.name) {
                let said = format!("environment {:?} needs a name of its own", one.name);
                return Err(Error::new(ErrorKind::Invalid, said));
            }
        }
        Ok(read)
    }

    /// The Go project's of 2020-12-23: `production`, `staging`, `development`.
    #[cfg(feature = "config")]
    #[must_use]
    pub fn go2020() -> Self {
        Self::from_toml(include_str!("go2020.toml")).expect("the tests read the preset")
    }

    /// One by its name or its project; the project of `development` is called `dev`.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`]; the hint lists the names.
    pub fn by_name(&self, name: &str) -> Result<&Environment> {
        let is_it = |one: &&Environment| match one.project.as_str() {
            "" => one.name == name || (name == "dev" && one.name == "development"),
            project => one.name == name || project == name,
        };
        self.all.iter().find(is_it).ok_or_else(|| {
            let names: Vec<_> = self.all.iter().map(|one| &*one.name).collect();
            Error::new(
                ErrorKind::NotFound,
                format!("there is no environment {name:?}"),
            )
            .with_hint(format!("known are {}", names.join(", ")))
        })
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Environment> {
        self.all.iter()
    }
}

#[cfg(all(test, feature = "config"))]
mod tests {
    use super::*;

    #[test]
    fn environments_say_where_things_are() {
        let all = Environments::go2020();
        let production = all.by_name("symbolic-datum-552").unwrap();
        assert_eq!(production.name, "production");
        let rev = "0123456789012345678901234567890123456789";
        assert_eq!(
            production.snapshot_url("linux-amd64", rev).unwrap(),
            format!("https://storage.googleapis.com/go-build-snap/go/linux-amd64/{rev}.tar.gz")
        );
        assert!(production.snapshot_url("linux-amd64", &rev[1..]).is_err());
        assert!(
            production
                .snapshot_url("linux-amd64", &rev.replace('9', "A"))
                .is_err()
        );
        let zones: std::collections::BTreeSet<_> =
            (0..1000).map(|n| production.vm_zone(n)).collect();
        assert_eq!(zones.len(), 4);
        let dev = all.by_name("dev").unwrap();
        assert_eq!(
            (dev.region(), dev.dash_base(), dev.vm_zone(7)),
            (None, None, "")
        );
    }

    #[test]
    fn bad_environments_are_named() {
        let error = Environments::go2020().by_name("nosuch").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert_eq!(
            error.hint(),
            Some("known are development, production, staging")
        );
        let twice = "[[environment]]\nname = \"a\"\n[[environment]]\nname = \"a\"\n";
        assert!(
            Environments::from_toml(twice)
                .unwrap_err()
                .to_string()
                .contains("\"a\"")
        );
        let error = Environments::from_toml("[[environment]]\nnmae = \"a\"\n").unwrap_err();
        assert!(error.chain().contains("nmae"), "{}", error.chain());
    }
}
