//! `maintq export`: the corpus as rows.

use std::io::Write as _;
use std::path::PathBuf;

use farmer_cli::Failure;
use serde_json::{Map, Value};

use super::input::corpus;
use crate::out::Out;
use crate::rows::{TABLES, each_row};

/// Prints the corpus as JSON lines, one row each, with its table's name
#[derive(clap::Args)]
pub(super) struct Args {
    /// Log folder
    folder: PathBuf,
    /// Only this table; may be given several times
    #[arg(long, value_parser = clap::builder::PossibleValuesParser::new(TABLES.iter().map(|t| t.name)))]
    table: Vec<String>,
}

impl Args {
    pub(super) fn run(&self, out: &mut Out) -> Result<(), Failure> {
        let view = corpus(&self.folder)?.view();
        each_row(&view, &mut |table, values| {
            if !self.table.is_empty() && !self.table.iter().any(|name| name == table.name) {
                return Ok(());
            }
            let mut row = Map::new();
            row.insert("table".to_owned(), Value::from(table.name));
            let named = table.columns.iter().zip(values);
            row.extend(named.map(|((column, _), value)| ((*column).to_owned(), value.to_json())));
            Ok(writeln!(out, "{}", Value::Object(row))?)
        })
    }
}
