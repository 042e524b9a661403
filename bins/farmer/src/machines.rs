//! The local machines of a configuration.

use std::path::Path;

use build_core::ids::HostType;
use build_core::recipe::{FarmerToml, Host};
use build_server::pool::{LocalPool, LocalPoolBuilder};
use farmer_cli::Failure;

use crate::output::failure;

/// A pool for each host type of the configuration, or one called `local`. Each machine is this
/// program again, as a buildlet.
pub(crate) fn pools(
    config: &FarmerToml,
    machines: Option<u32>,
    data: &Path,
) -> Result<Vec<LocalPool>, Failure> {
    let program = std::env::current_exe()?;
    let count = |host: Option<u32>| machines.or(host).unwrap_or_else(cores).max(1) as usize;
    let pool = |slots: usize| LocalPool::builder(&program, slots).data_dir(data);
    let needs_local = config
        .builders()
        .iter()
        .any(|b| config.hosts().iter().all(|h| h.name != b.host_type));
    let local = needs_local.then(|| pool(count(None)));
    let hosts = config
        .hosts()
        .iter()
        .map(|host| named(pool(count(host.count)), host));
    local
        .into_iter()
        .chain(hosts)
        .map(|p| p.build().map_err(|e| failure(&e)))
        .collect()
}

fn named(pool: LocalPoolBuilder, host: &Host) -> LocalPoolBuilder {
    let name: HostType = host.name.clone();
    pool.host_type(name).labels(host.labels.iter().cloned())
}

fn cores() -> u32 {
    std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(u32::MAX))
}
