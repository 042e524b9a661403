//! What the server holds.

use std::collections::{BTreeMap, VecDeque};

use jiff::{SignedDuration, Timestamp};

use crate::gerrit::{
    AccountInfo, BranchInfo, ChangeInfo, ChangeMessageInfo, CommentInfo, CommitInfo, FileInfo,
    GerritTime, GitPersonInfo, GroupInfo, ProjectInfo, RevisionInfo, TagInfo,
};

/// Changes on a page when nothing is asked for.
const PAGE: usize = 25;

/// A change with what hangs on it.
#[derive(Clone, Debug, Default)]
pub struct Change {
    /// What is answered of it.
    pub info: ChangeInfo,
    /// Comments by file.
    pub comments: BTreeMap<String, Vec<CommentInfo>>,
    /// Votes by account and label.
    pub votes: BTreeMap<(i64, String), i32>,
    /// Updates so far; Gerrit allows 5000.
    pub updates: u32,
}

/// A project with its branches and tags.
#[derive(Clone, Debug, Default)]
pub struct Project {
    /// What is answered of it.
    pub info: ProjectInfo,
    /// Heads by reference.
    pub branches: BTreeMap<String, BranchInfo>,
    /// Tags by reference.
    pub tags: BTreeMap<String, TagInfo>,
    /// Contents by commit and path.
    pub files: BTreeMap<(String, String), Vec<u8>>,
}

/// Accounts, projects, changes, and what is to go wrong.
#[derive(Debug)]
pub struct World {
    /// Accounts by number.
    pub accounts: BTreeMap<i64, AccountInfo>,
    /// Projects by name.
    pub projects: BTreeMap<String, Project>,
    /// Changes by number.
    pub changes: BTreeMap<u64, Change>,
    /// Groups by name, with their members.
    pub groups: BTreeMap<String, (GroupInfo, Vec<i64>)>,
    /// The user and password that calls under `/a` need; the account is `caller`.
    pub password: Option<(String, String)>,
    /// Whether they are asked for as a digest.
    pub digest: bool,
    /// Who calls under `/a`.
    pub caller: i64,
    /// Most elements on a page.
    pub page: usize,
    /// Updates that a change takes.
    pub most_updates: u32,
    /// Statuses of the next answers, each with a text, before anything is done.
    pub failures: VecDeque<(u16, String)>,
    /// Answers by path, instead of what the server would say.
    pub answers: BTreeMap<String, (u16, String)>,
    pub(super) seen: Vec<String>,
    now: Timestamp,
}

impl Default for World {
    fn default() -> Self {
        Self {
            accounts: BTreeMap::new(),
            projects: BTreeMap::new(),
            changes: BTreeMap::new(),
            groups: BTreeMap::new(),
            password: None,
            digest: false,
            caller: 1000,
            page: PAGE,
            most_updates: 5000,
            failures: VecDeque::new(),
            answers: BTreeMap::new(),
            seen: Vec::new(),
            now: Timestamp::constant(1_600_000_000, 0),
        }
    }
}

impl World {
    /// A time after all that it gave before, a second each.
    pub fn tick(&mut self) -> GerritTime {
        self.now += SignedDuration::from_secs(1);
        GerritTime(self.now)
    }

    /// The account of that address; made when there is none.
    pub fn account(&mut self, email: &str) -> AccountInfo {
        if let Some(account) = self
            .accounts
            .values()
            .find(|account| account.email == email)
        {
            return account.clone();
        }
        let number = self
            .accounts
            .last_key_value()
            .map_or(1000, |(last, _)| last + 1);
        let user = email.split('@').next().unwrap_or(email).to_owned();
        let account = AccountInfo {
            number,
            name: user.clone(),
            email: email.to_owned(),
            username: user,
            ..AccountInfo::default()
        };
        self.accounts.insert(number, account.clone());
        account
    }

