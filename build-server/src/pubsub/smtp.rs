//! Mail in: a small server of SMTP for one recipient.

use std::sync::Arc;
use std::time::Duration;

use build_core::pubsubtypes::Event;
use build_core::{Error, ErrorKind, Result};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::{PubSub, count, gerrit};
use crate::supervise::Supervisor;

/// Connections at a time.
const CONNECTIONS: usize = 64;
/// For one line.
const LINE_LIMIT: Duration = Duration::from_secs(60);
/// For one connection.
const LIMIT: Duration = Duration::from_secs(3600);
/// Bytes of a command, and of a line of a mail.
const MAX_COMMAND: u64 = 4096;
const MAX_LINE: u64 = 64 << 10;
/// Bytes of a mail; what is larger is read and ignored.
const MAX_MAIL: usize = 5 << 20;
/// For the check of a signature, which asks the DNS.
const CHECK_LIMIT: Duration = Duration::from_secs(15);

/// Takes mail until `token` is canceled.
pub(super) async fn serve(
    listener: TcpListener,
    site: PubSub,
    token: CancellationToken,
) -> Result<()> {
    let tasks = Supervisor::with_token("smtp", token.child_token());
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let accepted = async {
            let slot = slots.clone().acquire_owned().await;
            (slot, listener.accept().await)
        };
        let Some((slot, accepted)) = token.run_until_cancelled(accepted).await else {
            break;
        };
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let (site, ends) = (site.clone(), tasks.token().clone());
        tasks.group("connection").spawn("serve", async move {
            let _slot = slot;
            let done = tokio::time::timeout(LIMIT, Dialogue::new(stream, site).run());
            if let Some(Ok(Err(error))) = ends.run_until_cancelled(done).await {
                tracing::debug!(error = error.chain(), "a connection has ended");
            }
        });
    }
    if let Err(error) = tasks.drain(Duration::from_secs(2)).await {
        tracing::debug!(%error, "smtp has ended");
    }
    Ok(())
}

struct Dialogue {
    stream: BufReader<TcpStream>,
    site: PubSub,
    sender: Option<String>,
    has_recipient: bool,
}

impl Dialogue {
    fn new(stream: TcpStream, site: PubSub) -> Self {
        Self {
            stream: BufReader::new(stream),
            site,
            sender: None,
            has_recipient: false,
        }
    }

    async fn run(mut self) -> Result<()> {
        let host = self.site.options.mail_host.clone();
        self.reply(&format!("220 {host} ESMTP gosmtpd")).await?;
        loop {
            let line = self.line(MAX_COMMAND).await?;
            let Some(line) = line.strip_suffix(b"\r\n") else {
                self.reply("500 line doesn't end in \\r\\n").await?;
                continue;
            };
            let line = String::from_utf8_lossy(line).into_owned();
            let (verb, argument) = line.split_once(' ').unwrap_or((&line, ""));
            let verb = verb.to_ascii_uppercase();
            match (verb.as_str(), argument) {
                ("HELO" | "EHLO", _) => self.hello(&host).await?,
                ("MAIL", _) => self.mail(argument).await?,
                ("RCPT", _) => self.recipient(argument).await?,
                ("DATA" | "RSET" | "QUIT", argument) if !argument.is_empty() => {
                    self.reply("500 unexpected argument").await?;
                }
                ("DATA", _) => self.data().await?,
                ("RSET", _) => {
                    self.forget();
                    self.reply("250 2.0.0 OK").await?;
                }
                ("NOOP", _) => self.reply("250 2.0.0 OK").await?,
                ("QUIT", _) => return self.reply("221 2.0.0 Bye").await,
                _ => {
                    self.reply("502 5.5.2 Error: command not recognized")
                        .await?;
                }
            }
        }
    }

    async fn hello(&mut self, host: &str) -> Result<()> {
        let can = [
            host,
            "PIPELINING",
            "SIZE 10240000",
            "ENHANCEDSTATUSCODES",
            "8BITMIME",
            "DSN",
        ];
        let (last, first) = can.split_last().unwrap_or((&"", &[]));
        let mut lines: String = first.iter().map(|line| format!("250-{line}\r\n")).collect();
        lines.push_str(&format!("250 {last}"));
        self.reply(&lines).await
    }

