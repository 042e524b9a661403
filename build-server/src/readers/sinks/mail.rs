//! Mail through a server of one's own.

use std::time::Duration;

use async_trait::async_trait;
use build_core::reader::Call;
use build_core::{Error, ErrorKind, Result};
use lettre::message::Mailbox;
use lettre::message::header::ContentType;
use lettre::transport::smtp::authentication::Credentials;
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::readers::sink::{Made, Sink};

/// How long a conversation with the server may take.
const DEADLINE: Duration = Duration::from_secs(60);

/// Sends the body of each effect, an object with `subject` and `text`, by SMTP.
///
/// Mail is sent at least once: when the answer of the server is lost, it is sent again. The
/// `Message-ID` is made of the effect's key, so that many mailboxes show the second one not.
pub struct MailSink {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    to: Vec<Mailbox>,
}

#[derive(Deserialize)]
struct Letter {
    subject: String,
    text: String,
}

impl MailSink {
    /// Mail through `server`, such as `smtps://mail.example.org` or `smtp://localhost:25`, from
    /// one address to others, written like `Farm <farm@example.org>`.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] naming the address that is none.
    pub fn new(
        server: &str,
        login: Option<(&str, &str)>,
        from: &str,
        to: &[String],
    ) -> Result<Self> {
        let bad = |what: &str, e: &dyn std::fmt::Display| {
            Error::new(ErrorKind::Invalid, format!("bad {what}: {e}"))
                .with_hint("docs/configuration.md shows how mail is set up")
        };
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::from_url(server)
            .map_err(|e| bad("mail server", &e))?
            .timeout(Some(DEADLINE / 2));
        if let Some((user, password)) = login {
            builder = builder.credentials(Credentials::new(user.to_owned(), password.to_owned()));
        }
        let mailbox = |text: &str| text.parse::<Mailbox>().map_err(|e| bad("mail address", &e));
        Ok(Self {
            transport: builder.build(),
            from: mailbox(from)?,
            to: to.iter().map(|to| mailbox(to)).collect::<Result<_>>()?,
        })
    }

    fn message(&self, call: &Call) -> Result<Message> {
        let invalid = |e: Box<dyn std::error::Error + Send + Sync>| {
            Error::caused_by(
                ErrorKind::Invalid,
                format!("write mail {}", call.effect.key),
                e,
            )
        };
        let letter: Letter =
            serde_json::from_str(call.effect.body.get()).map_err(|e| invalid(e.into()))?;
        let id = hex::encode(&Sha256::digest(call.effect.key.as_str())[..16]);
        let mut message = Message::builder()
            .message_id(Some(format!("<{id}@{}>", self.from.email.domain())))
            .from(self.from.clone())
            .subject(letter.subject)
            .header(ContentType::TEXT_PLAIN);
        for to in &self.to {
            message = message.to(to.clone());
        }
        message.body(letter.text).map_err(|e| invalid(e.into()))
    }
}

#[async_trait]
impl Sink for MailSink {
    fn deadline(&self) -> Duration {
        DEADLINE
    }

    async fn make(&self, call: &Call) -> Made {
        let message = match self.message(call) {
            Ok(message) => message,
            Err(error) => return error.into(),
        };
        match self.transport.send(message).await {
            Ok(_) => Made::Yes,
            Err(error) if error.is_permanent() => Made::Never(error.to_string()),
            Err(error) => {
                let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
                Made::Perhaps(format!("{error}{}", cause.unwrap_or_default()).into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use build_core::reader::CallKind;
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
    use tokio::net::TcpListener;

    use super::*;

    fn call() -> Call {
        let letter = serde_json::json!({"subject": "main is broken", "text": "It was.\n"});
        Call {
            number: 1,
            kind: CallKind::Make,
            attempt: 1,
            effect: crate::readers::effect("k", "t", "mail", &letter).unwrap(),
        }
    }

    fn sink(server: &str) -> MailSink {
        let to = ["A <a@example.org>".to_owned(), "b@example.org".to_owned()];
        MailSink::new(server, None, "Farm <farm@example.org>", &to).unwrap()
    }

    /// A server for one letter.
    async fn serve(listener: &TcpListener, answer: &str) -> String {
        let (stream, _) = listener.accept().await.unwrap();
        let (read, mut write) = stream.into_split();
        let mut lines = BufReader::new(read).lines();
        let (mut letter, mut in_letter) = (String::new(), false);
        write.write_all(b"220 ready\r\n").await.unwrap();
        while let Ok(Some(line)) = lines.next_line().await {
            letter += &line;
            letter.push('\n');
            let reply = match (in_letter, line.as_str()) {
                (true, ".") => answer,
                (true, _) => continue,
                (false, "DATA") => {
                    in_letter = true;
                    "354 go on"
                }
                (false, "QUIT") => "221 bye",
                (false, _) => "250 ok",
            };
            in_letter &= line != ".";
            write
                .write_all(format!("{reply}\r\n").as_bytes())
                .await
                .unwrap();
            if reply == answer {
                break;
            }
        }
        letter
    }

    #[tokio::test]
    async fn a_letter_is_written_and_the_server_decides() {
        for (answer, is_made) in [("250 taken", true), ("554 never", false)] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let sink = sink(&format!("smtp://{}", listener.local_addr().unwrap()));
            let call = call();
            let (made, letter) = tokio::join!(sink.make(&call), serve(&listener, answer));
            assert_eq!(made == Made::Yes, is_made, "{made:?}");
            assert_eq!(matches!(made, Made::Never(_)), !is_made, "{made:?}");
            for part in [
                "RCPT TO:<b@example.org>",
                "Subject: main is broken",
                "Message-ID: <8254c329a92850f6d539dd376f4816ee@example.org>",
                "It was.",
            ] {
                assert!(letter.contains(part), "{part} is missing in {letter}");
            }
        }
    }

    #[tokio::test]
    async fn a_server_that_is_away_is_tried_again() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let sink = sink(&format!("smtp://{}", listener.local_addr().unwrap()));
        drop(listener);
        assert!(matches!(sink.make(&call()).await, Made::Perhaps(_)));
    }

    #[test]
    fn bad_addresses_are_refused() {
        let to = ["nobody".to_owned()];
        assert!(MailSink::new("smtp://localhost", None, "a@b.org", &to).is_err());
        assert!(MailSink::new("localhost", None, "a@b.org", &[]).is_err());
    }
}
