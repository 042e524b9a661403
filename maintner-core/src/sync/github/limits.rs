//! What an answer means before anybody reads it: go on, wait, give up.

use std::time::Duration;

use super::Answer;

/// A secondary limit that does not say how long: GitHub asks for a minute at least.
const SECONDARY: u64 = 60;
/// No pause is longer: limits are renewed every hour.
const LONGEST: u64 = 3700;

/// What is to be done with an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It has content.
    Good,
    /// Nothing changed since the answer that had the same tag.
    Unchanged,
    /// It is somewhere else.
    Moved(String),
    /// There is no such thing, any more.
    Gone,
    /// The list goes no further back.
    TooFar,
    /// A limit was reached: the same again after this time.
    Pause(Duration),
    /// The server is in trouble: the same again soon.
    Retry(String),
    /// The credentials do not do.
    Refused(String),
}

/// Judges an answer; `tries` is how often the same was asked in vain, `now` our clock.
pub(super) fn judge(answer: &Answer, tries: u32, now: i64) -> Verdict {
    match answer.status {
        200..=299 => Verdict::Good,
        304 => Verdict::Unchanged,
        301 | 302 | 307 | 308 => match answer.header("location") {
            Some(place) => Verdict::Moved(place.to_owned()),
            None => Verdict::Retry("a redirection to nowhere".into()),
        },
        404 | 410 => Verdict::Gone,
        422 => Verdict::TooFar,
        403 | 429 => limit(answer, tries, now).map_or_else(
            || Verdict::Refused(answer.message()),
            |seconds| Verdict::Pause(Duration::from_secs(seconds.clamp(1, LONGEST))),
        ),
        500..=599 | 408 => Verdict::Retry(format!("status {}", answer.status)),
        _ => Verdict::Refused(answer.message()),
    }
}

/// How long a limit wants to be waited for, in seconds.
fn limit(answer: &Answer, tries: u32, now: i64) -> Option<u64> {
    let number = |name: &str| answer.header(name)?.trim().parse::<i64>().ok();
    if let Some(after) = number("retry-after") {
        return Some(after.unsigned_abs());
    }
    if number("x-ratelimit-remaining") == Some(0) {
        // GitHub's own clock tells how long that is, whatever ours says.
        let now = answer.date().unwrap_or(now);
        let reset = number("x-ratelimit-reset").unwrap_or(now + 60);
        return Some((reset - now).max(0).unsigned_abs() + 1);
    }
    let message = answer.message().to_lowercase();
    let limited = answer.status == 429
        || message.contains("secondary rate limit")
        || message.contains("abuse detection");
    limited.then(|| SECONDARY << tries.min(5))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, headers: &[(&str, &str)], message: &str) -> Answer {
        Answer {
            status,
            headers: headers
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            body: format!("{{\"message\":\"{message}\"}}").into_bytes(),
        }
    }

    fn pause(seconds: u64) -> Verdict {
        Verdict::Pause(Duration::from_secs(seconds))
    }

    #[test]
    fn check_16_limits() {
        let date = ("date", "Tue, 10 Oct 2017 16:00:00 GMT");
        let used_up = answer(
            403,
            &[
                date,
                ("x-ratelimit-remaining", "0"),
                ("x-ratelimit-reset", "1507651203"),
            ],
            "API rate limit exceeded",
        );
        // Our clock is a year behind, GitHub's own counts.
        assert_eq!(judge(&used_up, 0, 1_476_115_200), pause(4));
        let after = answer(403, &[date, ("retry-after", "2")], "slow down");
        assert_eq!(judge(&after, 0, 0), pause(2));
        let secondary = answer(403, &[date], "You have exceeded a secondary rate limit");
        assert_eq!(judge(&secondary, 0, 0), pause(60));
        assert_eq!(judge(&secondary, 2, 0), pause(240));
        assert_eq!(judge(&answer(429, &[], ""), 0, 0), pause(60));
        let bad = answer(401, &[], "Bad credentials");
        assert_eq!(
            judge(&bad, 0, 0),
            Verdict::Refused("Bad credentials".into())
        );
        let forbidden = answer(
            403,
            &[("x-ratelimit-remaining", "10")],
            "Must have admin rights",
        );
        assert!(matches!(judge(&forbidden, 0, 0), Verdict::Refused(_)));
    }

    #[test]
    fn the_rest() {
        let of = |status| judge(&answer(status, &[], ""), 0, 0);
        assert_eq!((of(200), of(304)), (Verdict::Good, Verdict::Unchanged));
        assert_eq!((of(404), of(410)), (Verdict::Gone, Verdict::Gone));
        assert!(matches!(of(502), Verdict::Retry(_)) && matches!(of(301), Verdict::Retry(_)));
        let moved = answer(
            301,
            &[("location", "https://api.github.com/repositories/1")],
            "",
        );
        assert!(matches!(judge(&moved, 0, 0), Verdict::Moved(_)));
    }
}
