//! `[[repo]]` of `farmer.toml`: which changes are built, and whose commits come from outside.

use serde::Deserialize;

use crate::error::Result;
use crate::ref_rules::{RefRule, RefRules};

#[derive(Deserialize)]
pub(super) struct RawRepo {
    name: String,
    #[serde(default)]
    changes: Vec<String>,
    #[serde(default)]
    untrusted: Vec<String>,
    #[serde(default)]
    trusted: Vec<String>,
}

impl RawRepo {
    fn read(self) -> RefRule {
        let rule = RefRule::of(self.name);
        let rule = self.changes.into_iter().fold(rule, RefRule::changes);
        let rule = self.untrusted.into_iter().fold(rule, RefRule::untrusted);
        self.trusted.into_iter().fold(rule, RefRule::trusted)
    }
}

pub(super) fn read(raw: Vec<RawRepo>) -> Result<RefRules> {
    RefRules::new(raw.into_iter().map(RawRepo::read).collect())
}
