//! Questions about a repository or a log together with what was built of it: `farmer query`.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use farmer_cli::{Exit, Failure};
use maintner_core::log::Sha224Hex;
use maintner_core::sync::git::Repository;
use maintner_core::{Corpus, View};

use crate::maintq::{corpus, failure};
use crate::sql::{
    GitRows, NAME_ONE, Question, add_builds, are_in, build, no_repository, of_log, of_repository,
    open, print_answer, print_tables,
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
        let asked = Asked {
            question: &question,
            data,
            json,
        };
        let (about, folder) = self.about(data)?;
        if self.log.is_some() {
            let file = of_log(&about, &folder)?;
            return asked.answer(&rows_of(&file, || Ok(corpus(&about)?.view()))?, out);
        }
        let repository = Repository::open(&about).map_err(|error| no_repository(&error))?;
        if repository.has_reviews().map_err(|error| failure(&error))? {
            // Its reviews are part of the answer, which takes the whole corpus.
            let position = repository.position().map_err(|error| failure(&error))?;
            let file = of_repository(&position, &folder);
            return asked.answer(&rows_of(&file, || reviewed(&about, &folder))?, out);
        }
        let rows = GitRows::new(&about, &folder);
        let file = rows.file(question.asks_for_files())?;
        match asked.answer(&file, out) {
            Err(failure) if failure.exit() == Exit::Infrastructure && rows.mend(&file)? => {
                if out.is_used() {
                    let text = format!("{} was damaged and is made anew", file.display());
                    let error = std::io::Error::other(text);
                    return Err(Failure::because(failure.exit(), &error, Some("ask again")));
                }
                asked.answer(&rows.file(question.asks_for_files())?, out)
            }
            answered => answered,
        }
    }

    /// What is asked about, and the folder in which its rows are kept.
    fn about(&self, data: &Path) -> Result<(PathBuf, PathBuf), Failure> {
        let about = self.log.as_ref().unwrap_or(&self.repo);
        let about = about.canonicalize().map_err(|error| {
            let text = format!("cannot read {}", about.display());
            let error = anyhow::Error::new(error).context(text);
            Failure::because(Exit::Usage, error.as_ref(), Some(NAME_ONE))
        })?;
        let name = Sha224Hex::of(about.as_os_str().as_encoded_bytes()).to_string();
        Ok((about, data.join("query").join(&name[..16])))
    }
}

/// A question, whom it is asked, and how its answer is written.
struct Asked<'a> {
    question: &'a Question,
    data: &'a Path,
    json: bool,
}

impl Asked<'_> {
    fn answer(&self, file: &Path, out: &mut Out) -> Result<(), Failure> {
        tokio::runtime::Handle::current().block_on(async {
            let mut db = open(file).await?;
            if are_in(self.data) && self.question.asks_for_builds() {
                add_builds(&mut db, self.data).await?;
            }
            print_answer(&mut db, self.question, self.json, out).await
        })
    }
}

/// The file of rows, made of the corpus when it is not there.
fn rows_of(file: &Path, view: impl FnOnce() -> Result<View, Failure>) -> Result<PathBuf, Failure> {
    if !file.exists() {
        tokio::runtime::Handle::current().block_on(build(&view()?, file))?;
    }
    Ok(file.to_owned())
}

/// The corpus of a repository with reviews.
fn reviewed(repository: &Path, folder: &Path) -> Result<View, Failure> {
    let bar = progress::spinner("reading the repository");
    let kept = Corpus::from_git_kept(repository, folder.join("log"));
    let loaded = kept.map_err(|error| no_repository(&error))?;
    bar.finish_and_clear();
    Ok(loaded.view())
}
