//! The gateway: where it listens, and how long connections live.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use build_core::clock::{Clock as _, SystemClock, Timestamp};
use build_core::event::Principal;
use build_core::{Error, ErrorKind, Result};
use russh::keys::ssh_key::HashAlg;
use russh::server::{Config, RunningSession, run_stream};
use russh::{Disconnect, MethodKind, MethodSet, SshId};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::authority::Authority;
use super::cut::Cut;
use super::files;
use super::hosted::Hosted;
use super::settings::Settings;
use super::transcript;
use super::visitor::{Visit, Visitor};
use crate::gomote::Sessions;
use crate::supervise::Supervisor;
use crate::who::{Act, Caller, Directory, Right, Role};

/// Files in the gateway's folder.
const HOST_KEY: &str = "host_key";
const USER_CA: &str = "user_ca";
/// Between two signs of life that are asked of a silent client, and how many it may leave out.
const KEEPALIVE: Duration = Duration::from_secs(30);
const KEEPALIVES: usize = 4;
/// Until a connection that was told to end is cut.
const FAREWELL: Duration = Duration::from_secs(2);
/// After a listener failed to accept, such as for want of descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// Lets users of ssh into their sessions. Clones are the same.
#[derive(Clone)]
pub struct Gateway(Arc<Inner>);

struct Inner {
    sessions: Sessions,
    directory: Directory,
    authority: Authority,
    config: Arc<Config>,
    host_key: String,
    fingerprint: String,
    hosted: Hosted,
    settings: Settings,
    /// Connections that have not logged in, by address.
    strangers: Mutex<HashMap<IpAddr, usize>>,
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway")
            .field("host_key", &self.0.fingerprint)
            .field("settings", &self.0.settings)
            .finish_non_exhaustive()
    }
}

impl Gateway {
    /// A gateway to `sessions` for whom `directory` knows. Its keys lie in the folder `dir`, and
    /// are drawn when there are none: `host_key` and `user_ca`, each with its `.pub` beside it.
    ///
    /// # Errors
    /// When others may read a key, it is damaged, or cannot be written.
    pub fn open(
        dir: &Path,
        sessions: Sessions,
        directory: Directory,
        settings: Settings,
    ) -> Result<Self> {
        let key = files::private_key(&dir.join(HOST_KEY), "farmer")?;
        let authority = Authority::open(&dir.join(USER_CA))?;
        let host_key = key.public_key().to_openssh();
        let host_key = host_key.map_err(|e| Error::caused_by(ErrorKind::Bug, "host key", e))?;
        let config = Config {
            server_id: SshId::Standard("SSH-2.0-Farmer".into()),
            methods: MethodSet::from(&[MethodKind::PublicKey][..]),
            auth_rejection_time: settings.rejection,
            // Every client asks first whether anything is needed.
            auth_rejection_time_initial: Some(Duration::ZERO),
            inactivity_timeout: None,
            keepalive_interval: Some(KEEPALIVE),
            keepalive_max: KEEPALIVES,
            keys: vec![key.clone()],
            ..Config::default()
        };
        Ok(Self(Arc::new(Inner {
            sessions,
            directory,
            authority,
            config: Arc::new(config),
            host_key,
            fingerprint: key.fingerprint(HashAlg::Sha256).to_string(),
            hosted: Hosted::new(settings.hosted)?,
            settings,
            strangers: Mutex::default(),
        })))
    }

    pub(super) fn sessions(&self) -> &Sessions {
        &self.0.sessions
    }

    pub(super) fn directory(&self) -> &Directory {
        &self.0.directory
    }

    /// What signs certificates of users.
    pub fn authority(&self) -> &Authority {
        &self.0.authority
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.0.settings
    }

    pub(super) fn hosted(&self) -> &Hosted {
        &self.0.hosted
    }

    pub(super) fn now(&self) -> Timestamp {
        SystemClock.now()
    }

    /// The public key that it shows to clients, as in a file `.pub`: with a host name before it, a
    /// line of `known_hosts`.
    pub fn host_key(&self) -> &str {
        &self.0.host_key
    }

    /// The same as people compare it: `SHA256:…`.
    pub fn fingerprint(&self) -> &str {
        &self.0.fingerprint
    }

    /// A certificate for a session, for whoever owns it or is an admin: `SignSSHKey` and
    /// `/buildlet/ssh` answer with it. `public_key` and the answer are lines as in files `.pub`.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] for a session that is not there, [`ErrorKind::Denied`] when it is
    /// somebody else's, as [`Authority::sign`]; when it cannot be written into the audit log.
    pub fn certify(
        &self,
        caller: &Caller,
        session: &str,
        public_key: &str,
        from: IpAddr,
    ) -> Result<String> {
        let owner = self.0.sessions.owner_of(session);
        let owner = owner.ok_or_else(|| {
            Error::new(
                ErrorKind::NotFound,
                format!("there is no session {session:?}"),
            )
        })?;
        let name = caller.user().unwrap_or_default();
        let is_let = caller.may(Right::Sessions) && (name == owner || caller.role() == Role::Admin);
        if !is_let {
            let text = format!("the session {session:?} is somebody else's");
            return Err(Error::new(ErrorKind::Denied, text));
        }
        let valid = self.0.settings.certificate;
        let signed = &self.0.authority;
        let signed = signed.sign(public_key, session, &[name], valid, self.now())?;
        let text = format!("good for {} s", valid.as_secs());
        let object = format!("session {session}");
        let (who, act) = (caller.principal(), Act::SshCertified);
        self.0.directory.ssh_used(who, act, object, text, from)?;
        Ok(signed)
    }

