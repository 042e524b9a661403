//! `/status/ID`: one thing that somebody looks after, for programs that watch.

use async_trait::async_trait;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use build_core::Result;

use super::{Classic, Said};
use crate::coordinator::Handle;

/// How bad something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// To be known.
    Info,
    /// To be looked at.
    Warn,
    /// To be mended.
    Error,
}

impl Level {
    /// The word in documents.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "Info",
            Self::Warn => "Warn",
            Self::Error => "Error",
        }
    }
}

/// Something that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// What, in one sentence.
    pub text: String,
}

/// Something that is looked at when it is asked for.
#[async_trait]
pub trait HealthCheck: Send + Sync {
    /// Its name in addresses, such as `gitmirror`.
    fn id(&self) -> &str;

    /// Its name for people.
    fn title(&self) -> &str;

    /// Where to read more; empty: nowhere.
    fn notes(&self) -> &str {
        ""
    }

    /// What is wrong; nothing: it is fine.
    ///
    /// # Errors
    /// When it cannot be told, which is a finding as well.
    async fn look(&self) -> Result<Vec<Finding>>;
}

/// Whether the farm takes work.
pub(super) struct Work(pub(super) Handle);

#[async_trait]
impl HealthCheck for Work {
    fn id(&self) -> &str {
        "work"
    }

    fn title(&self) -> &str {
        "The farm takes work"
    }

    async fn look(&self) -> Result<Vec<Finding>> {
        let status = self.0.status().await?;
        let stalled = status.stalled.map(|why| Finding {
            level: Level::Error,
            text: format!("nothing new begins: {why}"),
        });
        let settings = status.misconfigured.map(|text| Finding {
            level: Level::Warn,
            text,
        });
        let lost = status.lost.iter().map(|lost| Finding {
            level: Level::Warn,
            text: lost.text(),
        });
        let machines = status.machines.into_iter().filter_map(|machine| {
            let text = format!("{}: {}", machine.machine, machine.trouble?);
            let level = Level::Warn;
            Some(Finding { level, text })
        });
        Ok(stalled
            .into_iter()
            .chain(settings)
            .chain(lost)
            .chain(machines)
            .collect())
    }
}

/// What a check says, an error of the check itself included.
pub(super) async fn findings(check: &dyn HealthCheck) -> Vec<Finding> {
    check.look().await.unwrap_or_else(|error| {
        let level = Level::Error;
        let text = error.to_string();
        vec![Finding { level, text }]
    })
}

pub(super) async fn page(
    State(site): State<Classic>,
    Path(id): Path<String>,
) -> Result<Response, Said> {
    let found = site.0.checks.iter().find(|check| check.id() == id);
    let check = found.ok_or_else(|| Said::not_found("404 page not found"))?;
    let findings = findings(&**check).await;
    let worst = findings.iter().map(|finding| finding.level).max();
    let status = match worst {
        Some(Level::Error) => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::OK,
    };
    let mut text = String::new();
    if findings.is_empty() {
        text.push_str("ok\n");
    } else {
        text.push_str(&format!("# {id:?} status: {}\n", check.title()));
        if !check.notes().is_empty() {
            text.push_str(&format!("# Notes: {}\n", check.notes()));
        }
        for finding in findings {
            text.push_str(&format!("{}: {}\n", finding.level.as_str(), finding.text));
        }
    }
    let kind = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
    Ok((status, kind, text).into_response())
}
