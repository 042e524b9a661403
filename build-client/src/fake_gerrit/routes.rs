//! From a request to what it does. Paths are cut here by hand: names in them are escaped, and a
//! `%2F` in one is no slash.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Method, Response, Uri};
use base64::Engine as _;
use percent_encoding::percent_decode_str;
use serde_json::Value;

use super::answer::{Answer, Answered, admitted, conflict, json, missing, ok, plain};
use super::query::finds;
use super::world::{Change, World};
use super::{Shared, lock};
use crate::gerrit::{
    AccountInfo, ApprovalInfo, ChangeInfo, CommentInfo, ProjectInfo, ReviewInput, ReviewerInfo,
    TagInfo,
};

pub(super) fn router(shared: Arc<Mutex<World>>) -> Router {
    Router::new().fallback(
        move |method: Method, uri: Uri, headers: HeaderMap, body: Bytes| {
            let shared: Shared = shared.clone();
            async move {
                let answer = respond(&mut lock(&shared), &method, &uri, &headers, &body);
                Response::<Body>::from(answer)
            }
        },
    )
}

fn respond(
    world: &mut World,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    body: &[u8],
) -> Answer {
    world.seen.push(format!("{method} {uri}"));
    if let Some((status, text)) = world.failures.pop_front() {
        return plain(status, text);
    }
    if let Some((status, text)) = world.answers.get(uri.path()) {
        return plain(*status, text.clone());
    }
    let path = uri.path();
    let (path, known) = match path.strip_prefix("/a/") {
        Some(rest) => {
            let shown = headers
                .get("authorization")
                .and_then(|value| value.to_str().ok());
            if let Err(refusal) = admitted(world, shown, method.as_str(), path) {
                return refusal;
            }
            (rest, true)
        }
        None => (path.trim_start_matches('/'), false),
    };
    let request = Request {
        method,
        query: query_of(uri),
        body,
        known,
    };
    let parts: Vec<String> = path
        .split('/')
        .map(|part| percent_decode_str(part).decode_utf8_lossy().into_owned())
        .collect();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let answered = match parts[..] {
        ["changes", ref rest @ ..] => changes(world, &request, rest),
        ["projects", ref rest @ ..] => projects(world, &request, rest),
        ["accounts", ref rest @ ..] => accounts(world, &request, rest),
        ["groups", ref rest @ ..] => groups(world, rest),
        _ => Err(missing(path)),
    };
    answered.unwrap_or_else(|refusal| refusal)
}

struct Request<'a> {
    method: &'a Method,
    query: Vec<(String, String)>,
    body: &'a [u8],
    /// Whether the caller has an account.
    known: bool,
}

impl Request<'_> {
    fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.query
            .iter()
            .filter(move |(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    fn number(&self, name: &str) -> usize {
        self.all(name)
            .next()
            .and_then(|text| text.parse().ok())
            .unwrap_or(0)
    }

    fn has(&self, option: &str) -> bool {
        self.all("o").any(|o| o == option)
    }

    fn value<T: serde::de::DeserializeOwned>(&self) -> Result<T, Answer> {
        serde_json::from_slice(self.body).map_err(|error| plain(400, format!("bad JSON: {error}")))
    }
}

fn query_of(uri: &Uri) -> Vec<(String, String)> {
    url::form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes())
        .into_owned()
        .collect()
}

/// A page of a list, and whether there is more after it.
fn page<T>(list: Vec<T>, request: &Request<'_>, most: usize) -> (Vec<T>, bool) {
    let limit = match request.number("n") {
        0 => most,
        n => n.min(most),
    };
    let rest: Vec<T> = list.into_iter().skip(request.number("S")).collect();
    let more = rest.len() > limit;
    (rest.into_iter().take(limit).collect(), more)
}

fn accounts(world: &World, request: &Request<'_>, parts: &[&str]) -> Answered {
    match parts {
        [""] => {
            let full = request.has("DETAILS");
            let shown = |account: &AccountInfo| {
                if full {
                    account.clone()
                } else {
                    AccountInfo {
                        number: account.number,
                        ..AccountInfo::default()
                    }
                }
            };
            let (mut list, more) = page(
                world.accounts.values().map(shown).collect(),
                request,
                world.page,
            );
            if let Some(last) = list.last_mut() {
                last.more_accounts = more;
            }
            ok(&list)
        }
        ["self"] if !request.known => Err(plain(403, "Authentication required")),
        ["self"] => world
            .accounts
            .get(&world.caller)
            .map_or_else(|| Err(missing("self")), ok),
        [id] => world
            .accounts
            .values()
            .find(|a| a.number.to_string() == *id || a.email == *id || a.username == *id)
            .map_or_else(|| Err(missing(id)), ok),
        _ => Err(missing("accounts")),
    }
}

