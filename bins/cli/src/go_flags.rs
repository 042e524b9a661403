//! Flags as Go programs take them: `-name`, `-name=value`, `-switch=false`.

use std::collections::BTreeSet;
use std::ffi::OsString;

use clap::{ArgAction, Command};

/// The long flags of a command and of the commands beneath it.
#[derive(Default)]
struct Known {
    /// Flags with a value.
    valued: BTreeSet<String>,
    /// Switches whose value may be left out.
    optional: BTreeSet<String>,
    /// Switches that take no value.
    bare: BTreeSet<String>,
}

impl Known {
    fn of(command: &Command) -> Self {
        let mut known = Self::default();
        known.add(command);
        known
    }

    fn add(&mut self, command: &Command) {
        for arg in command.get_arguments() {
            let Some(long) = arg.get_long() else { continue };
            let set = match arg.get_action() {
                ArgAction::Set | ArgAction::Append if optional_value(arg) => &mut self.optional,
                ArgAction::Set | ArgAction::Append => &mut self.valued,
                _ => &mut self.bare,
            };
            set.insert(long.to_owned());
        }
        command.get_subcommands().for_each(|sub| self.add(sub));
    }
}

fn optional_value(arg: &clap::Arg) -> bool {
    arg.get_num_args().is_some_and(|n| n.min_values() == 0)
}

/// Turns Go's single-dash long flags into the double-dash ones that clap reads, for the long
/// flags that `command` and its subcommands know. Nothing is touched after `--`.
///
/// A switch may carry a value: `-halt=false` takes it back. A switch without a value never
/// swallows the argument after it.
pub fn dashes_of(command: &Command, args: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let known = Known::of(command);
    let mut seen_end = false;
    args.into_iter()
        .filter_map(|arg| {
            let Some(text) = arg.to_str() else {
                return Some(arg);
            };
            seen_end |= text == "--";
            let Some(flag) = text.strip_prefix('-').filter(|_| !seen_end) else {
                return Some(arg);
            };
            let flag = flag.strip_prefix('-').unwrap_or(flag);
            let (name, value) = match flag.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (flag, None),
            };
            if known.bare.contains(name) {
                match value {
                    None | Some("true" | "t" | "T" | "TRUE" | "True" | "1") => {
                        return Some(format!("--{name}").into());
                    }
                    Some("false" | "f" | "F" | "FALSE" | "False" | "0") => return None,
                    // Left as it is: the parser says what is wrong with it.
                    Some(_) => {}
                }
            } else if known.optional.contains(name) && value.is_none() {
                return Some(format!("--{name}=true").into());
            } else if known.optional.contains(name) || known.valued.contains(name) {
                return Some(format!("--{flag}").into());
            }
            Some(arg)
        })
        .collect()
}

/// As [`dashes_of`], up to the first word that is no flag and names no subcommand: flags end
/// there, and nothing behind it is touched or read as a flag.
pub fn dashes_until_word(command: &Command, args: Vec<OsString>) -> Vec<OsString> {
    let mut level = command;
    let mut out = Vec::with_capacity(args.len() + 1);
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        let text = arg.to_str().unwrap_or("-");
        if text == "--" {
            out.push(arg);
            break;
        }
        if text.len() > 1 && text.starts_with('-') {
            let takes_next = takes_value(level, text.trim_start_matches('-'));
            out.extend(dashes_of(level, [arg]));
            if takes_next && let Some(value) = args.next() {
                // Joined, so that a value may look like a flag.
                let mut joined = out.pop().unwrap_or_default();
                joined.push("=");
                joined.push(value);
                out.push(joined);
            }
            continue;
        }
        match level.find_subcommand(text) {
            Some(found) => {
                level = found;
                out.push(arg);
            }
            None => {
                // A command that is not known is told as such.
                if !level.has_subcommands() {
                    out.push("--".into());
                }
                out.push(arg);
                break;
            }
        }
    }
    out.extend(args);
    out
}

/// Whether the flag called `name` of this level takes the argument after it.
fn takes_value(level: &Command, name: &str) -> bool {
    level.get_arguments().any(|arg| {
        let valued = matches!(arg.get_action(), ArgAction::Set | ArgAction::Append);
        arg.get_long() == Some(name) && valued && !optional_value(arg)
    })
}

#[cfg(test)]
mod tests {
    use clap::Arg;

    use super::*;

    fn rewrite(args: &[&str]) -> Vec<String> {
        let command = Command::new("demo")
            .arg(Arg::new("workdir").long("workdir"))
            .arg(Arg::new("verify").long("verify").num_args(0..=1))
            .subcommand(
                Command::new("sub").arg(Arg::new("halt").long("halt").action(ArgAction::SetTrue)),
            );
        let args = dashes_of(&command, args.iter().map(OsString::from));
        args.into_iter().map(|a| a.into_string().unwrap()).collect()
    }

    #[test]
    fn single_dashes_become_double_for_known_names() {
        assert_eq!(
            rewrite(&["-workdir=x", "sub", "-h", "-v"]),
            ["--workdir=x", "sub", "-h", "-v"]
        );
        assert_eq!(rewrite(&["--workdir", "x"]), ["--workdir", "x"]);
    }

    #[test]
    fn switches_may_carry_a_value() {
        assert_eq!(
            rewrite(&["-halt", "--halt=false", "-halt=1"]),
            ["--halt", "--halt"]
        );
        assert_eq!(
            rewrite(&["-verify", "x", "-verify=0"]),
            ["--verify=true", "x", "--verify=0"]
        );
        assert_eq!(rewrite(&["-halt=maybe"]), ["-halt=maybe"]);
    }

    #[test]
    fn nothing_is_touched_after_the_end_of_flags() {
        assert_eq!(rewrite(&["--", "-halt"]), ["--", "-halt"]);
    }
}
