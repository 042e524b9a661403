//! `SignSSHKey` of the gRPC service, answered by the gateway.

use std::net::IpAddr;

use async_trait::async_trait;
use build_core::{Error, ErrorKind, Result};

use super::gateway::Gateway;
use crate::gomote::{Instance, SshKeys};
use crate::supervise::Supervisor;
use crate::who::Caller;

#[async_trait]
impl SshKeys for Gateway {
    /// As [`Gateway::certify`].
    async fn certify(
        &self,
        caller: &Caller,
        instance: &Instance,
        public_key: &[u8],
        peer: IpAddr,
    ) -> Result<Vec<u8>> {
        let key = std::str::from_utf8(public_key).map_err(|_| {
            let error = Error::new(ErrorKind::Invalid, "this is not a public key for ssh");
            error.with_hint("make a key with: ssh-keygen -t ed25519")
        })?;
        let (gateway, caller, key) = (self.clone(), caller.clone(), key.to_owned());
        let session = instance.name.clone();
        // The audit log waits for the disk.
        let work = Supervisor::new("ssh-certificate");
        let certify = move || gateway.certify(&caller, &session, &key, peer);
        let signed = work.spawn_blocking("certify", certify).await;
        let signed = signed.map_err(|e| Error::caused_by(ErrorKind::Bug, "sign a key", e))??;
        Ok(signed.into_bytes())
    }
}
