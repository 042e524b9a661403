//! What was seen, for docs/compatibility.md: one file for each row, gathered by `.ci/compat.py`.

use std::path::{Path, PathBuf};
use std::process::Command;

/// One row of the table.
#[derive(serde::Serialize)]
pub(crate) struct Row<'a> {
    /// Who speaks to whom.
    pub direction: &'a str,
    /// What they did.
    pub case: &'a str,
    /// What was seen; no figures that change.
    pub seen: &'a str,
    /// What was made wrong on purpose, and what was seen then.
    pub control: &'a str,
}

/// Writes rows down that a test has just proven against a program.
pub(crate) fn record(program: &Path, rows: &[Row<'_>]) {
    let name = program.file_name().unwrap().to_str().unwrap();
    let version = version_of(program);
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("compat");
    std::fs::create_dir_all(&dir).unwrap();
    for row in rows {
        assert!(
            !row.control.is_empty(),
            "a row without a negative control proves nothing"
        );
        let value = serde_json::json!({"peer": name, "version": version, "row": row});
        let slug: String = format!("{name} {} {}", row.direction, row.case)
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
            .collect();
        std::fs::write(dir.join(format!("{slug}.json")), value.to_string()).unwrap();
    }
}

/// The version of golang.org/x/build in a program, by `go version -m`.
fn version_of(program: &Path) -> String {
    let output = Command::new("go")
        .arg("version")
        .arg("-m")
        .arg(program)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text
        .lines()
        .find(|line| line.split_whitespace().nth(1) == Some("golang.org/x/build"));
    let version = line.and_then(|line| line.split_whitespace().nth(2));
    version
        .unwrap_or_else(|| panic!("no version in: {text}"))
        .to_owned()
}
