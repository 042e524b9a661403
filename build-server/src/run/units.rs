//! Runs commands: started detached, followed into the log, found again after a restart.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use build_core::buildlet::{Buildlet, Exec, ExecEvent, ExecOutcome, ExecStream};
use build_core::dispatch::{Listing, Reply};
use build_core::event::{Artifact, BuildEvent, Recorded, UnitEnd, Version};
use build_core::ids::{BuildId, ExecId, LeaseId};
use build_core::name::Name;
use build_core::plan::{Part, StepInput, Unit};
use build_core::pool::LEASE_TTL;
use build_core::shard::Durations;
use build_core::{Error, ErrorKind, Result};
use futures::{StreamExt, TryStreamExt};
use tokio::time::{Instant, sleep, timeout};

use super::Inner;
use super::leases::Held;
use super::logs::OpenLog;
use super::renew::is_final;
use super::reports::{self, Before};
use super::toolchains::preamble_of;
use super::tools::{can_start, missing_tool, shell_of, shorten};

/// How long output may be out of reach before the machine counts as lost: by then its lease
/// has run out as well.
const OUT_OF_REACH: Duration = Duration::from_secs(60);
/// The same for a machine whose lease holds all the while.
const LONGEST_OUT_OF_REACH: Duration = Duration::from_secs(5 * 60);
/// Between two attempts to reach it.
const REACH_AGAIN: Duration = Duration::from_millis(200);
/// How long the question whether a machine has ended may take.
const REACH: Duration = Duration::from_secs(5);
/// How long a full disk may keep output from being written; it waits on the machine meanwhile.
const DISK_FULL: Duration = Duration::from_secs(5 * 60);
/// How long files of a failed step may take to be kept.
const SALVAGE: Duration = Duration::from_secs(10 * 60);
/// Longest list of tests, in bytes.
const MAX_LISTING: usize = 16 << 20;
/// Earlier builds that are asked how long tests took.
const PAST_BUILDS: usize = 3;

/// Commands that were ordered to end.
#[derive(Default)]
pub(super) struct Ordered(Mutex<HashSet<ExecId>>);

impl Ordered {
    fn insert(&self, id: &ExecId) {
        // Nothing panics while it holds this lock.
        let mut ids = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ids.insert(id.clone());
    }

    fn contains(&self, id: &ExecId) -> bool {
        let ids = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ids.contains(id)
    }

    fn remove(&self, id: &ExecId) {
        let mut ids = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ids.remove(id);
    }
}

impl Inner {
    pub(super) async fn run(
        &self,
        build: &BuildId,
        lease: &LeaseId,
        unit: &Unit,
        exec: Exec,
        tools: &[String],
    ) -> Result<Reply> {
        let held = self.leases.find(lease)?;
        let id = exec.id.clone().ok_or_else(|| {
            let text = format!("the command of {unit} in build {build} has no id");
            Error::new(ErrorKind::Bug, text)
        })?;
        let asked = self.asked(build, unit).await?;
        *held.running.lock().unwrap_or_else(PoisonError::into_inner) =
            Some((build.clone(), id.clone()));
        let mut log = self.logs.append(build, &id).await?;
        let followed = held
            .unless_over(self.follow(&held, (build, exec), (tools, &asked), &id, &mut log))
            .await;
        *held.running.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let (end, took, before) = followed?;
        log.seal().await?;
        let output_bytes = log.len();
        let mut tests = log.finish();
        let reports = self.read_reports(held.buildlet(), &asked.reports, &before);
        let reported = held.unless_over(reports).await?;
        let results = match &end {
            // What a report says counts, not what was printed beside it.
            _ if reported.is_some() => reported.as_ref().and_then(|(_, kept)| kept.clone()),
            UnitEnd::Exited(ExecOutcome::Ok | ExecOutcome::Exit(_))
                if unit.part != Part::List && !tests.is_empty() =>
            {
                self.keep_results(build, &id).await
            }
            _ => None,
        };
        if let Some((reported, _)) = reported {
            tests = reported;
        }
        let was_ordered = self.ordered.contains(&id);
        self.ordered.remove(&id);
        let is_list = unit.part == Part::List && end == UnitEnd::Exited(ExecOutcome::Ok);
        let listing = match is_list {
            true => Some(self.listing(build, unit, &id).await?),
            false => None,
        };
        let has_failed = end != UnitEnd::Exited(ExecOutcome::Ok) || tests.none_ran;
        let ran = !matches!(end, UnitEnd::MissingTool(_));
        let salvaged = match has_failed && ran && !was_ordered {
            true => self.salvage(&held, &asked.salvaged).await?,
            false => Vec::new(),
        };
        Ok(Reply::Ran {
            end,
            output_bytes,
            took,
            tests,
            results,
            salvaged,
            listing,
        })
    }

