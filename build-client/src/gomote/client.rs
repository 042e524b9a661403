//! A coordinator that gives machines to people.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use build_core::buildlet::{Buildlet, COORDINATOR_VERSION, Form, Route, header};
use build_core::h1::io::{Body as _, Client, Rewind};
use build_core::h1::{Limits, RequestHead, ResponseHead};
use build_core::report::{IdentityProvider, IdentityProviders};
use serde::Deserialize;
use tokio::time::timeout;

use super::credentials::Credentials;
#[cfg(feature = "gomote-grpc")]
use super::later::Later;
use super::told::{Event, Listed, Reproduced, SshTicket};
use crate::transport::{Connection, Dial};
use crate::{Error, ErrorKind, HttpBuildlet, Result, Timeouts};

/// For a connection and the head of a short answer.
const LIMIT: Duration = Duration::from_secs(20);
/// A stream about a wait says something every five seconds.
const SILENCE: Duration = Duration::from_secs(120);
/// Longest line of that stream, longest text of a refusal, longest list.
const MAX_LINE: usize = 64 << 10;
const MAX_LIST: u64 = 16 << 20;

/// What the last line of a stream gives.
enum Got {
    Machine(Listed),
    Repro(Box<Reproduced>),
}

/// A line of the answer to `/buildlet/create`.
#[derive(Deserialize)]
struct Line {
    #[serde(default)]
    error: String,
    buildlet: Option<Listed>,
    repro: Option<Reproduced>,
    status: Option<Status>,
}

#[derive(Deserialize)]
struct Status {
    #[serde(default)]
    message: String,
    #[serde(default)]
    ahead: u64,
}

/// Connections of several owners.
#[derive(Clone)]
pub(super) struct SharedDial(Arc<dyn Dial>);

impl SharedDial {
    pub(super) fn new(dial: impl Dial + 'static) -> Self {
        Self(Arc::new(dial))
    }
}

#[async_trait]
impl Dial for SharedDial {
    async fn dial(&self) -> io::Result<Connection> {
        self.0.dial().await
    }

    fn authority(&self) -> &str {
        self.0.authority()
    }
}

/// A client of a coordinator. Clones share the address, and which interface is spoken.
#[derive(Clone)]
pub struct GomoteClient {
    dial: SharedDial,
    pub(super) authorization: String,
    timeouts: Timeouts,
    #[cfg(feature = "gomote-grpc")]
    pub(super) later: Option<Arc<Later>>,
}

impl GomoteClient {
    /// A client that connects by `dial`, usually an
    /// [`InstanceDial`](crate::instance::InstanceDial).
    pub fn new(dial: impl Dial + 'static, credentials: &Credentials) -> Self {
        Self {
            dial: SharedDial::new(dial),
            authorization: credentials.authorization(),
            timeouts: Timeouts::default(),
            #[cfg(feature = "gomote-grpc")]
            later: None,
        }
    }

    /// How long its machines are waited for.
    #[must_use]
    pub fn with_timeouts(mut self, timeouts: Timeouts) -> Self {
        self.timeouts = timeouts;
        self
    }

    /// Asks for a machine of a builder and waits for it; `told` hears what happens meanwhile.
    ///
    /// Cancel safe: the coordinator gives the wish up when the connection ends.
    ///
    /// # Errors
    /// The coordinator's own words.
    pub async fn create(&self, builder: &str, told: impl FnMut(Event)) -> Result<Listed> {
        #[cfg(feature = "gomote-grpc")]
        if let Some(calls) = self.grpc().await? {
            let mut told = told;
            return calls.create(builder, &mut told).await;
        }
        let form = Form::new()
            .with("builderType", builder)
            .with("version", COORDINATOR_VERSION);
        match self.ask_for("/buildlet/create", &form, told).await? {
            Got::Machine(listed) => Ok(listed),
            Got::Repro(made) => Ok(made.buildlet),
        }
    }

    /// Asks for a machine in the state in which a build failed: with its checkout and caches.
    /// Coordinators of Go do not know this.
    ///
    /// Cancel safe, as [`GomoteClient::create`].
    ///
    /// # Errors
    /// The coordinator's own words.
    pub async fn repro(&self, build: &str, told: impl FnMut(Event)) -> Result<Reproduced> {
        #[cfg(feature = "gomote-grpc")]
        self.needs_2020("builds to reproduce").await?;
        let form = Form::new().with("build", build);
        match self.ask_for("/buildlet/repro", &form, told).await? {
            Got::Repro(made) => Ok(*made),
            Got::Machine(_) => Err(Error::new(
                ErrorKind::Corrupt,
                "the answer tells no failure",
            )),
        }
    }

