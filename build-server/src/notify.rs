//! Who is told when a branch breaks, and when it is mended: a reader of the event log.
//!
//! A line is one branch of one repository on one builder. It is judged by the builds of its tips
//! alone: builds that somebody asked for by hand, back-fill, re-runs of failed tests and
//! uncommitted files say nothing about a branch, and neither does a build that passed or failed
//! after a newer one. A line breaks with the first failure after it had passed, or as the first
//! thing that is known of it, and is mended with the first success after that: each is told once
//! to everybody who wants to know.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use build_core::clock::Timestamp;
use build_core::event::{BuildEvent, Outcome, Recorded};
use build_core::ids::{BuildId, EffectKey, ReaderName, SinkName, Topic};
use build_core::reader::{Effect, How, Taken};
use build_core::recipe::{Channel, News, Notify};
use build_core::report::BuildStatus;
use build_core::work::Class;
use build_core::{Error, ErrorKind, Result};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::to_raw_value;

use crate::readers::{LogFeed, Reader};
use crate::record::BuildRow;
use crate::store::{BuildFilter, Records};

/// How long it is tried to tell somebody.
const PATIENCE: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// Lines that are remembered; of one that is not, the rows are asked.
const LINES: usize = 4_096;
/// Builds of a line that are looked at for what was known of it.
const BEFORE: usize = 32;

/// The name of the reader.
pub const READER: &str = "notify";

/// Reads what builds end and says what is news.
pub struct NotifyReader {
    name: ReaderName,
    records: Arc<dyn Records>,
    who: Vec<Notify>,
    /// Where the farm is opened, for links.
    address: String,
    lines: Lines,
}

/// What is known of each line.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Lines(BTreeMap<String, Line>);

/// The newest tip of a line that has passed or failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Line {
    number: u64,
    passed: bool,
}

/// What is told: the body of each effect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// `broken` or `fixed`.
    pub what: String,
    /// The repository.
    pub repo: String,
    /// The branch.
    pub branch: String,
    /// The builder.
    pub builder: String,
    /// The commit.
    pub commit: String,
    /// First line of its message.
    pub commit_subject: String,
    /// Who wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// The build.
    pub build: BuildId,
    /// How it ended, one sentence.
    pub outcome: String,
    /// Its page.
    pub url: String,
    /// When it ended, RFC 3339 in UTC.
    pub at: String,
    /// The news in one line, also the subject of mail.
    pub subject: String,
    /// The news in some lines, also the text of mail.
    pub text: String,
}

impl NotifyReader {
    /// Tells `who` of news, with links to pages below `address`.
    pub fn new(records: Arc<dyn Records>, who: Vec<Notify>, address: impl Into<String>) -> Self {
        Self {
            name: ReaderName::new(READER).expect("a plain word"),
            records,
            who,
            address: address.into(),
            lines: Lines::default(),
        }
    }

    /// What an event makes news, if it does.
    async fn news(&mut self, event: &Recorded) -> Result<Option<(News, BuildRow)>> {
        let Some(BuildEvent::Finished { outcome }) = event.read() else {
            return Ok(None);
        };
        let passed = match outcome {
            Outcome::Passed => true,
            Outcome::Failed { .. } => false,
            // Nobody's fault, or somebody's wish: it says nothing about the code.
            _ => return Ok(None),
        };
        let Some(build) = event.stream.build() else {
            return Ok(None);
        };
        let Some(row) = self.records.build(build).await? else {
            return Ok(None);
        };
        let Some(name) = line_of(&row) else {
            return Ok(None);
        };
        let before = match self.lines.0.get(&name) {
            Some(line) => Some(*line),
            None => self.before(&row).await?,
        };
        let number = row.number.0;
        if before.is_some_and(|before| before.number >= number) {
            return Ok(None);
        }
        self.lines.set(name, Line { number, passed });
        let news = match (before.map(|before| before.passed), passed) {
            (Some(true) | None, false) => News::Broken,
            (Some(false), true) => News::Fixed,
            _ => return Ok(None),
        };
        Ok(Some((news, row)))
    }

    /// What the rows know of the line of a build, before it.
    async fn before(&self, row: &BuildRow) -> Result<Option<Line>> {
        let which = BuildFilter {
            repo: Some(row.item.repo.clone()),
            branch: row.item.branch.clone(),
            builder: Some(row.builder.clone()),
            ..BuildFilter::default()
        };
        let page = self
            .records
            .builds(&which, Some(row.number), BEFORE)
            .await?;
        let judged = page.builds.iter().find(|other| {
            let is_known = matches!(other.state, BuildStatus::Passed | BuildStatus::Failed);
            is_known && line_of(other).is_some()
        });
        Ok(judged.map(|other| Line {
            number: other.number.0,
            passed: other.state == BuildStatus::Passed,
        }))
    }

