//! Writing to the rows of a repository.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use farmer_cli::progress::{self, ProgressBar};
use farmer_cli::{Exit, Failure};
use maintner_core::pb::{GitDiffTreeFile, Mutation};
use maintner_core::source::MemoryLog;
use maintner_core::sync::git::Repository;
use maintner_core::{Corpus, GitHash, Options};
use sqlx::Connection as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use tokio::runtime::Handle;

use super::known::Known;
use super::{State, state_in};
use crate::maintq::failure;
use crate::rows::{Cell, Table, table};
use crate::sql::broken;
use crate::sql::row_file::{VALUES, add, begin, create, finish, insert, run};

/// What the file says of itself: where the refs were, whether the history is whole.
const STATE: Table = Table {
    name: "_state",
    columns: &[("key", "TEXT PRIMARY KEY"), ("value", "TEXT")],
};
/// Commits whose files were not read yet.
const UNCOUNTED: Table = Table {
    name: "_uncounted",
    columns: &[("hash", "TEXT")],
};
/// Where all refs point, also those that the table of refs leaves out.
const TIPS: Table = Table {
    name: "_tips",
    columns: &[("hash", "TEXT")],
};
/// Commits that are worked on at a time.
const PAGE: usize = 4096;
/// How long another program may add rows before this one gives up.
const BUSY: Duration = Duration::from_secs(60);

/// Takes out what no ref reaches any more.
const PRUNE: &[&str] = &[
    "CREATE TEMP TABLE reached(hash TEXT PRIMARY KEY) WITHOUT ROWID",
    "INSERT INTO reached WITH RECURSIVE found(hash) AS (SELECT hash FROM _tips UNION \
     SELECT parent FROM commit_parents JOIN found USING (hash)) SELECT hash FROM found",
    "DELETE FROM commits WHERE hash NOT IN (SELECT hash FROM reached)",
    "DELETE FROM commit_parents WHERE hash NOT IN (SELECT hash FROM reached)",
    "DELETE FROM commit_files WHERE hash NOT IN (SELECT hash FROM reached)",
    "DELETE FROM _uncounted WHERE hash NOT IN (SELECT hash FROM reached)",
    "DROP TABLE reached",
];

pub(super) struct Writer {
    runtime: Handle,
    db: SqliteConnection,
    /// The name of a file that is made anew.
    unfinished: Option<PathBuf>,
    bar: ProgressBar,
}

impl Writer {
    pub(super) fn anew(runtime: Handle, file: &Path) -> Result<Self, Failure> {
        let (unfinished, db) = runtime.block_on(begin(file))?;
        let mut writer = Self {
            runtime,
            db,
            unfinished: Some(unfinished),
            bar: progress::counter("rows made"),
        };
        for table in [&STATE, &UNCOUNTED, &TIPS] {
            writer.runtime.block_on(create(&mut writer.db, table))?;
        }
        Ok(writer)
    }

    /// What a file that is made anew is called until it is whole.
    pub(super) fn unfinished(&self) -> PathBuf {
        self.unfinished.clone().unwrap_or_default()
    }

    pub(super) fn open(runtime: Handle, file: &Path) -> Result<Self, Failure> {
        let options = SqliteConnectOptions::new()
            .filename(file)
            .synchronous(SqliteSynchronous::Normal)
            .busy_timeout(BUSY);
        let db = runtime.block_on(SqliteConnection::connect_with(&options));
        Ok(Self {
            db: db.map_err(|e| broken(&e))?,
            runtime,
            unfinished: None,
            bar: progress::counter("rows made"),
        })
    }

    pub(super) fn close(self) -> Result<(), Failure> {
        self.bar.finish_and_clear();
        let closed = self.runtime.block_on(self.db.close());
        closed.map_err(|e| broken(&e))
    }

    /// All commits of a repository, without their files.
    pub(super) fn fill(&mut self, mut repository: Repository, at: &str) -> Result<(), Failure> {
        loop {
            let batch = repository.next_batch(|_| false);
            let batch = batch.map_err(|error| failure(&error))?;
            if batch.is_empty() {
                break;
            }
            self.add(&batch)?;
        }
        self.point(&repository)?;
        let whole = if repository.is_shallow() { "no" } else { "yes" };
        self.say("whole", whole)?;
        self.say("position", at)
    }

