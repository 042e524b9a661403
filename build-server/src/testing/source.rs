//! What every source of work promises.

use std::collections::BTreeSet;

use build_core::Result;
use build_core::work::WorkSource;

/// Checks what every [`WorkSource`] promises, on one that wants something and stays as it is.
///
/// # Errors
/// When it cannot be read.
///
/// # Panics
/// When it breaks a promise: the text says which.
pub async fn source(source: &dyn WorkSource) -> Result<()> {
    assert!(!source.name().is_empty(), "a source has a name");
    let first = source.wanted().await?;
    assert!(
        !first.is_empty(),
        "the contract needs something that is wanted"
    );
    assert_eq!(
        first,
        source.wanted().await?,
        "asked again, the same is wanted"
    );
    let distinct: BTreeSet<_> = first
        .iter()
        .map(|item| (&item.repo, &item.commit, &item.branch))
        .collect();
    assert_eq!(distinct.len(), first.len(), "each once");
    for tip in &first {
        let earlier = source.earlier(tip, 3).await?;
        assert!(earlier.len() <= 3, "not more than was asked for");
        let repeats = earlier.iter().any(|item| item.commit == tip.commit);
        assert!(!repeats, "a commit is not before itself");
        let elsewhere = earlier.iter().any(|item| item.repo != tip.repo);
        assert!(!elsewhere, "nor in another repository");
        assert_eq!(
            source.earlier(tip, 0).await?,
            [],
            "none when none was asked for"
        );
    }
    Ok(())
}
