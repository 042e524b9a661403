//! The seam to a gateway for ssh.

use async_trait::async_trait;
use build_core::{ErrorKind, Result};
use tonic::Status;

use super::super::protos::{SignSshKeyRequest, SignSshKeyResponse};
use super::{Asking, GomoteService};
use crate::gomote::Instance;
use crate::gomote::create::said;

/// Signs keys that people show to a gateway for ssh. A farm with a gateway hands its own in:
/// [`GomoteService::with_ssh`].
#[async_trait]
pub trait SshKeys: Send + Sync {
    /// A certificate, as a line of OpenSSH, that lets the owner of `public_key` (a line as in a
    /// file of public keys) into `instance`, which belongs to whoever asks.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for what is no key.
    async fn certify(&self, instance: &Instance, public_key: &[u8]) -> Result<Vec<u8>>;
}

pub(super) async fn sign(
    service: &GomoteService,
    who: &Asking,
    asked: SignSshKeyRequest,
) -> Result<SignSshKeyResponse, Status> {
    let session = service.find(who, &asked.gomote_id).await?;
    let Some(ssh) = &service.0.ssh else {
        let text = "this farm has no SSH gateway; use gomote run, put and gettar instead";
        return Err(Status::failed_precondition(text));
    };
    let signed = ssh.certify(session.instance(), &asked.public_ssh_key).await;
    let signed_public_ssh_key = signed.map_err(|error| match error.kind() {
        ErrorKind::Invalid => {
            Status::invalid_argument(format!("unable to sign ssh key: {}", said(&error)))
        }
        _ => Status::internal(format!("unable to sign ssh key: {}", said(&error))),
    })?;
    Ok(SignSshKeyResponse {
        signed_public_ssh_key,
    })
}
