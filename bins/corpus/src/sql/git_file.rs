//! The rows of a git repository, in a file that is kept in step with its refs.
//!
//! New commits are added, those that no ref reaches any more are taken out, and the files that
//! commits changed (`commit_files`) are read when they are asked for first. Several programs may
//! do so at once: each reads the repository by itself and adds in one transaction what is still
//! missing then. A file that is damaged is made anew under the next number, so nothing is ever
//! put in the place of a file that somebody may be reading.

mod known;
mod write;

use std::fs;
use std::path::{Path, PathBuf};

use farmer_cli::{Exit, Failure};
use maintner_core::sync::git::Repository;
use sqlx::sqlite::SqliteConnection;
use tokio::runtime::Handle;

use self::write::Writer;
use super::row_file::{VERSION, is_abandoned};
use super::{broken, no_repository, open};
use crate::maintq::failure;

/// So often refs may move while they are read; then the rows are those of a moment ago.
const TRIES: usize = 5;

/// The rows of one repository.
#[derive(Debug)]
pub(crate) struct GitRows {
    runtime: Handle,
    repository: PathBuf,
    folder: PathBuf,
}

/// What a file says of itself.
#[derive(Debug)]
struct State {
    /// Of the refs whose commits are in it.
    position: String,
    /// Whether every commit came with its parents.
    whole: bool,
    /// Whether there are commits whose files were not read yet.
    uncounted: bool,
    /// Where the refs were and when objects had arrived when files of commits were missing last.
    missed: String,
}

impl GitRows {
    /// Those of the repository around `repository`, kept in `folder`, which nobody else may use.
    /// Works on the runtime it is called in, from threads that may block.
    pub(crate) fn new(repository: &Path, folder: &Path) -> Self {
        Self {
            runtime: Handle::current(),
            repository: repository.to_owned(),
            folder: folder.to_owned(),
        }
    }

    /// The file, with the rows of now; those of `commit_files` when `files` are wanted.
    pub(crate) fn file(&self, files: bool) -> Result<PathBuf, Failure> {
        for _ in 0..TRIES {
            let repository = self.open()?;
            let position = repository.position().map_err(|error| failure(&error))?;
            let position = position.to_string();
            let Some((number, file)) = self.newest() else {
                self.make(1, repository, &position)?;
                continue;
            };
            match self.state(&file) {
                // Damaged, or of a program that has just ended too early.
                None => self.make(number + 1, repository, &position)?,
                Some(state) if state.position != position => {
                    if state.whole && !repository.is_shallow() {
                        let done = self.extend(&file, repository, &state, &position);
                        self.unless_damaged(&file, done)?;
                    } else {
                        self.make(number + 1, repository, &position)?;
                    }
                }
                Some(state) if files && state.uncounted => {
                    let now = format!("{position} {:?}", repository.objects_changed());
                    if state.missed == now {
                        tell_of_missing();
                        return Ok(file);
                    }
                    let done = self.count(&file, &repository, &now);
                    self.unless_damaged(&file, done)?;
                }
                Some(_) => return Ok(file),
            }
        }
        self.newest()
            .map(|(_, file)| file)
            .ok_or_else(|| self.moves())
    }

    /// Whether `file` turned out to be damaged: then it is made anew.
    pub(crate) fn mend(&self, file: &Path) -> Result<bool, Failure> {
        let checked = self.runtime.block_on(async {
            let mut db = open(file).await?;
            let check = sqlx::query_scalar("PRAGMA quick_check(1)");
            let said: String = check.fetch_one(&mut db).await.map_err(|e| broken(&e))?;
            Ok::<_, Failure>(said == "ok")
        });
        if checked.unwrap_or(false) {
            return Ok(false);
        }
        // Unless somebody else has done so.
        if let Some((number, newest)) = self.newest()
            && newest == file
        {
            let repository = self.open()?;
            let position = repository.position().map_err(|error| failure(&error))?;
            self.make(number + 1, repository, &position.to_string())?;
        }
        Ok(true)
    }

    /// What was done to a file; nothing when it turned out to be damaged, and was made anew.
    fn unless_damaged(&self, file: &Path, done: Result<(), Failure>) -> Result<(), Failure> {
        match done {
            Err(failure) if failure.exit() == Exit::Infrastructure && self.mend(file)? => Ok(()),
            done => done,
        }
    }

    fn open(&self) -> Result<Repository, Failure> {
        let opened = Repository::open(&self.repository);
        opened
            .map(Repository::without_files)
            .map_err(|error| no_repository(&error))
    }

