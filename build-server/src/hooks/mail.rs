//! Mail: what is sent, and how.

use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use build_core::{Error, ErrorKind, Result};
use serde::Serialize;

use super::sink::{Folder, Sink as _};

/// A mail with the same contents twice: as text, and as HTML.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mail {
    /// The sender: `Name <address>`.
    pub from: String,
    /// The recipient.
    pub to: String,
    /// The subject, one line.
    pub subject: String,
    /// As text.
    pub text: String,
    /// As HTML.
    pub html: String,
}

impl Mail {
    /// Whether nothing in its head begins another line.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] when something does.
    pub fn check(&self) -> Result<()> {
        let head = [&self.from, &self.to, &self.subject];
        match head.iter().any(|line| line.chars().any(char::is_control)) {
            true => Err(Error::new(
                ErrorKind::Invalid,
                "a line of the mail's head holds a control character",
            )),
            false => Ok(()),
        }
    }
}

/// Sends mail.
#[async_trait]
pub trait Mailer: Send + Sync {
    /// Sends one; somebody else is responsible for it when this returns.
    ///
    /// # Errors
    /// When it was not accepted; it may be sent again.
    async fn send(&self, mail: &Mail) -> Result<()>;
}

/// Writes mail into a folder, each as a file of JSON, for another program to send.
#[derive(Debug)]
pub struct MailFolder {
    folder: Folder,
    next: AtomicU64,
}

impl MailFolder {
    /// The folder at `dir`, which is made.
    ///
    /// # Errors
    /// When it cannot be.
    pub fn new(dir: impl Into<std::path::PathBuf>) -> Result<Self> {
        Ok(Self {
            folder: Folder::new(dir)?,
            next: AtomicU64::new(0),
        })
    }
}

#[async_trait]
impl Mailer for MailFolder {
    async fn send(&self, mail: &Mail) -> Result<()> {
        mail.check()?;
        let text = serde_json::to_vec_pretty(mail)
            .map_err(|e| Error::caused_by(ErrorKind::Bug, "write a mail", e))?;
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let mut random = [0; 8];
        getrandom::fill(&mut random)
            .map_err(|e| Error::caused_by(ErrorKind::Bug, "name a mail", e))?;
        let name = format!("{number:06}-{}.json", hex::encode(random));
        self.folder.put(&name, &text).await
    }
}
