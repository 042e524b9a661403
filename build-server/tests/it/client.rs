//! Our client and our server, as far as only the two together show it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use build_client::HttpBuildlet;
use build_client::transport::{Connection, Dial, UnixDial};
use build_core::buildlet::{Buildlet, Exec, ListDir};
use build_core::name::Name;
use build_core::tarutil::{Policy, Untar};
use build_server::buildlet::{Address, BuildletServer, Config, Listener};
use tokio_util::sync::CancellationToken;

/// Counts the connections that are made.
struct Counting(UnixDial, Arc<AtomicUsize>);

#[async_trait]
impl Dial for Counting {
    async fn dial(&self) -> std::io::Result<Connection> {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.dial().await
    }

    fn authority(&self) -> &str {
        self.0.authority()
    }
}

/// Names that are no text, and those that a line of text cannot hold.
async fn names_are_bytes(client: &HttpBuildlet, in_dir: &ListDir) {
    let line = "printf x >\"$(printf 'dir/caf\\351')\"; printf y >\"$(printf 'dir/a\\tb')\"; printf %s \"$V\"";
    let mut exec = Exec::shell(line);
    exec.env_bytes = vec![b"V=caf\xe9"[..].into()];
    let done = client.exec(exec).await.unwrap();
    assert_eq!(done.bytes(), b"caf\xe9");
    let listed = client.list_dir(in_dir).await.unwrap();
    let names: Vec<Name> = listed.into_iter().map(|entry| entry.name).collect();
    assert_eq!(names, [&b"a\tb"[..], b"caf\xe9"].map(Name::from));
    let packed = client.get_files("dir", &names).await.unwrap();
    let packed = build_client::collect(packed).await.unwrap();
    let here = tempfile::tempdir().unwrap();
    let unpacked = Untar::open(here.path()).unwrap().policy(Policy::trees());
    assert_eq!(unpacked.unpack(&packed[..]).unwrap().files, 2);
}

#[tokio::test]
async fn all_calls_share_one_connection() {
    let dir = tempfile::tempdir().unwrap();
    let work_dir = dir.path().join("work");
    std::fs::create_dir(&work_dir).unwrap();
    let socket = dir.path().join("s");
    let listener = Listener::bind(&Address::Unix(socket.clone()))
        .await
        .unwrap();
    let server = BuildletServer::open(Config::new(&work_dir, dir.path().join("state"))).unwrap();
    let stop = CancellationToken::new();
    let served = server.run(vec![listener], stop.clone());

    let dials = Arc::new(AtomicUsize::new(0));
    let client = HttpBuildlet::builder(Counting(UnixDial::new(socket), Arc::clone(&dials))).build();
    let in_dir = ListDir {
        dir: "dir".into(),
        ..ListDir::default()
    };
    let driven = async {
        for number in 0..20 {
            let done = client
                .exec(Exec::shell(format!("echo {number}")))
                .await
                .unwrap();
            assert_eq!(done.text(), format!("{number}\n"));
            client
                .put("dir/file", 0o644, build_client::once(vec![7; 100_000]))
                .await
                .unwrap();
            assert_eq!(client.list_dir(&in_dir).await.unwrap().len(), 1);
            build_client::collect(client.get_tar("dir").await.unwrap())
                .await
                .unwrap();
            let files = ["file", "none", "../../outside"].map(Name::from);
            let packed = client.get_files("dir", &files).await.unwrap();
            let packed = build_client::collect(packed).await.unwrap();
            let here = tempfile::tempdir().unwrap();
            let unpacked = Untar::open(here.path()).unwrap().unpack(&packed[..]);
            assert_eq!(unpacked.unwrap().files, 1);
            client.remove_all(&["dir/file".to_owned()]).await.unwrap();
        }
        names_are_bytes(&client, &in_dir).await;
        stop.cancel();
    };
    let (ended, ()) = tokio::join!(served, driven);
    ended.unwrap();
    assert_eq!(dials.load(Ordering::Relaxed), 1);
}
