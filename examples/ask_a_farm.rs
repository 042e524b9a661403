//! A program that uses a farm over its API: asks for a build, follows what it prints, and reads
//! how it ended. The farm is one of this program's own, on a free port; an address and a token of
//! any other do as well.

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use build_client::farm::FarmClient;
use build_core::recipe::Detect;
use build_core::report::{LogQuery, NewBuild};
use build_server::coordinator::Coordinator;
use build_server::pool::LocalPool;
use build_server::source::GitCheckouts;
use build_server::store::Store;
use build_server::web::{Site, TokenFile, serve, service};
use futures::TryStreamExt;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    if let Some(("buildlet", flags)) = args
        .split_first()
        .map(|(a, b)| (a.to_str().unwrap_or(""), b))
    {
        return farmer_agent::buildlet::main(flags.to_vec());
    }
    match farm() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ask_a_farm: {error}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn farm() -> Result<(), Box<dyn std::error::Error>> {
    let repository = farmer_examples::repository("test:\n\t@echo it works\n")?;
    let data = tempfile::tempdir()?;
    let checkouts = GitCheckouts::new(data.path().join("git"));
    let store = Store::memory();
    let coordinator = Coordinator::builder()
        .recipe(Detect)
        .pool(LocalPool::new(std::env::current_exe()?, 1))
        .checkouts(checkouts.clone())
        .store(store.clone())
        .build()?;
    let auth = TokenFile::open(data.path())?;
    let token = auth.token().to_owned();
    let site = Site::new(coordinator.handle(), store, auth).with_checkouts(checkouts);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = format!("http://{}", listener.local_addr()?);
    let stop = CancellationToken::new();
    let serving = serve(listener, service(site), stop.clone());
    let asking = async {
        let asked = ask(&address, &token, &repository.path().to_string_lossy()).await;
        stop.cancel();
        asked
    };
    let (ran, served, asked) = tokio::join!(coordinator.run(stop.clone()), serving, asking);
    ran?;
    served?;
    Ok(asked?)
}

/// What a program of anybody's does.
async fn ask(address: &str, token: &str, repo: &str) -> build_core::Result<()> {
    let farm = FarmClient::builder(address).token(token).build()?;
    let wish = NewBuild {
        repo: repo.to_owned(),
        ..NewBuild::default()
    };
    for build in farm.create(&wish).await?.builds {
        let follow = LogQuery {
            follow: true,
            ..LogQuery::default()
        };
        let mut output = farm.log(&build.id, &follow).await?;
        while let Some(piece) = output.try_next().await? {
            std::io::stdout().write_all(&piece)?;
        }
        let build = farm.build(&build.id).await?;
        println!(
            "{} {}, asked for at {}",
            build.id, build.state, build.queued
        );
        if !build.state.is_final() {
            // The last output comes before the result.
            farm.events(&build.id, None)
                .await?
                .try_for_each(|_| async { Ok(()) })
                .await?;
            println!("{} {}", build.id, farm.build(&build.id).await?.state);
        }
    }
    Ok(())
}
