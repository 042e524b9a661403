//! `farmer build`: one commit, its log on the terminal, then the outcome.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use build_core::event::Outcome;
use build_core::ids::{BuildId, BuilderName};
use build_core::recipe::{Detect, FarmerToml, name_hint};
use build_core::report::Build as Report;
use build_core::work::{Builder, COLD_LABEL, Class, WorkItem};
use build_server::coordinator::{Coordinator, Handle};
use build_server::pool::LocalHosts;
use build_server::source::{Checkouts, GitCheckouts};
use build_server::store::Store;
use build_server::supervise::Supervisor;
use farmer_cli::{Exit, Failure};
use futures::future::join_all;
use tokio_util::sync::CancellationToken;

use crate::build_there::build_there;
use crate::check::{check_reachable, read_config};
use crate::cli::Build;
use crate::data_loss::DataLoss;
use crate::describe;
use crate::farm::{AnyFarm, Farm};
use crate::farm_file::FarmFile;
use crate::follow::{Follower, Show, exit_of};
use crate::machines::{HostTable, toolchains};
use crate::output::failure;
use crate::shared::Shared;
use crate::turn::{Turn, how, turn};

/// How long the end may take after everything was told to stop: process trees get 5 s to end
/// by themselves.
const DRAIN: Duration = Duration::from_secs(20);

/// How long tidying up may take when somebody has interrupted.
const HURRY: Duration = Duration::from_secs(1);

/// How many failed tests are named.
const FAILED_TESTS: usize = 20;

/// Builds one commit on every builder that is asked for: in the farm that owns the data directory, in
/// another `farmer build` that builds as this one would, or here.
pub(crate) async fn build(
    args: Build,
    data: PathBuf,
    json: bool,
    stop: CancellationToken,
) -> Result<(), Failure> {
    loop {
        match turn(&args, &data, &stop).await? {
            Turn::Here(store) => return build_here(&args, &data, json, stop, store).await,
            Turn::There(there) => {
                let ended = build_there(&args, &there, json, &stop).await;
                if !there.has_left(&ended, &data, &stop).await {
                    return ended;
                }
                farmer_cli::say!("farmer: that program has ended, and this one goes on");
            }
        }
    }
}

async fn build_here(
    args: &Build,
    data: &Path,
    json: bool,
    stop: CancellationToken,
    store: Store,
) -> Result<(), Failure> {
    let settings = FarmFile::open(None, data)?;
    let loss = DataLoss::of(&store);
    let shared = Shared::announce(&store, how(args, &settings))?;
    let checkouts = GitCheckouts::new(data.join("git")).with_refs(settings.refs());
    let item = find(args, &checkouts, json).await?;
    let config = configuration(args, &checkouts, &item).await?;
    let builders = match args.builder.is_empty() {
        true => config.builders_for(&item),
        false => chosen(args, config.builders())?,
    };
    let farm = settings.farm();
    for builder in &builders {
        check_reachable(farm.hosts.iter().chain(config.hosts()), builder)?;
    }
    let apart = (settings.sandbox(args.sandbox), settings.limits());
    let asked = (&builders[..], config.hosts());
    let machines = HostTable::open(asked, args.machines, farm, apart, data)?.pool;
    let all = Supervisor::new("farmer");
    let coordinator = {
        let store = store.clone();
        coordinator(args, &config, store, checkouts.clone(), &machines, data)?
    };
    let handle = coordinator.handle();
    let shared = shared.open(&handle, &store, checkouts, data, &all).await?;
    let (soon, now) = (stop.clone(), loss.now().clone());
    let running = all.spawn("coordinator", coordinator.run_until(soon, now));
    let show = Show {
        json,
        output: !args.quiet,
        builder: builders.len() > 1,
    };
    let building = async {
        let all = builders.iter().map(|b| build_on(&handle, &item, b, show));
        let built = join_all(all).await;
        shared.wait_for_others(&handle, &stop).await;
        // Whoever is in a hurry leaves the tidying to the next start.
        let tidy = if stop.is_cancelled() { HURRY } else { DRAIN };
        stop.cancel();
        (built, tidy)
    };
    let ((built, tidy), ()) = tokio::join!(building, loss.watch(&stop));
    let ran = running
        .await
        .map_err(|e| Failure::because(Exit::Infrastructure, &e, None))?;
    shared.close();
    let drained = all.drain(DRAIN).await;
    if tokio::time::timeout(tidy, close(&machines)).await.is_err() {
        tracing::info!("what is left of the machines is deleted by the next start");
    }
    loss.check(data)?;
    drained.map_err(|e| Failure::because(Exit::Infrastructure, &e, None))?;
    store.close().await.map_err(|e| failure(&e))?;
    ran.map_err(|e| failure(&e))?;
    finish(built)
}

