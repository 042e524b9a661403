//! Questions about a repository or a log together with what was built of it: `farmer query`.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use farmer_cli::{Exit, Failure};
use maintner_core::log::Sha224Hex;
use maintner_core::sync::git::Repository;
use maintner_core::{Corpus, View};

use crate::maintq::{corpus, failure};
use crate::sql::{
    Question, add_builds, are_in, build, of_log, of_repository, open, print_answer, print_tables,
};
use farmer_cli::Out;
use farmer_cli::progress;

/// What is asked, and about what.
#[derive(Debug, Clone, clap::Args)]
pub struct Query {
    /// SQL, or a table and conditions on its columns; the tables are listed when not given
    #[arg(value_name = "QUERY")]
    query: Vec<String>,
    /// The repository
    #[arg(long, value_name = "DIR", default_value = ".", conflicts_with = "log")]
    repo: PathBuf,
    /// Ask a folder of mutation logs (GitHub, Gerrit, git), not a repository
    #[arg(long, value_name = "DIR")]
    log: Option<PathBuf>,
    /// At most N rows
    #[arg(long, value_name = "N")]
    limit: Option<u32>,
}

impl Query {
    /// Answers on standard output. Rows are kept below `data`, whose builds are asked too when
    /// there are any. Blocks; must be called where tokio allows that.
    ///
    /// # Errors
    /// When the question, the repository or the log is at fault, or the disk.
    pub fn run(&self, data: &Path, json: bool) -> Result<(), Failure> {
        let mut out = Out::new();
        let answered = self
            .answer(data, json, &mut out)
            .and_then(|()| Ok(out.flush()?));
        if out.is_closed() { Ok(()) } else { answered }
    }

    fn answer(&self, data: &Path, json: bool, out: &mut Out) -> Result<(), Failure> {
        if self.query.is_empty() {
            return print_tables(are_in(data), out);
        }
        let question = Question::parse(&self.query, self.limit)?;
        let runtime = tokio::runtime::Handle::current();
        let (file, folder) = self.rows(data)?;
        if !file.exists() {
            let view = self.view(&folder)?;
            runtime.block_on(build(&view, &file))?;
        }
        runtime.block_on(async {
            let mut db = open(&file).await?;
            if are_in(data) && question.asks_for_builds() {
                add_builds(&mut db, data).await?;
            }
            print_answer(&mut db, &question, json, out).await
        })
    }

    /// The file of rows for what is asked as it is now, and the folder that it is in.
    fn rows(&self, data: &Path) -> Result<(PathBuf, PathBuf), Failure> {
        let about = self.log.as_ref().unwrap_or(&self.repo);
        let about = about.canonicalize().map_err(|error| {
            let text = format!("cannot read {}", about.display());
            let error = anyhow::Error::new(error).context(text);
            Failure::because(Exit::Usage, error.as_ref(), Some(NAME_ONE))
        })?;
        let name = Sha224Hex::of(about.as_os_str().as_encoded_bytes()).to_string();
        let folder = data.join("query").join(&name[..16]);
        let file = match self.log {
            Some(_) => of_log(&about, &folder)?,
            None => {
                // Where refs point is known in a moment; the history is read when they moved.
                let repository = Repository::open(&about).map_err(|error| no_repository(&error))?;
                let position = repository.position();
                of_repository(&position.map_err(|error| no_repository(&error))?, &folder)
            }
        };
        Ok((file, folder))
    }

    fn view(&self, folder: &Path) -> Result<View, Failure> {
        if let Some(log) = &self.log {
            return Ok(corpus(log)?.view());
        }
        let bar = progress::spinner("reading the repository");
        let kept = Corpus::from_git_kept(&self.repo, folder.join("log"));
        let loaded = kept.map_err(|error| no_repository(&error))?;
        bar.finish_and_clear();
        Ok(loaded.view())
    }
}

const NAME_ONE: &str = "name a repository with --repo, or a folder of logs with --log";

fn no_repository(error: &maintner_core::Error) -> Failure {
    match error {
        maintner_core::Error::Repository { .. } => {
            Failure::because(Exit::Usage, error, Some(NAME_ONE))
        }
        _ => failure(error),
    }
}
