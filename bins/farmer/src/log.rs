//! `farmer log`: what a build printed, or what was recorded of it.

use std::path::Path;

use build_core::event::{Recorded as Event, Version};
use build_core::report::Event as Report;
use build_server::record::{BuildRow, Run};
use build_server::run::LiveLogs;
use farmer_cli::Failure;
use futures::StreamExt;

use crate::cli::Log;
use crate::describe;
use crate::output::{failure, print_json, print_output, print_text};
use crate::records::Recorded;

/// Events read at a time.
const PAGE: usize = 1000;

/// Prints the output of the steps of a build, as they ran.
pub(crate) async fn log(args: Log, data: &Path, json: bool) -> Result<(), Failure> {
    let recorded = Recorded::open(data).await?;
    let row = recorded.find(args.build.as_deref()).await?;
    if args.events {
        return events(&recorded, &row, json).await;
    }
    let runs: Vec<&Run> = row.runs.iter().filter(|r| wanted(&args, r)).collect();
    if let Some(step) = args.step.as_ref().filter(|_| runs.is_empty()) {
        let names: Vec<_> = row
            .steps
            .iter()
            .map(build_core::ids::StepName::as_str)
            .collect();
        return Err(Failure::usage(
            format!("{} has no output of step {step:?}", row.id),
            format!("its steps: {}", names.join(", ")),
        ));
    }
    let titled = runs.len() > 1;
    for run in runs {
        if titled {
            farmer_cli::say!("== {}{}", run.unit, ending(run));
        }
        output(&recorded, &row, run, args.tail).await?;
    }
    Ok(())
}

fn wanted(args: &Log, run: &Run) -> bool {
    args.step
        .as_ref()
        .is_none_or(|step| run.unit.step.as_str() == step)
}

fn ending(run: &Run) -> String {
    let attempt = if run.attempt > 1 {
        format!(", attempt {}", run.attempt)
    } else {
        String::new()
    };
    let end = run
        .end
        .as_ref()
        .map_or("runs".to_owned(), describe::unit_end);
    format!("{attempt}: {end}")
}

async fn output(
    recorded: &Recorded,
    row: &BuildRow,
    run: &Run,
    tail: Option<u64>,
) -> Result<(), Failure> {
    let logs = LiveLogs::new(recorded.store.logs().clone());
    let read = async {
        let offset = match tail {
            Some(lines) => logs.tail(&row.id, &run.exec, lines).await?,
            None => 0,
        };
        logs.read(&row.id, &run.exec, offset, false).await
    };
    let mut pieces = match read.await {
        Ok(pieces) => pieces,
        // Started, but nothing was printed before the end.
        Err(error) if error.kind() == build_core::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failure(&error)),
    };
    while let Some(piece) = pieces.next().await {
        print_output(&piece.map_err(|e| failure(&e))?)?;
    }
    Ok(())
}

async fn events(recorded: &Recorded, row: &BuildRow, json: bool) -> Result<(), Failure> {
    let mut after = Version(0);
    let stream = (&row.id).into();
    loop {
        let page = recorded
            .store
            .events()
            .read_stream(&stream, after, PAGE)
            .await
            .map_err(|e| failure(&e))?;
        let Some(last) = page.last() else {
            return Ok(());
        };
        after = last.version;
        for event in &page {
            if json {
                print_json(&Report::from(event.clone()))?;
            } else {
                print_text(&line(event))?;
            }
        }
    }
}

fn line(event: &Event) -> String {
    let (kind, body) = (&event.kind, event.body.get());
    format!("{} {:>6}  {kind} {body}\n", event.at, event.seq.0)
}
