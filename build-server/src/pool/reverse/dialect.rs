//! What machines say at the front door: `/reverse` and `/revdial`.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use build_client::transport::TokioTimer;
use build_core::buildlet::{Buildlet as _, Status};
use build_core::h1::io::Server;
use build_core::h1::{Limits, RequestHead, ResponseHead};
use build_core::ids::Nonce;
use build_core::revdial::DialerId;
use build_core::revdial::io::Ready;
use build_core::schedule::Labels;
use build_core::{Error, ErrorKind};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::doorman::{Applicant, Pass};
use super::line::{Connected, Fetched, Line};
use super::machine::{Hold, Life};
use super::registration::{OLDEST_VERSION, Refusal, Registration};
use super::table::Refused;
use crate::front::{Dialect, Peer, Stream};
use crate::pool::Undetached;

/// Where machines fetch connections.
const MOUNT: &str = "/revdial";
/// Where they register.
const REGISTER: &str = "/reverse";
/// For the head of a request, and for an answer to leave.
const HEAD: Duration = Duration::from_secs(10);
/// For the first sign of life.
const FIRST_SIGN: Duration = Duration::from_secs(20);
/// For a machine whose name another one claims to say that it is still there.
const STILL_THERE: Duration = Duration::from_secs(3);
/// Connections made ahead for each machine in use, and how long they wait: not as long as a buildlet
/// waits for the first word on one.
const READY: usize = 2;
const READY_AGE: Duration = Duration::from_secs(5);
/// Why a machine is given up that does not answer.
const NO_SIGN: &str = "no sign of life";

/// The machines' part of the front door.
#[derive(Clone)]
pub struct ReverseDialect(Arc<Shared>);

impl ReverseDialect {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self(shared)
    }
}

#[async_trait]
impl Dialect for ReverseDialect {
    fn takes(&self, head: &RequestHead) -> bool {
        matches!(head.path(), MOUNT | REGISTER)
    }

    async fn serve(&self, stream: Stream, peer: Peer) {
        let mut server = Server::new(stream, Limits::default());
        // Small boxed futures: thousands of machines rest in this one.
        let Ok(Ok(Some(exchange))) = timeout(HEAD, server.next()).await else {
            return;
        };
        let welcome = ResponseHead::new(101);
        if exchange.head().path() == MOUNT {
            match self.0.registry.pick_up(exchange.head(), peer.encrypted) {
                Ok(reserved) => {
                    let switched = exchange.switch_protocols(&welcome);
                    if matches!(timeout(HEAD, switched).await, Ok(Ok(_))) {
                        // One that was given up meanwhile is closed.
                        drop(reserved.deliver(server.into_stream()));
                    }
                }
                Err(refusal) => {
                    let text = format!("{}\n", refusal.text());
                    let answer = exchange.respond(refusal.head(), text.as_bytes());
                    // Whoever does not take the answer will not miss it.
                    drop(timeout(HEAD, answer).await);
                }
            }
            return;
        }
        let judged = Box::pin(self.0.judge(exchange.head(), peer)).await;
        match judged {
            Ok(registration) => {
                let switched = exchange.switch_protocols(&welcome);
                if matches!(timeout(HEAD, switched).await, Ok(Ok(_))) {
                    let (registration, pass) = *registration;
                    let stream = server.into_stream();
                    Box::pin(self.0.attend(registration, pass, stream, peer)).await;
                }
            }
            Err(refusal) => {
                let answer = exchange.refuse(refusal.status, &refusal.text);
                // Whoever does not take the answer will not miss it.
                drop(timeout(HEAD, answer).await);
            }
        }
    }
}

impl Shared {
    /// Whether a machine may come in.
    async fn judge(
        &self,
        head: &RequestHead,
        peer: Peer,
    ) -> Result<Box<(Registration, Pass)>, Refusal> {
        let field = |name: &str| head.headers().get_str(name).unwrap_or_default();
        let judged = self.judge_quietly(head, peer).await;
        if let Err((refusal, why)) = &judged {
            // What a stranger says is cut to a bearable length.
            let short = |text: &str| text.chars().take(80).collect::<String>();
            let host = short(field(build_client::reverse::header::HOST_NAME));
            let host_type = short(field(build_client::reverse::header::HOST_TYPE));
            tracing::warn!(host, host_type, address = %peer.address, status = refusal.status, why, "machine refused");
            self.table().refuse(Refused {
                at: self.clock.now(),
                host,
                host_type,
                address: peer.address.ip(),
                why: why.clone(),
                count: 1,
            });
        }
        judged.map_err(|(refusal, _)| refusal)
    }

