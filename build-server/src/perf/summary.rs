//! What an upload holds, in short: enough to know that a search finds nothing in it, and to list
//! it, without its files.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use build_core::benchfmt::{Op, Query, Result as Bench};
use serde::{Deserialize, Serialize};

use super::series::{date, has_commit, repository};

/// Values of a key that are kept; of more, the least and the greatest.
const FEW: usize = 64;
/// Keys that are kept; of an upload with more, nothing is known.
const MAX_KEYS: usize = 256;
/// Bytes of a value; longer ones are not kept.
const MAX_VALUE: usize = 200;
/// Names of benchmarks that are kept.
const MAX_NAMES: usize = 4096;

/// What is known of the values of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Values {
    /// All of them.
    Are(BTreeSet<String>),
    /// The least and the greatest.
    Between(String, String),
    /// Nothing.
    Unknown,
}

impl Values {
    fn add(&mut self, value: &str) {
        if value.len() > MAX_VALUE {
            *self = Self::Unknown;
        }
        match self {
            Self::Are(all) => {
                if !all.contains(value) {
                    all.insert(value.to_owned());
                }
                if all.len() > FEW
                    && let (Some(least), Some(greatest)) = (all.pop_first(), all.pop_last())
                {
                    *self = Self::Between(least, greatest);
                }
            }
            Self::Between(least, _) if value < least.as_str() => value.clone_into(least),
            Self::Between(_, greatest) if value > greatest.as_str() => value.clone_into(greatest),
            Self::Between(..) | Self::Unknown => {}
        }
    }

    /// Whether a term can hold for one of them.
    fn may_hold(&self, op: Op, wanted: &str) -> bool {
        let holds = |value: &String| match op {
            Op::Equal => value == wanted,
            Op::Less => value.as_str() < wanted,
            Op::Greater => value.as_str() > wanted,
        };
        match self {
            Self::Are(all) => all.iter().any(holds),
            Self::Between(least, greatest) => match op {
                Op::Equal => least.as_str() <= wanted && wanted <= greatest.as_str(),
                Op::Less => holds(least),
                Op::Greater => holds(greatest),
            },
            Self::Unknown => true,
        }
    }
}

/// What an upload holds, in short.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Summary {
    /// The upload's id.
    pub(super) id: String,
    /// Bytes of its files, by which a change is noticed.
    pub(super) bytes: u64,
    /// How many results.
    pub(super) results: usize,
    /// When it was sent.
    pub(super) time: String,
    /// The first and the last date of its results.
    dates: Option<(String, String)>,
    /// Labels and parts of names; `None` when there are too many.
    keys: Option<BTreeMap<String, Values>>,
    /// Benchmarks of results with a commit, and their repositories; `None` when there are too
    /// many.
    names: Option<BTreeMap<String, String>>,
}

impl Summary {
    /// Of the results of an upload whose files have so many bytes.
    pub(super) fn of(id: &str, bytes: u64, results: &[Bench]) -> Self {
        let time = results.first().and_then(|r| r.labels.get("upload-time"));
        let mut summary = Self {
            id: id.to_owned(),
            bytes,
            results: results.len(),
            time: time.cloned().unwrap_or_default(),
            dates: None,
            keys: Some(BTreeMap::new()),
            names: Some(BTreeMap::new()),
        };
        let (mut labels, mut name) = (None, "");
        for result in results {
            // Most results share their labels with the one before, many their name.
            let same = labels.is_some_and(|labels| Arc::ptr_eq(labels, &result.labels));
            if !same || name != result.name().full() {
                summary.add(result);
            }
            (labels, name) = (Some(&result.labels), result.name().full());
        }
        summary
    }

