//! What a local build may see of the user who started the farm.
//!
//! Builds find the user's tools and their caches, so that cargo, go and npm are there and warm,
//! but none of the user's credentials: the environment is made from an allow-list, and HOME is a
//! directory of the machine's own. What tools look for below HOME is linked into it piece by
//! piece: caches yes, files that may hold credentials no.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// Variables that are handed on as they are, beside those of `TOOL_HOMES`. None of them names a credential or an agent socket.
const HANDED_ON: &[&str] = &[
    // The system.
    "PATH",
    "LANG",
    "LANGUAGE",
    "TZ",
    "USER",
    "LOGNAME",
    "SHELL",
    "XDG_RUNTIME_DIR",
    // Tools and where they keep what they have downloaded.
    "RUSTUP_TOOLCHAIN",
    "RUSTUP_AUTO_INSTALL",
    "RUSTUP_DIST_SERVER",
    "RUSTUP_UPDATE_ROOT",
    "GOTOOLCHAIN",
    "GOFLAGS",
    "GOSUMDB",
    "GONOSUMDB",
    "GOPRIVATE",
    "PYENV_VERSION",
    "GRADLE_HOME",
    "CCACHE_DIR",
    "SCCACHE_DIR",
    "NIX_PATH",
    "PKG_CONFIG_PATH",
    // Where packages come from and go to; left out when a URL in it carries a password.
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "GOPROXY",
    "PIP_INDEX_URL",
    "PIP_EXTRA_INDEX_URL",
    "PIP_FIND_LINKS",
    "PIP_DEFAULT_TIMEOUT",
    "UV_INDEX_URL",
    "npm_config_registry",
];

/// Variables of a directory that holds nothing but downloads, and where it is below the user's
/// home when the variable is not set.
const CACHES: &[(&str, &str)] = &[
    ("RUSTUP_HOME", ".rustup"),
    ("GOMODCACHE", "go/pkg/mod"),
    ("GOCACHE", ".cache/go-build"),
    ("PIP_CACHE_DIR", ".cache/pip"),
    ("UV_CACHE_DIR", ".cache/uv"),
    ("npm_config_cache", ".npm"),
    ("YARN_CACHE_FOLDER", ".cache/yarn"),
];

/// What of cargo's home is linked. `credentials` and `credentials.toml` are not.
const CARGO_PARTS: &[&str] = &[
    "registry",
    "git",
    "bin",
    "env",
    "config",
    "config.toml",
    ".crates.toml",
    ".crates2.json",
];

/// Directories below the user's home that tools find by name alone. Their neighbours hold
/// credentials: `.m2/settings.xml`, `.gradle/gradle.properties`.
const LINKED: &[&str] = &[
    ".m2/repository",
    ".gradle/caches",
    ".gradle/wrapper",
    ".cache/ccache",
    ".nvm",
];

/// The one of `CACHES` that holds programs.
const TOOLCHAINS: &str = "RUSTUP_HOME";
/// The one of `LINKED` that does.
const NODES: &str = ".nvm";
/// Variables that are handed on as well, and what they name is read: directories of tools, and
/// certificate authorities, which private networks add to.
const TOOL_HOMES: &[&str] = &[
    "GOROOT",
    "NVM_DIR",
    "VOLTA_HOME",
    "FNM_DIR",
    "PYENV_ROOT",
    "JAVA_HOME",
    "MAVEN_HOME",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "NIX_SSL_CERT_FILE",
    "CURL_CA_BUNDLE",
    "REQUESTS_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "NODE_EXTRA_CA_CERTS",
    "PIP_CERT",
    "CARGO_HTTP_CAINFO",
];
/// How directories of programs are called that belong to what is beside them.
const TOOL_DIRS: &[&str] = &["bin", "shims", "condabin"];
/// Directories below a home that hold programs of many tools, and more.
const SHARED_PARENTS: &[&str] = &[".local", ".cargo", "go", ".config", "Library"];

/// The part of a user's environment that builds may see.
#[derive(Clone, Debug)]
pub(super) struct Tools {
    handed_on: BTreeMap<OsString, OsString>,
    caches: Vec<(&'static str, PathBuf)>,
    home: Option<PathBuf>,
    cargo_home: Option<PathBuf>,
}

impl Tools {
    /// A variable that is handed on.
    pub(super) fn variable(&self, name: &str) -> Option<&OsStr> {
        self.handed_on
            .get(OsStr::new(name))
            .map(OsString::as_os_str)
    }

    /// Where a cache is.
    pub(super) fn cache(&self, name: &str) -> Option<&Path> {
        let cache = self.caches.iter().find(|(known, _)| *known == name);
        cache.map(|(_, path)| path.as_path())
    }

