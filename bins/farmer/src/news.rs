//! Who is told of news, set up from `farmer.toml`.

use std::path::Path;
use std::sync::Arc;

use build_core::event::{KindSet, StreamKind};
use build_core::recipe::{Channel, MailServer, Notify};
use build_core::{Error, ErrorKind, Result};
use build_server::coordinator::Handle;
use build_server::notify::{NotifyReader, sink_of};
use build_server::readers::sinks::{CommandSink, MailSink, WebhookSink};
use build_server::readers::{Follower, LedgerMemos, LogFeed, Sink};

/// The reader that tells, if anybody is to be told.
///
/// # Errors
/// When an address is none, or a file with a secret cannot be read.
pub(crate) fn teller(
    notify: &[Notify],
    mail: Option<&MailServer>,
    handle: &Handle,
    address: &str,
) -> Result<Option<Follower<NotifyReader>>> {
    if notify.is_empty() {
        return Ok(None);
    }
    let ledger = handle.ledger();
    let reader = NotifyReader::new(handle.records().clone(), notify.to_vec(), address);
    let feed = LogFeed::new(ledger.events().clone(), KindSet::of([StreamKind::BUILD]));
    let mut follower = Follower::new(reader, feed, Arc::new(LedgerMemos::new(ledger))).from_end();
    for who in notify {
        let doing = |e: Error| e.while_doing(format!("set up [[notify]] {}", who.name));
        let sink = sink(&who.channel, mail).map_err(doing)?;
        follower = follower.any_sink(sink_of(&who.name).map_err(doing)?, sink);
    }
    Ok(Some(follower))
}

fn sink(channel: &Channel, mail: Option<&MailServer>) -> Result<Arc<dyn Sink>> {
    match channel {
        Channel::Command(words) => {
            let (program, args) = words.split_first().ok_or_else(unknown)?;
            Ok(Arc::new(CommandSink::new(program, args)))
        }
        Channel::Webhook { url, secret_file } => {
            let sink = WebhookSink::new(url)?;
            Ok(Arc::new(match secret_file {
                Some(file) => sink.signed(&secret(Path::new(file))?),
                None => sink,
            }))
        }
        Channel::Mail(to) => {
            let server = mail.ok_or_else(unknown)?;
            let password = server.password_file.as_deref().map(Path::new);
            let password = password.map(secret).transpose()?;
            let login = server.user.as_deref().zip(password.as_deref());
            Ok(Arc::new(MailSink::new(
                &server.server,
                login,
                &server.from,
                to,
            )?))
        }
        _ => Err(unknown()),
    }
}

fn unknown() -> Error {
    Error::new(ErrorKind::Unsupported, "no way to tell is known")
}

fn secret(file: &Path) -> Result<String> {
    let read = std::fs::read_to_string(file).map_err(|e| {
        Error::caused_by(ErrorKind::Invalid, format!("read {}", file.display()), e)
            .with_hint("the file holds the secret and nothing else, and its owner may read it")
    })?;
    Ok(read.trim().to_owned())
}
