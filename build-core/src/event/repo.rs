//! What happens to repositories.

use crate::ids::RepoName;

events! {
    /// What happened to a repository: what it is called and where it lies. What it *is* stays: its
    /// id was drawn once.
    pub enum RepoEvent of REPO {
        /// It was seen for the first time.
        Found = "found" must {
            /// What it is called here; no other repository of the farm is called so.
            name: RepoName,
            /// Where it can be fetched from: a path or a URL.
            origin: String,
        },
        /// It lies somewhere else too; items from there are its own from now on.
        Moved = "moved" must {
            /// Where it can be fetched from.
            origin: String,
        },
        /// It is called something else from now on.
        Named = "named" must {
            /// What.
            name: RepoName,
        },
    }
}