    /// Ends what [`anew`](Self::anew) began: the file is whole.
    pub(super) fn finish(self) -> Result<(), Failure> {
        self.bar.finish_and_clear();
        let unfinished = self.unfinished();
        self.runtime.block_on(async {
            finish(self.db).await?;
            // From now on who reads does not wait for who writes.
            let options = SqliteConnectOptions::new()
                .filename(&unfinished)
                .journal_mode(SqliteJournalMode::Wal);
            let db = SqliteConnection::connect_with(&options).await;
            let db = db.map_err(|e| broken(&e))?;
            db.close().await.map_err(|e| broken(&e))
        })
    }

    /// Adds the commits that are new since `state`, unless somebody else has done so, and takes
    /// out those that are not reached any more.
    pub(super) fn extend(
        &mut self,
        mut repository: Repository,
        state: &State,
        at: &str,
    ) -> Result<(), Failure> {
        let known = Known::new(&self.runtime, &mut self.db);
        let mut fresh = Vec::new();
        loop {
            let batch = repository.next_batch(|hash| known.has(hash));
            let batch = batch.map_err(|error| failure(&error))?;
            if batch.is_empty() {
                break;
            }
            fresh.extend(batch);
        }
        let mut reached = known.met().map_err(|e| broken(&e))?;
        self.run("BEGIN IMMEDIATE")?;
        let now = self.runtime.block_on(state_in(&mut self.db));
        if now.map_err(|e| broken(&e))?.position != state.position {
            return self.run("ROLLBACK");
        }
        for batch in fresh.chunks(PAGE) {
            self.add(batch)?;
        }
        let before = self.hashes("SELECT hash FROM _tips")?;
        self.point(&repository)?;
        reached.extend(repository.refs().values().map(ToString::to_string));
        if before.iter().any(|tip| !reached.contains(tip)) {
            PRUNE.iter().try_for_each(|statement| self.run(statement))?;
        }
        self.say("position", at)?;
        self.run("COMMIT")
    }

    /// Reads the files of commits that were not asked for theirs yet, newest first; how many of
    /// them cannot be told, because a partial clone lacks contents.
    pub(super) fn count(&mut self, repository: &Repository) -> Result<usize, Failure> {
        self.bar.set_message("commits read");
        let (mut before, mut missing) = (i64::MAX, 0);
        loop {
            let page = sqlx::query_as::<_, (i64, String)>(
                "SELECT rowid, hash FROM _uncounted WHERE rowid < ? ORDER BY rowid DESC LIMIT ?",
            );
            let page = page.bind(before).bind(PAGE as i64);
            let page = self.runtime.block_on(page.fetch_all(&mut self.db));
            let page = page.map_err(|e| broken(&e))?;
            let Some((oldest, _)) = page.last() else {
                return Ok(missing);
            };
            before = *oldest;
            self.bar.inc(page.len() as u64);
            let hashes = page.iter().map(|(_, hash)| hash.parse::<GitHash>());
            let hashes: Vec<GitHash> = hashes
                .collect::<Result<_, _>>()
                .map_err(|error| Failure::because(Exit::Infrastructure, &error, None))?;
            let files = repository.files_of(&hashes);
            let files = files.map_err(|error| failure(&error))?;
            missing += files.iter().filter(|files| files.is_none()).count();
            self.add_files(&page, files)?;
        }
    }

