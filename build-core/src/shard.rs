//! Tests are spread over machines by how long they took before.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap};
use std::time::Duration;

use crate::name::Name;

/// How long a test is taken to run that was never seen.
pub const UNKNOWN_DURATION: Duration = Duration::from_secs(3);
/// How long a chunk of tests run in one command should take.
pub const CHUNK_DURATION: Duration = Duration::from_secs(10);

/// How long tests took before: the median of the samples for each name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Durations(HashMap<Name, Duration>);

impl Durations {
    /// The medians of `samples`; of an even number the lower middle one.
    pub fn of_samples<N: Into<Name>>(samples: impl IntoIterator<Item = (N, Duration)>) -> Self {
        let mut all: HashMap<Name, Vec<Duration>> = HashMap::new();
        for (name, took) in samples {
            all.entry(name.into()).or_default().push(took);
        }
        Self(
            all.into_iter()
                .map(|(name, took)| (name, median(took)))
                .collect(),
        )
    }

    /// How long `test` is expected to take.
    pub fn of(&self, test: impl AsRef<[u8]>) -> Duration {
        let known = self.0.get(test.as_ref()).copied();
        known.unwrap_or(UNKNOWN_DURATION)
    }
}

fn median(mut samples: Vec<Duration>) -> Duration {
    let middle = (samples.len() - 1) / 2;
    *samples.select_nth_unstable(middle).1
}

/// The names that a listing command printed: separated by white space, each once, in order.
pub fn parse_listing(printed: &[u8]) -> Vec<Name> {
    let is_space = |byte: &u8| byte.is_ascii_whitespace() || *byte == 0x0b;
    let mut seen = BTreeSet::new();
    let mut names = Vec::new();
    // Most listings are text, and text has spaces beyond ASCII.
    let words: Vec<&[u8]> = match std::str::from_utf8(printed) {
        Ok(text) => text.split_whitespace().map(str::as_bytes).collect(),
        Err(_) => printed
            .split(is_space)
            .filter(|word| !word.is_empty())
            .collect(),
    };
    for word in words {
        if seen.insert(word) {
            names.push(word.into());
        }
    }
    names
}

/// Spreads tests over at most `shards` machines: the longest first, each to the machine with
/// the least to do. Inside a shard the order of `tests` is kept. The result holds positions
/// in `tests`, each exactly once; no shard is empty.
pub fn spread(tests: &[Name], shards: u32, past: &Durations) -> Vec<Vec<u32>> {
    let shards = (shards.max(1) as usize).min(tests.len());
    let mut by_length: Vec<(Reverse<Duration>, u32)> = (0u32..)
        .zip(tests)
        .map(|(at, name)| (Reverse(past.of(name)), at))
        .collect();
    by_length.sort_unstable();
    let mut loads: BinaryHeap<_> = (0..shards)
        .map(|n| Reverse((Duration::ZERO, 0usize, n)))
        .collect();
    let mut result = vec![Vec::new(); shards];
    for (Reverse(took), at) in by_length {
        // The count breaks ties, so that tests of no length are spread as well.
        let Some(Reverse((load, count, shard))) = loads.pop() else {
            break;
        };
        result[shard].push(at);
        loads.push(Reverse((load + took, count + 1, shard)));
    }
    for shard in &mut result {
        shard.sort_unstable();
    }
    result
}

/// Cuts tests, in order, into chunks that take [`CHUNK_DURATION`] together at most; a longer
/// test is a chunk of its own.
///
/// Protocol facts: the order of tests on the first machine of a Go build.
///
/// ```
/// use build_core::shard::{Durations, in_order_chunks};
/// use std::time::Duration;
/// let past = Durations::of_samples([("a", Duration::from_secs(6)), ("b", Duration::from_secs(5))]);
/// assert_eq!(in_order_chunks(&["a", "b", "c"], &past), [vec!["a"], vec!["b", "c"]]);
/// ```
pub fn in_order_chunks<'a>(tests: &[&'a str], past: &Durations) -> Vec<Vec<&'a str>> {
    let mut chunks: Vec<Vec<&str>> = Vec::new();
    let mut length = Duration::ZERO;
    for test in tests {
        let took = past.of(test);
        match chunks.last_mut() {
            Some(chunk) if length + took <= CHUNK_DURATION => {
                chunk.push(test);
                length += took;
            }
            _ => {
                chunks.push(vec![test]);
                length = took;
            }
        }
    }
    chunks
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn chunks_agree_with_the_protocols_example() {
        let names = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k"];
        let past = Durations::of_samples(
            (2u64..)
                .zip(names)
                .map(|(n, name)| (name, Duration::from_millis(n * 500))),
        );
        let chunks: Vec<String> = in_order_chunks(&names, &past)
            .iter()
            .map(|chunk| chunk.concat())
            .collect();
        assert_eq!(chunks, ["abcde", "fg", "hi", "j", "k"]);
    }

    #[test]
    fn long_tests_go_first_and_to_different_machines() {
        let tests = ["s1", "s2", "long", "longer"].map(Name::from);
        let past = Durations::of_samples([
            ("s1", Duration::from_secs(1)),
            ("s2", Duration::from_secs(1)),
            ("long", Duration::from_secs(8)),
            ("longer", Duration::from_secs(9)),
        ]);
        assert_eq!(spread(&tests, 2, &past), [vec![1, 3], vec![0, 2]]);
    }

    #[test]
    fn medians_and_unknown_tests() {
        let past = Durations::of_samples([1, 9, 2].map(|s| ("a", Duration::from_secs(s))));
        assert_eq!(past.of("a"), Duration::from_secs(2));
        assert_eq!(past.of("b"), UNKNOWN_DURATION);
    }

    #[test]
    fn a_listing_is_words_each_once() {
        assert_eq!(parse_listing(b" a\tb\n\na c\n"), ["a", "b", "c"]);
        let names = parse_listing(b"a\xff b\na\xff\n");
        assert_eq!(names, [Name::from(b"a\xff".to_vec()), "b".into()]);
    }

    proptest! {
        #[test]
        fn every_test_is_in_one_shard(lengths in prop::collection::vec(0u64..20, 0..60), shards in 0u32..9) {
            let tests: Vec<Name> = (0..lengths.len()).map(|n| format!("t{n}").into()).collect();
            let past = Durations::of_samples(
                tests.iter().zip(&lengths).map(|(t, s)| (t.clone(), Duration::from_secs(*s))),
            );
            let split = spread(&tests, shards, &past);
            let mut all: Vec<u32> = split.iter().flatten().copied().collect();
            all.sort_unstable();
            prop_assert_eq!(all, (0..tests.len() as u32).collect::<Vec<_>>());
            prop_assert!(split.iter().all(|shard| !shard.is_empty()));
            prop_assert!(split.len() <= shards.max(1) as usize);
        }
    }
}
