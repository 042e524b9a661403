//! Small receivers of notices from a code host.
//!
//! | service | takes | does |
//! |---|---|---|
//! | [`IssuesHook`] | any signed notice | stores it as `DELIVERY.json` |
//! | [`WikiHook`] | a signed notice of changed wiki pages | passes it on as a message |
//! | [`WikiMail`] | such a message | mails the change of each page |
//!
//! Signatures are checked in constant time over the raw body; without a secret nothing is
//! taken. Where notices go and how mail is sent are traits: [`Sink`], [`Mailer`].

mod github;
mod issues;
mod mail;
mod sink;
#[cfg(feature = "mail")]
mod smtp;
mod wiki;
mod wiki_mail;

pub use github::Secret;
pub use issues::IssuesHook;
pub use mail::{Mail, MailFolder, Mailer};
pub use sink::{Folder, Sink};
#[cfg(feature = "mail")]
pub use smtp::SmtpMailer;
pub use wiki::WikiHook;
pub use wiki_mail::{WikiMail, WikiMailOptions};
