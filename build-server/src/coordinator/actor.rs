//! The task that owns the dispatcher: takes what happened, appends, has commands carried out.

use std::collections::HashSet;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use build_core::clock::{Clock, Timestamp};
use build_core::dispatch::{Dispatcher, Effect, Failure, Input, LEASE_MEMOS, SESSION_TTL};
use build_core::engine::{Command, CommandKey, Repro};
use build_core::event::{
    Batch, MemoKey, Principal, Seq, StreamId, StreamKind, Version, WishedBuild,
};
use build_core::ids::{BuildId, HolderId, SessionId, WishKey};
use build_core::machine::MACHINE_MEMOS;
use build_core::pool::Pool;
use build_core::schedule::{Account, Allotment, Machine};
use build_core::wish::{Wish, WishState};
use build_core::{Error, ErrorKind, Result};
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tokio_util::sync::CancellationToken;

use super::figures::{Figures, Note};
use super::handle::{LeaseAnswer, Request, Which, session_ended};
use super::session::{Held, renew};
use super::status::{FarmStatus, Waiting};
use crate::run::{RENEW_EVERY, Runner, Silent};
use crate::store::{Ledger, again};
use crate::supervise::Supervisor;

/// Answers that wait for the dispatcher; commands that end meanwhile wait with theirs.
const ANSWERS: usize = 1024;
/// How often pools are asked which machines they have.
const LOOK_AT_POOLS: Duration = Duration::from_secs(1);

/// The kinds of streams that the dispatcher appends to, and nobody else.
const OWN_KINDS: [StreamKind; 3] = [StreamKind::BUILD, StreamKind::SESSION, StreamKind::WISH];

/// The dispatcher and everything it acts through.
pub(super) struct Actor {
    pub(super) dispatcher: Dispatcher,
    /// How machines are shared out at first.
    pub(super) allotment: Allotment,
    /// How long machines may take to be given back at a stop.
    pub(super) wind_down: Duration,
    pub(super) runner: Runner,
    pub(super) ledger: Ledger,
    pub(super) figures: Figures,
    pub(super) pools: Vec<Arc<dyn Pool>>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) tasks: Supervisor,
    /// Dropped at the end, which ends whoever follows.
    pub(super) _alive: watch::Sender<()>,
}

pub(super) struct Turning {
    pub(super) actor: Actor,
    answers: mpsc::Sender<Input>,
    /// Commands that are being carried out.
    active: HashSet<CommandKey>,
    append: Option<BoxFuture<'static, Appended>>,
    /// Wishes that are not durable yet, with their builds, and who waits for it.
    asked: Vec<Asked>,
    /// What was done with machines and is not durable yet, and who waits for it.
    pub(super) changing: Vec<(u64, oneshot::Sender<Result<()>>)>,
    /// Sessions whose machines are not ready yet, and who waits for them.
    opening: Vec<(SessionId, LeaseAnswer)>,
    wake: Option<Instant>,
    pub(super) accounts: Vec<Account>,
    pub(super) machines: Vec<Machine>,
    /// When an append failed for the first time of those since the last one that did not.
    stalled_since: Option<Timestamp>,
    failed: Option<Error>,
}

/// Somebody who waits for a wish to be durable.
struct Asked {
    key: WishKey,
    builds: Vec<WishedBuild>,
    answer: oneshot::Sender<Result<Vec<WishedBuild>>>,
}

/// How an append went.
struct Appended {
    batch: u64,
    begun: Vec<StreamId>,
    notes: Vec<Note>,
    end: Result<Seq>,
}

impl Actor {
    /// Goes on with the open builds, then serves requests until `soon` is canceled and all
    /// machines are given back, or until `now` is canceled.
    pub(super) async fn run(
        self,
        mut requests: mpsc::Receiver<Request>,
        soon: CancellationToken,
        now: CancellationToken,
    ) -> Result<()> {
        let (answers, mut answered) = mpsc::channel(ANSWERS);
        let pools = self.pools.clone();
        let mut turning = Turning {
            actor: self,
            answers,
            active: HashSet::new(),
            append: None,
            asked: Vec::new(),
            changing: Vec::new(),
            opening: Vec::new(),
            wake: None,
            accounts: Vec::new(),
            machines: Vec::new(),
            stalled_since: None,
            failed: None,
        };
        turning.restore().await?;
        turning.start_renewing();
        let mut look = interval(LOOK_AT_POOLS);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut deadline: Option<Instant> = None;
        while turning.goes_on(deadline) {
            let wake = turning.wake;
            tokio::select! {
                biased;
                () = now.cancelled() => break,
                () = soon.cancelled(), if deadline.is_none() => {
                    deadline = Some(Instant::now() + turning.actor.wind_down);
                    turning.take(Input::Stop);
                }
                appended = turning.appended() => turning.record(appended),
                Some(input) = answered.recv() => turning.answer(input),
                Some(request) = requests.recv(), if deadline.is_none() => turning.request(request),
                () = until(wake) => {
                    turning.wake = None;
                    turning.take(Input::Tick);
                }
                _ = look.tick() => turning.look_at_pools(),
                () = changed(&pools) => turning.look_at_pools(),
                () = until(deadline) => {
                    let kept = turning.actor.dispatcher.kept();
                    turning.actor.runner.let_go(&kept);
                    break;
                }
            }
        }
        if deadline.is_some() && turning.failed.is_none() {
            turning.leave().await;
        }
        turning.failed.map_or(Ok(()), Err)
    }
}

