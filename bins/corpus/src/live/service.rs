//! The service: a log, a corpus, readers, a page.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use farmer_cli::{Exit, Failure};
use maintner_core::maintapi::{Api, GerritSearch, Policy};
use maintner_core::serve::LogServer;
use maintner_core::source::MutationSink;
use maintner_core::sync::github::Hints;
use maintner_core::sync::github::estimate::Estimate;
use maintner_core::sync::github::rest::Pubsub;
use maintner_core::sync::{
    Control, HostReader, Options, SyncError, Target, Writer, keep_in_sync, sync_once,
};
use maintner_core::{Corpus, Options as Loading, View};
use tokio_util::sync::CancellationToken;

use super::doors::{Doors, Public};
use super::log::{Opened, Role, Source, Store};
use super::readers::{Asking, cost};
use super::report::{failure, show};
use super::web::{self, Site};

/// How long the end may take once it was asked for: one request to a host, one upload.
const DRAIN: Duration = Duration::from_secs(70);
/// How long answers that were begun may take at the end.
const LAST_ANSWERS: Duration = Duration::from_secs(3);
/// How often a service that only shows its log looks whether it is to end.
const LOOK: Duration = Duration::from_millis(200);

/// What a service does.
#[derive(Debug)]
pub(crate) struct Service {
    /// The folder of the log, with mirrors and notes beside it.
    pub(crate) folder: PathBuf,
    /// Whether it writes the log or only shows it.
    pub(crate) role: Role,
    /// Where the log has a copy.
    pub(crate) store: Option<Store>,
    pub(crate) targets: Vec<Target>,
    pub(crate) asking: Asking,
    /// Where it answers; nowhere when it ends by itself.
    pub(crate) listen: Option<String>,
    /// Where it answers over TLS, with a certificate of its own.
    pub(crate) listen_tls: Option<String>,
    /// Where it answers over TLS, with a certificate that an authority gives.
    pub(crate) public: Option<Public>,
    /// Addresses of complete segments elsewhere begin with it.
    pub(crate) frozen_url_base: Option<String>,
    /// The review server that is asked for try work.
    pub(crate) review: String,
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

/// The review server of the Go project.
pub(crate) const REVIEW: &str = "https://go-review.googlesource.com";

/// Readers, with where their wake-ups may name issues.
type Readers = Vec<(Box<dyn HostReader>, Option<Hints>)>;

impl Service {
    /// Runs until it is done or stopped.
    pub(crate) async fn run(self, stop: CancellationToken) -> Result<(), Failure> {
        let control = self.asking.control.clone();
        let site = Arc::new(Site::new(control.clone(), self.webhook_secret.clone()));
        let doors = match &self.listen {
            Some(plain) if !self.once => {
                let (own, public) = (self.listen_tls.as_deref(), self.public.as_ref());
                Some(Doors::open(plain, own, public, &self.folder).await?)
            }
            _ => None,
        };
        let serve = web::serve(doors, Arc::clone(&site), stop.clone());
        let work = self.everything(site, stop.clone());
        tokio::pin!(serve, work);
        let mut serving = true;
        tokio::select! {
            done = &mut work => return done,
            served = &mut serve => {
                served?;
                serving = false;
            }
            () = stop.cancelled() => {}
        }
        control.stop();
        // What was written is durable; a host that does not answer must not hold up the end.
        let late = |_| Err(Failure::interrupted());
        let done = tokio::time::timeout(DRAIN, &mut work).await;
        if serving {
            // Those who wait were told by now; who reads slowly asks again.
            let _late = tokio::time::timeout(LAST_ANSWERS, &mut serve).await;
        }
        done.unwrap_or_else(late)
    }

