//! The front door: `farmer`, one program with everything in it.

mod act;
mod artifact;
mod backup;
mod bench;
mod build;
mod build_there;
mod check;
mod cli;
mod coordinator;
mod data_dir;
mod data_loss;
mod describe;
mod doctor;
mod door;
mod down;
mod farm;
mod farm_file;
mod follow;
mod gomoteserver;
#[cfg(test)]
mod help;
mod init;
mod join;
mod key;
mod lines;
mod log;
mod machine;
mod machines;
mod more_doors;
mod news;
mod outbox;
mod output;
mod programs;
mod query;
mod records;
mod registered;
mod repo;
mod running;
mod services;
mod sessions;
mod shared;
mod ssh;
mod ssh_key;
mod status;
mod turn;
mod up;
mod user;
mod watched;
mod why;
mod wish;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use farmer_cli::Failure;
use tokio_util::sync::CancellationToken;

use cli::{Cli, Command};

/// Runs the program with the arguments of a command line, the program's name first.
pub fn main(args: Vec<OsString>) -> ExitCode {
    if let Some(program) = programs::by_own_name(args.first()) {
        return program(args.into_iter().skip(1).collect());
    }
    #[cfg(feature = "sim")]
    if let Err(failure) = bench::chaos::plant_from_environment() {
        return farmer_cli::finish("farmer", Err(failure));
    }
    let cli = Cli::parse_from(args);
    #[cfg(feature = "sim")]
    if let Command::Bench(args) = &cli.command
        && matches!(args.names[..], [bench::Name::Chaos])
    {
        return bench::chaos::run(&args.chaos);
    }
    if let Command::Other(args) = &cli.command {
        // They start a runtime of their own.
        return programs::run(args)
            .unwrap_or_else(|failure| farmer_cli::finish("farmer", Err(failure)));
    }
    if let Command::Join(args) = &cli.command {
        return join::join(args)
            .unwrap_or_else(|failure| farmer_cli::finish("farmer", Err(failure)));
    }
    if let Some(args) = programs::of_gomote(&cli) {
        return farmer_tools::gomote::main(args);
    }
    farmer_cli::run("farmer", cli.common.verbose, async |stop| {
        run(cli, stop).await
    })
}

async fn run(cli: Cli, stop: CancellationToken) -> Result<(), Failure> {
    let data = || data_dir::data_dir(cli.common.data.clone());
    let json = cli.common.json;
    match cli.command {
        Command::Build(args) => build::build(args, data()?, json, stop).await,
        Command::Up(args) => up::up(args, data()?, stop).await,
        Command::Down(args) => down::down(args, &data()?).await,
        Command::Rerun(args) => act::rerun(args, &data()?, json).await,
        Command::Cancel(args) => act::cancel(args, &data()?, json).await,
        Command::Wish(command) => wish::wish(&command, &data()?, json).await,
        Command::Repo(command) => repo::repo(&command, &data()?, json).await,
        Command::Artifact(command) => artifact::artifact(&command, &data()?, json).await,
        Command::Log(args) => log::log(args, &data()?, json).await,
        Command::Doctor(args) => doctor::doctor(&args, &data()?, json).await,
        Command::Backup(args) => backup::backup(args, &data()?, json).await,
        Command::Restore(args) => backup::restore(args, &data()?, json).await,
        Command::Bench(args) => bench::bench(args, &data()?, json).await,
        Command::Init(args) => init::init(args).await,
        Command::Check(args) => check::check(args, data(), json).await,
        Command::Status(args) => status::status(args, &data()?, json).await,
        Command::Why(args) => why::why(args, &data()?, json).await,
        Command::Corpus(args) => args.run(data()?, json, stop).await,
        Command::Machine(command) => machine::machine(&command, &data()?, json).await,
        Command::Outbox(command) => outbox::outbox(&command, &data()?, json).await,
        Command::Key(command) => key::key(command, &data()?, json),
        Command::User(command) => user::user(command, &data()?, json),
        Command::Query(args) => query::query(args, data()?, json).await,
        Command::Completions { shell } => Ok(farmer_cli::completions(
            Cli::command(),
            shell,
            &mut std::io::stdout(),
        )?),
        Command::Man => Ok(farmer_cli::man_page(
            Cli::command(),
            &mut std::io::stdout(),
        )?),
        // They were run before, on a runtime of their own.
        Command::Join(_) | Command::Other(_) | Command::Repro { .. } | Command::Ssh { .. } => {
            Ok(())
        }
    }
}
