//! Where effects go.

use std::time::Duration;

use async_trait::async_trait;
use build_core::reader::{Answer, Call};
use build_core::{Error, ErrorKind};

/// Makes effects of one sort.
#[async_trait]
pub trait Sink: Send + Sync + 'static {
    /// How long a call may take. Afterwards it is in doubt.
    fn deadline(&self) -> Duration {
        Duration::from_secs(30)
    }

    /// Makes it. Called again for an effect of which nobody knows whether it was made, except
    /// when that can be asked for.
    async fn make(&self, call: &Call) -> Made;

    /// Looks whether it was made, for [`build_core::reader::How::Probe`]. The default cannot.
    async fn is_made(&self, call: &Call) -> Made {
        Made::Never(format!(
            "{} cannot be asked what it has done",
            call.effect.to
        ))
    }
}

/// What came of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Made {
    /// It is made.
    Yes,
    /// It was not made, and is worth another try; asked for, it simply is not.
    No(Trouble),
    /// It may have been made.
    Perhaps(Trouble),
    /// It will never be accepted; one sentence.
    Never(String),
}

/// Why something was not made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// One sentence.
    pub text: String,
    /// The pause that the receiver asked for.
    pub pause: Option<Duration>,
}

impl From<String> for Trouble {
    fn from(text: String) -> Self {
        Self { text, pause: None }
    }
}

impl From<Error> for Made {
    /// An error before anything was sent.
    fn from(error: Error) -> Self {
        let text = error.chain().to_string();
        match error.kind() {
            ErrorKind::Invalid | ErrorKind::Unsupported | ErrorKind::Bug => Self::Never(text),
            _ => Self::No(text.into()),
        }
    }
}

impl Made {
    /// The answer for the bookkeeping; `asked` when it was a question.
    pub(super) fn answer(self, asked: bool) -> Answer {
        let failed = |trouble: Trouble, in_doubt| Answer::Failed {
            text: trouble.text,
            in_doubt,
            pause: trouble.pause,
        };
        match self {
            Self::Yes => Answer::Made,
            Self::No(_) if asked => Answer::NotMade,
            Self::No(trouble) => failed(trouble, false),
            Self::Perhaps(trouble) => failed(trouble, true),
            Self::Never(text) => Answer::Refused(text),
        }
    }
}
