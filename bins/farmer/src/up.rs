//! `farmer up`: every commit of the watched repositories, built and shown in a browser.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use build_core::clock::SystemClock;
use build_core::event::Outcome;
use build_core::ids::BuildId;
use build_core::recipe::Detect;
use build_server::coordinator::{Coordinator, Handle};
use build_server::outcomes;
use build_server::pool::ReversePool;
use build_server::readers::{Follower, Reader};
use build_server::record::BuildRow;
use build_server::retention::Retention;
use build_server::source::{GitCheckouts, GitSource};
use build_server::store::{ObjectBlobs, Quota, Store};
use build_server::supervise::Supervisor;
use build_server::traces::{self, Collector};
use build_server::web::{CorpusReviews, Hosts, PrivateRepos, Site, TokenFile};
use build_server::who::{self, Directory, Oidc, Pattern};
use farmer_cli::{Exit, Failure};
use tokio_util::sync::CancellationToken;

use crate::check::check_reachable;
use crate::cli::Up;
use crate::data_loss::DataLoss;
use crate::describe;
use crate::door::Door;
use crate::farm_file::{FarmFile, Settings};
use crate::machines::{HostTable, toolchains};
use crate::news;
use crate::output::{failure, print_text};
use crate::services::{gomote, programs, services, with_grpc};
use crate::sessions::staying;
use crate::ssh;
use crate::watched::{Watched, watch};

/// How long the end may take after everything was told to stop: process trees get 5 s to end
/// by themselves.
const DRAIN: Duration = Duration::from_secs(20);

/// The store with its large contents elsewhere.
async fn with_blobs(store: Store, url: &str, data: &Path) -> Result<Store, Failure> {
    // Credentials of a store are those of the environment, as its own tools read them.
    let blobs = ObjectBlobs::open(url, std::env::vars(), data.join("spool"), Quota::default());
    let blobs = blobs.map_err(|e| failure(&e))?;
    blobs.check_reachable().await.map_err(|e| failure(&e))?;
    Ok(store.with_blobs(Arc::new(blobs)))
}

