//! `/status/reverse.json` and `/status/machines`: the machines that register.

use async_trait::async_trait;
use axum::response::Response;
use build_core::Result;

use super::health::{Finding, HealthCheck, Level};
use super::queues::waiting;
use super::reading::Reading;
use super::{Said, json};
use crate::pool::{self, ReversePool};

pub(super) async fn page(Reading(site): Reading) -> Result<Response, Said> {
    let Some(machines) = &site.0.machines else {
        return Err(Said::not_found("404 page not found"));
    };
    // How many wait tells nothing of what they wait for: everybody is counted.
    let waiting = waiting(&site, &**site.0.handle.records()).await?;
    let waiters = |kind: &str| {
        let count = waiting.get(kind).copied().unwrap_or(0);
        u32::try_from(count).unwrap_or(u32::MAX)
    };
    Ok(json(machines.reverse_status_json(waiters)))
}

/// Which machines are missing, and who was refused.
pub(super) struct Missing(pub(super) ReversePool);

#[async_trait]
impl HealthCheck for Missing {
    fn id(&self) -> &str {
        "machines"
    }

    fn title(&self) -> &str {
        "Machines that register are there"
    }

    async fn look(&self) -> Result<Vec<Finding>> {
        let findings = self.0.findings().into_iter();
        let level = |level| match level {
            pool::Level::Info => Level::Info,
            pool::Level::Warn => Level::Warn,
            pool::Level::Error => Level::Error,
        };
        let finding = |found: pool::Finding| Finding {
            level: level(found.level),
            text: found.text,
        };
        Ok(findings.map(finding).collect())
    }
}
