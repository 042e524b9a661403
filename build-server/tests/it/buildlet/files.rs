use std::os::unix::fs::PermissionsExt as _;

use super::*;

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[tokio::test]
async fn files_are_written_with_their_mode() {
    let peer = Peer::start().await;
    let file = peer.work_dir().join("a/b c.txt");
    let written = peer.put("/write?mode=420&path=a%2Fb+c.txt", b"one").await;
    assert_eq!((written.status, written.text()), (200, "OK"));
    assert_eq!(
        (std::fs::read(&file).unwrap(), mode(&file)),
        (b"one".to_vec(), 0o644)
    );
    peer.put("/write?mode=8389101&path=a%2Fb+c.txt", b"two")
        .await;
    assert_eq!(
        (std::fs::read(&file).unwrap(), mode(&file)),
        (b"two".to_vec(), 0o4755)
    );
    let beside = std::fs::read_dir(file.parent().unwrap()).unwrap().count();
    assert_eq!(beside, 1, "nothing is left beside the file");
}

#[tokio::test]
async fn bad_paths_and_modes_are_refused() {
    let peer = Peer::start().await;
    symlink("..", peer.work_dir().join("up")).unwrap();
    for path in ["", "..", "../x", "%2Fx", "a%2F..%2F..%2Fx", ".", "a%00b"] {
        let answer = peer
            .put(&format!("/write?mode=420&path={path}"), b"x")
            .await;
        assert_eq!(answer.refusal(), (400, "bad path"), "{path:?}");
    }
    let answer = peer.put("/write?mode=420&path=up%2Fx", b"x").await;
    let text = "bad path: a link leads \"up/x\" out of the work directory";
    assert_eq!(answer.refusal(), (400, text));
    for mode in ["", "0o644", "rw", "2147484068", "-1"] {
        let answer = peer.put(&format!("/write?path=x&mode={mode}"), b"x").await;
        assert_eq!(answer.refusal(), (400, "bad mode"), "{mode:?}");
    }
    std::fs::write(peer.work_dir().join("file"), "").unwrap();
    assert_eq!(
        peer.put("/write?mode=420&path=file%2Fx", b"x").await.status,
        500
    );
    assert!(!peer.dir.path().join("x").exists());
}

#[tokio::test]
async fn an_upload_that_is_cut_off_leaves_the_old_file() {
    use tokio::io::AsyncWriteExt as _;
    let peer = Peer::start().await;
    peer.put("/write?mode=420&path=f", b"old").await;
    let mut io = UnixStream::connect(socket(peer.dir.path())).await.unwrap();
    io.write_all(b"PUT /write?mode=420&path=f HTTP/1.1\r\nHost: \r\nContent-Length: 10\r\n\r\nnew")
        .await
        .unwrap();
    until("the upload has begun", || {
        std::fs::read_dir(peer.work_dir()).unwrap().count() == 2
    })
    .await;
    drop(io);
    until("the upload is cleaned up", || {
        std::fs::read_dir(peer.work_dir()).unwrap().count() == 1
    })
    .await;
    assert_eq!(std::fs::read(peer.work_dir().join("f")).unwrap(), b"old");
}

/// The end of the buildlet is no end of a file.
#[tokio::test]
async fn an_upload_that_the_buildlets_end_cuts_off_is_not_kept() {
    use tokio::io::AsyncWriteExt as _;
    let peer = Peer::start().await;
    let mut io = UnixStream::connect(socket(peer.dir.path())).await.unwrap();
    let head = b"PUT /write?mode=420&path=f HTTP/1.1\r\nHost: \r\nContent-Length: 10\r\n\r\nnew";
    io.write_all(head).await.unwrap();
    let root = peer.work_dir();
    until("the upload has begun", || {
        std::fs::read_dir(&root).unwrap().count() == 1
    })
    .await;
    let (ended, _dir) = peer.end().await;
    assert_eq!(ended, Ended::Stopped);
    assert_eq!(std::fs::read_dir(&root).unwrap().count(), 0);
    drop(io);
}

