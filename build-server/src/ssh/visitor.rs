//! Who comes over one connection, and what they ask for.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use build_core::Result;
use build_core::event::Principal;
use russh::keys::ssh_key::{Certificate, HashAlg, PublicKey};
use russh::server::{
    Auth, ChannelOpenHandle, Handler, Msg, PublicKeyOffer, Session, VerifiedPublicKey,
};
use russh::{Channel, ChannelId, ChannelOpenFailure, Pty};
use tokio::sync::Semaphore;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::gateway::Gateway;
use super::{command, forward};
use crate::gomote::{Ports, Use, User};
use crate::supervise::Supervisor;
use crate::who::{Caller, Right, Role};

/// Longest wait of somebody who was wrong often.
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// What 2020 asks to be written before the name of a session whose machine others use after it.
const MUTABLE: &str = "mutable-";

/// One connection, as all its parts see it.
pub(super) struct Visit {
    pub(super) gateway: Gateway,
    pub(super) peer: SocketAddr,
    /// Of this connection; canceled with it.
    pub(super) tasks: Supervisor,
    channels: Arc<Semaphore>,
    admitted: OnceLock<Admitted>,
    /// Canceled when somebody was admitted.
    pub(super) greeted: CancellationToken,
    /// Who was refused last, and why.
    refused: Mutex<Option<(String, String)>>,
}

/// Somebody who has shown who they are, and the session that they may use.
pub(super) struct Admitted {
    pub(super) session: Use,
    pub(super) who: Principal,
    /// By which key or certificate.
    pub(super) by: String,
}

impl Visit {
    pub(super) fn new(gateway: Gateway, peer: SocketAddr, tasks: Supervisor) -> Self {
        let channels = Semaphore::new(gateway.settings().channels);
        Self {
            gateway,
            peer,
            tasks,
            channels: Arc::new(channels),
            admitted: OnceLock::new(),
            greeted: CancellationToken::new(),
            refused: Mutex::default(),
        }
    }

    pub(super) fn admitted(&self) -> Option<&Admitted> {
        self.admitted.get()
    }

    pub(super) fn session(&self) -> Option<&Use> {
        self.admitted().map(|admitted| &admitted.session)
    }

    /// Who was refused last, and why.
    pub(super) fn refused(&self) -> Option<(String, String)> {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.take()
    }

    pub(super) fn ports(&self) -> Ports {
        self.gateway.sessions().settings().ports.clone()
    }

