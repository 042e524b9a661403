//! `/builders`: which builders and hosts there are.

use askama::Template;
use axum::extract::{Query, State};
use axum::response::Response;
use build_core::builders::Builder;
use serde::Deserialize;

use super::{Classic, json};
use crate::http::page::{Frame, html};

#[derive(Deserialize)]
pub(super) struct Question {
    #[serde(default)]
    mode: String,
}

struct BuilderLine {
    name: String,
    host: String,
    owner: String,
    /// The owner's name on GitHub; empty: not known.
    github: String,
    notes: String,
}

struct HostLine {
    name: String,
    pool: &'static str,
    notes: String,
}

#[derive(Template)]
#[template(path = "classic_builders.html")]
struct Page {
    frame: Frame,
    builders: Vec<BuilderLine>,
    hosts: Vec<HostLine>,
}

pub(super) async fn page(
    State(site): State<Classic>,
    Query(question): Query<Question>,
) -> Response {
    let farm = &site.0.farm;
    if question.mode == "json" {
        return json(farm.builders_json(&site.0.user));
    }
    let mut builders: Vec<_> = farm.builders().map(|builder| line(&builder)).collect();
    builders.sort_by(|a, b| a.name.cmp(&b.name));
    let mut hosts: Vec<_> = farm
        .hosts()
        .map(|host| HostLine {
            name: host.name.clone(),
            pool: host.pool_name(),
            notes: host.notes.clone(),
        })
        .collect();
    hosts.sort_by(|a, b| a.name.cmp(&b.name));
    html(&Page {
        frame: site.frame("Builders"),
        builders,
        hosts,
    })
}

fn line(builder: &Builder<'_>) -> BuilderLine {
    BuilderLine {
        name: builder.name().to_owned(),
        host: builder.host().name.clone(),
        owner: builder.short_owner().to_owned(),
        github: builder.host().owner_github.clone(),
        notes: builder.record().notes.clone(),
    }
}
