//! How far builds are kept apart from the machine.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use build_core::plan::{Network, Sandbox};
use build_core::pool::LeaseRequest;
use build_core::{Error, ErrorKind, Result};

use super::home::Tools;
use super::limits::Limits;
use crate::buildlet::groups::Delegated;
use crate::buildlet::sandbox::{Available, Bounds, Fence, Launcher, Level, probe};

/// Homes, temporary directories and what programs of the system keep while they run: sockets that
/// give their users everything among it.
const HIDDEN: [&str; 6] = ["/home", "/root", "/tmp", "/var/tmp", "/run", "/dev/shm"];
/// Parts of it without which names of the network, or programs, are not found.
const OF_THE_SYSTEM: [&str; 5] = [
    "/run/systemd/resolve",
    "/run/resolvconf",
    "/run/current-system",
    "/run/opengl-driver",
    "/run/NetworkManager/resolv.conf",
];
/// Processes of one command, where they can be counted and nobody says otherwise.
const PROCESSES: u64 = 4096;

/// What the machines of a pool have in common. Clones are the same.
#[derive(Clone)]
pub(super) struct Guard(Arc<Shared>);

struct Shared {
    /// What the pool is set to.
    wanted: Mutex<Sandbox>,
    tools: Tools,
    hidden: Vec<PathBuf>,
    readable: Vec<PathBuf>,
    program: (PathBuf, Vec<OsString>),
    bounds: Bounds,
    available: OnceLock<Available>,
    /// The control group below which those of machines are, or why there is none.
    groups: OnceLock<Result<Delegated, String>>,
}

impl Guard {
    pub(super) fn new(
        wanted: Sandbox,
        tools: Tools,
        hidden: Vec<PathBuf>,
        readable: Vec<PathBuf>,
        program: (PathBuf, Vec<OsString>),
        bounds: Bounds,
    ) -> Self {
        Self(Arc::new(Shared {
            bounds,
            groups: OnceLock::new(),
            wanted: Mutex::new(wanted),
            tools,
            hidden,
            readable,
            program,
            available: OnceLock::new(),
        }))
    }

    /// The highest level of this machine; it is tried once, which blocks.
    pub(super) fn available(&self) -> Available {
        let (program, arguments) = &self.0.program;
        let arguments: Vec<_> = arguments.iter().map(|a| a.to_string_lossy()).collect();
        let arguments: Vec<&str> = arguments.iter().map(|a| &**a).collect();
        let probed = self
            .0
            .available
            .get_or_init(|| probe(&Launcher::program(program, &arguments)));
        probed.clone()
    }

    /// Moves this process into a control group of its own, beside those of its machines, where the
    /// system lets it; before the first of them is started.
    pub(super) fn enter_groups(&self) {
        let groups = self.0.groups.get_or_init(|| {
            let found = Delegated::find()?;
            found.enter().map(|()| found)
        });
        if let Err(why) = groups {
            tracing::debug!(why, "memory and processes of commands are looked at");
        }
    }

    fn groups(&self) -> Option<&Delegated> {
        self.0.groups.get()?.as_ref().ok()
    }

    /// Removes the control group of a machine that has ended.
    pub(super) fn forget(&self, dir: &Path) {
        if let Some(groups) = self.groups() {
            groups.forget(&super::place::name_of(dir));
        }
    }

    /// By what the commands of its machines are bounded. Nothing is changed by asking.
    pub(super) fn limits(&self) -> Limits {
        let groups = match self.0.groups.get() {
            Some(entered) => entered.clone().map(drop),
            None => Delegated::find().map(drop),
        };
        Limits::new(groups.err(), self.usual(), self.0.bounds)
    }

    /// What the pool is set to, for leases from now on.
    pub(super) fn set(&self, wanted: Sandbox) {
        *self.wanted() = wanted;
    }

    fn wanted(&self) -> MutexGuard<'_, Sandbox> {
        // One word: a panic leaves it whole.
        let wanted = &self.0.wanted;
        wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The level that the pool is set to, if it is set to one.
    fn floor(&self) -> Option<Level> {
        let wanted = *self.wanted();
        Level::wanted(wanted)
    }

