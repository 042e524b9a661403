//! Machines for people, over HTTP as in 2020, and over gRPC as in later years.

mod attacks;
mod go;
mod go_newest;
mod later_client;
mod long_runs;
mod resume;
mod rpc;
mod rpc_attacks;
mod served;
#[cfg(feature = "ssh")]
mod ssh;
mod use_of_machines;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use build_core::buildlet::{basic_auth, header};
use build_core::clock::{Clock, ManualClock, SystemClock, Timestamp};
use build_core::h1::io::{Body as _, Client, Duplex};
use build_core::h1::{Headers, Limits, RequestHead};
use build_core::key::MasterKey;
use build_core::work::Builder;
use build_server::coordinator::Coordinator;
use build_server::front::{Front, Services};
use build_server::gomote::{
    Gomote, GomoteService, ObjectLimits, Objects, PROTOS, Sessions, Settings,
};
use build_server::grpc::Methods;
use build_server::https::{Tls, development};
use build_server::ssh::Gateway;
use build_server::store::Store;
use build_server::supervise::Supervisor;
use build_server::who::{Directory, Options, Refusal, Role, SignedName, SignedTokens};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use self::served::ServedPool;
use crate::farm::Steps;
use crate::interop::trusting;

/// Nothing here takes this long.
const SOON: Duration = Duration::from_secs(60);
const BUILDER: &str = "linux-amd64-localdev";

/// A coordinator with a front door, and what a client needs to know.
struct Hall {
    address: SocketAddr,
    gomote: Gomote,
    stop: CancellationToken,
    running: JoinHandle<build_core::Result<()>>,
    tasks: Supervisor,
    dir: Arc<tempfile::TempDir>,
    /// What files on their way go by.
    clock: ManualClock,
}

/// What of it is open.
#[derive(Clone, Default)]
struct Doors {
    ssh: bool,
    /// Not the interface of 2020.
    later_alone: bool,
    /// What sessions go by; the system's clock when there is none.
    clock: Option<ManualClock>,
}

/// Small enough to be reached.
const OBJECTS: ObjectLimits = ObjectLimits {
    life: Duration::from_secs(600),
    object_bytes: 1 << 20,
    owner_bytes: 3 << 19,
    all_bytes: 2 << 20,
    per_owner: 10,
};

fn master() -> MasterKey {
    MasterKey::new("secret-master").unwrap()
}

fn directory() -> Directory {
    let options = Options::default().master(master());
    Directory::memory_with(options.signed_tokens(Provider))
}

/// Stands for an identity provider: its tokens are `signed.HEX.`, with a mail address in hex, for
/// a token has two dots; or what Go's client takes for a JWT, signed as [`jwt`] does.
struct Provider;

/// A token for a mail address that is good for an hour.
fn jwt(email: &str) -> String {
    use base64::Engine as _;
    let encode = |value: serde_json::Value| {
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(value.to_string())
    };
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let until = now.unwrap().as_secs() + 3600;
    let head = encode(serde_json::json!({"alg": "test", "typ": "JWT"}));
    let claims = encode(serde_json::json!({"email": email, "exp": until}));
    let signature = master().key_of(&format!("{head}.{claims}"));
    format!("{head}.{claims}.{signature}")
}

/// Whose token it is, when [`jwt`] has made it.
fn email_of(token: &str) -> Option<String> {
    use base64::Engine as _;
    let (signed, signature) = token.rsplit_once('.')?;
    let (_, claims) = signed.split_once('.')?;
    let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(claims)
        .ok()?;
    let claims: serde_json::Value = serde_json::from_slice(&claims).ok()?;
    let is_good = master().accepts(signed, signature);
    claims["email"]
        .as_str()
        .filter(|_| is_good)
        .map(str::to_owned)
}

#[async_trait]
impl SignedTokens for Provider {
    async fn verify(&self, token: &str, _: Timestamp) -> Result<SignedName, Refusal> {
        let user = token.strip_prefix("signed.");
        let user = user.and_then(|rest| hex::decode(rest.trim_end_matches('.')).ok());
        let user = user.and_then(|bytes| String::from_utf8(bytes).ok());
        let user = user.or_else(|| email_of(token));
        let user = user.ok_or(Refusal::Unknown)?;
        Ok(SignedName::new(user, Some(Role::User), Vec::new()))
    }
}