#[tokio::test]
async fn listings_are_lexical_and_say_what_is_there() {
    let peer = Peer::start().await;
    let root = peer.work_dir();
    peer.put("/write?mode=420&path=b%2Fx.txt", b"hello\n").await;
    peer.put("/write?mode=493&path=a", b"").await;
    peer.put("/write?mode=420&path=b.c", b"").await;
    symlink("a", root.join("link")).unwrap();
    let times = std::fs::FileTimes::new()
        .set_modified(std::time::UNIX_EPOCH + Duration::from_secs(1_608_753_536));
    for name in ["a", "b/x.txt", "b.c"] {
        std::fs::File::open(root.join(name))
            .unwrap()
            .set_times(times)
            .unwrap();
    }
    let time = "2020-12-23T19:58:56Z";
    let (a, bc) = (
        format!("-rwxr-xr-x\ta\t0\t{time}\n"),
        format!("-rw-r--r--\tb.c\t0\t{time}\n"),
    );
    let flat = peer.get("/ls?dir=").await;
    assert_eq!(
        flat.text(),
        format!("{a}drwxr-xr-x\tb/\n{bc}Lrwxrwxrwx\tlink\n")
    );
    let deep = peer.get("/ls?recursive=true&digest=true&dir=b").await;
    let sum = "f572d396fae9206628714fb2ce00f72e94f2258f";
    assert_eq!(
        deep.text(),
        format!("-rw-r--r--\tx.txt\t6\t{time}\t{sum}\n")
    );
    let skipped = peer.get("/ls?recursive=true&skip=b&skip=a").await;
    assert_eq!(skipped.text(), format!("{a}{bc}Lrwxrwxrwx\tlink\n"));

    let json = peer
        .ask(
            RequestHead::new("GET", "/ls").with("Accept", "application/x-ndjson"),
            b"",
        )
        .await;
    let last = json.text().lines().last().unwrap();
    assert_eq!(last, r#"{"mode":"Lrwxrwxrwx","name":"link","link":"a"}"#);
}

#[tokio::test]
async fn an_empty_directory_is_listed_as_nothing() {
    let peer = Peer::start().await;
    for target in [
        "/ls?dir=.&recursive=true&digest=true&skip=tmp&skip=gocache",
        "/ls?dir=",
    ] {
        let listed = peer.get(target).await;
        assert_eq!(listed.status, 200, "{target}");
        assert!(!listed.text().contains("a.go"), "{target}");
    }
    peer.put("/write?path=d%2Ff&mode=420", b"").await;
    peer.post("/removeall", "path=d%2Ff").await;
    let listed = peer.get("/ls?dir=d").await;
    assert_eq!((listed.status, listed.text()), (200, ""));
    assert_eq!(peer.end().await.0, Ended::Stopped);
}

#[tokio::test]
async fn what_cannot_be_listed_is_told() {
    let peer = Peer::start().await;
    let missing = peer.get("/ls?dir=missing").await;
    let path = peer.work_dir().join("missing");
    let text = format!(
        "Walk error: lstat {}: no such file or directory",
        path.display()
    );
    assert_eq!(missing.refusal(), (500, text.as_str()));
    assert_eq!(
        peer.get("/ls?dir=..").await.refusal(),
        (400, "bogus 'dir' parameter")
    );
    assert_eq!(peer.get("/ls?dir=%ZZ").await.status, 400);
}

#[tokio::test]
async fn removal_checks_every_path_first() {
    let peer = Peer::start().await;
    for path in ["a%2Fb", "c"] {
        peer.put(&format!("/write?mode=420&path={path}"), b"").await;
    }
    let refused = peer.post("/removeall", "path=a&path=..").await;
    assert_eq!(refused.refusal(), (400, "bad 'path' parameter: \"..\""));
    assert!(peer.work_dir().join("a/b").exists());
    assert_eq!(
        peer.post("/removeall", "").await.refusal(),
        (400, "requires 'path' parameter")
    );
    let removed = peer.post("/removeall", "path=a&path=never-there").await;
    assert_eq!((removed.status, removed.text()), (200, ""));
    assert!(!peer.work_dir().join("a").exists() && peer.work_dir().join("c").exists());
    let root = peer.work_dir();
    assert_eq!(peer.post("/removeall", "path=.").await.status, 200);
    assert!(!root.exists());
    assert_eq!(
        peer.put("/write?mode=420&path=again", b"x").await.status,
        200
    );
    assert!(root.join("again").exists());
}