    /// Serves whoever comes until `stop` is canceled; connections are tasks of `tasks`.
    pub async fn run(
        self,
        listeners: Vec<TcpListener>,
        tasks: Supervisor,
        stop: CancellationToken,
    ) {
        let permits = Arc::new(Semaphore::new(self.0.settings.connections));
        let accepting = listeners.into_iter().map(|listener| {
            let (gateway, tasks, stop) = (self.clone(), tasks.clone(), stop.clone());
            gateway.accept(listener, permits.clone(), tasks, stop)
        });
        let settings = &self.0.settings;
        let sweeping = async {
            match settings.transcripts.clone() {
                Some(dir) => {
                    let (keep, most) = (settings.keep_transcripts, settings.most_transcripts);
                    transcript::sweep(dir, keep, most).await;
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = futures::future::join_all(accepting) => {}
            () = sweeping => {}
        }
    }

    async fn accept(
        self,
        listener: TcpListener,
        permits: Arc<Semaphore>,
        tasks: Supervisor,
        stop: CancellationToken,
    ) {
        loop {
            let next = async {
                // More wait in the system's queue.
                let permit = permits.clone().acquire_owned().await;
                (permit, listener.accept().await)
            };
            let (permit, accepted) = match stop.run_until_cancelled(next).await {
                None => return,
                Some(next) => next,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "a connection was not accepted");
                    sleep(PAUSE).await;
                    continue;
                }
            };
            let Some(stranger) = self.stranger(peer.ip()) else {
                tracing::debug!(%peer, "too many connections that do not log in");
                continue;
            };
            let group = tasks.group("connection");
            let serving = self
                .clone()
                .serve(stream, peer, stranger, group.clone(), stop.clone());
            group.spawn("serve", async move {
                serving.await;
                drop(permit);
            });
        }
    }

    /// Counts a connection that has not logged in; `None` when there are too many from there.
    fn stranger(&self, address: IpAddr) -> Option<Stranger> {
        let mut strangers = self
            .0
            .strangers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let count = strangers.entry(address).or_default();
        if *count >= self.0.settings.strangers {
            return None;
        }
        *count += 1;
        drop(strangers);
        Some(Stranger {
            gateway: self.clone(),
            address,
        })
    }

    async fn serve(
        self,
        stream: TcpStream,
        peer: SocketAddr,
        stranger: Stranger,
        tasks: Supervisor,
        stop: CancellationToken,
    ) {
        // It works without, only later.
        let _ = stream.set_nodelay(true);
        let cut = CancellationToken::new();
        let visit = Arc::new(Visit::new(self.clone(), peer, tasks.clone()));
        let visitor = Visitor(visit.clone());
        let begun = run_stream(
            self.0.config.clone(),
            Cut::new(stream, cut.clone()),
            visitor,
        );
        let login = self.0.settings.login;
        let begun = stop.run_until_cancelled(timeout(login, begun)).await;
        let Some(Ok(Ok(running))) = begun else {
            return;
        };
        self.attend(&visit, running, stranger, &cut, &stop).await;
        cut.cancel();
        // Its channels end with it.
        tasks.token().cancel();
    }

    async fn attend(
        &self,
        visit: &Visit,
        running: RunningSession<Visitor>,
        stranger: Stranger,
        cut: &CancellationToken,
        stop: &CancellationToken,
    ) {
        let handle = running.handle();
        let mut running = pin!(running);
        let is_greeted = tokio::select! {
            ended = &mut running => {
                if let Err(error) = ended {
                    tracing::debug!(%error, peer = %visit.peer, "a connection has failed");
                }
                false
            }
            () = visit.greeted.cancelled() => true,
            () = sleep(self.0.settings.login) => false,
            () = stop.cancelled() => false,
        };
        drop(stranger);
        let Some(admitted) = visit.admitted().filter(|_| is_greeted) else {
            if let Some((login, why)) = visit.refused() {
                self.0.directory.ssh_refused(visit.peer.ip(), &login, &why);
            }
            cut.cancel();
            return;
        };
        let object = format!("session {}", admitted.session.instance().name);
        self.note(
            visit,
            &admitted.who,
            Act::SshConnected,
            &object,
            admitted.by.clone(),
        )
        .await;
        let why = tokio::select! {
            _ = &mut running => "",
            () = admitted.session.ended() => "the session has ended",
            () = stop.cancelled() => "the farm is stopping",
        };
        if !why.is_empty() {
            // Whoever does not listen is cut.
            let _ = handle
                .disconnect(Disconnect::ByApplication, why.into(), String::new())
                .await;
            let _ = timeout(FAREWELL, &mut running).await;
        }
        self.note(visit, &admitted.who, Act::SshLeft, &object, why.into())
            .await;
    }

    /// Writes a line of the audit log. Somebody who needs their machine is let in also when the
    /// disk is full.
    async fn note(&self, visit: &Visit, who: &Principal, act: Act, object: &str, text: String) {
        let (directory, from) = (self.0.directory.clone(), visit.peer.ip());
        let (who, object) = (who.clone(), object.to_owned());
        let write = move || directory.ssh_used(&who, act, object, text, from);
        let written = visit.tasks.spawn_blocking("audit", write).await;
        match written {
            Ok(Err(error)) => {
                tracing::error!(error = error.chain(), "who came over ssh is not written");
            }
            Err(error) => tracing::debug!(%error, "who came over ssh is not written"),
            Ok(Ok(())) => {}
        }
    }
}

/// A connection that has not logged in.
struct Stranger {
    gateway: Gateway,
    address: IpAddr,
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let strangers = self.gateway.0.strangers.lock();
        let mut strangers = strangers.unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = strangers.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                strangers.remove(&self.address);
            }
        }
    }
}
