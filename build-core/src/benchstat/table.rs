//! Tables of several sets of results: a row a benchmark, a column a set.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use super::{Compare, Sample, Summary, geomean};
use crate::benchfmt::{Result, scaled};

/// One set's values of one benchmark.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Cell {
    /// What they are; `None` when the set has no such benchmark.
    pub summary: Option<Summary>,
    /// How they differ from those of the first set; `None` in the first set.
    pub compare: Option<Compare>,
}

/// A benchmark in every set.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// Its name, with the values of the labels by which rows are told apart.
    pub name: String,
    /// A cell for each set.
    pub cells: Vec<Cell>,
}

/// All benchmarks with one unit.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Table {
    /// The unit.
    pub unit: String,
    /// The names of the sets.
    pub sets: Vec<String>,
    /// The benchmarks, in the order in which they came.
    pub rows: Vec<Row>,
    /// For each set the geometric mean over the benchmarks that all sets have.
    pub geomeans: Vec<Option<f64>>,
}

/// Compares sets of results with the first of them, a table a unit. Rows are told apart by the
/// benchmark's name and the labels `by`.
pub fn tables(sets: &[(String, Vec<Result>)], by: &[&str], alpha: f64) -> Vec<Table> {
    // Values by unit, row and set; units and rows in the order of their first appearance.
    let mut units: Vec<String> = Vec::new();
    let mut order: BTreeMap<(usize, String), usize> = BTreeMap::new();
    let mut values: BTreeMap<(usize, usize), Vec<Vec<f64>>> = BTreeMap::new();
    for (set, (_, results)) in sets.iter().enumerate() {
        for result in results {
            let row = row_name(result, by);
            for measure in &result.values {
                let unit = units.iter().position(|u| *u == measure.unit);
                let unit = unit.unwrap_or_else(|| {
                    units.push(measure.unit.clone());
                    units.len() - 1
                });
                let next = order.len();
                let row = *order.entry((unit, row.clone())).or_insert(next);
                let cells = values
                    .entry((unit, row))
                    .or_insert_with(|| vec![vec![]; sets.len()]);
                cells[set].push(measure.value);
            }
        }
    }
    let names: BTreeMap<(usize, usize), &str> = order
        .iter()
        .map(|((unit, name), row)| ((*unit, *row), name.as_str()))
        .collect();
    let set_names: Vec<String> = sets.iter().map(|(name, _)| name.clone()).collect();
    let table = |(n, unit): (usize, &String)| {
        let of_unit = values.range((n, 0)..(n + 1, 0));
        let rows: Vec<Row> = of_unit
            .map(|(key, cells)| row(names.get(key).copied().unwrap_or(""), cells, alpha))
            .collect();
        Table {
            unit: unit.clone(),
            sets: set_names.clone(),
            geomeans: geomeans(&rows, sets.len()),
            rows,
        }
    };
    units.iter().enumerate().map(table).collect()
}

fn row_name(result: &Result, by: &[&str]) -> String {
    let mut name = result.name().full().to_owned();
    for key in by {
        if let Some(value) = result.key(key) {
            let _infallible = write!(name, " {key}:{value}");
        }
    }
    name
}

fn row(name: &str, cells: &[Vec<f64>], alpha: f64) -> Row {
    let samples: Vec<Sample> = cells
        .iter()
        .map(|v| Sample::new(v.iter().copied()))
        .collect();
    let cells = samples.iter().enumerate().map(|(n, sample)| Cell {
        summary: sample.summary(),
        compare: (n > 0).then(|| Compare::of(&samples[0], sample, alpha)),
    });
    Row {
        name: name.to_owned(),
        cells: cells.collect(),
    }
}

fn geomeans(rows: &[Row], sets: usize) -> Vec<Option<f64>> {
    let whole = |row: &&Row| row.cells.iter().all(|cell| cell.summary.is_some());
    let center = |row: &Row, set: usize| row.cells[set].summary.map_or(0.0, |s| s.center);
    (0..sets)
        .map(|set| geomean(rows.iter().filter(whole).map(|row| center(row, set))))
        .collect()
}

