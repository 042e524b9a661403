//! `tip`: serves a site from the newest good commit.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use build_server::http::Hosts;
use build_server::tip::{Config, Tip};
use clap::Parser;
use farmer_cli::{Failure, serving};

use crate::door::DoorArgs;
use crate::listen::{failure, listen};

/// For a year nobody comes to a site that has TLS without it, as the program of 2020 says.
const TRANSPORT_SECURITY: &str = "max-age=31536000; includeSubDomains; preload";

/// Serves a site from the newest good commit of its sources.
///
/// A new commit is built beside the live site, started, and probed; only then do visitors see
/// it. A commit that does not build, start or answer well never replaces the live one.
#[derive(Parser, Debug)]
#[command(
    name = "tip",
    after_help = "Examples:\n  tip -config tip.toml -data /var/lib/tip\n  \
        TIP_BUILDER=golangorg tip -http :8080\n  tip -config tip.toml -http :80 -autocert tip.example.org -autocert-cache /var/lib/tip/certificates\n  tip -config tip.toml -check\n\n\
        While it runs: /_tip (page), /_tipstatus, /_tipstatus?format=json, /_ah/health.\n\
        What tip.toml holds is described in docs/programs/tip.md."
)]
struct Args {
    /// Where to listen.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    http: String,
    /// What to follow, build and serve.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// A site that is known: golangorg or talks.
    #[arg(long, value_name = "NAME", env = "TIP_BUILDER")]
    builder: Option<String>,
    /// Where repositories and built sites are kept.
    #[arg(long, value_name = "DIR", default_value = "tip-data")]
    data: PathBuf,
    /// A name that the pages about this server answer to, besides loopback; may be repeated.
    #[arg(long, value_name = "NAME")]
    host: Vec<String>,
    /// Only reads the configuration.
    #[arg(long)]
    check: bool,
    #[command(flatten)]
    door: DoorArgs,
}

pub(crate) fn main(args: Vec<OsString>) -> ExitCode {
    serving::<Args>(args, async |args, stop| {
        let config = read(args.config.as_deref(), args.builder.as_deref())?;
        if args.check {
            println!("the configuration is fine");
            return Ok(());
        }
        let names = args.host.iter().cloned().chain(args.door.names());
        let hosts = names.fold(Hosts::default(), Hosts::and);
        let tip = Tip::new(config, args.data)
            .map_err(failure)?
            .with_hosts(hosts);
        let listener = listen(&args.http, "the newest good commit is served").await?;
        let (doors, renewed) = args.door.open(listener, None).await?;
        let doors = doors
            .only_encrypted()
            .with_transport_security(TRANSPORT_SECURITY);
        let renewed = renewed.run(stop.clone());
        let (served, ()) = tokio::join!(tip.run(doors, stop.clone()), renewed);
        served.map_err(failure)
    })
}

fn read(file: Option<&std::path::Path>, builder: Option<&str>) -> Result<Config, Failure> {
    let config = match (file, builder) {
        (Some(file), _) => {
            let name = file.display().to_string();
            let text = std::fs::read_to_string(file).map_err(|e| {
                failure(build_core::Error::from(e).while_doing(format!("read {name}")))
            })?;
            Config::parse(&text, &name)
        }
        (None, Some(builder)) => Config::preset(builder),
        (None, None) => {
            return Err(Failure::usage(
                "no site is named",
                "give -config FILE, or set TIP_BUILDER to golangorg or talks",
            ));
        }
    };
    config.map_err(failure)
}
