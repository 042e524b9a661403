//! What GitHub shows elsewhere than in its lists of issues, comments, events and reviews: the heads
//! of open pull requests, and which comments were minimised.
//!
//! The log's form has no place for either. Both are events of our own, whose ids are below those of
//! all others (docs/protocol/reclog.md); followers that do not know them pass them by.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::Machine;
use super::answers::{Taken, Trouble, parse};
use crate::pb::{GithubCommit, GithubIssueEvent};
use crate::query::{self, COMMENT_MINIMIZED, HEAD_SEEN};
use crate::sync::github::diff::{of_issue, timestamp};
use crate::sync::github::tasks::{Page, Task};
use crate::sync::github::{Answer, Request};

/// Issues in one question, and questions in one comparison, about minimised comments.
const ISSUES: usize = 50;
const QUESTIONS: usize = 4;
/// Where ids of our own begin.
const HEADS: i64 = -(1 << 61);
const MINIMIZED: i64 = -(1 << 62);
/// So many bits of a hash tell the heads of one pull request apart.
const HASH_BITS: u32 = 60;

/// A pull request in the list of those that are open.
#[derive(Debug, Deserialize)]
struct Pull {
    number: i32,
    updated_at: String,
    head: Head,
}

#[derive(Debug, Deserialize)]
struct Head {
    sha: String,
}

/// An answer to a question about minimised comments, by the names that the question gave.
#[derive(Debug, Deserialize)]
struct Told {
    data: Option<Data>,
}

#[derive(Debug, Deserialize)]
struct Data {
    repository: Option<HashMap<String, Option<OneIssue>>>,
}

