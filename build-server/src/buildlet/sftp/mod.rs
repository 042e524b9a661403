//! `POST /sftp`: the connection becomes one of the sftp protocol, for the files below the work
//! directory.
//!
//! Paths are those that commands see; whatever leads out of the work directory is refused, with
//! `..` and through links too, as everywhere in a buildlet: commands may be kept apart from the
//! rest of the machine, the buildlet is not.

mod files;
mod handler;

use std::sync::Arc;

use build_core::h1::{Framing, ResponseHead};

use super::answer::{Lost, Refusal};
use super::routes::{Request, refuse};
use super::server::App;

/// What lies between the connection and the library.
const ROOM: usize = 256 << 10;

/// Serves files until the client has gone.
pub(crate) async fn serve(app: &Arc<App>, request: Request<'_>) -> Result<(), Lost> {
    if !matches!(Framing::of_request(request.head()), Ok(Framing::Length(0))) {
        let refusal = Refusal::bad("requires zero Content-Length");
        return refuse(request, refusal).await;
    }
    if let Err(error) = app.ensure_work_dir() {
        return refuse(request, error.into()).await;
    }
    let head = ResponseHead::new(101)
        .with("Upgrade", "sftp")
        .with("Connection", "Upgrade");
    let switched = request.switch_protocols(&head).await.map_err(|_| Lost)?;
    let mut client = switched.into_stream();
    // The library reads for ever from a connection that has failed; from this one it reads an end.
    let (mut ours, theirs) = tokio::io::duplex(ROOM);
    russh_sftp::server::run(theirs, handler::Sftp::new(app.clone())).await;
    let stop = app.supervisor.token();
    tokio::select! {
        // Either side may end it at any time; both know how to tell.
        _ = tokio::io::copy_bidirectional(&mut client, &mut ours) => Ok(()),
        () = stop.cancelled() => Ok(()),
    }
}
