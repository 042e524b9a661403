//! `gomote`: a machine when you need one.

mod args;
mod connect;
mod files;
mod login;
mod machines;
mod place;
mod push;
mod repro;
mod run;
mod target;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::CommandFactory as _;
use farmer_cli::{Exit, Failure};
use tokio_util::sync::CancellationToken;

use self::args::{Cli, Command};
use self::place::Place;

/// What is left to say at the end of a command.
enum Done {
    /// It did what it was asked to do.
    Fine,
    /// A command on a machine ended with this code.
    Remote(u8),
}

/// The entry point: the arguments without the program's name.
pub fn main(args: Vec<OsString>) -> ExitCode {
    let cli = match farmer_cli::parse_go::<Cli>(args) {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    let mut code = None;
    let ended = farmer_cli::run(Cli::command().get_name(), cli.verbose, async |stop| {
        if let Done::Remote(remote) = cli.run(stop).await? {
            code = Some(remote);
        }
        Ok(())
    });
    code.map_or(ended, ExitCode::from)
}

impl Cli {
    async fn run(self, stop: CancellationToken) -> Result<Done, Failure> {
        let place = Place::of(&self).await?;
        let done = async {
            match self.command {
                Command::Create(args) => machines::create(&place, args, &stop).await,
                Command::Destroy(args) => machines::destroy(&place, args).await,
                Command::List => machines::list(&place).await,
                Command::Ping(args) => machines::ping(&place, args).await,
                Command::Group { command } => machines::group(&place, command).await,
                Command::Login(args) => login::login(&place, args).await,
                Command::Ls(args) => files::ls(&place, args).await,
                Command::Put(args) => files::put(&place, args).await,
                Command::Put14(args) => files::put_bootstrap(&place, args).await,
                Command::Puttar(args) => files::put_tar(&place, args).await,
                Command::Gettar(args) => files::get_tar(&place, args).await,
                Command::Cp(args) => files::cp(&place, args).await,
                Command::Rm(args) => files::rm(&place, args).await,
                Command::Push(args) => push::push(&place, args).await,
                Command::Run(args) => return run::run(&place, args, &stop).await,
                Command::Repro(args) => return repro::repro(&place, args, &stop).await,
                Command::Ssh(args) => return connect::ssh(&place, args).await,
                Command::ConnectSsh(args) => connect::connect_ssh(&place, args).await,
                Command::Forward(args) => connect::forward(&place, args, &stop).await,
                Command::Rdp(args) => connect::forward(&place, args.into(), &stop).await,
            }
            .map(|()| Done::Fine)
        };
        // Commands that are to go on when this program is told to stop know the token themselves.
        let stopped = async {
            stop.cancelled().await;
            // What is to be given up or ended remotely has a moment for that.
            tokio::time::sleep(run::LAST_WORDS).await;
        };
        tokio::select! {
            biased;
            done = done => done,
            () = stopped => Err(Failure::silent(Exit::Interrupted)),
        }
    }
}
