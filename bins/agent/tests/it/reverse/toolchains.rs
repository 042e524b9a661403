//! Toolchains for machines that see no file of the coordinator's.

use build_client::httpdl::HttpOptions;
use build_client::testing::{Mirror, go_archive};
use build_client::toolchain::{Platform, Rows, Source};
use build_core::plan::Step;
use build_server::store::Store;
use build_server::toolchains::ToolchainCache;

use super::farm::{Farm, name, outcome, repository};
use super::*;

/// A mirror with `go1.11.13` for this machine, and a farm's toolchains from it.
fn toolchains(mirror: &Mirror, dir: &Path) -> ToolchainCache {
    let platform = Platform::here().to_string().replace('/', "-");
    let archive = go_archive("go1.11.13", 100_000).unwrap();
    mirror.put_archive(&format!("go1.11.13.{platform}.tar.gz"), archive);
    let mut rows = Rows::default();
    rows.set_mirrors("go", vec![mirror.url().to_owned()])
        .unwrap();
    let client = HttpOptions::default().build().unwrap();
    ToolchainCache::new(dir, Source::new(client, rows))
}

async fn built(farm: &Farm, repository: &Path) -> Vec<String> {
    let build = farm.submit(repository).await;
    let events = farm.events(&build).await;
    let log = farm.log(&build, "test").await;
    assert!(outcome(&events).is_passed(), "{log}\n{events:?}");
    log.lines().map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_elsewhere_keeps_the_toolchains_of_its_builds() {
    let (certificates, data, repository) = (
        tempfile::tempdir().unwrap(),
        tempfile::tempdir().unwrap(),
        repository(),
    );
    let mirror = Mirror::start().unwrap();
    let mut step = Step::new(name("test"), "go version; echo $GOROOT; command -v go");
    step.toolchain.insert("go".into(), "1.11.13".into());
    let door = Door::open(certificates.path(), None, quick()).await;
    let mut agent = Agent::start("box1", door.address, certificates.path());
    wait_for("it is there", || door.pool.connected() == 1).await;
    let cache = toolchains(&mirror, &data.path().join("toolchains"));
    let (store, steps) = (Store::memory(), vec![step]);
    let farm = Farm::start_with(&door.pool, store, data.path(), steps, |builder| {
        builder.toolchains(cache)
    });

    let first = built(&farm, repository.path()).await;
    assert!(first[0].starts_with("farmer: go1.11.13: sending it to this machine, "));
    assert!(
        first[1].starts_with("farmer: go1.11.13: sent in "),
        "{first:?}"
    );
    assert_eq!(first[2], "farmer: toolchains are ready");
    assert_eq!(first[3], "go version go1.11.13");
    let trees = agent.dir.path().join("state/trees");
    let root = trees.canonicalize().unwrap();
    assert!(Path::new(&first[4]).starts_with(&root), "{first:?}");
    assert_eq!(first[5], format!("{}/bin/go", first[4]));

    // The next build finds it, in a work directory that was emptied meanwhile; so does the first one
    // after a death of the machine.
    let found = [
        "farmer: go1.11.13: found on this machine, kept from an earlier build",
        "farmer: toolchains are ready",
    ];
    for dies in [false, true] {
        if dies {
            agent.kill();
            let dir = Arc::clone(&agent.dir);
            agent = Agent::start_in(dir, "box1", door.address, certificates.path());
        }
        let next = built(&farm, repository.path()).await;
        assert_eq!(next[..2], found);
        assert_eq!(next[2..], first[3..]);
    }

    // What somebody has changed is no toolchain any more: it comes anew, as it was.
    let go = Path::new(&first[4]).join("bin/go");
    std::fs::write(&go, "#!/bin/sh\necho not me\n").unwrap();
    let anew = built(&farm, repository.path()).await;
    assert_eq!(anew[3..], first[3..]);
    let asked = mirror.requests();
    let asked = asked
        .iter()
        .filter(|r| r.starts_with("GET") && r.ends_with(".tar.gz"));
    assert_eq!(asked.count(), 1, "the farm got it once");
    farm.kill().await;
    door.close().await;
}