    async fn mail(&mut self, argument: &str) -> Result<()> {
        if self.sender.is_some() {
            return self.reply("503 5.5.1 Error: nested MAIL command").await;
        }
        match address(argument, "FROM:") {
            Some(sender) => {
                self.sender = Some(sender);
                self.reply("250 2.1.0 Ok").await
            }
            None => self.reply("501 5.1.7 Bad sender address syntax").await,
        }
    }

    async fn recipient(&mut self, argument: &str) -> Result<()> {
        let reply = if self.sender.is_none() {
            "503 5.5.1 Error: need MAIL command"
        } else {
            match address(argument, "TO:") {
                None => "501 5.1.7 Bad sender address syntax",
                Some(to) if to != self.site.options.recipient => "550 bad recipient",
                Some(_) if self.has_recipient => "554 5.5.1 Error: dup recipients",
                Some(_) => {
                    self.has_recipient = true;
                    "250 2.1.0 Ok"
                }
            }
        };
        self.reply(reply).await
    }

    async fn data(&mut self) -> Result<()> {
        let Some(sender) = self.sender.clone() else {
            return self.reply("503 5.5.1 Error: need RCPT command").await;
        };
        if !self.has_recipient {
            return self.reply("554 5.5.1 Error: no valid recipients").await;
        }
        self.reply("354 Go ahead").await?;
        let mut mail = Vec::new();
        let mut is_whole = true;
        loop {
            let line = self.line(MAX_LINE).await?;
            if line == b".\r\n" {
                break;
            }
            let line = line.strip_prefix(b".").unwrap_or(&line);
            if mail.len() + line.len() > MAX_MAIL {
                is_whole = false;
            } else if is_whole {
                mail.extend_from_slice(line);
            }
        }
        // The sender learns nothing of what comes of it.
        self.forget();
        self.reply("250 2.0.0 Ok: queued").await?;
        count(&self.site.counts.mails);
        let policy = &self.site.options.policy;
        let checked = async {
            if !is_whole {
                let text = format!("the mail has more than {MAX_MAIL} bytes");
                return Err(Error::new(ErrorKind::Limit, text));
            }
            gerrit::event(policy, &*self.site.verifier, &sender, &mail).await
        };
        let event = tokio::time::timeout(CHECK_LIMIT, checked).await;
        match event {
            Ok(Ok(event)) => {
                tracing::info!(?event, "an event of Gerrit");
                self.site.hub.publish(Event {
                    gerrit: Some(event),
                    ..Event::default()
                });
            }
            Ok(Err(error)) => {
                count(&self.site.counts.mails_ignored);
                tracing::warn!(error = error.chain(), "a mail is ignored");
            }
            Err(_) => {
                count(&self.site.counts.mails_ignored);
                tracing::warn!("a mail is ignored: its signature could not be checked in time");
            }
        }
        Ok(())
    }

    fn forget(&mut self) {
        self.sender = None;
        self.has_recipient = false;
    }

    /// A line with its end, of at most `most` bytes.
    async fn line(&mut self, most: u64) -> Result<Vec<u8>> {
        let mut line = Vec::new();
        let read = async {
            let mut limited = (&mut self.stream).take(most);
            limited.read_until(b'\n', &mut line).await
        };
        let read = tokio::time::timeout(LINE_LIMIT, read).await;
        let n = read.map_err(|_| Error::new(ErrorKind::TimedOut, "no line came"))??;
        match (n, line.ends_with(b"\n")) {
            (0, _) => Err(Error::new(ErrorKind::Canceled, "the sender has gone")),
            (_, true) => Ok(line),
            (_, false) => Err(Error::new(
                ErrorKind::Limit,
                "a line is too long or cut off",
            )),
        }
    }

    async fn reply(&mut self, text: &str) -> Result<()> {
        let line = format!("{text}\r\n");
        let write = self.stream.get_mut().write_all(line.as_bytes());
        let written = tokio::time::timeout(LINE_LIMIT, write).await;
        Ok(written.map_err(|_| Error::new(ErrorKind::TimedOut, "nobody reads"))??)
    }
}

/// The address in `FROM:<a@b>`; what comes after it does not matter.
fn address(argument: &str, keyword: &str) -> Option<String> {
    let begins = argument.get(..keyword.len())?.eq_ignore_ascii_case(keyword);
    let rest = argument.get(keyword.len()..)?.strip_prefix('<')?;
    let (address, _) = rest.split_once('>')?;
    begins.then(|| address.to_owned())
}
