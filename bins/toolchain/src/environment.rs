//! What the environment says: where toolchains are kept and where they come from.
//!
//! - `HOME` (`USERPROFILE` on Windows): toolchains are in its `sdk`; `FARMER_SDK` names another place.
//! - `FARMER_TOOLCHAINS`: a file of rows, laid over those that are built in.
//! - `FARMER_MIRROR_GO`, `FARMER_MIRROR_NODE`, …: mirrors of one row, separated by spaces or commas.
//! - `HTTP_PROXY`, `HTTPS_PROXY`, `NO_PROXY`, in small letters too.
//! - `FARMER_CA_FILE`: certificates in PEM that are trusted beside the machine's own.
//! - `FARMER_GOTIP_REMOTE`: the git repository of `gotip`. `GOROOT_BOOTSTRAP`: the Go that builds it.

use std::path::PathBuf;

use build_client::httpdl::HttpOptions;
use build_client::toolchain::{Rows, Source, ToolchainDir};
use farmer_cli::Failure;

use crate::told::failure;

/// Where Go's own repository is.
const GO_REMOTE: &str = "https://go.googlesource.com/go";

/// What was read of the environment.
pub(crate) struct Environment {
    pub(crate) dir: ToolchainDir,
    pub(crate) rows: Rows,
    pub(crate) bootstrap: Option<PathBuf>,
    pub(crate) remote: String,
    http: HttpOptions,
}

impl Environment {
    pub(crate) fn read() -> Result<Self, Failure> {
        let sdk = match path("FARMER_SDK") {
            Some(sdk) => sdk,
            None => home()?.join("sdk"),
        };
        Ok(Self {
            dir: ToolchainDir::new(sdk),
            rows: rows()?,
            bootstrap: path("GOROOT_BOOTSTRAP"),
            remote: remote(),
            http: http()?,
        })
    }

    /// Where toolchains come from.
    pub(crate) fn source(&self) -> Result<Source, Failure> {
        let client = self.http.build().map_err(|error| failure(&error))?;
        Ok(Source::new(client, self.rows.clone()))
    }
}

fn path(name: &str) -> Option<PathBuf> {
    let value = std::env::var_os(name).filter(|value| !value.is_empty());
    value.map(PathBuf::from)
}

fn text(names: &[&str]) -> Option<String> {
    let values = names.iter().filter_map(|name| std::env::var(name).ok());
    values.into_iter().find(|value| !value.is_empty())
}

fn home() -> Result<PathBuf, Failure> {
    let home = std::env::home_dir().filter(|home| home.is_absolute());
    home.ok_or_else(|| {
        Failure::usage(
            "failed to get home directory",
            "set HOME, or FARMER_SDK to where toolchains are to be kept",
        )
    })
}

fn rows() -> Result<Rows, Failure> {
    let mut rows = match path("FARMER_TOOLCHAINS") {
        None => Rows::default(),
        Some(file) => {
            let shown = file.display();
            let text = std::fs::read_to_string(&file).map_err(|error| {
                Failure::usage(
                    format!("read {shown}: {error}"),
                    "FARMER_TOOLCHAINS names it",
                )
            })?;
            Rows::with(&text).map_err(|error| failure(&error.while_doing(shown.to_string())))?
        }
    };
    let names: Vec<String> = rows.names().map(str::to_owned).collect();
    for name in names {
        let variable = format!("FARMER_MIRROR_{}", name.to_uppercase().replace('-', "_"));
        let Some(mirrors) = text(&[&variable]) else {
            continue;
        };
        let mirrors = mirrors
            .split([' ', ','])
            .filter(|mirror| !mirror.is_empty());
        let mirrors = mirrors.map(str::to_owned).collect();
        rows.set_mirrors(&name, mirrors)
            .map_err(|error| failure(&error))?;
    }
    Ok(rows)
}

fn http() -> Result<HttpOptions, Failure> {
    let mut http = HttpOptions::default()
        .user_agent(concat!("farmer-toolchain/", env!("CARGO_PKG_VERSION")))
        .no_proxy(text(&["NO_PROXY", "no_proxy"]).unwrap_or_default());
    if let Some(proxy) = text(&["HTTP_PROXY", "http_proxy"]) {
        http = http.http_proxy(proxy);
    }
    if let Some(proxy) = text(&["HTTPS_PROXY", "https_proxy"]) {
        http = http.https_proxy(proxy);
    }
    if let Some(file) = path("FARMER_CA_FILE") {
        let pem = std::fs::read(&file).map_err(|error| {
            let what = format!("read {}: {error}", file.display());
            Failure::usage(what, "FARMER_CA_FILE names it")
        })?;
        http = http.roots(pem);
    }
    Ok(http)
}

/// A directory of this machine is meant from wherever git runs.
fn remote() -> String {
    let remote = text(&["FARMER_GOTIP_REMOTE"]).unwrap_or_else(|| GO_REMOTE.to_owned());
    match std::fs::canonicalize(&remote) {
        Ok(path) => path.to_string_lossy().into_owned(),
        Err(_) => remote,
    }
}