/// Runs the farm until it is told to stop.
pub(crate) async fn up(args: Up, data: PathBuf, stop: CancellationToken) -> Result<(), Failure> {
    let file = FarmFile::open(args.farm.as_deref(), &data)?;
    let settings = file.settings(&args);
    let store = Store::open(&data).await.map_err(|e| failure(&e))?;
    let store = match &args.blobs {
        Some(url) => with_blobs(store, url, &data).await?,
        None => store,
    };
    let loss = DataLoss::of(&store);
    let token = TokenFile::open(&data).map_err(|e| failure(&e))?;
    let directory = directory(&data, &settings)?;
    let listening = SocketAddr::new(settings.addr, settings.port);
    let door = Door::open(listening, &args.tls, &settings.names, &data).await?;
    announce(&store, &token, &door)?;
    let checkouts = GitCheckouts::new(data.join("git")).with_refs(settings.refs.clone());
    let watched = watch(&args, &checkouts).await?;
    let asked = (&watched.builders[..], &watched.hosts[..]);
    let apart = (settings.sandbox, settings.limits);
    let hosts_here = HostTable::open(asked, args.machines, file.farm(), apart, &data)?;
    let machines = ReversePool::builder(directory.clone())
        .remember_in(data.join("reverse"))
        .spool_dir(data.join("reverse"))
        .build();
    for builder in &watched.builders {
        // Its builds wait, and say so: a machine may come, or another commit may ask for less.
        let hosts = file.farm().hosts.iter().chain(&watched.hosts);
        if let Err(cannot) = check_reachable(hosts, builder) {
            farmer_cli::say!("{}", cannot.message("farmer").unwrap_or_default());
        }
    }
    let coordinator = coordinator(
        (&settings, &door.address),
        (&watched, &hosts_here),
        &store,
        &checkouts,
        &data,
        &machines,
    )?;
    let handle = coordinator.handle();
    let news = news::teller(
        &settings.notify,
        settings.mail.as_ref(),
        &handle,
        &door.address,
    )
    .map_err(|e| failure(&e))?;
    let collector = args
        .otlp
        .as_deref()
        .map(|url| Collector::new(url, &*door.address))
        .transpose()
        .map_err(|e| failure(&e))?;
    let traces = collector.map(|collector| traces::follower(handle.ledger(), collector));
    let outboxes = handle.outboxes().clone();
    let reviews = CorpusReviews::new(farmer_corpus::live::command::folder(&data));
    let site = Site::new(handle.clone(), store.clone(), token)
        .with_outboxes(outboxes.clone())
        .with_reviews(reviews.clone())
        .with_checkouts(checkouts)
        .with_private(private(&settings)?)
        .with_keep_artifacts(settings.keep_artifacts)
        .with_directory(directory.clone())
        .with_registered(machines.clone())
        .with_identity(&settings.identity)
        .with_hosts(hosts(&settings, &args.tls.acme));
    let all = Supervisor::new("farmer");
    let writing = directory.clone().run(all.token().clone());
    all.group("who").spawn("write", writing);
    let corpus = all.group("corpus");
    let following = reviews.run(corpus.clone(), all.token().clone());
    corpus.spawn("follow", following);
    let serving = CancellationToken::new();
    let gomote = gomote(&handle, directory.clone(), &all).await;
    let gomote = gomote.map_err(|e| failure(&e))?;
    let services = services(&site, &machines, gomote.clone()).with_pages(programs(&data).router());
    let ssh = match args.ssh {
        Some(address) => {
            let how = ssh::How {
                is_recorded: args.ssh_record,
                with_agents: args.ssh_agent,
            };
            let opened = ssh::Port::open(address, how, &data, &gomote, &directory);
            Some(opened.await?)
        }
        None => None,
    };
    let services = with_grpc(services, gomote, ssh.as_ref(), &data, &all).await?;
    if let Some(port) = ssh {
        port.serve(&all, &serving);
    }
    door.serve(services, &all, &serving);
    let retention = Retention::new(store.clone(), SystemClock, settings.keep_logs)
        .keep_artifacts(settings.keep_artifacts)
        .park_readers(outboxes.clone(), handle.ledger());
    let token = all.token().clone();
    all.group("retention").spawn("sweep", async move {
        token.run_until_cancelled(retention.run()).await;
    });
    let token = all.token().clone();
    let following = file.follow(handle.clone(), hosts_here);
    all.group("settings").spawn("follow", async move {
        token.run_until_cancelled(following).await;
    });
    let telling = outcomes::follower(&handle, tell_outcome);
    outboxes.add(telling.outbox());
    tell(&all, "outcomes", telling, "nobody is told how builds end");
    if let Some(news) = news {
        outboxes.add(news.outbox());
        tell(&all, "news", news, "nobody is told of news");
    }
    if let Some(traces) = traces {
        outboxes.add(traces.outbox());
        tell(&all, "traces", traces, "no traces are sent");
    }
    let token = all.token().clone();
    all.group("memory").spawn("give back", async move {
        token
            .run_until_cancelled(farmer_cli::memory::give_back_now_and_then())
            .await;
    });
    let running = coordinator.run_until(stop.clone(), loss.now().clone());
    let running = all.spawn("coordinator", running);
    let told = tell_of_the_end(&handle, &stop, &loss);
    let (ran, (), ()) = tokio::join!(running, told, loss.watch(&stop));
    serving.cancel();
    if let Err(error) = all.drain(DRAIN).await {
        tracing::warn!(%error, "the farm has ended");
    }
    loss.check(&data)?;
    if let Err(error) = machines.flush().await {
        tracing::warn!(
            error = error.chain(),
            "what is remembered of machines is not written"
        );
    }
    if let Err(error) = store.close().await {
        tracing::warn!(error = error.chain(), "the store has ended");
    }
    ran.map_err(|e| Failure::because(Exit::Infrastructure, &e, None))?
        .map_err(|e| failure(&e))
}

/// Runs a reader until the farm ends; `without` says what is missing when it ends before.
fn tell<R: Reader>(
    all: &Supervisor,
    group: &'static str,
    reader: Follower<R>,
    without: &'static str,
) {
    let token = all.token().clone();
    all.group(group).spawn("tell", async move {
        if let Err(error) = reader.run(token).await {
            tracing::error!(error = error.chain(), "{without}");
        }
    });
}

