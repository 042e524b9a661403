//! A machine, driven the same way whether a pool or a coordinator gave it.

use build_core::Result;
use build_core::buildlet::{Buildlet, ByteStream, Exec};
use futures::TryStreamExt;

/// Unpacks a tree with a makefile, builds it, and fetches what came out.
pub async fn drive(b: &dyn Buildlet, tree: ByteStream) -> Result<u64> {
    b.put_tar(tree, "src").await?;
    let made = b.exec(Exec::new("make").dir("src")).await?;
    assert!(made.outcome().is_ok(), "make: {}\n{}", made.outcome(), made.text());
    let packed = b.get_tar("src/out").await?;
    packed.try_fold(0, |sum, piece| async move { Ok(sum + piece.len() as u64) }).await
}
