//! Machines that register at a coordinator of the Go project's kind, and the builders that are
//! theirs.

use std::path::Path;

use build_core::Result;
use build_core::builders::Farm;
use build_core::work::Builder;
use build_server::coordinator::CoordinatorBuilder;
use build_server::pool::{Expected, ReversePool};
use build_server::who::Directory;

/// The machines that register, and those that should be there.
pub(crate) fn registered(directory: &Directory, farm: &Farm, data: &Path) -> Result<ReversePool> {
    let mut expected = Vec::new();
    for host in farm.hosts().filter(|host| host.expect > 0) {
        expected.push(Expected::count(host.name.parse()?, host.expect));
    }
    let dir = data.join("reverse");
    Ok(ReversePool::builder(directory.clone())
        .expect(expected)
        .remember_in(&dir)
        .spool_dir(dir.join("spool"))
        .build())
}

/// The builders of which machines register, for those who name them.
pub(crate) fn build_on(mut parts: CoordinatorBuilder, farm: &Farm) -> Result<CoordinatorBuilder> {
    for builder in farm
        .builders()
        .filter(build_core::builders::Builder::is_reverse)
    {
        let kind = builder.host().name.parse()?;
        parts = parts.build_on_request(Builder::new(builder.name().parse()?, kind));
    }
    Ok(parts)
}
