//! What is behind the door of a farm. Each part adds its own here, a line each.

use build_server::coordinator::Handle;
use build_server::front::Services;
use build_server::gomote::{Gomote, Sessions, Settings};
use build_server::pool::ReversePool;
use build_server::supervise::Supervisor;
use build_server::web::{Site, service};
use build_server::who::Directory;

/// Everything that a farm serves on its port.
pub(crate) fn services(site: &Site, machines: &ReversePool, gomote: Gomote) -> Services {
    Services::new()
        .with_pages(service(site.clone()))
        .with_dialect(machines.dialect())
        .with_dialect(gomote)
}

/// Machines for people: those of the directory, and whoever has the owner's token. Programs of
/// this machine need no TLS.
///
/// # Errors
/// When the sessions of an earlier process cannot be read.
pub(crate) async fn gomote(
    handle: &Handle,
    directory: Directory,
    tasks: &Supervisor,
) -> build_core::Result<Gomote> {
    let settings = Settings {
        plain_from_here: true,
        ..Settings::default()
    };
    let sessions = Sessions::open(handle.clone(), settings, tasks).await?;
    Ok(Gomote::new(sessions, directory))
}
