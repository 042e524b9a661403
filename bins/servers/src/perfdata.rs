//! `perfdata`: results of benchmarks, stored, compared, and shown over commits.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use build_server::http::Hosts;
use build_server::perf::{PerfData, PerfStore};
use clap::Parser;
use farmer_cli::{Failure, serving};

use crate::listen::{failure, listen};

/// Takes results of benchmarks, searches and compares them, and shows them over commits.
#[derive(Parser, Debug)]
#[command(
    name = "perfdata",
    after_help = "Examples:\n  perfdata -data /var/lib/perfdata\n  \
        perfdata -http :8083 -token /etc/perfdata.token -host perf.example.org\n  \
        curl -F file=@new.txt http://127.0.0.1:8083/upload\n  \
        curl 'http://127.0.0.1:8083/search?q=upload:20201223.1'\n\n\
        Pages: / (uploads), /compare, /dashboard/. JSON: /uploads, /compare?format=json,\n\
        /dashboard/data.json. Health: /healthz. See docs/programs/perfdata.md."
)]
struct Args {
    /// Where to listen.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8083")]
    http: String,
    /// The folder of uploads: all there is.
    #[arg(long, value_name = "DIR", default_value = "perfdata")]
    data: PathBuf,
    /// A file with the token that uploads must show.
    #[arg(long, value_name = "FILE")]
    token: Option<PathBuf>,
    /// Bytes of one upload at most.
    #[arg(long, value_name = "BYTES", default_value_t = 64 << 20)]
    max_upload: u64,
    /// A name that it answers to, besides loopback; may be repeated.
    #[arg(long, value_name = "NAME")]
    host: Vec<String>,
}

pub(crate) fn main(args: Vec<OsString>) -> ExitCode {
    serving::<Args>(args, async |args, stop| {
        let store = PerfStore::open(&args.data).map_err(failure)?;
        let hosts = args.host.iter().fold(Hosts::default(), Hosts::and);
        let mut server = PerfData::new(store)
            .with_hosts(hosts)
            .with_max_upload(args.max_upload);
        if let Some(file) = &args.token {
            let token = std::fs::read_to_string(file).map_err(|e| {
                failure(build_core::Error::from(e).while_doing(format!("read {}", file.display())))
            })?;
            if token.trim().is_empty() {
                let text = format!("{} holds no token", file.display());
                return Err(Failure::usage(text, "write a long random word into it"));
            }
            server = server.with_token(&token);
        }
        let listener = listen(&args.http, "results of benchmarks are served").await?;
        let is_local = listener.local_addr()?.ip().is_loopback();
        if args.token.is_none() && !is_local {
            return Err(Failure::usage(
                "everybody in the network could upload",
                "give -token FILE, or listen on loopback",
            ));
        }
        server.run(listener, stop).await.map_err(failure)
    })
}
