//! Lines of text to results.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::str::Lines;
use std::sync::Arc;

use super::Name;

/// Most values of one result; a line with more is no result.
const MAX_VALUES: usize = 256;

/// A value and its unit.
#[derive(Clone, Debug, PartialEq)]
pub struct Measure {
    /// The value, finite.
    pub value: f64,
    /// Its unit, such as `ns/op`.
    pub unit: String,
}

/// One result of one benchmark, with the labels that hold for it.
#[derive(Clone, Debug, PartialEq)]
pub struct Result {
    /// Labels by key.
    pub labels: Arc<BTreeMap<String, String>>,
    /// Number of iterations.
    pub iterations: u64,
    /// What was measured.
    pub values: Vec<Measure>,
    name: Name,
    line: usize,
}

impl Result {
    /// The benchmark's name.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// The value of a unit.
    pub fn value(&self, unit: &str) -> Option<f64> {
        self.values.iter().find(|m| m.unit == unit).map(|m| m.value)
    }

    /// Its line, counted from 1.
    pub fn line(&self) -> usize {
        self.line
    }

    /// The value of a label, or of a part of the name: `name` is the name without processors,
    /// `gomaxprocs` the processors, others are the name's parts.
    pub fn key(&self, key: &str) -> Option<Cow<'_, str>> {
        if let Some(value) = self.labels.get(key) {
            return Some(Cow::Borrowed(value));
        }
        match key {
            "name" => Some(Cow::Borrowed(self.name.without_procs())),
            "gomaxprocs" => self.name.procs().map(|n| Cow::Owned(n.to_string())),
            key => {
                let mut parts = self.name.parts();
                parts.find(|(k, _)| k == key).map(|(_, v)| Cow::Borrowed(v))
            }
        }
    }

    /// The line, as it is written.
    pub fn to_line(&self) -> String {
        let mut line = format!("Benchmark{} {}", self.name.full(), self.iterations);
        for measure in &self.values {
            line.push_str(&format!(" {} {}", measure.value, measure.unit));
        }
        line
    }
}

/// Reads results from text. Lines that are not of the format are passed over.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    lines: std::iter::Enumerate<Lines<'a>>,
    labels: Arc<BTreeMap<String, String>>,
}

impl<'a> Reader<'a> {
    /// A reader of `text`.
    pub fn new(text: &'a str) -> Self {
        Self::with_labels(text, BTreeMap::new())
    }

    /// A reader of `text` for which these labels hold from the start.
    pub fn with_labels(text: &'a str, labels: BTreeMap<String, String>) -> Self {
        Self {
            lines: text.lines().enumerate(),
            labels: Arc::new(labels),
        }
    }
}

impl Iterator for Reader<'_> {
    type Item = Result;

    fn next(&mut self) -> Option<Result> {
        for (number, line) in self.lines.by_ref() {
            if let Some((key, value)) = label_of(line) {
                let labels = Arc::make_mut(&mut self.labels);
                match value {
                    "" => labels.remove(key),
                    value => labels.insert(key.to_owned(), value.to_owned()),
                };
                continue;
            }
            if let Some((name, iterations, values)) = result_of(line) {
                return Some(Result {
                    labels: self.labels.clone(),
                    name,
                    iterations,
                    values,
                    line: number + 1,
                });
            }
        }
        None
    }
}

/// Whether `key` can be the key of a label.
pub fn is_label_key(key: &str) -> bool {
    let begins = key.chars().next().is_some_and(char::is_lowercase);
    begins
        && !key
            .chars()
            .any(|c| c.is_whitespace() || c.is_uppercase() || c == ':')
}

/// The label that a line sets, if it does.
pub fn label_of(line: &str) -> Option<(&str, &str)> {
    let (key, value) = line.split_once(':')?;
    if !is_label_key(key) || !(value.is_empty() || value.starts_with([' ', '\t'])) {
        return None;
    }
    Some((key, value.trim()))
}

fn result_of(line: &str) -> Option<(Name, u64, Vec<Measure>)> {
    let rest = line.strip_prefix("Benchmark")?;
    let mut fields = rest.split_whitespace();
    let name = fields
        .next()
        .filter(|_| !rest.starts_with(char::is_whitespace))?;
    if name.chars().next().is_some_and(char::is_lowercase) {
        return None;
    }
    let iterations = fields.next()?.parse::<u64>().ok().filter(|n| *n > 0)?;
    let mut values = Vec::new();
    while let Some(value) = fields.next() {
        let value: f64 = value.parse().ok().filter(|v: &f64| v.is_finite())?;
        let unit = fields.next()?;
        values.push(Measure {
            value,
            unit: unit.to_owned(),
        });
        if values.len() > MAX_VALUES {
            return None;
        }
    }
    (!values.is_empty()).then(|| (Name::new(name), iterations, values))
}

/// Entry point of the fuzz target: any text as benchmark results.
#[cfg(any(test, feature = "testing"))]
pub fn fuzz_benchfmt(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    for result in Reader::new(text) {
        let line = result.to_line();
        let again = Reader::new(&line).next().expect("a written line is read");
        assert_eq!(again.to_line(), line);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn labels_hold_until_they_change() {
        let text = "goos: linux\ngoarch: amd64\nBenchmarkA 1 2 ns/op\ngoos:\ngoarch: arm64\n\
            BenchmarkB-4   3\t4.5 ns/op\t1e3 B/op\nNot: a label\nUpper Key: x\n";
        let all: Vec<_> = Reader::new(text).collect();
        assert_eq!(all.len(), 2);
        assert_eq!(all[0].labels["goos"], "linux");
        assert_eq!(all[1].labels.get("goos"), None);
        assert_eq!(all[1].key("goarch").as_deref(), Some("arm64"));
        assert_eq!(all[1].key("gomaxprocs").as_deref(), Some("4"));
        assert_eq!(all[1].key("name").as_deref(), Some("B"));
        assert_eq!(all[1].value("B/op"), Some(1000.0));
        assert_eq!((all[0].line(), all[1].line()), (3, 6));
    }

    #[test]
    fn other_lines_are_no_results() {
        for line in [
            "Benchmark 1 2 ns/op",
            "Benchmarking 1 2 ns/op",
            "BenchmarkA",
            "BenchmarkA 0 2 ns/op",
            "BenchmarkA 1 2",
            "BenchmarkA 1 x ns/op",
            "BenchmarkA 1 NaN ns/op",
            "BenchmarkA 1 2 ns/op 3",
            "BenchmarkA 1",
            " BenchmarkA 1 2 ns/op",
        ] {
            assert_eq!(Reader::new(line).count(), 0, "{line}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read(text in "(Benchmark[X/=a-]{0,5}|[ \t0-9.e-]{1,6}|ns/op|[a-z]: |\n){0,20}") {
            fuzz_benchfmt(text.as_bytes());
        }

        #[test]
        fn any_text_is_read_without_a_panic(text in "\\PC{0,200}") {
            let _all: Vec<_> = Reader::new(&text).collect();
        }

        #[test]
        fn a_result_is_read_as_it_was_written(
            name in "[A-Z][a-zA-Z0-9=/_]{0,20}", n in 1u64.., value in any::<f64>(), unit in "[a-zA-Z/]{1,8}"
        ) {
            prop_assume!(value.is_finite());
            let line = format!("Benchmark{name} {n} {value} {unit}");
            let one = Reader::new(&line).next().unwrap();
            prop_assert_eq!(one.to_line(), line);
        }
    }
}
