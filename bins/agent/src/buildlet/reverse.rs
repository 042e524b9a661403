//! A machine that registers at a coordinator: one life of a buildlet after the other.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use build_client::instance::CoordinatorInstance;
use build_client::reverse::{CoordinatorDial, Event, Registration, Reverse};
use build_client::transport::{Proxy, Trust};
use build_core::ErrorKind;
use build_core::key::{GO_DEVELOPMENT_MASTER, MasterKey};
use build_core::tree::remove_tree;
use build_server::buildlet::{BuildletServer, Ended, Listener};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use super::options::{Options, ReverseOptions};
use super::update::{TRIAL, Updater};
use super::{Failure, config, signals};

/// The coordinator that Go buildlets know without being told.
const GO_FARM: &str = "farmer.golang.org";
/// Exit code: the coordinator was lost, try again later.
const TEMPORARY: u8 = 75;
/// Connections that wait to be served.
const WAITING: usize = 64;

/// Registers until it is stopped, halted, or refused.
pub(super) async fn run(
    options: &Options,
    work_dir: PathBuf,
    state_dir: PathBuf,
) -> Result<Ended, Failure> {
    let Some(reverse) = &options.reverse else {
        return Err(Failure(2, "--reverse-type is missing".into()));
    };
    let (dial, is_dev) = dial(reverse)?;
    let key = key(reverse, is_dev)?;
    let host_name = reverse.host_name.clone().unwrap_or_else(host_name);
    let registration = Registration::new(&reverse.host_type, &host_name, &key)
        .map_err(|error| Failure(2, error.chain()))?
        .with_labels(reverse.labels.iter().cloned());
    if std::env::var_os(TRIAL).is_some() {
        return trial(Reverse::new(dial, registration.with_instance(instance()?))).await;
    }
    let mut updater = match &reverse.self_update {
        Some(name) => Some(Updater::new(name, Arc::clone(&dial)).map_err(|error| {
            Failure(
                1,
                format!("--self-update: cannot read this program: {error}"),
            )
        })?),
        None => None,
    };
    loop {
        if let Some(updater) = &mut updater {
            tokio::select! {
                () = updater.look() => {}
                () = signals() => return Ok(Ended::Stopped),
            }
        }
        clean(&work_dir, &state_dir)
            .map_err(|error| Failure(1, format!("cannot empty {}: {error}", work_dir.display())))?;
        let registration = registration.clone().with_instance(instance()?);
        let life = Reverse::new(Arc::clone(&dial), registration).with_reconnects(reverse.reconnect);
        match live(options, life, &work_dir, &state_dir).await? {
            Ended::LeaseExpired => tracing::info!("begins anew, clean"),
            Ended::Halted if reverse.stay && !options.halt && !options.reboot => {
                tracing::info!("was halted, begins anew");
            }
            ended => return Ok(ended),
        }
    }
}

/// Registers, to show that this program can, and ends.
async fn trial(machine: Reverse) -> Result<Ended, Failure> {
    let (streams, _nobody) = mpsc::channel(1);
    let registered = Notify::new();
    let told = |event: &Event| {
        if matches!(event, Event::Registered) {
            registered.notify_one();
        }
    };
    let running = machine.with_reconnects(false).run(streams, told);
    tokio::select! {
        biased;
        () = registered.notified() => Ok(Ended::Stopped),
        error = running => Err(Failure(1, error.chain())),
        () = signals() => Err(Failure(1, "stopped".into())),
    }
}

/// One life: from clean directories until everything has ended.
async fn live(
    options: &Options,
    reverse: Reverse,
    work_dir: &Path,
    state_dir: &Path,
) -> Result<Ended, Failure> {
    let config = config(options, work_dir.to_owned(), state_dir.to_owned()).leasable();
    let server = BuildletServer::open(config)?;
    let held = server.held();
    let (streams, incoming) = mpsc::channel(WAITING);
    let coordinator = options.reverse.as_ref().map(|r| r.coordinator.as_str());
    let listener = Listener::incoming(coordinator.unwrap_or_default(), incoming);
    let stop = CancellationToken::new();
    let running = server.run(vec![listener], stop.clone());
    tokio::pin!(running);
    let looks = options.reverse.as_ref();
    let looks = looks.is_some_and(|reverse| reverse.self_update.is_some());
    // A coordinator that was lost and is there again may have another program.
    let (mut count, again) = (0, Notify::new());
    let told = |event: &Event| {
        tell(event);
        if matches!(event, Event::Registered) {
            count += 1;
            if count > 1 && looks && !held.is_held() {
                again.notify_one();
            }
        }
    };
    let error = tokio::select! {
        ended = &mut running => return Ok(ended?),
        error = reverse.run(streams, told) => Some(error),
        () = signals() => None,
        () = again.notified() => {
            stop.cancel();
            running.await?;
            return Ok(Ended::LeaseExpired);
        }
    };
    stop.cancel();
    running.await?;
    match error {
        None => Ok(Ended::Stopped),
        Some(error) if error.kind() == ErrorKind::Denied => Err(Failure(1, error.chain())),
        Some(error) => Err(Failure(TEMPORARY, error.chain())),
    }
}

