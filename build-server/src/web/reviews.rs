//! Under which change a commit is reviewed, when somebody knows.

use build_core::report::Review;
use build_core::work::WorkItem;

/// Knows changes of code hosts.
pub trait Reviews: Send + Sync {
    /// The change that a commit is of. Answers at once: pages wait for it.
    fn review(&self, item: &WorkItem) -> Option<Review>;
}

#[cfg(feature = "corpus")]
pub use self::corpus::CorpusReviews;

#[cfg(feature = "corpus")]
mod corpus {
    use std::ffi::OsStr;
    use std::path::{Path, PathBuf};
    use std::sync::{Arc, PoisonError, RwLock};
    use std::time::{Duration, Instant};

    use build_core::report::Review;
    use build_core::work::WorkItem;
    use maintner_core::review_of::{ByCommit, named_by};
    use maintner_core::{Corpus, GitHash, View};
    use tokio_util::sync::CancellationToken;

    use super::Reviews;
    use crate::supervise::Supervisor;

    /// Pause between two looks at the log.
    const PAUSE: Duration = Duration::from_secs(5);
    /// A look takes at most one part in so many of the time.
    const SHARE: u32 = 20;

    /// Changes of a corpus in a folder, which may come later, and grow. Clones share them.
    #[derive(Clone)]
    pub struct CorpusReviews {
        folder: Arc<Path>,
        known: Arc<RwLock<Option<Arc<Known>>>>,
    }

    struct Known {
        corpus: Corpus,
        view: View,
        changes: ByCommit,
    }

    impl CorpusReviews {
        /// Of the log in a folder, as `farmer corpus` and `maintnerd` keep it. Nothing is read
        /// before [`run`](Self::run).
        pub fn new(folder: impl Into<PathBuf>) -> Self {
            Self {
                folder: folder.into().into(),
                known: Arc::default(),
            }
        }

        /// Reads the log, and what comes to it, until `token` is canceled. A log that cannot be
        /// read is said, and looked at again.
        pub async fn run(self, tasks: Supervisor, token: CancellationToken) {
            let mut said = String::new();
            loop {
                let (all, begun) = (self.clone(), Instant::now());
                let look = tasks.spawn_blocking("look", move || all.look());
                match look.await {
                    Ok(Ok(())) => said.clear(),
                    Ok(Err(error)) => {
                        let text = error.to_string();
                        if text != said {
                            tracing::warn!(%error, "the corpus cannot be read");
                        }
                        said = text;
                    }
                    Err(error) => tracing::error!(%error, "the corpus is not looked at"),
                }
                let pause = PAUSE.max(begun.elapsed() * SHARE);
                if token
                    .run_until_cancelled(tokio::time::sleep(pause))
                    .await
                    .is_none()
                {
                    return;
                }
            }
        }

        fn known(&self) -> Option<Arc<Known>> {
            self.known
                .read()
                .unwrap_or_else(PoisonError::into_inner)
                .clone()
        }

        /// Reads what is new. Blocks.
        ///
        /// # Errors
        /// When the log is damaged or cannot be read; what was known stays.
        pub fn look(&self) -> maintner_core::Result<()> {
            let corpus = match self.known() {
                Some(known) => {
                    if known.corpus.update()?.is_none() {
                        return Ok(());
                    }
                    known.corpus.clone()
                }
                None if !has_log(&self.folder) => return Ok(()),
                None => Corpus::open(&self.folder)?,
            };
            let view = corpus.view();
            let changes = ByCommit::of(&view);
            let known = Known {
                corpus,
                view,
                changes,
            };
            let mut place = self.known.write().unwrap_or_else(PoisonError::into_inner);
            *place = Some(Arc::new(known));
            Ok(())
        }
    }

    fn has_log(folder: &Path) -> bool {
        let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let mut names = files.map(|file| file.path());
        names.any(|path| path.extension() == Some(OsStr::new("mutlog")))
    }

    impl Reviews for CorpusReviews {
        fn review(&self, item: &WorkItem) -> Option<Review> {
            let known = self.known()?;
            let hash: Option<GitHash> = item.commit.as_str().parse().ok();
            let change = hash
                .and_then(|hash| known.changes.change(&known.view, hash))
                .or_else(|| named_by(&known.view, &item.subject, &item.origin))?;
            Some(Review {
                url: change.url,
                number: u32::try_from(change.number).ok()?,
                title: change.title,
                author: change.author,
                reviewers: change.reviewers,
            })
        }
    }

    #[cfg(test)]
    mod tests {
        use build_core::ids::RepoName;
        use maintner_core::log::LogWriter;
        use maintner_core::sample;
        use maintner_core::source::MutationSink as _;

        use super::*;

        #[test]
        fn a_log_that_comes_later_is_seen_and_a_damaged_one_is_said() {
            let dir = tempfile::tempdir().unwrap();
            let folder = dir.path().join("corpus");
            let reviews = CorpusReviews::new(&folder);
            let repo = RepoName::new("app").unwrap();
            let commit = sample::TIP.to_string().parse().unwrap();
            let item = WorkItem::new(repo, "/srv/app", commit);
            reviews.look().unwrap();
            assert_eq!(reviews.review(&item), None, "there is no log yet");
            let mut log = LogWriter::open(&folder).unwrap();
            let (change, issues) = {
                let mut all = sample::mutations();
                (all.pop().unwrap(), all)
            };
            log.append_mutations(&issues).unwrap();
            reviews.look().unwrap();
            assert_eq!(reviews.review(&item), None);
            log.append_mutations(&[change]).unwrap();
            reviews.look().unwrap();
            let review = reviews.review(&item).unwrap();
            assert!(review.url.starts_with("https://"), "{review:?}");
            assert_eq!(review.author.as_deref(), Some("Gopher"));
            drop(log);
            let bad = CorpusReviews::new(dir.path().join("bad"));
            std::fs::create_dir(dir.path().join("bad")).unwrap();
            let file = dir.path().join("bad/maintner-2020-12-23.mutlog");
            std::fs::write(
                &file,
                "this is no record of a log, and long enough to be one\n",
            )
            .unwrap();
            assert!(bad.look().is_err());
            assert_eq!(bad.review(&item), None);
        }
    }
}
