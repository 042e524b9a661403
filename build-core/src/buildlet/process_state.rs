//! How a command ended, as the text of the `Process-State` trailer.

use std::borrow::Cow;

use super::ExecOutcome;

/// Names of the signals of Unix systems, by number from 1.
const SIGNALS: [&str; 15] = [
    "hangup",
    "interrupt",
    "quit",
    "illegal instruction",
    "trace/breakpoint trap",
    "aborted",
    "bus error",
    "floating point exception",
    "killed",
    "user defined signal 1",
    "segmentation fault",
    "user defined signal 2",
    "broken pipe",
    "alarm clock",
    "terminated",
];
const CORE_DUMPED: &str = " (core dumped)";

/// The name of a signal: `killed` for 9; `signal 42` for one without a name.
#[must_use]
pub fn signal_name(number: i32) -> Cow<'static, str> {
    let at = usize::try_from(number)
        .ok()
        .and_then(|number| number.checked_sub(1));
    match at.and_then(|at| SIGNALS.get(at)) {
        Some(&name) => name.into(),
        None => format!("signal {number}").into(),
    }
}

/// The number of a signal from its name, a core dump mentioned or not.
#[must_use]
pub fn signal_number(name: &str) -> Option<i32> {
    let name = name.strip_suffix(CORE_DUMPED).unwrap_or(name);
    let known = SIGNALS.iter().zip(1..).find(|(known, _)| **known == name);
    known
        .map(|(_, number)| number)
        .or_else(|| name.strip_prefix("signal ")?.parse().ok())
}

impl ExecOutcome {
    /// The outcome of a process that exited.
    #[must_use]
    pub fn of_exit(code: i32) -> Self {
        if code == 0 {
            Self::Ok
        } else {
            Self::Exit(code)
        }
    }

    /// The outcome of a process that a signal ended.
    #[must_use]
    pub fn of_signal(number: i32, core_dumped: bool) -> Self {
        let core = if core_dumped { CORE_DUMPED } else { "" };
        Self::Signal(format!("{}{core}", signal_name(number)))
    }

    /// The text of the trailer: one line that a header can carry, whatever the system said.
    #[must_use]
    pub fn to_process_state(&self) -> String {
        let line = self.to_string().replace(char::is_control, " ");
        line.trim().to_owned()
    }

    /// Reads the text of a trailer. Everything unknown is why it did not start, in the
    /// system's words: `fork/exec /w/nosuch: no such file or directory`.
    #[must_use]
    pub fn parse_process_state(text: &str) -> Self {
        let signal = text
            .strip_prefix("signal: ")
            .map(|name| Self::Signal(name.to_owned()));
        let limit = || Some(Self::Limit(text.strip_prefix("limit: ")?.to_owned()));
        let exit = || parse_exit(text.strip_prefix("exit status ")?);
        let plain = || {
            Self::PLAIN
                .iter()
                .find(|outcome| outcome.to_string() == text)
                .cloned()
        };
        let known = signal.or_else(exit).or_else(limit).or_else(plain);
        known.unwrap_or_else(|| Self::NotStarted(text.to_owned()))
    }

    /// The outcomes whose text is always the same, and nobody else's.
    const PLAIN: [Self; 5] = [
        Self::Ok,
        Self::TimedOut,
        Self::Silent,
        Self::DiskQuota,
        Self::Lost,
    ];

    /// The exit status, if the command exited.
    #[must_use]
    pub fn exit_code(&self) -> Option<i32> {
        match self {
            Self::Ok => Some(0),
            Self::Exit(code) => Some(*code),
            _ => None,
        }
    }

    /// The number of the signal that ended the command, if its name is known.
    #[must_use]
    pub fn signal(&self) -> Option<i32> {
        match self {
            Self::Signal(name) => signal_number(name),
            Self::Killed => Some(9),
            _ => None,
        }
    }
}

/// Decimal, or `0x` and hex as Windows writes large ones.
fn parse_exit(text: &str) -> Option<ExecOutcome> {
    let code = match text.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16).ok()?.cast_signed(),
        None => text
            .parse()
            .or_else(|_| text.parse::<u32>().map(u32::cast_signed))
            .ok()?,
    };
    Some(ExecOutcome::of_exit(code))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn texts_of_the_protocol() {
        let rows = [
            (ExecOutcome::of_exit(0), "ok"),
            (ExecOutcome::of_exit(3), "exit status 3"),
            (ExecOutcome::of_signal(9, false), "signal: killed"),
            (
                ExecOutcome::of_signal(11, false),
                "signal: segmentation fault",
            ),
            (
                ExecOutcome::of_signal(6, true),
                "signal: aborted (core dumped)",
            ),
            (
                ExecOutcome::of_signal(5, false),
                "signal: trace/breakpoint trap",
            ),
            (ExecOutcome::of_signal(64, false), "signal: signal 64"),
            (ExecOutcome::TimedOut, "timed out"),
            (ExecOutcome::Silent, "no output for too long"),
            (ExecOutcome::DiskQuota, "disk quota"),
            (ExecOutcome::Limit("memory".into()), "limit: memory"),
            (ExecOutcome::Lost, "lost"),
            (
                ExecOutcome::NotStarted("fork/exec /w/nosuch: no such file or directory".into()),
                "fork/exec /w/nosuch: no such file or directory",
            ),
            (
                ExecOutcome::NotStarted(r#"exec: "x": executable file not found in $PATH"#.into()),
                r#"exec: "x": executable file not found in $PATH"#,
            ),
        ];
        for (outcome, text) in rows {
            assert_eq!(outcome.to_process_state(), text);
            assert_eq!(ExecOutcome::parse_process_state(text), outcome);
        }
        assert_eq!(ExecOutcome::Killed.to_process_state(), "signal: killed");
    }

    #[test]
    fn codes_and_signals_are_told() {
        assert_eq!(ExecOutcome::of_exit(7).exit_code(), Some(7));
        assert_eq!(ExecOutcome::Ok.exit_code(), Some(0));
        assert_eq!(ExecOutcome::of_signal(11, true).signal(), Some(11));
        assert_eq!(ExecOutcome::of_signal(40, false).signal(), Some(40));
        assert_eq!(ExecOutcome::Killed.signal(), Some(9));
        assert_eq!(ExecOutcome::Lost.exit_code(), None);
        for number in 1..=15 {
            assert_eq!(signal_number(&signal_name(number)), Some(number));
        }
    }

    #[test]
    fn large_windows_codes_are_read() {
        let access_violation = ExecOutcome::Exit(0xc000_0005_u32.cast_signed());
        for text in ["exit status 0xc0000005", "exit status 3221225477"] {
            assert_eq!(ExecOutcome::parse_process_state(text), access_violation);
        }
        let odd = ExecOutcome::parse_process_state("exit status many");
        assert_eq!(odd, ExecOutcome::NotStarted("exit status many".into()));
    }

    proptest! {
        #[test]
        fn the_trailer_is_one_line(text in "[\\x00-\u{ff}]{0,40}") {
            let state = ExecOutcome::NotStarted(text).to_process_state();
            prop_assert!(!state.chars().any(char::is_control) && state.trim() == state);
            let again = ExecOutcome::parse_process_state(&state);
            prop_assert_eq!(again.to_process_state(), state);
        }
    }
}
