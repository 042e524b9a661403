//! All programs of the group in one: by the name it was started by, or by the first argument.

use std::path::Path;
use std::process::ExitCode;

use farmer_corpus::PROGRAMS;

fn main() -> ExitCode {
    let mut args = std::env::args_os();
    let own = args.next().unwrap_or_default();
    let own = Path::new(&own).file_stem().map(ToOwned::to_owned);
    let find = |name| PROGRAMS.iter().find(|(program, _)| *program == name);
    if let Some((_, main)) = own.as_deref().and_then(find) {
        return main(args.collect());
    }
    if let Some((_, main)) = args.next().as_deref().and_then(find) {
        return main(args.collect());
    }
    let all: Vec<&str> = PROGRAMS.iter().map(|(name, _)| *name).collect();
    eprintln!(
        "farmer-corpus: name one of its programs: {}",
        all.join(", ")
    );
    ExitCode::from(2)
}
