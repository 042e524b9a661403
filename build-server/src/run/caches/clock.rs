//! What a machine takes for the present.

use build_core::buildlet::{Buildlet, DirEntry, ListDir};
use build_core::clock::Timestamp;
use build_core::{Error, ErrorKind, Result};

/// A file that is written to see its time.
const FILE: &str = ".farmer-clock";

/// The present by a machine's own clock, as its files get it; in seconds since 1970.
pub(super) async fn present(buildlet: &dyn Buildlet) -> Result<i64> {
    buildlet.put(FILE, 0o600, build_client::once("\n")).await?;
    let listed = buildlet.list_dir(&ListDir::default()).await?;
    buildlet.remove_all(&[FILE.to_owned()]).await?;
    let written = listed.iter().find(|entry| entry.name == FILE);
    let time = written.and_then(DirEntry::modified_at);
    time.map(Timestamp::as_seconds).ok_or_else(|| {
        let text = format!("{} does not say what time it is", buildlet.name());
        Error::new(ErrorKind::Unavailable, text)
    })
}

#[cfg(test)]
mod tests {
    use build_client::testing::FakeBuildlet;

    use super::*;

    #[tokio::test]
    async fn a_machine_says_what_time_it_is_and_nothing_is_left_of_it() {
        let buildlet = FakeBuildlet::new("m").unwrap();
        let now = || Timestamp::from(std::time::SystemTime::now()).as_seconds();
        let before = now();
        let present = present(&buildlet).await.unwrap();
        // The clock of a file system may be a tick behind.
        assert!((before - 1..=now()).contains(&present));
        assert!(
            buildlet
                .list_dir(&ListDir::default())
                .await
                .unwrap()
                .is_empty()
        );
    }
}