    async fn ask_for(&self, target: &str, form: &Form, mut told: impl FnMut(Event)) -> Result<Got> {
        let head = self
            .request("POST", target)
            .with("Content-Type", header::FORM_TYPE);
        let form = form.encode();
        let mut client = self.connect().await?;
        // Older coordinators answer only when the machine is there.
        let answer = client
            .send(&head, Some(form.as_bytes()))
            .await
            .map_err(broken)?;
        let answer = answer.head().clone();
        if answer.status() != 200 {
            return Err(refused(&mut client, &answer).await);
        }
        let supported = answer.headers().get_str(header::SUPPORTED_VERSION);
        if supported.is_none_or(|version| version < COORDINATOR_VERSION) {
            let body = client.read_all(MAX_LIST).await.map_err(broken)?;
            return checked(parse(&body)?).map(Got::Machine);
        }
        let mut pending = Vec::new();
        loop {
            let chunk = timeout(SILENCE, client.chunk()).await.map_err(|_| {
                Error::new(ErrorKind::TimedOut, "the coordinator has fallen silent")
            })?;
            let Some(chunk) = chunk.map_err(broken)? else {
                return Err(Error::new(
                    ErrorKind::Unavailable,
                    "buildlet: coordinator's /buildlet/create ended its response stream without a terminal message",
                ));
            };
            pending.extend_from_slice(&chunk);
            while let Some(end) = pending.iter().position(|&b| b == b'\n') {
                let line: Vec<u8> = pending.drain(..=end).collect();
                if let Some(done) = read_line(&line, &mut told) {
                    return done;
                }
            }
            if pending.len() > MAX_LINE {
                return Err(Error::new(
                    ErrorKind::Corrupt,
                    "a line of the answer has no end",
                ));
            }
        }
    }

    /// The machines of the caller, by name.
    ///
    /// # Errors
    /// The coordinator's own words.
    pub async fn list(&self) -> Result<Vec<Listed>> {
        #[cfg(feature = "gomote-grpc")]
        if let Some(later) = &self.later {
            return later.list(self.list_as_in_2020()).await;
        }
        self.list_as_in_2020().await
    }

    async fn list_as_in_2020(&self) -> Result<Vec<Listed>> {
        let listed = async {
            let mut client = self.connect().await?;
            let head = self.request("GET", "/buildlet/list");
            let answer = client.send(&head, None).await.map_err(broken)?;
            let answer = answer.head().clone();
            if answer.status() != 200 {
                return Err(refused(&mut client, &answer).await);
            }
            parse(&client.read_all(MAX_LIST).await.map_err(broken)?)
        };
        timeout(LIMIT, listed).await.unwrap_or_else(|_| Err(late()))
    }

    /// The identity providers whose tokens the farm takes; none of one that does not say.
    ///
    /// # Errors
    /// When the farm does not answer.
    pub async fn identity_providers(&self) -> Result<Vec<IdentityProvider>> {
        let listed = async {
            let mut client = self.connect().await?;
            // Somebody who is about to log in has nothing to show.
            let head = RequestHead::new("GET", "/api/v1/identity");
            let head = head.with("Host", self.dial.authority());
            let answer = client.send(&head, None).await.map_err(broken)?;
            match answer.head().status() {
                200 => {
                    let body = client.read_all(MAX_LINE as u64).await.map_err(broken)?;
                    Ok(parse::<IdentityProviders>(&body)?.providers)
                }
                404 => Ok(Vec::new()),
                _ => {
                    let answer = answer.head().clone();
                    Err(refused(&mut client, &answer).await)
                }
            }
        };
        timeout(LIMIT, listed).await.unwrap_or_else(|_| Err(late()))
    }

    /// A machine by its name; nothing is asked yet. Which interface it is reached by is known once
    /// the coordinator was asked for anything, such as the list.
    #[must_use]
    pub fn machine(&self, name: &str) -> Arc<dyn Buildlet> {
        #[cfg(feature = "gomote-grpc")]
        if let Some(later) = &self.later
            && let Some(machine) = later.machine(name, self.timeouts)
        {
            return machine;
        }
        let machine = HttpBuildlet::builder(self.dial.clone())
            .name(name)
            .authorization(&self.authorization)
            .field(header::BUILDLET_PROXY, name)
            .timeouts(self.timeouts);
        Arc::new(machine.build())
    }

