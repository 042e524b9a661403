//! Command lines as Go programs take them, from one table that also makes `--help`.
//!
//! `-name=value`, `-name value`, and the same with two dashes; a switch is on when it is named
//! alone and takes a value only behind `=`: `-halt=false`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Write as _;

/// One flag of a program.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flag {
    pub(crate) name: &'static str,
    /// What the value is called in the help; `None` for a switch.
    pub(crate) value: Option<&'static str>,
    pub(crate) help: &'static str,
}

impl Flag {
    pub(crate) const fn switch(name: &'static str, help: &'static str) -> Self {
        Self {
            name,
            value: None,
            help,
        }
    }

    pub(crate) const fn value(name: &'static str, value: &'static str, help: &'static str) -> Self {
        Self {
            name,
            value: Some(value),
            help,
        }
    }
}

/// The flags that were given; of a repeated one the last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Given(BTreeMap<&'static str, String>);

impl Given {
    /// Reads a command line.
    ///
    /// # Errors
    /// What is wrong with it, in one sentence.
    pub(crate) fn parse(
        table: &[Flag],
        args: impl IntoIterator<Item = OsString>,
    ) -> Result<Self, String> {
        let mut given = Self::default();
        let mut args = args.into_iter().map(|arg| {
            arg.into_string()
                .map_err(|bad| format!("{bad:?} is not UTF-8"))
        });
        while let Some(arg) = args.next().transpose()? {
            let text = arg.strip_prefix("--").or_else(|| arg.strip_prefix('-'));
            let text = text
                .filter(|text| !text.is_empty())
                .ok_or_else(|| format!("unexpected argument {arg:?}"))?;
            let (name, value) = text
                .split_once('=')
                .map_or((text, None), |(name, value)| (name, Some(value)));
            let flag = table
                .iter()
                .find(|flag| flag.name == name)
                .ok_or_else(|| unknown(table, name))?;
            let value = match (value, flag.value) {
                (Some(value), _) => value.to_owned(),
                (None, None) => "true".to_owned(),
                (None, Some(what)) => args
                    .next()
                    .transpose()?
                    .ok_or_else(|| format!("--{name} needs a value: {what}"))?,
            };
            given.0.insert(flag.name, value);
        }
        Ok(given)
    }

    /// The value of a flag.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Whether a switch is on; `None` when it was not given.
    ///
    /// # Errors
    /// Its value is no truth value.
    pub(crate) fn switch(&self, name: &str) -> Result<Option<bool>, String> {
        let Some(text) = self.get(name) else {
            return Ok(None);
        };
        let value = build_core::buildlet::parse_bool(text);
        value
            .map(Some)
            .ok_or_else(|| format!("--{name}={text}: neither true nor false"))
    }
}

fn unknown(table: &[Flag], name: &str) -> String {
    let near = table
        .iter()
        .find(|flag| flag.name.starts_with(name) || name.starts_with(flag.name));
    let hint = near
        .map(|flag| format!(", did you mean --{}?", flag.name))
        .unwrap_or_default();
    format!("unknown flag --{name}{hint}")
}

/// The list of flags for `--help`.
pub(crate) fn help(table: &[Flag]) -> String {
    let mut text = String::new();
    for flag in table {
        let value = flag
            .value
            .map(|value| format!(" {value}"))
            .unwrap_or_default();
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "  --{}{value}\n        {}",
            flag.name,
            flag.help.replace('\n', "\n        ")
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[Flag] = &[
        Flag::switch("halt", "turns off"),
        Flag::value("workdir", "DIR", "works there"),
    ];

    fn parse(args: &[&str]) -> Result<Given, String> {
        Given::parse(TABLE, args.iter().map(OsString::from))
    }

    #[test]
    fn both_dashes_and_both_forms_are_taken() {
        for args in [
            &["-workdir=x"][..],
            &["-workdir", "x"],
            &["--workdir=x"],
            &["--workdir", "x"],
        ] {
            assert_eq!(parse(args).unwrap().get("workdir"), Some("x"), "{args:?}");
        }
        assert_eq!(
            parse(&["-workdir", "x", "-workdir=y=z"])
                .unwrap()
                .get("workdir"),
            Some("y=z")
        );
    }

    #[test]
    fn a_switch_takes_its_value_behind_an_equals_sign_only() {
        assert_eq!(parse(&["-halt"]).unwrap().switch("halt"), Ok(Some(true)));
        assert_eq!(
            parse(&["--halt=false"]).unwrap().switch("halt"),
            Ok(Some(false))
        );
        assert_eq!(parse(&[]).unwrap().switch("halt"), Ok(None));
        assert!(parse(&["-halt=maybe"]).unwrap().switch("halt").is_err());
        assert_eq!(
            parse(&["-halt", "false"]),
            Err("unexpected argument \"false\"".into())
        );
    }

    #[test]
    fn mistakes_are_named() {
        assert_eq!(
            parse(&["--work=x"]),
            Err("unknown flag --work, did you mean --workdir?".into())
        );
        assert_eq!(
            parse(&["--workdir"]),
            Err("--workdir needs a value: DIR".into())
        );
        assert_eq!(parse(&["x"]), Err("unexpected argument \"x\"".into()));
        assert!(help(TABLE).contains("--workdir DIR\n        works there"));
    }
}
