//! The local machines of a configuration.

use std::path::{Path, PathBuf};

use build_core::ids::HostType;
use build_core::plan::Sandbox;
use build_core::recipe::{Host, StepLimits};
use build_core::work::Builder;
use build_server::archives::WebArchives;
use build_server::buildlet::sandbox::Bounds;
use build_server::pool::{LocalPool, LocalPoolBuilder};
use build_server::toolchains::ToolchainCache;
use farmer_cli::Failure;

use crate::output::failure;

/// Where toolchains are, in the data directory.
const TOOLCHAINS: &str = "toolchains";

/// A pool for each host type, and one called `local` when a builder needs it. Each machine is this
/// program again, as a buildlet.
pub(crate) fn pools(
    builders: &[Builder],
    hosts: &[Host],
    machines: Option<u32>,
    (sandbox, limits): (Sandbox, StepLimits),
    data: &Path,
) -> Result<Vec<LocalPool>, Failure> {
    let program = own_program()?;
    let count = |host: Option<u32>| machines.or(host).unwrap_or_else(cores).max(1) as usize;
    let pool = |slots: usize| {
        LocalPool::builder(&program, slots)
            .called("farmer")
            .data_dir(data)
            .sandbox(sandbox)
            .bounds(bounds(limits))
            .readable([data.join(TOOLCHAINS)])
    };
    let needs_local = builders
        .iter()
        .any(|b| hosts.iter().all(|h| h.name != b.host_type));
    let local = needs_local.then(|| pool(count(None)));
    let hosts = hosts.iter().map(|host| {
        let pool = named(pool(count(host.count)), host);
        pool.sandbox(at_least(sandbox, host.sandbox))
    });
    local
        .into_iter()
        .chain(hosts)
        .map(|p| p.build().map_err(|e| failure(&e)))
        .collect()
}

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

fn named(pool: LocalPoolBuilder, host: &Host) -> LocalPoolBuilder {
    let name: HostType = host.name.clone();
    pool.host_type(name).labels(host.labels.iter().cloned())
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
