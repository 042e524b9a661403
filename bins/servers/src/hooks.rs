//! `issueswebhook`, `wikiwebhook`, `sendwikidiff`: receivers of notices from a code host.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use build_server::hooks::{
    Folder, IssuesHook, MailFolder, Secret, SmtpMailer, WikiHook, WikiMail, WikiMailOptions,
};
use build_server::http::Hosts;
use clap::{Args, Parser};
use farmer_cli::{Failure, serving};

use crate::listen::{failure, listen};

/// What the receivers have in common.
#[derive(Args, Debug)]
struct Receiver {
    /// Where to listen.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    http: String,
    /// A name that it answers to, besides loopback; may be repeated.
    #[arg(long, value_name = "NAME")]
    host: Vec<String>,
    /// The secret by which notices are signed.
    #[arg(
        long,
        value_name = "SECRET",
        env = "GITHUB_WEBHOOK_SECRET",
        hide_env_values = true,
        hide = true
    )]
    secret: Option<String>,
    /// A file with the secret by which notices are signed; or the variable
    /// GITHUB_WEBHOOK_SECRET holds it.
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
    /// Takes every notice for genuine.
    #[arg(long)]
    insecure_no_secret: bool,
}

impl Receiver {
    fn hosts(&self) -> Hosts {
        self.host.iter().fold(Hosts::default(), Hosts::and)
    }

    fn secret(&self) -> Result<Secret, Failure> {
        match (&self.secret_file, &self.secret) {
            (Some(file), _) => Secret::from_file(file).map_err(failure),
            (None, Some(secret)) if !secret.trim().is_empty() => {
                Secret::new(secret).map_err(failure)
            }
            _ if self.insecure_no_secret => Ok(Secret::none_insecurely()),
            _ => Err(Failure::usage(
                "there is no secret by which notices are signed",
                "give -secret-file FILE or set GITHUB_WEBHOOK_SECRET; \
                 -insecure-no-secret takes every notice",
            )),
        }
    }
}

/// Stores every notice of a repository's issues as DELIVERY.json.
#[derive(Parser, Debug)]
#[command(
    name = "issueswebhook",
    after_help = "Examples:\n  issueswebhook -secret-file secret -dir /var/lib/notices -http :8080 -host hooks.example.org\n  \
        GITHUB_WEBHOOK_SECRET=s3cr3t issueswebhook -dir notices\n\n\
        The code host sends notices to /, as JSON or as a form. Health: /healthz."
)]
struct Issues {
    #[command(flatten)]
    receiver: Receiver,
    /// Where notices are stored.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
}

pub(crate) fn issues(args: Vec<OsString>) -> ExitCode {
    serving::<Issues>(args, async |args, stop| {
        let folder = Folder::new(&args.dir).map_err(failure)?;
        let hook = IssuesHook::new(args.receiver.secret()?, folder);
        let listener = listen(&args.receiver.http, "notices of issues are taken").await?;
        hook.run(args.receiver.hosts(), listener, stop)
            .await
            .map_err(failure)
    })
}

/// Passes notices of changed wiki pages on, as messages for sendwikidiff.
#[derive(Parser, Debug)]
#[command(
    name = "wikiwebhook",
    after_help = "Examples:\n  wikiwebhook -secret-file secret -spool /var/spool/wiki -http :8081 -host hooks.example.org\n\n\
        The code host sends notices of the event gollum to /. Health: /healthz."
)]
struct Wiki {
    #[command(flatten)]
    receiver: Receiver,
    /// The folder of messages.
    #[arg(long, value_name = "DIR")]
    spool: PathBuf,
}

pub(crate) fn wiki(args: Vec<OsString>) -> ExitCode {
    serving::<Wiki>(args, async |args, stop| {
        let topic = Folder::new(&args.spool).map_err(failure)?;
        let hook = WikiHook::new(args.receiver.secret()?, topic);
        let listener = listen(&args.receiver.http, "notices of a wiki are taken").await?;
        hook.run(args.receiver.hosts(), listener, stop)
            .await
            .map_err(failure)
    })
}