    fn moves(&self) -> Failure {
        let text = format!("the refs of {} move too fast", self.repository.display());
        Failure::because(
            Exit::Infrastructure,
            &std::io::Error::other(text),
            Some("ask again"),
        )
    }

    /// What a file says of itself; nothing when it is damaged.
    fn state(&self, file: &Path) -> Option<State> {
        self.runtime.block_on(async {
            let mut db = open(file).await.ok()?;
            state_in(&mut db).await.ok()
        })
    }

    fn name(&self, number: u32) -> PathBuf {
        self.folder.join(format!("git-{VERSION}-{number}.sqlite"))
    }

    /// The file that counts, and its number.
    fn newest(&self) -> Option<(u32, PathBuf)> {
        let number = |name: &str| {
            let rest = name.strip_prefix(&format!("git-{VERSION}-"))?;
            rest.strip_suffix(".sqlite")?.parse::<u32>().ok()
        };
        let names = self.names();
        let newest = names.iter().filter_map(|name| number(name)).max()?;
        Some((newest, self.name(newest)))
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        names.filter(|name| name.starts_with("git-")).collect()
    }

    /// Makes the file of that number, unless somebody else does so meanwhile.
    fn make(&self, number: u32, repository: Repository, position: &str) -> Result<(), Failure> {
        let file = self.name(number);
        let mut writer = Writer::anew(self.runtime.clone(), &file)?;
        let unfinished = writer.unfinished();
        let made = writer
            .fill(repository, position)
            .and_then(|()| writer.finish())
            .and_then(|()| Ok(publish(&unfinished, &file)?));
        let _named_already = fs::remove_file(&unfinished);
        made?;
        self.tidy(number);
        Ok(())
    }

    /// Adds what is new. Does nothing when somebody else was faster.
    fn extend(
        &self,
        file: &Path,
        repository: Repository,
        state: &State,
        position: &str,
    ) -> Result<(), Failure> {
        let mut writer = Writer::open(self.runtime.clone(), file)?;
        writer.extend(repository, state, position)?;
        writer.close()
    }

    /// Reads the files of all commits that were not asked for theirs yet.
    fn count(&self, file: &Path, repository: &Repository, now: &str) -> Result<(), Failure> {
        let mut writer = Writer::open(self.runtime.clone(), file)?;
        if writer.count(repository)? > 0 {
            writer.say("missed", now)?;
        }
        writer.close()
    }

    /// Removes files with lower numbers or of other versions, and what a killed run left.
    fn tidy(&self, number: u32) {
        let newest = format!("git-{VERSION}-{number}.");
        for name in self.names() {
            let path = self.folder.join(&name);
            let abandoned = || fs::metadata(&path).is_ok_and(|meta| is_abandoned(&meta));
            let unfinished = name.contains(".unfinished-");
            if !name.starts_with(&newest) && !unfinished || unfinished && abandoned() {
                // It costs disk space only when it stays.
                let _may_stay = fs::remove_file(&path);
            }
        }
    }
}

/// Gives a whole file its name, if nobody else was faster.
fn publish(unfinished: &Path, file: &Path) -> std::io::Result<()> {
    // A name must not come before its content, should the power fail.
    fs::File::open(unfinished)?.sync_all()?;
    match fs::hard_link(unfinished, file) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        // There are file systems without such links.
        Err(_) => fs::rename(unfinished, file),
        Ok(()) => Ok(()),
    }
}

fn tell_of_missing() {
    eprintln!(
        "note: commit_files lacks commits whose contents are not in this partial clone; to have \
         them: git fetch --refetch --no-filter"
    );
}

async fn state_in(db: &mut SqliteConnection) -> Result<State, sqlx::Error> {
    let rows = sqlx::query_as::<_, (String, String)>("SELECT key, value FROM _state");
    let rows = rows.fetch_all(&mut *db).await?;
    let value = |name: &str| {
        let mut values = rows.iter().filter(|(key, _)| key == name);
        values.next().map(|(_, value)| value.clone())
    };
    let uncounted = sqlx::query("SELECT 1 FROM _uncounted LIMIT 1");
    Ok(State {
        position: value("position").ok_or(sqlx::Error::RowNotFound)?,
        whole: value("whole").as_deref() == Some("yes"),
        uncounted: uncounted.fetch_optional(&mut *db).await?.is_some(),
        missed: value("missed").unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests;
