//! Names of benchmarks: a base, parts, and the number of processors.

/// The name of a benchmark without the word `Benchmark`: `Sort/n=10/kind=quick-8`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(String);

impl Name {
    /// A name as it is after the word `Benchmark`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// All of it: `Sort/n=10-8`.
    pub fn full(&self) -> &str {
        &self.0
    }

    /// Without the number of processors: `Sort/n=10`.
    pub fn without_procs(&self) -> &str {
        self.split().0
    }

    /// The number of processors, when it is said.
    pub fn procs(&self) -> Option<u32> {
        self.split().1
    }

    /// The part before the first slash: `Sort`.
    pub fn base(&self) -> &str {
        let whole = self.without_procs();
        whole.split('/').next().unwrap_or(whole)
    }

    /// Parts of the form `key=value`; a part without a key is `sub1`, `sub2`, by its place.
    pub fn parts(&self) -> impl Iterator<Item = (String, &str)> {
        let parts = self.without_procs().split('/').skip(1).enumerate();
        parts.map(|(n, part)| match part.split_once('=') {
            Some((key, value)) => (key.to_owned(), value),
            None => (format!("sub{}", n + 1), part),
        })
    }

    fn split(&self) -> (&str, Option<u32>) {
        match self.0.rsplit_once('-') {
            Some((name, procs)) if !name.is_empty() && !procs.starts_with('0') => {
                match procs.parse() {
                    Ok(procs) if procs > 0 => (name, Some(procs)),
                    _ => (&self.0, None),
                }
            }
            _ => (&self.0, None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_and_processors() {
        let name = Name::new("Sort/n=10/quick-8");
        assert_eq!(name.base(), "Sort");
        assert_eq!(name.without_procs(), "Sort/n=10/quick");
        assert_eq!(name.procs(), Some(8));
        let parts: Vec<_> = name.parts().collect();
        assert_eq!(
            parts,
            [("n".to_owned(), "10"), ("sub2".to_owned(), "quick")]
        );
        for none in [
            "Sort",
            "Sort-",
            "Sort-x",
            "Sort-0",
            "-8",
            "Sort-99999999999",
        ] {
            assert_eq!(Name::new(none).procs(), None, "{none}");
            assert_eq!(Name::new(none).without_procs(), none);
        }
    }
}
