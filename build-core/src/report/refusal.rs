//! A farm that says no.

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind};

/// An answer that says no: a stable word for programs, one sentence, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The word of an [`ErrorKind`]; of a newer farm perhaps another one.
    pub code: String,
    /// One sentence.
    pub message: String,
    /// What to do about it.
    pub hint: String,
}

impl Refusal {
    /// A refusal of a kind.
    pub fn new(kind: ErrorKind, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            code: kind.code().to_owned(),
            message: message.into(),
            hint: hint.into(),
        }
    }

    /// The kind that its word stands for, when this version knows the word.
    pub fn kind(&self) -> Option<ErrorKind> {
        ErrorKind::from_code(&self.code)
    }

    /// The same as an error of whoever asked: of its kind, or of `otherwise` when the word is not
    /// known.
    pub fn into_error(self, otherwise: ErrorKind) -> Error {
        let kind = self.kind().unwrap_or(otherwise);
        let error = Error::new(kind, self.message);
        match self.hint.is_empty() {
            true => error,
            false => error.with_hint(self.hint),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_comes_back_from_its_word() {
        for kind in ErrorKind::ALL {
            let told = Refusal::new(kind, "no", "ask later");
            let json = serde_json::to_string(&told).unwrap();
            let read: Refusal = serde_json::from_str(&json).unwrap();
            assert_eq!(read, told);
            let error = read.into_error(ErrorKind::Bug);
            assert_eq!((error.kind(), error.hint()), (kind, Some("ask later")));
        }
        let newer = Refusal {
            code: "tired".into(),
            message: "no".into(),
            hint: String::new(),
        };
        let error = newer.into_error(ErrorKind::Unavailable);
        assert_eq!((error.kind(), error.hint()), (ErrorKind::Unavailable, None));
    }
}
