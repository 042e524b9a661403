use std::time::Duration;

use build_core::{Error, ErrorKind, Result};
use maintner_core::maintapi::channel;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use super::protos::ClearResultsRequest;
use super::protos::coordinator_client::CoordinatorClient;

/// How often one result is asked for.
const TRIES: u32 = 10;
/// For one answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// Clears results of a coordinator by gRPC, as `retrybuilds -grpc-host` does. Clones share the
/// connection.
#[derive(Clone, Debug)]
pub struct ClearClient {
    inner: CoordinatorClient<Channel>,
    wait: Duration,
}

impl ClearClient {
    /// Connects to a coordinator at `HOST:PORT` over TLS, or at `http://HOST:PORT` without. The
    /// certificate of `localhost` is not checked.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] when the address is none, [`ErrorKind::Unavailable`] when nobody
    /// answers there.
    pub async fn connect(server: &str) -> Result<Self> {
        use maintner_core::maintapi::ConnectError;
        let channel = channel(server).await.map_err(|error| match error {
            ConnectError::Connect { source, .. } => {
                let what = format!("cannot connect to the coordinator {server}");
                Error::caused_by(ErrorKind::Unavailable, what, source)
            }
            _ => Error::new(
                ErrorKind::Invalid,
                format!("{server:?} is no address of a coordinator"),
            )
            .with_hint("write HOST, HOST:PORT, or http://HOST:PORT for one without TLS"),
        })?;
        Ok(Self {
            inner: CoordinatorClient::new(channel),
            wait: Duration::from_secs(1),
        })
    }

    /// Waits so long when somebody else writes to the same place. One second, when nobody says.
    #[must_use]
    pub fn with_wait(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }

    /// Clears the result of a builder for a commit, so that it is built again. Tries ten times
    /// while somebody else writes to the same place, or no answer comes within a minute.
    ///
    /// # Errors
    /// What the coordinator says; [`ErrorKind::Conflict`] after ten tries.
    pub async fn clear(&self, builder: &str, hash: &str, key: &str) -> Result<()> {
        let what = format!("clearing {builder} at {hash}");
        let key = format!("builder {key}").parse().map_err(|_| {
            Error::new(
                ErrorKind::Invalid,
                format!("{what}: the key is no text of a header"),
            )
        })?;
        for _ in 0..TRIES {
            let mut request = Request::new(ClearResultsRequest {
                builder: builder.to_owned(),
                hash: hash.to_owned(),
            });
            request
                .metadata_mut()
                .insert("authorization", Clone::clone(&key));
            request.set_timeout(PATIENCE);
            let status = match self.inner.clone().clear_results(request).await {
                Ok(_) => return Ok(()),
                Err(status) => status,
            };
            match status.code() {
                Code::Aborted => tokio::time::sleep(self.wait).await,
                Code::DeadlineExceeded => {}
                _ => return Err(refused(&what, &status)),
            }
            tracing::info!(%builder, %hash, code = ?status.code(), "trying again");
        }
        let text = format!("{what}: somebody else writes to it all the time");
        Err(Error::new(ErrorKind::Conflict, text))
    }
}

fn refused(what: &str, status: &Status) -> Error {
    let kind = match status.code() {
        Code::InvalidArgument => ErrorKind::Invalid,
        Code::NotFound => ErrorKind::NotFound,
        Code::Unauthenticated | Code::PermissionDenied | Code::FailedPrecondition => {
            ErrorKind::Denied
        }
        _ => ErrorKind::Unavailable,
    };
    let text = format!("{what}: {} ({:?})", status.message(), status.code());
    Error::new(kind, text)
}
