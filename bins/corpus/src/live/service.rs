//! The service: a log, a corpus, readers, a page.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use farmer_cli::{Exit, Failure};
use maintner_core::log::LogWriter;
use maintner_core::sync::github::Hints;
use maintner_core::sync::github::estimate::Estimate;
use maintner_core::sync::github::rest::Pubsub;
use maintner_core::sync::{
    Control, HostReader, Options, SyncError, Target, Writer, keep_in_sync, sync_once,
};
use maintner_core::{Corpus, View};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::readers::{Asking, cost};
use super::report::{failure, show};
use super::web::{self, Site};

/// How long the end may take once it was asked for: one request to a host.
const DRAIN: Duration = Duration::from_secs(70);

/// What a service does.
#[derive(Debug)]
pub(crate) struct Service {
    /// The folder of the log, with mirrors and notes beside it.
    pub(crate) folder: PathBuf,
    pub(crate) targets: Vec<Target>,
    pub(crate) asking: Asking,
    /// Where it answers; nowhere when it ends by itself.
    pub(crate) listen: Option<String>,
    /// Ends when everything is in step.
    pub(crate) once: bool,
    /// What first synchronisations will cost, where that was asked and told already; it is asked
    /// and told for the others.
    pub(crate) costs: BTreeMap<Target, Estimate>,
    /// Says what is done.
    pub(crate) verbose: bool,
    /// Between two looks at a host.
    pub(crate) every: Duration,
    /// Who tells that there is news.
    pub(crate) pubsub: Option<String>,
    pub(crate) webhook_secret: Option<Vec<u8>>,
}

/// Readers, with where their wake-ups may name issues.
type Readers = Vec<(Box<dyn HostReader>, Option<Hints>)>;

impl Service {
    /// Runs until it is done or stopped.
    pub(crate) async fn run(self, stop: CancellationToken) -> Result<(), Failure> {
        let control = self.asking.control.clone();
        let site = Arc::new(Site::new(control.clone(), self.webhook_secret.clone()));
        let listener = match &self.listen {
            Some(address) if !self.once => Some(listen(address).await?),
            _ => None,
        };
        let serve = web::serve(listener, Arc::clone(&site), stop.clone());
        let work = tokio::task::spawn_blocking(move || self.work(&site));
        tokio::pin!(serve, work);
        let joined = |done: Result<Result<(), Failure>, tokio::task::JoinError>| {
            done.map_err(|error| Failure::because(Exit::Infrastructure, &error, None))?
        };
        tokio::select! {
            done = &mut work => return joined(done),
            failed = &mut serve => failed?,
            () = stop.cancelled() => {}
        }
        control.stop();
        // What was written is durable; a host that does not answer must not hold up the end.
        match tokio::time::timeout(DRAIN, work).await {
            Ok(done) => joined(done),
            Err(_late) => Err(Failure::interrupted()),
        }
    }

    /// Everything that blocks.
    fn work(mut self, site: &Site) -> Result<(), Failure> {
        let started = Instant::now();
        let corpus = |error: &maintner_core::Error| crate::maintq::failure(error);
        std::fs::create_dir_all(&self.folder)?;
        let log = LogWriter::open(&self.folder).map_err(|error| corpus(&error))?;
        if let Some(cut) = log.recovered() {
            tracing::warn!("the end of the log was torn and is cut: {cut:?}");
        }
        let loaded = Corpus::open(&self.folder).map_err(|error| corpus(&error))?;
        self.say(&format!("loaded the log in {:?}", started.elapsed()));
        site.loaded(loaded.clone());
        let writer = Writer::new(log, loaded);
        self.tell_costs()?;
        let readers = self.readers(site)?;
        let done = AtomicBool::new(false);
        let control = &self.asking.control;
        let told = self.pubsub.as_deref();
        let say = |text: &str| self.say(text);
        std::thread::scope(|scope| {
            scope.spawn(|| show(control, &say, &|| done.load(Ordering::Relaxed)));
            if let Some(base) = told {
                scope.spawn(|| listen_to(base, &self.asking));
            }
            let result = if self.once {
                self.all_once(readers, &writer)
            } else {
                let readers = readers.into_iter().map(|(reader, _)| reader).collect();
                let options = Options { every: self.every };
                keep_in_sync(readers, &writer, control, options);
                Ok(())
            };
            done.store(true, Ordering::Relaxed);
            control.stop();
            result
        })
    }

    fn say(&self, text: &str) {
        if self.verbose {
            eprintln!("{text}");
        } else {
            tracing::info!("{text}");
        }
    }

    fn tell_costs(&mut self) -> Result<(), Failure> {
        for target in &self.targets {
            if self.costs.contains_key(target) {
                continue;
            }
            if let Some(estimate) = self.asking.estimate(target)? {
                eprintln!("{}", cost(target, &estimate, self.asking.rate));
                self.costs.insert(target.clone(), estimate);
            }
        }
        Ok(())
    }

    fn readers(&self, site: &Site) -> Result<Readers, Failure> {
        let mut readers = Vec::new();
        for target in &self.targets {
            let (reader, hints) = self.asking.reader(target, self.costs.get(target))?;
            if let Some(hints) = &hints {
                site.hints(reader.name(), hints.clone());
            }
            readers.push((reader, hints));
        }
        Ok(readers)
    }

    /// Brings everything in step, once. All hosts are tried; the first failure is the answer.
    fn all_once(&self, readers: Readers, writer: &Writer) -> Result<(), Failure> {
        let mut failed = None;
        for (mut reader, _) in readers {
            let name = reader.name().to_owned();
            match sync_once(&mut *reader, writer, &self.asking.control) {
                Ok(written) => self.say(&format!("{name}: in step after {written} mutations")),
                Err(SyncError::Stopped) => return Err(Failure::interrupted()),
                Err(error) => {
                    tracing::warn!("{name}: {error}");
                    failed.get_or_insert_with(|| failure(&error));
                }
            }
        }
        if let Some(failed) = failed {
            return Err(failed);
        }
        check(&writer.view())
    }
}

/// Whether what was read makes sense: the end of `-sync-and-quit`.
fn check(view: &View) -> Result<(), Failure> {
    let anomalies = view.anomalies();
    if anomalies.total() > 0 {
        tracing::warn!("parts of the log make no sense and were passed over: {anomalies:?}");
    }
    Ok(())
}

async fn listen(address: &str) -> Result<TcpListener, Failure> {
    // As in Go, no host means all of them.
    let full = match address.strip_prefix(':') {
        Some(port) => format!("0.0.0.0:{port}"),
        None => address.to_owned(),
    };
    TcpListener::bind(&full).await.map_err(|error| {
        let error = anyhow::Error::new(error).context(format!("cannot listen on {address}"));
        Failure::because(
            Exit::Infrastructure,
            error.as_ref(),
            Some("is another program there? -listen=localhost:0 takes any free port"),
        )
    })
}

/// Passes on what a pubsub server tells.
fn listen_to(base: &str, asking: &Asking) {
    let control: &Control = &asking.control;
    let mut pubsub = Pubsub::new(base, asking.runtime.clone(), control.clone());
    while !control.is_stopped() {
        match pubsub.wait() {
            Ok(Some(topic)) => control.wake(&topic),
            Ok(None) => {}
            Err(SyncError::Stopped) => return,
            Err(error) => {
                tracing::warn!("{error}");
                control.pause(Duration::from_secs(5));
            }
        }
    }
}
