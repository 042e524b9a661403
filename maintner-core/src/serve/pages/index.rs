//! The first page: what there is.

use askama::Template;

use super::rendered;
use crate::View;

#[derive(Template)]
#[template(path = "corpus-index.html")]
struct Page {
    title: String,
    repos: Vec<(String, usize)>,
    projects: Vec<(String, usize)>,
}

pub(super) fn page(view: &View) -> Result<String, String> {
    let repos = view.github().repos();
    let projects = view.gerrit().projects();
    rendered(&Page {
        title: "Corpus".to_owned(),
        repos: repos
            .map(|repo| (repo.to_string(), repo.issues().only_issues().count()))
            .collect(),
        projects: projects
            .map(|project| {
                let public = project.cls().filter(|cl| !cl.is_private());
                (project.to_string(), public.count())
            })
            .collect(),
    })
}
