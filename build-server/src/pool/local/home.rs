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

use build_core::pool::ToolCache;

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
    "bin",
    "env",
    "config",
    "config.toml",
    ".crates.toml",
    ".crates2.json",
];

/// What of cargo's home is nothing but downloads.
const CARGO_CACHES: &[&str] = &["registry", "git"];

/// Directories below the user's home that tools find by name alone. Their neighbours hold
/// credentials: `.m2/settings.xml`, `.gradle/gradle.properties`.
const LINKED: &[&str] = &[
    ".m2/repository",
    ".m2/wrapper",
    ".gradle/caches",
    ".gradle/wrapper",
    ".cache/ccache",
    ".nvm",
];

const PYTHON: &[&str] = &["pip", "pip3", "python", "python3", "tox", "hatch", "poetry"];
/// Whose cache each is that is named above.
const OF_TOOLS: &[(&str, &str, &[&str])] = &[
    (".cargo/registry", "cargo registry", &["cargo"]),
    (".cargo/git", "cargo registry", &["cargo"]),
    ("GOMODCACHE", "Go modules", &["go"]),
    ("GOCACHE", "Go results", &["go"]),
    ("npm_config_cache", "npm", &["npm", "npx", "node"]),
    ("YARN_CACHE_FOLDER", "yarn", &["yarn"]),
    ("PIP_CACHE_DIR", "pip", PYTHON),
    ("UV_CACHE_DIR", "uv", &["uv", "uvx"]),
    (".m2/repository", "Maven", &["mvn", "mvnw"]),
    (".m2/wrapper", "Maven", &["mvnw"]),
    (".gradle/caches", "Gradle", &["gradle", "gradlew"]),
    (".gradle/wrapper", "Gradle", &["gradlew"]),
    (".cache/ccache", "ccache", &["ccache"]),
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
const TOOL_DIRS: &[&str] = &["bin", SHIMS, "condabin"];
/// Where pyenv, rbenv and others keep a program for each that their versions have.
const SHIMS: &str = "shims";
/// Directories below a home that hold programs of many tools, and more.
const SHARED_PARENTS: &[&str] = &[".local", ".cargo", "go", ".config", "Library"];

/// The part of a user's environment that builds may see.
#[derive(Clone, Debug)]
pub(super) struct Tools {
    handed_on: BTreeMap<OsString, OsString>,
    caches: Vec<(&'static str, PathBuf)>,
    home: Option<PathBuf>,
    cargo_home: Option<PathBuf>,
    /// What is linked from a machine's home: the place there, and what it leads to.
    linked: Vec<(PathBuf, PathBuf)>,
    /// Caches of the farm's own, where the user has none; they are made with the first machine.
    own: Vec<PathBuf>,
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
        let cargo_home = dir("CARGO_HOME").or_else(|| below_home(".cargo"));
        let cargo = CARGO_CACHES.iter().filter_map(|part| {
            let theirs = cargo_home.as_ref()?.join(part);
            Some((Path::new(".cargo").join(part), theirs))
        });
        let others = LINKED.iter();
        let others = others.filter_map(|path| Some((PathBuf::from(path), below_home(path)?)));
        let linked = cargo.chain(others).collect();
        Self {
            caches: caches.collect(),
            cargo_home,
            linked,
            own: Vec::new(),
            handed_on: all
                .iter()
                .filter(|(name, value)| may_be_handed_on(name, value))
                .map(|(n, v)| (n.clone(), v.clone()))
                .collect(),
            home,
        }
    }

    /// Keeps below `dir` what the user has no cache for, so that one build warms the next; toolchains
    /// excepted.
    #[must_use]
    pub(super) fn keep_below(mut self, dir: &Path) -> Self {
        for (name, path) in &mut self.caches {
            if *name != TOOLCHAINS && !path.is_dir() {
                *path = dir.join(name);
                self.own.push(path.clone());
            }
        }
        for (place, path) in &mut self.linked {
            if place != Path::new(NODES) && !path.is_dir() {
                *path = dir.join(place.to_string_lossy().trim_start_matches('.'));
                self.own.push(path.clone());
            }
        }
        self
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
            // Java takes the home that the system knows, not HOME; no build may write to that one.
            ("GRADLE_USER_HOME".into(), home.join(".gradle").into()),
            ("MAVEN_USER_HOME".into(), home.join(".m2").into()),
            // A tool that asks a question would wait for ever.
            ("GIT_TERMINAL_PROMPT".into(), "0".into()),
            ("TERM".into(), "dumb".into()),
        ]);
        env.extend(maven_options(home).map(|options| ("MAVEN_OPTS".into(), options)));
        env
    }

    /// Where results of Go lie: a buildlet has a directory of its own for them unless it is told.
    pub(super) fn go_cache(&self) -> Option<&Path> {
        let found = self.caches.iter().find(|(name, _)| *name == "GOCACHE");
        found
            .map(|(_, path)| path.as_path())
            .filter(|path| path.is_dir())
    }

    /// The caches that have something in them.
    pub(super) fn warm(&self) -> Vec<ToolCache> {
        let has_some = |path: &Path| fs::read_dir(path).is_ok_and(|mut all| all.next().is_some());
        let is_warm = |place: &str| match self.cache(place) {
            Some(path) => has_some(path),
            None => {
                let mut linked = self.linked.iter();
                linked.any(|(of, path)| of == Path::new(place) && has_some(path))
            }
        };
        let all = OF_TOOLS.iter().filter(|(place, ..)| is_warm(place));
        all.map(|&(_, name, programs)| ToolCache { name, programs })
            .collect()
    }

    /// The home of the user.
    pub(super) fn users_home(&self) -> Option<&Path> {
        self.home.as_deref()
    }

    /// Where downloads and results are that machines share with the user and one another.
    pub(super) fn shared(&self) -> Vec<PathBuf> {
        let downloads = self.caches.iter().filter(|(name, _)| *name != TOOLCHAINS);
        let mut all: Vec<_> = downloads.map(|(_, path)| path.clone()).collect();
        let linked = self
            .linked
            .iter()
            .filter(|(place, _)| place != Path::new(NODES));
        all.extend(linked.map(|(_, path)| path.clone()));
        let told = ["CCACHE_DIR", "SCCACHE_DIR"].iter();
        all.extend(told.filter_map(|name| self.handed_on.get(OsStr::new(name)).map(PathBuf::from)));
        all
    }

    /// Tools that write to their own directories: what builds write there is not the user's.
    pub(super) fn layered(&self) -> Vec<PathBuf> {
        let toolchains = self.caches.iter().filter(|(name, _)| *name == TOOLCHAINS);
        let mut all: Vec<_> = toolchains.map(|(_, path)| path.clone()).collect();
        all.extend(self.home.as_ref().map(|home| home.join(NODES)));
        // They write new shims whenever a package brings a program.
        let told = |name: &str| self.handed_on.get(OsStr::new(name)).cloned();
        all.extend(told("PYENV_ROOT").map(PathBuf::from));
        let path = told("PATH").unwrap_or_default();
        let shims = std::env::split_paths(&path).filter(|dir| dir.ends_with(SHIMS));
        all.extend(shims.filter_map(|dir| self.around(&dir)));
        all.retain(|path| path.is_absolute());
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
            all.extend(CARGO_PARTS.iter().map(|part| cargo.join(part)));
        }
        all.retain(|path| path.is_absolute());
        all
    }

    /// `~/.pyenv` for `~/.pyenv/shims`, but neither `~` nor a directory with credentials.
    fn around(&self, dir: &Path) -> Option<PathBuf> {
        let parent = dir.parent()?;
        let below = self.below_a_home(parent)?;
        let name = dir.file_name()?.to_str()?;
        let own = below != Path::new("")
            && !SHARED_PARENTS
                .iter()
                .any(|shared| below == Path::new(shared))
            && Some(parent) != self.cargo_home.as_deref();
        (own && TOOL_DIRS.contains(&name)).then(|| parent.to_owned())
    }

    /// The rest of a path below the user's home, or below a home of the system: a farm may have
    /// been started with another `HOME`.
    fn below_a_home<'p>(&self, path: &'p Path) -> Option<&'p Path> {
        let own = self.home.as_ref();
        if let Some(below) = own.and_then(|home| path.strip_prefix(home).ok()) {
            return Some(below);
        }
        if let Ok(below) = path.strip_prefix("/root") {
            return Some(below);
        }
        let mut parts = path.strip_prefix("/home").ok()?.components();
        parts.next()?;
        Some(parts.as_path())
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
        self.own
            .iter()
            .try_for_each(|dir| crate::store::private::create_dir_all(dir))?;
        let mut linked = self.linked.iter();
        linked.try_for_each(|(place, path)| link(path, &home.join(place)))
    }
}

