//! Completions and manual pages, made from the same definition as `--help`.

use std::io::{self, Write};

use clap::Command;
pub use clap_complete::Shell;

/// Writes the completions of `command` for `shell`.
///
/// # Errors
/// When `out` cannot be written.
pub fn completions(mut command: Command, shell: Shell, out: &mut dyn Write) -> io::Result<()> {
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, name, &mut script);
    out.write_all(&script)
}

/// Writes the manual page of `command`.
///
/// # Errors
/// When `out` cannot be written.
pub fn man_page(command: Command, out: &mut dyn Write) -> io::Result<()> {
    clap_mangen::Man::new(command).render(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn completions_and_manual_know_the_flags() {
        let command = || {
            Command::new("demo")
                .about("shows")
                .arg(clap::Arg::new("color").long("color").help("paints"))
        };
        let mut script = Vec::new();
        completions(command(), Shell::Bash, &mut script).unwrap();
        assert!(String::from_utf8(script).unwrap().contains("--color"));
        let mut page = Vec::new();
        man_page(command(), &mut page).unwrap();
        assert!(String::from_utf8(page).unwrap().contains("paints"));
    }
}
