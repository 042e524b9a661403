//! What is behind the door of a farm. Each part adds its own here, a line each.

use build_server::front::Services;
use build_server::pool::ReversePool;
use build_server::web::{Site, service};

/// Everything that a farm serves on its port.
pub(crate) fn services(site: &Site, machines: &ReversePool) -> Services {
    Services::new()
        .with_pages(service(site.clone()))
        .with_dialect(machines.dialect())
}
