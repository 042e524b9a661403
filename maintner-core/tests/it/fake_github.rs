//! GitHub in memory: the part of its REST interface that a synchronisation asks, with faults.

use std::collections::{BTreeMap, HashMap};

use maintner_core::sync::github::{Answer, Request};
use serde_json::{Value, json};

const URL: &str = "https://api.github.com";
/// 2021-01-01T00:00:00Z.
pub(crate) const START: i64 = 1_609_459_200;

/// What may go wrong with a request, decided by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// No connection.
    Cut,
    Status502,
    /// The body ends early.
    Truncated,
    /// The primary limit, renewed after some seconds.
    UsedUp,
    RetryAfter,
    /// The secondary limit, without a word of how long.
    Secondary,
    TooMany,
    /// The page that was asked for before, once more.
    Repeated,
}

#[derive(Debug, Clone)]
pub(crate) struct Thing {
    pub(crate) id: i64,
    pub(crate) number: i32,
    pub(crate) created: i64,
    pub(crate) updated: i64,
    pub(crate) json: Value,
}

#[derive(Debug, Clone)]
pub(crate) struct FakeIssue {
    pub(crate) updated: i64,
    pub(crate) pull: bool,
    pub(crate) json: Value,
    /// Where it moved: `/repositories/9/issues/1`.
    pub(crate) moved: Option<String>,
    pub(crate) deleted: bool,
}

/// A thing of a list, shown only when its page is.
#[derive(Debug, Clone)]
enum Item {
    Json(Value),
    Issue(i32),
    Comment(usize),
    Code(usize),
    Review(usize),
    Event(usize),
}

/// A repository and its server.
#[derive(Debug)]
pub(crate) struct FakeGitHub {
    pub(crate) name: String,
    pub(crate) renamed: bool,
    pub(crate) now: i64,
    pub(crate) labels: Vec<(i64, String)>,
    pub(crate) milestones: Vec<(i64, i64, String, String)>,
    pub(crate) issues: BTreeMap<i32, FakeIssue>,
    pub(crate) comments: Vec<Thing>,
    pub(crate) events: Vec<Thing>,
    pub(crate) code_comments: Vec<Thing>,
    pub(crate) reviews: Vec<Thing>,
    /// The newest commits of open pull requests.
    pub(crate) heads: BTreeMap<i32, String>,
    /// Comments that are minimised, and why. Nobody is told while it is `None`.
    pub(crate) minimized: Option<BTreeMap<i64, String>>,
    next_id: i64,
    /// Requests by the kind of what they ask for; 304s apart.
    pub(crate) calls: BTreeMap<&'static str, u64>,
    pub(crate) unchanged: u64,
    last: HashMap<String, Answer>,
}

pub(crate) fn iso(seconds: i64) -> String {
    let days = seconds.div_euclid(86_400);
    // 2021 is no leap year and no test lasts longer.
    let mut day = days - START / 86_400;
    let months = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while day >= months[month] {
        day -= months[month];
        month += 1;
    }
    let rest = seconds.rem_euclid(86_400);
    format!(
        "2021-{:02}-{:02}T{:02}:{:02}:{:02}Z",
        month + 1,
        day + 1,
        rest / 3600,
        rest / 60 % 60,
        rest % 60
    )
}

fn http_date(seconds: i64) -> String {
    let text = iso(seconds);
    let names = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let month: usize = text[5..7].parse().unwrap();
    // The first day of 2021 was a Friday.
    let week = ["Fri", "Sat", "Sun", "Mon", "Tue", "Wed", "Thu"];
    let weekday = week[((seconds - START) / 86_400) as usize % 7];
    format!(
        "{weekday}, {} {} 2021 {} GMT",
        &text[8..10],
        names[month - 1],
        &text[11..19]
    )
}

pub(crate) fn user(id: i64) -> Value {
    json!({"id": id, "login": format!("user{id}")})
}