fn tell(event: &Event) {
    match event {
        Event::Registered => tracing::info!("registered"),
        Event::Failed { error, pause } => {
            tracing::warn!(
                error = error.chain(),
                again_in_ms = pause.as_millis(),
                "not registered"
            );
        }
        Event::Lost { error, pause } => {
            tracing::warn!(
                error = error.chain(),
                again_in_ms = pause.as_millis(),
                "lost the coordinator"
            );
        }
        _ => {}
    }
}

/// Connections to the coordinator, and whether it is believed without proof.
fn dial(reverse: &ReverseOptions) -> Result<(Arc<CoordinatorDial>, bool), Failure> {
    let usage = |error: build_core::Error| Failure(2, error.chain());
    let instance = CoordinatorInstance::parse(&reverse.coordinator).map_err(usage)?;
    let compat = reverse.compat_dev && !reverse.coordinator.starts_with(GO_FARM);
    let read = |path: &PathBuf| {
        fs::read_to_string(path)
            .map_err(|error| Failure(1, format!("--ca-file {}: {error}", path.display())))
    };
    let (trust, is_dev) = match (&reverse.pin, &reverse.ca_file) {
        (Some(pin), _) => (Trust::Pin(pin.parse().map_err(usage)?), false),
        (None, Some(path)) => (Trust::Ca(read(path)?), false),
        (None, None) if compat || instance.is_local() => (Trust::Anyone, true),
        (None, None) => (Trust::Authorities, false),
    };
    let dial = CoordinatorDial::new(&instance.host_port(), &trust).map_err(usage)?;
    let dial = dial.with_proxy(proxy().map_err(usage)?);
    // A coordinator of this machine may be given a pin and the development key.
    Ok((Arc::new(dial), is_dev || instance.is_local()))
}

fn proxy() -> build_core::Result<Option<Proxy>> {
    let first = |names: [&str; 2]| {
        let values = names
            .into_iter()
            .filter_map(|name| std::env::var(name).ok());
        values.into_iter().find(|value| !value.is_empty())
    };
    let Some(url) = first(["HTTPS_PROXY", "https_proxy"]) else {
        return Ok(None);
    };
    let proxy: Proxy = url.parse()?;
    Ok(Some(match first(["NO_PROXY", "no_proxy"]) {
        Some(list) => proxy.except(&list),
        None => proxy,
    }))
}

/// What the machine proves itself with.
fn key(reverse: &ReverseOptions, is_dev: bool) -> Result<String, Failure> {
    let told = std::env::var_os("GO_BUILD_KEY_PATH").map(PathBuf::from);
    let is_told = reverse.key_file.is_some() || told.is_some();
    let path = reverse
        .key_file
        .clone()
        .or(told)
        .unwrap_or_else(|| home().join(format!(".gobuildkey-{}", reverse.host_type)));
    match fs::read_to_string(&path) {
        Ok(text) if !text.trim().is_empty() => {
            let delete = std::env::var("GO_BUILD_KEY_DELETE_AFTER_READ").unwrap_or_default();
            if build_core::buildlet::parse_bool(&delete) == Some(true) {
                fs::remove_file(&path).map_err(|error| {
                    Failure(1, format!("cannot delete key {}: {error}", path.display()))
                })?;
            }
            Ok(text.trim().to_owned())
        }
        Ok(_) => Err(Failure(
            1,
            format!("the key file {} is empty", path.display()),
        )),
        Err(error) if error.kind() == io::ErrorKind::NotFound && is_dev && !is_told => {
            let master =
                MasterKey::new(GO_DEVELOPMENT_MASTER).map_err(|error| Failure(1, error.chain()))?;
            Ok(master.key_of(&reverse.host_type))
        }
        Err(error) => Err(Failure(
            1,
            format!(
                "cannot read the key of this machine, {}: {error}\n  hint: name it by --key-file",
                path.display()
            ),
        )),
    }
}

fn home() -> PathBuf {
    match std::env::var_os("HOME") {
        Some(home) => home.into(),
        None if rustix::process::getuid().is_root() => "/root".into(),
        None => "/".into(),
    }
}

fn host_name() -> String {
    let told = std::env::var("HOSTNAME")
        .ok()
        .filter(|name| !name.is_empty());
    let own = || {
        rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .into_owned()
    };
    let name = told.unwrap_or_else(own);
    match name.is_empty() {
        true => "buildlet".into(),
        false => name,
    }
}

/// Names a life.
fn instance() -> Result<String, Failure> {
    let mut random = [0; 16];
    getrandom::fill(&mut random)
        .map_err(|error| Failure(1, format!("no random numbers: {error}")))?;
    Ok(hex::encode(random))
}

/// Removes what an earlier life has left.
fn clean(work_dir: &Path, state_dir: &Path) -> io::Result<()> {
    fs::create_dir_all(work_dir)?;
    for entry in fs::read_dir(work_dir)? {
        remove_tree(&entry?.path())?;
    }
    match remove_tree(&state_dir.join("spool")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