    /// Gives a machine back.
    ///
    /// # Errors
    /// The coordinator's own words: there is no such machine, or it is somebody else's.
    pub async fn destroy(&self, name: &str) -> Result<()> {
        #[cfg(feature = "gomote-grpc")]
        if let Some(calls) = self.grpc().await? {
            return calls.destroy(name).await;
        }
        let head = self
            .request("POST", &Route::Halt.to_string())
            .with(header::BUILDLET_PROXY, name);
        let destroyed = async {
            let mut client = self.connect().await?;
            let answer = client.send(&head, Some(b"")).await.map_err(broken)?;
            let answer = answer.head().clone();
            match answer.status() {
                200 => Ok(()),
                _ => Err(refused(&mut client, &answer).await),
            }
        };
        timeout(LIMIT, destroyed)
            .await
            .unwrap_or_else(|_| Err(late()))
    }

    /// A connection to a port of a machine.
    ///
    /// # Errors
    /// The coordinator's own words.
    pub async fn port(&self, name: &str, port: u16) -> Result<Rewind<Connection>> {
        #[cfg(feature = "gomote-grpc")]
        self.needs_2020("connections to ports").await?;
        let head = self
            .request("POST", &Route::TcpProxy.to_string())
            .with(header::TARGET_PORT, port.to_string());
        self.take_over(name, head).await
    }

    /// A connection to the ssh server of a machine; `key` is a line for `authorized_keys` of
    /// `user` there.
    ///
    /// # Errors
    /// The machine's own words.
    pub async fn ssh(&self, name: &str, user: &str, key: &str) -> Result<Rewind<Connection>> {
        #[cfg(feature = "gomote-grpc")]
        self.needs_2020("ssh servers of machines").await?;
        let head = self
            .request("POST", &Route::ConnectSsh.to_string())
            .with(header::SSH_USER, user)
            .with(header::AUTHORIZED_KEY, key);
        self.take_over(name, head).await
    }

    /// What `ssh` needs to log in to a machine at the coordinator's gateway, for the private half
    /// of `key` (a line as in a file `.pub`); `None` when there is no gateway.
    ///
    /// # Errors
    /// The coordinator's own words.
    pub async fn ssh_ticket(&self, name: &str, key: &str) -> Result<Option<SshTicket>> {
        #[cfg(feature = "gomote-grpc")]
        if let Some(calls) = self.grpc().await? {
            return calls.ssh_ticket(name, key).await;
        }
        let head = self
            .request("POST", "/buildlet/ssh")
            .with("Content-Type", header::FORM_TYPE);
        let form = Form::new().with("name", name).with("key", key).encode();
        let asked = async {
            let mut client = self.connect().await?;
            let answer = client.send(&head, Some(form.as_bytes())).await;
            let answer = answer.map_err(broken)?.head().clone();
            match answer.status() {
                200 => {
                    let body = client.read_all(MAX_LIST).await.map_err(broken)?;
                    parse(&body).map(Some)
                }
                404 | 405 => Ok(None),
                _ => Err(refused(&mut client, &answer).await),
            }
        };
        timeout(LIMIT, asked).await.unwrap_or_else(|_| Err(late()))
    }

    /// The host at which the coordinator answers, without its port.
    #[must_use]
    pub fn host(&self) -> &str {
        let authority = self.dial.authority();
        let host = match authority.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
            _ => authority,
        };
        host.trim_start_matches('[').trim_end_matches(']')
    }

    async fn take_over(&self, name: &str, head: RequestHead) -> Result<Rewind<Connection>> {
        let head = head.with(header::BUILDLET_PROXY, name);
        let taken = async {
            let mut client = self.connect().await?;
            let answer = client.send(&head, Some(b"")).await.map_err(broken)?;
            let answer = answer.head().clone();
            match answer.status() {
                101 => Ok(client.into_stream()),
                _ => Err(refused(&mut client, &answer).await),
            }
        };
        timeout(LIMIT * 2, taken)
            .await
            .unwrap_or_else(|_| Err(late()))
    }

    fn request(&self, method: &str, target: &str) -> RequestHead {
        RequestHead::new(method, target)
            .with("Host", self.dial.authority())
            .with("Authorization", &self.authorization)
    }

    async fn connect(&self) -> Result<Client<Connection>> {
        let dialed = timeout(LIMIT, self.dial.dial()).await;
        let io = dialed.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let io = io.map_err(|error| {
            let text = format!("connect to {}", self.dial.authority());
            Error::caused_by(ErrorKind::Unavailable, text, error)
        })?;
        Ok(Client::new(io, Limits::default()))
    }
}