    /// Chosen from the environment of the user.
    pub(super) fn of(env: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let all: BTreeMap<OsString, OsString> = env.into_iter().collect();
        let dir = |name: &str| {
            all.get(OsStr::new(name))
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        let home = dir("HOME");
        let below_home = |path: &str| home.as_ref().map(|home| home.join(path));
        let mod_cache = dir("GOPATH").map(|path| path.join("pkg/mod"));
        let caches = CACHES.iter().filter_map(|&(name, path)| {
            let told = dir(name).or_else(|| mod_cache.clone().filter(|_| name == "GOMODCACHE"));
            Some((name, told.or_else(|| below_home(path))?))
        });
        Self {
            caches: caches.collect(),
            cargo_home: dir("CARGO_HOME").or_else(|| below_home(".cargo")),
            handed_on: all
                .iter()
                .filter(|(name, value)| may_be_handed_on(name, value))
                .map(|(n, v)| (n.clone(), v.clone()))
                .collect(),
            home,
        }
    }

    /// The whole environment of a machine whose home is `home`.
    pub(super) fn env(&self, home: &Path) -> Vec<(OsString, OsString)> {
        let mut env: Vec<_> = self.handed_on.clone().into_iter().collect();
        let caches = self.caches.iter().filter(|(_, path)| path.is_dir());
        env.extend(caches.map(|(name, path)| ((*name).into(), path.into())));
        env.extend([
            ("HOME".into(), home.into()),
            ("CARGO_HOME".into(), home.join(".cargo").into()),
            ("GOPATH".into(), home.join("go").into()),
            // A tool that asks a question would wait for ever.
            ("GIT_TERMINAL_PROMPT".into(), "0".into()),
            ("TERM".into(), "dumb".into()),
        ]);
        env
    }

    /// The home of the user.
    pub(super) fn users_home(&self) -> Option<&Path> {
        self.home.as_deref()
    }

    /// Where downloads and results are that machines share with the user and one another.
    pub(super) fn shared(&self) -> Vec<PathBuf> {
        let downloads = self.caches.iter().filter(|(name, _)| *name != TOOLCHAINS);
        let mut all: Vec<_> = downloads.map(|(_, path)| path.clone()).collect();
        let cargo = ["registry", "git"].iter();
        all.extend(cargo.filter_map(|part| Some(self.cargo_home.as_ref()?.join(part))));
        let linked = LINKED.iter().filter(|path| **path != NODES);
        all.extend(linked.filter_map(|path| Some(self.home.as_ref()?.join(path))));
        let told = ["CCACHE_DIR", "SCCACHE_DIR"].iter();
        all.extend(told.filter_map(|name| self.handed_on.get(OsStr::new(name)).map(PathBuf::from)));
        all
    }

    /// Tools that write to their own directories: what builds write there is not the user's.
    pub(super) fn layered(&self) -> Vec<PathBuf> {
        let toolchains = self.caches.iter().filter(|(name, _)| *name == TOOLCHAINS);
        let mut all: Vec<_> = toolchains.map(|(_, path)| path.clone()).collect();
        all.extend(self.home.as_ref().map(|home| home.join(NODES)));
        all
    }

    /// Tools that are only read: what is on `PATH`, with the directory around it where it is one of
    /// that tool alone, and what variables name.
    pub(super) fn readable(&self) -> Vec<PathBuf> {
        let told = |name: &str| self.handed_on.get(OsStr::new(name)).cloned();
        let mut all = Vec::new();
        for dir in std::env::split_paths(&told("PATH").unwrap_or_default()) {
            all.extend(self.around(&dir));
            all.push(dir);
        }
        all.extend(
            TOOL_HOMES
                .iter()
                .filter_map(|name| told(name))
                .map(PathBuf::from),
        );
        if let Some(cargo) = &self.cargo_home {
            let parts = CARGO_PARTS
                .iter()
                .filter(|part| !["registry", "git"].contains(part));
            all.extend(parts.map(|part| cargo.join(part)));
        }
        all.retain(|path| path.is_absolute());
        all
    }

    /// `~/.pyenv` for `~/.pyenv/shims`, but neither `~` nor a directory with credentials.
    fn around(&self, dir: &Path) -> Option<PathBuf> {
        let parent = dir.parent()?;
        let home = self.home.as_ref()?;
        let below = parent.strip_prefix(home).ok()?;
        let name = dir.file_name()?.to_str()?;
        let own = below != Path::new("")
            && !SHARED_PARENTS
                .iter()
                .any(|shared| below == Path::new(shared))
            && Some(parent) != self.cargo_home.as_deref();
        (own && TOOL_DIRS.contains(&name)).then(|| parent.to_owned())
    }

    /// Makes the home of a machine.
    pub(super) fn furnish(&self, home: &Path) -> io::Result<()> {
        let cargo = home.join(".cargo");
        fs::create_dir_all(&cargo)?;
        if let Some(theirs) = &self.cargo_home {
            for part in CARGO_PARTS {
                let from = theirs.join(part);
                if !part.starts_with("config") || has_no_token(&from) {
                    link(&from, &cargo.join(part))?;
                }
            }
        }
        let Some(theirs) = &self.home else {
            return Ok(());
        };
        LINKED
            .iter()
            .try_for_each(|path| link(&theirs.join(path), &home.join(path)))
    }
}

fn may_be_handed_on(name: &OsStr, value: &OsStr) -> bool {
    let (Some(name), Some(value)) = (name.to_str(), value.to_str()) else {
        return false;
    };
    let is_known = HANDED_ON.contains(&name) || TOOL_HOMES.contains(&name);
    (is_known || name.starts_with("LC_")) && !has_password(value)
}

/// Whether a URL in the text names a user: `https://user:token@host/`.
fn has_password(text: &str) -> bool {
    let mut after_scheme = text.split("://").skip(1);
    after_scheme.any(|rest| {
        rest.split(['/', ',', ' ', '|'])
            .next()
            .is_some_and(|host| host.contains('@'))
    })
}

/// Cargo's configuration may hold tokens, though `cargo login` puts them elsewhere.
fn has_no_token(path: &Path) -> bool {
    fs::read_to_string(path).is_ok_and(|text| !text.contains("token") && !has_password(&text))
}

/// Links what is there.
fn link(from: &Path, to: &Path) -> io::Result<()> {
    if !from.exists() {
        return Ok(());
    }
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent)?;
    }
    symlink(from, to)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vars(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
        pairs
            .iter()
            .map(|(name, value)| (name.into(), value.into()))
            .collect()
    }

