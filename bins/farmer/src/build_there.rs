//! `farmer build` while a farm runs: the farm builds, this program shows.

use std::sync::Arc;

use build_client::farm::FarmClient;
use build_core::report::NewBuild;
use farmer_cli::Failure;
use futures::future::try_join_all;
use tokio_util::sync::CancellationToken;

use crate::build::{finish, follow};
use crate::cli::Build;
use crate::farm::AnyFarm;
use crate::follow::Show;
use crate::output::failure;
use crate::running::refusal;
use crate::turn::There;

/// Asks the farm for the builds and follows them. Stopping this program stops none of them, but in a
/// farm that ends with its builds.
pub(crate) async fn build_there(
    args: &Build,
    there: &There,
    json: bool,
    stop: &CancellationToken,
) -> Result<(), Failure> {
    let farm = &there.farm;
    let wish = wish(args, farm)?;
    let created = farm.create(&wish).await.map_err(|e| refusal(&e))?;
    let Some(first) = created.builds.first() else {
        return Err(Failure::usage(
            format!("{} has no builder for this commit", farm.name()),
            "name the builders in .farmer.toml, then start the farm again",
        ));
    };
    if !json {
        let (item, owner) = (&first.item, farm.name());
        farmer_cli::say!(
            "farmer: {} at {} {:?}, in {owner}",
            item.repo,
            item.commit.short(),
            item.subject
        );
    }
    let show = Show {
        json,
        output: !args.quiet,
        builder: created.builds.len() > 1,
    };
    let followed_in: AnyFarm = Arc::new(farm.clone());
    let followed = created
        .builds
        .iter()
        .map(|row| follow(followed_in.clone(), row.id.clone(), &row.builder, show));
    match stop.run_until_cancelled(try_join_all(followed)).await {
        Some(exits) => finish(exits?.into_iter().map(Ok).collect()),
        None if there.is_passing() => {
            // Nobody else wants it. What has ended meanwhile cannot be taken back.
            let _ = farm.withdraw(&created.wish).await;
            Err(Failure::interrupted())
        }
        None => {
            farmer_cli::say!(
                "farmer: goes on in the farm; take it back with: farmer wish withdraw {}",
                created.wish
            );
            Err(Failure::interrupted())
        }
    }
}

fn wish(args: &Build, farm: &FarmClient) -> Result<NewBuild, Failure> {
    for (given, flag) in [
        (args.config.is_some(), "--config"),
        (args.machines.is_some(), "--machines"),
    ] {
        if given {
            return Err(Failure::usage(
                format!(
                    "{flag} cannot be given to a farm that runs: {}",
                    farm.name()
                ),
                "end it with: farmer down; or use another data directory with --data",
            ));
        }
    }
    let builders = args.builder.iter().map(|name| name.parse());
    let builders = builders
        .collect::<Result<_, _>>()
        .map_err(|e| failure(&e))?;
    Ok(NewBuild {
        repo: origin(&args.repo)?,
        rev: args.rev.clone(),
        builders,
        worktree: args.worktree,
        cold: args.cold,
    })
}

/// A path as the farm understands it, which runs in another directory.
pub(crate) fn origin(repo: &str) -> Result<String, Failure> {
    let path = std::path::Path::new(repo);
    if path.exists() {
        let path = std::path::absolute(path)?;
        return Ok(path.to_string_lossy().into_owned());
    }
    Ok(repo.to_owned())
}