fn groups(world: &World, parts: &[&str]) -> Answered {
    match parts {
        [""] => ok(&world
            .groups
            .iter()
            .map(|(name, (group, _))| (name, group))
            .collect::<BTreeMap<_, _>>()),
        [id, "members"] => {
            let group = world
                .groups
                .iter()
                .find(|(name, (group, _))| *name == id || group.id == *id);
            let (_, (_, members)) = group.ok_or_else(|| missing(id))?;
            ok(&members
                .iter()
                .filter_map(|number| world.accounts.get(number))
                .collect::<Vec<_>>())
        }
        _ => Err(missing("groups")),
    }
}

fn projects(world: &mut World, request: &Request<'_>, parts: &[&str]) -> Answered {
    let method = request.method.as_str();
    match (method, parts) {
        ("GET", [""]) => {
            let branch = request.all("b").next().map(str::to_owned);
            let listed = world.projects.iter().map(|(name, project)| {
                let head = branch
                    .as_ref()
                    .and_then(|b| project.branches.get(&format!("refs/heads/{b}")));
                let branches =
                    head.map(|head| (branch.clone().unwrap_or_default(), head.revision.clone()));
                // The names are the keys; the server leaves them out of the values.
                let info = ProjectInfo {
                    name: String::new(),
                    branches: branches.into_iter().collect(),
                    ..project.info.clone()
                };
                (name.clone(), info)
            });
            ok(&listed.collect::<BTreeMap<_, _>>())
        }
        ("PUT", [name]) => {
            if world.projects.contains_key(*name) {
                return Err(conflict("Project already exists"));
            }
            let input: crate::gerrit::ProjectInput = request.value()?;
            let project = world.project(name);
            project.info.parent = input.parent;
            project.info.description = input.description;
            Ok(json(201, &project.info))
        }
        (_, [name, rest @ ..]) => {
            let project = world.projects.get_mut(*name).ok_or_else(|| missing(name))?;
            match (method, rest) {
                ("GET", []) => ok(&project.info),
                ("GET", ["branches", ""]) => ok(&project.branches.values().collect::<Vec<_>>()),
                ("GET", ["branches", branch]) => {
                    let name = format!("refs/heads/{}", branch.trim_start_matches("refs/heads/"));
                    project
                        .branches
                        .get(&name)
                        .map_or_else(|| Err(missing(branch)), ok)
                }
                ("PUT", ["branches", branch]) => {
                    let input: Value = request.value()?;
                    let name = format!("refs/heads/{}", branch.trim_start_matches("refs/heads/"));
                    if project.branches.contains_key(&name) {
                        return Err(conflict("branch already exists"));
                    }
                    let head = input["revision"].as_str().unwrap_or("HEAD").to_owned();
                    project.set_branch(branch.trim_start_matches("refs/heads/"), &head);
                    Ok(json(201, &project.branches[&name]))
                }
                ("GET", ["tags", ""]) => ok(&project.tags.values().collect::<Vec<_>>()),
                ("GET", ["tags", tag]) => project
                    .tags
                    .get(&format!("refs/tags/{tag}"))
                    .map_or_else(|| Err(missing(tag)), ok),
                ("PUT", ["tags", tag]) => {
                    let input: Value = request.value()?;
                    let text = |name: &str| input[name].as_str().unwrap_or_default().to_owned();
                    let name = format!("refs/tags/{tag}");
                    if project.tags.contains_key(&name) {
                        return Err(conflict(&format!("tag \"{name}\" already exists")));
                    }
                    let info = TagInfo {
                        r#ref: name.clone(),
                        revision: text("revision"),
                        message: text("message"),
                        ..TagInfo::default()
                    };
                    project.tags.insert(name, info.clone());
                    Ok(json(201, &info))
                }
                ("DELETE", ["tags", tag]) => match project.tags.remove(&format!("refs/tags/{tag}"))
                {
                    Some(_) => Ok(plain(204, "")),
                    None => Err(missing(tag)),
                },
                ("GET", ["commits:in"]) => {
                    let inside = request.all("commit").map(|commit| {
                        let refs = request.all("ref").filter(|name| {
                            project
                                .branches
                                .get(*name)
                                .is_some_and(|b| b.revision == commit)
                        });
                        (
                            commit.to_owned(),
                            refs.map(str::to_owned).collect::<Vec<_>>(),
                        )
                    });
                    ok(&inside
                        .filter(|(_, refs)| !refs.is_empty())
                        .collect::<BTreeMap<_, _>>())
                }
                ("GET", ["commits", commit, "files", path, "content"]) => {
                    let key = ((*commit).to_owned(), (*path).to_owned());
                    let bytes = project.files.get(&key).ok_or_else(|| missing(path))?;
                    Ok(plain(
                        200,
                        base64::engine::general_purpose::STANDARD.encode(bytes),
                    ))
                }
                _ => Err(missing("project")),
            }
        }
        _ => Err(missing("projects")),
    }
}

