//! The dashboard: commits down, builders across.

use axum::Json;
use build_core::ErrorKind;
use build_core::name::Name;
use build_core::report::{Board, BoardBuild, BoardCommit, BoardQuery};

use super::input::Params;
use crate::store::{BoardCell, BoardFilter, BoardLine};
use crate::web::{Looking, Refusal};

/// Commits in one answer, when nothing is said and at most.
const PAGE: usize = 50;
const MAX_PAGE: usize = 1000;

pub(super) async fn board(
    Looking(site): Looking,
    Params(which): Params<BoardQuery>,
) -> Result<Json<Board>, Refusal> {
    if !site.sees(&which.repo) {
        return Err(Refusal::new(
            ErrorKind::NotFound,
            format!("there is no repository {}", which.repo),
            "list them with GET /api/v1/repos",
        ));
    }
    let filter = BoardFilter {
        repo: which.repo,
        branch: which.branch.map(|branch| Name::unescape(&branch)),
    };
    let before = which.before.map(|place| place.parse()).transpose()?;
    let limit = which.limit.unwrap_or(PAGE).clamp(1, MAX_PAGE);
    let page = site.records().board(&filter, before, limit).await?;
    Ok(Json(Board {
        commits: page.lines.into_iter().map(commit).collect(),
        next: page.next.map(|place| place.to_string()),
    }))
}

fn commit(line: BoardLine) -> BoardCommit {
    BoardCommit {
        commit: line.commit.hash,
        subject: line.commit.subject,
        branch: line.commit.branch,
        author: line.commit.author,
        time: line.commit.time,
        builds: line.cells.into_values().map(build).collect(),
    }
}

fn build(cell: BoardCell) -> BoardBuild {
    BoardBuild {
        builder: cell.builder,
        build: cell.build,
        state: cell.state,
        started: cell.started,
        finished: cell.finished,
        rerun: cell.rerun,
    }
}