    fn effects(&self, news: News, row: &BuildRow, at: Timestamp) -> Result<Vec<Effect>> {
        let told = self.told(news, row, at);
        let body =
            to_raw_value(&told).map_err(|e| Error::caused_by(ErrorKind::Bug, "write news", e))?;
        let branch = row.item.branch.clone().unwrap_or_default();
        let interested = self.who.iter().filter(|who| who.on.contains(&news));
        interested
            .map(|who| {
                let sink = sink_of(&who.name)?;
                // Names of branches may be long and strange; what is cut off makes two lines one
                // topic, which costs them their independence only.
                let line = format!("{}/{}/{}/{}", who.name, row.item.repo, row.builder, branch);
                let line: String = one_line(&line).chars().take(60).collect();
                Ok(Effect {
                    key: EffectKey::new(format!("{}/{}/{}", who.name, news.as_str(), row.id))?,
                    topic: Topic::new(line.trim())?,
                    how: how(&who.channel),
                    to: sink,
                    body: body.clone(),
                    until: at + PATIENCE,
                    replaces: false,
                })
            })
            .collect()
    }

    fn told(&self, news: News, row: &BuildRow, at: Timestamp) -> Told {
        let (repo, builder) = (&row.item.repo, &row.builder);
        let branch = row.item.branch.clone().unwrap_or_default().to_string();
        let outcome = row.outcome.as_ref().map(ToString::to_string);
        let outcome = outcome.unwrap_or_default();
        let url = format!("{}/builds/{}", self.address, row.id);
        let subject = format!(
            "{repo} {branch} is {} on {builder}: {} {}",
            news.as_str(),
            row.item.commit.short(),
            row.item.subject
        );
        let author = row.item.author.clone();
        let by = author.as_ref().map(|author| format!(" by {author}"));
        let text = format!(
            "{repo}, branch {branch}, builder {builder}: {}\n\ncommit {}{}\n  {}\nbuild {} {outcome}\n{url}\n",
            news.as_str(),
            row.item.commit,
            by.unwrap_or_default(),
            row.item.subject,
            row.id,
        );
        Told {
            what: news.as_str().into(),
            repo: repo.to_string(),
            branch,
            builder: builder.to_string(),
            commit: row.item.commit.to_string(),
            commit_subject: row.item.subject.clone(),
            author,
            build: row.id.clone(),
            outcome,
            url,
            at: at.to_string(),
            subject: one_line(&subject),
            text,
        }
    }
}

/// The sink of somebody who is told.
///
/// # Errors
/// When the name is too long.
pub fn sink_of(name: &SinkName) -> Result<SinkName> {
    SinkName::new(format!("notify-{name}"))
}

fn how(channel: &Channel) -> How {
    match channel {
        // Both are given the key, by which they know it again.
        Channel::Command(_) | Channel::Webhook { .. } => How::Token,
        _ => How::AtLeastOnce,
    }
}

fn one_line(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

/// The line that a build says something about.
fn line_of(row: &BuildRow) -> Option<String> {
    let item = &row.item;
    let is_tip = matches!(
        item.class,
        Class::DefaultTip | Class::ReleaseTip | Class::BranchTip
    );
    let counts = is_tip && !item.worktree && item.rerun_of.is_none();
    let branch = item.branch.as_ref().filter(|_| counts)?;
    serde_json::to_string(&(&item.repo, branch, &row.builder)).ok()
}

impl Lines {
    fn set(&mut self, name: String, line: Line) {
        self.0.insert(name, line);
        if self.0.len() > LINES {
            let oldest = self.0.iter().min_by_key(|(_, line)| line.number);
            if let Some(oldest) = oldest.map(|(name, _)| name.clone()) {
                self.0.remove(&oldest);
            }
        }
    }
}

#[async_trait]
impl Reader for NotifyReader {
    type Feed = LogFeed;

    fn name(&self) -> &ReaderName {
        &self.name
    }

    async fn resume(&mut self, state: Option<Bytes>) -> Result<()> {
        if let Some(state) = state {
            self.lines = serde_json::from_slice(&state)
                .map_err(|e| Error::caused_by(ErrorKind::Corrupt, "read what was told", e))?;
        }
        Ok(())
    }

    async fn take(&mut self, items: &[Recorded]) -> Result<Taken> {
        // Whatever fails, the same items will be looked at from the same knowledge.
        let known = self.lines.clone();
        let taken = self.look(items).await;
        if taken.is_err() {
            self.lines = known;
        }
        taken
    }
}

impl NotifyReader {
    async fn look(&mut self, items: &[Recorded]) -> Result<Taken> {
        let known = self.lines.clone();
        let mut taken = Taken::default();
        for event in items {
            if let Some((news, row)) = self.news(event).await? {
                taken.effects.extend(self.effects(news, &row, event.at)?);
            }
        }
        if self.lines != known {
            let state = serde_json::to_vec(&self.lines)
                .map_err(|e| Error::caused_by(ErrorKind::Bug, "write what was told", e))?;
            taken.state = Some(state.into());
        }
        Ok(taken)
    }
}
