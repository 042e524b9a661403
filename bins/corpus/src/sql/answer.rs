//! What a query answers, for people and for programs.

use std::io::Write as _;

use farmer_cli::{Exit, Failure, json_line, shown};
use futures::StreamExt as _;
use serde_json::{Map, Value};
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{AssertSqlSafe, Column as _, Row as _, TypeInfo as _, ValueRef as _};

use super::{Question, broken, is_torn};
use crate::rows::Cell;
use farmer_cli::Out;

/// Asks, and prints the rows: tab-separated under their names, or one JSON object each.
pub(crate) async fn print_answer(
    db: &mut SqliteConnection,
    question: &Question,
    json: bool,
    out: &mut Out,
) -> Result<(), Failure> {
    let mut query = sqlx::query::<sqlx::Sqlite>(AssertSqlSafe(question.sql.as_str()));
    for value in &question.values {
        query = match value {
            Cell::Null => query.bind(None::<i64>),
            Cell::Int(n) => query.bind(*n),
            Cell::Text(text) => query.bind(text.as_ref()),
        };
    }
    let mut rows = query.fetch(db);
    let mut first = true;
    while let Some(row) = rows.next().await {
        let row = row.map_err(|error| refused(&error, question))?;
        if json {
            let line = json_line(&object(&row));
            let line = line.map_err(|e| Failure::because(Exit::Infrastructure, &e, None))?;
            out.write_all(line.as_bytes())?;
        } else {
            print(&row, first, out)?;
        }
        first = false;
    }
    Ok(())
}

fn refused(error: &sqlx::Error, question: &Question) -> Failure {
    match error.as_database_error() {
        Some(_) if is_torn(error) => broken(error),
        Some(error) => Failure::usage(
            format!("cannot answer {:?}: {}", question.sql, error.message()),
            "without a query, the tables are listed",
        ),
        None => broken(error),
    }
}

fn print(row: &SqliteRow, first: bool, out: &mut Out) -> Result<(), Failure> {
    if first {
        let names: Vec<&str> = row.columns().iter().map(sqlx::Column::name).collect();
        writeln!(out, "{}", names.join("\t"))?;
    }
    let cells = (0..row.len()).map(|index| match value(row, index) {
        Value::String(text) => shown(&text.replace(['\t', '\n', '\r'], " ")).into_owned(),
        Value::Null => String::new(),
        other => other.to_string(),
    });
    writeln!(out, "{}", cells.collect::<Vec<_>>().join("\t"))?;
    Ok(())
}

fn object(row: &SqliteRow) -> Value {
    let named = row.columns().iter().enumerate();
    Value::Object(
        named
            .map(|(index, column)| (column.name().to_owned(), value(row, index)))
            .collect::<Map<_, _>>(),
    )
}

/// The value by the type that SQLite gave it.
fn value(row: &SqliteRow, index: usize) -> Value {
    let kind = row
        .try_get_raw(index)
        .map(|raw| raw.type_info().name().to_owned());
    match kind.as_deref() {
        Ok("INTEGER" | "BOOLEAN") => row
            .try_get::<i64, _>(index)
            .map_or(Value::Null, Value::from),
        Ok("REAL") => row
            .try_get::<f64, _>(index)
            .map_or(Value::Null, Value::from),
        Ok("TEXT") => row
            .try_get::<String, _>(index)
            .map_or(Value::Null, Value::from),
        Ok("BLOB") => row
            .try_get::<Vec<u8>, _>(index)
            .map_or(Value::Null, |b| Value::from(b.escape_ascii().to_string())),
        _ => Value::Null,
    }
}
