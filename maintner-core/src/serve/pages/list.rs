//! Lists of issues and of changes: rows, a page at a time.

use askama::Template;

use super::{ROWS, rendered};
use crate::serve::answer::Params;

/// A row of a list.
pub(super) struct Row {
    pub(super) number: i32,
    pub(super) title: String,
    pub(super) state: &'static str,
    pub(super) by: String,
    pub(super) when: String,
    pub(super) labels: Vec<String>,
}

#[derive(Template)]
#[template(path = "corpus-list.html")]
struct Page {
    title: String,
    states: &'static [&'static str],
    state: String,
    rows: Vec<Row>,
    total: usize,
    page: usize,
    more: bool,
}

/// Which state is asked for: one of `states`, the first when nothing is said.
pub(super) fn state(params: &Params, states: &'static [&'static str]) -> &'static str {
    let asked = params.get("state").map(String::as_str);
    let known = states.iter().find(|state| Some(**state) == asked);
    known.copied().unwrap_or(states[0])
}

/// The page of a list of everything that has the state; `row` is made of those shown only.
pub(super) fn page<T>(
    title: &str,
    params: &Params,
    states: &'static [&'static str],
    all: Vec<T>,
    row: impl Fn(&T) -> Row,
) -> Result<String, String> {
    let page = params
        .get("page")
        .and_then(|page| page.parse().ok())
        .unwrap_or(0usize);
    let first = page.saturating_mul(ROWS);
    rendered(&Page {
        title: title.to_owned(),
        states,
        state: state(params, states).to_owned(),
        rows: all.iter().skip(first).take(ROWS).map(row).collect(),
        total: all.len(),
        page,
        more: all.len() > first.saturating_add(ROWS),
    })
}