impl Hall {
    async fn start(pool: &ServedPool) -> Self {
        Self::start_with(pool, Store::memory(), Settings::default(), None).await
    }

    /// One whose gRPC service signs keys for a gateway; it listens at the port that is told.
    async fn start_with_ssh(pool: &ServedPool) -> (Self, Gateway, u16) {
        let settings = Settings::default();
        let doors = Doors {
            ssh: true,
            ..Doors::default()
        };
        let (hall, gateway) = Self::open(pool, Store::memory(), settings, None, doors).await;
        let gateway = gateway.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (tasks, stop) = (hall.tasks.group("ssh"), hall.stop.clone());
        let serving = gateway.clone().run(vec![listener], tasks, stop);
        hall.tasks.spawn("ssh", serving);
        (hall, gateway, port)
    }

    /// `at`: where an earlier one listened.
    async fn start_with(
        pool: &ServedPool,
        store: Store,
        settings: Settings,
        at: Option<(SocketAddr, Arc<tempfile::TempDir>)>,
    ) -> Self {
        let doors = Doors::default();
        Self::open(pool, store, settings, at, doors).await.0
    }

    async fn open(
        pool: &ServedPool,
        store: Store,
        settings: Settings,
        at: Option<(SocketAddr, Arc<tempfile::TempDir>)>,
        doors: Doors,
    ) -> (Self, Option<Gateway>) {
        let builder = Builder::new(BUILDER.parse().unwrap(), served::kind());
        let coordinator = Coordinator::builder()
            .pool(pool.clone())
            .recipe(Steps(vec![]))
            .build_on(builder)
            .store(store)
            .build()
            .unwrap();
        let handle = coordinator.handle();
        let stop = CancellationToken::new();
        let running = tokio::spawn(coordinator.run(stop.clone()));
        let tasks = Supervisor::new("hall");
        let clock: Arc<dyn Clock> = match doors.clock {
            Some(clock) => Arc::new(clock),
            None => Arc::new(SystemClock),
        };
        let sessions = Sessions::open_at(handle, settings, &tasks, clock).await;
        let sessions = sessions.unwrap();
        let directory = directory();
        let gomote = Gomote::new(sessions.clone(), directory.clone());
        let (at, dir) = match at {
            Some((at, dir)) => (at, dir),
            None => (
                SocketAddr::from(([127, 0, 0, 1], 0)),
                Arc::new(tempfile::tempdir().unwrap()),
            ),
        };
        let tls = Tls::new(development(dir.path(), &[]).unwrap().certificate().clone());
        let listener = TcpListener::bind(at).await.unwrap();
        let address = listener.local_addr().unwrap();
        let clock = ManualClock::at(Timestamp::from_seconds(1));
        let objects_dir = dir.path().join("objects");
        let objects =
            Objects::open_at(&objects_dir, OBJECTS, &tasks, Arc::new(clock.clone())).unwrap();
        let mut service = GomoteService::new(gomote.clone(), objects.clone()).unwrap();
        let gateway = doors.ssh.then(|| {
            let settings = build_server::ssh::Settings::default();
            Gateway::open(&dir.path().join("ssh"), sessions, directory, settings).unwrap()
        });
        if let Some(gateway) = &gateway {
            service = service.with_ssh(Arc::new(gateway.clone()));
        }
        let methods = Methods::new().with(service.into_server(), PROTOS);
        let services = match doors.later_alone {
            true => Services::new(),
            false => Services::new().with_dialect(gomote.clone()),
        };
        let services = services
            .with_pages(objects.router())
            .with_grpc(methods.into_router().await.unwrap());
        let front = Front::new(services).with_tls(tls);
        tasks.spawn("front", front.run(listener, stop.clone()));
        let hall = Self {
            address,
            gomote,
            stop,
            running,
            tasks,
            dir,
            clock,
        };
        (hall, gateway)
    }

