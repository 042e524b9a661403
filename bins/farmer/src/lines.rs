//! The output of several steps on one terminal, line by line, each with its step's name.

use std::collections::HashMap;
use std::hash::Hash;

/// Cuts streams into lines and puts a name before each. Bytes are passed on as they are.
pub(crate) struct Lines<K> {
    partial: HashMap<K, Vec<u8>>,
}

/// Longest line held back while its end has not come.
const MAX_PARTIAL: usize = 64 << 10;

impl<K: Hash + Eq + Clone> Lines<K> {
    pub(crate) fn new() -> Self {
        Self {
            partial: HashMap::new(),
        }
    }

    /// What can be shown after `bytes` came from `key`.
    pub(crate) fn push(&mut self, key: &K, prefix: &str, bytes: &[u8]) -> Vec<u8> {
        let partial = self.partial.entry(key.clone()).or_default();
        let mut shown = Vec::with_capacity(bytes.len() + prefix.len());
        for piece in bytes.split_inclusive(|b| *b == b'\n') {
            partial.extend_from_slice(piece);
            if piece.ends_with(b"\n") || partial.len() >= MAX_PARTIAL {
                show(&mut shown, prefix, partial);
                partial.clear();
            }
        }
        shown
    }

    /// The rest of `key`, which has ended: a last line without its end gets one.
    pub(crate) fn end(&mut self, key: &K, prefix: &str) -> Vec<u8> {
        let mut shown = Vec::new();
        if let Some(partial) = self.partial.remove(key).filter(|p| !p.is_empty()) {
            show(&mut shown, prefix, &partial);
        }
        shown
    }
}

fn show(out: &mut Vec<u8>, prefix: &str, line: &[u8]) {
    out.extend_from_slice(prefix.as_bytes());
    out.extend_from_slice(line);
    if !line.ends_with(b"\n") {
        out.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_two_steps_are_not_mixed() {
        let mut lines = Lines::new();
        assert_eq!(lines.push(&1, "a | ", b"one\ntw"), b"a | one\n");
        assert_eq!(lines.push(&2, "b | ", b"x\n"), b"b | x\n");
        assert_eq!(lines.push(&1, "a | ", b"o\n"), b"a | two\n");
        assert_eq!(lines.push(&1, "a | ", b"rest"), b"");
        assert_eq!(lines.end(&1, "a | "), b"a | rest\n");
        assert_eq!(lines.end(&1, "a | "), b"");
    }

    #[test]
    fn a_line_without_end_is_not_held_for_ever() {
        let mut lines = Lines::new();
        let shown = lines.push(&1, "", &vec![b'x'; MAX_PARTIAL]);
        assert_eq!(shown.len(), MAX_PARTIAL + 1);
    }
}
