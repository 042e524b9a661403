//! Users and keys, for programs of admins.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use build_core::clock::Timestamp;
use build_core::event::Principal;
use build_core::report::{
    self, KeyRotation, KeyUse, KeyWord, Keys, MadeKey, NewUser, User, UserChange, UserRemoved,
    Users,
};
use build_core::{Error, ErrorKind};

use super::input::Body;
use crate::supervise::Supervisor;
use crate::web::{Admin, Refusal, Site};
use crate::who::{
    Directory, Key, KeyId, KeyState, LastUse, Made, NewKey, Pattern, Role, Scope, UserEntry,
};

/// How long a key is good yet that another one takes the place of.
const GRACE: Duration = Duration::from_secs(24 * 3600);
/// The longest such time.
const MOST_GRACE: Duration = Duration::from_secs(366 * 24 * 3600);

fn user_report(name: String, user: UserEntry) -> User {
    User {
        name,
        role: user.role.to_string(),
        reads: user.reads.iter().map(ToString::to_string).collect(),
        added: user.added,
        added_by: user.added_by,
    }
}

fn key_report(key: Key, used: Option<LastUse>, now: Timestamp) -> report::Key {
    report::Key {
        state: match key.state(now) {
            KeyState::Active => KeyWord::Active,
            KeyState::Expired => KeyWord::Expired,
            KeyState::Revoked => KeyWord::Revoked,
        },
        id: key.id.to_string(),
        owner: key.owner,
        scope: key.scope.to_string(),
        note: key.note,
        created: key.created,
        created_by: key.created_by,
        expires: key.expires,
        revoked: key.revoked,
        replaces: key.replaces.map(|id| id.to_string()),
        used: used.map(|used| KeyUse {
            at: used.at,
            from: used.from.map(|address| address.to_string()),
        }),
    }
}

fn patterns(reads: &[String]) -> Result<Vec<Pattern>, Refusal> {
    let patterns: build_core::Result<_> = reads.iter().map(|name| Pattern::new(name)).collect();
    Ok(patterns?)
}

fn invalid(text: &str, hint: &str) -> Refusal {
    Refusal::new(ErrorKind::Invalid, text, hint)
}

fn wanted(wanted: report::NewKey) -> Result<NewKey, Refusal> {
    let new = match (wanted.user, wanted.machine) {
        (Some(user), None) => NewKey::of_user(&user),
        (None, Some(machine)) => {
            let kind = wanted.host_type.as_deref().unwrap_or("local");
            NewKey::of_machine(kind, &machine)?
        }
        _ => {
            let hint = "give `user`, or `machine` with its `host_type`";
            return Err(invalid("a key is of a user or of a machine", hint));
        }
    };
    let new = match wanted.scope {
        Some(scope) => new.with_scope(scope.parse::<Scope>()?),
        None => new,
    };
    let new = new.with_note(wanted.note);
    Ok(match wanted.expires {
        Some(expires) => new.until(expires),
        None => new,
    })
}

/// The directory; changes wait for the disk, and for other processes.
async fn change<T: Send + 'static>(
    site: &Site,
    work: impl FnOnce(&Directory) -> build_core::Result<T> + Send + 'static,
) -> Result<T, Refusal> {
    let directory = directory(site)?.clone();
    let working = Supervisor::new("people");
    let done = working.spawn_blocking("change", move || work(&directory));
    let done = done
        .await
        .map_err(|e| Error::caused_by(ErrorKind::Bug, "change users and keys", e))?;
    Ok(done?)
}

fn directory(site: &Site) -> Result<&Directory, Refusal> {
    site.directory().ok_or_else(|| {
        let text = "this farm knows nobody but its owner";
        Refusal::new(ErrorKind::NotFound, text, "start it with farmer up")
    })
}

/// Who it is, for the audit log.
fn by(admin: &Admin) -> Principal {
    admin.0.caller().principal().clone()
}

