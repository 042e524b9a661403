//! The requests of one download: whole or from where the last one stopped.

use reqwest::header::{CONTENT_RANGE, HeaderMap, IF_RANGE, RANGE};
use tokio::io::AsyncWriteExt as _;
use tokio::time::sleep;

use super::client::{HttpClient, failed, success};
use super::part::{Origin, Part, Stamp, failed as file_failed};
use super::{Download, Progress, current, shown, sum_of};
use crate::{Error, ErrorKind, Result};

impl Download {
    /// Completes the part and checks it.
    pub(super) async fn transfer(
        &self,
        client: &HttpClient,
        part: &mut Part,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<Stamp> {
        let (mut fruitless, mut restarts) = (0, 0);
        let stamp = loop {
            let before = part.have;
            let error = match self.request(client, part, progress).await {
                Ok(stamp) => break stamp,
                Err(error) => error,
            };
            if part.have < before && restarts < self.attempts {
                // What was there is of no use; the whole is asked for at once.
                restarts += 1;
                let cause = error.chain();
                progress(Progress::Restarting { cause });
                continue;
            }
            fruitless = if part.have > before { 0 } else { fruitless + 1 };
            if !error.kind().is_retryable() || fruitless >= self.attempts {
                return Err(error);
            }
            let pause = self.pause * 2_u32.pow(fruitless.min(6));
            let cause = error.chain();
            progress(Progress::Retrying { cause, pause });
            sleep(pause).await;
        };
        self.check(part).await?;
        Ok(stamp)
    }

    /// One request: brings the part to its end, or fails with what is there so far.
    async fn request(
        &self,
        client: &HttpClient,
        part: &mut Part,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<Stamp> {
        let mut request = client.0.get(self.address());
        if part.have > 0 {
            request = request.header(RANGE, format!("bytes={}-", part.have));
            if let Some(validator) = &part.origin.validator {
                request = request.header(IF_RANGE, validator);
            }
        }
        let answer = request
            .send()
            .await
            .map_err(|error| failed(&self.url, error))?;
        let asked = part.have;
        if answer.status().as_u16() == 416 && asked > 0 {
            // Either everything is there already, or the file has become shorter.
            if content_range(answer.headers()).is_some_and(|(_, total)| total == Some(asked)) {
                return Ok(current::stamp(answer.headers()));
            }
            part.empty()?;
            return Err(self.changed());
        }
        let answer = success(&self.url, Ok(answer))?;
        let (begins, total) = match answer.status().as_u16() {
            206 => content_range(answer.headers()).unwrap_or((u64::MAX, None)),
            _ => (0, answer.content_length()),
        };
        if begins != 0 && begins != asked {
            part.empty()?;
            return Err(self.changed());
        }
        if begins == 0 && asked > 0 {
            part.empty()?;
        }
        let stamp = current::stamp(answer.headers());
        self.acceptable(&stamp, total)?;
        part.remember(self.origin(&stamp, total))?;
        self.receive(answer, part, total, progress).await?;
        Ok(stamp)
    }

    /// Whether a file of this kind can be told to be whole.
    fn acceptable(&self, stamp: &Stamp, total: Option<u64>) -> Result<()> {
        let wrong = |kind, what| Err(Error::new(kind, format!("{} {what}", shown(&self.url))));
        if let (Some(expected), Some(total)) = (self.bytes, total)
            && expected != total
        {
            let what = format!("has {total} bytes instead of {expected}");
            return wrong(ErrorKind::Corrupt, what);
        }
        if total.is_some_and(|total| total > self.largest) {
            let what = format!("is larger than {} bytes", self.largest);
            return wrong(ErrorKind::Limit, what);
        }
        if self.sha256.is_some() {
            return Ok(());
        }
        if stamp.modified.is_none() && stamp.etag.is_none() {
            let what = "has an invalid or missing Last-Modified header and no ETag".to_owned();
            return wrong(ErrorKind::Invalid, what);
        }
        if total.is_none() {
            let what = "does not say its length, and no SHA-256 is known".to_owned();
            return wrong(ErrorKind::Invalid, what);
        }
        Ok(())
    }

    fn origin(&self, stamp: &Stamp, total: Option<u64>) -> Origin {
        // A weak ETag does not promise the same bytes.
        let strong = stamp.etag.as_ref().filter(|etag| !etag.starts_with("W/"));
        Origin {
            url: self.url.clone(),
            validator: strong.cloned(),
            total,
        }
    }

    async fn receive(
        &self,
        mut answer: reqwest::Response,
        part: &mut Part,
        total: Option<u64>,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<()> {
        progress(Progress::Received {
            done: part.have,
            total,
        });
        loop {
            let piece = match answer.chunk().await {
                Ok(Some(piece)) => piece,
                Ok(None) => break,
                Err(error) => {
                    // What has come so far is kept.
                    self.flush(part).await?;
                    return Err(failed(&self.url, error));
                }
            };
            part.file
                .write_all(&piece)
                .await
                .map_err(|error| file_failed("write", &part.path, error))?;
            part.have += piece.len() as u64;
            if part.have > total.unwrap_or(self.largest) {
                let most = total.unwrap_or(self.largest);
                let what = format!("{} sends more than {most} bytes", shown(&self.url));
                return Err(Error::new(ErrorKind::Corrupt, what));
            }
            progress(Progress::Received {
                done: part.have,
                total,
            });
        }
        self.flush(part).await?;
        match total {
            Some(total) if part.have < total => {
                let what = format!(
                    "{} ended after {} of {total} bytes",
                    shown(&self.url),
                    part.have
                );
                Err(Error::new(ErrorKind::Unavailable, what))
            }
            _ => Ok(()),
        }
    }

    async fn flush(&self, part: &mut Part) -> Result<()> {
        part.file
            .flush()
            .await
            .map_err(|error| file_failed("write", &part.path, error))
    }

    /// What is on the disk, not what was received: it may have been there before.
    async fn check(&self, part: &Part) -> Result<()> {
        if let Some(expected) = self.bytes
            && expected != part.have
        {
            let what = format!(
                "{} has {} bytes instead of {expected}",
                shown(&self.url),
                part.have
            );
            return Err(Error::new(ErrorKind::Corrupt, what));
        }
        let Some(expected) = self.sha256 else {
            return Ok(());
        };
        let found = sum_of(&part.path).await?;
        if found == expected {
            return Ok(());
        }
        let what = format!(
            "{} corrupt? does not have expected SHA-256 of {} but {}",
            shown(&self.url),
            hex::encode(expected),
            hex::encode(found)
        );
        Err(Error::new(ErrorKind::Corrupt, what))
    }

    fn changed(&self) -> Error {
        let what = format!(
            "{} has changed since it was received in part",
            shown(&self.url)
        );
        Error::new(ErrorKind::Unavailable, what)
    }
}

/// First byte and length of the whole, from `bytes 5-9/10`, `bytes 5-9/*` or `bytes */10`.
fn content_range(headers: &HeaderMap) -> Option<(u64, Option<u64>)> {
    let text = headers.get(CONTENT_RANGE)?.to_str().ok()?;
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let begins = match range {
        "*" => u64::MAX,
        range => range.split_once('-')?.0.parse().ok()?,
    };
    Some((begins, total.parse().ok()))
}