/// Names the home of a machine to Java. Maven splits its options at blanks and knows no quotes, so
/// one with a blank cannot be named.
fn maven_options(home: &Path) -> Option<OsString> {
    let mut options = OsString::from("-Duser.home=");
    options.push(home);
    let mut bytes = options.as_encoded_bytes().iter();
    let has_blank = bytes.any(u8::is_ascii_whitespace);
    (!has_blank).then_some(options)
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
    fn what_the_user_has_no_cache_for_is_the_farms_own() {
        let place = tempfile::tempdir().unwrap();
        let (user, farm) = (place.path().join("u"), place.path().join("farm"));
        fs::create_dir_all(user.join(".cargo/registry")).unwrap();
        fs::create_dir_all(user.join(".npm")).unwrap();
        let tools = Tools::of(vars(&[("HOME", user.to_str().unwrap())])).keep_below(&farm);
        for machine in ["m1", "m2"].map(|name| place.path().join(name)) {
            tools.furnish(&machine).unwrap();
            let leads = |path: &str| fs::read_link(machine.join(path)).unwrap();
            assert_eq!(leads(".cargo/registry"), user.join(".cargo/registry"));
            assert_eq!(leads(".m2/repository"), farm.join("m2/repository"));
            assert!(farm.join("m2/repository").is_dir() && !machine.join(".nvm").exists());
            let env = tools.env(&machine);
            assert_eq!(get(&env, "npm_config_cache"), user.join(".npm").to_str());
            assert_eq!(get(&env, "GOCACHE"), farm.join("GOCACHE").to_str());
            assert!(farm.join("GOCACHE").is_dir());
            assert_eq!(get(&env, "RUSTUP_HOME"), None);
        }
        assert_eq!(tools.warm(), [], "nothing was downloaded yet");
        fs::write(farm.join("GOCACHE/README"), "").unwrap();
        fs::write(user.join(".npm/a"), "").unwrap();
        let warm: Vec<_> = tools.warm().iter().map(|cache| cache.name).collect();
        assert_eq!(warm, ["Go results", "npm"]);
        assert!(tools.shared().contains(&farm.join("cargo/git")));
        assert!(!tools.shared().iter().any(|path| path.ends_with(".nvm")));
        // Nothing is made for the user.
        let mut theirs: Vec<_> = user
            .read_dir()
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect();
        theirs.sort();
        assert_eq!(theirs, [".cargo", ".npm"]);
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
                "GRADLE_USER_HOME",
                "MAVEN_USER_HOME",
                "GIT_TERMINAL_PROMPT",
                "TERM",
                "MAVEN_OPTS"
            ]
        );
        assert_eq!(get(&env, "HOME"), Some("/m/home"));
    }

    #[test]
    fn what_belongs_to_programs_is_read_whosever_home_it_lies_in() {
        let path = "/u/.pyenv/shims:/root/.pyenv/shims:/home/ann/.volta/bin:/home/ann/.local/bin:/root/bin:/home/bin:/opt/x/bin";
        let tools = Tools::of(vars(&[("HOME", "/u"), ("PATH", path)]));
        let dirs = std::env::split_paths(path).collect::<Vec<_>>();
        let mut around = tools.readable();
        around.retain(|found| !dirs.contains(found));
        around.retain(|found| !found.starts_with("/u/.cargo"));
        let expected = ["/u/.pyenv", "/root/.pyenv", "/home/ann/.volta"].map(PathBuf::from);
        assert_eq!(around, expected);
        let layered = tools.layered();
        assert!(expected[..2].iter().all(|shims| layered.contains(shims)));
        assert!(!layered.contains(&expected[2]));
        let blanks = Tools::of(vars(&[])).env(Path::new("/m 1/home"));
        assert_eq!(get(&blanks, "MAVEN_OPTS"), None);
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