    fn get<'e>(env: &'e [(OsString, OsString)], name: &str) -> Option<&'e str> {
        env.iter()
            .rfind(|(n, _)| n == name)
            .and_then(|(_, value)| value.to_str())
    }

    #[test]
    fn credentials_are_not_handed_on() {
        let user = vars(&[
            ("PATH", "/bin"),
            ("LC_ALL", "C"),
            ("HOME", "/home/u"),
            ("SSH_AUTH_SOCK", "/tmp/agent"),
            ("AWS_SECRET_ACCESS_KEY", "s"),
            ("GITHUB_TOKEN", "s"),
            ("CARGO_REGISTRY_TOKEN", "s"),
            ("GOOGLE_APPLICATION_CREDENTIALS", "/k.json"),
            ("KUBECONFIG", "/k"),
            ("NPM_TOKEN", "s"),
            ("HTTPS_PROXY", "http://u:secret@proxy:3128"),
            ("HTTP_PROXY", "http://proxy:3128"),
            (
                "GOPROXY",
                "https://ok.example,https://tok@private.example|direct",
            ),
        ]);
        let env = Tools::of(user).env(Path::new("/m/home"));
        let names: Vec<_> = env.iter().map(|(name, _)| name.to_str().unwrap()).collect();
        assert_eq!(
            names,
            [
                "HTTP_PROXY",
                "LC_ALL",
                "PATH",
                "HOME",
                "CARGO_HOME",
                "GOPATH",
                "GIT_TERMINAL_PROMPT",
                "TERM"
            ]
        );
        assert_eq!(get(&env, "HOME"), Some("/m/home"));
    }

    #[test]
    fn tool_homes_are_the_users_where_they_exist() {
        let user = tempfile::tempdir().unwrap();
        for dir in [".rustup", "gopath/pkg/mod", ".npm"] {
            fs::create_dir_all(user.path().join(dir)).unwrap();
        }
        let home = user.path().to_str().unwrap();
        let gopath = format!("{home}/gopath");
        let env = Tools::of(vars(&[("HOME", home), ("GOPATH", &gopath)])).env(Path::new("/m/home"));
        assert_eq!(get(&env, "RUSTUP_HOME"), Some(&*format!("{home}/.rustup")));
        assert_eq!(get(&env, "GOMODCACHE"), Some(&*format!("{gopath}/pkg/mod")));
        assert_eq!(
            get(&env, "npm_config_cache"),
            Some(&*format!("{home}/.npm"))
        );
        assert_eq!(get(&env, "PIP_CACHE_DIR"), None, "there is none");
        assert_eq!(get(&env, "GOPATH"), Some("/m/home/go"));
    }

    #[test]
    fn a_machines_home_has_caches_and_no_credentials() {
        let (user, machine) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let files = [
            ".cargo/registry/index",
            ".cargo/credentials.toml",
            ".cargo/config.toml",
            ".m2/repository/a",
            ".m2/settings.xml",
            ".ssh/id_ed25519",
            ".npmrc",
            ".netrc",
            ".aws/credentials",
            ".docker/config.json",
        ];
        for file in files {
            let path = user.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        }
        let tools = Tools::of(vars(&[("HOME", user.path().to_str().unwrap())]));
        tools.furnish(machine.path()).unwrap();
        let there = files.map(|file| machine.path().join(file).exists());
        assert_eq!(
            there,
            [
                true, false, true, true, false, false, false, false, false, false
            ]
        );
    }

    #[test]
    fn a_cargo_configuration_with_a_token_stays_away() {
        let (user, machine) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(
            user.path().join("config.toml"),
            "[registries.mine]\ntoken = \"s\"\n",
        )
        .unwrap();
        let tools = Tools::of(vars(&[("CARGO_HOME", user.path().to_str().unwrap())]));
        tools.furnish(machine.path()).unwrap();
        assert!(!machine.path().join(".cargo/config.toml").exists());
    }
}
