//! All programs of the group in one: by the name it was started by, or by the first argument.

use std::path::Path;
use std::process::ExitCode;

use farmer_corpus::PROGRAMS;

fn main() -> ExitCode {
    let mut args = std::env::args();
    let own = args.next().unwrap_or_default();
    let own = Path::new(&own)
        .file_stem()
        .map(|name| name.to_string_lossy().into_owned());
    let names = own.into_iter().chain(args.next());
    for name in names {
        if let Some((_, main)) = PROGRAMS.iter().find(|(program, _)| *program == name) {
            return main();
        }
    }
    let all: Vec<&str> = PROGRAMS.iter().map(|(name, _)| *name).collect();
    eprintln!(
        "farmer-corpus: name one of its programs: {}",
        all.join(", ")
    );
    ExitCode::from(2)
}
