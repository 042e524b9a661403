//! Keys that code hosts publish: fetched when somebody comes with one that is not known, and
//! remembered for a while.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use build_core::clock::Timestamp;
use build_core::{Error, ErrorKind, Result};
use tokio::time::timeout;

use crate::singleflight::Flights;
use crate::who::SshPublicKey;

/// Between two fetches of one address, whatever keys are shown.
const PAUSE: Duration = Duration::from_secs(60);
/// How long a host may be away until its keys are not good any more.
const AWAY: Duration = Duration::from_secs(60 * 60);
/// For one fetch.
const LIMIT: Duration = Duration::from_secs(10);
/// Largest file of keys, and most keys of one.
const MAX_BYTES: usize = 256 << 10;
const MAX_KEYS: usize = 100;

/// The keys at one address.
#[derive(Clone, Debug)]
struct Keys {
    /// Fingerprints.
    keys: BTreeSet<String>,
    /// When they were seen there.
    seen: Timestamp,
    /// When they were looked for last.
    tried: Timestamp,
}

/// The keys of all addresses.
#[derive(Debug)]
pub(super) struct Hosted {
    http: reqwest::Client,
    fresh: Duration,
    known: Mutex<HashMap<String, Keys>>,
    fetching: Flights<String, Result<BTreeSet<String>, Arc<Error>>>,
}

impl Hosted {
    /// Keys count for `fresh` without another look.
    pub(super) fn new(fresh: Duration) -> Result<Self> {
        // A host that sends elsewhere is not the one that was named.
        let builder = build_client::rest::builder(None)?;
        let builder = builder.redirect(reqwest::redirect::Policy::none());
        let http = builder.timeout(LIMIT).build();
        Ok(Self {
            http: http.map_err(|e| Error::caused_by(ErrorKind::Bug, "set up a client", e))?,
            fresh,
            known: Mutex::default(),
            fetching: Flights::new(),
        })
    }

    fn known(&self) -> MutexGuard<'_, HashMap<String, Keys>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a key is one of those at an address.
    pub(super) async fn has(&self, address: &str, key: &str, now: Timestamp) -> bool {
        let known = self.known().get(address).cloned();
        if let Some(known) = &known {
            let is_fresh = now.since(known.seen) < self.fresh;
            let has_it = known.keys.contains(key);
            // A key that was just published is looked for, but not for every stranger.
            if now.since(known.tried) < PAUSE || (is_fresh && has_it) {
                return has_it && now.since(known.seen) < self.fresh.max(AWAY);
            }
        }
        let (http, from) = (self.http.clone(), address.to_owned());
        let work = move || async move {
            let fetched = timeout(LIMIT, fetch(&http, &from)).await;
            let late = || Error::new(ErrorKind::TimedOut, format!("{from} does not answer"));
            fetched.unwrap_or_else(|_| Err(late())).map_err(Arc::new)
        };
        let fetched = self.fetching.fly(address.to_owned(), work).await;
        let keys = match fetched {
            Ok(Ok(keys)) => Keys {
                keys,
                seen: now,
                tried: now,
            },
            Ok(Err(error)) => {
                tracing::warn!(
                    error = error.chain(),
                    address,
                    "keys for ssh are not fetched"
                );
                let never = || Keys {
                    keys: BTreeSet::new(),
                    seen: now,
                    tried: now,
                };
                let mut old = known.filter(|keys| now.since(keys.seen) < AWAY);
                if let Some(old) = &mut old {
                    old.tried = now;
                }
                old.unwrap_or_else(never)
            }
            Err(error) => {
                tracing::error!(%error, address, "keys for ssh are not fetched");
                return false;
            }
        };
        let has_it = keys.keys.contains(key);
        self.known().insert(address.to_owned(), keys);
        has_it
    }
}

async fn fetch(http: &reqwest::Client, address: &str) -> Result<BTreeSet<String>> {
    let failed = |e: reqwest::Error| {
        let text = format!("fetch {address}");
        Error::caused_by(ErrorKind::Unavailable, text, e.without_url())
    };
    let mut answer = http.get(address).send().await.map_err(failed)?;
    // Somebody who is not there any more has no keys.
    if matches!(answer.status().as_u16(), 404 | 410) {
        return Ok(BTreeSet::new());
    }
    if answer.status() != 200 {
        let text = format!("{address} answers {}", answer.status());
        return Err(Error::new(ErrorKind::Unavailable, text));
    }
    let mut body = Vec::new();
    while let Some(piece) = answer.chunk().await.map_err(failed)? {
        body.extend_from_slice(&piece);
        if body.len() > MAX_BYTES {
            let text = format!("{address} is larger than {MAX_BYTES} bytes");
            return Err(Error::new(ErrorKind::Limit, text));
        }
    }
    let text = String::from_utf8_lossy(&body);
    // Kinds that are not taken stand beside those that are.
    let keys = text
        .lines()
        .filter_map(|line| line.parse::<SshPublicKey>().ok());
    Ok(keys.take(MAX_KEYS).map(|key| key.fingerprint()).collect())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use axum::http::StatusCode;

    use super::*;

    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f ann";

    #[tokio::test]
    async fn keys_come_and_go_with_their_host() {
        let fetches = Arc::new(AtomicUsize::new(0));
        let published = Arc::new(Mutex::new((200, String::new())));
        let (counted, told) = (fetches.clone(), published.clone());
        let page = move || async move {
            counted.fetch_add(1, Ordering::Relaxed);
            let (status, text) = told.lock().unwrap().clone();
            (StatusCode::from_u16(status).unwrap(), text)
        };
        let pages = axum::Router::new().route("/ann.keys", axum::routing::get(page));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}/ann.keys", listener.local_addr().unwrap());
        let serving = crate::supervise::Supervisor::new("host");
        serving.spawn("serve", async move { axum::serve(listener, pages).await });
        let publish = |status: u16, text: &str| *published.lock().unwrap() = (status, text.into());

        let hosted = Hosted::new(Duration::from_secs(600)).unwrap();
        let key = KEY.parse::<SshPublicKey>().unwrap().fingerprint();
        let begin = Timestamp::from_seconds(1_600_000_000);
        let has = async |seconds: u64| {
            hosted
                .has(&address, &key, begin + Duration::from_secs(seconds))
                .await
        };
        let count = || fetches.load(Ordering::Relaxed);
        assert!(!has(0).await);
        publish(200, &format!("ssh-rsa AAAA old\n{KEY}\n"));
        // Many strangers are one question a minute.
        assert!(!has(59).await && count() == 1);
        assert!(has(61).await && has(600).await && count() == 2);
        // Taken away there, it is good until the next look.
        publish(404, "");
        assert!(has(660).await && count() == 2);
        assert!(!has(662).await && count() == 3);
        // A host that is away keeps its word for an hour.
        publish(200, KEY);
        assert!(has(800).await && count() == 4);
        publish(503, "");
        assert!(has(1500).await && has(1510).await && count() == 5);
        assert!(!has(800 + 3600).await && count() == 6);
        publish(200, &"x".repeat(MAX_BYTES + 1));
        assert!(!has(6000).await && count() == 7);
    }
}
