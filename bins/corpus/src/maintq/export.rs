//! `maintq export`: the corpus as rows.

use std::io::Write as _;
use std::path::PathBuf;

use farmer_cli::Failure;
use serde_json::{Map, Value};

use super::input::corpus;
#[cfg(feature = "parquet")]
use crate::parquet::ParquetTable;
use crate::rows::{Cell, TABLES, Table, each_row};
use farmer_cli::Out;
use farmer_cli::progress;

/// Prints the corpus as JSON lines, one row each, with its table's name
#[derive(clap::Args)]
pub(super) struct Args {
    /// Log folder, or the address of a log server
    folder: PathBuf,
    /// Only this table; may be given several times
    #[arg(long, value_parser = clap::builder::PossibleValuesParser::new(TABLES.iter().map(|t| t.name)))]
    table: Vec<String>,
    /// Write a Parquet file for each table to this folder instead
    #[cfg(feature = "parquet")]
    #[arg(long, value_name = "DIR")]
    parquet: Option<PathBuf>,
}

impl Args {
    pub(super) fn run(&self, out: &mut Out) -> Result<(), Failure> {
        let view = corpus(&self.folder)?.view();
        #[cfg(feature = "parquet")]
        if let Some(folder) = &self.parquet {
            return self.parquet_files(&view, folder, out);
        }
        let bar = progress::counter("rows");
        each_row(&view, &mut |table, cells| {
            bar.inc(1);
            if self.wants(table) {
                writeln!(out, "{}", object(table, cells))?;
            }
            Ok(())
        })?;
        bar.finish_and_clear();
        Ok(())
    }

    fn wants(&self, table: &Table) -> bool {
        self.table.is_empty() || self.table.iter().any(|name| name == table.name)
    }

    #[cfg(feature = "parquet")]
    fn parquet_files(
        &self,
        view: &maintner_core::View,
        folder: &std::path::Path,
        out: &mut Out,
    ) -> Result<(), Failure> {
        std::fs::create_dir_all(folder)?;
        let wanted = TABLES.iter().filter(|table| self.wants(table));
        let mut files = wanted
            .map(|table| Ok((table.name, ParquetTable::create(folder, table)?)))
            .collect::<Result<Vec<_>, Failure>>()?;
        let bar = progress::counter("rows");
        each_row(view, &mut |table, cells| {
            bar.inc(1);
            let file = files.iter_mut().find(|(name, _)| *name == table.name);
            file.map_or(Ok(()), |(_, file)| file.push(cells))
        })?;
        bar.finish_and_clear();
        for (name, file) in files {
            file.finish()?;
            writeln!(out, "{}", folder.join(format!("{name}.parquet")).display())?;
        }
        Ok(())
    }
}

fn object(table: &Table, cells: &[Cell<'_>]) -> Value {
    let mut row = Map::new();
    row.insert("table".to_owned(), Value::from(table.name));
    let named = table.columns.iter().zip(cells);
    row.extend(named.map(|((column, _), value)| ((*column).to_owned(), value.to_json())));
    Value::Object(row)
}