/// Mails the changes of wiki pages.
#[derive(Parser, Debug)]
#[command(
    name = "sendwikidiff",
    after_help = "Examples:\n  sendwikidiff -spool /var/spool/wiki -smtp smtp://localhost:25\n  \
        sendwikidiff -spool spool -repo https://github.com/me/project.wiki.git -to list@example.org \\\n    \
        -from 'wiki <wiki@example.org>' -wiki github.com/me/project/wiki -mail-dir outbox\n\n\
        Messages are read from the folder -spool and taken at /. Health: /healthz."
)]
struct Send {
    /// Where to listen.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8082")]
    http: String,
    /// A name that it answers to, besides loopback; may be repeated.
    #[arg(long, value_name = "NAME")]
    host: Vec<String>,
    /// A file with the token that callers of / show as ?token=.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// The folder of messages.
    #[arg(long, value_name = "DIR")]
    spool: Option<PathBuf>,
    /// The wiki's repository.
    #[arg(long, value_name = "URL")]
    repo: Option<String>,
    /// Where the copy of it is.
    #[arg(long, value_name = "DIR", default_value = "sendwikidiff-data")]
    data: PathBuf,
    /// The sender.
    #[arg(long, value_name = "ADDRESS")]
    from: Option<String>,
    /// The recipient.
    #[arg(long, value_name = "ADDRESS")]
    to: Option<String>,
    /// The wiki's address, without a scheme.
    #[arg(long, value_name = "PLACE")]
    wiki: Option<String>,
    /// The mail server: smtps://HOST, smtp://HOST?tls=required, or smtp://localhost:25.
    #[arg(long, value_name = "URL", conflicts_with = "mail_dir")]
    smtp: Option<String>,
    /// The user of the mail server.
    #[arg(long, value_name = "NAME", requires = "smtp_password_file")]
    smtp_user: Option<String>,
    /// A file with the user's password.
    #[arg(long, value_name = "FILE")]
    smtp_password_file: Option<PathBuf>,
    /// Writes mails into a folder instead of sending them.
    #[arg(long, value_name = "DIR")]
    mail_dir: Option<PathBuf>,
}

pub(crate) fn wiki_mail(args: Vec<OsString>) -> ExitCode {
    serving::<Send>(args, async |args, stop| {
        let mut options = WikiMailOptions::new(&args.data);
        options.spool = args.spool.clone();
        let given = [
            (&mut options.repo, &args.repo),
            (&mut options.from, &args.from),
            (&mut options.to, &args.to),
            (&mut options.wiki, &args.wiki),
        ];
        for (option, given) in given {
            if let Some(given) = given {
                option.clone_from(given);
            }
        }
        options.token = args.token_file.as_deref().map(read).transpose()?;
        let has_token = options.token.is_some();
        let sender = match (&args.smtp, &args.mail_dir) {
            (Some(url), _) => WikiMail::new(options, smtp(&args, url)?),
            (None, Some(dir)) => WikiMail::new(options, MailFolder::new(dir).map_err(failure)?),
            (None, None) => {
                return Err(Failure::usage(
                    "there is no way for mail",
                    "give -smtp URL, or -mail-dir DIR to write mails into a folder",
                ));
            }
        };
        let listener = listen(&args.http, "messages about a wiki are taken").await?;
        if !has_token && !listener.local_addr()?.ip().is_loopback() {
            return Err(Failure::usage(
                "everybody in the network could have mail sent",
                "give -token-file FILE, or listen on loopback",
            ));
        }
        let hosts = args.host.iter().fold(Hosts::default(), Hosts::and);
        sender.run(hosts, listener, stop).await.map_err(failure)
    })
}

fn smtp(args: &Send, url: &str) -> Result<SmtpMailer, Failure> {
    let mailer = match (&args.smtp_user, &args.smtp_password_file) {
        (Some(user), Some(file)) => SmtpMailer::with_password(url, user, &read(file)?),
        _ => SmtpMailer::new(url),
    };
    mailer.map_err(failure)
}

/// The secret in a file.
fn read(file: &std::path::Path) -> Result<String, Failure> {
    let named =
        |e| failure(build_core::Error::from(e).while_doing(format!("read {}", file.display())));
    let text = std::fs::read_to_string(file)
        .map_err(named)?
        .trim()
        .to_owned();
    match text.is_empty() {
        true => Err(Failure::usage(
            format!("{} is empty", file.display()),
            "write the secret into it",
        )),
        false => Ok(text),
    }
}
