//! Links of a work directory: those that stay inside lead on, no request is led outside by any.

use std::io::Read as _;

use build_core::tarutil::{EntryHeader, FileList};

use super::*;

fn tgz(entries: &[(&str, Result<&str, &str>)]) -> Vec<u8> {
    let mut list = FileList::new();
    for (name, what) in entries {
        match what {
            Ok(text) => list.add_bytes(EntryHeader::file(*name, 0), (*text).to_owned()),
            Err(target) => list.add(EntryHeader::symlink(*name, *target)),
        };
    }
    let mut packed = Vec::new();
    list.open_gz().read_to_end(&mut packed).unwrap();
    packed
}

/// A work directory with `in`, a link to `real`, and links to a directory beside it.
fn links_of(peer: &Peer) -> std::path::PathBuf {
    let (root, outside) = (peer.work_dir(), peer.dir.path().join("outside"));
    std::fs::create_dir_all(root.join("real")).unwrap();
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("secret"), "theirs").unwrap();
    symlink("real", root.join("in")).unwrap();
    symlink("../outside", root.join("out")).unwrap();
    symlink(&outside, root.join("absolute")).unwrap();
    symlink("../outside/secret", root.join("file")).unwrap();
    outside
}

/// Everything in a directory, with its contents and times.
fn state(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap());
    let mut state: Vec<String> = entries
        .map(|entry| {
            let about = entry.metadata().unwrap();
            let changed = about.modified().unwrap();
            format!(
                "{:?} {} {changed:?} {:?}",
                entry.file_name(),
                about.len(),
                about.permissions()
            )
        })
        .collect();
    state.sort();
    state
}

#[tokio::test]
async fn no_request_is_led_out_by_a_link() {
    let peer = Peer::start().await;
    let (outside, root) = (links_of(&peer), peer.work_dir());
    let before = state(&outside);
    let archive = tgz(&[("evil", Ok("x"))]);
    for link in ["out", "absolute"] {
        for answer in [
            peer.put(&format!("/write?mode=420&path={link}%2Fsecret"), b"evil")
                .await,
            peer.put(&format!("/writetgz?dir={link}"), &archive).await,
            peer.put(&format!("/writetgz?dir={link}%2Fnew%2Fdir"), &archive)
                .await,
            peer.get(&format!("/tgz?dir={link}")).await,
            peer.post("/tgz", &format!("dir={link}&path=secret")).await,
            peer.get(&format!("/ls?recursive=true&digest=true&dir={link}"))
                .await,
            peer.post("/removeall", &format!("path={link}%2Fsecret"))
                .await,
            peer.post("/exec", &format!("cmd=in%2Fx&dir={link}")).await,
        ] {
            assert_eq!(answer.status, 400, "{}", answer.text());
            assert!(answer.text().contains("a link leads"), "{}", answer.text());
        }
    }
    // A command is not started there; that it was not is seen at the end.
    let ran = peer
        .post("/exec", "mode=sys&cmd=touch&cmdArg=evil&dir=out")
        .await;
    assert_eq!((ran.status, ran.text()), (200, ""));
    for target in ["/tgz?dir=file", "/ls?digest=true&dir=file"] {
        assert_eq!(peer.get(target).await.status, 400, "{target}");
    }
    // What archives bring is made and not followed either, whether it came before or is there.
    let links = tgz(&[("n", Err("/dev/null")), ("up", Err("../../outside"))]);
    assert_eq!(peer.put("/writetgz?dir=tree", &links).await.text(), "OK");
    for name in ["up/secret", "up/evil"] {
        let through = peer
            .put("/writetgz?dir=tree", &tgz(&[(name, Ok("x"))]))
            .await;
        assert_eq!(through.status, 400, "{}", through.text());
        assert!(
            through.text().contains("leads outside"),
            "{}",
            through.text()
        );
    }
    // Trees with such links are packed, listed and removed as they are.
    let packed = peer.get("/tgz?dir=.").await;
    assert_eq!(
        peer.put("/writetgz?dir=copy", &packed.body).await.text(),
        "OK"
    );
    let copied = |name: &str| std::fs::read_link(root.join("copy").join(name)).unwrap();
    assert_eq!(copied("tree/n"), Path::new("/dev/null"));
    assert_eq!(
        (copied("out"), copied("absolute")),
        ("../outside".into(), outside.clone())
    );
    let listed = peer.get("/ls?recursive=true&digest=true&dir=copy").await;
    assert!(
        listed.text().contains("Lrwxrwxrwx\tout\n"),
        "{}",
        listed.text()
    );
    assert!(!listed.text().contains("secret"), "{}", listed.text());
    assert_eq!(
        peer.post("/removeall", "path=copy&path=out&path=file")
            .await
            .status,
        200
    );
    assert_eq!(
        peer.put("/write?mode=420&path=absolute", b"mine")
            .await
            .status,
        200
    );
    assert_eq!(std::fs::read(root.join("absolute")).unwrap(), b"mine");
    assert_eq!(state(&outside), before);
}

#[tokio::test]
async fn links_inside_lead_on_and_others_where_that_is_wanted() {
    let peer = Peer::start().await;
    links_of(&peer);
    let root = peer.work_dir();
    symlink(root.join("real"), root.join("whole")).unwrap();
    for link in ["in", "whole"] {
        let put = peer
            .put(&format!("/write?mode=420&path={link}%2F{link}"), b"x")
            .await;
        assert_eq!(put.text(), "OK");
        let target = format!("/writetgz?dir={link}%2Fd");
        let unpacked = peer.put(&target, &tgz(&[("f", Ok("y"))])).await;
        assert_eq!(unpacked.text(), "OK");
        let ran = peer
            .post("/exec", &format!("mode=sys&cmd=ls&dir={link}"))
            .await;
        assert!(ran.text().contains("in\n"), "{}", ran.text());
    }
    let listed = peer.get("/ls?dir=in").await;
    assert!(listed.text().contains("\twhole\t"), "{}", listed.text());

    let loose = Peer::with(|config| config.links_may_leave(true)).await;
    let outside = links_of(&loose);
    let put = loose
        .put("/writetgz?dir=out%2Fnew", &tgz(&[("f", Ok("y"))]))
        .await;
    assert_eq!(put.text(), "OK");
    assert_eq!(std::fs::read(outside.join("new/f")).unwrap(), b"y");
    assert_eq!(
        loose.put("/write?mode=420&path=out%2Fg", b"z").await.text(),
        "OK"
    );
    assert!(loose.get("/ls?dir=out").await.text().contains("\tg\t"));
    assert_eq!(loose.post("/removeall", "path=out%2Fg").await.status, 200);
    assert!(!outside.join("g").exists());
}
