//! `/people`: users, keys, and what was done with them; for admins.

use askama::Template;
use axum::Form;
use axum::extract::rejection::FormRejection;
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Redirect, Response};
use build_core::ErrorKind;
use serde::Deserialize;

use super::error::{Failure, Looking, SignedInAdmin};
use super::page::{self, Frame};
use super::time::When;
use crate::supervise::Supervisor;
use crate::web::{Refusal, Site, User, Visitor, sign_in_of};
use crate::who::{AuditEvent, Directory, Key, KeyId, KeyState, LastUse, UserEntry};

/// Keys and lines of the audit log on the page.
const SHOWN: usize = 200;

struct KeyLine {
    id: String,
    owner: String,
    scope: String,
    note: String,
    state: KeyState,
    created: When,
    created_by: String,
    expires: String,
    used: Option<When>,
    used_from: String,
    can_end: bool,
}

struct UserLine {
    name: String,
    role: &'static str,
    reads: String,
    added: When,
    added_by: String,
}

struct AuditLine {
    at: When,
    by: String,
    text: String,
}

#[derive(Template)]
#[template(path = "people.html")]
struct Page<'a> {
    frame: &'a Frame,
    users: Vec<UserLine>,
    keys: Vec<KeyLine>,
    more_keys: usize,
    audit: Vec<AuditLine>,
    /// For the buttons of a browser that has signed in; others see no buttons.
    proof: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Revoke {
    key: String,
    proof: String,
}

pub(super) async fn page(
    Looking(site): Looking,
    SignedInAdmin(user): SignedInAdmin,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let directory = directory(&site)?;
    let proof = sign_in_of(&headers).map(|id| site.forms().proof(id));
    let proof = proof.transpose()?;
    let mut frame = Frame::new(&site, Visitor(Some(user)), "People and keys", "/people").await?;
    // Nothing is exchanged while somebody is about to press a button.
    frame.live = String::new();
    let (users, keys) = (directory.users()?, directory.keys()?);
    let (audit, _) = directory.audit(SHOWN)?;
    let more_keys = keys.len().saturating_sub(SHOWN);
    let shown = keys.into_iter().take(SHOWN);
    let page = Page {
        users: users
            .into_iter()
            .map(|(n, u)| user_line(&frame, n, &u))
            .collect(),
        keys: shown
            .map(|(key, used)| key_line(&frame, &key, used))
            .collect(),
        more_keys,
        audit: audit
            .iter()
            .map(|event| audit_line(&frame, event))
            .collect(),
        proof,
        frame: &frame,
    };
    Ok(page::html(&page))
}

pub(super) async fn revoke(
    Looking(site): Looking,
    SignedInAdmin(user): SignedInAdmin,
    headers: HeaderMap,
    form: Result<Form<Revoke>, FormRejection>,
) -> Result<Response, Failure> {
    let Form(Revoke { key, proof }) = form?;
    // A program shows its token, which no browser sends by itself.
    if let Some(sign_in) = sign_in_of(&headers) {
        site.forms().check(sign_in, &proof)?;
    }
    let id: KeyId = key.trim().parse()?;
    end(directory(&site)?.clone(), user, id).await?;
    Ok(Redirect::to("/people").into_response())
}

/// It waits for the disk, and for other processes.
async fn end(directory: Directory, user: User, id: KeyId) -> Result<(), Failure> {
    let by = user.caller().principal().clone();
    let work = Supervisor::new("people");
    let ended = work.spawn_blocking("revoke", move || directory.revoke_key(&by, &id));
    let ended = ended
        .await
        .map_err(|e| build_core::Error::caused_by(ErrorKind::Bug, "revoke a key", e))?;
    ended?;
    Ok(())
}

fn directory(site: &Site) -> Result<&Directory, Failure> {
    site.directory().ok_or_else(|| {
        let text = "this farm knows nobody but its owner";
        Refusal::new(ErrorKind::NotFound, text, "start it with farmer up").into()
    })
}

fn user_line(frame: &Frame, name: String, user: &UserEntry) -> UserLine {
    let reads: Vec<_> = user.reads.iter().map(ToString::to_string).collect();
    UserLine {
        name,
        role: user.role.as_str(),
        reads: reads.join(", "),
        added: frame.when(user.added),
        added_by: user.added_by.text(),
    }
}

fn key_line(frame: &Frame, key: &Key, used: Option<LastUse>) -> KeyLine {
    let state = key.state(frame.now);
    KeyLine {
        id: key.id.to_string(),
        owner: key.owner.text(),
        scope: key.scope.to_string(),
        note: key.note.clone(),
        state,
        created: frame.when(key.created),
        created_by: key.created_by.text(),
        expires: key.expires.map(|at| at.to_string()).unwrap_or_default(),
        used: used.map(|used| frame.when(used.at)),
        used_from: used
            .and_then(|used| used.from)
            .map(|from| from.to_string())
            .unwrap_or_default(),
        can_end: state == KeyState::Active,
    }
}

fn audit_line(frame: &Frame, event: &AuditEvent) -> AuditLine {
    AuditLine {
        at: frame.when(event.at),
        by: event.by.text(),
        text: event.to_string(),
    }
}
