//! Places where effects go.

mod command;
#[cfg(feature = "coordinator")]
mod ledger;
#[cfg(feature = "mail-sink")]
mod mail;
#[cfg(feature = "webhook")]
mod webhook;

pub use command::CommandSink;
#[cfg(feature = "coordinator")]
pub use ledger::{Entry, EntryEvent, LedgerSink};
#[cfg(feature = "mail-sink")]
pub use mail::MailSink;
#[cfg(feature = "webhook")]
pub use webhook::WebhookSink;
