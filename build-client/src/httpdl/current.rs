//! Whether a file is what the server has: by length, time and `ETag`.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::client::{HttpClient, success};
use super::part::{Stamp, beside, failed};
use crate::Result;
use crate::{Error, ErrorKind};

/// Asks with HEAD, as Go does.
pub(super) async fn is_current(client: &HttpClient, url: &str, file: &Path) -> Result<bool> {
    let Ok(found) = std::fs::metadata(file) else {
        return Ok(false);
    };
    if !found.is_file() {
        let what = format!("{} is not a regular file", file.display());
        return Err(Error::new(ErrorKind::Conflict, what));
    }
    let answer = success(url, client.0.head(url).send().await)?;
    let headers = answer.headers();
    let length = headers.get("content-length").and_then(|v| v.to_str().ok());
    if length.and_then(|text| text.parse().ok()) != Some(found.len()) {
        return Ok(false);
    }
    let stamp = stamp(headers);
    let kept = std::fs::read_to_string(beside(file, ".etag")).ok();
    if let (Some(kept), Some(etag)) = (&kept, &stamp.etag) {
        if kept != etag {
            return Ok(false);
        }
        if stamp.modified.is_none() {
            return Ok(true);
        }
    }
    Ok(stamp.modified.is_some() && stamp.modified == found.modified().ok())
}

/// Keeps the `ETag` of a file that is about to be replaced.
pub(super) fn keep_etag(file: &Path, etag: Option<&str>) -> Result<()> {
    let path = beside(file, ".etag");
    let kept = match etag {
        Some(etag) => std::fs::write(&path, etag),
        None => match std::fs::remove_file(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            other => other,
        },
    };
    kept.map_err(|error| failed("write", &path, error))
}

/// What the server says of the file.
pub(super) fn stamp(headers: &reqwest::header::HeaderMap) -> Stamp {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    Stamp {
        modified: text("last-modified").and_then(http_date),
        etag: text("etag").map(str::to_owned),
    }
}

/// A date as in `Sun, 06 Nov 1994 08:49:37 GMT`.
fn http_date(text: &str) -> Option<SystemTime> {
    let mut words = text.split_once(", ")?.1.split([' ', ':']);
    let mut number = || words.next()?.parse::<i64>().ok();
    let day = number()?;
    let month = words.next()?;
    let mut number = || words.next()?.parse::<i64>().ok();
    let (year, hour, minute, second) = (number()?, number()?, number()?, number()?);
    let months = "JanFebMarAprMayJunJulAugSepOctNovDec";
    let month = (month.len() == 3).then(|| months.find(month)).flatten()?;
    let month = (month % 3 == 0).then(|| i64::try_from(month / 3 + 1).ok())??;
    let valid = (1..=31).contains(&day)
        && (1970..10_000).contains(&year)
        && (0..24).contains(&hour)
        && (0..60).contains(&minute)
        && (0..=60).contains(&second)
        && words.next() == Some("GMT");
    // Days since 1970 by the civil calendar, years beginning in March.
    let (y, m) = match month {
        1 | 2 => (year - 1, month + 9),
        _ => (year, month - 3),
    };
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 719_469;
    let seconds = ((days * 24 + hour) * 60 + minute) * 60 + second;
    let since = Duration::from_secs(u64::try_from(seconds).ok()?);
    valid.then(|| UNIX_EPOCH + since)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_of_http_are_read() {
        let seconds = |text| {
            let time = http_date(text)?;
            Some(time.duration_since(UNIX_EPOCH).unwrap().as_secs())
        };
        assert_eq!(seconds("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(seconds("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
        assert_eq!(
            seconds("Thu, 29 Feb 2024 12:00:00 GMT"),
            Some(1_709_208_000)
        );
        for wrong in [
            "",
            "Sunday",
            "Sun, 06 ovD 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:37 CET",
        ] {
            assert_eq!(seconds(wrong), None, "{wrong}");
        }
    }
}
