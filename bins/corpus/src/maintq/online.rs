//! The verbs that ask a corpus server over gRPC, as the Go program's do.

use std::fmt::Write as _;
use std::io::Write as _;

use farmer_cli::{Exit, Failure, Out};
use maintner_core::maintapi::apipb::{
    DashCommit, DashboardRequest, GerritTryWorkItem, GoRelease, MajorMinor,
};
use maintner_core::maintapi::{Client, ConnectError};
use serde_json::{Map, Value, json};

/// The Go project's corpus server.
pub(super) const SERVER: &str = "maintner.golang.org:443";
/// The server whose projects are asked about when nothing else is said.
const GERRIT: &str = "go.googlesource.com";

/// Tells whether one commit is an ancestor of another
#[derive(clap::Args)]
pub(super) struct HasAncestor {
    /// Forty hexadecimal digits
    commit: String,
    /// Forty hexadecimal digits
    ancestor: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Prints what a ref of a Gerrit project points at
#[derive(clap::Args)]
pub(super) struct GetRef {
    /// The project without its server
    project: String,
    /// Such as refs/heads/master
    name: String,
    /// The Gerrit server
    #[arg(long, default_value = GERRIT)]
    gerrit: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Prints the changes that wait for a try run
#[derive(clap::Args)]
pub(super) struct TryWork {
    /// "staging" asks for the staging farm's
    #[arg(value_parser = ["staging"])]
    farm: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Prints the supported releases, the newest first
#[derive(clap::Args)]
pub(super) struct ListReleases {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Prints what a dashboard shows of a project's commits
#[derive(clap::Args)]
pub(super) struct GetDashboard {
    /// Page, counted from 0
    #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
    page: i32,
    /// Branch; mixed for all
    #[arg(long, default_value = "", hide_default_value = true)]
    branch: String,
    /// Import path, such as golang.org/x/net [default: go]
    #[arg(long, default_value = "", hide_default_value = true)]
    repo: String,
    /// Commits on a page; 0 for the server's choice
    #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
    max_commits: i32,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Connects and asks, on a thread that may block.
fn ask<T>(
    server: &str,
    question: impl AsyncFnOnce(&mut Client) -> Result<T, tonic::Status>,
) -> Result<T, Failure> {
    tokio::runtime::Handle::current().block_on(async {
        let mut client = Client::connect(server).await.map_err(|error| {
            let exit = match error {
                ConnectError::Address { .. } => Exit::Usage,
                _ => Exit::Infrastructure,
            };
            Failure::because(
                exit,
                &error,
                Some("name another one with -server=HOST:PORT"),
            )
        })?;
        question(&mut client).await.map_err(|status| said(&status))
    })
}

/// What a server said instead of an answer.
fn said(status: &tonic::Status) -> Failure {
    let exit = match status.code() {
        tonic::Code::Unavailable | tonic::Code::DeadlineExceeded | tonic::Code::Cancelled => {
            Exit::Infrastructure
        }
        _ => Exit::Failed,
    };
    let text = anyhow::anyhow!("{} (code {})", status.message(), status.code() as i32);
    Failure::because(exit, text.as_ref(), None)
}

impl HasAncestor {
    pub(super) fn run(&self, server: &str, out: &mut Out) -> Result<(), Failure> {
        let answer = ask(server, async |client| {
            client.has_ancestor(&self.commit, &self.ancestor).await
        })?;
        let mut shown = Map::new();
        put(&mut shown, "has_ancestor", answer.has_ancestor.into());
        put(&mut shown, "unknown_commit", answer.unknown_commit.into());
        if self.json {
            return print(out, &shown.into(), true);
        }
        // The Go program prints the message in one line.
        let fields: Vec<String> = shown
            .iter()
            .map(|(name, value)| format!("{name}:{value}"))
            .collect();
        Ok(writeln!(out, "{}", fields.join(" "))?)
    }
}

impl GetRef {
    pub(super) fn run(&self, server: &str, out: &mut Out) -> Result<(), Failure> {
        let value = ask(server, async |client| {
            client
                .get_ref(&self.gerrit, &self.project, &self.name)
                .await
        })?;
        if value.is_empty() {
            let error = anyhow::anyhow!("ref not found");
            let hint = Some("maintq get-ref PROJECT refs/heads/NAME");
            return Err(Failure::because(Exit::Failed, error.as_ref(), hint));
        }
        if self.json {
            return print(out, &json!({ "value": value }), true);
        }
        Ok(writeln!(out, "{value}")?)
    }
}

impl TryWork {
    pub(super) fn run(&self, server: &str, out: &mut Out) -> Result<(), Failure> {
        let staging = self.farm.is_some();
        let answer = ask(server, async |client| client.find_try_work(staging).await)?;
        let waiting = answer.waiting.iter().map(try_item);
        print(
            out,
            &json!({ "waiting": waiting.collect::<Vec<_>>() }),
            self.json,
        )
    }
}

impl ListReleases {
    pub(super) fn run(&self, server: &str, out: &mut Out) -> Result<(), Failure> {
        let answer = ask(server, async |client| client.list_go_releases().await)?;
        let releases = answer.releases.iter().map(release);
        print(
            out,
            &json!({ "releases": releases.collect::<Vec<_>>() }),
            self.json,
        )
    }
}

impl GetDashboard {
    pub(super) fn run(&self, server: &str, out: &mut Out) -> Result<(), Failure> {
        let request = DashboardRequest {
            page: self.page,
            repo: self.repo.clone(),
            branch: self.branch.clone(),
            max_commits: self.max_commits,
        };
        let answer = ask(server, async |client| client.dashboard(request).await)?;
        let mut shown = Map::new();
        put(
            &mut shown,
            "commits",
            answer.commits.iter().map(commit).collect(),
        );
        let heads = answer.repo_heads.iter().map(|head| {
            let mut shown = Map::new();
            put(
                &mut shown,
                "gerrit_project",
                head.gerrit_project.clone().into(),
            );
            if let Some(head) = &head.commit {
                put(&mut shown, "commit", commit(head));
            }
            Value::from(shown)
        });
        put(&mut shown, "repo_heads", heads.collect());
        put(&mut shown, "branches", answer.branches.into());
        put(
            &mut shown,
            "releases",
            answer.releases.iter().map(release).collect(),
        );
        put(
            &mut shown,
            "commits_truncated",
            answer.commits_truncated.into(),
        );
        print(out, &shown.into(), self.json)
    }
}

/// Adds a field unless it has its default, as protobuf leaves those out.
fn put(shown: &mut Map<String, Value>, name: &str, value: Value) {
    let empty = match &value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(value) => value.as_i64() == Some(0),
        Value::String(value) => value.is_empty(),
        Value::Array(value) => value.is_empty(),
        Value::Object(_) => false,
    };
    if !empty {
        shown.insert(name.to_owned(), value);
    }
}

fn object<const N: usize>(fields: [(&str, Value); N]) -> Value {
    let mut shown = Map::new();
    for (name, value) in fields {
        put(&mut shown, name, value);
    }
    shown.into()
}

fn release(release: &GoRelease) -> Value {
    object([
        ("major", release.major.into()),
        ("minor", release.minor.into()),
        ("patch", release.patch.into()),
        ("tag_name", release.tag_name.clone().into()),
        ("tag_commit", release.tag_commit.clone().into()),
        ("branch_name", release.branch_name.clone().into()),
        ("branch_commit", release.branch_commit.clone().into()),
    ])
}

fn commit(commit: &DashCommit) -> Value {
    object([
        ("commit", commit.commit.clone().into()),
        ("author_name", commit.author_name.clone().into()),
        ("author_email", commit.author_email.clone().into()),
        ("commit_time_sec", commit.commit_time_sec.into()),
        ("title", commit.title.clone().into()),
        ("go_commit_at_time", commit.go_commit_at_time.clone().into()),
        ("branch", commit.branch.clone().into()),
        ("go_commit_latest", commit.go_commit_latest.clone().into()),
    ])
}

fn try_item(item: &GerritTryWorkItem) -> Value {
    let version = |version: &MajorMinor| {
        object([
            ("major", version.major.into()),
            ("minor", version.minor.into()),
        ])
    };
    let messages = item.try_message.iter().map(|message| {
        object([
            ("message", message.message.clone().into()),
            ("author_id", message.author_id.into()),
            ("version", message.version.into()),
        ])
    });
    object([
        ("project", item.project.clone().into()),
        ("branch", item.branch.clone().into()),
        ("change_id", item.change_id.clone().into()),
        ("commit", item.commit.clone().into()),
        ("go_commit", item.go_commit.clone().into()),
        ("go_branch", item.go_branch.clone().into()),
        ("go_version", item.go_version.iter().map(version).collect()),
        ("try_message", messages.collect()),
        ("version", item.version.into()),
        ("author_email", item.author_email.clone().into()),
    ])
}

/// Prints a message in protobuf text format, or as JSON.
fn print(out: &mut Out, message: &Value, json: bool) -> Result<(), Failure> {
    if json {
        return Ok(writeln!(out, "{message}")?);
    }
    let mut text = String::new();
    fields(&mut text, message, 0);
    Ok(out.write_all(text.as_bytes())?)
}

fn fields(text: &mut String, message: &Value, level: usize) {
    for (name, value) in message.as_object().into_iter().flatten() {
        match value {
            Value::Array(values) => values.iter().for_each(|one| field(text, name, one, level)),
            one => field(text, name, one, level),
        }
    }
}

fn field(text: &mut String, name: &str, value: &Value, level: usize) {
    let indent = "  ".repeat(level);
    if value.is_object() {
        let _infallible = writeln!(text, "{indent}{name}: <");
        fields(text, value, level + 1);
        let _infallible = writeln!(text, "{indent}>");
    } else {
        let _infallible = writeln!(text, "{indent}{name}: {value}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_printed_as_protobuf_prints_them() {
        let shown = json!({ "releases": [release(&GoRelease {
            major: 1,
            tag_name: "go\"1".to_owned(),
            ..GoRelease::default()
        })], "done": true });
        let mut text = String::new();
        fields(&mut text, &shown, 0);
        assert_eq!(
            text,
            "releases: <\n  major: 1\n  tag_name: \"go\\\"1\"\n>\ndone: true\n"
        );
    }
}
