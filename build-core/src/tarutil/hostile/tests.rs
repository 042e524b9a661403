//! Every archive, unpacked: nothing outside, bounded cost, the expected answer.

use std::collections::{BTreeMap, HashSet};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::super::{Links, Unpacked, Untar, UntarError};
use super::*;

/// A directory to unpack into, with something beside it that must not change.
struct Scene {
    root: tempfile::TempDir,
    base: PathBuf,
    before: BTreeMap<PathBuf, String>,
}

impl Scene {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let base = root.path().join("base");
        std::fs::create_dir(&base).unwrap();
        std::fs::create_dir(root.path().join("outside")).unwrap();
        std::fs::write(root.path().join("outside/canary"), "alive").unwrap();
        let before = outside(root.path(), &base);
        Self { root, base, before }
    }

    fn unpack(&self, archive: &Hostile, policy: Policy) -> Result<Unpacked, UntarError> {
        let deadline = Instant::now() + Duration::from_secs(120);
        Untar::open(&self.base)
            .unwrap()
            .policy(policy)
            .deadline(deadline)
            .unpack(archive.open())
    }

    fn check_outside(&self, name: &str) {
        assert_eq!(
            outside(self.root.path(), &self.base),
            self.before,
            "{name}: something outside changed"
        );
    }

    fn check_unharmed(&self, name: &str) {
        self.check_outside(name);
        let base = self.base.canonicalize().unwrap();
        let mut bytes = 0;
        for path in tree(&self.base) {
            let meta = path.symlink_metadata().unwrap();
            bytes += meta.blocks() * 512;
            if meta.is_symlink() {
                let leads = path.canonicalize().unwrap_or_else(|_| base.clone());
                assert!(
                    leads.starts_with(&base),
                    "{name}: {} leads to {}",
                    path.display(),
                    leads.display()
                );
            }
            assert_eq!(meta.mode() & 0o7000, 0, "{name}: special bits");
        }
        assert!(
            bytes <= policy().limits.total_bytes + (8 << 20),
            "{name}: {bytes} bytes on disk"
        );
    }
}

/// Everything but the directory itself, with what would change if it was written to.
fn outside(root: &Path, base: &Path) -> BTreeMap<PathBuf, String> {
    let all = tree(root)
        .into_iter()
        .filter(|path| !path.starts_with(base));
    all.map(|path| {
        let meta = path.symlink_metadata().unwrap();
        let times = (
            meta.mtime(),
            meta.mtime_nsec(),
            meta.ctime(),
            meta.ctime_nsec(),
        );
        let state = format!("{} {} {} {times:?}", meta.nlink(), meta.len(), meta.mode());
        (path, state)
    })
    .collect()
}

fn tree(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            found.extend(tree(&entry.path()));
        }
        found.push(entry.path());
    }
    found
}

