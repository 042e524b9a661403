//! Flags as Go programs take them: `-name`, `-name=value`, `-switch=false`.

use std::ffi::OsString;

/// Turns Go's single-dash long flags into the double-dash ones that clap reads.
///
/// Only names in `long_flags` are touched, and nothing after `--`. A switch in `switches`
/// may carry a value: `-halt=false` is passed on as `--halt=false`, and bare `-halt` as
/// `--halt=true`, so that the switch can be declared to take a value.
pub fn double_dashes(
    args: impl IntoIterator<Item = OsString>,
    long_flags: &[&str],
    switches: &[&str],
) -> Vec<OsString> {
    let mut seen_end = false;
    args.into_iter()
        .map(|arg| {
            let Some(text) = arg.to_str() else { return arg };
            seen_end |= text == "--";
            let Some(flag) = text.strip_prefix('-').filter(|_| !seen_end) else {
                return arg;
            };
            let flag = flag.strip_prefix('-').unwrap_or(flag);
            let name = flag.split_once('=').map_or(flag, |(name, _)| name);
            if switches.contains(&name) && name == flag {
                return format!("--{flag}=true").into();
            }
            let known = long_flags.contains(&name) || switches.contains(&name);
            if known {
                format!("--{flag}").into()
            } else {
                arg
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewrite(args: &[&str]) -> Vec<String> {
        let args = args.iter().map(OsString::from);
        let args = double_dashes(args, &["workdir", "listen"], &["halt"]);
        args.into_iter().map(|a| a.into_string().unwrap()).collect()
    }

    #[test]
    fn single_dashes_become_double_for_known_names() {
        assert_eq!(
            rewrite(&["-workdir=x", "-listen", ":80"]),
            ["--workdir=x", "--listen", ":80"]
        );
        assert_eq!(
            rewrite(&["--workdir", "x", "-h", "-v"]),
            ["--workdir", "x", "-h", "-v"]
        );
    }

    #[test]
    fn switches_always_carry_a_value() {
        assert_eq!(
            rewrite(&["-halt", "--halt=false", "-halt=0"]),
            ["--halt=true", "--halt=false", "--halt=0"]
        );
    }

    #[test]
    fn nothing_is_touched_after_the_end_of_flags() {
        assert_eq!(rewrite(&["--", "-halt"]), ["--", "-halt"]);
    }
}
