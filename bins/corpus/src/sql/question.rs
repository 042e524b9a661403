//! A question about the rows: SQL as it is, or a table and conditions on its columns.

use std::io::Write as _;

use farmer_cli::Failure;

use crate::rows::{Cell, TABLES, Table};
use farmer_cli::Out;

/// The builds of a data directory, when there is one.
pub(crate) const BUILDS: Table = Table {
    name: "builds",
    columns: &[
        ("id", "TEXT"),
        ("state", "TEXT"),
        ("repo", "TEXT"),
        ("branch", "TEXT"),
        ("builder", "TEXT"),
        ("commit_hash", "TEXT"),
        ("open", "INTEGER"),
        ("number", "INTEGER"),
        ("queued", "INTEGER"),
        ("started", "INTEGER"),
        ("finished", "INTEGER"),
    ],
};

/// A statement and the values of its parameters.
#[derive(Debug)]
pub(crate) struct Question {
    pub(crate) sql: String,
    pub(crate) values: Vec<Cell<'static>>,
}

/// How a column is compared, longest first; `~` finds a part, whatever its case.
const OPERATORS: &[&str] = &["!=", "<=", ">=", "=", "~", "<", ">"];

impl Question {
    /// Words of a command line: one statement, or a table and its conditions.
    pub(crate) fn parse(words: &[String], limit: Option<u32>) -> Result<Self, Failure> {
        let Some((first, conditions)) = words.split_first() else {
            return Err(Failure::usage("nothing was asked", "see --help"));
        };
        if conditions.is_empty() && first.contains(char::is_whitespace) {
            let sql = match limit {
                Some(limit) => format!("SELECT * FROM ({first}) LIMIT {limit}"),
                None => first.clone(),
            };
            return Ok(Self {
                sql,
                values: Vec::new(),
            });
        }
        Self::of_table(find_table(first)?, conditions, limit)
    }

    /// Whether it may need the builds, which are read for it: the word is in it.
    pub(crate) fn asks_for_builds(&self) -> bool {
        self.sql.to_ascii_lowercase().contains(BUILDS.name)
    }

    /// Whether it may need what commits changed, which is read for it.
    pub(crate) fn asks_for_files(&self) -> bool {
        self.sql.to_ascii_lowercase().contains("commit_files")
    }

    fn of_table(table: &Table, conditions: &[String], limit: Option<u32>) -> Result<Self, Failure> {
        let mut sql = format!("SELECT * FROM {}", table.name);
        let mut values = Vec::new();
        for (index, condition) in conditions.iter().enumerate() {
            let (column, operator, value) = compare(table, condition)?;
            let join = if index == 0 { "WHERE" } else { "AND" };
            let test = match operator {
                "~" => format!("instr(lower(\"{column}\"), lower(?)) > 0"),
                // Absent is different from every value.
                "!=" => format!("\"{column}\" IS NOT ?"),
                _ => format!("\"{column}\" {operator} ?"),
            };
            sql.push_str(&format!(" {join} {test}"));
            values.push(value);
        }
        if let Some(limit) = limit {
            sql.push_str(&format!(" LIMIT {limit}"));
        }
        Ok(Self { sql, values })
    }
}

fn tables() -> impl Iterator<Item = &'static Table> {
    TABLES.iter().chain([&BUILDS])
}

fn find_table(name: &str) -> Result<&'static Table, Failure> {
    tables().find(|table| table.name == name).ok_or_else(|| {
        let names: Vec<&str> = tables().map(|table| table.name).collect();
        Failure::usage(
            format!("there is no table {name:?}"),
            format!("the tables are {}", names.join(", ")),
        )
    })
}

/// `COLUMN=VALUE` and its like.
fn compare(
    table: &Table,
    condition: &str,
) -> Result<(&'static str, &'static str, Cell<'static>), Failure> {
    let at = condition.find(['!', '<', '>', '=', '~']);
    let found = at.and_then(|at| {
        let (column, rest) = condition.split_at(at);
        let operator = OPERATORS
            .iter()
            .find(|operator| rest.starts_with(**operator))?;
        Some((column, *operator, &rest[operator.len()..]))
    });
    let Some((column, operator, value)) = found else {
        return Err(Failure::usage(
            format!("{condition:?} is no condition"),
            "write COLUMN=VALUE; or !=, <, <=, >, >=, and ~ for a part of a text",
        ));
    };
    let Some((column, kind)) = table.columns.iter().find(|(name, _)| *name == column) else {
        let names: Vec<&str> = table.columns.iter().map(|(name, _)| *name).collect();
        return Err(Failure::usage(
            format!("{} has no column {column:?}", table.name),
            format!("its columns are {}", names.join(", ")),
        ));
    };
    if *kind == "TEXT" || operator == "~" {
        return Ok((column, operator, Cell::Text(value.to_owned().into())));
    }
    let number = value.parse().map_err(|_| {
        Failure::usage(
            format!("{}.{column} is a number, {value:?} is none", table.name),
            "times are seconds since 1970; 0 is no, 1 is yes",
        )
    })?;
    Ok((column, operator, Cell::Int(number)))
}

/// The tables and their columns.
pub(crate) fn print_tables(with_builds: bool, out: &mut Out) -> Result<(), Failure> {
    for table in tables().filter(|table| with_builds || **table != BUILDS) {
        let columns: Vec<&str> = table.columns.iter().map(|column| column.0).collect();
        writeln!(out, "{}({})", table.name, columns.join(", "))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Question, String> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        Question::parse(&words, None).map_err(|failure| failure.message("test").unwrap())
    }

    #[test]
    fn conditions_become_parameters() {
        let asked = parse(&["issues", "closed=0", "title~Slow", "user!=o'x", "number>=3"]).unwrap();
        assert_eq!(
            asked.sql,
            "SELECT * FROM issues WHERE \"closed\" = ? AND instr(lower(\"title\"), lower(?)) > 0 \
             AND \"user\" IS NOT ? AND \"number\" >= ?"
        );
        assert_eq!(asked.values.len(), 4);
    }

    #[test]
    fn sql_stays_as_it_is() {
        assert_eq!(parse(&["SELECT 1"]).unwrap().sql, "SELECT 1");
        let limited = Question::parse(&["SELECT 1 AS n".to_owned()], Some(2)).unwrap();
        assert_eq!(limited.sql, "SELECT * FROM (SELECT 1 AS n) LIMIT 2");
    }

    #[test]
    fn what_cannot_be_asked_is_named_with_a_remedy() {
        for (words, part) in [
            (&["isues"][..], "the tables are users,"),
            (&["issues", "colour=1"], "its columns are repo, number"),
            (&["issues", "closed"], "write COLUMN=VALUE"),
            (&["issues", "number=three"], "\"three\" is none"),
        ] {
            let message = parse(words).unwrap_err();
            assert!(message.contains(part), "{message}");
        }
    }
}
