//! A machine of a farm, held by hand: asked for as builds ask, used, and given back.

use build_core::buildlet::Buildlet;
use build_core::recipe::Detect;
use build_server::coordinator::Coordinator;
use build_server::pool::LocalPool;
use tokio_util::sync::CancellationToken;

use crate::drive::drive;
use crate::{Result, tree};

pub async fn session(program: &str) -> Result<()> {
    let coordinator = Coordinator::builder().pool(LocalPool::new(program, 1)).recipe(Detect).build()?;
    let handle = coordinator.handle();
    let token = CancellationToken::new();
    let run = coordinator.run(token.clone());
    tokio::pin!(run);
    let held = async {
        let session = handle.create("local").await?;
        let bytes = drive(&session, tree()?).await?;
        session.close().await?;
        Ok::<_, Box<dyn std::error::Error>>((session.id().clone(), bytes))
    };
    let (id, bytes) = tokio::select! {
        ended = &mut run => return Err(format!("the farm ended by itself: {ended:?}").into()),
        held = held => held?,
    };
    token.cancel();
    run.await?;
    println!("held {id}: {bytes} bytes came back");
    Ok(())
}
