//! `[[matrix]]` of `.farmer.toml`: steps that are run once for each combination of some values.
//!
//! A matrix is unfolded when the file is read, so that nothing else knows of it: each cell is a step
//! of its own, called `test [os=linux, rust=1.80]`.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use serde::Deserialize;
use toml::Spanned;

use super::farmer_toml::invalid;
use super::nearest::name_hint;
use super::step_toml::RawStep;
use super::when_toml::RawWhen;
use crate::error::{Error, Result};
use crate::ids::StepName;
use crate::plan::When;

/// Cells that one matrix may have.
const MAX_CELLS: usize = 256;
/// Steps that all of them may make.
const MAX_STEPS: usize = 3_000;
/// What stands for a value in the texts of a step, before the name of its axis.
const MARK: &str = "{matrix.";

#[derive(Deserialize)]
pub(super) struct RawMatrix {
    #[serde(default)]
    steps: Vec<StepName>,
    axes: BTreeMap<String, Vec<RawValue>>,
    #[serde(default)]
    exclude: Vec<Spanned<BTreeMap<String, RawValue>>>,
    #[serde(default)]
    include: Vec<Spanned<BTreeMap<String, RawValue>>>,
    when: Option<RawWhen>,
}

#[derive(Clone, Deserialize)]
#[serde(untagged, expecting = "a text, a whole number, or true or false")]
enum RawValue {
    Text(String),
    Number(i64),
    Flag(bool),
    Part(f64),
}

/// A combination: a value for each axis.
type Cell = BTreeMap<String, String>;

/// A matrix that was read.
struct Matrix {
    line: usize,
    steps: Vec<StepName>,
    cells: Vec<Cell>,
    axes: BTreeSet<String>,
    when: Vec<When>,
}

/// A step that a matrix has made.
struct Made {
    base: StepName,
    matrix: usize,
    cell: Cell,
}

/// Steps of a file whose matrices are unfolded.
pub(super) struct Unfolded {
    pub(super) steps: Vec<RawStep>,
    /// Of each step, what it needs only because it needs all cells of another one.
    pub(super) of_cells: BTreeMap<StepName, BTreeSet<StepName>>,
}

/// Where in a file something stands.
pub(super) struct Lines<'t>(pub(super) &'t str);

impl Lines<'_> {
    /// The number of the line, counted from 1.
    fn of(&self, span: &Range<usize>) -> usize {
        let before = self.0.as_bytes().get(..span.start).unwrap_or_default();
        1 + before.iter().filter(|byte| **byte == b'\n').count()
    }
}

/// Unfolds all matrices of a file.
pub(super) fn unfold(
    steps: Vec<Spanned<RawStep>>,
    matrices: Vec<Spanned<RawMatrix>>,
    lines: &Lines<'_>,
) -> Result<Unfolded> {
    let matrices = matrices.into_iter().map(|raw| {
        let line = lines.of(&raw.span());
        raw.into_inner().read(line, lines)
    });
    let matrices: Vec<Matrix> = matrices.collect::<Result<_>>()?;
    let names: Vec<StepName> = steps.iter().map(|s| s.get_ref().name.clone()).collect();
    check_steps(&matrices, &names)?;
    let mut all: Vec<(RawStep, Option<Made>)> = Vec::new();
    for step in steps {
        let line = lines.of(&step.span());
        let step = step.into_inner();
        let mut cells: BTreeMap<Cell, usize> = BTreeMap::new();
        let first_of_step = all.len();
        for (number, matrix) in matrices.iter().enumerate() {
            if !matrix.steps.is_empty() && !matrix.steps.contains(&step.name) {
                continue;
            }
            for cell in &matrix.cells {
                if let Some(first) = cells.insert(cell.clone(), number) {
                    let text = format!(
                        "[[matrix]] in line {} makes step \"{}\" again, which the one in line {} makes",
                        matrix.line,
                        named(&step.name, cell),
                        matrices[first].line,
                    );
                    return Err(
                        invalid(text).with_hint("take it out of one of them with `exclude`")
                    );
                }
                let made = step.in_cell(line, matrix, cell)?;
                let (base, cell) = (step.name.clone(), cell.clone());
                all.push((
                    made,
                    Some(Made {
                        base,
                        matrix: number,
                        cell,
                    }),
                ));
            }
        }
        check_caches(all[first_of_step..].iter().map(|(cell, _)| cell), line)?;
        if cells.is_empty() {
            let mut step = step;
            let name = step.name.clone();
            step.each_text(&mut |text| check_unmarked(text, &name, line))?;
            all.push((step, None));
        }
        if all.len() > MAX_STEPS {
            let text = format!("the matrices of the file make more than {MAX_STEPS} steps");
            return Err(invalid(text).with_hint("leave out combinations, or name fewer `steps`"));
        }
    }
    Ok(connected(all))
}