/// What a line says: how it has ended, or something on the way. A line that is not understood
/// is passed over, as Go's client does.
fn read_line(line: &[u8], told: &mut impl FnMut(Event)) -> Option<Result<Got>> {
    let Ok(line) = serde_json::from_slice::<Line>(line) else {
        tracing::info!(line = %String::from_utf8_lossy(line), "a line that is not understood");
        return None;
    };
    if !line.error.is_empty() {
        return Some(Err(Error::new(ErrorKind::Unavailable, line.error)));
    }
    if let Some(listed) = line.buildlet {
        return Some(checked(listed).map(Got::Machine));
    }
    if let Some(made) = line.repro {
        return Some(Ok(Got::Repro(Box::new(made))));
    }
    match line.status {
        Some(status) if !status.message.is_empty() => told(Event::Message(status.message)),
        Some(status) => told(Event::Ahead(status.ahead)),
        None => {}
    }
    None
}

fn checked(listed: Listed) -> Result<Listed> {
    match listed.name.is_empty() {
        true => Err(Error::new(
            ErrorKind::Corrupt,
            "the new machine has no name",
        )),
        false => Ok(listed),
    }
}

fn parse<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes)
        .map_err(|e| Error::caused_by(ErrorKind::Corrupt, "read the coordinator's answer", e))
}

fn late() -> Error {
    Error::new(
        ErrorKind::TimedOut,
        "the coordinator did not answer in time",
    )
}

fn broken(error: build_core::h1::io::Error) -> Error {
    Error::caused_by(
        ErrorKind::Unavailable,
        "the connection to the coordinator failed",
        error,
    )
}

async fn refused(client: &mut Client<Connection>, answer: &ResponseHead) -> Error {
    let mut text = Vec::new();
    while text.len() < MAX_LINE {
        match client.chunk().await {
            Ok(Some(chunk)) => text.extend_from_slice(&chunk),
            // A refusal that is cut off is a refusal all the same.
            Ok(None) | Err(_) => break,
        }
    }
    text.truncate(MAX_LINE);
    let text = String::from_utf8_lossy(&text).trim().to_owned();
    let kind = match answer.status() {
        _ if text.starts_with("unknown or expired buildlet") => ErrorKind::NotFound,
        400 => ErrorKind::Invalid,
        401 | 403 => ErrorKind::Denied,
        404 => ErrorKind::Unsupported,
        _ => ErrorKind::Unavailable,
    };
    let error = Error::new(kind, format!("{}: {text}", answer.status_text()));
    match kind {
        ErrorKind::Denied if answer.status() == 401 => {
            error.with_hint("check the user and the token: gomote login")
        }
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_stream_are_understood() {
        let mut heard = Vec::new();
        let mut read = |line: &str| read_line(line.as_bytes(), &mut |event| heard.push(event));
        assert!(read("{\"status\":{\"message\":\"busy\",\"ahead\":7}}\n").is_none());
        assert!(read("{\"status\":{\"message\":\"\",\"ahead\":2}}\n").is_none());
        assert!(read("no JSON\n").is_none() && read("{\"new\":1}\n").is_none());
        let Err(error) = read("{\"error\":\"quota\"}\n").unwrap() else {
            panic!("an error is one");
        };
        assert_eq!(error.to_string(), "quota");
        assert!(read("{\"buildlet\":{\"Name\":\"\"}}\n").unwrap().is_err());
        let Ok(listed) = read("{\"buildlet\":{\"Name\":\"n\",\"More\":1}}\n").unwrap() else {
            panic!("a machine is one");
        };
        let Got::Machine(listed) = listed else {
            panic!("a machine is one");
        };
        assert_eq!(listed.name, "n");
        assert_eq!(heard, [Event::Message("busy".into()), Event::Ahead(2)]);
    }
}
