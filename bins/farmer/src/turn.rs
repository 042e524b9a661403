//! Several programs and one data directory: a farm that runs is used, a `farmer build` is shared
//! while it lasts, and whoever cannot use what runs waits for its end.

use std::path::Path;
use std::time::{Duration, Instant};

use build_client::farm::FarmClient;
use build_core::ErrorKind;
use build_server::store::{DataLock, Owner, Store};
use farmer_cli::{Exit, Failure};
use tokio_util::sync::CancellationToken;

use crate::cli::Build;
use crate::farm_file::FarmFile;
use crate::output::failure;
use crate::running;

/// Between two looks at the owner of the directory.
const LOOK: Duration = Duration::from_millis(20);
/// How long an owner that does not answer may take to say where it does.
const STARTING: Duration = Duration::from_secs(3);
/// After this it is said whose end is waited for.
const SAY: Duration = Duration::from_secs(1);
/// How long a build that was told to stop may keep the directory.
const ENDING: Duration = Duration::from_secs(10);

/// Who builds.
pub(crate) enum Turn {
    /// The program that owns the directory.
    There(There),
    /// This program, which owns it from now on.
    Here(Store),
}

/// A program that answers, and owns a data directory.
pub(crate) struct There {
    pub(crate) farm: FarmClient,
    owner: Owner,
}

/// Finds who builds, waiting for its turn where that is nobody yet.
///
/// # Errors
/// When the directory cannot be used, or belongs to a program that does not build.
pub(crate) async fn turn(
    args: &Build,
    data: &Path,
    stop: &CancellationToken,
) -> Result<Turn, Failure> {
    let begin = Instant::now();
    let mut is_said = false;
    let wanted = how(args, &FarmFile::open(None, data)?);
    loop {
        let Some(owner) = DataLock::owner(data).map_err(|e| failure(&e))? else {
            match Store::open(data).await {
                Ok(store) => return Ok(Turn::Here(store)),
                // Somebody else was quicker.
                Err(error) if error.kind() == ErrorKind::Conflict && begin.elapsed() < STARTING => {
                }
                Err(error) => return Err(failure(&error)),
            }
            tokio::time::sleep(LOOK).await;
            continue;
        };
        let is_passing = owner.passing.is_some();
        let is_usable = !is_passing || (wanted.is_some() && owner.passing == wanted);
        if is_usable && let Some(farm) = running::client(&owner)? {
            return Ok(Turn::There(There { farm, owner }));
        }
        if !is_passing && begin.elapsed() > STARTING {
            return Store::open(data)
                .await
                .map(Turn::Here)
                .map_err(|e| failure(&e));
        }
        // One that may be shared is about to answer.
        let patience = if is_usable { STARTING } else { SAY };
        if is_passing && !is_said && begin.elapsed() > patience {
            farmer_cli::say!("farmer: waits for the end of {owner}");
            is_said = true;
        }
        let waited = tokio::time::sleep(LOOK);
        if stop.run_until_cancelled(waited).await.is_none() {
            return Err(Failure::interrupted());
        }
    }
}

/// How a `farmer build` builds, for others who would have theirs built there; `None` for one that is
/// as no other.
pub(crate) fn how(args: &Build, farm: &FarmFile) -> Option<String> {
    let level = farm.sandbox(args.sandbox).word().unwrap_or("auto");
    let is_usual = args.config.is_none() && args.machines.is_none();
    is_usual.then(|| format!("sandbox {level}"))
}

impl There {
    /// Whether it ends once its builds have ended.
    pub(crate) fn is_passing(&self) -> bool {
        self.owner.passing.is_some()
    }

    /// Whether a build that ended so was cut off by the end of the program that ran it, and goes on
    /// in this one. Waits for that end.
    pub(crate) async fn has_left(
        &self,
        ended: &Result<(), Failure>,
        data: &Path,
        stop: &CancellationToken,
    ) -> bool {
        let is_cut = ended
            .as_ref()
            .is_err_and(|end| matches!(end.exit(), Exit::Interrupted | Exit::Infrastructure));
        if !is_cut || !self.is_passing() {
            return false;
        }
        let begin = Instant::now();
        while !stop.is_cancelled() && begin.elapsed() < ENDING {
            match DataLock::owner(data) {
                Ok(Some(owner)) if owner.pid == self.owner.pid => tokio::time::sleep(LOOK).await,
                Ok(_) => return true,
                Err(_) => return false,
            }
        }
        false
    }
}
