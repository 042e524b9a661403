//! The log of a service: written here or only read, in a folder and perhaps in an object store.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use farmer_cli::{Exit, Failure};
use maintner_core::log::{Layout, LogPosition, Segment, WriterOptions};
use maintner_core::net::{NetworkSource, Ready};
use maintner_core::objstore::{
    Bucket, Keep, LeasedLog, ObjectError, ObjectLog, Owner, Uploaded, follow, keep,
};
use maintner_core::serve;
use maintner_core::source::{DiskSource, LiveLog, MutationSink, MutationSource, Rewrites};
use maintner_core::{Corpus, Error, godata};
use tokio_util::sync::CancellationToken;

use super::web::Site;

/// How often it is tried again to become the writer.
const ASK_AGAIN: Duration = Duration::from_secs(2);
/// A run that ends by itself waits so long for another writer: one that crashed is believed to
/// be there for a minute.
const PATIENCE: Duration = Duration::from_secs(90);
/// How often a store that somebody else writes is looked at.
const LOOK: Duration = Duration::from_secs(5);

/// What a service does with its log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Role {
    /// Writes it.
    Leader,
    /// Shows what somebody else writes.
    Reader,
    /// Shows the log of a server.
    Godata(String),
}

/// An object store that has a copy of the log.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    bucket: Bucket,
    take_over: bool,
}

impl Store {
    /// The store that `-bucket` names: `BUCKET/PREFIX` is one of Google Cloud Storage, as in Go.
    pub(crate) fn new(name: &str, take_over: bool) -> Result<Self, Failure> {
        let plain = !name.contains(':') && !name.starts_with(['/', '.']);
        let url = if plain {
            format!("gs://{name}")
        } else {
            name.to_owned()
        };
        let theirs = |name: &str| {
            let clouds = name.starts_with("AWS_") || name.starts_with("GOOGLE_");
            // A server that stands for Google's, as Google's own libraries find it.
            clouds || name == "STORAGE_EMULATOR_HOST"
        };
        let options = std::env::vars().filter(|(name, _)| theirs(name));
        let bucket = Bucket::at(&url, options).map_err(|error| failed(&error))?;
        Ok(Self { bucket, take_over })
    }

    fn owner(&self) -> Owner {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let host = match host.trim() {
            "" => "a host",
            host => host,
        };
        let name = format!("{host}, process {}", std::process::id());
        Owner::new(&name).take_over(self.take_over)
    }

    /// Becomes the writer, with everything that the store has in the folder; waits while
    /// another one is.
    async fn lead(
        &self,
        folder: &Path,
        site: &Site,
        patience: Option<Duration>,
        stop: &CancellationToken,
    ) -> Result<ObjectLog<Bucket>, Failure> {
        let begun = tokio::time::Instant::now();
        loop {
            // Most of it is fetched before the lease begins.
            let mut log = self.open(folder).await?;
            let why = match log.acquire(SystemTime::now()).await {
                Ok(()) => {
                    let restored = log.restore(folder).await;
                    restored.map_err(|error| failed(&error))?;
                    site.stand_by(None);
                    return Ok(log);
                }
                Err(error @ ObjectError::Fenced { .. }) => error,
                Err(error) => return Err(failed(&error)),
            };
            if patience.is_some_and(|patience| begun.elapsed() >= patience) {
                return Err(failed(&why));
            }
            tracing::info!("standing by: {why}");
            site.stand_by(Some(format!("standing by: {why}")));
            tokio::select! {
                () = tokio::time::sleep(ASK_AGAIN) => {}
                () = stop.cancelled() => return Err(Failure::interrupted()),
            }
        }
    }

    async fn open(&self, folder: &Path) -> Result<ObjectLog<Bucket>, Failure> {
        let log = ObjectLog::open(self.bucket.clone(), self.owner()).await;
        let log = log.map_err(|error| failed(&error))?;
        let restored = log.restore(folder).await;
        restored.map_err(|error| failed(&error))?;
        Ok(log)
    }

    /// Copies the log of a folder into the store, once.
    pub(crate) async fn migrate(&self, folder: &Path) -> Result<(), Failure> {
        let copied = async {
            let mut log = ObjectLog::open(self.bucket.clone(), self.owner()).await?;
            let segments = DiskSource::new(folder).segments()?;
            let pushed = log.push(&segments, SystemTime::now()).await?;
            log.release(SystemTime::now()).await?;
            Ok(pushed)
        };
        let pushed = copied.await.map_err(|error| failed(&error))?;
        println!(
            "Success: {} objects, {} bytes",
            pushed.objects, pushed.bytes
        );
        Ok(())
    }
}

/// What an error of a store asks for.
pub(crate) fn failed(error: &ObjectError) -> Failure {
    let (exit, hint) = match error {
        ObjectError::Log(error) => return crate::maintq::failure(error),
        ObjectError::Address { .. } => (Exit::Usage, None),
        ObjectError::Fenced { .. } => (
            Exit::Infrastructure,
            Some("if that writer is gone for good, start with -take-over"),
        ),
        ObjectError::Diverged { .. } => (
            Exit::Infrastructure,
            Some(
                "another writer went on from an earlier state: move the folder away, and what the store has is fetched",
            ),
        ),
        _ => (
            Exit::Infrastructure,
            Some("credentials are those of the store's own tools, in the environment"),
        ),
    };
    Failure::because(exit, error, hint)
}

