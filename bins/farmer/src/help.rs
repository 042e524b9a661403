//! What `--help` says of each command, one file each in `snapshots/`: a change of it is seen when it
//! is reviewed. `INSTA_UPDATE=always cargo test -p farmer help` writes them anew.

use clap::CommandFactory as _;

use crate::cli::Cli;

fn snapshot(command: &mut clap::Command, name: &str) {
    let help = command.render_long_help().to_string();
    insta::assert_snapshot!(name, help);
    let names: Vec<_> = command
        .get_subcommands()
        .map(|c| c.get_name().to_owned())
        .collect();
    for sub in names.iter().filter(|name| *name != "help") {
        let command = command.find_subcommand_mut(sub).expect("it was listed");
        snapshot(command, &format!("{name}-{sub}"));
    }
}

#[test]
fn every_command_says_what_it_does() {
    let plain = Cli::command().term_width(100);
    // Variables of whoever runs the test are nobody's business.
    let mut plain = quiet(plain);
    plain.build();
    snapshot(&mut plain, "farmer");
}

fn quiet(command: clap::Command) -> clap::Command {
    let command = command.mut_args(|arg| arg.hide_env_values(true));
    command.mut_subcommands(quiet)
}
