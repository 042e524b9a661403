//! The events of the last while, and those who wait for the next one.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use build_core::clock::{Clock, SystemClock, Timestamp};
use build_core::pubsubtypes::Event;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Events that are kept whatever their age.
const KEPT: usize = 50;
/// Events beyond those are kept so long,
const AGE: Duration = Duration::from_secs(3600);
/// and never more than this.
const MOST: usize = 10_000;

/// Events, each with a time later than the one before. Clones are the same hub.
#[derive(Clone)]
pub struct EventHub(Arc<Inner>);

struct Inner {
    events: Mutex<VecDeque<Event>>,
    published: Notify,
    clock: Box<dyn Clock>,
}

impl Default for EventHub {
    fn default() -> Self {
        Self::with_clock(SystemClock)
    }
}

impl EventHub {
    /// A hub whose time is `clock`'s.
    pub fn with_clock(clock: impl Clock + 'static) -> Self {
        Self(Arc::new(Inner {
            events: Mutex::default(),
            published: Notify::new(),
            clock: Box::new(clock),
        }))
    }

    /// The time.
    pub fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    fn events(&self) -> MutexGuard<'_, VecDeque<Event>> {
        self.0.events.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Publishes an event; answers the time that it got.
    pub fn publish(&self, mut event: Event) -> Timestamp {
        let mut events = self.events();
        let last = events.back().and_then(|event| event.time);
        let now = self.now();
        // No two are of one time, and none is before one that somebody has seen.
        let time = last.map_or(now, |last| now.max(last + Duration::from_micros(1)));
        event.time = Some(time);
        events.push_back(event);
        while events.len() > KEPT {
            let old = events.front().and_then(|event| event.time);
            if events.len() <= MOST && old.is_some_and(|old| time.since(old) < AGE) {
                break;
            }
            events.pop_front();
        }
        self.0.published.notify_waiters();
        time
    }

    /// The oldest event after `after`; waits for it. When none comes within `limit`, an event
    /// that says so, with the time `after`: whoever asks again with it misses nothing.
    ///
    /// Cancel safe.
    pub async fn next_after(&self, after: Timestamp, limit: Duration) -> Event {
        let until = Instant::now() + limit;
        loop {
            let published = self.0.published.notified();
            let found = {
                let events = self.events();
                events
                    .iter()
                    .find(|event| event.time > Some(after))
                    .cloned()
            };
            if let Some(event) = found {
                return event;
            }
            if tokio::time::timeout_at(until, published).await.is_err() {
                return Event {
                    time: Some(after),
                    long_poll_timeout: true,
                    ..Event::default()
                };
            }
        }
    }

    /// Events not before `after`, the newest first.
    pub fn recent(&self, after: Option<Timestamp>) -> Vec<Event> {
        let events = self.events();
        let wanted = events.iter().rev().filter(|event| event.time >= after);
        wanted.cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use build_core::clock::ManualClock;
    use build_core::pubsubtypes::GitHubEvent;

    use super::*;

    fn event(n: u64) -> Event {
        Event {
            github: Some(GitHubEvent {
                issue_number: n,
                ..GitHubEvent::default()
            }),
            ..Event::default()
        }
    }

    fn number(event: &Event) -> u64 {
        event.github.as_ref().map_or(0, |e| e.issue_number)
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_asks_with_the_last_time_sees_every_event_once() {
        let clock = ManualClock::at(Timestamp::from_seconds(100));
        let hub = EventHub::with_clock(clock.clone());
        // At one instant, and with a clock that goes backwards.
        hub.publish(event(1));
        hub.publish(event(2));
        clock.set(Timestamp::from_seconds(50));
        hub.publish(event(3));
        let limit = Duration::from_secs(30);
        let mut after = Timestamp::from_seconds(0);
        for n in 1..=3 {
            let next = hub.next_after(after, limit).await;
            assert_eq!(number(&next), n);
            after = next.time.unwrap();
        }
        let late = hub.next_after(after, limit).await;
        assert!(late.long_poll_timeout);
        assert_eq!(late.time, Some(after));
        let waits = hub.next_after(after, limit);
        tokio::pin!(waits);
        assert!(futures::poll!(&mut waits).is_pending());
        hub.publish(event(4));
        assert_eq!(number(&waits.await), 4);
    }

    #[test]
    fn old_events_are_forgotten_and_fifty_are_kept() {
        let clock = ManualClock::default();
        let hub = EventHub::with_clock(clock.clone());
        for n in 0..60 {
            hub.publish(event(n));
        }
        assert_eq!(hub.recent(None).len(), 60);
        clock.advance(AGE * 2);
        hub.publish(event(60));
        let recent = hub.recent(None);
        assert_eq!((recent.len(), number(&recent[0])), (50, 60));
        assert_eq!(hub.recent(Some(clock.now())).len(), 1);
        for n in 0..MOST as u64 + 10 {
            hub.publish(event(n));
        }
        assert_eq!(hub.recent(None).len(), MOST);
    }
}