/// Ends the machines that were kept ready, and deletes what the builds have left.
async fn close(machines: &LocalHosts) {
    if let Err(error) = machines.close().await {
        tracing::warn!(error = error.chain(), "cannot tidy up");
    }
}

/// The worst of all outcomes is the program's.
pub(crate) fn finish(built: Vec<Result<Exit, Failure>>) -> Result<(), Failure> {
    let exits = built.into_iter().collect::<Result<Vec<Exit>, Failure>>()?;
    match exits.into_iter().max_by_key(|exit| *exit as u8) {
        None | Some(Exit::Passed) => Ok(()),
        Some(exit) => Err(Failure::silent(exit)),
    }
}

async fn find(args: &Build, checkouts: &GitCheckouts, json: bool) -> Result<WorkItem, Failure> {
    let rev = args.rev.as_deref();
    let mut item = checkouts
        .resolve(&args.repo, rev)
        .await
        .map_err(|e| failure(&e))?;
    item.class = Class::Interactive;
    item.worktree = args.worktree;
    if args.cold {
        item.labels.insert(COLD_LABEL.to_owned());
    }
    if !json {
        farmer_cli::say!(
            "farmer: {} at {} {:?}",
            item.repo,
            item.commit.short(),
            item.subject
        );
        if let Some(outside) = build_core::sentences::outside(&item) {
            farmer_cli::say!("farmer: {outside}");
        }
        let count = checkouts
            .uncommitted(&args.repo)
            .await
            .map_err(|e| failure(&e))?;
        describe::say_uncommitted(count, args.worktree);
    }
    Ok(item)
}

async fn configuration(
    args: &Build,
    checkouts: &GitCheckouts,
    item: &WorkItem,
) -> Result<FarmerToml, Failure> {
    if let Some(path) = &args.config {
        return read_config(path);
    }
    let tree = checkouts.tree(item).await.map_err(|e| failure(&e))?;
    let file = Detect::configuration(tree.as_ref())
        .await
        .map_err(|e| failure(&e))?;
    Ok(file.unwrap_or_default())
}

fn chosen(args: &Build, all: Vec<Builder>) -> Result<Vec<Builder>, Failure> {
    if let Some(unknown) = args
        .builder
        .iter()
        .find(|name| all.iter().all(|b| b.name.as_str() != **name))
    {
        let names = all.iter().map(|b| b.name.as_str());
        return Err(Failure::usage(
            format!("there is no builder {unknown:?}"),
            name_hint(unknown, names),
        ));
    }
    let wanted = |b: &Builder| args.builder.iter().any(|n| n == b.name.as_str());
    Ok(all.into_iter().filter(wanted).collect())
}

fn coordinator(
    args: &Build,
    config: &FarmerToml,
    store: Store,
    checkouts: GitCheckouts,
    machines: &LocalHosts,
    data: &Path,
) -> Result<Coordinator, Failure> {
    // This process ends with its builds: nobody would see what another run says.
    let mut parts = Coordinator::builder()
        .store(store)
        .checkouts(checkouts)
        .pool(machines.clone())
        .without_reruns();
    // All of them: whoever shares this program may ask for another one.
    for builder in config.builders() {
        parts = parts.build_on(builder);
    }
    parts = if args.config.is_some() {
        parts.recipe(config.clone())
    } else {
        parts.recipe(Detect)
    };
    if let Some((toolchains, archives)) = toolchains(data) {
        parts = parts.toolchains(toolchains).archives(archives);
    }
    parts.build().map_err(|e| failure(&e))
}