/// What of a change is shown, by the options of the call.
fn shown(change: &Change, request: &Request<'_>, detail: bool) -> ChangeInfo {
    let mut info = change.info.clone();
    if !(detail || request.has("MESSAGES")) {
        info.messages.clear();
    }
    if !(detail || request.has("LABELS") || request.has("DETAILED_LABELS")) {
        info.labels.clear();
    }
    let all = request.has("ALL_REVISIONS");
    if !(all || request.has("CURRENT_REVISION")) {
        info.revisions.clear();
        info.current_revision.clear();
    } else if !all {
        let current = info.current_revision.clone();
        info.revisions.retain(|hash, _| *hash == current);
    }
    let commits = request.has("CURRENT_COMMIT") || request.has("ALL_COMMITS");
    let files = request.has("CURRENT_FILES") || request.has("ALL_FILES");
    for revision in info.revisions.values_mut() {
        if !commits {
            revision.commit = None;
        }
        if !files {
            revision.files.clear();
        }
    }
    info
}

fn changes(world: &mut World, request: &Request<'_>, parts: &[&str]) -> Answered {
    match (request.method.as_str(), parts) {
        ("GET", [""]) => {
            let query = request.all("q").next().unwrap_or("status:open").to_owned();
            let mut found = Vec::new();
            for change in world.changes.values().rev() {
                if finds(&query, change).map_err(|why| plain(400, why))? {
                    found.push(shown(change, request, false));
                }
            }
            let (mut list, more) = page(found, request, world.page);
            if let Some(last) = list.last_mut() {
                last.more_changes = more;
            }
            ok(&list)
        }
        ("POST", [""]) => {
            let input: crate::gerrit::ChangeInput = request.value()?;
            if !world.projects.contains_key(&input.project) {
                return Err(plain(
                    422,
                    format!("Project '{}' does not exist", input.project),
                ));
            }
            let email = world
                .accounts
                .get(&world.caller)
                .map_or_else(|| "caller@example.test".to_owned(), |a| a.email.clone());
            let number = world.change(&input.project, &input.branch, &input.subject, &email);
            let info = &mut world
                .changes
                .get_mut(&number)
                .ok_or_else(|| missing("change"))?
                .info;
            info.topic = input.topic;
            info.work_in_progress = input.work_in_progress;
            Ok(json(201, info))
        }
        (_, [id, rest @ ..]) => {
            let number = world.find(id).ok_or_else(|| missing(id))?;
            change(world, request, number, rest)
        }
        _ => Err(missing("changes")),
    }
}