    /// The variables of the session's builder.
    pub(super) fn builder_env(&self) -> impl Iterator<Item = (&str, &str)> {
        let handle = self.gateway.sessions().handle();
        let builder = self.session().map(|session| &session.instance().builder);
        let builder = builder.and_then(|name| handle.builder(name));
        let env = builder.into_iter().flat_map(|builder| &builder.env);
        env.map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// What a person reads on their terminal.
    pub(super) fn welcome(&self) -> String {
        let Some(session) = self.session() else {
            return String::new();
        };
        let instance = session.instance();
        let ttl = self.gateway.sessions().settings().ttl.as_secs() / 60;
        format!(
            "This is {}, a machine of kind {}.\r\nIt is yours until you destroy it, and for {ttl} min after you leave it.\r\n",
            instance.name, instance.host_type
        )
    }

    fn remember(&self, login: &str, why: String) {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        *refused = Some((login.to_owned(), why));
    }

    async fn refuse(&self, login: &str, why: impl Into<String>) -> Auth {
        self.remember(login, why.into());
        let ip = self.peer.ip();
        if let Some(wait) = self.gateway.directory().ssh_wait(ip) {
            sleep(wait.min(LONGEST_WAIT)).await;
        }
        Auth::reject()
    }

    /// Lets somebody in, when the session is theirs or they are an admin.
    async fn admit(&self, login: &str, callers: &[Caller], by: String) -> Auth {
        let sessions = self.gateway.sessions();
        // The whole name first: a session may be called so.
        let names = [Some(login), login.strip_prefix(MUTABLE)];
        let found = names.into_iter().flatten();
        let found = found.filter_map(|name| Some((name, sessions.owner_of(name)?)));
        let Some((name, owner)) = found.into_iter().next() else {
            return self.refuse(login, "there is no such session").await;
        };
        let may = |caller: &&Caller| {
            caller.may(Right::Sessions)
                && (caller.role() == Role::Admin || caller.user() == Some(owner.as_str()))
        };
        let Some(caller) = callers.iter().find(may) else {
            return self.refuse(login, "the session is somebody else's").await;
        };
        let user = match User::new(&owner) {
            Ok(user) => user,
            Err(error) => return self.refuse(login, error.to_string()).await,
        };
        let session = match sessions.find(&user, name).await {
            Ok(session) => session,
            Err(unusable) => return self.refuse(login, unusable.to_string()).await,
        };
        let admitted = Admitted {
            session,
            who: caller.principal().clone(),
            by,
        };
        if self.admitted.set(admitted).is_err() {
            return self.refuse(login, "somebody is admitted already").await;
        }
        self.greeted.cancel();
        Auth::Accept
    }

    /// Who a key names: a user who has it, or the owner of this session, when a code host that is
    /// believed says so.
    async fn by_key(&self, login: &str, key: &str) -> Result<Option<Caller>> {
        let directory = self.gateway.directory();
        if let Some(known) = directory.ssh_caller(key)? {
            return Ok(Some(known));
        }
        let sessions = self.gateway.sessions();
        let names = [Some(login), login.strip_prefix(MUTABLE)];
        let mut owners = names.into_iter().flatten();
        let Some(owner) = owners.find_map(|name| sessions.owner_of(name)) else {
            return Ok(None);
        };
        let sources = directory.ssh_sources()?;
        let now = self.gateway.now();
        for (address, source) in sources {
            if source.user == owner && self.gateway.hosted().has(&address, key, now).await {
                return directory.person(&owner);
            }
        }
        Ok(None)
    }

    /// Who a certificate names.
    fn certified(&self, login: &str, certificate: &Certificate) -> Result<Vec<Caller>, String> {
        let now = self.gateway.now();
        let authority = self.gateway.authority();
        let names = [Some(login), login.strip_prefix(MUTABLE)];
        let mut checked = names.into_iter().flatten();
        let checked = checked.try_fold(Vec::new(), |_, name| {
            match authority.check(certificate, name, now) {
                Ok(names) => Err(names),
                Err(why) => Ok(vec![why.to_string()]),
            }
        });
        let names = match checked {
            Err(names) => names,
            Ok(why) => return Err(why.into_iter().next().unwrap_or_default()),
        };
        let directory = self.gateway.directory();
        let mut callers = Vec::new();
        for name in names {
            let known = directory.person(&name).map_err(|e| e.chain())?;
            // Somebody whom an identity provider knows is a user, unless they are refused.
            let caller = known.unwrap_or_else(|| Caller::new(Principal::person(&name), Role::User));
            callers.extend(directory.still_user(&caller).map_err(|e| e.chain())?);
        }
        Ok(callers)
    }
}

/// The library's side of a connection.
pub(super) struct Visitor(pub(super) Arc<Visit>);

fn fingerprint(key: &PublicKey) -> String {
    key.fingerprint(HashAlg::Sha256).to_string()
}

impl Handler for Visitor {
    type Error = russh::Error;

    /// Clients ask so what they may show. What the library refuses by itself, such as a
    /// certificate whose time is over, is remembered as well.
    async fn auth_none(&mut self, login: &str) -> Result<Auth, Self::Error> {
        let why = "no good key or certificate was shown";
        self.0.remember(login, why.into());
        Ok(Auth::reject())
    }

    /// Asks only those to prove that they hold a key to whom it would open a door: others are
    /// not asked for their passphrase.
    async fn auth_publickey_offered(
        &mut self,
        login: &str,
        offer: PublicKeyOffer<'_>,
    ) -> Result<Auth, Self::Error> {
        let key = offer.public_key.fingerprint(HashAlg::Sha256);
        if self.0.gateway.authority().has_certified(&key) {
            return Ok(Auth::Accept);
        }
        Ok(match self.0.by_key(login, &key.to_string()).await {
            Ok(Some(_)) => Auth::Accept,
            Ok(None) => self.0.refuse(login, "unknown key").await,
            Err(error) => {
                tracing::error!(error = error.chain(), "cannot tell whose a key is");
                let why = "it cannot be told whose the key is";
                self.0.refuse(login, why).await
            }
        })
    }