    /// Keeps files of what has failed. What cannot be kept changes nothing about how it ended.
    async fn salvage(&self, held: &Held, globs: &[String]) -> Result<Vec<Artifact>> {
        if globs.is_empty() {
            return Ok(Vec::new());
        }
        let keep = async {
            let kept = timeout(SALVAGE, self.keep_matching(held.buildlet(), globs)).await;
            let kept = kept.unwrap_or_else(|_| {
                let text = format!("it took longer than {} s", SALVAGE.as_secs());
                Err(Error::new(ErrorKind::TimedOut, text))
            });
            Ok(kept.unwrap_or_else(|error| {
                tracing::warn!(error = error.chain(), "files of a failed step are not kept");
                Vec::new()
            }))
        };
        held.unless_over(keep).await
    }

    async fn follow(
        &self,
        held: &Held,
        (build, mut exec): (&BuildId, Exec),
        (tools, asked): (&[String], &Asked),
        id: &ExecId,
        log: &mut OpenLog,
    ) -> Result<(UnitEnd, Option<Duration>, Before)> {
        let buildlet = held.buildlet();
        let mut begun = None;
        let mut before = Before::new();
        let shell = shell_of(&exec);
        if !is_started(buildlet, id).await? {
            let never = |end| Ok((end, Some(Duration::ZERO), Before::new()));
            if self.ordered.contains(id) {
                return never(UnitEnd::Exited(ExecOutcome::Killed));
            }
            if let Some(missing) = self.put_trees(held, build, &asked.trees).await? {
                return never(UnitEnd::Exited(ExecOutcome::NotStarted(missing)));
            }
            if let Some(url) = &asked.url {
                exec.env.insert(0, format!("FARMER_URL={url}"));
            }
            let mut preamble = preamble_of(held, &asked.toolchain, asked.is_list, log);
            let equipped = self.equip(held, &mut exec, &asked.toolchain, &mut preamble);
            if let Some(missing) = equipped.await? {
                return never(UnitEnd::MissingTool(missing));
            }
            shorten(buildlet, &mut exec, id).await?;
            before = reports::listed(buildlet, &asked.reports).await?;
            if let Some(tool) = missing_tool(buildlet, &exec, tools).await? {
                return never(UnitEnd::MissingTool(tool));
            }
            begun = Some(Instant::now());
            buildlet.start(exec).await?;
        }
        // The order may have come while it was being started.
        if self.ordered.contains(id) {
            buildlet.kill(id).await?;
        }
        let mut preamble = preamble_of(held, &asked.toolchain, asked.is_list, log);
        let before_output = preamble.before_output().await?;
        let outcome = follow_output(held, id, log, before_output).await?;
        let took = begun.map(|begun| begun.elapsed());
        if let (ExecOutcome::NotStarted(_), Some(shell)) = (&outcome, shell)
            && !can_start(buildlet, &shell).await?
        {
            let missing = format!("the shell {}", shell.cmd);
            return Ok((UnitEnd::MissingTool(missing), took, before));
        }
        Ok((UnitEnd::Exited(outcome), took, before))
    }

    /// What the step of a unit asks for beside its command.
    async fn asked(&self, build: &BuildId, unit: &Unit) -> Result<Asked> {
        let plan = self.plan_of(build).await?;
        let mut asked = Asked {
            url: self
                .address
                .as_ref()
                .map(|at| format!("{at}/builds/{build}")),
            ..Asked::default()
        };
        let steps = plan.into_iter().flat_map(|plan| plan.steps);
        if let Some(step) = steps.into_iter().find(|step| step.name == unit.step) {
            if unit.part != Part::List {
                asked.salvaged = step.artifacts_of(false).to_vec();
                asked.reports = step.reports;
            }
            asked.is_list = unit.part == Part::List;
            asked.toolchain = step.toolchain;
            asked.trees = step.inputs;
        }
        Ok(asked)
    }

    pub(super) async fn kill(&self, lease: &LeaseId, exec: &ExecId) -> Result<Reply> {
        let held = self.leases.find(lease)?;
        self.ordered.insert(exec);
        match held.buildlet().kill(exec).await {
            // Not started yet: then it will not be.
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Reply::Killed),
            Err(error) => Err(error),
            Ok(()) => Ok(Reply::Killed),
        }
    }

    async fn listing(&self, build: &BuildId, unit: &Unit, id: &ExecId) -> Result<Listing> {
        let mut output = self.logs.read(build, id, 0, false).await?;
        let mut text = Vec::new();
        while let Some(piece) = output.try_next().await? {
            text.extend_from_slice(&piece);
            if text.len() > MAX_LISTING {
                let text = format!("{unit} printed more than {MAX_LISTING} bytes of test names");
                return Err(Error::new(ErrorKind::Invalid, text)
                    .with_hint("let its \"tests\" print less: packages, say, and not each test"));
            }
        }
        Ok(Listing {
            text,
            past: self.past(build, unit).await?,
        })
    }

    /// How long tests took before: each test of a shard its share of the shard.
    async fn past(&self, build: &BuildId, unit: &Unit) -> Result<Durations> {
        let records = self.store.records();
        let Some(row) = records.build(build).await? else {
            return Ok(Durations::default());
        };
        let shards = 16 * PAST_BUILDS;
        let timings = records
            .timings(&row.item.repo, &row.builder, &unit.step, shards)
            .await?;
        let mut builds: Vec<BuildId> = timings.into_iter().map(|timing| timing.build).collect();
        builds.dedup();
        let mut samples = Vec::new();
        for past in builds.iter().take(PAST_BUILDS) {
            let events = self
                .store
                .events()
                .read_stream(&past.into(), Version(0), usize::MAX)
                .await?;
            samples.extend(shares(&events, unit));
        }
        Ok(Durations::of_samples(samples))
    }
}

