//! A side: a built site, its process, and the requests it still answers.

use std::net::TcpListener;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use build_core::{Error, ErrorKind, Result};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::config::{Config, Probe, seconds};
use crate::child::Command;
use crate::http::Upstream;
use crate::supervise::Supervisor;

/// For the answers of a side that is no longer the live one.
const DRAIN: Duration = Duration::from_secs(60);
/// Between the signal to end and the kill.
const GRACE: Duration = Duration::from_secs(5);
/// For one look at a side.
const PROBE_LIMIT: Duration = Duration::from_secs(10);

/// A built site whose process runs.
pub(super) struct Side {
    pub(super) number: u64,
    pub(super) signature: String,
    pub(super) upstream: Upstream,
    /// One token for each request that it answers.
    pub(super) requests: TaskTracker,
    stop: CancellationToken,
    ended: CancellationToken,
    how: Arc<OnceLock<String>>,
}

impl Side {
    /// Starts the process of the side in `dir` on a free port.
    pub(super) fn start(
        config: &Config,
        tasks: &Supervisor,
        number: u64,
        signature: &str,
        dir: &Path,
    ) -> Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let fill = |text: &str| fill(text, dir, port);
        let words: Vec<_> = config.serve.command.iter().map(|w| fill(w)).collect();
        let command = Command::of_words(&words)
            .ok_or_else(|| Error::new(ErrorKind::Invalid, "the site has no command"))?;
        let env = config.serve.env.iter().map(|(k, v)| (k.clone(), fill(v)));
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(dir.join("site.log"))?;
        let command = command.dir(dir.join(&config.serve.dir)).envs(env);
        let mut running = command.start(Some(log))?;
        let side = Self {
            number,
            signature: signature.to_owned(),
            upstream: Upstream::new(format!("127.0.0.1:{port}")),
            requests: TaskTracker::new(),
            stop: tasks.token().child_token(),
            ended: CancellationToken::new(),
            how: Arc::default(),
        };
        let (stop, ended, how) = (side.stop.clone(), side.ended.clone(), side.how.clone());
        tasks.group("side").spawn("process", async move {
            let told = tokio::select! {
                status = running.wait() => match status {
                    Ok(status) => format!("its process has ended: {status}"),
                    Err(error) => format!("its process cannot be waited for: {error}"),
                },
                () = stop.cancelled() => {
                    running.stop(GRACE).await;
                    "its process was stopped".to_owned()
                }
            };
            let _first = how.set(told);
            ended.cancel();
        });
        Ok(side)
    }

    /// `a` or `b`, in turn.
    pub(super) fn letter(&self) -> &'static str {
        if self.number % 2 == 1 { "a" } else { "b" }
    }

    /// Whether its process has ended, and how.
    pub(super) fn has_ended(&self) -> Option<&str> {
        self.ended
            .is_cancelled()
            .then(|| self.how.get().map_or("", String::as_str))
    }

    /// Waits for the end of its process.
    pub(super) async fn ended(&self) {
        self.ended.cancelled().await;
    }

    /// Waits until it is good.
    pub(super) async fn become_good(&self, probe: &Probe) -> Result<()> {
        let within = seconds(probe.within_seconds);
        let mut last = None;
        let wait = async {
            // A new process is often there in no time: it is looked at more often at first.
            let mut pause = Duration::from_millis(10);
            loop {
                match self.look(probe).await {
                    Ok(()) => return,
                    Err(error) => last = Some(error),
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(seconds(probe.every_seconds));
            }
        };
        tokio::select! {
            waited = tokio::time::timeout(within, wait) => if waited.is_ok() { return Ok(()) },
            () = self.ended() => {
                let how = self.has_ended().unwrap_or_default();
                return Err(Error::new(ErrorKind::Unavailable, how));
            }
        }
        let text = format!("it was not good within {} s", within.as_secs_f64());
        Err(match last {
            Some(error) => Error::caused_by(ErrorKind::TimedOut, text, error),
            None => Error::new(ErrorKind::TimedOut, text),
        })
    }

    /// Looks once whether it is good.
    pub(super) async fn look(&self, probe: &Probe) -> Result<()> {
        let (status, body) = self.upstream.get(&probe.path, PROBE_LIMIT).await?;
        let body = String::from_utf8_lossy(&body);
        let bad = |text: String| Err(Error::new(ErrorKind::Unavailable, text));
        if status.as_u16() != probe.status {
            return bad(format!(
                "{} answers {status}, not {}",
                probe.path, probe.status
            ));
        }
        if !body.contains(&probe.contains) {
            return bad(format!("{} does not hold {:?}", probe.path, probe.contains));
        }
        if !probe.lacks.is_empty() && body.contains(&probe.lacks) {
            return bad(format!("{} holds {:?}", probe.path, probe.lacks));
        }
        Ok(())
    }

    /// Lets it answer what it was asked, then ends its process.
    pub(super) async fn retire(&self) {
        self.requests.close();
        let _late = tokio::time::timeout(DRAIN, self.requests.wait()).await;
        self.end().await;
    }

    /// Ends its process.
    pub(super) async fn end(&self) {
        self.stop.cancel();
        let _late = tokio::time::timeout(GRACE * 2, self.ended()).await;
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Replaces `{side}` and `{port}`.
pub(super) fn fill(text: &str, dir: &Path, port: u16) -> String {
    text.replace("{side}", &dir.to_string_lossy())
        .replace("{port}", &port.to_string())
}