    /// The project of that name, with a branch `master`; made when there is none.
    pub fn project(&mut self, name: &str) -> &mut Project {
        self.projects.entry(name.to_owned()).or_insert_with(|| {
            let mut project = Project {
                info: ProjectInfo {
                    id: crate::rest::segment(name),
                    name: name.to_owned(),
                    state: "ACTIVE".to_owned(),
                    ..ProjectInfo::default()
                },
                ..Project::default()
            };
            project.set_branch("master", &format!("{:040x}", 1));
            project
        })
    }

    /// Makes an open change with one patch set, and gives its number.
    pub fn change(&mut self, project: &str, branch: &str, message: &str, owner: &str) -> u64 {
        self.project(project);
        let owner = self.account(owner);
        let number = self
            .changes
            .last_key_value()
            .map_or(1, |(last, _)| last + 1);
        let now = self.tick();
        let change_id = format!("I{number:040x}");
        let subject = message.lines().next().unwrap_or_default().to_owned();
        let person = GitPersonInfo {
            name: owner.name.clone(),
            email: owner.email.clone(),
            date: Some(now),
            tz: 0,
        };
        let hash = format!("{:040x}", number << 8 | 1);
        let revision = RevisionInfo {
            number: 1,
            created: Some(now),
            uploader: Some(owner.clone()),
            r#ref: format!("refs/changes/{:02}/{number}/1", number % 100),
            commit: Some(CommitInfo {
                author: Some(person.clone()),
                committer: Some(person),
                commit: hash.clone(),
                subject: subject.clone(),
                message: message.to_owned(),
                parents: Vec::new(),
            }),
            files: [(
                "/COMMIT_MSG".to_owned(),
                FileInfo {
                    status: "A".into(),
                    ..FileInfo::default()
                },
            )]
            .into(),
            kind: "REWORK".to_owned(),
            ..RevisionInfo::default()
        };
        let escape = crate::rest::segment;
        let info = ChangeInfo {
            id: format!("{}~{}~{change_id}", escape(project), escape(branch)),
            number,
            change_id,
            project: project.to_owned(),
            branch: branch.to_owned(),
            subject,
            status: "NEW".to_owned(),
            created: Some(now),
            updated: Some(now),
            current_revision: hash.clone(),
            revisions: [(hash, revision)].into(),
            owner: Some(owner),
            mergeable: true,
            ..ChangeInfo::default()
        };
        self.changes.insert(
            number,
            Change {
                info,
                ..Change::default()
            },
        );
        number
    }

    /// Adds a message to a change.
    pub fn message(&mut self, number: u64, author: &str, text: &str) {
        let author = self.account(author);
        let date = self.tick();
        if let Some(change) = self.changes.get_mut(&number) {
            let id = format!("{number:x}-{}", change.info.messages.len());
            change.info.updated = Some(date);
            change.info.messages.push(ChangeMessageInfo {
                id,
                author: Some(author),
                date: Some(date),
                message: text.to_owned(),
                revision: 1,
                ..ChangeMessageInfo::default()
            });
        }
    }

    /// Answers `path`, which has no query, in another way than the server would.
    pub fn answer(&mut self, path: &str, status: u16, body: &str) {
        self.answers
            .insert(path.to_owned(), (status, body.to_owned()));
    }

    /// The change that a segment of a path names, unescaped: a number, a Change-Id, the two
    /// long forms.
    pub(super) fn find(&self, id: &str) -> Option<u64> {
        let parts: Vec<&str> = id.split('~').collect();
        let found = |change: &&Change| {
            let info = &change.info;
            match parts[..] {
                [one] => info.number.to_string() == one || info.change_id == one,
                [project, number] => info.project == project && info.number.to_string() == number,
                [project, branch, change_id] => {
                    info.project == project && info.branch == branch && info.change_id == change_id
                }
                _ => false,
            }
        };
        self.changes
            .values()
            .find(found)
            .map(|change| change.info.number)
    }
}

impl Project {
    /// Sets the head of a branch, named without `refs/heads/`.
    pub fn set_branch(&mut self, branch: &str, head: &str) {
        let name = format!("refs/heads/{branch}");
        let info = BranchInfo {
            r#ref: name.clone(),
            revision: head.to_owned(),
            can_delete: false,
        };
        self.branches.insert(name, info);
    }
}
