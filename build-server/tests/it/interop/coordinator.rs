//! The Go project's own client asks our coordinator to clear results.

use std::process::Command;

use build_core::key::{GO_DEVELOPMENT_MASTER, MasterKey};
use build_server::grpc::FarmResults;
use build_server::https::{Tls, development};
use build_server::store::{BuildFilter, Store};
use serde_json::Value;

use super::{compat, peers};
use crate::farm::{FakePool, Farm, Repository, Steps, step};
use crate::grpc::Server;

#[tokio::test(flavor = "multi_thread")]
async fn a_go_client_clears_results_and_reads_our_errors() {
    let Some(peers) = peers::go2020() else { return };
    let farm = Farm::start(
        &FakePool::new(1),
        Store::memory(),
        Steps(vec![step("all", "false")]),
    );
    let repository = Repository::with_file("a", "");
    farm.build(&repository).await;
    let commit = repository.git(&["rev-parse", "HEAD"]);
    let master = MasterKey::new(GO_DEVELOPMENT_MASTER).unwrap();
    let builder = farm.builder().to_string();
    let key = master.key_of(&builder);
    let dir = tempfile::tempdir().unwrap();
    let certificate = development(dir.path(), &[]).unwrap();
    let tls = Tls::new(certificate.certificate().clone());
    let results = FarmResults::new(farm.handle.clone(), master);
    let server = Server::start(results, |front| front.with_tls(tls)).await;

    let calls = [
        (key.as_str(), builder.as_str(), commit.as_str(), "OK", ""),
        ("-", &builder, &commit, "Unauthenticated", "Unauthenticated"),
        (
            "wrong",
            &builder,
            &commit,
            "Unauthenticated",
            "Unauthenticated",
        ),
        (
            &key,
            &builder,
            "",
            "InvalidArgument",
            "Builder and Hash must be provided",
        ),
    ];
    let mut client = Command::new(peers.join("clearresults"));
    client.arg(format!("localhost:{}", server.address.port()));
    for (key, builder, hash, ..) in calls {
        client.args([key, builder, hash]);
    }
    let output = tokio::task::spawn_blocking(move || client.output());
    let output = output.await.unwrap().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    let lines: Vec<Value> = said
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), calls.len(), "{said}");
    for (line, (_, _, _, code, message)) in lines.iter().zip(calls) {
        assert_eq!(
            (&line["code"], &line["message"]),
            (&code.into(), &message.into()),
            "{said}"
        );
    }
    let all = BuildFilter::default();
    let builds = farm.handle.records().builds(&all, None, 9).await.unwrap();
    assert_eq!(builds.builds.len(), 2);
    server.stop().await;
    farm.stop().await;
    compat::record(
        &peers.join("clearresults"),
        &[compat::Row {
            direction: "Go client, our coordinator",
            case: "ClearResults by gRPC on the port of everything, TLS",
            seen: "the failure is built again",
            control: "no key, a wrong key, no hash: the codes and the messages of the Go coordinator",
        }],
    );
}
