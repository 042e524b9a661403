//! `pubsubhelper`: notices of GitHub and Gerrit as one stream of events.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use build_server::http::Hosts;
use build_server::pubsub::{DkimVerifier, EventHub, MailPolicy, Options, PubSub};
use clap::Parser;
use farmer_cli::{Failure, serving};

use crate::door::DoorArgs;
use crate::listen::{failure, listen};

/// Turns webhooks of GitHub and mail of Gerrit into one stream of events, for programs that
/// wait for the next one.
#[derive(Parser, Debug)]
#[command(
    name = "pubsubhelper",
    after_help = "Examples:\n  pubsubhelper -http :80 -smtp :25 -host pubsub.example.org -webhook-secret-file secret -behind-tls\n  pubsubhelper -http :80 -smtp :25 -autocert pubsub.example.org -webhook-secret-file secret\n  \
        pubsubhelper -http 127.0.0.1:8090 -webhook-secret-file secret\n  \
        curl 'http://127.0.0.1:8090/waitevent?after=2020-12-23T10:00:00Z'\n\n\
        Pages: / (events), /recent, /status.json (counters). Health: /healthz.\n\
        See docs/programs/pubsubhelper.md."
)]
struct Args {
    /// Where to listen.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8090")]
    http: String,
    /// Where mail is taken; nowhere when empty.
    #[arg(long, value_name = "ADDRESS", default_value = "")]
    smtp: String,
    /// The only recipient of mail.
    #[arg(
        long,
        value_name = "ADDRESS",
        default_value = "gopherbot@pubsubhelper.golang.org"
    )]
    rcpt: String,
    /// The name by which it presents itself to those who send mail.
    #[arg(long, value_name = "NAME", default_value = "localhost")]
    mail_host: String,
    /// Mail that is believed: the domain that signs, and the host of the envelope's sender, as
    /// DOMAIN=HOST; may be repeated. Default: the Gerrit of Google.
    #[arg(long, value_name = "PAIR")]
    trust: Vec<String>,
    /// A file of keys, `SELECTOR._domainkey.DOMAIN RECORD` on each line, instead of the DNS.
    #[arg(long, value_name = "FILE")]
    dkim_keys: Option<PathBuf>,
    /// The server of the DNS that is asked for keys, as IP:PORT. Default: the machine's.
    #[arg(long, value_name = "ADDRESS", conflicts_with = "dkim_keys")]
    dkim_dns: Option<std::net::SocketAddr>,
    /// The secret by which GitHub signs, for development.
    #[arg(
        long,
        value_name = "SECRET",
        env = "PUBSUBHELPER_WEBHOOK_SECRET",
        hide_env_values = true
    )]
    webhook_secret: Option<String>,
    /// A file with the secret by which GitHub signs.
    #[arg(long, value_name = "FILE")]
    webhook_secret_file: Option<PathBuf>,
    /// Refuses signatures by SHA-1.
    #[arg(long)]
    no_sha1: bool,
    /// Answers a wrong signature with 401 instead of 200.
    #[arg(long)]
    strict: bool,
    /// Takes webhooks only from a proxy that says, by X-Forwarded-Proto, that they came by TLS.
    #[arg(long)]
    behind_tls: bool,
    /// A name that it answers to, besides loopback; may be repeated.
    #[arg(long, value_name = "NAME")]
    host: Vec<String>,
    #[command(flatten)]
    door: DoorArgs,
}

pub(crate) fn main(args: Vec<OsString>) -> ExitCode {
    serving::<Args>(args, async |args, stop| {
        let names = args.host.iter().cloned().chain(args.door.names());
        let options = Options {
            webhook_secret: secret(&args)?,
            allow_sha1: !args.no_sha1,
            strict: args.strict,
            require_https: args.behind_tls || args.door.is_wanted(),
            mail_host: args.mail_host.clone(),
            recipient: args.rcpt.clone(),
            policy: policy(&args.trust)?,
            hosts: names.fold(Hosts::default(), Hosts::and),
        };
        if options.webhook_secret.is_none() && args.smtp.is_empty() {
            return Err(Failure::usage(
                "no events can come",
                "give -webhook-secret-file FILE for GitHub, or -smtp ADDRESS for Gerrit",
            ));
        }
        let verifier = match &args.dkim_keys {
            Some(file) => DkimVerifier::from_keys(&read(file)?),
            None => args
                .dkim_dns
                .map_or_else(DkimVerifier::from_dns, DkimVerifier::from_dns_at),
        };
        let server = PubSub::new(EventHub::default(), options, verifier.map_err(failure)?);
        let listener = listen(&args.http, "events are served").await?;
        let mail = match args.smtp.as_str() {
            "" => None,
            address => Some(listen(address, "Mail is taken").await?),
        };
        let (doors, renewed) = args.door.open(listener, None).await?;
        let renewed = renewed.run(stop.clone());
        let (served, ()) = tokio::join!(server.run(doors, mail, stop.clone()), renewed);
        served.map_err(failure)
    })
}

fn secret(args: &Args) -> Result<Option<Vec<u8>>, Failure> {
    let text = match (&args.webhook_secret_file, &args.webhook_secret) {
        (Some(file), _) => read(file)?,
        (None, Some(secret)) => secret.clone(),
        (None, None) => return Ok(None),
    };
    match text.trim() {
        "" => Err(Failure::usage(
            "the secret of webhooks is empty",
            "everybody could sign: write a long random word into the file",
        )),
        secret => Ok(Some(secret.as_bytes().to_vec())),
    }
}

fn policy(trust: &[String]) -> Result<MailPolicy, Failure> {
    if trust.is_empty() {
        return Ok(MailPolicy::default());
    }
    let pair = |text: &String| match text.split_once('=') {
        Some((domain, host)) if !domain.is_empty() && !host.is_empty() => {
            Ok((domain.to_ascii_lowercase(), host.to_ascii_lowercase()))
        }
        _ => Err(Failure::usage(
            format!("{text:?} does not say whom to trust"),
            "write DOMAIN=HOST, such as google.com=gerritcodereview.bounces.google.com",
        )),
    };
    let trusted = trust.iter().map(pair).collect::<Result<_, _>>()?;
    Ok(MailPolicy { trusted })
}

fn read(file: &std::path::Path) -> Result<String, Failure> {
    std::fs::read_to_string(file).map_err(|e| {
        failure(build_core::Error::from(e).while_doing(format!("read {}", file.display())))
    })
}