/// What each test of a step took in one build, as far as its shards passed.
fn shares(events: &[Recorded], of: &Unit) -> Vec<(Name, Duration)> {
    let mut given: Vec<(Unit, Vec<Name>)> = Vec::new();
    let mut samples = Vec::new();
    for recorded in events {
        match recorded.read() {
            Some(BuildEvent::Started { unit, tests, .. }) if unit.step == of.step => {
                given.push((unit, tests));
            }
            Some(BuildEvent::Ended {
                unit,
                end: UnitEnd::Exited(ExecOutcome::Ok),
                took,
                ..
            }) => {
                let tests = given.iter().rev().find(|(started, _)| *started == unit);
                let tests = tests.map_or(&[][..], |(_, tests)| tests);
                let share = took / u32::try_from(tests.len()).unwrap_or(u32::MAX).max(1);
                samples.extend(tests.iter().map(|test| (test.clone(), share)));
            }
            _ => {}
        }
    }
    samples
}

async fn is_started(buildlet: &dyn Buildlet, id: &ExecId) -> Result<bool> {
    match buildlet.exec_status(id).await {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// What a step asks for beside its command.
#[derive(Default)]
struct Asked {
    reports: Vec<String>,
    /// Files that are kept when it fails.
    salvaged: Vec<String>,
    toolchain: BTreeMap<String, String>,
    /// Whether its output is a list of tests.
    is_list: bool,
    /// Trees of earlier steps.
    trees: Vec<StepInput>,
    /// The page of its build.
    url: Option<String>,
}

/// Follows the output into the log, from where the log ends, over broken connections. The first bytes
/// of the log may be none of the output.
async fn follow_output(
    held: &Held,
    id: &ExecId,
    log: &mut OpenLog,
    before_output: u64,
) -> Result<ExecOutcome> {
    let mut reached = Instant::now();
    loop {
        let before = log.len();
        let error = match held.buildlet().attach(id, before - before_output).await {
            Ok(stream) => match copy(stream, log).await {
                Ok(outcome) => return Ok(outcome),
                Err(error) => error,
            },
            Err(error) => error,
        };
        if log.len() > before {
            reached = Instant::now();
        }
        let out_of_reach = reached.elapsed();
        let given_up = !error.kind().is_retryable()
            || match lease_holds(held).await {
                // A machine that may come back is waited for as long as its lease lasts.
                Some(holds) => !holds || out_of_reach > LONGEST_OUT_OF_REACH,
                None => out_of_reach > OUT_OF_REACH,
            };
        if given_up {
            return Err(error.while_doing(format!("follow the output of {id}")));
        }
        sleep(REACH_AGAIN).await;
    }
}

/// A pool may know what the connection does not tell: the machine has ended, or is ours still
/// though it is away. `None`: nobody knows.
async fn lease_holds(held: &Held) -> Option<bool> {
    match timeout(REACH, held.lease.renew(LEASE_TTL)).await {
        Ok(Ok(())) => Some(true),
        Ok(Err(error)) if is_final(&error) => Some(false),
        _ => None,
    }
}

async fn copy(mut stream: ExecStream, log: &mut OpenLog) -> Result<ExecOutcome> {
    while let Some(event) = stream.next().await {
        match event? {
            ExecEvent::Output(bytes) => append(log, &bytes).await?,
            ExecEvent::Ended(outcome) => return Ok(outcome),
        }
    }
    let text = "the output ended before the command did";
    Err(Error::new(ErrorKind::Unavailable, text))
}

/// Appends, and waits for room on a full disk; the output stays on the machine meanwhile.
pub(super) async fn append(log: &mut OpenLog, bytes: &[u8]) -> Result<()> {
    let begin = Instant::now();
    let mut told = false;
    loop {
        match log.append(bytes) {
            Err(error) if error.kind() == ErrorKind::Limit && begin.elapsed() < DISK_FULL => {
                if !std::mem::replace(&mut told, true) {
                    tracing::error!(
                        error = error.chain(),
                        "no room for output: waiting for some"
                    );
                }
                sleep(Duration::from_secs(1)).await;
            }
            done => return done,
        }
    }
}