    fn add_files(
        &mut self,
        page: &[(i64, String)],
        files: Vec<Option<Vec<GitDiffTreeFile>>>,
    ) -> Result<(), Failure> {
        self.run("BEGIN IMMEDIATE")?;
        // Somebody else may have read them meanwhile.
        let rows = page.iter().map(|(row, _)| row.to_string());
        let rows = rows.collect::<Vec<_>>().join(",");
        let left = format!("SELECT hash FROM _uncounted WHERE rowid IN ({rows})");
        let left = self.hashes(&left)?;
        let (mut cells, mut done) = (Vec::new(), Vec::new());
        for ((row, hash), files) in page.iter().zip(files) {
            let Some(files) = files.filter(|_| left.contains(hash)) else {
                continue;
            };
            done.push(row.to_string());
            for file in files {
                cells.push(Cell::Text(hash.clone().into()));
                cells.push(Cell::Text(file.file.into()));
                let counts = [file.added, file.deleted, i64::from(file.binary)];
                cells.extend(counts.map(Cell::Int));
            }
        }
        self.insert(table("commit_files"), cells)?;
        let done = done.join(",");
        self.run(&format!("DELETE FROM _uncounted WHERE rowid IN ({done})"))?;
        self.run("COMMIT")
    }

    /// Sets a value of what the file says of itself.
    pub(super) fn say(&mut self, key: &str, value: &str) -> Result<(), Failure> {
        let set = sqlx::query("INSERT OR REPLACE INTO _state VALUES (?, ?)");
        let set = set.bind(key).bind(value);
        let done = self.runtime.block_on(set.execute(&mut self.db));
        done.map(drop).map_err(|e| broken(&e))
    }

    /// Adds commits that are not there yet.
    fn add(&mut self, batch: &[Mutation]) -> Result<(), Failure> {
        let options = Options::default().verify(false).snapshot(false);
        let corpus = Corpus::load(MemoryLog::of(batch), options);
        let view = corpus.map_err(|error| failure(&error))?.view();
        self.runtime.block_on(add(&view, &mut self.db, &self.bar))?;
        let commits = batch.iter().filter_map(|mutation| mutation.git.as_ref());
        let commits = commits.filter_map(|git| git.commit.as_ref());
        let hashes = commits.map(|commit| Cell::Text(commit.sha1.clone().into()));
        self.insert(&UNCOUNTED, hashes.collect())
    }

    /// Writes down where the refs are.
    fn point(&mut self, repository: &Repository) -> Result<(), Failure> {
        self.run("DELETE FROM refs")?;
        self.run("DELETE FROM _tips")?;
        let project = format!("local/{}", repository.name());
        let text = |text: &str| Cell::Text(text.to_owned().into());
        let mut cells = Vec::new();
        for (name, hash) in repository.refs() {
            if is_shown(name) {
                cells.extend([text(&project), text(name), text(&hash.to_string())]);
            }
        }
        self.insert(table("refs"), cells)?;
        let tips: HashSet<String> = repository
            .refs()
            .values()
            .map(ToString::to_string)
            .collect();
        let tips = tips.into_iter().map(|hash| Cell::Text(hash.into()));
        self.insert(&TIPS, tips.collect())
    }

    fn insert(
        &mut self,
        table: &'static Table,
        mut cells: Vec<Cell<'static>>,
    ) -> Result<(), Failure> {
        let most = VALUES / table.columns.len() * table.columns.len();
        while !cells.is_empty() {
            let later = cells.split_off(cells.len().min(most));
            let now = std::mem::replace(&mut cells, later);
            self.runtime.block_on(insert(&mut self.db, table, now))?;
        }
        Ok(())
    }

    fn hashes(&mut self, question: &str) -> Result<HashSet<String>, Failure> {
        let question = sqlx::query_scalar::<_, String>(sqlx::AssertSqlSafe(question));
        let found = self.runtime.block_on(question.fetch_all(&mut self.db));
        let found = found.map_err(|e| broken(&e))?;
        Ok(found.into_iter().collect())
    }

    fn run(&mut self, statement: &str) -> Result<(), Failure> {
        self.runtime
            .block_on(run(&mut self.db, statement.to_owned()))
    }
}

/// The table has refs as a log tells them: those of Gerrit's changes and settings are others.
fn is_shown(name: &str) -> bool {
    let change = |rest: &str| rest.as_bytes().get(2) == Some(&b'/');
    !name.starts_with("refs/meta/") && !name.strip_prefix("refs/changes/").is_some_and(change)
}
