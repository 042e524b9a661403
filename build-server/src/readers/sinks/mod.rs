//! Places where effects go.

mod command;
#[cfg(feature = "mail")]
mod mail;
#[cfg(feature = "webhook")]
mod webhook;

pub use command::CommandSink;
#[cfg(feature = "mail")]
pub use mail::MailSink;
#[cfg(feature = "webhook")]
pub use webhook::WebhookSink;
