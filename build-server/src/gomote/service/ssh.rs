//! The seam to a gateway for ssh.

use std::net::IpAddr;

use async_trait::async_trait;
use build_client::gomote::metadata;
use build_core::{ErrorKind, Result};
use tonic::{Response, Status};

use super::super::protos::{SignSshKeyRequest, SignSshKeyResponse};
use super::{Asking, GomoteService};
use crate::gomote::Instance;
use crate::gomote::create::said;
use crate::who::Caller;

/// Where a gateway for ssh is, and how clients know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SshDoor {
    /// Its port, on the host of the server.
    pub port: u16,
    /// The key that it shows, as in a file `.pub`.
    pub host_key: String,
}

/// Signs keys that people show to a gateway for ssh. A farm with a gateway hands its own in:
/// [`GomoteService::with_ssh`]. With the feature `ssh` every
/// [`Gateway`](crate::ssh::Gateway) is one.
#[async_trait]
pub trait SshKeys: Send + Sync {
    /// A certificate, as a line of OpenSSH, that lets `caller`, who asks from `peer`, into
    /// `instance`, which belongs to them, with `public_key` (a line as in a file of public keys).
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for what is no key, [`ErrorKind::Denied`] for somebody who may not.
    async fn certify(
        &self,
        caller: &Caller,
        instance: &Instance,
        public_key: &[u8],
        peer: IpAddr,
    ) -> Result<Vec<u8>>;
}

pub(super) async fn sign(
    service: &GomoteService,
    who: &Asking,
    asked: SignSshKeyRequest,
) -> Result<Response<SignSshKeyResponse>, Status> {
    let session = service.find(who, &asked.gomote_id).await?;
    let Some(ssh) = &service.0.ssh else {
        let text = "this farm has no SSH gateway; use gomote run, put and gettar instead";
        return Err(Status::failed_precondition(text));
    };
    let (instance, key) = (session.instance(), &asked.public_ssh_key);
    let signed = ssh.certify(&who.caller, instance, key, who.address());
    let signed_public_ssh_key = signed.await.map_err(|error| {
        let text = format!("unable to sign ssh key: {}", said(&error));
        match error.kind() {
            ErrorKind::Invalid => Status::invalid_argument(text),
            ErrorKind::Denied => Status::permission_denied(text),
            _ => Status::internal(text),
        }
    })?;
    let mut answer = Response::new(SignSshKeyResponse {
        signed_public_ssh_key,
    });
    if let Some(door) = &service.0.door {
        let told = answer.metadata_mut();
        told.insert(metadata::SSH_PORT, u64::from(door.port).into());
        // A key is a line of plain characters.
        if let Ok(key) = door.host_key.trim().parse() {
            told.insert(metadata::SSH_HOST_KEY, key);
        }
    }
    Ok(answer)
}