/// Tells people and programs where the farm answers, before anything else is done.
fn announce(store: &Store, token: &TokenFile, door: &Door) -> Result<(), Failure> {
    if let Some(lock) = store.lock() {
        let address = Some(door.local_address.clone());
        lock.publish(
            address,
            Some(door.address.clone()),
            Some(token.token().to_owned()),
        )
        .map_err(|e| failure(&e))?;
    }
    print_text(&format!("{}\n", door.address))?;
    farmer_cli::say!(
        "farmer: sign in with the token in {}",
        token.path().display()
    );
    Ok(())
}

fn hosts(settings: &Settings, certified: &[String]) -> Hosts {
    let names = settings.names.iter().chain(certified);
    names.fold(Hosts::default(), Hosts::and)
}

/// The users and keys of the farm, and the identity providers that it believes.
fn directory(data: &Path, settings: &Settings) -> Result<Directory, Failure> {
    let mut options = who::Options::default();
    if !settings.identity.is_empty() {
        options = options.signed_tokens(Oidc::new(&settings.identity).map_err(|e| failure(&e))?);
    }
    Directory::open_with(data, options).map_err(|e| failure(&e))
}

fn private(settings: &Settings) -> Result<PrivateRepos, Failure> {
    let patterns = settings.private.iter().map(|name| Pattern::new(name));
    let patterns: Result<Vec<_>, _> = patterns.collect();
    Ok(PrivateRepos::new(patterns.map_err(|e| failure(&e))?))
}

fn coordinator(
    (settings, address): (&Settings, &str),
    (watched, hosts): (&Watched, &HostTable),
    store: &Store,
    checkouts: &GitCheckouts,
    data: &Path,
    machines: &ReversePool,
) -> Result<Coordinator, Failure> {
    let mut parts = Coordinator::builder()
        .store(store.clone())
        .checkouts(checkouts.clone())
        .allotment(settings.allotment)
        .address(address);
    parts = parts.pool(hosts.pool.clone()).pool(machines.clone());
    for builder in &watched.builders {
        parts = parts.build_on(builder.clone());
    }
    for origin in &watched.origins {
        let source = GitSource::watch(origin).through(checkouts.clone());
        let source = settings.branches.iter().fold(source, GitSource::branch);
        parts = parts.source(settings.tags.iter().fold(source, GitSource::tag));
    }
    parts = match &watched.recipe {
        Some(file) => parts.recipe(file.clone()),
        None => parts.recipe(Detect),
    };
    if let Some((toolchains, archives)) = toolchains(data) {
        parts = parts.toolchains(toolchains).archives(archives);
    }
    #[cfg(feature = "sim")]
    {
        parts = parts.clock(crate::bench::chaos::shifted());
    }
    let private = private(settings)?;
    parts = parts.inputs_when(move |repo, input| private.lets_into(repo, input));
    parts.build().map_err(|e| failure(&e))
}

/// Says how a build ended, on which builder, and by which tests.
fn tell_outcome(build: &BuildId, outcome: &Outcome, row: Option<&BuildRow>) {
    let ended = describe::outcome(outcome);
    match row {
        Some(row) => {
            let (on, commit) = (&row.builder, describe::ended(row));
            let tests = describe::failed_tests(row);
            farmer_cli::say!("{build} on {on} {ended}: {commit}{tests}");
        }
        None => farmer_cli::say!("{build} {ended}"),
    }
}

/// Says at the first signal what becomes of the builds that run.
async fn tell_of_the_end(handle: &Handle, stop: &CancellationToken, loss: &DataLoss) {
    stop.cancelled().await;
    if loss.is_lost() {
        return;
    }
    let sessions = handle.records().open_sessions().await.unwrap_or_default();
    if let Some(text) = staying(&sessions) {
        farmer_cli::say!("farmer: {text}");
    }
    let open = handle.records().open().await.unwrap_or_default();
    match open.iter().filter(|row| row.outcome.is_none()).count() {
        0 => farmer_cli::say!("farmer: stopping"),
        1 => farmer_cli::say!(
            "farmer: stopping; 1 build is interrupted and runs again at the next start"
        ),
        n => farmer_cli::say!(
            "farmer: stopping; {n} builds are interrupted and run again at the next start"
        ),
    }
}
