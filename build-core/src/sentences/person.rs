//! People by name.

/// The name in `Name <mail>`.
pub fn person(author: &str) -> String {
    let name = author.split('<').next().unwrap_or_default().trim();
    if name.is_empty() { author } else { name }.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_are_called_by_name() {
        assert_eq!(person("Ada L <ada@example.org>"), "Ada L");
        assert_eq!(person("<ada@example.org>"), "<ada@example.org>");
    }
}
