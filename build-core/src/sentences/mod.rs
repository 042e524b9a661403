//! Sentences about builds, the same for the API, pages and programs.

mod ended;
mod outside;
mod person;
mod span;
mod waiting;

pub use ended::end;
pub use outside::outside;
pub use person::person;
pub use span::{about, took};
pub use waiting::{ahead, class, eta, reason, tier, unblock, waiting};
