//! Which machines a command is for.

use std::collections::VecDeque;
use std::sync::Arc;

use build_client::HttpBuildlet;
use build_client::gomote::groups;
use build_core::builders::{Builder, Farm};
use build_core::buildlet::Buildlet;
use farmer_cli::Failure;

use super::place::Place;
use crate::told::failed;

/// A machine.
pub(super) struct Target {
    pub(super) name: String,
    /// The builder and the kind of the machine, as far as they are known.
    pub(super) builder: String,
    pub(super) host_type: String,
    pub(super) machine: Arc<dyn Buildlet>,
}

impl Target {
    /// What the Go project says of its builder.
    pub(super) fn of_go<'f>(&self, farm: &'f Farm) -> Option<Builder<'f>> {
        farm.builder(&self.builder)
    }
}

impl Place {
    /// The machines that a command is for: the one that its first word names, which is taken
    /// away, or those of the group.
    pub(super) async fn targets(
        &self,
        words: &mut VecDeque<String>,
    ) -> Result<Vec<Target>, Failure> {
        if let Some(first) = words.front()
            && let Some((builder, host)) = first.split_once('@')
        {
            let target = direct(first, builder, host);
            words.pop_front();
            return Ok(vec![target]);
        }
        let client = self.client()?;
        let listed = client.list().await.map_err(|e| failed(&e))?;
        let target = |one: &build_client::gomote::Listed| Target {
            name: one.name.clone(),
            builder: one.builder_type.clone(),
            host_type: one.host_type.clone(),
            machine: client.machine(&one.name),
        };
        if let Some(first) = words.front()
            && let Some(one) = listed.iter().find(|one| one.name == *first)
        {
            words.pop_front();
            return Ok(vec![target(one)]);
        }
        if let Some(group) = &self.group {
            let members = self.groups.members(group).map_err(|e| failed(&e))?;
            let members = members.ok_or_else(|| failed(&groups::missing(group)))?;
            let targets: Vec<Target> = listed
                .iter()
                .filter(|one| members.contains(&one.name))
                .map(target)
                .collect();
            if targets.is_empty() {
                return Err(Failure::usage(
                    format!("no machine of the group {group:?} is there any more"),
                    "add one with: gomote create TYPE",
                ));
            }
            return Ok(targets);
        }
        let names: Vec<&str> = listed.iter().map(|one| one.name.as_str()).collect();
        let possible = match names.as_slice() {
            [] => "you have no machines: gomote create TYPE".to_owned(),
            names => format!("possible instances: {}", names.join(", ")),
        };
        let text = match words.front() {
            Some(word) => format!("unknown builder {word:?}"),
            None => "name a machine, or a group with -group".to_owned(),
        };
        Err(Failure::usage(text, possible))
    }

    /// The one machine that a command is for.
    pub(super) async fn target(&self, words: &mut VecDeque<String>) -> Result<Target, Failure> {
        let mut targets = self.targets(words).await?;
        match (targets.pop(), targets.len()) {
            (Some(one), 0) => Ok(one),
            _ => Err(Failure::usage(
                "the group has several machines, and this is for one",
                "name it",
            )),
        }
    }
}

/// `BUILDER@HOST[:PORT]`: a buildlet that is reached without a coordinator.
fn direct(name: &str, builder: &str, host: &str) -> Target {
    let address = match host.contains(':') {
        true => host.to_owned(),
        false => format!("{host}:80"),
    };
    Target {
        name: name.to_owned(),
        builder: builder.to_owned(),
        host_type: String::new(),
        machine: Arc::new(HttpBuildlet::direct(address)),
    }
}