/// Builds the commit on one builder, or goes on with a build of it that was interrupted.
async fn build_on(
    handle: &Handle,
    item: &WorkItem,
    builder: &Builder,
    show: Show,
) -> Result<Exit, Failure> {
    let build = match interrupted(handle, item, builder).await? {
        Some(build) => {
            say(
                show,
                &format!("{build} of this commit was interrupted and goes on"),
            );
            build
        }
        None => handle
            .submit(item.clone(), &builder.name)
            .await
            .map_err(|e| failure(&e))?,
    };
    let farm: AnyFarm = Arc::new(handle.clone());
    follow(farm, build, &builder.name, show).await
}

/// Shows a build to its end and tells how it ended.
pub(crate) async fn follow(
    farm: AnyFarm,
    build: BuildId,
    builder: &BuilderName,
    show: Show,
) -> Result<Exit, Failure> {
    let follower = Follower::new(farm.clone(), build.clone(), builder.to_string(), show).await?;
    let outcome = follower.run().await?;
    tell(&*farm, &build, outcome.as_ref(), show).await?;
    Ok(exit_of(outcome.as_ref()))
}

async fn interrupted(
    handle: &Handle,
    item: &WorkItem,
    builder: &Builder,
) -> Result<Option<BuildId>, Failure> {
    // What lies in the work tree may have changed since: it is built anew.
    if item.worktree {
        return Ok(None);
    }
    let open = handle.records().open().await.map_err(|e| failure(&e))?;
    let same = |found: &WorkItem| {
        let is_same = found.commit == item.commit && found.origin == item.origin;
        is_same && found.trust == item.trust && !found.worktree
    };
    let row = open
        .into_iter()
        .find(|row| same(&row.item) && row.builder == builder.name && row.outcome.is_none());
    Ok(row.map(|row| row.id))
}

async fn tell(
    farm: &dyn Farm,
    build: &BuildId,
    outcome: Option<&Outcome>,
    show: Show,
) -> Result<(), Failure> {
    let Some(outcome) = outcome else {
        say(
            show,
            &format!("{build} was interrupted; go on with it by the same command"),
        );
        return Ok(());
    };
    let report = farm.build(build).await.map_err(|e| failure(&e))?;
    let took = report
        .as_ref()
        .and_then(|r| Some(r.finished?.since(r.queued)))
        .map_or(String::new(), |t| format!(" in {}", describe::took(t)));
    say(
        show,
        &format!("{build} {}{took}", describe::outcome(outcome)),
    );
    if let (Outcome::Failed { .. }, Some(report)) = (outcome, &report) {
        tell_failed_tests(report, show);
    }
    if let Some(hint) = describe::hint(outcome) {
        say(show, &format!("  hint: {hint}"));
    }
    Ok(())
}

/// Names the tests that failed, each with what the past says of it, and the build that runs
/// them again.
fn tell_failed_tests(report: &Report, show: Show) {
    let failed = report.failed_tests.as_deref().unwrap_or_default();
    for test in failed.iter().take(FAILED_TESTS) {
        say(show, &format!("  {}: {}", test.test, test.text));
    }
    if let Some(more) = failed.len().checked_sub(FAILED_TESTS).filter(|n| *n > 0) {
        say(show, &format!("  and {more} tests more"));
    }
    if let Some(rerun) = &report.rerun {
        let text = format!("  {}: {}", rerun.build, rerun.verdict());
        say(show, &text);
    }
}

fn say(show: Show, text: &str) {
    if !show.json {
        farmer_cli::say!("{text}");
    }
}
