//! Mail by SMTP.

use std::time::Duration;

use async_trait::async_trait;
use build_core::{Error, ErrorKind, Result};
use lettre::message::{Mailbox, MultiPart};
use lettre::transport::smtp::authentication::Credentials;
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor};

use super::mail::{Mail, Mailer};

/// For the whole exchange with the server.
const LIMIT: Duration = Duration::from_secs(60);

/// Sends mail through a server.
#[derive(Debug)]
pub struct SmtpMailer(AsyncSmtpTransport<Tokio1Executor>);

impl SmtpMailer {
    /// A server by URL: `smtps://user:password@host`, `smtp://host?tls=required`, or
    /// `smtp://localhost:25` without TLS.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] when it cannot be read; the URL, which may hold a password, is not
    /// repeated.
    pub fn new(url: &str) -> Result<Self> {
        let builder = AsyncSmtpTransport::<Tokio1Executor>::from_url(url).map_err(|e| {
            Error::caused_by(ErrorKind::Invalid, "read the URL of the mail server", e)
        })?;
        Ok(Self(builder.timeout(Some(LIMIT)).build()))
    }

    /// The same with a password that is not in the URL.
    ///
    /// # Errors
    /// As [`SmtpMailer::new`].
    pub fn with_password(url: &str, user: &str, password: &str) -> Result<Self> {
        let builder = AsyncSmtpTransport::<Tokio1Executor>::from_url(url).map_err(|e| {
            Error::caused_by(ErrorKind::Invalid, "read the URL of the mail server", e)
        })?;
        let credentials = Credentials::new(user.to_owned(), password.trim().to_owned());
        Ok(Self(
            builder
                .timeout(Some(LIMIT))
                .credentials(credentials)
                .build(),
        ))
    }
}

#[async_trait]
impl Mailer for SmtpMailer {
    async fn send(&self, mail: &Mail) -> Result<()> {
        mail.check()?;
        let mailbox = |text: &str| {
            let parsed = text.parse::<Mailbox>();
            parsed.map_err(|e| {
                Error::caused_by(ErrorKind::Invalid, format!("read the address {text:?}"), e)
            })
        };
        let message = Message::builder()
            .from(mailbox(&mail.from)?)
            .to(mailbox(&mail.to)?)
            .subject(mail.subject.clone())
            .multipart(MultiPart::alternative_plain_html(
                mail.text.clone(),
                mail.html.clone(),
            ))
            .map_err(|e| Error::caused_by(ErrorKind::Invalid, "write a mail", e))?;
        let sent = tokio::time::timeout(LIMIT, self.0.send(message)).await;
        match sent {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(Error::caused_by(
                ErrorKind::Unavailable,
                "send a mail",
                error,
            )),
            Err(_) => Err(Error::new(
                ErrorKind::TimedOut,
                "the mail server does not answer",
            )),
        }
    }
}
