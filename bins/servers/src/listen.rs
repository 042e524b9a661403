//! What the servers have in common: an address to listen on, and errors with exit codes.

use build_core::ErrorKind;
use farmer_cli::{Exit, Failure};
use tokio::net::TcpListener;

/// Listens on `address`, such as `127.0.0.1:8080` or `:8080`, and says where on standard error.
pub(crate) async fn listen(address: &str, what: &str) -> Result<TcpListener, Failure> {
    let scheme = match what.split(' ').next() {
        Some("Subversion's") => "svn",
        Some("Mail") => "smtp",
        _ => "http",
    };
    listen_as(address, what, scheme).await
}

/// The same, with another beginning of what is said.
pub(crate) async fn listen_as(
    address: &str,
    what: &str,
    scheme: &str,
) -> Result<TcpListener, Failure> {
    // As in Go, a port alone is the port of every address of the machine.
    let full = match address.strip_prefix(':') {
        Some(port) => format!("[::]:{port}"),
        None => address.to_owned(),
    };
    let listener = TcpListener::bind(&full).await.map_err(|error| {
        let error = build_core::Error::from(error).while_doing(format!("listen on {address}"));
        Failure::because(
            Exit::Usage,
            &error,
            Some("choose another address; with port 0 the system chooses a free port"),
        )
    })?;
    let address = listener.local_addr()?;
    eprintln!("{what} on {scheme}://{address}");
    Ok(listener)
}

/// An error of a library as the end of a program.
pub(crate) fn failure(error: build_core::Error) -> Failure {
    let exit = match error.kind() {
        ErrorKind::Invalid | ErrorKind::NotFound | ErrorKind::Unsupported => Exit::Usage,
        _ => Exit::Infrastructure,
    };
    let hint = error.hint().map(str::to_owned);
    Failure::because(exit, &error, hint.as_deref())
}
