//! `[[host]]` and `[[account]]` of `farmer.toml`: the machines of a farm, and what they share.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;

use serde::Deserialize;

use super::farmer_toml::{Host, LOCAL, invalid, sandbox_of};
use super::nearest::name_hint;
use crate::error::Result;
use crate::ids::{AccountName, HostType};
use crate::schedule::{Account, Draw};

#[derive(Deserialize)]
pub(super) struct RawAccount {
    name: AccountName,
    units: u32,
    unit: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct RawHost {
    name: HostType,
    pool: Option<String>,
    count: Option<u32>,
    #[serde(default)]
    labels: BTreeSet<String>,
    sandbox: Option<String>,
    #[serde(default)]
    draws: BTreeMap<AccountName, u32>,
}

/// Reads both; hosts draw from accounts of the same file.
pub(super) fn read(
    accounts: Vec<RawAccount>,
    hosts: Vec<RawHost>,
) -> Result<(Vec<Account>, Vec<Host>)> {
    let mut known: Vec<Account> = Vec::new();
    for raw in accounts {
        if known.iter().any(|account| account.name == raw.name) {
            let text = format!("two [[account]] are called \"{}\"", raw.name);
            return Err(invalid(text).with_hint("give each a name of its own"));
        }
        known.push(raw.read()?);
    }
    let mut read: Vec<Host> = Vec::new();
    for raw in hosts {
        if read.iter().any(|host| host.name == raw.name) {
            let text = format!("two [[host]] are called \"{}\"", raw.name);
            return Err(invalid(text).with_hint("give each a name of its own"));
        }
        read.push(raw.read(&known)?);
    }
    Ok((known, read))
}

impl RawAccount {
    fn read(self) -> Result<Account> {
        if self.units == 0 {
            let text = format!(
                "account \"{}\" has 0 units, of which nobody gets any",
                self.name
            );
            return Err(invalid(text).with_hint("give it units from 1"));
        }
        let account = Account::new(self.name, self.units);
        Ok(match self.unit {
            Some(unit) => Account { unit, ..account },
            None => account,
        })
    }
}

impl RawHost {
    fn read(self, accounts: &[Account]) -> Result<Host> {
        let pool = self.pool.unwrap_or_else(|| LOCAL.to_owned());
        if pool != LOCAL {
            let text = format!(
                "host \"{}\" is supplied by pool \"{pool}\", which is not known",
                self.name
            );
            return Err(invalid(text).with_hint(format!("known pools: {LOCAL}")));
        }
        if self.count == Some(0) {
            let text = format!("host \"{}\" has count 0, which is no machine", self.name);
            return Err(invalid(text).with_hint("give a number from 1, or take the host out"));
        }
        let draws = self.draws.into_iter();
        let draws = draws.map(|(account, units)| draw(&self.name, account, units, accounts));
        Ok(Host {
            draws: draws.collect::<Result<_>>()?,
            sandbox: sandbox_of(&self.name, self.sandbox.as_deref())?,
            name: self.name,
            pool,
            count: self.count,
            labels: self.labels,
            image: None,
        })
    }
}

fn draw(host: &HostType, name: AccountName, units: u32, accounts: &[Account]) -> Result<Draw> {
    let Some(account) = accounts.iter().find(|account| account.name == name) else {
        let text = format!("host \"{host}\" draws from account \"{name}\", which is not there");
        let names = accounts.iter().map(|account| account.name.as_str());
        let hint = match accounts.is_empty() {
            true => format!("add an [[account]] with name = \"{name}\" and its units"),
            false => name_hint(name.as_str(), names),
        };
        return Err(invalid(text).with_hint(hint));
    };
    let Some(units) = NonZeroU32::new(units).filter(|units| units.get() <= account.units) else {
        let text = format!(
            "host \"{host}\" draws {units} of account \"{name}\", which has {}",
            account.units
        );
        let hint = format!("give a number from 1 to {}", account.units);
        return Err(invalid(text).with_hint(hint));
    };
    Ok(Draw {
        account: name,
        units,
    })
}

#[cfg(test)]
mod tests {
    use super::super::FarmToml;
    use crate::plan::Sandbox;

    #[test]
    fn hosts_draw_from_accounts_of_the_farm() {
        let farm = FarmToml::parse(
            "[[account]]\nname = 'cores'\nunits = 8\nunit = 'cores'\n\
             [[host]]\nname = 'big'\ncount = 2\nlabels = ['gpu']\ndraws = { cores = 4 }\n\
             [[host]]\nname = 'small'\nsandbox = 'user'",
        )
        .unwrap();
        assert_eq!(
            (farm.accounts[0].units, farm.accounts[0].unit.as_str()),
            (8, "cores")
        );
        let draws: Vec<_> = farm
            .hosts
            .iter()
            .map(|h| h.draws.iter().map(|d| d.units.get()).collect::<Vec<_>>())
            .collect();
        assert_eq!(draws, [vec![4], vec![]]);
        let apart: Vec<_> = farm.hosts.iter().map(|h| h.sandbox).collect();
        assert_eq!(apart, [Sandbox::Auto, Sandbox::User]);
        assert_eq!((farm.hosts[0].count, farm.hosts[1].count), (Some(2), None));
    }

    #[test]
    fn what_cannot_be_is_refused_with_its_remedy() {
        let cores = "[[account]]\nname = 'cores'\nunits = 8\n";
        let twice = format!("{cores}{cores}");
        let cars = format!("{cores}[[host]]\nname = 'a'\ndraws = {{ cars = 1 }}");
        let nine = format!("{cores}[[host]]\nname = 'a'\ndraws = {{ cores = 9 }}");
        let cases = [
            (
                "[[account]]\nname = 'a'\nunits = 0",
                "account \"a\" has 0 units",
                "from 1",
            ),
            (
                twice.as_str(),
                "two [[account]] are called \"cores\"",
                "a name of its own",
            ),
            (
                "[[host]]\nname = 'a'\n[[host]]\nname = 'a'",
                "two [[host]] are called \"a\"",
                "a name of its own",
            ),
            (
                "[[host]]\nname = 'a'\npool = 'gce'",
                "pool \"gce\", which is not known",
                "known pools: local",
            ),
            (
                "[[host]]\nname = 'a'\nsandbox = 'strong'",
                "host \"a\": sandbox: \"strong\" is no sandbox level",
                "namespaces",
            ),
            (
                "[[host]]\nname = 'a'\ncount = 0",
                "host \"a\" has count 0",
                "take the host out",
            ),
            (
                "[[host]]\nname = 'a'\ndraws = { cores = 1 }",
                "account \"cores\", which is not there",
                "add an [[account]]",
            ),
            (
                cars.as_str(),
                "account \"cars\", which is not there",
                "did you mean \"cores\"?",
            ),
            (
                nine.as_str(),
                "draws 9 of account \"cores\", which has 8",
                "from 1 to 8",
            ),
            (
                "[[host]]\nnam = 'a'",
                "unknown key \"host[0].nam\"",
                "did you mean \"name\"?",
            ),
        ];
        for (text, message, hint) in cases {
            let error = FarmToml::parse(text).unwrap_err();
            assert!(error.to_string().contains(message), "{error}");
            assert!(error.hint().unwrap_or_default().contains(hint), "{error:?}");
        }
    }
}
