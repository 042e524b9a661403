//! Real replies and deliveries of GitHub: `tests/github/README.md`.

use hmac::{Hmac, KeyInit as _, Mac as _};
use maintner_core::source::MemoryLog;
use maintner_core::sync::github::{Answer, GitHub, Http, Request, webhook};
use maintner_core::sync::state::MemoryNotes;
use maintner_core::sync::{Control, HostReader as _, Writer, sync_once};
use maintner_core::{Corpus, Options};
use serde_json::Value;

/// Answers with recorded pages of issues; all other lists are empty.
struct Recorded {
    replies: Value,
    renamed: bool,
}

impl Recorded {
    fn of(&self, scenario: &str, path: &str) -> Answer {
        let mut all = self.replies[scenario].as_array().unwrap().iter();
        let reply = all.find(|reply| reply["path"] == path).unwrap();
        let headers = reply["headers"].as_object().unwrap();
        let text = |value: &Value| {
            value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned)
        };
        Answer {
            status: reply["status"].as_u64().unwrap().try_into().unwrap(),
            headers: headers
                .iter()
                .map(|(name, value)| (name.clone(), text(value)))
                .collect(),
            body: reply["response"].to_string().into_bytes(),
        }
    }
}

impl Http for Recorded {
    fn send(&mut self, request: &Request) -> Result<Answer, String> {
        let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
        if self.renamed && !path.starts_with("/repositories/") {
            return Ok(self.of(
                "rename-repository",
                "/repos/octokit-fixture-org/rename-repository",
            ));
        }
        let page = query
            .split('&')
            .find_map(|pair| pair.strip_prefix("page="))
            .unwrap_or("1");
        if path.ends_with("/issues") {
            let recorded = match page {
                "1" => "/repos/octokit-fixture-org/paginate-issues/issues?per_page=3".to_owned(),
                page => format!("/repositories/1000/issues?per_page=3&page={page}"),
            };
            return Ok(self.of("paginate-issues", &recorded));
        }
        Ok(Answer {
            status: 200,
            headers: vec![("date".into(), "Tue, 10 Oct 2017 16:00:00 GMT".into())],
            body: b"[]".to_vec(),
        })
    }
}

fn read(renamed: bool) -> (Vec<(i32, String)>, Option<String>) {
    let replies = serde_json::from_str(include_str!("../github/replies.json")).unwrap();
    let log = MemoryLog::new();
    let corpus = Corpus::load(log.clone(), Options::default().workers(1)).unwrap();
    let writer = Writer::new(log, corpus);
    let http = Recorded { replies, renamed };
    let name = if renamed {
        "rename-repository"
    } else {
        "paginate-issues"
    };
    let mut reader = GitHub::new(
        "octokit-fixture-org",
        name,
        http,
        MemoryNotes::default(),
        0.0,
    )
    .unwrap();
    sync_once(&mut reader, &writer, &Control::new()).unwrap();
    assert_eq!(sync_once(&mut reader, &writer, &Control::new()).unwrap(), 0);
    let view = writer.view();
    let repo = view.github().try_repo("octokit-fixture-org", name).unwrap();
    let issues = repo.issues().map(|issue| {
        let author = issue.author().map_or("", |author| author.login());
        (issue.number(), format!("{} by {author}", issue.title()))
    });
    (issues.collect(), reader.remark())
}

#[test]
fn recorded_pages_of_issues() {
    let (issues, remark) = read(false);
    let numbers: Vec<i32> = issues.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, (1..=13).collect::<Vec<_>>());
    assert_eq!(issues[0].1, "Test issue 1 by octokit-fixture-user-a");
    assert_eq!(remark, None);
}

#[test]
fn a_recorded_renaming() {
    let (issues, remark) = read(true);
    assert_eq!(issues.len(), 13);
    assert!(remark.unwrap().contains("/repositories/1000"));
}

#[test]
fn recorded_deliveries() {
    let deliveries: Vec<Value> =
        serde_json::from_str(include_str!("../github/webhooks.json")).unwrap();
    assert_eq!(deliveries.len(), 10);
    for delivery in deliveries {
        let body = delivery["body"].to_string().into_bytes();
        let mut mac = Hmac::<sha2::Sha256>::new_from_slice(b"secret").unwrap();
        mac.update(&body);
        let signature = format!("sha256={}", hex::encode(mac.finalize().into_bytes()));
        let trigger = webhook::read(b"secret", &signature, &body)
            .unwrap()
            .unwrap();
        assert_eq!(trigger.repo, delivery["body"]["repository"]["full_name"]);
        let about = &delivery["body"]["issue"]["number"];
        let about = about
            .as_i64()
            .or(delivery["body"]["pull_request"]["number"].as_i64());
        assert_eq!(
            trigger.number.map(i64::from),
            about,
            "{}",
            delivery["event"]
        );
        assert!(webhook::read(b"secret", &signature, &body[1..]).is_err());
    }
}
