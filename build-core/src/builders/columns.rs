use super::{Builder, Farm, Target};
use crate::Result;

/// Columns of one heading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// The operating system, or `race`.
    pub os: String,
    /// How many columns.
    pub columns: usize,
    /// Hidden when only first-class ports are shown.
    pub unsupported: bool,
}

/// Where a column stands.
fn priority(builder: &str) -> u8 {
    match heading(builder) {
        "race" => 2,
        "all" => 0,
        "darwin" | "freebsd" | "linux" | "windows" => 1,
        "android" => 3,
        "openbsd" => 4,
        "netbsd" => 5,
        "dragonfly" => 6,
        _ => 10,
    }
}

fn heading(builder: &str) -> &str {
    if builder.ends_with("-race") || builder.contains("-race-") {
        return "race";
    }
    builder.split('-').next().unwrap_or_default()
}

impl Farm {
    /// The columns of a dashboard: the builders that build a repository at a branch, and those
    /// that have results, in the order of the page.
    ///
    /// # Errors
    /// A target without its branches.
    pub fn columns<'a>(
        &'a self,
        target: &Target,
        with_results: &[&'a str],
    ) -> Result<Vec<&'a str>> {
        let builders = self.post_submit_builders(target)?;
        let mut names: Vec<&str> = builders.iter().map(Builder::name).collect();
        names.extend(with_results);
        names.sort_by_key(|name| (priority(name), *name));
        names.dedup();
        Ok(names)
    }
}

/// The headings over columns.
#[must_use]
pub fn spans(columns: &[&str]) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    for column in columns {
        let os = heading(column);
        match spans.last_mut() {
            Some(span) if span.os == os => span.columns += 1,
            _ => spans.push(Span {
                os: os.to_owned(),
                columns: 1,
                unsupported: !["race", "android", "all"].contains(&os) && priority(column) > 1,
            }),
        }
    }
    spans
}
