//! Who reads.

use std::time::Duration;

use async_trait::async_trait;
use build_core::clock::{Clock, SystemClock};
use build_core::ids::{EffectKey, ReaderName, SinkName, Topic};
use build_core::reader::{Effect, How, OnPoison, Taken};
use build_core::{Error, ErrorKind, Result};
use bytes::Bytes;
use serde::Serialize;
use serde_json::value::to_raw_value;

use super::feed::Feed;

/// A named reconciler: looks at items and says what follows from them. It never acts itself.
#[async_trait]
pub trait Reader: Send + 'static {
    /// What it reads.
    type Feed: Feed;

    /// Under which its cursor is kept; to be changed never.
    fn name(&self) -> &ReaderName;

    /// What becomes of an item that it cannot look at. The default sets it aside, which is told,
    /// and goes on.
    fn on_poison(&self) -> OnPoison {
        OnPoison::SetAside
    }

    /// The state that it gave last, before the first item of a process.
    ///
    /// # Errors
    /// When it makes no sense; the reader does not start then.
    async fn resume(&mut self, state: Option<Bytes>) -> Result<()> {
        let _not_kept = state;
        Ok(())
    }

    /// What follows from these items. The same items may be given again, after a failure or a
    /// crash: the same effects must follow, with the same keys.
    ///
    /// # Errors
    /// A retryable kind ([`ErrorKind::is_retryable`]) when something it needs is not there at
    /// present: asked again for as long as that takes. Any other counts against the items; after
    /// three, or two panics, the one that is the cause is looked for.
    async fn take(&mut self, items: &[<Self::Feed as Feed>::Item]) -> Result<Taken>;
}

/// A week to get through.
const PATIENCE: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// An effect that the receiver knows again by its key, tried for a week.
///
/// # Errors
/// [`ErrorKind::Invalid`] when a name is none, [`ErrorKind::Bug`] when the body has no form in
/// JSON.
pub fn effect(
    key: &str,
    topic: &str,
    to: &str,
    body: &(impl Serialize + ?Sized),
) -> Result<Effect> {
    let body = to_raw_value(body)
        .map_err(|e| Error::caused_by(ErrorKind::Bug, format!("write effect {key}"), e))?;
    Ok(Effect {
        key: EffectKey::new(key)?,
        topic: Topic::new(topic)?,
        how: How::Token,
        to: SinkName::new(to)?,
        body,
        until: SystemClock.now() + PATIENCE,
        replaces: false,
    })
}
