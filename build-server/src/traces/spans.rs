//! The spans of a build, from its events.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use build_core::clock::Timestamp;
use build_core::event::{BuildEvent, LeaseEnd, Outcome, Recorded, UnitEnd};
use build_core::ids::{BuildId, BuilderName, LeaseId, StepName};
use build_core::plan::Unit;
use build_core::work::WorkItem;
use opentelemetry::trace::{
    Event, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
use sha2::{Digest as _, Sha256};

/// Who sends.
pub(super) fn resource() -> Resource {
    Resource::builder_empty()
        .with_service_name("farmer")
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build()
}

/// The spans of a build that has ended, the build's own first; none when nothing is known of its
/// beginning or its end.
pub(super) fn of(build: &BuildId, events: &[Recorded], farm: &str) -> Vec<SpanData> {
    let mut told = Told::default();
    for event in events {
        if let Some(read) = event.read() {
            told.take(event.at, read);
        }
    }
    told.spans(build, farm).unwrap_or_default()
}

/// What the events of a build say, by subject.
#[derive(Default)]
struct Told {
    queued: Option<(Timestamp, WorkItem, BuilderName)>,
    machines: BTreeMap<LeaseId, Machine>,
    commands: Vec<Command>,
    finished: Option<(Timestamp, Outcome)>,
}

struct Machine {
    name: String,
    granted: Timestamp,
    moments: Vec<(&'static str, Timestamp)>,
    ended: Option<(Timestamp, LeaseEnd)>,
}

struct Command {
    unit: Unit,
    attempt: u32,
    lease: LeaseId,
    started: Timestamp,
    ended: Option<(Timestamp, UnitEnd)>,
}

impl Told {
    fn take(&mut self, at: Timestamp, event: BuildEvent) {
        match event {
            BuildEvent::Queued { item, builder } => self.queued = Some((at, item, builder)),
            BuildEvent::Leased { lease, machine, .. } => {
                let machine = Machine {
                    name: machine.to_string(),
                    granted: at,
                    moments: Vec::new(),
                    ended: None,
                };
                self.machines.insert(lease, machine);
            }
            BuildEvent::Ready { lease, .. } => self.moment(&lease, "ready", at),
            BuildEvent::Prepared { lease, .. } => self.moment(&lease, "prepared", at),
            BuildEvent::LeaseEnded { lease, reason } => {
                if let Some(machine) = self.machines.get_mut(&lease) {
                    machine.ended = Some((at, reason));
                }
            }
            BuildEvent::Started {
                unit,
                attempt,
                lease,
                ..
            } => self.commands.push(Command {
                unit,
                attempt,
                lease,
                started: at,
                ended: None,
            }),
            BuildEvent::Ended {
                unit, attempt, end, ..
            } => {
                let of = |c: &&mut Command| c.unit == unit && c.attempt == attempt;
                if let Some(command) = self.commands.iter_mut().rev().find(of) {
                    command.ended = Some((at, end));
                }
            }
            BuildEvent::Finished { outcome } => self.finished = Some((at, outcome)),
            _ => {}
        }
    }

    fn moment(&mut self, lease: &LeaseId, name: &'static str, at: Timestamp) {
        if let Some(machine) = self.machines.get_mut(lease) {
            machine.moments.push((name, at));
        }
    }

    fn spans(&self, build: &BuildId, farm: &str) -> Option<Vec<SpanData>> {
        let (queued, item, builder) = self.queued.as_ref()?;
        let (finished, outcome) = self.finished.as_ref()?;
        let trace = Trace {
            build: build.to_string(),
            end: *finished,
        };
        let mut root = trace.span("build", None, format!("{} on {builder}", item.repo));
        root.span_kind = SpanKind::Server;
        trace.between(&mut root, *queued, Some(*finished));
        root.attributes = about(build, item, builder, farm);
        root.attributes
            .push(KeyValue::new("cicd.pipeline.result", result(outcome)));
        root.status = match outcome {
            Outcome::Passed | Outcome::Closed(_) => Status::Ok,
            other => Status::error(other.to_string()),
        };
        let above = root.span_context.span_id();
        let mut spans = vec![root];
        if let Some(first) = self.machines.values().map(|m| m.granted).min() {
            let mut waiting = trace.span("waiting", Some(above), "waiting for a machine".into());
            trace.between(&mut waiting, *queued, Some(first));
            spans.push(waiting);
        }
        spans.extend(self.machines.iter().map(|(lease, machine)| {
            let mut span = trace.span(
                lease.as_ref(),
                Some(above),
                format!("machine {}", machine.name),
            );
            machine.fill(&trace, &mut span);
            span
        }));
        self.steps(&trace, above, &mut spans);
        Some(spans)
    }

    fn steps(&self, trace: &Trace, above: SpanId, spans: &mut Vec<SpanData>) {
        let mut steps: BTreeMap<&StepName, Vec<&Command>> = BTreeMap::new();
        for command in &self.commands {
            steps.entry(&command.unit.step).or_default().push(command);
        }
        for (step, commands) in steps {
            let mut span = trace.span(&format!("step {step}"), Some(above), step.to_string());
            let started = commands.iter().map(|c| c.started).min();
            let ended = commands.iter().map(|c| c.ended.as_ref().map(|(at, _)| *at));
            trace.between(
                &mut span,
                started.unwrap_or(trace.end),
                ended.max().flatten(),
            );
            // What counts of a unit is how its last attempt ended.
            let mut last: BTreeMap<&Unit, &Command> = BTreeMap::new();
            for command in &commands {
                last.insert(&command.unit, command);
            }
            let passed = last.values().all(|command| command.passed());
            span.status = if passed {
                Status::Ok
            } else {
                Status::error("a command of the step did not pass")
            };
            let own = span.span_context.span_id();
            spans.push(span);
            for command in commands {
                let key = format!("{} attempt {}", command.unit, command.attempt);
                let mut span = trace.span(&key, Some(own), command.unit.to_string());
                command.fill(trace, &mut span, self.machines.get(&command.lease));
                spans.push(span);
            }
        }
    }
}

impl Machine {
    fn fill(&self, trace: &Trace, span: &mut SpanData) {
        trace.between(span, self.granted, self.ended.as_ref().map(|(at, _)| *at));
        span.attributes = vec![KeyValue::new("cicd.worker.name", self.name.clone())];
        for (name, at) in &self.moments {
            let event = Event::new(*name, instant(*at), Vec::new(), 0);
            span.events.events.push(event);
        }
        span.status = match &self.ended {
            Some((_, LeaseEnd::Lost(why))) => Status::error(why.clone()),
            Some((_, LeaseEnd::Unusable { text, .. })) => Status::error(text.clone()),
            _ => Status::Ok,
        };
    }
}

impl Command {
    fn passed(&self) -> bool {
        matches!(&self.ended, Some((_, UnitEnd::Exited(outcome))) if outcome.is_ok())
    }

    fn fill(&self, trace: &Trace, span: &mut SpanData, on: Option<&Machine>) {
        trace.between(span, self.started, self.ended.as_ref().map(|(at, _)| *at));
        span.attributes = vec![
            KeyValue::new("cicd.pipeline.task.name", self.unit.to_string()),
            KeyValue::new("farmer.attempt", i64::from(self.attempt)),
        ];
        if let Some(machine) = on {
            span.attributes
                .push(KeyValue::new("cicd.worker.name", machine.name.clone()));
        }
        let (word, text) = match &self.ended {
            Some((_, end)) => ended(end),
            None => ("error", "its end is not known".into()),
        };
        span.attributes
            .push(KeyValue::new("cicd.pipeline.task.run.result", word));
        span.status = match word {
            "success" => Status::Ok,
            _ => Status::error(text),
        };
    }
}

/// What all spans of a build share.
struct Trace {
    build: String,
    end: Timestamp,
}

impl Trace {
    /// A span with ids that only depend on the build and on `key`.
    fn span(&self, key: &str, parent: Option<SpanId>, name: String) -> SpanData {
        let trace = TraceId::from_bytes(hash(&["trace of", &self.build]));
        let id = SpanId::from_bytes(hash(&["span of", &self.build, key]));
        let context =
            SpanContext::new(trace, id, TraceFlags::SAMPLED, false, TraceState::default());
        SpanData {
            span_context: context,
            parent_span_id: parent.unwrap_or(SpanId::INVALID),
            parent_span_is_remote: false,
            span_kind: SpanKind::Internal,
            name: Cow::Owned(name),
            start_time: instant(self.end),
            end_time: instant(self.end),
            attributes: Vec::new(),
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: Status::Unset,
            instrumentation_scope: InstrumentationScope::builder("farmer")
                .with_version(env!("CARGO_PKG_VERSION"))
                .build(),
        }
    }

    /// What has no end ends with the build. Clocks may be set back: nothing ends before it begins.
    fn between(&self, span: &mut SpanData, from: Timestamp, to: Option<Timestamp>) {
        span.start_time = instant(from);
        span.end_time = instant(to.unwrap_or(self.end).max(from));
    }
}

fn about(build: &BuildId, item: &WorkItem, builder: &BuilderName, farm: &str) -> Vec<KeyValue> {
    let text = |key: &'static str, value: String| KeyValue::new(key, value);
    let mut about = vec![
        text("cicd.pipeline.name", builder.to_string()),
        text("cicd.pipeline.run.id", build.to_string()),
        text("vcs.repository.name", item.repo.to_string()),
        text("vcs.ref.head.revision", item.commit.to_string()),
    ];
    if !farm.is_empty() {
        let url = format!("{}/builds/{build}", farm.trim_end_matches('/'));
        about.push(text("cicd.pipeline.run.url.full", url));
    }
    let named = item.branch.as_ref().map(|name| ("branch", name));
    if let Some((kind, name)) = item.tag.as_ref().map(|name| ("tag", name)).or(named) {
        about.push(text("vcs.ref.head.name", name.to_string()));
        about.push(KeyValue::new("vcs.ref.head.type", kind));
    }
    about
}

/// The word of OpenTelemetry's conventions for how a pipeline ended.
fn result(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Passed | Outcome::Closed(_) => "success",
        Outcome::Failed { .. } => "failure",
        Outcome::Canceled { .. } => "cancellation",
        _ => "error",
    }
}

/// The same for a command, with a sentence.
fn ended(end: &UnitEnd) -> (&'static str, String) {
    match end {
        UnitEnd::Exited(outcome) if outcome.is_ok() => ("success", String::new()),
        UnitEnd::Exited(outcome) => ("failure", outcome.to_string()),
        UnitEnd::TimedOut(_) => ("timeout", "it ran longer than allowed".into()),
        UnitEnd::Silent(_) => (
            "timeout",
            "it printed nothing for longer than allowed".into(),
        ),
        UnitEnd::DiskQuota => ("failure", "disk quota".into()),
        UnitEnd::NoTests => ("failure", "no tests ran".into()),
        UnitEnd::MissingTool(tool) => ("error", format!("{tool} is not on the machine")),
        UnitEnd::Lost(why) => ("error", why.clone()),
        UnitEnd::Interrupted => ("error", "the coordinator was stopped".into()),
        UnitEnd::Canceled => ("cancellation", "the build was canceled".into()),
        _ => ("error", "it ended in a way that is not known".into()),
    }
}

/// The first bytes of a digest, never all zeros in practice.
fn hash<const N: usize>(parts: &[&str]) -> [u8; N] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
        hash.update([0]);
    }
    let digest = hash.finalize();
    std::array::from_fn(|n| digest[n])
}

fn instant(at: Timestamp) -> SystemTime {
    let micros = u64::try_from(at.as_micros()).unwrap_or_default();
    UNIX_EPOCH + Duration::from_micros(micros)
}
