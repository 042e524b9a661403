//! What is said of commits that anybody may have written.

use crate::work::{Trust, WorkItem};

/// What a build of a commit from outside gets and what not; `None` for all others.
pub fn outside(item: &WorkItem) -> Option<String> {
    (item.trust == Trust::Untrusted).then(|| {
        let what = match &item.change {
            Some(change) => format!("change {change} comes from outside"),
            None => "the commit comes from outside".to_owned(),
        };
        format!(
            "{what}: it runs in namespaces, gets no secrets, and leaves nothing for other builds"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{ChangeRef, CommitHash, RepoName};

    #[test]
    fn only_what_comes_from_outside_is_told_so() {
        let commit = CommitHash::new("a".repeat(40)).unwrap();
        let mut item = WorkItem::new(RepoName::new("app").unwrap(), "/app", commit);
        assert_eq!(outside(&item), None);
        item.trust = Trust::Untrusted;
        assert!(outside(&item).unwrap().starts_with("the commit comes"));
        item.change = Some(ChangeRef::new("#17").unwrap());
        assert!(outside(&item).unwrap().starts_with("change #17 comes"));
        item.trust = Trust::Trusted;
        assert_eq!(outside(&item), None);
    }
}
