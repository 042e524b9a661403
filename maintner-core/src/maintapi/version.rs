//! Versions of Go releases as tags and branches name them.
//!
//! `build-core` has the same rules for builders. The two crates do not know each other, and
//! forty lines of rules that a table of the specification pins down in both are cheaper than a
//! third crate below them. Nothing here allocates.

/// Major, minor and patch of a release tag: `go1.16.3`, `go1.21.0`, `go2`.
///
/// ```
/// use maintner_core::maintapi::version::parse_tag;
/// assert_eq!(parse_tag("go1.16.3"), Some((1, 16, 3)));
/// assert_eq!(parse_tag("go1.21.0"), parse_tag("go1.21"));
/// assert_eq!(parse_tag("go1.16beta1"), None);
/// ```
pub fn parse_tag(tag: &str) -> Option<(u16, u16, u16)> {
    let [major, minor, patch] = numbers(tag.strip_prefix("go")?)?;
    Some((major, minor, patch))
}

/// Major and minor of a release branch: `release-branch.go1.16`.
///
/// ```
/// use maintner_core::maintapi::version::parse_release_branch;
/// assert_eq!(parse_release_branch("release-branch.go1.16"), Some((1, 16)));
/// assert_eq!(parse_release_branch("release-branch.go1.0"), None);
/// ```
pub fn parse_release_branch(branch: &str) -> Option<(u16, u16)> {
    let version = branch.strip_prefix("release-branch.go")?;
    let [major, minor, _] = numbers(version)?;
    let short = version.bytes().filter(|&byte| byte == b'.').count() < 2;
    (short && !version.ends_with(".0")).then_some((major, minor))
}

/// Major and minor of an internal branch: `internal-branch.go1.16-vendor`.
///
/// ```
/// use maintner_core::maintapi::version::parse_internal_branch;
/// assert_eq!(parse_internal_branch("internal-branch.go1.16-vendor"), Some((1, 16)));
/// assert_eq!(parse_internal_branch("internal-branch.go1.16"), None);
/// ```
pub fn parse_internal_branch(branch: &str) -> Option<(u16, u16)> {
    let (tag, suffix) = branch.strip_prefix("internal-branch.")?.split_once('-')?;
    match parse_tag(tag)? {
        (major, minor, 0) if !suffix.is_empty() => Some((major, minor)),
        _ => None,
    }
}

/// One to three numbers between dots, of which the first is not 0.
fn numbers(text: &str) -> Option<[u16; 3]> {
    let mut found = [0; 3];
    let mut places = found.iter_mut();
    for part in text.split('.') {
        *places.next()? = number(part)?;
    }
    (found[0] != 0).then_some(found)
}

/// One to three digits without a zero before others.
fn number(text: &str) -> Option<u16> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit());
    let canonical = matches!(text.len(), 1..=3) && (text == "0" || !text.starts_with('0'));
    (plain && canonical).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn check_27_the_documented_versions() {
        for (tag, version) in [
            ("go1", (1, 0, 0)),
            ("go1.2", (1, 2, 0)),
            ("go1.2.3", (1, 2, 3)),
            ("go23.45.67", (23, 45, 67)),
            ("go1.0", (1, 0, 0)),
            ("go1.2.0", (1, 2, 0)),
        ] {
            assert_eq!(parse_tag(tag), Some(version), "{tag}");
        }
        for tag in [
            "go",
            "go.",
            "go1.",
            "go1-bad",
            "go1.2.3.4",
            "go01",
            "go1000",
            "go+1",
            "go1.-2",
            "go0.0.0",
            "go1.00",
            "go1.2beta3",
            "1.2",
            "",
        ] {
            assert_eq!(parse_tag(tag), None, "{tag}");
        }
        for (branch, version) in [("1", (1, 0)), ("1.2", (1, 2)), ("23.45", (23, 45))] {
            let branch = format!("release-branch.go{branch}");
            assert_eq!(parse_release_branch(&branch), Some(version), "{branch}");
        }
        for branch in ["go1.0", "go1.2.3", "go1.10-security", "r59"] {
            let branch = format!("release-branch.{branch}");
            assert_eq!(parse_release_branch(&branch), None, "{branch}");
        }
        for (branch, version) in [
            ("internal-branch.go1.16-vendor", Some((1, 16))),
            ("internal-branch.go1-vendor", Some((1, 0))),
            ("internal-branch.go1.16-", None),
            ("internal-branch.go1.16.1-vendor", None),
            ("internal-branch.gox-vendor", None),
        ] {
            assert_eq!(parse_internal_branch(branch), version, "{branch}");
        }
    }

    proptest! {
        #[test]
        fn only_canonical_decimals(text in "[0-9+-]{0,5}") {
            let canonical = (0..1000u16).any(|number| number.to_string() == text);
            prop_assert_eq!(parse_tag(&format!("go1.{text}")).is_some(), canonical);
        }
    }
}
