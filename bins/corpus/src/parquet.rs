//! Rows as Parquet files, one for each table.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use farmer_cli::{Exit, Failure};
use parquet::basic::{Compression, LogicalType, Repetition, Type as Physical};
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::Type;

use crate::rows::{Cell, Table};

/// Rows of a group at most; a group is what is held in memory.
const GROUP_ROWS: usize = 100_000;
/// Text of a group at most, about.
const GROUP_BYTES: usize = 16 << 20;

/// The file of a table, while it is written. It gets its name when it is whole.
pub(crate) struct ParquetTable {
    path: PathBuf,
    writer: SerializedFileWriter<File>,
    columns: Vec<Values>,
    rows: usize,
    bytes: usize,
}

/// The values of a column that are waiting; an absent one has only its level.
enum Values {
    Numbers(Vec<i64>, Vec<i16>),
    Texts(Vec<ByteArray>, Vec<i16>),
}

impl ParquetTable {
    /// Begins the file of `table` in `folder`.
    pub(crate) fn create(folder: &Path, table: &Table) -> Result<Self, Failure> {
        let path = folder.join(format!("{}.parquet", table.name));
        let file = File::create(unfinished(&path)).map_err(|error| {
            let text = format!("cannot write {}", path.display());
            let error = anyhow::Error::new(error).context(text);
            Failure::because(Exit::Infrastructure, error.as_ref(), None)
        })?;
        let properties = WriterProperties::builder().set_compression(Compression::SNAPPY);
        let writer = schema(table)
            .and_then(|schema| {
                SerializedFileWriter::new(file, schema, Arc::new(properties.build()))
            })
            .map_err(|error| failed(&path, error))?;
        let columns = table.columns.iter().map(|(_, kind)| match *kind {
            "INTEGER" => Values::Numbers(Vec::new(), Vec::new()),
            _ => Values::Texts(Vec::new(), Vec::new()),
        });
        Ok(Self {
            columns: columns.collect(),
            path,
            writer,
            rows: 0,
            bytes: 0,
        })
    }

    /// Adds one row.
    pub(crate) fn push(&mut self, cells: &[Cell<'_>]) -> Result<(), Failure> {
        for (values, cell) in self.columns.iter_mut().zip(cells) {
            self.bytes += values.push(cell);
        }
        self.rows += 1;
        if self.rows < GROUP_ROWS && self.bytes < GROUP_BYTES {
            return Ok(());
        }
        self.write_group()
            .map_err(|error| failed(&self.path, error))
    }

    fn write_group(&mut self) -> Result<(), ParquetError> {
        let mut group = self.writer.next_row_group()?;
        for values in &mut self.columns {
            let Some(mut column) = group.next_column()? else {
                break;
            };
            match values {
                Values::Numbers(values, levels) => {
                    let typed = column.typed::<Int64Type>();
                    typed.write_batch(values, Some(levels), None)?;
                }
                Values::Texts(values, levels) => {
                    let typed = column.typed::<ByteArrayType>();
                    typed.write_batch(values, Some(levels), None)?;
                }
            }
            column.close()?;
            values.clear();
        }
        group.close()?;
        (self.rows, self.bytes) = (0, 0);
        Ok(())
    }

    /// Writes what waits and gives the file its name.
    pub(crate) fn finish(mut self) -> Result<(), Failure> {
        let last = if self.rows > 0 {
            self.write_group()
        } else {
            Ok(())
        };
        last.and_then(|()| self.writer.close())
            .map_err(|error| failed(&self.path, error))?;
        fs::rename(unfinished(&self.path), &self.path)?;
        Ok(())
    }
}

impl Values {
    /// Takes a value; how many bytes of text it has.
    fn push(&mut self, cell: &Cell<'_>) -> usize {
        match (self, cell) {
            (Self::Numbers(values, levels), Cell::Int(n)) => {
                values.push(*n);
                levels.push(1);
                0
            }
            (Self::Texts(values, levels), Cell::Text(text)) => {
                values.push(text.as_ref().into());
                levels.push(1);
                text.len()
            }
            (Self::Numbers(_, levels) | Self::Texts(_, levels), _) => {
                levels.push(0);
                0
            }
        }
    }

    fn clear(&mut self) {
        match self {
            Self::Numbers(values, levels) => {
                values.clear();
                levels.clear();
            }
            Self::Texts(values, levels) => {
                values.clear();
                levels.clear();
            }
        }
    }
}

fn unfinished(path: &Path) -> PathBuf {
    path.with_extension("unfinished")
}

fn schema(table: &Table) -> Result<Arc<Type>, ParquetError> {
    let field = |(name, kind): &(&str, &str)| {
        let (physical, logical) = match *kind {
            "INTEGER" => (Physical::INT64, None),
            _ => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
        };
        Type::primitive_type_builder(name, physical)
            .with_repetition(Repetition::OPTIONAL)
            .with_logical_type(logical)
            .build()
            .map(Arc::new)
    };
    let fields = table.columns.iter().map(field);
    let schema =
        Type::group_type_builder(table.name).with_fields(fields.collect::<Result<_, _>>()?);
    Ok(Arc::new(schema.build()?))
}

fn failed(path: &Path, error: ParquetError) -> Failure {
    let text = format!("cannot write {}", path.display());
    let error = anyhow::Error::new(error).context(text);
    Failure::because(
        Exit::Infrastructure,
        error.as_ref(),
        Some("is there room on the disk, and is the folder writable?"),
    )
}

#[cfg(test)]
mod tests {
    use parquet::file::reader::{FileReader as _, SerializedFileReader};
    use parquet::record::Field;

    use super::*;

    const TABLE: Table = Table {
        name: "things",
        columns: &[("n", "INTEGER"), ("text", "TEXT")],
    };

    #[test]
    fn what_is_written_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let mut table = ParquetTable::create(dir.path(), &TABLE).unwrap();
        for n in 0..GROUP_ROWS as i64 + 3 {
            let text = match n % 3 {
                0 => Cell::Null,
                _ => Cell::Text(format!("é {n}").into()),
            };
            table.push(&[Cell::Int(n), text]).unwrap();
        }
        let path = dir.path().join("things.parquet");
        assert!(!path.exists(), "only whole files have their name");
        table.finish().unwrap();
        let reader = SerializedFileReader::new(File::open(&path).unwrap()).unwrap();
        assert_eq!(reader.metadata().num_row_groups(), 2);
        let mut count = 0;
        for (n, row) in (0i64..).zip(reader.get_row_iter(None).unwrap()) {
            let row = row.unwrap();
            let fields: Vec<&Field> = row.get_column_iter().map(|(_, field)| field).collect();
            let text = match n % 3 {
                0 => Field::Null,
                _ => Field::Str(format!("é {n}")),
            };
            assert_eq!(fields, [&Field::Long(n), &text]);
            count += 1;
        }
        assert_eq!(count, GROUP_ROWS + 3);
    }
}
