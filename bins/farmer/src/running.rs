//! The farm that runs on a data directory.

use std::path::Path;

use build_client::farm::FarmClient;
use build_core::{Error, ErrorKind};
use build_server::store::{DataLock, Owner};
use farmer_cli::{Exit, Failure};

use crate::output::failure;

/// The farm that owns a data directory and answers, if there is one.
pub(crate) fn find(data: &Path) -> Result<Option<FarmClient>, Failure> {
    match DataLock::owner(data).map_err(|e| failure(&e))? {
        Some(owner) => client(&owner),
        None => Ok(None),
    }
}

/// The owner of a data directory, if it answers.
pub(crate) fn client(owner: &Owner) -> Result<Option<FarmClient>, Failure> {
    let Some(address) = &owner.address else {
        return Ok(None);
    };
    let mut farm = FarmClient::builder(address).name(owner.to_string());
    if let Some(token) = &owner.token {
        farm = farm.token(token);
    }
    farm.build().map(Some).map_err(|e| failure(&e))
}

/// As [`find`]; without one there is nobody to ask.
pub(crate) fn expect(data: &Path) -> Result<FarmClient, Failure> {
    find(data)?.ok_or_else(|| {
        Failure::usage(
            format!("no farm runs on {}", data.display()),
            "start one with: farmer up",
        )
    })
}

/// The exit code of a wish that the farm refused: nothing was done.
pub(crate) fn refusal(error: &Error) -> Failure {
    match error.kind() {
        ErrorKind::Conflict => Failure::because(Exit::Usage, error, error.hint()),
        _ => failure(error),
    }
}
