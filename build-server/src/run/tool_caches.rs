//! Caches of tools that a build finds with something in them, for its page.

use std::collections::HashSet;

use build_core::ids::BuildId;
use build_core::plan::{Plan, Step};
use build_core::pool::ToolCache;

use super::Inner;
use super::leases::Held;

impl Inner {
    /// The names of those that are warm on a machine and whose tools the commands of a build name.
    pub(super) async fn tool_caches(&self, held: &Held, build: &BuildId) -> Vec<String> {
        let warm = held.lease.warm_tools().await;
        if warm.is_empty() {
            return Vec::new();
        }
        match self.plan_of(build).await {
            Ok(plan) => plan.map_or_else(Vec::new, |plan| named_by(&plan, &warm)),
            Err(error) => {
                // It is said for people only; a log that cannot be read ends the build elsewhere.
                let error = error.chain();
                tracing::debug!(%build, error, "whose caches are warm is not known");
                Vec::new()
            }
        }
    }
}

/// The caches of the programs that the steps of a plan name, each once.
fn named_by(plan: &Plan, caches: &[ToolCache]) -> Vec<String> {
    let words: HashSet<String> = plan.steps.iter().flat_map(words).collect();
    let named = |cache: &&ToolCache| cache.programs.iter().any(|name| words.contains(*name));
    let mut names: Vec<String> = Vec::new();
    for cache in caches.iter().filter(named) {
        if !names.iter().any(|name| name == cache.name) {
            names.push(cache.name.to_owned());
        }
    }
    names
}

/// What could be the name of a program in the commands of a step.
fn words(step: &Step) -> Vec<String> {
    let commands = std::iter::once(&step.run).chain(&step.tests);
    let texts = commands.map(|command| command.text().into_owned());
    let is_part = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | '+');
    let mut words: Vec<String> = texts
        .flat_map(|text| {
            let words = text.split(|c| !is_part(c)).map(str::to_owned);
            words.collect::<Vec<_>>()
        })
        .collect();
    words.extend(step.tools.iter().cloned());
    words
}

#[cfg(test)]
mod tests {
    use build_core::ids::StepName;

    use super::*;

    const CACHES: [ToolCache; 4] = [
        ToolCache {
            name: "Go modules",
            programs: &["go"],
        },
        ToolCache {
            name: "npm",
            programs: &["npm", "npx"],
        },
        ToolCache {
            name: "Maven",
            programs: &["mvn", "mvnw"],
        },
        ToolCache {
            name: "npm",
            programs: &["node"],
        },
    ];

    fn of(run: &str) -> Vec<String> {
        let step = Step::new(StepName::new("s").unwrap(), run);
        named_by(&Plan::new(vec![step], "").unwrap(), &CACHES)
    }

    #[test]
    fn a_build_is_told_of_the_caches_of_its_own_tools() {
        assert_eq!(of("cd web && npm ci; node x.js"), ["npm"]);
        assert_eq!(of("./mvnw -q verify"), ["Maven"]);
        assert_eq!(of("GOFLAGS=-v go vet ./..."), ["Go modules"]);
        assert_eq!(of("make gopher cargo.npmrc"), [""; 0]);
    }
}