    /// The log, what is made of it, and what is written to it. The first failure ends all.
    async fn everything(self, site: Arc<Site>, stop: CancellationToken) -> Result<(), Failure> {
        let folder = self.folder.clone();
        let (role, store) = (&self.role, self.store.as_ref());
        let opened = Opened::open(role, store, &folder, self.once, &site, &stop).await;
        let mut log = match opened {
            // It was told to end while another one was the writer: nothing was begun.
            Err(_) if !self.once && stop.is_cancelled() => return Ok(()),
            opened => opened?,
        };
        let control = self.asking.control.clone();
        let (sink, corpus, source) = (log.sink.take(), log.corpus.take(), log.source.clone());
        // Ends what serves and keeps the log, when nobody writes it any more.
        let ended = CancellationToken::new();
        let options = log.served(self.frozen_url_base.as_deref());
        let (once, shown) = (self.once, source.clone());
        let show = async {
            match once {
                true => Ok(()),
                false => show_log(shown, options, Arc::clone(&site), ended.clone()).await,
            }
        };
        let show = stop_after(show, &control);
        let keep = stop_after(log.keep(ended.clone()), &control);
        let work = async {
            let site = Arc::clone(&site);
            let done = blocking(move || self.work(&site, source, corpus, sink)).await;
            ended.cancel();
            done
        };
        let (done, shown, kept) = tokio::join!(work, show, keep);
        // A writer that lost its log was stopped by that, and tells only of the stop.
        kept.and(shown).and(done)
    }

    /// Everything that blocks.
    fn work(
        mut self,
        site: &Site,
        source: Source,
        corpus: Option<Corpus>,
        sink: Option<Box<dyn MutationSink>>,
    ) -> Result<(), Failure> {
        let started = Instant::now();
        let corpus = match corpus {
            Some(corpus) => corpus,
            None => Corpus::load(source, Loading::default())
                .map_err(|error| crate::maintq::failure(&error))?,
        };
        self.say(&format!("loaded the log in {:?}", started.elapsed()));
        let search = GerritSearch::new(&self.review)
            .map_err(|error| Failure::from(anyhow::anyhow!("{error}")))?;
        let api = Api::with_search(corpus.clone(), Policy::default(), search);
        site.loaded(&corpus, &api);
        let Some(sink) = sink else {
            return self.only_show(&corpus);
        };
        let writer = Writer::new(sink, corpus);
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
            if self.verbose {
                scope.spawn(|| print_changes(writer.corpus(), &|| done.load(Ordering::Relaxed)));
            }
            let result = if self.once {
                self.all_once(readers, &writer)
            } else {
                let readers = readers.into_iter().map(|(reader, _)| reader).collect();
                let options = Options { every: self.every };
                keep_in_sync(readers, &writer, control, options);
                // Without a host there is nothing to do but to answer.
                control.wait_for_stop();
                Ok(())
            };
            done.store(true, Ordering::Relaxed);
            control.stop();
            result
        })
    }

    /// Follows a log that somebody else writes.
    fn only_show(&self, corpus: &Corpus) -> Result<(), Failure> {
        let control = &self.asking.control;
        if self.once {
            return check(&corpus.view());
        }
        // While it is there, the corpus is kept up to date.
        let mut changes = corpus.follow();
        while !control.is_stopped() {
            match changes.wait(LOOK) {
                Some(Err(error)) => tracing::warn!("the log cannot be read: {error}"),
                Some(Ok(change)) if self.verbose => tell(&change),
                _ => {}
            }
        }
        Ok(())
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

/// Serves the log until `stop`.
async fn show_log(
    source: Source,
    options: maintner_core::serve::Options,
    site: Arc<Site>,
    stop: CancellationToken,
) -> Result<(), Failure> {
    if stop.is_cancelled() {
        return Ok(());
    }
    // Reads what has no hash in its name, which is much where days are long.
    let logs = blocking(move || {
        LogServer::new(source, options).map_err(|error| crate::maintq::failure(&error))
    });
    let logs = logs.await?;
    site.logged(logs.clone());
    logs.run(stop).await;
    Ok(())
}

/// Stops everything when this fails.
async fn stop_after(
    work: impl Future<Output = Result<(), Failure>>,
    control: &Control,
) -> Result<(), Failure> {
    let done = work.await;
    if done.is_err() {
        control.stop();
    }
    done
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Failure::because(Exit::Infrastructure, &error, None))?
}

/// Prints every change, for those who watch a service at work.
fn print_changes(corpus: &Corpus, done: &dyn Fn() -> bool) {
    let mut changes = corpus.follow();
    while !done() {
        if let Some(Ok(change)) = changes.wait(LOOK) {
            tell(&change);
        }
    }
}

fn tell(change: &maintner_core::Change) {
    for line in super::changes::lines(change) {
        eprintln!("{line}");
    }
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