impl RawMatrix {
    fn read(self, line: usize, lines: &Lines<'_>) -> Result<Matrix> {
        let place = format!("[[matrix]] in line {line}");
        let axes: BTreeSet<String> = self.axes.keys().cloned().collect();
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        if let Some(bad) = axes
            .iter()
            .find(|name| name.is_empty() || !name.chars().all(is_plain))
        {
            let text = format!("{place}: {bad:?} is no name of an axis");
            return Err(invalid(text).with_hint("use letters, digits, - and _"));
        }
        let mut cells = vec![Cell::new()];
        for (name, values) in &self.axes {
            let values = values.iter().map(|value| value.read(&place, name));
            let values: Vec<String> = values.collect::<Result<_>>()?;
            if let Some(twice) = (1..values.len()).find(|at| values[..*at].contains(&values[*at])) {
                let text = format!("{place}: {name} has {:?} twice", values[twice]);
                return Err(invalid(text).with_hint("take one of them out"));
            }
            if cells.len().saturating_mul(values.len()) > MAX_CELLS {
                return Err(too_many(&place));
            }
            let with = |cell: &Cell| {
                let cell = cell.clone();
                let with = values.iter().map(move |value| {
                    let mut cell = cell.clone();
                    cell.insert(name.clone(), value.clone());
                    cell
                });
                with.collect::<Vec<_>>()
            };
            cells = cells.iter().flat_map(with).collect();
        }
        if axes.is_empty() {
            cells.clear();
        }
        for raw in &self.exclude {
            let place = format!("exclude in line {}", lines.of(&raw.span()));
            let out = partial(raw.get_ref(), &axes, &place)?;
            let before = cells.len();
            cells.retain(|cell| {
                !out.iter()
                    .all(|(name, value)| cell.get(name) == Some(value))
            });
            if cells.len() == before {
                let text = format!(
                    "{place} leaves nothing out: no combination has {}",
                    shown(&out)
                );
                return Err(invalid(text)
                    .with_hint("take it out, or see whether its values are those of `axes`"));
            }
        }
        for raw in &self.include {
            let place = format!("include in line {}", lines.of(&raw.span()));
            let cell = partial(raw.get_ref(), &axes, &place)?;
            if let Some(missing) = axes.iter().find(|name| !cell.contains_key(*name)) {
                let text = format!("{place} has no value for {missing}");
                return Err(invalid(text).with_hint(format!("add {missing} = \"...\"")));
            }
            if cells.contains(&cell) {
                let text = format!("{place}: {} is a combination already", shown(&cell));
                return Err(invalid(text).with_hint("take it out"));
            }
            cells.push(cell);
            if cells.len() > MAX_CELLS {
                return Err(too_many(&place));
            }
        }
        if cells.is_empty() {
            let text = format!("{place} has no combination");
            return Err(invalid(text).with_hint(
                "give it values, such as axes = { os = [\"linux\", \"mac\"] }, or take it out",
            ));
        }
        let when = self.when.as_ref().map(|when| when.read(&place));
        Ok(Matrix {
            line,
            steps: self.steps,
            cells,
            axes,
            when: when.transpose()?.unwrap_or_default(),
        })
    }
}

impl RawValue {
    fn read(&self, place: &str, axis: &str) -> Result<String> {
        let text = match self {
            Self::Text(text) => text.clone(),
            Self::Number(number) => number.to_string(),
            Self::Flag(flag) => flag.to_string(),
            Self::Part(part) => {
                let text = format!("{place}: {axis} = {part} loses its zeros: 1.10 is 1.1");
                return Err(
                    invalid(text).with_hint(format!("write it as a text: {axis} = [\"1.10\"]"))
                );
            }
        };
        let is_bad = |c: char| c.is_control() || matches!(c, '[' | ']' | ',' | '{' | '}');
        if text.is_empty() || text.trim() != text || text.chars().any(is_bad) {
            let text = format!("{place}: {axis} = {text:?} cannot stand in the name of a step");
            return Err(invalid(text).with_hint(
                "use a text without blanks at its ends and without [ ] { } and commas",
            ));
        }
        Ok(text)
    }
}

impl RawStep {
    /// The step of a cell.
    fn in_cell(&self, line: usize, matrix: &Matrix, cell: &Cell) -> Result<Self> {
        let mut step = self.clone();
        step.name = StepName::new(named(&self.name, cell)).map_err(|_| {
            let text = format!(
                "step \"{}\" in line {line}: its names in the [[matrix]] in line {} get too long",
                self.name, matrix.line
            );
            invalid(text).with_hint("shorten the names or the values of the axes: 128 bytes in all")
        })?;
        step.each_text(&mut |text| {
            *text = filled(text, &self.name, line, &matrix.axes, cell)?;
            Ok(())
        })?;
        if !matrix.when.is_empty() {
            step.conditions.0.push(matrix.when.clone());
        }
        Ok(step)
    }
}

/// A text with values in place of what stands for them.
fn filled(
    text: &str,
    step: &StepName,
    line: usize,
    axes: &BTreeSet<String>,
    cell: &Cell,
) -> Result<String> {
    let mut parts = text.split(MARK);
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let Some((axis, rest)) = part.split_once('}') else {
            return Err(unknown_axis(part, step, line, axes));
        };
        let value = cell
            .get(axis)
            .ok_or_else(|| unknown_axis(axis, step, line, axes))?;
        out += value;
        out += rest;
    }
    Ok(out)
}