pub(super) async fn users(
    State(site): State<Site>,
    Admin(_): Admin,
) -> Result<Json<Users>, Refusal> {
    let users = directory(&site)?.users()?.into_iter();
    let users = users.map(|(name, user)| user_report(name, user));
    Ok(Json(Users {
        users: users.collect(),
    }))
}

pub(super) async fn add_user(
    State(site): State<Site>,
    admin: Admin,
    Body(new): Body<NewUser>,
) -> Result<Json<User>, Refusal> {
    let role = match &new.role {
        Some(role) => role.parse()?,
        None => Role::User,
    };
    let (by, name, reads) = (by(&admin), new.name.clone(), patterns(&new.reads)?);
    let added = change(&site, move |all| all.add_user(&by, &new.name, role, &reads));
    Ok(Json(user_report(name, added.await?)))
}

pub(super) async fn change_user(
    State(site): State<Site>,
    admin: Admin,
    Path(name): Path<String>,
    Body(new): Body<UserChange>,
) -> Result<Json<User>, Refusal> {
    if new.role.is_none() && new.reads.is_none() {
        let text = "nothing was said of the user";
        return Err(invalid(text, "give `role`, or `reads`, or both"));
    }
    let role = new.role.map(|role| role.parse::<Role>()).transpose()?;
    let reads = new.reads.map(|reads| patterns(&reads)).transpose()?;
    let (by, of) = (by(&admin), name.clone());
    let changed = change(&site, move |all| {
        all.change_user(&by, &of, role, reads.as_deref())
    });
    Ok(Json(user_report(name, changed.await?)))
}

pub(super) async fn remove_user(
    State(site): State<Site>,
    admin: Admin,
    Path(name): Path<String>,
) -> Result<Json<UserRemoved>, Refusal> {
    let (by, of) = (by(&admin), name.clone());
    let removed = change(&site, move |all| all.remove_user(&by, &of));
    Ok(Json(UserRemoved {
        keys_revoked: removed.await?,
        name,
    }))
}

pub(super) async fn keys(State(site): State<Site>, Admin(_): Admin) -> Result<Json<Keys>, Refusal> {
    let now = site.clock().now();
    let keys = directory(&site)?.keys()?.into_iter();
    let keys = keys.map(|(key, used)| key_report(key, used, now));
    Ok(Json(Keys {
        keys: keys.collect(),
    }))
}

pub(super) async fn create_key(
    State(site): State<Site>,
    admin: Admin,
    Body(new): Body<report::NewKey>,
) -> Result<Response, Refusal> {
    let (by, new) = (by(&admin), wanted(new)?);
    let made = change(&site, move |all| all.create_key(&by, new)).await?;
    Ok(told_once(&site, made))
}

/// A secret is no cache's.
fn told_once(site: &Site, made: Made) -> Response {
    let answer = Json(MadeKey {
        token: made.token.reveal().to_owned(),
        key: key_report(made.key, None, site.clock().now()),
    });
    ([(header::CACHE_CONTROL, "no-store")], answer).into_response()
}

pub(super) async fn rotate_key(
    State(site): State<Site>,
    admin: Admin,
    Path(id): Path<String>,
    Body(how): Body<KeyRotation>,
) -> Result<Response, Refusal> {
    let (by, id) = (by(&admin), id.parse::<KeyId>()?);
    let grace = how.grace.unwrap_or(GRACE);
    if grace > MOST_GRACE {
        let text = "the old key would be good for too long";
        return Err(invalid(text, "give a `grace_ms` of a year at most"));
    }
    let made = change(&site, move |all| all.rotate_key(&by, &id, grace)).await?;
    Ok(told_once(&site, made))
}

pub(super) async fn revoke_key(
    State(site): State<Site>,
    admin: Admin,
    Path(id): Path<String>,
) -> Result<Json<report::Key>, Refusal> {
    let (by, id) = (by(&admin), id.parse::<KeyId>()?);
    let ended = change(&site, move |all| all.revoke_key(&by, &id)).await?;
    Ok(Json(key_report(ended, None, site.clock().now())))
}