#[test]
fn nothing_gets_out_and_every_answer_is_clear() {
    let mut wrong = Vec::new();
    for archive in archives() {
        let scene = Scene::new();
        let outcome = scene.unpack(&archive, policy());
        scene.check_unharmed(archive.name());
        let as_expected = match (archive.outcome(), &outcome) {
            (Outcome::Harmless, Ok(_)) => true,
            (Outcome::Refused(text), Err(error)) => error.wire_text().contains(text),
            _ => false,
        };
        if !as_expected {
            let got = outcome.map_or_else(|error| error.wire_text(), |done| format!("{done:?}"));
            wrong.push(format!(
                "{}: expected {:?}, got {got}",
                archive.name(),
                archive.outcome()
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn nothing_gets_out_under_the_other_policies() {
    let limits = policy().limits;
    for policy in [
        Policy::go2020(),
        Policy::plain_files(),
        Policy::default().links(Links::Skip).backslash(true),
    ] {
        for archive in archives() {
            let scene = Scene::new();
            // Any answer will do: what happened on disk is the question.
            drop(scene.unpack(&archive, policy.clone().limits(limits.clone())));
            scene.check_unharmed(archive.name());
        }
    }
}

#[test]
fn nothing_gets_out_where_the_kernel_does_not_resolve_for_us() {
    for archive in archives() {
        let scene = Scene::new();
        let untar = Untar::open(&scene.base)
            .unwrap()
            .policy(policy())
            .without_kernel_help();
        let outcome = untar.unpack(archive.open());
        scene.check_unharmed(archive.name());
        if let Outcome::Refused(_) = archive.outcome() {
            assert!(outcome.is_err(), "{}: {outcome:?}", archive.name());
        }
    }
}

#[test]
fn a_second_archive_cannot_use_what_a_build_left() {
    let scene = Scene::new();
    std::os::unix::fs::symlink("../outside", scene.base.join("a")).unwrap();
    std::os::unix::fs::symlink(scene.root.path(), scene.base.join("b")).unwrap();
    std::os::unix::fs::symlink("../outside/canary", scene.base.join("c")).unwrap();
    let evil = |name: &str| build::Tar::default().file(name, b"evil").gz();
    let untar = || Untar::open(&scene.base).unwrap();
    let unpack = |name: &str| untar().unpack(evil(name));
    for name in ["a/canary", "b/outside/canary"] {
        let refusal = unpack(name).unwrap_err();
        assert!(
            matches!(refusal, UntarError::Through { .. }),
            "{name}: {refusal}"
        );
        assert_eq!(refusal.status(), 400);
        assert!(untar().without_kernel_help().unpack(evil(name)).is_err());
    }
    unpack("c").unwrap();
    assert_eq!(std::fs::read(scene.base.join("c")).unwrap(), b"evil");
    assert_eq!(outside(scene.root.path(), &scene.base), scene.before);
}

#[test]
fn a_link_cannot_wait_for_another_archive_to_lead_out() {
    let scene = Scene::new();
    let unpack = |tar: build::Tar| Untar::open(&scene.base).unwrap().unpack(tar.gz());
    let waiting = || build::Tar::default().dir("x").symlink("d/l", "c/../..");
    assert!(matches!(unpack(waiting()), Err(UntarError::Outside { .. })));
    assert!(scene.base.join("d/l").symlink_metadata().is_err());
    unpack(build::Tar::default().symlink("d/c", "../x")).unwrap();
    assert!(matches!(unpack(waiting()), Err(UntarError::Outside { .. })));
    scene.check_unharmed("two archives");
    unpack(build::Tar::default().dir("e/c").symlink("e/l", "c/../..")).unwrap();
    scene.check_unharmed("a target that goes up from a real directory");
}

#[test]
fn links_that_lead_out_exist_and_are_never_written_through() {
    for by_hand in [false, true] {
        for archive in [names::CASES, links::CASES].concat() {
            let scene = Scene::new();
            let untar = || {
                let untar = Untar::open(&scene.base).unwrap();
                let untar = untar.policy(policy().links(Links::Anywhere));
                if by_hand {
                    untar.without_kernel_help()
                } else {
                    untar
                }
            };
            let outcome = untar().unpack(archive.open());
            if archive.outcome() == Outcome::Harmless {
                assert!(outcome.is_ok(), "{}: {outcome:?}", archive.name());
            }
            scene.check_outside(archive.name());
            // A second archive tries every link that the first one left.
            for path in tree(&scene.base) {
                if !path.is_symlink() {
                    continue;
                }
                let link = path.strip_prefix(&scene.base).unwrap().to_str().unwrap();
                let through = build::Tar::default()
                    .file(&format!("{link}/canary"), b"evil")
                    .gz();
                drop(untar().unpack(through));
                let hard = build::Tar::default().hard_link("h", &format!("{link}/canary"));
                drop(untar().unpack(hard.gz()));
                drop(untar().unpack(build::Tar::default().dir(&format!("{link}/made")).gz()));
                scene.check_outside(archive.name());
                // In its own place a file takes over, and the link's target stays as it is.
                let over = build::Tar::default().file(link, b"mine").gz();
                untar().unpack(over).unwrap();
                assert_eq!(std::fs::read(&path).unwrap(), b"mine");
                scene.check_outside(archive.name());
            }
        }
    }
}

#[test]
fn a_virtual_environment_comes_back_as_it_was() {
    let (from, to) = (Scene::new(), Scene::new());
    let links = [
        ("venv/bin/python3", "/usr/bin/python3"),
        ("venv/bin/python", "python3"),
        ("venv/lib64", "lib"),
        ("n", "/dev/null"),
        ("l", "../../outside"),
        ("up", ".."),
    ];
    let tar = links.iter().fold(
        build::Tar::default().file("venv/lib/x.py", b"x"),
        |tar, (at, to)| tar.symlink(at, to),
    );
    let untar = |scene: &Scene| Untar::open(&scene.base).unwrap().policy(Policy::trees());
    let done = untar(&from).unpack(tar.gz()).unwrap();
    assert_eq!((done.links, done.files), (6, 1));
    let mut packed = Vec::new();
    let pack = super::super::Pack::open(&from.base).unwrap();
    pack.write_tar(&mut packed).unwrap();
    untar(&to).unpack_tar(packed.as_slice()).unwrap();
    for (at, target) in links {
        assert_eq!(
            std::fs::read_link(to.base.join(at)).unwrap(),
            Path::new(target)
        );
    }
    crate::tree::remove_tree(&to.base).unwrap();
    std::fs::create_dir(&to.base).unwrap();
    to.check_outside("a virtual environment");
}

/// Entries over so few names that links meet files, directories and each other all the time.
fn tangle() -> impl Strategy<Value = Vec<(u8, String, String)>> {
    let part = prop_oneof![4 => Just("a"), 4 => Just("b"), 2 => Just("c"), 3 => Just(".."), 1 => Just(".")];
    let path = prop::collection::vec(part, 1..5).prop_map(|parts| parts.join("/"));
    prop::collection::vec((0_u8..8, path.clone(), path), 1..12)
}

fn tangled(entries: &[(u8, String, String)]) -> build::Tar {
    entries.iter().fold(
        build::Tar::default(),
        |tar, (kind, path, target)| match kind {
            0..=3 => tar.symlink(path, target),
            4 => tar.hard_link(path, target),
            5 => tar.dir(path),
            _ => tar.file(path, b"evil"),
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Two archives one after the other into the same directory, each half of them refused at some
    /// point: whatever they leave there, nothing outside changes and no link of theirs leads out.
    #[test]
    fn no_tangle_of_links_gets_out(first in tangle(), second in tangle(), by_hand: bool, anywhere: bool) {
        let scene = Scene::new();
        for entries in [first, second] {
            let untar = Untar::open(&scene.base).unwrap();
            let untar = if by_hand { untar.without_kernel_help() } else { untar };
            let untar = if anywhere { untar.policy(Policy::trees()) } else { untar };
            // Most are refused somewhere; what is on the disk then is the question.
            drop(untar.unpack(tangled(&entries).gz()));
            match anywhere {
                true => scene.check_outside("tangle"),
                false => scene.check_unharmed("tangle"),
            }
        }
    }
}

#[test]
fn the_set_is_large_and_its_names_are_unique() {
    let names: HashSet<_> = archives().iter().map(Hostile::name).collect();
    assert_eq!(names.len(), archives().len());
    assert!(names.len() >= 60, "{}", names.len());
}