impl FakeGitHub {
    pub(crate) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            renamed: false,
            now: START,
            labels: Vec::new(),
            milestones: Vec::new(),
            issues: BTreeMap::new(),
            comments: Vec::new(),
            events: Vec::new(),
            code_comments: Vec::new(),
            reviews: Vec::new(),
            heads: BTreeMap::new(),
            minimized: Some(BTreeMap::new()),
            next_id: 1000,
            calls: BTreeMap::new(),
            unchanged: 0,
            last: HashMap::new(),
        }
    }

    fn id(&mut self) -> i64 {
        self.next_id += 1;
        self.next_id
    }

    pub(crate) fn total_calls(&self) -> u64 {
        self.calls.values().sum()
    }

    /// A new issue or pull request.
    pub(crate) fn open(&mut self, pull: bool) -> i32 {
        let number = self.issues.keys().last().copied().unwrap_or(0) + 1;
        let mut json = json!({
            "number": number, "id": 100_000 + number, "title": format!("issue {number}"),
            "body": format!("body of {number}"), "user": user(i64::from(number % 7) + 1),
            "state": "open", "locked": false, "labels": [], "assignees": [], "milestone": null,
            "created_at": iso(self.now), "closed_at": null,
        });
        if pull {
            json["pull_request"] = json!({"url": "x"});
        }
        let updated = self.now;
        self.issues.insert(
            number,
            FakeIssue {
                updated,
                pull,
                json,
                moved: None,
                deleted: false,
            },
        );
        number
    }

    /// Marks an issue as changed now.
    pub(crate) fn touch(&mut self, number: i32) {
        let now = self.now;
        self.issues.get_mut(&number).unwrap().updated = now;
    }

    pub(crate) fn event(&mut self, number: i32, kind: &str, more: &Value) -> i64 {
        let id = self.id();
        let mut json = json!({
            "id": id, "event": kind, "actor": user(3), "created_at": iso(self.now),
            "commit_id": null, "commit_url": null, "url": "x", "node_id": "y",
            "performed_via_github_app": null,
        });
        for (key, value) in more.as_object().unwrap() {
            json[key] = value.clone();
        }
        let (created, updated) = (self.now, self.now);
        self.events.push(Thing {
            id,
            number,
            created,
            updated,
            json,
        });
        self.touch(number);
        id
    }

    pub(crate) fn comment(&mut self, number: i32, body: &str) -> i64 {
        let id = self.id();
        let json = json!({"id": id, "user": user(2), "body": body, "created_at": iso(self.now),
            "issue_url": format!("{URL}/repos/{}/issues/{number}", self.name)});
        let (created, updated) = (self.now, self.now);
        self.comments.push(Thing {
            id,
            number,
            created,
            updated,
            json,
        });
        self.touch(number);
        id
    }

    pub(crate) fn edit_comment(&mut self, id: i64, body: &str) {
        let now = self.now;
        let comment = self.comments.iter_mut().find(|c| c.id == id).unwrap();
        comment.json["body"] = body.into();
        comment.updated = now;
        let number = comment.number;
        self.touch(number);
    }

    pub(crate) fn delete_comment(&mut self, id: i64) {
        let at = self.comments.iter().position(|c| c.id == id).unwrap();
        let number = self.comments.remove(at).number;
        self.touch(number);
    }

    pub(crate) fn review(&mut self, number: i32, state: &str) -> i64 {
        let id = self.id();
        let json = json!({"id": id, "user": user(4), "body": "looks good", "state": state,
            "commit_id": "0123456789012345678901234567890123456789", "author_association": "MEMBER",
            "submitted_at": iso(self.now), "random_key": "some random value"});
        let (created, updated) = (self.now, self.now);
        self.reviews.push(Thing {
            id,
            number,
            created,
            updated,
            json,
        });
        self.touch(number);
        id
    }

    pub(crate) fn code_comment(&mut self, number: i32, body: &str) -> i64 {
        let id = self.id();
        let json = json!({"id": id, "user": user(4), "body": body, "path": "a.go", "line": 3,
            "created_at": iso(self.now), "reactions": {"total": 1},
            "pull_request_url": format!("{URL}/repos/{}/pulls/{number}", self.name)});
        let (created, updated) = (self.now, self.now);
        self.code_comments.push(Thing {
            id,
            number,
            created,
            updated,
            json,
        });
        self.touch(number);
        id
    }

    /// Deletes an issue with all that belongs to it.
    pub(crate) fn delete(&mut self, number: i32) {
        self.issues.get_mut(&number).unwrap().deleted = true;
        self.forget(number);
    }

    /// Moves an issue to another repository.
    pub(crate) fn transfer(&mut self, number: i32) {
        let issue = self.issues.get_mut(&number).unwrap();
        issue.moved = Some(format!("{URL}/repositories/9/issues/{}", number + 500));
        self.forget(number);
    }

    fn forget(&mut self, number: i32) {
        for list in [
            &mut self.comments,
            &mut self.events,
            &mut self.code_comments,
            &mut self.reviews,
        ] {
            list.retain(|thing| thing.number != number);
        }
    }

    fn present(&self, number: i32) -> Option<&FakeIssue> {
        let issue = self.issues.get(&number)?;
        (!issue.deleted && issue.moved.is_none()).then_some(issue)
    }

    fn json_of(&self, number: i32) -> Value {
        let count = self.comments.iter().filter(|c| c.number == number).count();
        self.json_with(number, count)
    }

    fn json_with(&self, number: i32, comments: usize) -> Value {
        let issue = &self.issues[&number];
        let mut json = issue.json.clone();
        json["updated_at"] = iso(issue.updated).into();
        json["repository_url"] = format!("{URL}/repos/{}", self.name).into();
        json["comments"] = comments.into();
        for label in json["labels"].as_array_mut().into_iter().flatten() {
            let known = self.labels.iter().find(|(id, _)| label["id"] == *id);
            if let Some((_, name)) = known {
                label["name"] = name.as_str().into();
            }
        }
        json
    }

    fn render(&self, items: &[Item]) -> Vec<Value> {
        let mut counts: HashMap<i32, usize> = HashMap::new();
        if matches!(items.first(), Some(Item::Issue(_))) {
            for comment in &self.comments {
                *counts.entry(comment.number).or_default() += 1;
            }
        }
        let one = |item: &Item| match item {
            Item::Json(json) => json.clone(),
            Item::Issue(number) => {
                self.json_with(*number, counts.get(number).copied().unwrap_or(0))
            }
            Item::Comment(at) => with_times(&self.comments[*at]),
            Item::Code(at) => with_times(&self.code_comments[*at]),
            Item::Review(at) => self.reviews[*at].json.clone(),
            Item::Event(at) => {
                let mut json = self.events[*at].json.clone();
                json["issue"] = json!({"number": self.events[*at].number});
                json
            }
        };
        items.iter().map(one).collect()
    }

    fn answer(&self, status: u16, body: &Value) -> Answer {
        let headers = vec![
            ("date".to_owned(), http_date(self.now)),
            ("x-ratelimit-remaining".to_owned(), "4000".to_owned()),
        ];
        Answer {
            status,
            headers,
            body: body.to_string().into_bytes(),
        }
    }

    fn failed(&self, status: u16, headers: &[(&str, String)], message: &str) -> Answer {
        let mut answer = self.answer(status, &json!({"message": message}));
        for (name, value) in headers {
            answer.headers.retain(|(known, _)| known != name);
            answer.headers.push(((*name).to_owned(), value.clone()));
        }
        answer
    }

    /// Answers a request, or fails it.
    pub(crate) fn send(&mut self, request: &Request, fault: Fault) -> Result<Answer, String> {
        self.now += 1;
        let reset = (self.now + 3).to_string();
        Ok(match fault {
            Fault::Cut => return Err("connection reset by peer".to_owned()),
            Fault::Status502 => self.failed(502, &[], "Server Error"),
            Fault::UsedUp => {
                let used = [
                    ("x-ratelimit-remaining", "0".to_owned()),
                    ("x-ratelimit-reset", reset),
                ];
                self.failed(403, &used, "API rate limit exceeded")
            }
            Fault::RetryAfter => self.failed(403, &[("retry-after", "2".into())], "slow down"),
            Fault::Secondary => self.failed(403, &[], "You have exceeded a secondary rate limit."),
            Fault::TooMany => self.failed(429, &[], "Too many requests"),
            Fault::Truncated => {
                let mut answer = self.route(request);
                answer.body.truncate(answer.body.len() / 2);
                answer
            }
            Fault::Repeated => {
                let list = request.path.split('?').next().unwrap_or_default();
                match self.last.get(list) {
                    Some(answer) => answer.clone(),
                    None => self.route(request),
                }
            }
            Fault::None => {
                let answer = self.route(request);
                let list = request
                    .path
                    .split('?')
                    .next()
                    .unwrap_or_default()
                    .to_owned();
                if answer.status == 200 {
                    self.last.insert(list, answer.clone());
                }
                answer
            }
        })
    }

    fn route(&mut self, request: &Request) -> Answer {
        if request.path == "/graphql" {
            return self.graphql(request);
        }
        let path = request.path.clone();
        let (path, query) = path.split_once('?').unwrap_or((&path, ""));
        let old = format!("/repos/{}", self.name);
        let base = if self.renamed {
            "/repositories/1000"
        } else {
            &old
        };
        let Some(rest) = path.strip_prefix(base) else {
            if path.starts_with(&old) || self.renamed {
                let rest = request.path.strip_prefix(&old).unwrap_or_default();
                let place = format!("{URL}/repositories/1000{rest}");
                return self.failed(301, &[("location", place)], "Moved Permanently");
            }
            if !path.starts_with("/repositories/9/") {
                return self.failed(404, &[], "Not Found");
            }
            return self.elsewhere(path);
        };
        let query: HashMap<&str, &str> = query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .collect();
        let parts: Vec<&str> = rest.trim_start_matches('/').split('/').collect();
        let number = |text: &str| text.parse::<i32>().unwrap_or(0);
        let since = query.get("since").copied();
        let (kind, items): (_, Vec<Item>) = match parts[..] {
            ["labels"] => {
                let json = |(id, name): &(i64, String)| Item::Json(json!({"id": id, "name": name}));
                ("labels", self.labels.iter().map(json).collect())
            }
            ["milestones"] => {
                let json = |(id, number, title, state): &(i64, i64, String, String)| {
                    Item::Json(json!({"id": id, "number": number, "title": title, "state": state}))
                };
                ("milestones", self.milestones.iter().map(json).collect())
            }
            ["issues"] => ("issues", self.list_issues(since)),
            ["issues", "comments"] => ("comments", sorted(&self.comments, since, Item::Comment)),
            ["pulls", "comments"] => (
                "code comments",
                sorted(&self.code_comments, since, Item::Code),
            ),
            ["issues", "events"] => {
                let mut events: Vec<usize> = (0..self.events.len()).collect();
                let key = |&at: &usize| (self.events[at].created, self.events[at].id);
                events.sort_by_key(|at| std::cmp::Reverse(key(at)));
                ("events", events.into_iter().map(Item::Event).collect())
            }
            ["pulls"] => ("pulls", self.list_pulls()),
            ["issues", "comments", id] => {
                *self.calls.entry("one comment").or_default() += 1;
                let id: i64 = id.parse().unwrap();
                return match self.comments.iter().find(|comment| comment.id == id) {
                    Some(comment) => self.answer(200, &comment.json),
                    None => self.failed(404, &[], "Not Found"),
                };
            }
            ["issues", one] => {
                *self.calls.entry("one issue").or_default() += 1;
                let number = number(one);
                return match self.issues.get(&number) {
                    Some(issue) if issue.deleted => self.failed(410, &[], "This issue was deleted"),
                    Some(FakeIssue {
                        moved: Some(place), ..
                    }) => self.failed(301, &[("location", place.clone())], "Moved Permanently"),
                    Some(_) => self.answer(200, &self.json_of(number)),
                    None => self.failed(404, &[], "Not Found"),
                };
            }
            ["issues", of, list] | ["pulls", of, list] => {
                let of = number(of);
                if self.present(of).is_none() {
                    return self.failed(404, &[], "Not Found");
                }
                let of_it = |things: &[Thing], item: fn(usize) -> Item| {
                    let all = (0..things.len()).filter(|&at| things[at].number == of);
                    all.map(item).collect()
                };
                match list {
                    "comments" => ("comments of one", of_it(&self.comments, Item::Comment)),
                    "events" => ("events of one", of_it(&self.events, Item::Event)),
                    _ => ("reviews", of_it(&self.reviews, Item::Review)),
                }
            }
            _ => return self.failed(404, &[], "Not Found"),
        };
        self.page(kind, request, path, &query, items)
    }

    /// Open pull requests, what changed last first.
    fn list_pulls(&self) -> Vec<Item> {
        let mut open: Vec<(i64, i32)> = self
            .heads
            .keys()
            .filter_map(|&number| Some((self.present(number)?.updated, number)))
            .collect();
        open.sort_unstable();
        let item = |(updated, number): (i64, i32)| {
            let sha = &self.heads[&number];
            Item::Json(json!({"number": number, "updated_at": iso(updated), "head": {"sha": sha}}))
        };
        open.into_iter().rev().map(item).collect()
    }

    /// The other interface: what is asked of it is found by the names in the question.
    fn graphql(&mut self, request: &Request) -> Answer {
        *self.calls.entry("graphql").or_default() += 1;
        let Some(minimized) = &self.minimized else {
            return self.failed(401, &[], "This endpoint requires you to be authenticated.");
        };
        let body: Value = serde_json::from_str(request.body.as_ref().unwrap()).unwrap();
        let name = format!(
            "{}/{}",
            body["variables"]["o"].as_str().unwrap(),
            body["variables"]["n"].as_str().unwrap()
        );
        assert_eq!(name, self.name);
        let mut found = serde_json::Map::new();
        for part in body["query"]
            .as_str()
            .unwrap()
            .split(":issueOrPullRequest(number:")
            .skip(1)
        {
            let number: i32 = part.split(')').next().unwrap().parse().unwrap();
            let after = part
                .split("after:\"")
                .nth(1)
                .map(|rest| rest.split('"').next().unwrap());
            let from: usize = after.map_or(0, |after| after.parse().unwrap());
            let all: Vec<_> = self
                .comments
                .iter()
                .filter(|c| c.number == number)
                .collect();
            let node = |comment: &&Thing| {
                let reason = minimized.get(&comment.id);
                json!({"fullDatabaseId": comment.id.to_string(), "isMinimized": reason.is_some(), "minimizedReason": reason})
            };
            let nodes: Vec<Value> = all.iter().skip(from).take(100).map(node).collect();
            let next = from + nodes.len();
            let page = json!({"hasNextPage": next < all.len(), "endCursor": next.to_string()});
            let comments = json!({"comments": {"nodes": nodes, "pageInfo": page}});
            let there = self.present(number).map_or(Value::Null, |_| comments);
            found.insert(format!("i{number}"), there);
        }
        self.answer(200, &json!({"data": {"repository": found}}))
    }

    fn elsewhere(&mut self, path: &str) -> Answer {
        *self.calls.entry("one issue").or_default() += 1;
        let number: i32 = path.rsplit('/').next().unwrap().parse().unwrap_or(0);
        let mut json = json!({"number": number, "title": "t", "body": null, "user": null, "state": "open",
            "milestone": null, "created_at": iso(START), "updated_at": iso(START), "closed_at": null,
            "closed_by": null, "pull_request": null});
        json["repository_url"] = format!("{URL}/repos/other/place").into();
        self.answer(200, &json)
    }

    fn list_issues(&self, since: Option<&str>) -> Vec<Item> {
        let mut all: Vec<(i64, i32)> = self
            .issues
            .keys()
            .filter_map(|&number| Some((self.present(number)?.updated, number)))
            .filter(|(updated, _)| since.is_none_or(|since| iso(*updated).as_str() >= since))
            .collect();
        all.sort_unstable();
        all.into_iter()
            .map(|(_, number)| Item::Issue(number))
            .collect()
    }

    fn page(
        &mut self,
        kind: &'static str,
        request: &Request,
        path: &str,
        query: &HashMap<&str, &str>,
        items: Vec<Item>,
    ) -> Answer {
        let of = |name: &str, default| {
            query
                .get(name)
                .and_then(|v| v.parse().ok())
                .unwrap_or(default)
        };
        let (page, size): (usize, usize) = (of("page", 1), of("per_page", 30));
        let last = items.len().div_ceil(size).max(1);
        let shown: Vec<Item> = items
            .into_iter()
            .skip((page - 1) * size)
            .take(size)
            .collect();
        let shown = self.render(&shown);
        let etag = format!("\"{:x}\"", fnv(&format!("{shown:?}{last}")));
        if request.etag.as_ref() == Some(&etag) {
            self.unchanged += 1;
            let mut answer = self.answer(304, &Value::Null);
            answer.body.clear();
            return answer;
        }
        *self.calls.entry(kind).or_default() += 1;
        let mut answer = self.answer(200, &Value::Array(shown));
        answer.headers.push(("etag".into(), etag));
        if page < last {
            let link = format!(
                "<{URL}{path}?page={}>; rel=\"next\", <{URL}{path}?page={last}>; rel=\"last\"",
                page + 1
            );
            answer.headers.push(("link".into(), link));
        }
        answer
    }
}

fn with_times(thing: &Thing) -> Value {
    let mut json = thing.json.clone();
    json["updated_at"] = iso(thing.updated).into();
    json
}

fn sorted(things: &[Thing], since: Option<&str>, item: fn(usize) -> Item) -> Vec<Item> {
    let mut all: Vec<usize> = (0..things.len())
        .filter(|&at| since.is_none_or(|since| iso(things[at].updated).as_str() >= since))
        .collect();
    all.sort_by_key(|&at| (things[at].updated, things[at].id));
    all.into_iter().map(item).collect()
}

fn fnv(text: &str) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    text.bytes().fold(0xcbf2_9ce4_8422_2325, step)
}
