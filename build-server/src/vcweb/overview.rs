//! What there is, and what came of each script and archive.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

use askama::Template;
use axum::extract::State;
use axum::http::Method;
use axum::response::Response;
use build_core::clock::{Clock, SystemClock};

use super::{LINKS, Outcome, PROGRAMS, Vcweb};
use crate::http::page::{Frame, html};

struct Row {
    path: String,
    sign: &'static str,
    class: &'static str,
    told: String,
}

#[derive(Template)]
#[template(path = "vcweb.html")]
struct Overview {
    frame: Frame,
    programs: Vec<(&'static str, bool)>,
    rows: Vec<Row>,
    zips: Vec<(String, String)>,
    svn: Option<String>,
}

/// The page.
pub(super) async fn page(State(site): State<Arc<Vcweb>>, method: Method) -> Response {
    let mut rows = Vec::new();
    if let Some(scripts) = &site.options.scripts {
        let mut found = Vec::new();
        find_scripts(scripts, Path::new(""), &mut found);
        found.sort();
        for script in found {
            let entry = {
                let known = site.known.lock().unwrap_or_else(PoisonError::into_inner);
                known.get(&script).cloned()
            };
            rows.push(match entry {
                Some(entry) => row(&script, entry.outcome.read().await.as_ref()),
                None => row(&script, None),
            });
        }
    }
    tracing::debug!(%method, scripts = rows.len(), "the overview");
    html(&Overview {
        frame: Frame::new("vcweb", "Repositories", SystemClock.now()).with_links(LINKS),
        zips: site
            .zips
            .as_ref()
            .map(|zips| zips.told().into_iter().collect())
            .unwrap_or_default(),
        programs: PROGRAMS.map(|p| (p, site.tools.has(p))).to_vec(),
        rows,
        svn: site.svn.clone(),
    })
}

fn row(script: &Path, outcome: Option<&Outcome>) -> Row {
    let (sign, class, told) = match outcome {
        None => ("·", "x", "not asked for yet".to_owned()),
        Some(Outcome {
            made: Ok(handler),
            at,
            ..
        }) => (
            "✓",
            "p",
            format!("served as {} since {at}", handler.kind.name()),
        ),
        Some(Outcome {
            made: Err((_, told)),
            at,
            ..
        }) => ("✗", "f", format!("{at}: {told}")),
    };
    Row {
        path: script.display().to_string(),
        sign,
        class,
        told,
    }
}

fn find_scripts(root: &Path, below: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(root.join(below))
        .into_iter()
        .flatten()
        .flatten()
    {
        let path = below.join(entry.file_name());
        if entry.path().is_dir() {
            find_scripts(root, &path, found);
        } else if path.extension().is_some_and(|e| e == "txt") {
            found.push(path.with_extension(""));
        }
    }
}