impl Table {
    /// The change of the geometric mean of a set from the first set's, as a ratio.
    pub fn geomean_delta(&self, set: usize) -> Option<f64> {
        let (old, new) = (
            self.geomeans.first()?.as_ref()?,
            self.geomeans.get(set)?.as_ref()?,
        );
        Some(new / old - 1.0)
    }

    /// The table as text, columns in line.
    pub fn to_text(&self) -> String {
        let mut lines = vec![vec!["name".to_owned()]];
        for (n, set) in self.sets.iter().enumerate() {
            lines[0].push(format!("{set} {}", scaled(0.0, &self.unit).1));
            if n > 0 {
                lines[0].push("vs base".to_owned());
            }
        }
        for row in &self.rows {
            let mut line = vec![row.name.clone()];
            for cell in &row.cells {
                line.push(
                    cell.summary
                        .map_or_else(String::new, |s| shown(&s, &self.unit)),
                );
                line.extend(cell.compare.map(|c| c.to_string()));
            }
            lines.push(line);
        }
        if self.rows.len() > 1 {
            let mut line = vec!["geomean".to_owned()];
            for (n, mean) in self.geomeans.iter().enumerate() {
                line.push(mean.map_or_else(String::new, |mean| scaled(mean, &self.unit).0));
                if n > 0 {
                    let delta = self.geomean_delta(n).map(percent);
                    line.push(delta.unwrap_or_default());
                }
            }
            lines.push(line);
        }
        aligned(&lines)
    }
}

/// A summary for people: `1.234µ ± 2%`; `∞` for too few values to say.
fn shown(summary: &Summary, unit: &str) -> String {
    let (center, _) = scaled(summary.center, unit);
    let spread = match summary.interval {
        _ if summary.center == 0.0 => "0%".to_owned(),
        Some((low, high)) => {
            let far = (summary.center - low).max(high - summary.center);
            format!("{:.0}%", 100.0 * far / summary.center.abs())
        }
        None => "∞".to_owned(),
    };
    format!("{center} ± {spread}")
}

fn percent(delta: f64) -> String {
    format!("{:+.2}%", delta * 100.0)
}

impl std::fmt::Display for Compare {
    /// `-20.00% (p=0.002)`; `~` when it may be chance.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.p, self.delta) {
            (None, _) => f.write_str("?"),
            (Some(p), Some(delta)) => write!(f, "{} (p={p:.3})", percent(delta)),
            (Some(p), None) => write!(f, "~ (p={p:.3})"),
        }
    }
}

fn aligned(lines: &[Vec<String>]) -> String {
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = lines.iter().filter_map(|line| line.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for line in lines {
        let mut shown = String::new();
        for (n, cell) in line.iter().enumerate() {
            let pad = " ".repeat(widths[n] - cell.chars().count());
            match n {
                0 => shown.push_str(&format!("{cell}{pad}")),
                _ => shown.push_str(&format!("  {pad}{cell}")),
            }
        }
        text.push_str(shown.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::benchfmt::Reader;

    fn set(name: &str, a: f64, b: f64) -> (String, Vec<Result>) {
        let mut text = String::new();
        for n in 0..8 {
            let wave = f64::from(n) * 0.01;
            let _infallible = write!(
                text,
                "BenchmarkA-4 10 {} ns/op 0 allocs/op\nBenchmarkB-4 10 {} ns/op\n",
                a + wave,
                b + wave
            );
        }
        (name.to_owned(), Reader::new(&text).collect())
    }

    #[test]
    fn two_sets_are_compared() {
        let tables = tables(
            &[set("old", 100.0, 10.0), set("new", 50.0, 10.0)],
            &[],
            0.05,
        );
        assert_eq!(tables.len(), 2);
        let text = tables[0].to_text();
        insta::assert_snapshot!(text, @r"
        name      old sec/op   new sec/op            vs base
        A-4      100.0n ± 0%  50.03n ± 0%  -49.98% (p=0.000)
        B-4      10.04n ± 0%  10.04n ± 0%        ~ (p=1.000)
        geomean       31.68n       22.41n            -29.28%
        ");
        assert_eq!(tables[1].unit, "allocs/op");
        assert_eq!(tables[1].rows.len(), 1);
        assert_eq!(tables[1].geomeans, [None, None]);
    }
}