    /// Learns what `usual` tells.
    pub(super) fn look(&self) {
        if self.floor().is_none() {
            self.available();
        }
    }

    /// The level of a lease that asks for none, when it is known.
    pub(super) fn usual(&self) -> Option<Level> {
        self.floor().or_else(|| Some(self.0.available.get()?.level))
    }

    /// The level of a lease: as asked for, not below what the pool is set to.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] when this machine does not have it.
    pub(super) fn level(&self, asked: Sandbox, network: Network) -> Result<Level> {
        if asked == Sandbox::Vm {
            let text =
                "this step needs a machine that is thrown away, and those of this pool are not";
            return Err(Error::new(ErrorKind::Invalid, text).with_hint(
                "docs/sandbox.md tells what there is; \"namespaces\" is the highest level",
            ));
        }
        let floor = self.floor();
        let level = match (Level::wanted(asked), floor) {
            (None, None) => return self.check(None, network),
            (None, Some(floor)) => floor,
            (Some(asked), floor) => asked.max(floor.unwrap_or_default()),
        };
        self.check(Some(level), network)
    }

    fn check(&self, level: Option<Level>, network: Network) -> Result<Level> {
        let needed = level.unwrap_or_default().max(Level::of_network(network));
        if needed == Level::None && level.is_some() {
            return Ok(Level::None);
        }
        let available = self.available();
        if needed > available.level {
            let why = available.why_not_higher.unwrap_or_default();
            let text = format!(
                "this step needs sandbox level \"{needed}\", and the highest of this machine is \"{}\" ({why})",
                available.level
            );
            return Err(Error::new(ErrorKind::Invalid, text).with_hint(
                "docs/sandbox.md tells what each level needs; farmer check shows what there is",
            ));
        }
        Ok(level.map_or(available.level, |_| needed))
    }

    /// What the commands of a machine may reach whose directory is `dir`.
    pub(super) fn fence(&self, dir: &Path, level: Level, request: &LeaseRequest) -> Fence {
        let shared = &*self.0;
        let dir = real(dir);
        let hidden = HIDDEN.iter().map(PathBuf::from);
        let hidden = hidden.chain(shared.hidden.iter().cloned());
        let hidden = hidden.chain(shared.tools.users_home().map(Path::to_owned));
        let readable = OF_THE_SYSTEM.iter().map(PathBuf::from);
        let readable = readable.chain(shared.readable.iter().cloned());
        let readable = readable.chain(shared.tools.readable());
        let (caches, mut layered) = (shared.tools.shared(), shared.tools.layered());
        // What nobody vouches for changes nothing that others use.
        let caches = match request.sandbox {
            Sandbox::Namespaces | Sandbox::Vm => {
                layered.extend(caches);
                Vec::new()
            }
            _ => caches,
        };
        let layered = there(layered);
        let mut readable = there(readable);
        // What is read alone would lie over the layer.
        readable.retain(|path| !layered.iter().any(|layer| path.starts_with(layer)));
        Fence {
            level,
            network: request.network,
            hidden: there(hidden),
            readable,
            writable: ["work", "home"].map(|name| dir.join(name)).into(),
            shared: there(caches),
            layered,
            layers: dir.join("layers"),
            tmp: dir.join("tmp"),
            processes: (level == Level::Namespaces).then_some(PROCESSES),
            bounds: shared.bounds,
            groups: (self.groups()).map(|groups| groups.machine(&super::place::name_of(&dir))),
            group: None,
        }
    }
}

fn real(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

/// What is there, each once, as it is really called.
fn there(paths: impl IntoIterator<Item = PathBuf>) -> Vec<PathBuf> {
    let paths = paths
        .into_iter()
        .filter_map(|path| path.canonicalize().ok());
    let mut paths: Vec<_> = paths.filter(|path| path.parent().is_some()).collect();
    paths.sort();
    paths.dedup();
    paths
}
