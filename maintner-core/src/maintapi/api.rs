//! The questions and their answers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Mutex;
use tonic::Status;

use super::apipb::{
    DashboardRequest, DashboardResponse, GetRefRequest, GetRefResponse, GoFindTryWorkResponse,
    HasAncestorRequest, HasAncestorResponse, ListGoReleasesResponse,
};
use super::{ChangeSearch, Policy, dashboard, releases, trywork};
use crate::query::Commit;
use crate::{Corpus, GitHash, View};

/// The review server is asked at most so often.
const SEARCH_EVERY: Duration = Duration::from_secs(15);
/// And answers within this time.
const SEARCH_PATIENCE: Duration = Duration::from_secs(10);

/// Answers questions from a corpus. Clones answer from the same.
#[derive(Clone)]
pub struct Api {
    inner: Arc<Inner>,
}

struct Inner {
    corpus: Corpus,
    policy: Policy,
    search: Option<Box<dyn ChangeSearch>>,
    found: Mutex<Option<Found>>,
}

/// The last answer about try work.
struct Found {
    answer: GoFindTryWorkResponse,
    /// Grows with every vote.
    votes: u64,
    at: Instant,
}

impl std::fmt::Debug for Api {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Api")
            .field("policy", &self.inner.policy)
            .finish_non_exhaustive()
    }
}

impl Api {
    /// Answers from `corpus`, which somebody keeps up to date. Try work cannot be found without
    /// a review server: see [`with_search`](Self::with_search).
    pub fn new(corpus: Corpus, policy: Policy) -> Self {
        Self::of(corpus, policy, None)
    }

    /// The same, with a review server to ask for try work.
    pub fn with_search(
        corpus: Corpus,
        policy: Policy,
        search: impl ChangeSearch + 'static,
    ) -> Self {
        Self::of(corpus, policy, Some(Box::new(search)))
    }

    fn of(corpus: Corpus, policy: Policy, search: Option<Box<dyn ChangeSearch>>) -> Self {
        let inner = Inner {
            corpus,
            policy,
            search,
            found: Mutex::default(),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    fn view(&self) -> View {
        self.inner.corpus.view()
    }

    /// Whether one commit is an ancestor of another.
    ///
    /// # Errors
    /// When one of them is not named by forty hexadecimal digits.
    pub fn has_ancestor(
        &self,
        request: &HasAncestorRequest,
    ) -> Result<HasAncestorResponse, Status> {
        let hash = |text: &str, what| {
            let hash = text.parse::<GitHash>();
            hash.map_err(|_| Status::unknown(format!("invalid {what}")))
        };
        let commit = hash(&request.commit, "Commit")?;
        let ancestor = hash(&request.ancestor, "Ancestor")?;
        let view = self.view();
        let known = view.git().try_commit(commit).filter(Commit::is_known);
        if known.is_none() {
            return Ok(HasAncestorResponse {
                unknown_commit: true,
                ..HasAncestorResponse::default()
            });
        }
        let has_ancestor = view.git().has_ancestor(commit, ancestor).unwrap_or(false);
        Ok(HasAncestorResponse {
            has_ancestor,
            unknown_commit: false,
        })
    }

    /// What a ref points at.
    ///
    /// # Errors
    /// When the project is unknown.
    pub fn get_ref(&self, request: &GetRefRequest) -> Result<GetRefResponse, Status> {
        let view = self.view();
        let project = view
            .gerrit()
            .project(&request.gerrit_server, &request.gerrit_project)
            .map_err(|_| Status::unknown("unknown gerrit project"))?;
        let hash = project.try_ref(&request.r#ref);
        Ok(GetRefResponse {
            value: hash.map_or_else(String::new, |hash| hash.to_string()),
        })
    }

    /// The supported releases.
    ///
    /// # Errors
    /// When there are too few, or the project is unknown.
    pub fn list_go_releases(&self) -> Result<ListGoReleasesResponse, Status> {
        let (view, policy) = (self.view(), &self.inner.policy);
        let project = view
            .gerrit()
            .project(&policy.server, &policy.project)
            .map_err(|error| Status::not_found(error.to_string()))?;
        Ok(ListGoReleasesResponse {
            releases: releases::supported(&project, policy)?,
        })
    }

    /// What a dashboard shows.
    ///
    /// # Errors
    /// When something that is asked for is unknown or out of bounds.
    pub fn dashboard(&self, request: &DashboardRequest) -> Result<DashboardResponse, Status> {
        dashboard::dashboard(&self.view(), &self.inner.policy, request)
    }

    /// The changes that wait for a try run. Asks the review server at most every 15 s, and only
    /// when somebody may have voted since.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// When there is no review server, or it does not answer within 10 s.
    pub async fn find_try_work(&self) -> Result<GoFindTryWorkResponse, Status> {
        let inner = &*self.inner;
        let Some(search) = &inner.search else {
            let text = "this server was not told of a review server to ask for try work";
            return Err(Status::unimplemented(text));
        };
        // Who comes while the server is asked waits for that answer.
        let mut found = inner.found.lock().await;
        let view = self.view();
        let of_server = view.gerrit().projects();
        let votes = of_server
            .filter(|project| project.server() == inner.policy.server)
            .map(|project| project.label_changes())
            .sum();
        if let Some(found) = &*found
            && (found.votes == votes || found.at.elapsed() < SEARCH_EVERY)
        {
            return Ok(found.answer.clone());
        }
        let asked = trywork::find(&view, &inner.policy, &**search);
        let waiting = tokio::time::timeout(SEARCH_PATIENCE, asked)
            .await
            .map_err(|_| Status::deadline_exceeded("the review server did not answer in 10 s"))??;
        let answer = GoFindTryWorkResponse { waiting };
        *found = Some(Found {
            answer: answer.clone(),
            votes,
            at: Instant::now(),
        });
        Ok(answer)
    }
}
