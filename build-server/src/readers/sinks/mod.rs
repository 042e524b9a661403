//! Places where effects go.

mod command;

pub use command::CommandSink;
