//! `[[notify]]` and `[mail]` of `farmer.toml`: who is told when something breaks or is mended.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::farmer_toml::invalid;
use crate::error::Result;
use crate::ids::SinkName;

/// Something that people are told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum News {
    /// A branch failed on a builder on which it had passed, or was never built.
    Broken,
    /// It passes there again.
    Fixed,
}

impl News {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Broken, Self::Fixed];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Broken => "broken",
            Self::Fixed => "fixed",
        }
    }
}

/// How somebody is told.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Channel {
    /// A program is run with the news on its standard input.
    Command(Vec<String>),
    /// The news are posted to an address.
    Webhook {
        /// The address.
        url: String,
        /// The file that holds the secret by which they are signed.
        secret_file: Option<String>,
    },
    /// Mail is sent to these addresses.
    Mail(Vec<String>),
}

/// Somebody who is told of news.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notify {
    /// Its name: news are told once under each.
    pub name: SinkName,
    /// What is told.
    pub on: BTreeSet<News>,
    /// How.
    pub channel: Channel,
}

/// Through which server mail goes.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct MailServer {
    /// Its address: `smtps://mail.example.org`.
    pub server: String,
    /// Who writes: `Farm <farm@example.org>`.
    pub from: String,
    /// As whom to sign in.
    pub user: Option<String>,
    /// The file that holds the password.
    pub password_file: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct RawNotify {
    name: String,
    on: Option<Vec<String>>,
    command: Option<Vec<String>>,
    webhook: Option<String>,
    secret_file: Option<String>,
    mail: Option<Vec<String>>,
}

pub(super) fn read(raw: Vec<RawNotify>, server: Option<&MailServer>) -> Result<Vec<Notify>> {
    let mut names = BTreeSet::new();
    let mut all = Vec::new();
    for raw in raw {
        let notify = raw.read(server)?;
        if !names.insert(notify.name.clone()) {
            let text = format!("two [[notify]] are called {:?}", notify.name.as_str());
            return Err(invalid(text).with_hint("give each a name of its own"));
        }
        all.push(notify);
    }
    Ok(all)
}

impl RawNotify {
    fn read(self, server: Option<&MailServer>) -> Result<Notify> {
        let bad = |what: &str, hint: &str| {
            Err(invalid(format!("notify {:?}: {what}", self.name)).with_hint(hint))
        };
        let Ok(name) = SinkName::new(&self.name) else {
            return bad("bad name", "letters, digits, '-', '_' and '.' make a name");
        };
        let words = self
            .on
            .clone()
            .unwrap_or_else(|| vec!["broken".into(), "fixed".into()]);
        let mut on = BTreeSet::new();
        for word in &words {
            match News::ALL.into_iter().find(|news| news.as_str() == word) {
                Some(news) => on.insert(news),
                None => {
                    return bad(
                        &format!("unknown news {word:?}"),
                        "there are broken and fixed",
                    );
                }
            };
        }
        if on.is_empty() {
            return bad("nothing is told", "leave `on` out to tell of everything");
        }
        if self.secret_file.is_some() && self.webhook.is_none() {
            return bad(
                "a secret_file without a webhook",
                "only webhooks are signed",
            );
        }
        let channel = match (&self.command, &self.webhook, &self.mail) {
            (Some(command), None, None) if !command.is_empty() => Channel::Command(command.clone()),
            (None, Some(url), None) => Channel::Webhook {
                url: url.clone(),
                secret_file: self.secret_file.clone(),
            },
            (None, None, Some(_)) if server.is_none() => {
                return bad(
                    "there is no mail server",
                    "say in [mail] through which server mail goes",
                );
            }
            (None, None, Some(to)) if !to.is_empty() => Channel::Mail(to.clone()),
            _ => return bad("no way to tell", "give one of command, webhook and mail"),
        };
        Ok(Notify { name, on, channel })
    }
}
