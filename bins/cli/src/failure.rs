//! Exit codes, and the error that carries one to the end of a program.

use std::fmt::Write as _;

/// Exit codes of every program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// It did what was asked.
    Passed = 0,
    /// What was asked about failed: the build, the check.
    Failed = 1,
    /// Bad usage or bad configuration; nothing was done.
    Usage = 2,
    /// The machines or this program failed, not what was built.
    Infrastructure = 3,
    /// Stopped by a signal.
    Interrupted = 130,
}

/// The end of a program that is not success: a code, and the text for people.
#[derive(Debug)]
pub struct Failure {
    exit: Exit,
    text: Option<String>,
    hint: Option<String>,
}

impl Failure {
    /// What was asked about failed, and everything has been said.
    pub fn silent(exit: Exit) -> Self {
        Self {
            exit,
            text: None,
            hint: None,
        }
    }

    /// Stopped by a signal.
    pub fn interrupted() -> Self {
        Self::silent(Exit::Interrupted)
    }

    /// Bad usage or configuration, in one sentence, and what to do about it.
    pub fn usage(text: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            exit: Exit::Usage,
            text: Some(text.into()),
            hint: Some(hint.into()),
        }
    }

    /// An error of a library, with the exit code its kind asks for.
    pub fn because(
        exit: Exit,
        error: &(dyn std::error::Error + 'static),
        hint: Option<&str>,
    ) -> Self {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            let next = error.to_string();
            // Some libraries repeat the cause in their own text.
            if !text.ends_with(&next) {
                let _infallible = write!(text, ": {next}");
            }
            cause = error.source();
        }
        Self {
            exit,
            text: Some(text),
            hint: hint.map(str::to_owned),
        }
    }

    /// The exit code.
    pub fn exit(&self) -> Exit {
        self.exit
    }

    /// What to print on standard error, `None` when everything has been said.
    pub fn message(&self, program: &str) -> Option<String> {
        let text = self.text.as_ref()?;
        let hint = self.hint.as_ref().filter(|h| !h.is_empty());
        Some(match hint {
            Some(hint) => format!("{program}: {text}\n  hint: {hint}"),
            None => format!("{program}: {text}"),
        })
    }
}

impl From<anyhow::Error> for Failure {
    /// Infrastructure failed, unless the chain holds a [`Failure`]'s text already.
    fn from(error: anyhow::Error) -> Self {
        Self {
            exit: Exit::Infrastructure,
            text: Some(format!("{error:#}")),
            hint: None,
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::because(Exit::Infrastructure, &error, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_is_one_sentence_and_the_remedy() {
        let failure = Failure::usage("no such build \"B1\"", "list them with: farmer status");
        assert_eq!(
            failure.message("farmer").unwrap(),
            "farmer: no such build \"B1\"\n  hint: list them with: farmer status"
        );
        assert_eq!(Failure::silent(Exit::Failed).message("farmer"), None);
    }
}