    async fn auth_publickey(
        &mut self,
        login: &str,
        key: VerifiedPublicKey<'_>,
    ) -> Result<Auth, Self::Error> {
        let name = fingerprint(key.public_key);
        Ok(match self.0.by_key(login, &name).await {
            Ok(Some(caller)) => self.0.admit(login, &[caller], format!("key {name}")).await,
            _ => self.0.refuse(login, "unknown key").await,
        })
    }

    async fn auth_openssh_certificate(
        &mut self,
        login: &str,
        certificate: &Certificate,
    ) -> Result<Auth, Self::Error> {
        Ok(match self.0.certified(login, certificate) {
            Ok(callers) => self.0.admit(login, &callers, "certificate".into()).await,
            Err(why) => self.0.refuse(login, format!("certificate: {why}")).await,
        })
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        let Ok(permit) = self.0.channels.clone().try_acquire_owned() else {
            reply.reject(ChannelOpenFailure::ResourceShortage).await;
            return Ok(());
        };
        reply.accept().await;
        let (visit, handle) = (self.0.clone(), session.handle());
        let token = self.0.tasks.token().clone();
        self.0.tasks.spawn("channel", async move {
            let serving = command::serve(visit, channel, handle);
            token.run_until_cancelled(serving).await;
            drop(permit);
        });
        Ok(())
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        channel: Channel<Msg>,
        host: &str,
        port: u32,
        _originator: &str,
        _originator_port: u32,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        let target = match forward::target(&self.0, host, port) {
            Ok(target) => target,
            Err(refused) => {
                reply.reject(refused).await;
                return Ok(());
            }
        };
        let Ok(permit) = self.0.channels.clone().try_acquire_owned() else {
            reply.reject(ChannelOpenFailure::ResourceShortage).await;
            return Ok(());
        };
        let (visit, token) = (self.0.clone(), self.0.tasks.token().clone());
        self.0.tasks.spawn("forward", async move {
            let serving = forward::serve(visit, channel, reply, target);
            token.run_until_cancelled(serving).await;
            drop(permit);
        });
        Ok(())
    }

    async fn channel_open_direct_streamlocal(
        &mut self,
        _channel: Channel<Msg>,
        _path: &str,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        let reason = "sockets in files are not forwarded here: forward a port".into();
        reply
            .reject(ChannelOpenFailure::Other { code: 1, reason })
            .await;
        Ok(())
    }

    // What is asked for reaches the channel's task too; the answers are given here, in order.

    async fn pty_request(
        &mut self,
        channel: ChannelId,
        _term: &str,
        _columns: u32,
        _rows: u32,
        _width: u32,
        _height: u32,
        _modes: &[(Pty, u32)],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        session.channel_success(channel)
    }

    async fn env_request(
        &mut self,
        channel: ChannelId,
        name: &str,
        value: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        match command::is_variable(name, value) {
            true => session.channel_success(channel),
            false => session.channel_failure(channel),
        }
    }

    async fn shell_request(
        &mut self,
        channel: ChannelId,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        session.channel_success(channel)
    }

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        _command: &[u8],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        session.channel_success(channel)
    }

    async fn subsystem_request(
        &mut self,
        channel: ChannelId,
        name: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        match name {
            "sftp" => session.channel_success(channel),
            _ => session.channel_failure(channel),
        }
    }

    async fn agent_request(
        &mut self,
        _channel: ChannelId,
        _session: &mut Session,
    ) -> Result<bool, Self::Error> {
        // Clients ask without wanting an answer: the command's channel says why it is not so.
        Ok(self.0.gateway.settings().agent)
    }

    async fn x11_request(
        &mut self,
        channel: ChannelId,
        _single: bool,
        _protocol: &str,
        _cookie: &str,
        _screen: u32,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        session.channel_failure(channel)
    }
}