fn unknown_axis(axis: &str, step: &StepName, line: usize, axes: &BTreeSet<String>) -> Error {
    let axis: String = axis.chars().take(40).collect();
    let text = format!(
        "step \"{step}\" in line {line} has {MARK}{axis}}}, and its [[matrix]] no such axis"
    );
    invalid(text).with_hint(name_hint(&axis, axes.iter().map(String::as_str)))
}

fn check_unmarked(text: &str, step: &StepName, line: usize) -> Result<()> {
    if !text.contains(MARK) {
        return Ok(());
    }
    let text =
        format!("step \"{step}\" in line {line} has a value of a matrix, and is in no [[matrix]]");
    Err(invalid(text).with_hint(format!("add \"{step}\" to the `steps` of the [[matrix]]")))
}

/// A cache is known by its path and its builder: what one cell has made must not be put back for
/// another one.
fn check_caches<'s>(cells: impl Iterator<Item = &'s RawStep>, line: usize) -> Result<()> {
    let mut known: BTreeSet<(&[String], &str)> = BTreeSet::new();
    for cell in cells {
        for path in &cell.cache {
            if !known.insert((cell.builders.as_slice(), path.as_str())) {
                let text = format!(
                    "step \"{}\" in line {line} keeps {path:?} in the `cache` that another combination keeps it in",
                    cell.name
                );
                return Err(invalid(text).with_hint(
                    "give each a directory of its own, such as cache = [\"target-{matrix.NAME}\"]",
                ));
            }
        }
    }
    Ok(())
}

/// Every step that a matrix names must be there.
fn check_steps(matrices: &[Matrix], names: &[StepName]) -> Result<()> {
    for matrix in matrices {
        if names.is_empty() {
            let text = format!("[[matrix]] in line {} has no step to run", matrix.line);
            return Err(invalid(text)
                .with_hint("write the steps down: farmer init prints those that are guessed"));
        }
        if let Some(name) = matrix.steps.iter().find(|name| !names.contains(name)) {
            let text = format!(
                "[[matrix]] in line {}: \"{name}\" is not a step",
                matrix.line
            );
            return Err(invalid(text)
                .with_hint(name_hint(name.as_str(), names.iter().map(StepName::as_str))));
        }
    }
    Ok(())
}

/// Values of some axes.
fn partial(raw: &BTreeMap<String, RawValue>, axes: &BTreeSet<String>, place: &str) -> Result<Cell> {
    if raw.is_empty() {
        return Err(invalid(format!("{place} names no value")).with_hint("take it out"));
    }
    let value = |(name, value): (&String, &RawValue)| {
        if !axes.contains(name) {
            let text = format!("{place}: {name:?} is no axis of the matrix");
            return Err(invalid(text).with_hint(name_hint(name, axes.iter().map(String::as_str))));
        }
        Ok((name.clone(), value.read(place, name)?))
    };
    raw.iter().map(value).collect()
}

fn too_many(place: &str) -> Error {
    invalid(format!("{place} has more than {MAX_CELLS} combinations"))
        .with_hint("make two of it, or take values out")
}

/// Steps that need others need those of their own cell; where there is none, all cells.
fn connected(all: Vec<(RawStep, Option<Made>)>) -> Unfolded {
    let mut cells: BTreeMap<StepName, Vec<(usize, Cell, StepName)>> = BTreeMap::new();
    for (step, made) in &all {
        if let Some(Made { base, matrix, cell }) = made {
            let of_base = cells.entry(base.clone()).or_default();
            of_base.push((*matrix, cell.clone(), step.name.clone()));
        }
    }
    let mut of_cells: BTreeMap<StepName, BTreeSet<StepName>> = BTreeMap::new();
    let connect = |(mut step, made): (RawStep, Option<Made>)| {
        let own = |base: &StepName| {
            let made = made.as_ref()?;
            let mut others = cells.get(base)?.iter();
            let own = others.find(|(matrix, cell, _)| *matrix == made.matrix && *cell == made.cell);
            own.map(|(_, _, name)| name.clone())
        };
        let mut needs = Vec::new();
        for need in std::mem::take(&mut step.needs) {
            match (own(&need), cells.get(&need)) {
                (Some(own), _) => needs.push(own),
                (None, Some(every)) => {
                    let names = every.iter().map(|(_, _, name)| name.clone());
                    let of_all = of_cells.entry(step.name.clone()).or_default();
                    of_all.extend(names.clone());
                    needs.extend(names);
                }
                (None, None) => needs.push(need),
            }
        }
        step.needs = needs;
        for input in &mut step.inputs {
            if let Some(own) = own(&input.step) {
                input.step = own;
            }
        }
        step
    };
    let steps = all.into_iter().map(connect).collect();
    Unfolded { steps, of_cells }
}

/// `test [os=linux, rust=1.80]`
fn named(step: &StepName, cell: &Cell) -> String {
    format!("{step} [{}]", shown(cell))
}

fn shown(cell: &Cell) -> String {
    let pairs: Vec<_> = cell
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    pairs.join(", ")
}

#[cfg(test)]
mod tests;