/// Waits until some pool has other machines.
async fn changed(pools: &[Arc<dyn Pool>]) {
    if pools.is_empty() {
        return std::future::pending().await;
    }
    futures::future::select_all(pools.iter().map(|pool| pool.changed())).await;
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

impl Turning {
    /// While nothing has failed and, at a stop, something is left to do.
    fn goes_on(&self, deadline: Option<Instant>) -> bool {
        let stopped =
            deadline.is_some() && self.append.is_none() && self.actor.dispatcher.is_idle();
        self.failed.is_none() && !stopped
    }

    /// Machines of open sessions wait for the next process as long as sessions do.
    fn leave(&self) -> impl Future<Output = ()> + Send + use<> {
        // Nobody else renews them any more, for less.
        self.actor.tasks.token().cancel();
        let (runner, kept) = (self.actor.runner.clone(), self.actor.dispatcher.kept());
        async move { runner.leave(&kept, SESSION_TTL).await }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.actor.clock.now()
    }

    async fn restore(&mut self) -> Result<()> {
        // First, so that nobody else writes after this was read.
        match self.actor.ledger.begin().await {
            Err(error) if error.kind() != ErrorKind::Limit => return Err(error),
            // The disk is full: until there is room nothing is written, nor anything begun.
            _ => {}
        }
        let log = self.actor.ledger.events().clone();
        let events = log.read_open(&OWN_KINDS).await?;
        let mut memos = log.memos(&MemoKey::new(LEASE_MEMOS)?).await?;
        memos.extend(log.memos(&MemoKey::new(MACHINE_MEMOS)?).await?);
        let notes = events.iter().filter_map(Note::recorded);
        self.actor.figures.restore(notes);
        let now = self.now();
        self.take(Input::Allot(self.actor.allotment));
        self.look_at_pools();
        let restored = self.actor.dispatcher.restore(events, memos, now);
        for damaged in &restored.damaged {
            tracing::error!(error = damaged.chain(), "a build is left alone");
        }
        self.act(restored.effects);
        Ok(())
    }

    fn start_renewing(&self) {
        let (runner, answers) = (self.actor.runner.clone(), self.answers.clone());
        let token = self.actor.tasks.token().clone();
        let renewing = async move {
            let mut rounds = interval(RENEW_EVERY);
            rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut silent = Silent::default();
            loop {
                rounds.tick().await;
                for lost in runner.renew_all(&mut silent).await {
                    // The dispatcher has ended, and with it this task soon.
                    let _ = answers.send(lost).await;
                }
            }
        };
        self.actor.tasks.spawn("renew", async move {
            token.run_until_cancelled(renewing).await;
        });
    }

    pub(super) fn take(&mut self, input: Input) {
        let now = self.now();
        let effects = self.actor.dispatcher.handle(input, now);
        self.act(effects);
        self.hand_over();
    }

    /// Gives sessions that are ready, or have ended, to whoever opened them.
    pub(super) fn hand_over(&mut self) {
        let (dispatcher, runner) = (&self.actor.dispatcher, &self.actor.runner);
        let state = |session: &SessionId| match dispatcher.build(&session.into()) {
            None => Some(Err(not_open(&session.into()))),
            Some(state) => match (state.outcome(), dispatcher.session_machine(session)) {
                (Some(outcome), _) => Some(Err(session_ended(session, outcome))),
                (None, Some(lease)) => Some(runner.lease(lease)),
                (None, None) => None,
            },
        };
        let mut waiting = Vec::new();
        for (session, answer) in self.opening.drain(..) {
            match state(&session) {
                // Whoever asked may have gone; then nobody renews the session, and it is closed.
                Some(ready) => drop(answer.send(ready)),
                None => waiting.push((session, answer)),
            }
        }
        self.opening = waiting;
    }

    fn renew_session(&self, session: SessionId, held: Held) {
        let renewing = renew(session, held, self.answers.clone());
        let token = self.actor.tasks.token().clone();
        self.actor.tasks.spawn("session", async move {
            token.run_until_cancelled(renewing).await;
        });
    }

    pub(super) fn act(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Append { batch, append } => self.begin_append(batch, append),
                Effect::Do(command, limit) => self.carry_out(*command, limit),
                Effect::WakeAt(time) => {
                    self.wake = Some(Instant::now() + time.since(self.now()));
                }
                other => tracing::error!(effect = ?other, "no way to carry this out"),
            }
        }
    }

    fn begin_append(&mut self, number: u64, batch: Batch) {
        let ledger = self.actor.ledger.clone();
        let append = async move {
            let begins = |(stream, version): &(StreamId, Version)| match version {
                Version(0) => Some(stream.clone()),
                _ => None,
            };
            let begun = batch.expects.iter().filter_map(begins).collect();
            let notes = batch.events.iter().filter_map(Note::of).collect();
            let end = ledger.append(batch).await;
            Appended {
                batch: number,
                begun,
                notes,
                end,
            }
        };
        self.append = Some(append.boxed());
    }

    async fn appended(&mut self) -> Appended {
        match &mut self.append {
            Some(append) => {
                let appended = append.await;
                self.append = None;
                appended
            }
            None => std::future::pending().await,
        }
    }

    fn record(&mut self, appended: Appended) {
        let Appended {
            batch,
            begun,
            notes,
            end,
        } = appended;
        match end {
            Ok(_) => {
                if let Some(since) = self.stalled_since.take() {
                    tracing::info!(%since, "what happens is recorded again");
                }
                self.actor.figures.count(notes);
                self.answer_those_who_asked(&begun);
                self.take(Input::Recorded { batch });
                self.answer_changes();
            }
            Err(error) => self.not_recorded(batch, &error),
        }
    }

    /// The events are not in the log, unless somebody else writes there too.
    fn not_recorded(&mut self, batch: u64, error: &Error) {
        if error.kind() == ErrorKind::Conflict {
            self.failed = Some(again(error).while_doing("record what happened"));
            return;
        }
        tracing::error!(error = error.chain(), "cannot record, nothing new begins");
        let text = error.chain();
        let now = self.now();
        self.stalled_since.get_or_insert(now);
        self.take(Input::AppendFailed { batch, text });
    }

    fn answer_those_who_asked(&mut self, begun: &[StreamId]) {
        let is_new = |asked: &mut Asked| begun.contains(&StreamId::from(asked.key));
        for asked in self.asked.extract_if(.., is_new) {
            // Whoever asked may have gone; the wish stays.
            let _ = asked.answer.send(Ok(asked.builds));
        }
    }

    fn carry_out(&mut self, command: Command, limit: Duration) {
        let key = command.key();
        if !self.active.insert(key.clone()) {
            return;
        }
        self.actor.runner.expect(&command);
        let (runner, answers) = (self.actor.runner.clone(), self.answers.clone());
        let token = self.actor.tasks.token().clone();
        let work = async move {
            let done = AssertUnwindSafe(runner.carry_out(command, limit)).catch_unwind();
            let input = done.await.unwrap_or_else(|_| panicked(key));
            // The dispatcher has ended: the next one asks again.
            let _ = answers.send(input).await;
        };
        self.actor.tasks.spawn("command", async move {
            token.run_until_cancelled(work).await;
        });
    }

    fn answer(&mut self, input: Input) {
        if let Input::Done(key, _) | Input::Failed(key, _) = &input {
            self.active.remove(key);
        }
        self.take(input);
    }

    fn request(&mut self, request: Request) {
        match request {
            Request::Ask {
                wish,
                drawn,
                answer,
            } => self.ask(wish, drawn, answer),
            Request::Wishes { which, answer } => {
                // Whoever asked may have gone.
                let _ = answer.send(self.wishes(&which));
            }
            Request::Withdraw { key, by, answer } => {
                let withdrawn = self.withdraw(key, by);
                // Whoever asked may have gone.
                let _ = answer.send(withdrawn);
            }
            Request::OpenSession {
                session,
                builder,
                by,
                name,
                held,
                answer,
            } => {
                self.opening.push((session.clone(), answer));
                self.renew_session(session.clone(), held);
                self.take(Input::OpenSession {
                    session,
                    builder,
                    by,
                    name,
                });
            }
            Request::TakeUpSession {
                session,
                held,
                answer,
            } => {
                self.opening.push((session.clone(), answer));
                self.renew_session(session.clone(), held);
                self.take(Input::RenewSession { session });
            }
            Request::Machine {
                machine,
                change,
                answer,
            } => self.change_machine(&machine, change, answer),
            Request::Allot(allotment) => self.take(Input::Allot(allotment)),
            Request::CloseSession { session } => self.take(Input::CloseSession { session }),
            Request::FillSession {
                session,
                build,
                repro,
                answer,
            } => self.fill(&session, build, repro, answer),
            Request::Cancel { build, by, answer } => {
                let canceled = self.cancel(build, by);
                // Whoever asked may have gone.
                let _ = answer.send(canceled);
            }
            Request::Explain { build, answer } => {
                // Whoever asked may have gone.
                let _ = answer.send(self.explain(&build));
            }
            Request::Status { answer } => {
                let status = FarmStatus {
                    machines: self.actor.pools.iter().flat_map(|p| p.status()).collect(),
                    accounts: self.accounts_in_use(),
                    records: self.actor.dispatcher.records().all().cloned().collect(),
                    stalled: self.actor.dispatcher.stalled().map(str::to_owned),
                    stalled_since: self.stalled_since,
                    misconfigured: None,
                    set_aside: (self.actor.pools.iter())
                        .flat_map(|pool| pool.set_aside())
                        .collect(),
                    lost: Vec::new(),
                };
                // Whoever asked may have gone.
                let _ = answer.send(status);
            }
        }
    }

    fn fill(
        &self,
        session: &SessionId,
        build: BuildId,
        repro: Box<Repro>,
        answer: oneshot::Sender<Result<Vec<String>>>,
    ) {
        let Some(lease) = self.actor.dispatcher.session_machine(session).cloned() else {
            // Whoever asked may have gone.
            let _ = answer.send(Err(not_open(&session.into())));
            return;
        };
        let runner = self.actor.runner.clone();
        let token = self.actor.tasks.token().clone();
        self.actor.tasks.spawn("fill", async move {
            let filled = token.run_until_cancelled(runner.fill(&lease, &build, &repro));
            if let Some(filled) = filled.await {
                // As above.
                let _ = answer.send(filled);
            }
        });
    }

    fn explain(&self, build: &HolderId) -> Result<Vec<Waiting>> {
        let now = self.now();
        let dispatcher = &self.actor.dispatcher;
        dispatcher.build(build).ok_or_else(|| not_open(build))?;
        let waiting = dispatcher.explain(build, now).into_iter();
        Ok(waiting.map(|(unit, why)| Waiting { unit, why }).collect())
    }

    fn ask(
        &mut self,
        wish: Box<Wish>,
        drawn: Vec<BuildId>,
        answer: oneshot::Sender<Result<Vec<WishedBuild>>>,
    ) {
        let key = wish.key;
        if self.actor.dispatcher.knows_wish(key) {
            // Asked for before: there is nothing to wait for. Whoever asked may have gone.
            let _ = answer.send(Ok(Vec::new()));
            return;
        }
        let now = self.now();
        let effects = self
            .actor
            .dispatcher
            .handle(Input::Ask { wish, drawn }, now);
        let state = self.actor.dispatcher.wish(key);
        let builds = state.map(|state| state.builds().cloned().collect());
        self.asked.push(Asked {
            key,
            builds: builds.unwrap_or_default(),
            answer,
        });
        self.act(effects);
        self.hand_over();
    }

    fn wishes(&self, which: &Which) -> Vec<WishState> {
        let dispatcher = &self.actor.dispatcher;
        match which {
            Which::All => dispatcher.open_wishes().cloned().collect(),
            Which::Of(build) => dispatcher.wishes_for(build).cloned().collect(),
            Which::One(key) => dispatcher.wish(*key).cloned().into_iter().collect(),
        }
    }

    fn withdraw(&mut self, key: WishKey, by: Principal) -> Result<()> {
        if self.actor.dispatcher.wish(key).is_none() {
            let text = format!("wish {key} is not open");
            return Err(Error::new(ErrorKind::NotFound, text));
        }
        self.take(Input::Withdraw { key, by });
        Ok(())
    }

    fn cancel(&mut self, build: HolderId, by: Principal) -> Result<()> {
        let state = self.actor.dispatcher.build(&build);
        if state.is_none_or(|state| state.outcome().is_some()) {
            return Err(not_open(&build));
        }
        self.take(Input::Cancel { build, by });
        Ok(())
    }
}

fn not_open(build: &HolderId) -> Error {
    let what = build.what();
    let text = format!("{what} {build} is not running or waiting");
    Error::new(ErrorKind::NotFound, text)
}

fn panicked(key: CommandKey) -> Input {
    let failure = Failure::from(&Error::new(ErrorKind::Bug, "the command panicked"));
    Input::Failed(key, failure)
}
