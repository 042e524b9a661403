//! What a first synchronisation will cost, asked before it starts.

use std::time::Duration;

use super::{Answer, Http, Request};
use crate::sync::SyncError;

/// Requests that GitHub allows in an hour to one token.
const HOURLY: u64 = 5000;

/// How much there is of a repository, and what reading it takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Estimate {
    /// Issues and pull requests.
    pub issues: u64,
    /// Pull requests alone.
    pub pulls: u64,
    /// Comments.
    pub comments: u64,
    /// Events.
    pub events: u64,
    /// Comments on code.
    pub code_comments: u64,
}

impl Estimate {
    /// How many requests a first synchronisation takes.
    pub fn requests(&self) -> u64 {
        // A page begins where the last one ended, so one thing of a hundred comes twice.
        let pages = |things: u64| things.div_ceil(99).max(1);
        let lists = pages(self.issues) + pages(self.comments) + pages(self.code_comments);
        lists + self.events.div_ceil(100).max(1) + self.pulls + 2
    }

    /// How long that takes at `rate` requests a second, with GitHub's limit in mind.
    pub fn time(&self, rate: f64) -> Duration {
        let requests = self.requests();
        let paced = if rate > 0.0 {
            requests as f64 / rate
        } else {
            0.0
        };
        // What goes beyond the limit waits for the next hour.
        let hours = (requests.saturating_sub(1) / HOURLY) as f64 * 3600.0;
        Duration::from_secs_f64(paced.max(hours))
    }
}

/// Asks how much there is: five requests.
///
/// # Errors
/// When GitHub cannot be asked, or there is no such repository.
pub fn estimate(http: &mut dyn Http, owner: &str, repo: &str) -> Result<Estimate, SyncError> {
    let base = format!("/repos/{owner}/{repo}");
    let mut count = |list: &str| count(http, &format!("{base}/{list}per_page=1"));
    Ok(Estimate {
        issues: count("issues?state=all&")?,
        pulls: count("pulls?state=all&")?,
        comments: count("issues/comments?")?,
        events: count("issues/events?")?,
        code_comments: count("pulls/comments?")?,
    })
}

/// The number of pages of one thing each.
fn count(http: &mut dyn Http, path: &str) -> Result<u64, SyncError> {
    let mut request = Request::get(path);
    for _hop in 0..3 {
        let answer = http
            .send(&request)
            .map_err(|reason| SyncError::Unreachable {
                request: request.name(),
                reason,
            })?;
        match answer.status {
            200..=299 => return Ok(pages(&answer)),
            301 | 302 | 307 | 308 => match answer.header("location") {
                Some(place) => {
                    request.path = place.replacen("https://api.github.com", "", 1);
                    continue;
                }
                None => break,
            },
            status => {
                return Err(SyncError::Refused {
                    request: request.name(),
                    status,
                    reason: answer.message(),
                });
            }
        }
    }
    Err(SyncError::Nonsense {
        request: request.name(),
        reason: "it is redirected again and again".into(),
    })
}

fn pages(answer: &Answer) -> u64 {
    let last = answer.link("last").and_then(|url| {
        let query = url.split_once('?')?.1;
        let page = query
            .split('&')
            .find_map(|part| part.strip_prefix("page="))?;
        page.parse().ok()
    });
    let some = |items: Vec<serde::de::IgnoredAny>| items.len() as u64;
    last.unwrap_or_else(|| serde_json::from_slice(&answer.body).map_or(0, some))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs() {
        let estimate = Estimate {
            issues: 10_000,
            pulls: 1_000,
            comments: 30_000,
            events: 50_000,
            code_comments: 0,
        };
        assert_eq!(estimate.requests(), 102 + 304 + 1 + 500 + 1000 + 2);
        assert_eq!(estimate.time(10.0), Duration::from_secs_f64(190.9));
        let large = Estimate {
            pulls: 12_000,
            ..estimate
        };
        assert_eq!(large.time(10.0), Duration::from_secs(7200));
        assert_eq!(Estimate::default().requests(), 6);
    }
}