    /// The answer, and what the log is told.
    async fn judge_quietly(
        &self,
        head: &RequestHead,
        peer: Peer,
    ) -> Result<Box<(Registration, Pass)>, (Refusal, String)> {
        let registration = Registration::read(head, peer.encrypted).map_err(|refusal| {
            let why = refusal.text.clone();
            (refusal, why)
        })?;
        let applicant = Applicant {
            host: &registration.host,
            host_type: registration.host_type.as_str(),
            key: head
                .headers()
                .get_str(build_client::reverse::header::KEY)
                .unwrap_or_default(),
            peer,
        };
        let pass = self
            .doorman
            .may_register(applicant)
            .await
            .map_err(|error| {
                let refusal = match error.kind() {
                    ErrorKind::Denied => Refusal::new(412, "invalid build key"),
                    _ => Refusal::new(503, "cannot tell now whether this key is right"),
                };
                (refusal, error.chain())
            })?;
        let other = self.table().find(&registration.id);
        let Some(other) = other.filter(|other| other.is_connected()) else {
            return Ok(Box::new((registration, pass)));
        };
        let same = other.registration.instance.is_some()
            && other.registration.instance == registration.instance;
        if same {
            return Ok(Box::new((registration, pass)));
        }
        if matches!(timeout(STILL_THERE, other.client.status()).await, Ok(Ok(_))) {
            let from = other.line.connected().map(|c| c.address.ip().to_string());
            let text = format!(
                "a machine named {} is connected already, from {}: give this one another name",
                registration.id,
                from.unwrap_or_default()
            );
            return Err((Refusal::new(409, text.clone()), text));
        }
        other.end("it did not answer when its name was claimed");
        Ok(Box::new((registration, pass)))
    }

    /// Serves a machine's control connection to its end.
    async fn attend(
        self: &Arc<Self>,
        registration: Registration,
        pass: Pass,
        io: Fetched,
        peer: Peer,
    ) {
        let mut random = [0; 16];
        if getrandom::fill(&mut random).is_err() {
            tracing::error!("the system gives no random numbers: no machine can register");
            return;
        }
        let id = DialerId::from_entropy(random);
        let (dialer, control) = self.registry.dialer(io, id, MOUNT, Arc::new(TokioTimer));
        let (ready, refill) = Ready::new(dialer.clone(), READY, READY_AGE);
        let connected = Connected {
            dialer,
            ready,
            cut: CancellationToken::new(),
            address: peer.address,
        };
        let cut = connected.cut.clone();
        let name = registration.id.clone();
        let why = tokio::select! {
            error = control.run() => error.to_string(),
            error = refill.run() => error.to_string(),
            why = Box::pin(self.tend(registration, pass, connected)) => why,
            () = cut.cancelled() => "another connection has taken its place".to_owned(),
        };
        cut.cancel();
        self.left(&name, &cut, &why);
    }

    /// Brings a machine into the table, then looks after it; the answer is why no longer.
    async fn tend(
        self: &Arc<Self>,
        registration: Registration,
        pass: Pass,
        connected: Connected,
    ) -> String {
        let address = connected.address;
        let life = match self.enter(registration, pass, connected).await {
            Ok(life) => life,
            Err(why) => return why,
        };
        self.watch();
        {
            let (now, id) = (self.clock.now(), &life.registration.id);
            let mut table = self.table();
            table.registered(&life.registration, address.ip(), now);
            table.note(id, now, format!("registered from {}", address.ip()));
        }
        tracing::info!(machine = life.name(), %address, version = life.registration.version, "machine registered");
        self.changed();
        loop {
            let random = f64::from(getrandom::u32().unwrap_or(0)) / f64::from(u32::MAX);
            sleep(self.timing.health.mul_f64(1.0 + 0.4 * random)).await;
            match timeout(self.timing.answer, life.client.status()).await {
                Ok(Ok(status)) => self.looked(&life, &status),
                Ok(Err(error)) => return format!("{NO_SIGN}: {}", error.chain()),
                Err(_) => {
                    let limit = self.timing.answer.as_secs_f64();
                    return format!("{NO_SIGN} in {limit} s");
                }
            }
        }
    }

