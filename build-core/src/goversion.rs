//! Versions of Go releases as tags and branches name them.
//!
//! A version is a tuple (major, minor, patch), so that the order of tuples is the order of
//! releases. A number is written with one to three digits and no zero in front. Nothing here
//! allocates.

/// Major, minor and patch of a release tag such as `go1.16.3`; what is not named is 0.
///
/// Since Go 1.21 a first release ends in `.0`; [`parse_tag_2020`] refuses that, as the programs
/// of 2020 did.
///
/// ```
/// use build_core::goversion::parse_tag;
/// assert_eq!(parse_tag("go1.16.3"), Some((1, 16, 3)));
/// assert_eq!(parse_tag("go1.21.0"), parse_tag("go1.21"));
/// assert!(parse_tag("go1.16beta1").is_none(), "not a release");
/// assert!(parse_tag("go1.9") < parse_tag("go1.10"));
/// ```
pub fn parse_tag(tag: &str) -> Option<(u16, u16, u16)> {
    let [major, minor, patch] = numbers(tag.strip_prefix("go")?)?;
    Some((major, minor, patch))
}

/// As [`parse_tag`], by the rules of 2020: no tag ends in `.0`.
///
/// ```
/// use build_core::goversion::parse_tag_2020;
/// assert_eq!(parse_tag_2020("go1.16"), Some((1, 16, 0)));
/// assert_eq!(parse_tag_2020("go1.16.0"), None);
/// ```
pub fn parse_tag_2020(tag: &str) -> Option<(u16, u16, u16)> {
    parse_tag(tag).filter(|_| !tag.ends_with(".0"))
}

/// Major and minor of a release branch such as `release-branch.go1.16`.
///
/// ```
/// use build_core::goversion::parse_release_branch;
/// assert_eq!(parse_release_branch("release-branch.go1.16"), Some((1, 16)));
/// assert_eq!(parse_release_branch("release-branch.go1.16.3"), None);
/// ```
pub fn parse_release_branch(branch: &str) -> Option<(u16, u16)> {
    let version = branch.strip_prefix("release-branch.go")?;
    let [major, minor, _] = numbers(version)?;
    let written = version.bytes().filter(|&byte| byte == b'.').count() + 1;
    (written <= 2 && !version.ends_with(".0")).then_some((major, minor))
}

/// Major and minor of an internal branch such as `internal-branch.go1.16-vendor`, which modules
/// that the standard library vendors have one a release.
///
/// ```
/// use build_core::goversion::parse_internal_branch;
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

/// The X of a version Go 1.X, whatever follows it: a patch, `beta1`, `rc2`.
///
/// ```
/// use build_core::goversion::go1_point_x;
/// assert_eq!(go1_point_x("go1.16beta1"), Some(16));
/// assert_eq!(go1_point_x("go2.1"), None);
/// ```
pub fn go1_point_x(version: &str) -> Option<u16> {
    let rest = version.strip_prefix("go1.")?;
    let end = rest.bytes().take_while(u8::is_ascii_digit).count();
    number(&rest[..end])
}

/// One to three numbers between dots; the first is not 0.
fn numbers(text: &str) -> Option<[u16; 3]> {
    let mut found = [0; 3];
    let mut places = found.iter_mut();
    for part in text.split('.') {
        *places.next()? = number(part)?;
    }
    (found[0] != 0).then_some(found)
}

/// A number as people write it: one to three digits, and no zero in front.
fn number(text: &str) -> Option<u16> {
    let digits = text.as_bytes();
    let canonical = matches!(digits.len(), 1..=3) && (digits[0] != b'0' || digits.len() == 1);
    (canonical && digits.iter().all(u8::is_ascii_digit)).then(|| {
        digits
            .iter()
            .fold(0, |n, digit| n * 10 + u16::from(digit - b'0'))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn check_27_the_documented_tags() {
        for (tag, version) in [
            ("go1", (1, 0, 0)),
            ("go1.2", (1, 2, 0)),
            ("go1.2.3", (1, 2, 3)),
            ("go23.45.67", (23, 45, 67)),
            ("go999.999.999", (999, 999, 999)),
        ] {
            assert_eq!(parse_tag(tag), Some(version), "{tag}");
            assert_eq!(parse_tag_2020(tag), Some(version), "{tag}");
        }
        for (tag, version) in [("go1.0", (1, 0, 0)), ("go1.2.0", (1, 2, 0))] {
            assert_eq!(parse_tag(tag), Some(version), "{tag}");
            assert_eq!(parse_tag_2020(tag), None, "{tag}");
        }
        let bad = "go go. go1. go1-bad go1.2.3.4 go01 go1000 go+1 go1.-2 go0.0.0 go1.00 go1.2beta3";
        for tag in bad
            .split(' ')
            .chain(["", "1.2", "Go1", "go1 ", "go.1", "go1..2", "go١"])
        {
            assert_eq!(parse_tag(tag), None, "{tag}");
            assert_eq!(parse_tag_2020(tag), None, "{tag}");
        }
    }

    #[test]
    fn check_27_the_documented_branches() {
        for (branch, version) in [
            ("release-branch.go1", (1, 0)),
            ("release-branch.go1.2", (1, 2)),
            ("release-branch.go23.45", (23, 45)),
        ] {
            assert_eq!(parse_release_branch(branch), Some(version), "{branch}");
        }
        for version in [
            ".go1.0",
            ".go1.2.3",
            ".go1.2.0",
            ".go1.10-security",
            ".r59",
            ".go",
        ] {
            let branch = format!("release-branch{version}");
            assert_eq!(parse_release_branch(&branch), None, "{branch}");
        }
        for (branch, version) in [
            ("internal-branch.go1.16-vendor", Some((1, 16))),
            ("internal-branch.go1-vendor", Some((1, 0))),
            ("internal-branch.go1.16", None),
            ("internal-branch.go1.16-", None),
            ("internal-branch.go1.16.1-vendor", None),
            ("internal-branch.go1.x-vendor", None),
            ("internal-branch.1.16-vendor", None),
        ] {
            assert_eq!(parse_internal_branch(branch), version, "{branch}");
        }
    }

    #[test]
    fn check_27_the_documented_minor_versions() {
        for (version, x) in [
            ("go1.9", Some(9)),
            ("go1.16beta1", Some(16)),
            ("go1.16.1", Some(16)),
            ("go1", None),
            ("go1.", None),
            ("go1.x", None),
            ("go1.09", None),
            ("go2.1", None),
        ] {
            assert_eq!(go1_point_x(version), x, "{version}");
        }
    }

    proptest! {
        #[test]
        fn check_27_a_number_is_a_canonical_decimal_up_to_999(text in "[0-9+ -]{0,5}") {
            let canonical = text.parse::<u16>().ok();
            let canonical = canonical.filter(|n| *n < 1000 && n.to_string() == text);
            prop_assert_eq!(number(&text), canonical);
        }

        #[test]
        fn releases_are_in_the_order_of_their_numbers(
            a in (1..30u16, 0..30u16, 0..30u16),
            b in (1..30u16, 0..30u16, 0..30u16),
        ) {
            let tag = |(major, minor, patch)| format!("go{major}.{minor}.{patch}");
            let order = parse_tag(&tag(a)).cmp(&parse_tag(&tag(b)));
            prop_assert_eq!(order, a.cmp(&b));
        }
    }
}