    fn add(&mut self, result: &Bench) {
        let date = date(result);
        match &mut self.dates {
            None => self.dates = Some((date.clone(), date)),
            Some((first, _)) if date < *first => *first = date,
            Some((_, last)) if date > *last => *last = date,
            Some(_) => {}
        }
        if let Some(keys) = &mut self.keys {
            let parts: Vec<String> = result.name().parts().map(|(key, _)| key).collect();
            let parts = parts.iter().map(String::as_str);
            let own = ["name", "gomaxprocs"].into_iter();
            let labels = result.labels.keys().map(String::as_str);
            for key in labels.chain(own).chain(parts) {
                let Some(value) = result.key(key) else {
                    continue;
                };
                match keys.get_mut(key) {
                    Some(values) => values.add(&value),
                    None => {
                        let mut values = Values::Are(BTreeSet::new());
                        values.add(&value);
                        keys.insert(key.to_owned(), values);
                    }
                }
            }
            if keys.len() > MAX_KEYS || keys.keys().any(|key| key.len() > MAX_VALUE) {
                self.keys = None;
            }
        }
        if let Some(names) = &mut self.names
            && has_commit(result)
        {
            let name = result.name().without_procs();
            if !names.contains_key(name) {
                names.insert(name.to_owned(), repository(result));
            }
            if names.len() > MAX_NAMES || name.len() > MAX_VALUE {
                self.names = None;
            }
        }
    }

    /// Whether a query can hold for one of its results.
    pub(super) fn may_hold(&self, query: &Query) -> bool {
        let Some(keys) = &self.keys else { return true };
        query.terms().iter().all(|term| {
            let values = keys.get(&term.key);
            values.is_some_and(|values| values.may_hold(term.op, &term.value))
        })
    }

    /// Whether one of its results can be of a time; empty for no bound.
    pub(super) fn may_be_between(&self, since: &str, until: &str) -> bool {
        self.dates.as_ref().is_some_and(|(first, last)| {
            (since.is_empty() || last.as_str() >= since)
                && (until.is_empty() || first.as_str() <= until)
        })
    }

    /// All values of a key, when they are known.
    pub(super) fn values(&self, key: &str) -> Option<BTreeSet<String>> {
        match self.keys.as_ref()?.get(key) {
            None => Some(BTreeSet::new()),
            Some(Values::Are(all)) => Some(all.clone()),
            Some(_) => None,
        }
    }

    /// Names of benchmarks with their repositories, when they are known.
    pub(super) fn names(&self) -> Option<&BTreeMap<String, String>> {
        self.names.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use build_core::benchfmt::Reader;
    use proptest::prelude::*;

    use super::*;

    fn results(text: &str) -> Vec<Bench> {
        Reader::new(text).collect()
    }

    #[test]
    fn much_is_kept_as_bounds_and_too_much_not_at_all() {
        let mut text = String::new();
        for n in 0..200 {
            text.push_str(&format!("commit: c{n:03}\nBenchmarkA/n={n} 1 2 ns/op\n"));
        }
        let summary = Summary::of("u", 1, &results(&text));
        let may = |query: &str| summary.may_hold(&Query::parse(query).unwrap());
        assert!(may("commit:c007") && may("commit>c198") && may("name:A/n=7"));
        assert!(!may("commit>c199") && !may("commit:d") && !may("goos:linux"));
        assert_eq!(summary.values("commit"), None);
        assert_eq!(summary.values("goos"), Some(BTreeSet::new()));
        assert_eq!(summary.names().unwrap().len(), 200);
        let long = format!("note: {}\nBenchmarkA 1 2 ns/op\n", "x".repeat(500));
        let summary = Summary::of("u", 1, &results(&long));
        assert!(summary.may_hold(&Query::parse("note:y").unwrap()));
        let mut many: String = (0..300).map(|n| format!("k{n}: v\n")).collect();
        many.push_str("BenchmarkA 1 2 ns/op\n");
        let summary = Summary::of("u", 1, &results(&many));
        assert!(summary.may_hold(&Query::parse("k1:v").unwrap()));
        assert!(serde_json::to_string(&summary).unwrap().len() < 300);
    }

    proptest! {
        #[test]
        fn what_holds_is_never_passed_over(
            lines in proptest::collection::vec(("[ab]", "[a-d]{1,2}"), 1..120),
            key in "[abc]", op in "[:<>]", value in "[a-d]{0,2}",
        ) {
            let mut text = String::new();
            for (key, value) in lines {
                text.push_str(&format!("{key}: {value}\nBenchmarkX/c={value} 1 2 ns/op\n"));
            }
            let all = results(&text);
            let summary = Summary::of("u", 1, &all);
            let line = serde_json::to_string(&summary).unwrap();
            let summary: Summary = serde_json::from_str(&line).unwrap();
            let query = Query::parse(&format!("{key}{op}{value}")).unwrap();
            if all.iter().any(|r| query.holds(|key| r.key(key))) {
                prop_assert!(summary.may_hold(&query));
            }
        }
    }
}
