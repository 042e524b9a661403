//! Environments as lists of `NAME=value`: later assignments win.

/// Whether names of variables differ by case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameCase {
    /// `Path` and `PATH` are two variables.
    Distinct,
    /// They are one, as on Windows.
    Folded,
}

impl NameCase {
    /// The rule of the system this is compiled for.
    pub const HERE: Self = if cfg!(windows) {
        Self::Folded
    } else {
        Self::Distinct
    };

    fn same(self, a: &str, b: &str) -> bool {
        match self {
            Self::Distinct => a == b,
            Self::Folded => a.eq_ignore_ascii_case(b),
        }
    }
}

/// Which of its places a variable keeps that is assigned more than once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The first one, as the Go implementation of 2020.
    First,
    /// The last one, as later ones.
    Last,
}

/// Leaves one assignment of each variable: the last value wins. Entries that assign nothing
/// (without `=`, or with `=` at the front) stay as they are.
#[must_use]
pub fn dedup(env: &[String], case: NameCase, place: Place) -> Vec<String> {
    let mut out: Vec<String> = Vec::with_capacity(env.len());
    let mut seen = Vec::with_capacity(env.len());
    // From the end, so that the first one met is the one that wins.
    let winners: Vec<bool> = env
        .iter()
        .rev()
        .map(|entry| !meets_again(entry, case, &mut seen))
        .collect();
    let last_wins = env
        .iter()
        .zip(winners.into_iter().rev())
        .filter(|(_, wins)| *wins);
    match place {
        Place::Last => out.extend(last_wins.map(|(entry, _)| entry.clone())),
        Place::First => {
            let mut placed = Vec::with_capacity(env.len());
            for entry in env {
                if !meets_again(entry, case, &mut placed) {
                    let winner = name(entry).and_then(|name| find(env, name, case));
                    out.push(winner.unwrap_or(entry).to_owned());
                }
            }
        }
    }
    out
}

/// Whether the variable that this entry assigns was met before; notes it.
fn meets_again<'e>(entry: &'e str, case: NameCase, seen: &mut Vec<&'e str>) -> bool {
    let Some(name) = name(entry) else {
        return false;
    };
    let again = seen.iter().any(|other| case.same(other, name));
    if !again {
        seen.push(name);
    }
    again
}

/// The name that an entry assigns; `None` when it assigns nothing.
fn name(entry: &str) -> Option<&str> {
    entry
        .split_once('=')
        .map(|(name, _)| name)
        .filter(|name| !name.is_empty())
}

/// The last entry that assigns a variable.
fn find<'e>(env: &'e [String], wanted: &str, case: NameCase) -> Option<&'e str> {
    let assigns = |entry: &&String| name(entry).is_some_and(|name| case.same(name, wanted));
    env.iter().rev().find(assigns).map(String::as_str)
}

/// The value of a variable: that of its last assignment.
#[must_use]
pub fn get<'e>(env: &'e [String], wanted: &str, case: NameCase) -> Option<&'e str> {
    find(env, wanted, case)?
        .split_once('=')
        .map(|(_, value)| value)
}

/// Removes every assignment of a variable.
pub fn remove(env: &mut Vec<String>, unwanted: &str, case: NameCase) {
    env.retain(|entry| !name(entry).is_some_and(|name| case.same(name, unwanted)));
}

/// Assigns a variable, at the end.
pub fn set(env: &mut Vec<String>, name: &str, value: &str, case: NameCase) {
    remove(env, name, case);
    env.push(format!("{name}={value}"));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn list(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    /// The vectors of the protocol.
    #[test]
    fn the_last_value_wins_at_the_asked_place() {
        use NameCase::{Distinct, Folded};
        use Place::{First, Last};
        let rows = [
            ("k1=v1 k2=v2 K1=v3", Folded, First, "K1=v3 k2=v2"),
            ("k1=v1 K1=V2 k1=v3", Distinct, First, "k1=v3 K1=V2"),
            ("k1=v1 k2=v2 K1=v3", Folded, Last, "k2=v2 K1=v3"),
            ("k1=v1 K1=V2 k1=v3", Distinct, Last, "K1=V2 k1=v3"),
            (
                "odd =C:=x odd =C:=x a=1",
                Distinct,
                First,
                "odd =C:=x odd =C:=x a=1",
            ),
        ];
        for (env, case, place, expected) in rows {
            assert_eq!(
                dedup(&list(env), case, place),
                list(expected),
                "{env} {case:?} {place:?}"
            );
        }
    }

    #[test]
    fn variables_are_read_and_set() {
        let mut env = list("A=1 PATH=/bin a=2 A=3=4 odd");
        assert_eq!(get(&env, "A", NameCase::Distinct), Some("3=4"));
        assert_eq!(get(&env, "path", NameCase::Folded), Some("/bin"));
        assert_eq!(get(&env, "odd", NameCase::Distinct), None);
        set(&mut env, "A", "5", NameCase::Distinct);
        assert_eq!(env, list("PATH=/bin a=2 odd A=5"));
        remove(&mut env, "A", NameCase::Folded);
        assert_eq!(env, list("PATH=/bin odd"));
    }

    proptest! {
        #[test]
        fn dedup_is_idempotent_and_loses_no_variable(
            env in proptest::collection::vec("[ab=AB]{0,4}", 0..10),
            folded in any::<bool>(),
            first in any::<bool>(),
        ) {
            let case = if folded { NameCase::Folded } else { NameCase::Distinct };
            let place = if first { Place::First } else { Place::Last };
            let once = dedup(&env, case, place);
            prop_assert_eq!(&dedup(&once, case, place), &once);
            for entry in &env {
                match name(entry) {
                    Some(name) => prop_assert_eq!(get(&once, name, case), get(&env, name, case)),
                    None => prop_assert!(once.contains(entry)),
                }
            }
        }
    }
}
