//! `gotip download [CL | branch | commit]`, `gotip update`, and `gotip ARGS…`.

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

use build_client::toolchain::{Gotip, TipRef};
use farmer_cli::{Exit, Failure, finish, run};

use crate::environment::Environment;
use crate::told::failure;
use crate::wrapper::become_it;

const NAME: &str = "gotip";

/// Runs `gotip`.
pub(crate) fn main(args: Vec<OsString>) -> ExitCode {
    let environment = match Environment::read() {
        Ok(environment) => environment,
        Err(failure) => return finish(NAME, Err(failure)),
    };
    let built = Gotip::new(environment.dir.clone(), &environment.remote)
        .bootstrap(environment.bootstrap.clone());
    let words: Vec<&str> = args.iter().filter_map(|arg| arg.to_str()).collect();
    let tip = match (words.as_slice(), args.len()) {
        (["download"], 1) => Ok(TipRef::Master),
        (["update"], 1) => Ok(built.last()),
        (["download", what], 2) => TipRef::parse(what).map_err(|error| failure(&error)),
        (["download", ..], _) => Err(Failure::usage(
            "too many arguments",
            "gotip download [CL number | branch | commit]",
        )),
        _ => {
            let ran = start(&environment, &args);
            return ran.unwrap_or_else(|failure| finish(NAME, Err(failure)));
        }
    };
    let tip = match tip.and_then(|tip| confirm(&tip, &environment.remote).map(|()| tip)) {
        Ok(tip) => tip,
        Err(failure) => return finish(NAME, Err(failure)),
    };
    run(NAME, false, async |stop| {
        let waiting = || eprintln!("gotip: another process builds it; waiting");
        tokio::select! {
            done = built.download(&tip, &waiting) => done.map_err(|error| failure(&error))?,
            () = stop.cancelled() => return Err(Failure::interrupted()),
        };
        eprintln!("Success. You may now run 'gotip'!");
        Ok(())
    })
}

fn start(environment: &Environment, args: &[OsString]) -> Result<ExitCode, Failure> {
    let ready = environment
        .dir
        .ready_tip(&environment.rows)
        .map_err(|error| failure(&error))?;
    // The newest Go may take the toolchain that a module asks for, unless told otherwise.
    let more: &[_] = match std::env::var_os("GOTOOLCHAIN") {
        Some(_) => &[],
        None => &[("GOTOOLCHAIN", "auto")],
    };
    become_it(&ready, args, more)
}

/// Nobody has reviewed what is in a change: whoever builds it must want to.
fn confirm(tip: &TipRef, remote: &str) -> Result<(), Failure> {
    let TipRef::Change(number) = tip else {
        return Ok(());
    };
    eprint!(
        "This will download and execute code from change {number} of {remote}, continue? [y/n] "
    );
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => {
            eprintln!("gotip: nothing was downloaded");
            Err(Failure::silent(Exit::Failed))
        }
    }
}
