//! What a step runs: a program with its arguments, or a line for a shell that is named.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

/// What a step runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CommandLine {
    /// A program and its arguments, as they are: nothing reads them before.
    Argv(Vec<String>),
    /// Text for a shell.
    Shell {
        /// The shell, one of [`Shell`]; another program is started with `-c` and the text.
        shell: String,
        /// The text.
        script: String,
    },
}

impl CommandLine {
    /// The shell that is meant when none is named.
    pub const SHELL: &str = "sh";

    /// What runs as text, for people and for guesses about it: the script, or the words.
    pub fn text(&self) -> Cow<'_, str> {
        match self {
            Self::Argv(words) => Cow::Owned(words.join(" ")),
            Self::Shell { script, .. } => Cow::Borrowed(script),
        }
    }

    /// The shell that reads it; `None` for a program and its arguments.
    pub fn shell(&self) -> Option<&str> {
        match self {
            Self::Argv(_) => None,
            Self::Shell { shell, .. } => Some(shell),
        }
    }
}

impl From<&str> for CommandLine {
    fn from(script: &str) -> Self {
        script.to_owned().into()
    }
}

impl From<String> for CommandLine {
    fn from(script: String) -> Self {
        let shell = Self::SHELL.to_owned();
        Self::Shell { shell, script }
    }
}

impl fmt::Display for CommandLine {
    /// A list of words is shown as one, so that it is not taken for a line that a shell reads.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Argv(words) => write!(f, "{words:?}"),
            Self::Shell { shell, script } if shell == Self::SHELL => f.write_str(script),
            Self::Shell { shell, script } => write!(f, "{script} ({shell})"),
        }
    }
}

/// A shell that a step may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Shell {
    /// `/bin/sh`, the shell of POSIX.
    Sh,
    /// `bash`, on `PATH`.
    Bash,
    /// PowerShell 7, `pwsh` on `PATH`.
    Pwsh,
    /// The command processor of Windows.
    Cmd,
    /// The shell of Plan 9.
    Rc,
}

impl Shell {
    /// Every one.
    pub const ALL: [Self; 5] = [Self::Sh, Self::Bash, Self::Pwsh, Self::Cmd, Self::Rc];

    /// The name by which a step names it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sh => "sh",
            Self::Bash => "bash",
            Self::Pwsh => "pwsh",
            Self::Cmd => "cmd",
            Self::Rc => "rc",
        }
    }

    /// The one called `name`.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|shell| shell.as_str() == name)
    }

    /// The program that is started, and what comes before the text.
    pub fn program(self) -> (&'static str, &'static [&'static str]) {
        match self {
            Self::Sh => ("/bin/sh", &["-c"]),
            Self::Bash => ("bash", &["-c"]),
            Self::Pwsh => (
                "pwsh",
                &["-NoLogo", "-NoProfile", "-NonInteractive", "-Command"],
            ),
            // Without the registry's commands; the outer quotes alone are taken off.
            Self::Cmd => ("cmd", &["/d", "/s", "/c"]),
            Self::Rc => ("rc", &["-c"]),
        }
    }

    /// Whether any text can be one word of a line: `cmd` replaces `%NAME%` even within quotes.
    pub fn can_quote(self) -> bool {
        self != Self::Cmd
    }

    /// `text` as one word of a line, for a shell that [can quote](Self::can_quote).
    pub fn quote(self, text: &str) -> String {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-./:,+@%=".contains(c);
        match self {
            Self::Sh | Self::Bash if text.chars().all(is_plain) && !text.is_empty() => {
                text.to_owned()
            }
            Self::Sh | Self::Bash => format!("'{}'", text.replace('\'', r"'\''")),
            Self::Rc | Self::Cmd => format!("'{}'", text.replace('\'', "''")),
            Self::Pwsh => {
                let mut quoted = String::from("'");
                for c in text.chars() {
                    quoted.push(c);
                    // PowerShell takes typographic quotes for the plain one.
                    if matches!(c, '\'' | '\u{2018}'..='\u{201b}') {
                        quoted.push(c);
                    }
                }
                quoted + "'"
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_as_each_shell_reads_them() {
        let quoted = |shell: Shell| shell.quote("it's $x");
        assert_eq!(quoted(Shell::Sh), r"'it'\''s $x'");
        assert_eq!(quoted(Shell::Rc), "'it''s $x'");
        assert_eq!(quoted(Shell::Pwsh), "'it''s $x'");
        assert_eq!(
            Shell::Pwsh.quote("a\u{2019}; rm"),
            "'a\u{2019}\u{2019}; rm'"
        );
        assert_eq!(Shell::Bash.quote("a::b"), "a::b");
        assert!(!Shell::Cmd.can_quote());
    }

    #[test]
    fn every_shell_is_found_by_its_name() {
        for shell in Shell::ALL {
            assert_eq!(Shell::named(shell.as_str()), Some(shell));
        }
        assert_eq!(Shell::named("zsh"), None);
    }
}