#[derive(Debug, Deserialize)]
struct OneIssue {
    comments: Option<Comments>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Comments {
    nodes: Vec<Option<Node>>,
    page_info: PageInfo,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Node {
    /// A number, or a text of one.
    full_database_id: Value,
    is_minimized: bool,
    minimized_reason: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PageInfo {
    has_next_page: bool,
    end_cursor: Option<String>,
}

/// Issues that are asked about, each from a place in its comments on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::sync::github) struct Asked {
    issues: Vec<(i32, Option<String>)>,
    /// With the answer every issue up to this number was looked at.
    until: Option<i32>,
}

/// The id of the event that says that a pull request had this head.
fn head_id(hash: &str) -> Option<i64> {
    let bits = u64::from_str_radix(hash.get(..16)?, 16).ok()?;
    Some(HEADS - (bits >> (u64::BITS - HASH_BITS)).cast_signed())
}

/// The question about these issues, in GraphQL: the other interface does not tell.
pub(super) fn question(owner: &str, name: &str, asked: &Asked) -> Request {
    let mut query = String::from("query($o:String!,$n:String!){repository(owner:$o,name:$n){");
    for (number, after) in &asked.issues {
        let after = after.as_ref().map_or_else(String::new, |cursor| {
            format!(",after:{}", Value::from(cursor.as_str()))
        });
        let comments = format!("{{comments(first:100{after}){{...c}}}}");
        query += &format!(
            "i{number}:issueOrPullRequest(number:{number}){{...on Issue{comments}...on PullRequest{comments}}}"
        );
    }
    query += "}}fragment c on IssueCommentConnection{nodes{fullDatabaseId isMinimized minimizedReason}pageInfo{hasNextPage endCursor}}";
    Request {
        method: "POST",
        path: "/graphql".into(),
        etag: None,
        body: Some(json!({"query": query, "variables": {"o": owner, "n": name}}).to_string()),
    }
}

impl Machine {
    /// Notes heads that are not known. The list has what changed last first.
    pub(super) fn take_pulls(
        &mut self,
        repo: Option<query::Repo<'_>>,
        page: Page,
        answer: &Answer,
        more: bool,
    ) -> Result<Taken, Trouble> {
        let pulls: Vec<Pull> = parse(answer)?;
        let (mut new, mut unknown) = (false, false);
        for pull in &pulls {
            match repo.and_then(|repo| repo.try_issue(pull.number)) {
                Some(issue) => new |= self.learn_head(issue, pull),
                // It was opened this moment: the next comparison knows it.
                None => unknown = true,
            }
        }
        let was_whole = self.notes.heads_whole;
        let goes_on = more && (new || !was_whole);
        // Until all of it was read, it is read from its begin again, whatever is known of it.
        if was_whole == goes_on {
            self.notes.heads_whole = !goes_on;
            self.unsaved = true;
        }
        if goes_on {
            self.tasks.push_front(Task::Pulls(Page(page.0 + 1)));
        }
        Ok(match unknown || goes_on {
            true => Taken::Passing,
            false => Taken::Whole,
        })
    }

    fn learn_head(&mut self, issue: query::Issue<'_>, pull: &Pull) -> bool {
        let at = pull.updated_at.parse::<jiff::Timestamp>();
        let (Some(id), Ok(at)) = (head_id(&pull.head.sha), at) else {
            return false;
        };
        if issue.events().any(|event| event.id() == id) {
            return false;
        }
        let mut change = self.repo.issue(pull.number);
        change.event.push(GithubIssueEvent {
            id,
            event_type: HEAD_SEEN.into(),
            created: timestamp(at.as_second()),
            commit: Some(GithubCommit {
                owner: self.repo.owner.clone(),
                repo: self.repo.name.clone(),
                commit_id: pull.head.sha.clone(),
            }),
            ..GithubIssueEvent::default()
        });
        self.push_if(issue, true, change)
    }

    /// Which issues are asked about: those that changed, and some of all the others in turn, for
    /// minimising a comment changes nothing else that GitHub tells.
    pub(super) fn find_minimized(&mut self, repo: query::Repo<'_>) {
        if !self.graphql {
            return;
        }
        let mut changed: Vec<i32> = self
            .cycle
            .counts
            .iter()
            .filter(|(_, count)| **count > 0)
            .map(|(number, _)| *number)
            .collect();
        changed.sort_unstable();
        changed.truncate(ISSUES * (QUESTIONS - 1));
        let with_comments = repo
            .issues()
            .filter(|issue| issue.number() > self.notes.minimized)
            .filter(|issue| issue.comments().next().is_some());
        let turn: Vec<i32> = with_comments.map(|i| i.number()).take(ISSUES).collect();
        let until = match turn.last() {
            Some(last) if turn.len() == ISSUES => *last,
            // All were looked at: from the first one on again.
            _ => 0,
        };
        let asked = |numbers: &[i32], until| Asked {
            issues: numbers.iter().map(|number| (*number, None)).collect(),
            until,
        };
        let mut all: Vec<Asked> = changed
            .chunks(ISSUES)
            .map(|some| asked(some, None))
            .collect();
        if turn.is_empty() {
            self.unsaved |= self.notes.minimized != 0;
            self.notes.minimized = 0;
        } else {
            all.push(asked(&turn, Some(until)));
        }
        for asked in all.into_iter().rev() {
            self.tasks.push_front(Task::Minimized(asked));
        }
    }

    pub(super) fn take_minimized(
        &mut self,
        repo: Option<query::Repo<'_>>,
        asked: &Asked,
        answer: &Answer,
    ) -> Result<Taken, Trouble> {
        let told: Told = parse(answer)?;
        let issues = told.data.and_then(|data| data.repository);
        let mut rest = Asked {
            until: asked.until,
            ..Asked::default()
        };
        for (name, issue) in issues.into_iter().flatten() {
            let number = name.strip_prefix('i').and_then(|text| text.parse().ok());
            let comments = issue.and_then(|issue| issue.comments);
            let (Some(number), Some(comments)) = (number, comments) else {
                continue;
            };
            self.learn_minimized(repo, number, &comments.nodes);
            let PageInfo {
                has_next_page,
                end_cursor,
            } = comments.page_info;
            if has_next_page && end_cursor.is_some() {
                rest.issues.push((number, end_cursor));
            }
        }
        if !rest.issues.is_empty() {
            rest.issues.sort_unstable();
            self.tasks.push_front(Task::Minimized(rest));
        } else if let Some(until) = rest.until {
            self.unsaved |= self.notes.minimized != until;
            self.notes.minimized = until;
        }
        Ok(Taken::Passing)
    }

    fn learn_minimized(
        &mut self,
        repo: Option<query::Repo<'_>>,
        number: i32,
        nodes: &[Option<Node>],
    ) {
        let Some(issue) = repo.and_then(|repo| repo.try_issue(number)) else {
            return;
        };
        let known: HashMap<i64, String> = issue.minimized_comments().into_iter().collect();
        let mut change = self.repo.issue(number);
        for node in nodes.iter().flatten() {
            let Some(comment) = id_of(&node.full_database_id) else {
                continue;
            };
            let reason = node.minimized_reason.as_deref().unwrap_or_default();
            let there = node.is_minimized.then_some(reason);
            if known.get(&comment).map(String::as_str) == there {
                continue;
            }
            let said = json!({
                "comment_id": comment,
                "minimized": node.is_minimized,
                "reason": reason,
            });
            change.event.push(GithubIssueEvent {
                id: MINIMIZED - comment,
                event_type: COMMENT_MINIMIZED.into(),
                // GitHub does not tell when: it is when it was seen.
                created: timestamp(self.now),
                other_json: said.to_string().into_bytes(),
                ..GithubIssueEvent::default()
            });
        }
        if !change.event.is_empty() && issue.exists() {
            self.pending.push(of_issue(change));
        }
    }
}

fn id_of(value: &Value) -> Option<i64> {
    let id = value.as_i64().or_else(|| value.as_str()?.parse().ok())?;
    (0..1 << 61).contains(&id).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_our_own_are_below_all_others() {
        let low = head_id(&"0".repeat(40)).unwrap();
        let high = head_id(&"f".repeat(40)).unwrap();
        assert!(low == HEADS && high > MINIMIZED && high < HEADS);
        assert_eq!(head_id("abc"), None);
        assert_eq!(head_id("é-no-hash-at-all-here-nor-there"), None);
        assert!(MINIMIZED.checked_sub((1 << 61) - 1).is_some());
        assert_eq!(id_of(&json!("3000000000")), Some(3_000_000_000));
        assert_eq!(id_of(&json!(7)), Some(7));
        assert_eq!((id_of(&json!(-7)), id_of(&json!(null))), (None, None));
    }

    #[test]
    fn a_question_names_its_issues_and_cannot_be_broken_out_of() {
        let asked = Asked {
            issues: vec![(3, None), (4, Some("a\"}b".into()))],
            until: None,
        };
        let request = question("o", "n", &asked);
        assert_eq!(
            (request.method, request.path.as_str()),
            ("POST", "/graphql")
        );
        let body: Value = serde_json::from_str(request.body.as_ref().unwrap()).unwrap();
        assert_eq!(body["variables"], json!({"o": "o", "n": "n"}));
        let query = body["query"].as_str().unwrap();
        assert!(
            query
                .contains("i3:issueOrPullRequest(number:3){...on Issue{comments(first:100){...c}}")
        );
        assert!(
            query.contains(r#"comments(first:100,after:"a\"}b"){...c}"#),
            "{query}"
        );
        assert_eq!(
            query.matches('{').count(),
            query.matches('}').count() - 2,
            "those of the cursor"
        );
    }
}