fn change(world: &mut World, request: &Request<'_>, number: u64, parts: &[&str]) -> Answered {
    let caller = world.accounts.get(&world.caller).cloned();
    let (date, most) = (world.tick(), world.most_updates);
    let writes = request.method != Method::GET;
    let change = world
        .changes
        .get_mut(&number)
        .ok_or_else(|| missing("change"))?;
    if writes {
        if change.updates >= most {
            return Err(conflict(&format!(
                "Change {number} may not exceed {most} updates. It may still be abandoned."
            )));
        }
        change.updates += 1;
    }
    match (request.method.as_str(), parts) {
        ("GET", []) => ok(&shown(change, request, false)),
        ("GET", ["detail"]) => ok(&shown(change, request, true)),
        ("GET", ["comments"]) => ok(&change.comments),
        ("GET", ["hashtags"]) => ok(&change.info.hashtags),
        ("POST", ["hashtags"]) => {
            let input: Value = request.value()?;
            let list = |name: &str| {
                let list = input[name].as_array().cloned().unwrap_or_default();
                list.into_iter()
                    .filter_map(|tag| Some(tag.as_str()?.to_owned()))
                    .collect::<Vec<_>>()
            };
            let removed = list("remove");
            change.info.hashtags.retain(|tag| !removed.contains(tag));
            change.info.hashtags.extend(list("add"));
            change.info.hashtags.sort();
            change.info.hashtags.dedup();
            ok(&change.info.hashtags)
        }
        ("GET", ["reviewers"]) => {
            let reviewers = change
                .info
                .reviewers
                .get("REVIEWER")
                .cloned()
                .unwrap_or_default();
            let list = reviewers.iter().map(|account| ReviewerInfo {
                number: account.number,
                name: account.name.clone(),
                email: account.email.clone(),
                approvals: change
                    .votes
                    .iter()
                    .filter(|((voter, _), _)| *voter == account.number)
                    .map(|((_, label), vote)| (label.clone(), format!("{vote:+}")))
                    .collect(),
            });
            ok(&list.collect::<Vec<_>>())
        }
        ("POST", ["abandon"]) => {
            if change.info.status != "NEW" {
                return Err(conflict(&format!(
                    "change is {}",
                    change.info.status.to_lowercase()
                )));
            }
            change.info.status = "ABANDONED".to_owned();
            ok(&change.info)
        }
        ("POST", ["submit"]) => {
            if change.info.status != "NEW" {
                return Err(conflict(&format!(
                    "change is {}",
                    change.info.status.to_lowercase()
                )));
            }
            change.info.status = "MERGED".to_owned();
            change.info.submitted = Some(date);
            ok(&change.info)
        }
        ("DELETE", ["topic"]) => {
            change.info.topic.clear();
            Ok(plain(204, ""))
        }
        ("GET", ["message"]) => {
            let commit = change
                .info
                .revisions
                .get(&change.info.current_revision)
                .and_then(|r| r.commit.clone())
                .unwrap_or_default();
            ok(&crate::gerrit::CommitMessageInfo {
                subject: commit.subject,
                full_message: commit.message,
                ..Default::default()
            })
        }
        ("PUT" | "DELETE", ["edit", path]) => {
            let current = change.info.current_revision.clone();
            let revision = change
                .info
                .revisions
                .get_mut(&current)
                .ok_or_else(|| missing("edit"))?;
            let status = if request.method == Method::DELETE {
                "D"
            } else {
                ""
            };
            let file = crate::gerrit::FileInfo {
                status: status.to_owned(),
                ..Default::default()
            };
            revision.files.insert((*path).to_owned(), file);
            Ok(plain(204, ""))
        }
        ("POST", ["edit:publish"]) => Ok(plain(204, "")),
        (_, ["revisions", revision, rest @ ..]) => {
            let info = &change.info;
            let hash = if *revision == "current" {
                info.current_revision.clone()
            } else {
                let named = |(hash, r): &(&String, &crate::gerrit::RevisionInfo)| {
                    *hash == revision || r.number.to_string() == **revision
                };
                info.revisions
                    .iter()
                    .find(named)
                    .map(|(hash, _)| hash.clone())
                    .ok_or_else(|| missing(revision))?
            };
            match (request.method.as_str(), rest) {
                ("GET", ["files"]) => ok(&info.revisions[&hash].files),
                ("GET", ["mergeable"]) => ok(&crate::gerrit::MergeableInfo {
                    submit_type: "MERGE_IF_NECESSARY".into(),
                    mergeable: info.mergeable,
                }),
                ("POST", ["review"]) => review(change, &request.value()?, caller, date),
                _ => Err(missing("revision")),
            }
        }
        _ => Err(missing("change")),
    }
}

fn review(
    change: &mut Change,
    input: &ReviewInput,
    caller: Option<AccountInfo>,
    date: crate::gerrit::GerritTime,
) -> Answered {
    let caller = caller.ok_or_else(|| plain(403, "Authentication required"))?;
    let info = &mut change.info;
    for (label, value) in &input.labels {
        if !(-2..=2).contains(value) {
            return Err(plain(
                400,
                format!("label \"{label}\": {value} is not a valid value"),
            ));
        }
        change.votes.insert((caller.number, label.clone()), *value);
        let votes = &mut info.labels.entry(label.clone()).or_default().all;
        votes.retain(|vote| vote.number != caller.number);
        votes.push(ApprovalInfo {
            number: caller.number,
            name: caller.name.clone(),
            email: caller.email.clone(),
            value: *value,
            date: Some(date),
        });
    }
    for (path, comments) in &input.comments {
        let posted = comments
            .iter()
            .enumerate()
            .map(|(at, comment)| CommentInfo {
                patch_set: 1,
                id: format!("{}-{path}-{at}", change.updates),
                line: comment.line,
                message: comment.message.clone(),
                updated: Some(date),
                author: Some(caller.clone()),
                in_reply_to: comment.in_reply_to.clone(),
                unresolved: comment.unresolved.unwrap_or_default(),
                ..CommentInfo::default()
            });
        change
            .comments
            .entry(path.clone())
            .or_default()
            .extend(posted);
    }
    info.messages.push(crate::gerrit::ChangeMessageInfo {
        id: format!("{}", change.updates),
        author: Some(caller.clone()),
        date: Some(date),
        message: format!("Patch Set 1:\n\n{}", input.message),
        tag: input.tag.clone(),
        revision: 1,
    });
    let reviewers = info.reviewers.entry("REVIEWER".to_owned()).or_default();
    if !reviewers.iter().any(|account| account.is(&caller)) {
        reviewers.push(caller);
    }
    info.updated = Some(date);
    ok(&crate::gerrit::ReviewResult {
        labels: input.labels.clone(),
    })
}
