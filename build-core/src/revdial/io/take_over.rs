use crate::h1::io::{Body as _, Client, Duplex, Error, Rewind};
use crate::h1::{Limits, RequestHead};

/// Largest head of an answer.
const HEAD_BYTES: usize = 16 * 1024;
/// How much of a refusal's body is kept.
const SHOWN: usize = 4096;
/// Most requests: the first, and one after a redirect.
const REQUESTS: usize = 2;

/// Why a server did not hand over the stream of a request.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TakeOverError {
    /// The server answers something else.
    #[error("non-101 response {status} {reason}{}", shown(.body))]
    Refused {
        /// The status.
        status: u16,
        /// The words behind it.
        reason: String,
        /// The beginning of the body.
        body: String,
    },
    /// The server sends the request somewhere else than to another path of its own.
    #[error("want HTTP status 101 or 307; got 307 to {location:?}")]
    Redirected {
        /// Where to.
        location: String,
    },
    /// The exchange failed.
    #[error(transparent)]
    Http(#[from] Error),
}

fn shown(body: &str) -> String {
    match body.trim() {
        "" => String::new(),
        body => format!(": {body}"),
    }
}

/// Sends a request and takes the stream over when it is answered with 101; bytes behind the
/// answer come first. One redirect to another path of the same server is followed. The caller
/// sets the deadline.
///
/// # Errors
/// [`TakeOverError`].
///
/// # Cancel safety
/// A dropped future has lost the stream.
pub async fn take_over<I: Duplex>(
    io: I,
    mut head: RequestHead,
) -> Result<Rewind<I>, TakeOverError> {
    let mut client = Client::new(io, Limits::default().with_head_bytes(HEAD_BYTES));
    let mut location = String::new();
    for _ in 0..REQUESTS {
        let mut response = client.send(&head, None).await?;
        let answer = response.head().clone();
        if answer.status() == 101 {
            return Ok(client.into_stream());
        }
        let mut body = Vec::new();
        while let Some(piece) = response.chunk().await? {
            body.extend_from_slice(&piece);
            if body.len() > SHOWN {
                body.truncate(SHOWN);
                break;
            }
        }
        if answer.status() != 307 {
            return Err(TakeOverError::Refused {
                status: answer.status(),
                reason: answer.reason().to_owned(),
                body: String::from_utf8_lossy(&body).into_owned(),
            });
        }
        let to = answer.headers().get_str("Location").unwrap_or_default();
        to.clone_into(&mut location);
        // A path, and not `//host/path`.
        if !to.starts_with('/') || to.starts_with("//") || !client.is_reusable() {
            break;
        }
        head = head.with_target(to);
    }
    Err(TakeOverError::Redirected { location })
}
