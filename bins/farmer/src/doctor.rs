//! `farmer doctor`: what is wrong with what is kept, and what to do.

use std::path::Path;

use build_server::doctor::{Examined, examine};
use farmer_cli::{Exit, Failure, progress};

use crate::cli::Doctor;
use crate::output::{failure, print_json, print_text};

/// Looks at everything in the data directory.
pub(crate) async fn doctor(args: &Doctor, data: &Path, json: bool) -> Result<(), Failure> {
    let bar = progress::spinner("looking");
    let examined = examine(data, args.mend, |at| bar.set_message(at.to_owned())).await;
    bar.finish_and_clear();
    let Examined {
        events,
        blobs,
        logs,
        findings,
    } = examined.map_err(|e| failure(&e))?;
    for finding in &findings {
        if json {
            print_json(finding)?;
            continue;
        }
        let sign = if finding.mended { "mended" } else { "wrong " };
        let text = format!("{sign}  {}\n        {}\n", finding.what, finding.remedy);
        print_text(&text)?;
    }
    if !json {
        let looked = format!("{events} events, {blobs} caches, sources and artifacts, {logs} logs");
        let wrong = findings.iter().filter(|finding| !finding.mended).count();
        let end = match wrong {
            0 => "all is well".to_owned(),
            1 => "1 thing is wrong".to_owned(),
            n => format!("{n} things are wrong"),
        };
        print_text(&format!("{end}: looked at {looked}\n"))?;
    }
    match findings.iter().all(|finding| finding.mended) {
        true => Ok(()),
        false => Err(Failure::silent(Exit::Failed)),
    }
}
