//! `farmer why`: why a build waits, or how it came to its end.

use std::path::Path;

use build_core::clock::{Clock, SystemClock};
use build_core::report::{Build, BuildStatus, Session};
use build_server::flakes::failed_tests;
use build_server::record::{BuildRow, Run};
use build_server::source::GitCheckouts;
use build_server::store::DataLock;
use farmer_cli::Failure;
use serde_json::json;

use crate::cli::Why;
use crate::describe;
use crate::output::{failure, print_json, print_text};
use crate::records::Recorded;
use crate::running;
use crate::sessions;

/// Tells one build's story: one sentence first, then what led to it.
pub(crate) async fn why(args: Why, data: &Path, json: bool) -> Result<(), Failure> {
    let recorded = Recorded::open(data).await?;
    let named = args.build.as_deref().unwrap_or_default();
    if let Some(row) = sessions::find(&recorded, named).await? {
        let sentence = sessions::sentence(&row, SystemClock.now());
        if json {
            return print_json(&json!({ "session": Session::from(row), "why": sentence }));
        }
        return print_text(&format!("{} {sentence}\n", row.id));
    }
    let row = recorded.find(args.build.as_deref()).await?;
    let open = recorded.open_builds().await?;
    let owner = DataLock::owner(data)
        .map_err(|e| failure(&e))?
        .map(|o| o.to_string());
    let ahead: Vec<&BuildRow> = open.iter().filter(|o| o.number < row.number).collect();
    let mut sentence = sentence(&row, &ahead, owner.as_deref());
    if let (None, Some(farm)) = (&row.outcome, running::find(data)?) {
        sentence = farm.why(&row.id).await.map_err(|e| failure(&e))?.why;
    }
    let checkouts = GitCheckouts::new(data.join("git"));
    let store = &recorded.store;
    let (records, blobs) = (&**store.records(), &**store.blobs());
    let failed = failed_tests(records, blobs, &checkouts, &row).await;
    let failed = failed.map_err(|e| failure(&e))?;
    if json {
        let ahead: Vec<_> = ahead.iter().map(|o| o.id.as_str()).collect();
        let report = Build::from(row.clone());
        return print_json(
            &json!({ "build": report, "why": sentence, "ahead": ahead, "owner": owner, "failed_tests": failed }),
        );
    }
    let mut text = format!(
        "{} {sentence}\n  commit {} on {}\n",
        row.id,
        describe::commit(&row),
        row.builder
    );
    if let Some(hint) = row.outcome.as_ref().and_then(describe::hint) {
        text += &format!("  hint   {hint}\n");
    }
    if !row.reason.is_empty() {
        text += &format!("  plan   {}\n", row.reason);
    }
    if let Some(outside) = build_core::sentences::outside(&row.item) {
        text += &format!("  trust  {outside}\n");
    }
    if let Some(first) = &row.item.rerun_of {
        text += &format!("  again  runs the failed tests of {first} once more\n");
    }
    if let Some(rerun) = &row.rerun {
        text += &format!("  again  {} ({})\n", rerun.verdict(), rerun.build);
    }
    for run in &row.runs {
        text += &format!("  {}\n", run_line(run));
    }
    for test in &failed {
        text += &format!(
            "  {:<16} {} {}\n",
            test.step.to_string(),
            test.test,
            test.text
        );
    }
    print_text(&text)
}

fn sentence(row: &BuildRow, ahead: &[&BuildRow], owner: Option<&str>) -> String {
    if let Some(outcome) = &row.outcome {
        return describe::outcome(outcome);
    }
    let Some(owner) = owner else {
        return "waits for its coordinator, which is not running; go on with: farmer build"
            .to_owned();
    };
    match row.state {
        BuildStatus::Queued if ahead.is_empty() => {
            format!("waits for its plan and its machine; {owner} is at work")
        }
        BuildStatus::Queued => {
            let first = ahead[0];
            format!(
                "waits behind {} builds, first of them {} of {} ({}); it starts when a machine of {owner} is free",
                ahead.len(),
                first.id,
                first.item.repo,
                first.state.as_str(),
            )
        }
        _ => running(row),
    }
}

fn running(row: &BuildRow) -> String {
    let units: Vec<String> = row
        .runs
        .iter()
        .filter(|r| r.end.is_none())
        .map(|r| r.unit.to_string())
        .collect();
    let since = row.started.map_or(String::new(), |at| {
        format!(" for {}", describe::took(SystemClock.now().since(at)))
    });
    if units.is_empty() {
        return format!("runs{since}; between two steps");
    }
    format!("runs{since}: {}", units.join(", "))
}

fn run_line(run: &Run) -> String {
    let end = run
        .end
        .as_ref()
        .map_or("runs".to_owned(), describe::unit_end);
    let attempt = if run.attempt > 1 {
        format!(", attempt {}", run.attempt)
    } else {
        String::new()
    };
    let took = run
        .took
        .map_or(String::new(), |t| format!(" after {}", describe::took(t)));
    format!("{:<16} {end}{took}{attempt}", run.unit.to_string())
}
