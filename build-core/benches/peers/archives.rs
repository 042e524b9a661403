//! A source tree packed and unpacked, by us and by the programs.

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;
use std::process::Command;

use build_core::tarutil::{GzipOptions, Pack, Untar};

use crate::samples::{Side, print};

pub(crate) fn run(tree: &Path, runs: u64) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    println!(
        "tree {}, {runs} alternating runs, {} cores",
        tree.display(),
        cores()
    );
    pack(tree, dir.path(), runs);
    unpack(tree, dir.path(), runs);
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, Into::into)
}

fn shell(script: &str) {
    let status = Command::new("sh")
        .arg("-c")
        .arg(script)
        .status()
        .expect("a shell");
    assert!(status.success(), "{script}: {status}");
}

fn ours(tree: &Path, out: &Path, level: u32) {
    let out = BufWriter::new(File::create(out).expect("a new file"));
    let options = GzipOptions::default().level(level);
    Pack::open(tree)
        .expect("the tree")
        .write_gz(out, &options)
        .expect("packs");
}

fn pack(tree: &Path, dir: &Path, runs: u64) {
    let tree_name = tree.display();
    let out = dir.join("out.tar.gz");
    let out_name = out.display();
    let size = || out.metadata().map_or(0, |meta| meta.len());
    let mut sides: Vec<Side> = (1..=9)
        .map(|level| Side::new(format!("ours, level {level}")))
        .collect();
    let mut peers = vec![("tar, gzip -6", "gzip -6".to_owned())];
    if let Some(program) = go_pargzip(dir) {
        peers.push(("tar, Go pargzip", program));
    }
    peers.push(("tar, pigz -1", "pigz -1".to_owned()));
    peers.push(("tar, pigz -6", "pigz -6".to_owned()));
    sides.extend(peers.iter().map(|(name, _)| Side::new(*name)));
    for run in 0..=runs {
        for (i, side) in sides.iter_mut().enumerate() {
            match i.checked_sub(9) {
                None => side.time(|| ours(tree, &out, i as u32 + 1)),
                Some(peer) => {
                    let script =
                        format!("tar cf - -C {tree_name} . | {} > {out_name}", peers[peer].1);
                    side.time(|| shell(&script));
                }
            }
            if run == 0 {
                // The first round warms the caches.
                side.seconds.clear();
            }
            side.note = format!("{} bytes", size());
        }
    }
    print("pack", &sides);
}

/// The Go build system's own parallel gzip, if there is Go to build it.
fn go_pargzip(dir: &Path) -> Option<String> {
    let module = Path::new(env!("CARGO_MANIFEST_DIR")).join("../build-server/tests/go");
    let program = dir.join("pargzip");
    let mut go = Command::new("go");
    go.current_dir(module)
        .args(["build", "-o"])
        .arg(&program)
        .arg("./pargzip");
    let built = go.status().is_ok_and(|status| status.success());
    if !built {
        println!("SKIPPED: Go pargzip could not be built");
    }
    built.then(|| program.display().to_string())
}

fn unpack(tree: &Path, dir: &Path, runs: u64) {
    let one = dir.join("one.tar.gz");
    let many = dir.join("many.tar.gz");
    shell(&format!(
        "tar cf - -C {} . | gzip -6 > {}",
        tree.display(),
        one.display()
    ));
    ours(tree, &many, 6);
    for (archive, title) in [
        (&one, "unpack one gzip member"),
        (&many, "unpack members of 1 MiB"),
    ] {
        let mut sides = vec![
            Side::new("ours"),
            Side::new("tar xzf"),
            Side::new("pigz -dc, tar"),
        ];
        let name = archive.display();
        for run in 0..=runs {
            for (i, side) in sides.iter_mut().enumerate() {
                let to = tempfile::tempdir_in(dir).expect("a temporary directory");
                let to_name = to.path().display();
                side.time(|| match i {
                    0 => {
                        let archive = File::open(archive).expect("the archive");
                        let done = Untar::open(to.path())
                            .expect("the directory")
                            .unpack(archive)
                            .expect("unpacks");
                        assert!(done.files > 0, "an empty tree proves nothing");
                    }
                    1 => shell(&format!("tar xzf {name} -C {to_name}")),
                    _ => shell(&format!("pigz -dc {name} | tar xf - -C {to_name}")),
                });
                if run == 0 {
                    side.seconds.clear();
                }
            }
        }
        print(title, &sides);
    }
}
