//! One build on the terminal: its events and the output of its steps, as they come.

use std::collections::{HashMap, HashSet};
use std::io::IsTerminal;
use std::pin::Pin;

use build_core::event::{Base, BuildEvent, Outcome, Recorded, Start};
use build_core::ids::BuildId;
use build_core::plan::Unit;
use build_core::report::Event;
use bytes::Bytes;
use farmer_cli::{Exit, Failure};
use futures::stream::SelectAll;
use futures::{Stream, StreamExt, stream};

use crate::describe;
use crate::farm::AnyFarm;
use crate::lines::Lines;
use crate::output::{failure, print_json, print_output};

/// How a build is shown.
#[derive(Clone, Copy)]
pub(crate) struct Show {
    /// The events as JSON lines, and nothing else.
    pub(crate) json: bool,
    /// The output of the steps too.
    pub(crate) output: bool,
    /// The builder's name before each line: several builds are shown at once.
    pub(crate) builder: bool,
}

/// An attempt of a unit.
type Attempt = (Unit, u32);

enum News {
    Event(Box<Recorded>),
    Output(Attempt, Bytes),
    OutputEnded(Attempt),
}

type NewsStream = Pin<Box<dyn Stream<Item = Result<News, build_core::Error>> + Send>>;

/// Shows one build until nothing more happens to it.
pub(crate) struct Follower {
    farm: AnyFarm,
    build: BuildId,
    builder: String,
    show: Show,
    lines: Lines<Attempt>,
    streams: SelectAll<NewsStream>,
    /// Attempts whose output is still coming, with what to say after it.
    open: HashMap<Attempt, Option<String>>,
    /// Attempts that have ended before their output was opened.
    ended: HashSet<Attempt>,
    outcome: Option<Outcome>,
    /// The warm caches that were said last: each machine of a build has them.
    told: Vec<String>,
}

impl Follower {
    /// Begins with the first event of the build.
    pub(crate) async fn new(
        farm: AnyFarm,
        build: BuildId,
        builder: String,
        show: Show,
    ) -> Result<Self, Failure> {
        let events = farm.events(&build).await.map_err(|e| failure(&e))?;
        let events: NewsStream = events.map(|e| e.map(|e| News::Event(Box::new(e)))).boxed();
        Ok(Self {
            farm,
            build,
            builder,
            show,
            lines: Lines::new(),
            streams: stream::select_all([events]),
            open: HashMap::new(),
            ended: HashSet::new(),
            outcome: None,
            told: Vec::new(),
        })
    }

    /// Follows to the end; the outcome, or `None` when the coordinator ended before the build.
    pub(crate) async fn run(mut self) -> Result<Option<Outcome>, Failure> {
        while let Some(news) = self.streams.next().await {
            match news.map_err(|e| failure(&e))? {
                News::Event(event) => self.event(*event).await?,
                News::Output(attempt, bytes) => {
                    let prefix = self.prefix(&attempt.0);
                    print_output(&self.lines.push(&attempt, &prefix, &bytes))?;
                }
                News::OutputEnded(attempt) => self.output_ended(&attempt)?,
            }
        }
        Ok(self.outcome)
    }

    /// What a work directory was begun with.
    fn prepared(&mut self, hits: &[String], start: Option<&Start>, tools: Vec<String>) {
        if let Some(start) = start {
            self.say(&format!("the build {start}"));
        }
        if !hits.is_empty() {
            let hits = hits.join(", ");
            self.say(&format!("from the cache of an earlier build: {hits}"));
        }
        if !tools.is_empty() && tools != self.told {
            self.say(&format!("warm caches of tools: {}", tools.join(", ")));
            self.told = tools;
        }
    }

    async fn event(&mut self, recorded: Recorded) -> Result<(), Failure> {
        if self.show.json {
            print_json(&Event::from(recorded.clone()))?;
        }
        let Some(event) = recorded.read() else {
            return Ok(());
        };
        match event {
            BuildEvent::Planned { plan } => {
                self.say(&format!("plan: {}", plan.reason));
                for input in &plan.inputs {
                    self.say(&format!("beside the commit: {input}"));
                }
            }
            BuildEvent::Prepared {
                base: Base::Source,
                cache_hits,
                start,
                tool_caches,
                ..
            } => self.prepared(&cache_hits, start.as_ref(), tool_caches),
            BuildEvent::Started { unit, attempt, .. } => self.started((unit, attempt)).await?,
            BuildEvent::Ended {
                unit,
                attempt,
                end,
                took,
                ..
            } => {
                let text = format!(
                    "{unit}: {} after {}",
                    describe::unit_end(&end),
                    describe::took(took)
                );
                self.unit_ended((unit, attempt), text);
            }
            BuildEvent::Salvaged {
                unit, artifacts, ..
            } => {
                let (step, count) = (&unit.step, artifacts.len());
                self.say(&format!("{step}: failed, and kept {count} files"));
            }
            BuildEvent::Kept {
                step, artifacts, ..
            } if !artifacts.is_empty() => {
                self.say(&format!("{step}: kept {} files", artifacts.len()));
            }
            BuildEvent::Finished { outcome } => self.outcome = Some(outcome),
            _ => {}
        }
        Ok(())
    }

    async fn started(&mut self, attempt: Attempt) -> Result<(), Failure> {
        if attempt.1 > 1 {
            self.say(&format!("{}: attempt {}", attempt.0, attempt.1));
        }
        if self.show.json || !self.show.output {
            return Ok(());
        }
        let log = self.farm.log(&self.build, &attempt.0, attempt.1).await;
        let log = log.map_err(|e| failure(&e))?;
        let of = attempt.clone();
        let output = log.map(move |bytes| Ok(News::Output(of.clone(), bytes?)));
        let end = attempt.clone();
        let end = stream::once(async move { Ok(News::OutputEnded(end)) });
        self.streams.push(output.chain(end).boxed());
        self.open.insert(attempt, None);
        Ok(())
    }

    /// Says how a unit ended, after the last of its output.
    fn unit_ended(&mut self, attempt: Attempt, text: String) {
        match self.open.get_mut(&attempt) {
            Some(after) => *after = Some(text),
            None => self.say(&text),
        }
        self.ended.insert(attempt);
    }

    fn output_ended(&mut self, attempt: &Attempt) -> Result<(), Failure> {
        let prefix = self.prefix(&attempt.0);
        print_output(&self.lines.end(attempt, &prefix))?;
        if let Some(Some(text)) = self.open.remove(attempt) {
            self.say(&text);
        }
        Ok(())
    }

    fn say(&self, text: &str) {
        if self.show.json {
            return;
        }
        if self.show.builder {
            farmer_cli::say!("{}: {text}", self.builder);
        } else {
            farmer_cli::say!("{text}");
        }
    }

    fn prefix(&self, unit: &Unit) -> String {
        let name = if self.show.builder {
            format!("{} {unit}", self.builder)
        } else {
            unit.to_string()
        };
        if std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none() {
            format!("\x1b[2m{name} |\x1b[0m ")
        } else {
            format!("{name} | ")
        }
    }
}

/// The exit code that an outcome asks for.
pub(crate) fn exit_of(outcome: Option<&Outcome>) -> Exit {
    match outcome {
        Some(Outcome::Passed) => Exit::Passed,
        Some(Outcome::Failed { .. }) => Exit::Failed,
        Some(Outcome::Misconfigured { .. }) => Exit::Usage,
        None | Some(Outcome::Canceled { .. }) => Exit::Interrupted,
        Some(_) => Exit::Infrastructure,
    }
}