/// Where the readers in this process read.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    Live(LiveLog),
    Disk(DiskSource),
    Net(NetworkSource),
}

impl Source {
    fn inner(&self) -> &dyn MutationSource {
        match self {
            Self::Live(log) => log,
            Self::Disk(folder) => folder,
            Self::Net(server) => server,
        }
    }
}

impl MutationSource for Source {
    fn segments(&self) -> maintner_core::Result<Vec<Segment>> {
        self.inner().segments()
    }

    fn wait(&self, known: LogPosition, patience: Duration) -> maintner_core::Result<LogPosition> {
        self.inner().wait(known, patience)
    }

    fn rewrites(&self, since: u64) -> Rewrites {
        self.inner().rewrites(since)
    }
}

/// The log of a service that runs.
pub(crate) struct Opened {
    pub(crate) source: Source,
    /// The writer's end; nothing for those who only read.
    pub(crate) sink: Option<Box<dyn MutationSink>>,
    /// Loaded already, where that is part of opening.
    pub(crate) corpus: Option<Corpus>,
    store: Option<(Store, Option<ObjectLog<Bucket>>)>,
    folder: PathBuf,
}

impl Opened {
    /// Opens the log, as `role` asks for.
    pub(crate) async fn open(
        role: &Role,
        store: Option<&Store>,
        folder: &Path,
        once: bool,
        site: &Site,
        stop: &CancellationToken,
    ) -> Result<Self, Failure> {
        let mut opened = Self {
            source: Source::Disk(DiskSource::new(folder)),
            sink: None,
            corpus: None,
            store: store.map(|store| (store.clone(), None)),
            folder: folder.to_owned(),
        };
        if let Role::Godata(server) = role {
            let options = godata::Options::default().server(server);
            let open = godata::open_with_status(options).await;
            let (corpus, server, ready) = open.map_err(|error| crate::maintq::failure(&error))?;
            if let Ready::Offline { warning } = ready {
                tracing::warn!("the log server cannot be reached, showing what is kept: {warning}");
            }
            (opened.source, opened.corpus) = (Source::Net(server), Some(corpus));
            return Ok(opened);
        }
        std::fs::create_dir_all(folder).map_err(|source| {
            let path = folder.to_owned();
            crate::maintq::failure(&Error::Io {
                action: "create",
                path,
                source,
            })
        })?;
        if *role == Role::Reader {
            if let Some(store) = store {
                store.open(folder).await?;
            }
            return Ok(opened);
        }
        let mut options = WriterOptions::default();
        let mut lease = None;
        if let Some((store, log)) = &mut opened.store {
            options = options.layout(Layout::SEGMENTS);
            let log = log.insert(
                store
                    .lead(folder, site, once.then_some(PATIENCE), stop)
                    .await?,
            );
            lease = Some(log.lease());
        }
        let folder = folder.to_owned();
        let live = tokio::task::spawn_blocking(move || LiveLog::open(&folder, options)).await;
        let live = live.map_err(|error| Failure::because(Exit::Infrastructure, &error, None))?;
        let live = live.map_err(|error| crate::maintq::failure(&error))?;
        if let Some(cut) = live.recovered() {
            tracing::warn!("the end of the log was torn and is cut: {cut:?}");
        }
        opened.sink = Some(match lease {
            None => Box::new(live.clone()),
            Some(lease) => Box::new(LeasedLog::new(live.clone(), lease)),
        });
        opened.source = Source::Live(live);
        Ok(opened)
    }

    /// How the log is served: complete segments at `base`, when there is one and they are there.
    pub(crate) fn served(&self, base: Option<&str>) -> serve::Options {
        let options = serve::Options::default();
        let uploaded = self.store.as_ref().and_then(|(_, log)| log.as_ref());
        match (base, uploaded.map(ObjectLog::uploaded)) {
            (None, _) => options,
            (Some(base), None) => options.frozen_url_base(base),
            (Some(base), Some(uploaded)) => at_base(options, base.to_owned(), uploaded),
        }
    }

    /// Keeps the store and the log alike until `stop`, and then everything that is left.
    pub(crate) async fn keep(self, stop: CancellationToken) -> Result<(), Failure> {
        let told = |error: &ObjectError| {
            let text = Failure::because(Exit::Infrastructure, error, None);
            tracing::warn!("object store: {}", text.message("").unwrap_or_default());
        };
        let kept = match self.store {
            None => {
                stop.cancelled().await;
                Ok(())
            }
            Some((_, Some(mut log))) => {
                // Remains of writers that were fenced or ended.
                if let Err(error) = log.clean_up().await {
                    told(&error);
                }
                keep(&mut log, &self.source, Keep::default(), stop, told).await
            }
            Some((store, None)) => follow(&store.bucket, &self.folder, LOOK, stop, told).await,
        };
        kept.map_err(|error| failed(&error))
    }
}

fn at_base(options: serve::Options, base: String, uploaded: Uploaded) -> serve::Options {
    options.frozen_url(move |served| {
        let name = served.object_name();
        uploaded.has(&name).then(|| format!("{base}{name}"))
    })
}