    /// A foreign lease may have run out without an end of the life: it never began there.
    fn looked(&self, life: &Life, status: &Status) {
        let is_foreign = matches!(life.state().hold, Hold::Foreign);
        if is_foreign && !status.leased {
            life.set_hold(Hold::Idle);
            self.changed();
        }
    }

    async fn enter(
        self: &Arc<Self>,
        registration: Registration,
        pass: Pass,
        connected: Connected,
    ) -> Result<Arc<Life>, String> {
        let known = self.table().find(&registration.id);
        let same = known.filter(|life| {
            !life.over.is_cancelled()
                && registration.instance.is_some()
                && life.registration.instance == registration.instance
        });
        let (line, client) = match &same {
            Some(life) => (life.line.clone(), life.client.clone()),
            None => {
                let line = Line::new(&registration.host);
                let client = Life::client(&line, registration.id.as_str(), &self.timing);
                (line, client)
            }
        };
        line.connect(connected);
        let status = match timeout(FIRST_SIGN, client.status()).await {
            Ok(Ok(status)) if status.version >= OLDEST_VERSION => status,
            Ok(Ok(status)) => {
                return Err(format!(
                    "its buildlet has version {}, too old",
                    status.version
                ));
            }
            Ok(Err(error)) => return Err(format!("no first sign of life: {}", error.chain())),
            Err(_) => return Err("no first sign of life in time".into()),
        };
        let life = match same {
            Some(life) => life,
            None => self.new_life(registration, line, &status, client)?,
        };
        {
            let mut state = life.state();
            state.connected = Some(Instant::now());
            state.pass = Some(pass);
        }
        let to_end = self.table().take_end(&life.registration.id);
        if let Some(nonce) = to_end {
            self.end_forgotten(&life, &nonce).await;
        }
        Ok(life)
    }

    fn new_life(
        self: &Arc<Self>,
        mut registration: Registration,
        line: Line,
        status: &Status,
        client: build_client::HttpBuildlet,
    ) -> Result<Arc<Life>, String> {
        let own = [&status.os, &status.arch]
            .into_iter()
            .filter(|text| !text.is_empty());
        let more = registration.labels.iter().chain(own.map(String::as_str));
        registration.labels = more.collect::<Labels>();
        let undetached = match status.detached {
            true => None,
            false => {
                let supervisor = self.supervisor.group(registration.id.to_string());
                let made = Undetached::new(client.clone(), supervisor, self.spool_dir.as_deref());
                Some(made.map_err(|error| error.chain())?)
            }
        };
        let life = Arc::new(Life::new(registration, line, undetached, status, client));
        let id = life.registration.id.clone();
        let mut table = self.table();
        match table.lives.get(&id) {
            // Two came at the same time.
            Some(other) if other.is_connected() => {
                return Err("another machine of this name was faster".into());
            }
            Some(other) => {
                other.end("it was started again: what ran on it has ended");
            }
            None => {}
        }
        table.lives.insert(id, Arc::clone(&life));
        Ok(life)
    }

    /// Ends a lease that was given back while the machine was away.
    async fn end_forgotten(&self, life: &Life, nonce: &Nonce) {
        let ended: Result<_, Error> = life.client.renew_lease(nonce, Duration::ZERO).await;
        if let Err(error) = ended {
            tracing::debug!(
                machine = life.name(),
                error = error.chain(),
                "an old lease ends by expiry"
            );
        }
    }

    /// A control connection has ended.
    fn left(&self, id: &build_core::ids::MachineId, cut: &CancellationToken, why: &str) {
        let life = self.table().find(id);
        // A machine that never came in, or that has come again meanwhile.
        let Some(life) = life.filter(|life| life.line.disconnect(cut)) else {
            tracing::debug!(machine = %id, why, "a connection of a machine has ended");
            return;
        };
        tracing::info!(machine = %id, why, "machine left");
        let (comes_back, is_failure) = {
            let mut state = life.state();
            state.connected = None;
            let is_held = matches!(state.hold, Hold::Held(..));
            let is_failure = is_held && !state.is_given_back || why.starts_with(NO_SIGN);
            (life.is_leasable && is_held, is_failure)
        };
        if !comes_back {
            life.end(why);
        }
        {
            let mut table = self.table();
            table.past.left(id, self.clock.now(), why, is_failure);
            table.sweep();
        }
        self.changed();
    }
}
