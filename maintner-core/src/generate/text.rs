//! Text that looks like prose and code: words of a fixed vocabulary, common
//! ones often.

use super::rng::{Rng, Stream};

const WORDS: usize = 4_000;
const SLOTS: usize = 1 << 16;

/// The vocabulary and a table to draw from it by frequency.
#[derive(Debug)]
pub(super) struct Vocabulary {
    words: Vec<String>,
    slots: Vec<u16>,
}

impl Vocabulary {
    /// The same for all logs.
    pub(super) fn new() -> Self {
        let mut rng = Rng::new(0, Stream::Vocabulary, 0);
        let words: Vec<String> = (0..WORDS).map(|_| word(&mut rng)).collect();
        Self {
            words,
            slots: slots(),
        }
    }

    /// A word for a name; each index has one.
    pub(super) fn word(&self, index: usize) -> &str {
        &self.words[index % WORDS]
    }

    /// Appends about `bytes` bytes of sentences and code blocks.
    pub(super) fn prose(&self, rng: &mut Rng, out: &mut String, bytes: usize) {
        let end = out.len() + bytes;
        let mut line = 0;
        let mut draws = 0;
        while out.len() < end {
            if line > 70 {
                self.end_line(rng, out, end);
                line = 0;
            } else if line > 0 {
                out.push(' ');
            }
            if draws == 0 {
                draws = rng.next();
            }
            let slot = usize::try_from(draws & 0xffff).expect("16 bits");
            draws >>= 16;
            let word = &self.words[usize::from(self.slots[slot])];
            out.push_str(word);
            line += word.len() + 1;
        }
    }

    /// One line of about `bytes` bytes.
    pub(super) fn line(&self, rng: &mut Rng, bytes: usize) -> String {
        let mut text = String::with_capacity(bytes + 16);
        while text.len() < bytes {
            if !text.is_empty() {
                text.push(' ');
            }
            let slot = rng.index(SLOTS);
            text.push_str(&self.words[usize::from(self.slots[slot])]);
        }
        text
    }

    fn end_line(&self, rng: &mut Rng, out: &mut String, end: usize) {
        match rng.below(32) {
            0..=3 => out.push_str(".\n\n"),
            4 if out.len() + 200 < end => {
                out.push_str(":\n\n```go\nfunc ");
                out.push_str(self.word(rng.index(WORDS)));
                out.push_str("(t *testing.T) {\n\tif got, want := f(), 42; got != want {\n");
                out.push_str("\t\tt.Errorf(\"f() = %d; want %d\", got, want)\n\t}\n}\n```\n\n");
            }
            _ => out.push('\n'),
        }
    }
}

fn word(rng: &mut Rng) -> String {
    const HEADS: [&str; 16] = [
        "b", "c", "d", "f", "g", "l", "m", "n", "p", "r", "s", "t", "v", "st", "ch", "pr",
    ];
    const HEARTS: [&str; 8] = ["a", "e", "i", "o", "u", "ea", "io", "é"];
    const TAILS: [&str; 8] = ["", "", "n", "r", "s", "t", "ng", "ck"];
    let mut word = String::new();
    for _ in 0..=rng.below(3) {
        word.push_str(rng.pick(&HEADS));
        // Few words have the accent of the last one.
        let accents = usize::from(rng.chance(60_000));
        word.push_str(HEARTS[rng.index(7 + accents)]);
        word.push_str(rng.pick(&TAILS));
    }
    word
}

/// About Zipf with exponent 1.1, in integers so that all machines agree: the
/// tenth root is approximated from the number of binary digits.
fn slots() -> Vec<u16> {
    let weight = |rank: u64| (1u64 << 40) / (rank * (100 + 7 * u64::from(rank.ilog2())));
    let total: u64 = (1..=WORDS as u64).map(weight).sum();
    let mut slots = Vec::with_capacity(SLOTS);
    let mut sum = 0;
    for rank in 1..=WORDS as u64 {
        sum += weight(rank);
        let filled = usize::try_from(sum * SLOTS as u64 / total).expect("at most SLOTS");
        let word = u16::try_from(rank - 1).expect("fewer than 65536 words");
        slots.resize(filled.max(slots.len()), word);
    }
    slots
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prose_has_the_asked_for_length() {
        let vocabulary = Vocabulary::new();
        assert_eq!(vocabulary.slots.len(), SLOTS);
        let mut rng = Rng::new(1, Stream::Issue, 0);
        for bytes in [0, 1, 100, 5_000] {
            let mut text = String::new();
            vocabulary.prose(&mut rng, &mut text, bytes);
            assert!(
                text.len() >= bytes && text.len() < bytes + 150,
                "{bytes}: {}",
                text.len()
            );
        }
    }

    #[test]
    fn common_words_are_common() {
        let vocabulary = Vocabulary::new();
        let first = vocabulary.slots.iter().filter(|&&word| word == 0).count();
        assert!((4_000..12_000).contains(&first), "{first}");
    }
}
