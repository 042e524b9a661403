//! Which coordinator, and as whom.

use std::path::{Path, PathBuf};
use std::time::Duration;

use build_client::device;
use build_client::gomote::groups::Groups;
use build_client::gomote::{Api, Credentials, Folder, GomoteClient};
use build_client::instance::{CoordinatorInstance, TlsOptions};
use build_client::transport::TcpDial;
use build_client::{Error, ErrorKind, Timeouts};
use build_server::store::DataLock;
use farmer_cli::Failure;

use super::args::{Cli, Command};
use super::login;
use crate::told::failed;

/// How long a command's output is tried to be taken up again, and a machine's silence is borne:
/// a network or a coordinator may be away for some minutes.
const AWAY: Duration = Duration::from_secs(600);
/// Heart-beats of ten seconds that make that.
const MISSES: u32 = 60;

/// Where machines come from, and what is known of the user.
pub(super) struct Place {
    client: Option<GomoteClient>,
    pub(super) folder: Folder,
    /// Where digests of pushed trees are kept.
    pub(super) cache: PathBuf,
    pub(super) user: String,
    pub(super) staging: bool,
    /// Certificates in PEM that are trusted.
    pub(super) roots: Option<String>,
    pub(super) groups: Groups,
    pub(super) group: Option<String>,
    pub(super) json: bool,
}

impl Place {
    /// What the command line and the environment say. Nothing is asked yet; a coordinator that
    /// nobody named is missed only when it is needed.
    pub(super) async fn of(cli: &Cli) -> Result<Self, Failure> {
        let variable = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
        let home = std::env::home_dir()
            .ok_or_else(|| Failure::usage("nobody knows where your home is", "set HOME"))?;
        let config = variable("XDG_CONFIG_HOME").map(PathBuf::from);
        let folder = Folder::of_home(&home, config.as_deref());
        let login = cli.user.clone().or_else(|| variable("USER"));
        let login = login.unwrap_or_else(|| "owner".to_owned());
        let user = folder.user(&login).map_err(|e| failed(&e))?;
        let group = match (&cli.group, variable("GOMOTE_GROUP")) {
            (Some(group), _) => Some(group.clone()),
            (None, Some(group)) => {
                eprintln!("# Using group {group:?} from GOMOTE_GROUP");
                Some(group)
            }
            (None, None) => None,
        };
        let roots = match &cli.ca {
            Some(file) => Some(std::fs::read_to_string(file).map_err(|error| {
                let text = format!("cannot read {}: {error}", file.display());
                Failure::usage(text, "name a file of certificates with -ca")
            })?),
            None => None,
        };
        let mut place = Self {
            client: None,
            roots,
            groups: Groups::of(&folder),
            folder,
            cache: cache(&home, variable("XDG_CACHE_HOME").map(PathBuf::from)),
            staging: cli.staging,
            user,
            group,
            json: cli.json,
        };
        place.client = place.connect(cli, &home).await.map_err(|e| failed(&e))?;
        Ok(place)
    }

    async fn connect(&self, cli: &Cli, home: &Path) -> Result<Option<GomoteClient>, Error> {
        let named = match (&cli.server, cli.localdev, cli.staging) {
            (_, true, _) => Some("localhost:8119".to_owned()),
            (_, _, true) => Some("staging".to_owned()),
            (server, ..) => server.clone(),
        };
        let client = match named {
            Some(named) => {
                // A login that reads the token first cannot show one yet.
                let is_login = matches!(cli.command, Command::Login(_));
                let token = match is_login {
                    true => String::new(),
                    false => login::token(self).await?,
                };
                self.named(&named, token, cli.api.into())?
            }
            None => match local_farm(cli.data.clone(), home)? {
                Some(client) => client(&self.user, cli.api.into())?,
                None => return Ok(None),
            },
        };
        let timeouts = Timeouts::default().with_reattach(AWAY).with_misses(MISSES);
        Ok(Some(client.with_timeouts(timeouts)))
    }

    fn named(&self, server: &str, token: String, api: Api) -> Result<GomoteClient, Error> {
        // Tokens of identity providers say themselves whose they are.
        let credentials = match device::expires(&token) {
            Some(_) => Credentials::Bearer(token),
            None => Credentials::User {
                name: self.user.clone(),
                token,
            },
        };
        if let Some(plain) = server.strip_prefix("http://") {
            let plain = plain.trim_end_matches('/');
            let instance = CoordinatorInstance::parse(plain)?;
            if !instance.is_local() {
                let text = format!("{server} would be told your token in the clear");
                return Err(Error::new(ErrorKind::Denied, text)
                    .with_hint("name it without http://: TLS is then used"));
            }
            return plainly(&instance.host_port(), &credentials, api);
        }
        let instance = CoordinatorInstance::parse(server.trim_start_matches("https://"))?;
        let mut options = TlsOptions::new();
        if let Some(pem) = &self.roots {
            options = options.with_ca(pem.clone());
        }
        let later = instance.dialer(&options.clone().with_protocols(&["h2"]))?;
        let roots = self.roots.as_deref().map(str::as_bytes);
        GomoteClient::new(instance.dialer(&options)?, &credentials)
            .with_grpc(later, true, roots, api)
    }

    /// The coordinator.
    pub(super) fn client(&self) -> Result<&GomoteClient, Failure> {
        self.client.as_ref().ok_or_else(|| {
            Failure::usage(
                "there is no coordinator: no farm runs on this machine, and none was named",
                "start one with: farmer up; or name one with -server HOST",
            )
        })
    }
}

/// The folder for what can be computed again.
fn cache(home: &Path, named: Option<PathBuf>) -> PathBuf {
    let caches = match named.filter(|dir| dir.is_absolute()) {
        Some(dir) => dir,
        None if cfg!(target_os = "macos") => home.join("Library/Caches"),
        None => home.join(".cache"),
    };
    caches.join("farmer/push")
}

/// A client without TLS, which is for this machine alone.
fn plainly(address: &str, credentials: &Credentials, api: Api) -> Result<GomoteClient, Error> {
    let later = TcpDial::new(address);
    GomoteClient::new(TcpDial::new(address), credentials).with_grpc(later, false, None, api)
}

type OfUser = Box<dyn FnOnce(&str, Api) -> Result<GomoteClient, Error>>;

/// The farm that runs on this machine, and its token.
fn local_farm(data: Option<PathBuf>, home: &Path) -> Result<Option<OfUser>, Error> {
    let state = match std::env::var_os("XDG_STATE_HOME").map(PathBuf::from) {
        Some(state) if state.is_absolute() => state,
        _ if cfg!(target_os = "macos") => home.join("Library/Application Support"),
        _ => home.join(".local/state"),
    };
    let data = data.unwrap_or_else(|| state.join("farmer"));
    let Some(owner) = DataLock::owner(&data)? else {
        return Ok(None);
    };
    let (Some(address), Some(token)) = (owner.address, owner.token) else {
        return Ok(None);
    };
    let Some(plain) = address.strip_prefix("http://").map(str::to_owned) else {
        return Ok(None);
    };
    Ok(Some(Box::new(move |user, api| {
        let name = user.to_owned();
        plainly(&plain, &Credentials::User { name, token }, api)
    })))
}
