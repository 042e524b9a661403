//! The local machines of a configuration.

use std::path::{Path, PathBuf};

use build_core::ids::HostType;
use build_core::plan::Sandbox;
use build_core::recipe::{FarmToml, Host, StepLimits};
use build_core::work::Builder;
use build_server::archives::WebArchives;
use build_server::buildlet::sandbox::Bounds;
use build_server::pool::{LocalHost, LocalHosts, LocalPool};
use build_server::toolchains::ToolchainCache;
use farmer_cli::Failure;

use crate::output::failure;

/// Where toolchains are, in the data directory.
const TOOLCHAINS: &str = "toolchains";

/// How the machines of a farm keep builds apart, and what each of their commands may take.
pub(crate) type Apart = (Sandbox, StepLimits);

/// This program, as its machines run it: the one that runs, though its file was removed or replaced.
pub(crate) fn own_program() -> std::io::Result<PathBuf> {
    let running = Path::new("/proc/self/exe");
    match running.exists() {
        true => Ok(running.to_owned()),
        false => std::env::current_exe(),
    }
}

/// What each command may take at most.
pub(crate) fn bounds(limits: StepLimits) -> Bounds {
    Bounds {
        memory_bytes: limits.memory_bytes,
        processes: limits.processes,
        disk_bytes: limits.disk_bytes,
        files: limits.files,
    }
}

/// The level of machines that have one of their own: with a farm that is set to nothing special its
/// word counts, otherwise it can only ask for more.
fn at_least(farm: Sandbox, host: Sandbox) -> Sandbox {
    match farm {
        Sandbox::Auto => host,
        farm => farm.max(host),
    }
}

/// The hosts of a farm: those of its settings come first, and each is there once.
fn all_hosts(of_farm: &[Host], of_repos: &[Host]) -> Vec<Host> {
    let mut all = of_farm.to_vec();
    let is_new = |host: &&Host| of_farm.iter().all(|known| known.name != host.name);
    all.extend(of_repos.iter().filter(is_new).cloned());
    all
}

/// The local machines of a farm: those that its repositories name, and those of its settings, which
/// come first and may change. One more kind is called `local`, when a builder needs it. Each machine
/// is this program again, as a buildlet.
pub(crate) struct HostTable {
    pub(crate) pool: LocalHosts,
    builders: Vec<Builder>,
    of_repos: Vec<Host>,
    /// As the command line has it.
    machines: Option<u32>,
    /// Of the whole farm, as it was when it was started.
    sandbox: Sandbox,
}

impl HostTable {
    /// The machines of a farm that starts, of these builders and hosts of repositories.
    pub(crate) fn open(
        (builders, hosts): (&[Builder], &[Host]),
        machines: Option<u32>,
        farm: &FarmToml,
        apart: Apart,
        data: &Path,
    ) -> Result<Self, Failure> {
        let program = own_program()?;
        let data: PathBuf = data.to_owned();
        let bounds = bounds(apart.1);
        let make = move |kind| {
            LocalPool::builder(&program, 0)
                .called("farmer")
                .host_type(kind)
                .data_dir(&data)
                .bounds(bounds)
                .readable([data.join(TOOLCHAINS)])
        };
        let table = Self {
            pool: LocalHosts::new(make),
            builders: builders.to_vec(),
            of_repos: hosts.to_vec(),
            machines,
            sandbox: apart.0,
        };
        table.set(farm).map_err(|e| failure(&e))?;
        Ok(table)
    }

    /// The machines from now on.
    ///
    /// # Errors
    /// When a host cannot be: then everything is as it was.
    pub(crate) fn set(&self, farm: &FarmToml) -> build_core::Result<()> {
        let hosts = all_hosts(&farm.hosts, &self.of_repos);
        let mut local: Vec<_> = hosts.iter().map(|host| self.local(host, farm)).collect();
        let is_known = |name: &HostType| hosts.iter().any(|host| host.name == *name);
        let name = HostType::new("local")?;
        if !is_known(&name) && self.builders.iter().any(|b| !is_known(&b.host_type)) {
            local.push(LocalHost {
                host_type: name,
                count: self.count(None, farm),
                labels: Vec::new(),
                draws: Vec::new(),
                sandbox: self.sandbox,
            });
        }
        self.pool.set(&local, &farm.accounts)
    }

    fn local(&self, host: &Host, farm: &FarmToml) -> LocalHost {
        LocalHost {
            host_type: host.name.clone(),
            count: self.count(host.count, farm),
            labels: host.labels.iter().cloned().collect(),
            draws: host.draws.clone(),
            sandbox: at_least(self.sandbox, host.sandbox),
        }
    }

    fn count(&self, host: Option<u32>, farm: &FarmToml) -> usize {
        let most = self.machines.or(farm.machines);
        most.or(host).unwrap_or_else(cores).max(1) as usize
    }
}

fn cores() -> u32 {
    std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(u32::MAX))
}

/// Toolchains that steps ask for, in a directory of the farm, and archives that plans name, through
/// the same proxies; `None`, said, when the environment names mirrors wrongly.
pub(crate) fn toolchains(data: &Path) -> Option<(ToolchainCache, WebArchives)> {
    match farmer_toolchain::source() {
        Ok(source) => {
            let archives = WebArchives::new(source.client().clone());
            Some((ToolchainCache::new(data.join(TOOLCHAINS), source), archives))
        }
        Err(failure) => {
            farmer_cli::say!("{}", failure.message("farmer").unwrap_or_default());
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_are_never_less_apart_than_the_farm_says() {
        use Sandbox::{Auto, Namespaces, None, User};
        for (farm, host, both) in [
            (Auto, None, None),
            (Auto, Auto, Auto),
            (User, None, User),
            (User, Auto, User),
            (User, Namespaces, Namespaces),
            (None, User, User),
        ] {
            assert_eq!(at_least(farm, host), both, "{farm:?} {host:?}");
        }
    }
}
