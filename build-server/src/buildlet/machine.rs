//! Questions about the machine, and its end.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use build_core::buildlet::{LeaseReport, Params, Status, VERSION, param};
use build_core::clock::Timestamp;

use super::answer::{Lost, Refusal};
use super::detached::disk_free_bytes;
use super::lease::Lease;
use super::routes::{Reply, Request, read_params, reply};
use super::server::App;

/// From the answer to `/halt` to its effect, so that the answer is seen.
const HALT_DELAY: Duration = Duration::from_secs(1);

/// The system that this was built for, in Go's words: `linux`, `darwin`.
pub const OS: &str = match std::env::consts::OS.as_bytes() {
    b"macos" => "darwin",
    _ => std::env::consts::OS,
};
/// The processor that this was built for, in Go's words: `amd64`, `arm64`.
pub const ARCH: &str = match std::env::consts::ARCH.as_bytes() {
    b"x86_64" => "amd64",
    b"x86" => "386",
    b"aarch64" => "arm64",
    b"powerpc64" if cfg!(target_endian = "little") => "ppc64le",
    b"powerpc64" => "ppc64",
    b"loongarch64" => "loong64",
    _ => std::env::consts::ARCH,
};

/// `GET /`.
pub(crate) fn greeting() -> Reply {
    Reply::Text(format!("buildlet running on {OS}-{ARCH}\n"))
}

/// `GET /status`.
pub(crate) fn status(app: &App) -> Result<Reply, Refusal> {
    let mut status = Status::default();
    status.version = VERSION;
    status.detached = true;
    status.leasable = app.lease.is_some();
    status.leased = app.lease.as_ref().is_some_and(Lease::is_taken);
    status.os = OS.into();
    status.arch = ARCH.into();
    status.pid = Some(std::process::id());
    status.disk_free_bytes = disk_free_bytes(&app.work_dir).ok();
    Reply::json(&status)
}

/// `GET /workdir`.
pub(crate) fn work_dir(app: &App) -> Reply {
    Reply::Text(app.work_dir.display().to_string())
}

/// `POST /halt`: answers, and acts a moment later.
pub(crate) fn halt(app: &Arc<App>) -> Reply {
    app.halting.cancel();
    let (halted, stop) = (app.halted.clone(), app.supervisor.token().clone());
    app.supervisor.spawn("halt", async move {
        tokio::select! {
            () = tokio::time::sleep(HALT_DELAY) => halted.cancel(),
            () = stop.cancelled() => {}
        }
    });
    Reply::Empty
}

/// `POST /lease`: the buildlet lives on for `ttl_ms` from now.
pub(crate) async fn renew_lease(app: &App, mut request: Request<'_>) -> Result<(), Lost> {
    let result = match read_params(&mut request).await {
        Ok(params) => renew(app, &params),
        Err(refusal) => Err(refusal),
    };
    reply(request, result).await
}

fn renew(app: &App, params: &Params) -> Result<Reply, Refusal> {
    let Some(lease) = &app.lease else {
        return Err(Refusal::new(404, "this buildlet has no lease"));
    };
    let ttl = params
        .number(param::TTL_MS)
        .map_err(|error| Refusal::bad(error.to_string()))?;
    let ttl = ttl.ok_or_else(|| Refusal::bad("requires 'ttl_ms' parameter"))?;
    let nonce = params.get(param::NONCE).unwrap_or_default();
    match lease.renew(nonce.as_bytes(), Duration::from_millis(ttl)) {
        Ok(ttl) => Reply::json(&LeaseReport {
            expires_us: Timestamp::from(SystemTime::now()) + ttl,
        }),
        Err(_) => Err(Refusal::new(
            403,
            "invalid nonce: the lease is somebody else's",
        )),
    }
}
