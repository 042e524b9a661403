//! `vcweb`: repositories for tests of version control clients.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use build_client::httpdl::HttpOptions;
use build_server::http::Hosts;
use build_server::https::Hellos;
use build_server::vcweb::{Options, Vcweb, ZipSource};
use clap::Parser;
use farmer_cli::serving;

use crate::door::DoorArgs;
use crate::listen::{failure, listen};

/// Serves git, Mercurial, Subversion, Bazaar and Fossil repositories, and plain files, for
/// tests of version control clients.
///
/// A repository is made when it is asked for first: /git/hello by the script git/hello.txt.
/// Ready ones, such as DIR/git/hello, are served as they are.
#[derive(Parser, Debug)]
#[command(
    name = "vcweb",
    after_help = "Examples:\n  vcweb -scripts $(go env GOROOT)/src/cmd/go/testdata/vcstest\n  \
        vcweb -d /srv/repositories -http :8088 -host vcs-test.example.org\n  \
        vcweb -zips https://storage.googleapis.com/vcs-test\n  git clone http://127.0.0.1:8088/git/hello\n\n\
        While it runs: / (what there is, and what is not installed), /tls, /healthz.\n\
        The scripts are described in docs/programs/vcweb.md."
)]
struct Args {
    /// Where to listen.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8088")]
    http: String,
    /// Ready repositories, and the place of made ones.
    #[arg(short, long = "d", value_name = "DIR", default_value = "/tmp/vcweb")]
    data: PathBuf,
    /// Scripts that make repositories.
    #[arg(long, value_name = "DIR")]
    scripts: Option<PathBuf>,
    /// Archives of ready repositories: a folder with git/hello.zip, or the address of one
    #[arg(long, value_name = "DIR|URL")]
    zips: Option<String>,
    /// Where Subversion's own protocol is served, when svnserve is installed.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    svn: String,
    /// A server of Subversion over HTTP, for ready repositories below /svn.
    #[arg(long, value_name = "ADDRESS")]
    svn_over_http: Option<String>,
    /// A name that it answers to, besides loopback; may be repeated.
    #[arg(long, value_name = "NAME")]
    host: Vec<String>,
    #[command(flatten)]
    door: DoorArgs,
}

pub(crate) fn main(args: Vec<OsString>) -> ExitCode {
    serving::<Args>(args, async |args, stop| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut options = Options::new(args.data, path);
        options.scripts = args.scripts;
        options.svn_over_http = args.svn_over_http;
        let names = args.host.iter().cloned().chain(args.door.names());
        options.hosts = names.fold(Hosts::default(), Hosts::and);
        options.zips = args.zips.map(source).transpose().map_err(failure)?;
        let hellos = Hellos::default();
        options.hellos = args.door.is_wanted().then(|| hellos.clone());
        let site = Vcweb::new(options).map_err(failure)?;
        let listener = listen(&args.http, "repositories are served").await?;
        let svn = listen(&args.svn, "Subversion's own protocol").await?;
        let (doors, renewed) = args.door.open(listener, Some(&hellos)).await?;
        let renewed = renewed.run(stop.clone());
        let (served, ()) = tokio::join!(site.run(doors, Some(svn), stop.clone()), renewed);
        served.map_err(failure)
    })
}

/// Where archives are; an address is asked through the proxy that the environment names.
fn source(place: String) -> build_core::Result<ZipSource> {
    if !place.starts_with("http://") && !place.starts_with("https://") {
        return Ok(ZipSource::Folder(place.into()));
    }
    let variable = |name: &str| {
        let lower = std::env::var(name.to_ascii_lowercase());
        lower.or_else(|_| std::env::var(name)).ok()
    };
    let mut options = HttpOptions::default().user_agent("farmer-vcweb/1");
    if let Some(proxy) = variable("HTTPS_PROXY") {
        options = options.https_proxy(proxy);
    }
    if let Some(hosts) = variable("NO_PROXY") {
        options = options.no_proxy(hosts);
    }
    Ok(ZipSource::Address(place, options.build()?))
}
