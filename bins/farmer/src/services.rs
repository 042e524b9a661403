//! What is behind the door of a farm. Each part adds its own here, a line each.

use std::path::Path;

use build_server::coordinator::Handle;
use build_server::front::Services;
use build_server::gomote::{
    Gomote, GomoteService, ObjectLimits, Objects, PROTOS, Sessions, Settings,
};
use build_server::grpc::Methods;
use build_server::pool::ReversePool;
use build_server::programs::{Programs, file_name};
use build_server::supervise::Supervisor;
use build_server::web::{Site, service};
use build_server::who::Directory;
use farmer_cli::{Exit, Failure};

use crate::machines::own_program;
use crate::output::failure;
use crate::ssh::Port;

/// Everything that a farm serves on its port.
pub(crate) fn services(site: &Site, machines: &ReversePool, gomote: Gomote) -> Services {
    Services::new()
        .with_pages(service(site.clone()))
        .with_dialect(machines.dialect())
        .with_dialect(gomote)
}

/// The programs that machines fetch: those in `programs` of the data directory, and this one.
pub(crate) fn programs(data: &Path) -> Programs {
    let programs = Programs::new(Some(data.join("programs")));
    match own_program() {
        Ok(own) => programs.with(file_name("farmer"), own),
        Err(_) => programs,
    }
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

/// The same machines by gRPC, and the files that it hands over, which are kept in `data`; and,
/// where they answer to ssh, certificates for it.
///
/// # Errors
/// When the directory for them cannot be used.
pub(crate) async fn with_grpc(
    services: Services,
    gomote: Gomote,
    ssh: Option<&Port>,
    data: &Path,
    tasks: &Supervisor,
) -> Result<Services, Failure> {
    let objects = Objects::open(&data.join("gomote"), ObjectLimits::default(), tasks);
    let objects = objects.map_err(|e| failure(&e))?;
    let service = GomoteService::new(gomote.clone(), objects.clone()).map_err(|e| failure(&e))?;
    let (service, services) = match ssh {
        Some(port) => (
            service.with_ssh(port.keys()).with_ssh_door(port.door()?),
            services.with_dialect(port.tickets(gomote)?),
        ),
        None => (service, services),
    };
    let methods = Methods::new().with(service.into_server(), PROTOS);
    let methods = methods.into_router().await;
    let methods = methods.map_err(|e| Failure::because(Exit::Infrastructure, &e, None))?;
    Ok(services.with_pages(objects.router()).with_grpc(methods))
}
