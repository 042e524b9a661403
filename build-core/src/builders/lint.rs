use std::fmt;

use super::{Condition, Farm};

/// Something that is allowed and most likely a mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The host or builder.
    pub name: String,
    /// What is odd about it.
    pub text: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.text)
    }
}

impl Farm {
    /// What is odd about the farm. `ports` are the toolchain's, as `os/arch`: each should be
    /// meant by `os-arch`, `os` and `arch`.
    #[must_use]
    pub fn lint(&self, ports: &[&str]) -> Vec<Finding> {
        let mut found = Vec::new();
        let mut say = |name: &str, text: String| {
            found.push(Finding {
                name: name.to_owned(),
                text,
            });
        };
        for name in self.unused_hosts() {
            let compiles = self.builders().any(|b| {
                let cross = b.record().cross_compile.as_ref();
                cross.is_some_and(|cross| cross.compile_host == name)
            });
            if !compiles {
                say(name, "no builder uses this host".into());
            }
        }
        for builder in self.builders() {
            let record = builder.record();
            if let Some(cross) = &record.cross_compile
                && self.host(&cross.compile_host).is_none()
            {
                say(
                    &record.name,
                    format!("there is no host {:?} to compile on", cross.compile_host),
                );
            }
            let clauses = record.builds.iter().flatten().chain(&record.tries);
            for clause in clauses {
                let range = (&clause.branch, &clause.go_branch);
                if let (Some(Condition::AtLeastGo1(least)), Some(Condition::AtMostGo1(most))) =
                    range
                    && least > most
                {
                    say(&record.name, "a clause of its rule can never hold".into());
                }
            }
            let helpers = record.helpers.max(record.try_helpers);
            let expect = builder.host().expect;
            if builder.is_reverse() && expect > 0 && expect < helpers + 1 {
                say(
                    &record.name,
                    format!("{helpers} helpers are wanted of {expect} machines"),
                );
            }
            let kinds = ["go_test:", "test:", "runtime:", "nolibgcc:", "wiki", "api"];
            for name in record.dist_tests.iter().flat_map(|rule| &rule.equals) {
                if name.contains('/') && !kinds.iter().any(|kind| name.starts_with(kind)) {
                    say(&record.name, format!("no dist test is called {name:?}"));
                }
            }
        }
        for port in ports {
            let Some((os, arch)) = port.split_once('/') else {
                say(port, "it is not os/arch".into());
                continue;
            };
            for term in [format!("{os}-{arch}"), os.to_owned(), arch.to_owned()] {
                if self.match_term(&term).is_none() && !self.aliases.contains_key(&term) {
                    say(port, format!("{term:?} means no builder"));
                }
            }
        }
        found
    }
}