    /// `kill -9`, as far as this process can do it to a part of itself.
    async fn kill(self) -> (SocketAddr, Arc<tempfile::TempDir>) {
        self.running.abort();
        // An aborted task says that it was.
        let _ = self.running.await;
        self.stop.cancel();
        // Connections are cut, however they stand.
        let _ = self.tasks.drain(Duration::ZERO).await;
        (self.address, self.dir)
    }

    async fn stop(self) {
        self.stop.cancel();
        let ended = tokio::time::timeout(SOON, self.running).await;
        ended.expect("it stops soon").unwrap().unwrap();
        self.tasks.drain(SOON).await.unwrap();
    }

    async fn connect(&self) -> Box<dyn Duplex> {
        let tcp = TcpStream::connect(self.address).await.unwrap();
        Box::new(
            trusting::connector()
                .connect(trusting::name(), tcp)
                .await
                .unwrap(),
        )
    }

    async fn ask(&self, head: RequestHead, body: Option<&[u8]>) -> Answer {
        let client = Client::new(self.connect().await, Limits::default());
        tokio::time::timeout(SOON, Answer::of(client, &head, body))
            .await
            .unwrap()
    }

    /// Asks for a machine as `user`, and gives its name.
    async fn create(&self, user: &str) -> String {
        let answer = self.try_create(user, BUILDER).await;
        let last = answer.text().lines().last().unwrap().to_owned();
        let line: serde_json::Value = serde_json::from_str(&last).unwrap();
        line["buildlet"]["Name"]
            .as_str()
            .unwrap_or_else(|| panic!("{last}"))
            .to_owned()
    }

    async fn try_create(&self, user: &str, builder: &str) -> Answer {
        let form = format!("version=20191119&builderType={builder}");
        self.ask(by(user, "POST", "/buildlet/create"), Some(form.as_bytes()))
            .await
    }

    async fn list(&self, user: &str) -> Vec<String> {
        let answer = self.ask(by(user, "GET", "/buildlet/list"), None).await;
        let list: serde_json::Value = serde_json::from_str(&answer.text()).unwrap();
        let name = |one: &serde_json::Value| one["Name"].as_str().unwrap().to_owned();
        list.as_array().unwrap().iter().map(name).collect()
    }

    async fn shell(&self, user: &str, name: &str, line: &str) -> Answer {
        let form = build_core::buildlet::Form::new()
            .with("cmd", "/bin/sh")
            .with("mode", "sys")
            .with("cmdArg", "-c")
            .with("cmdArg", line)
            .encode();
        let head = to(user, name, "POST", "/exec").with("Content-Type", header::FORM_TYPE);
        self.ask(head, Some(form.as_bytes())).await
    }
}

/// A request with the credentials of a user.
fn by(user: &str, method: &str, target: &str) -> RequestHead {
    let user = format!("user-{user}");
    let key = master().key_of(&user);
    RequestHead::new(method, target)
        .with("Host", "localhost")
        .with("Authorization", basic_auth(&user, &key))
}

/// A request to a machine.
fn to(user: &str, name: &str, method: &str, target: &str) -> RequestHead {
    by(user, method, target).with(header::BUILDLET_PROXY, name)
}

struct Answer {
    status: u16,
    headers: Headers,
    body: Vec<u8>,
    trailers: Headers,
}

impl Answer {
    async fn of(
        mut client: Client<Box<dyn Duplex>>,
        head: &RequestHead,
        body: Option<&[u8]>,
    ) -> Self {
        let mut answer = client.send(head, body).await.unwrap();
        let body = answer.read_all(64 << 20).await.unwrap().to_vec();
        Self {
            status: answer.status(),
            headers: answer.head().headers().clone(),
            body,
            trailers: answer.trailers().clone(),
        }
    }

    fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    fn refusal(&self) -> (u16, String) {
        (self.status, self.text().trim_end().to_owned())
    }

    fn state(&self) -> &str {
        self.trailers.get_str("Process-State").unwrap_or_default()
    }
}
