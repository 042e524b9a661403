//! What is to be done, from both lists alone.

use std::collections::BTreeMap;

use build_core::buildlet::DirEntry;

use super::local::Local;

/// What is peculiar to a kind of tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    /// The directory on the machine; empty for its work directory.
    pub remote_dir: String,
    /// Directories on the machine, below its work directory, that are not looked at.
    pub skip: Vec<String>,
    /// Directories at the root of the local tree that are not looked at.
    pub skip_local: Vec<String>,
    /// Names that are never removed.
    pub keep: Vec<String>,
    /// Ends of names that are never sent.
    pub never_sent: Vec<String>,
    /// A file that every tree has, and what stands in it when it is made here.
    pub marker: Option<(String, Vec<u8>)>,
}

impl Profile {
    /// A Go tree, as Go's programs of 2020 and later push it.
    #[must_use]
    pub fn go() -> Self {
        let all = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Self {
            remote_dir: "go".into(),
            skip: all(&[
                "go/pkg",
                "go/bin",
                "go1.4/src",
                "go1.4/pkg",
                "gocache",
                "goplscache",
                "tmp",
            ]),
            skip_local: all(&["pkg", "bin"]),
            keep: all(&[
                "VERSION",
                "src/cmd/cgo/zdefaultcc.go",
                "src/cmd/go/internal/cfg/zdefaultcc.go",
                "src/cmd/go/internal/cfg/zosarch.go",
                "src/cmd/internal/objabi/zbootstrap.go",
                "src/go/build/zcgo.go",
                "src/runtime/internal/sys/zversion.go",
                "src/internal/buildcfg/zbootstrap.go",
                "src/internal/runtime/sys/zversion.go",
                "src/time/tzdata/zzipdata.go",
            ]),
            never_sent: all(&[
                "VERSION.cache",
                "/zversion.go",
                "/zbootstrap.go",
                "src/go/build/zcgo.go",
            ]),
            marker: Some(("VERSION".into(), b"devel gomote.XXXXX".to_vec())),
        }
    }

    fn is_sent(&self, name: &str) -> bool {
        !self
            .never_sent
            .iter()
            .any(|end| name.ends_with(end.as_str()))
    }
}

/// What is to be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// What is removed, below the work directory, in order.
    pub delete: Vec<String>,
    /// What is sent, relative to the tree, in order.
    pub send: Vec<String>,
    /// Those of them that the machine does not have at all.
    pub new: Vec<String>,
    /// Whether the marker is written.
    pub marker: bool,
}

impl Plan {
    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.delete.is_empty() && self.send.is_empty() && !self.marker
    }
}

struct Remote<'a> {
    is_dir: bool,
    is_link: bool,
    digest: Option<&'a str>,
}

/// What is to be done so that the machine has what `local` has. `remote` is the listing of the
/// machine's work directory; `ignored` says which names the repository ignores.
///
/// A directory that is gone here is removed with all that is in it, unless something in it is
/// kept: then only the rest is.
#[must_use]
pub fn plan(
    profile: &Profile,
    local: &Local,
    remote: &[DirEntry],
    ignored: impl Fn(&str) -> bool,
) -> Plan {
    let remote = below(&profile.remote_dir, remote);
    let mut plan = Plan {
        delete: deletions(profile, local, &remote, ignored),
        ..Plan::default()
    };
    let prefix = match profile.remote_dir.as_str() {
        "" => String::new(),
        dir => format!("{dir}/"),
    };
    for name in &mut plan.delete {
        name.insert_str(0, &prefix);
    }
    let marker = profile.marker.as_ref().map(|(name, _)| name.as_str());
    for (name, file) in local.files() {
        let there = remote.get(name);
        let same = there.is_some_and(|there| match file.digest() {
            Some(digest) => there.digest == Some(digest),
            None => there.is_link,
        });
        if same || !profile.is_sent(name) || (marker == Some(name) && there.is_some()) {
            continue;
        }
        if there.is_none() {
            plan.new.push(name.to_owned());
        }
        plan.send.push(name.to_owned());
    }
    if let Some(marker) = marker {
        // The machine's own stays; one of ours is not of this commit.
        plan.send.retain(|name| name != marker);
        plan.new.retain(|name| name != marker);
        plan.marker = !remote.contains_key(marker);
    }
    plan
}

/// The entries below a directory, without their final slashes.
fn below<'a>(dir: &str, remote: &'a [DirEntry]) -> BTreeMap<&'a str, Remote<'a>> {
    let inside = |name: &'a str| match dir {
        "" => Some(name),
        dir => name.strip_prefix(dir)?.strip_prefix('/'),
    };
    let entries = remote.iter().filter_map(|entry| {
        // What is no text is neither sent nor removed.
        let name = inside(entry.name.as_str()?)?.trim_end_matches('/');
        let remote = Remote {
            is_dir: entry.is_dir(),
            is_link: entry.mode.starts_with('L'),
            digest: entry.digest.as_deref(),
        };
        // The directory itself.
        (!name.is_empty()).then_some((name, remote))
    });
    entries.collect()
}

fn deletions(
    profile: &Profile,
    local: &Local,
    remote: &BTreeMap<&str, Remote<'_>>,
    ignored: impl Fn(&str) -> bool,
) -> Vec<String> {
    let stays = |name: &str| {
        local.has(name) || profile.keep.iter().any(|kept| kept == name) || ignored(name)
    };
    // Directories in which something stays that is no directory.
    let mut holding = std::collections::BTreeSet::new();
    for (name, entry) in remote {
        if !entry.is_dir && stays(name) {
            let mut path = *name;
            while let Some((parent, _)) = path.rsplit_once('/') {
                if !holding.insert(parent) {
                    break;
                }
                path = parent;
            }
        }
    }
    let mut delete: Vec<String> = Vec::new();
    for (name, entry) in remote {
        let goes_with = delete.iter().any(|gone| {
            name.strip_prefix(gone.as_str())
                .is_some_and(|rest| rest.starts_with('/'))
        });
        let is_changed_kind = local.has(name) && local.is_dir(name) != entry.is_dir;
        let goes = is_changed_kind || !(stays(name) || (entry.is_dir && holding.contains(name)));
        if goes && !goes_with {
            delete.push((*name).to_owned());
        }
    }
    delete
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(lines: &[(&str, &str)]) -> Vec<DirEntry> {
        let entry = |(name, digest): &(&str, &str)| DirEntry {
            mode: if name.ends_with('/') {
                "drwxr-xr-x"
            } else {
                "-rw-r--r--"
            }
            .into(),
            name: (*name).into(),
            size: None,
            modified: None,
            digest: (!digest.is_empty()).then(|| (*digest).to_owned()),
        };
        lines.iter().map(entry).collect()
    }

    fn local() -> Local {
        Local::of(
            &["src", "src/go", "src/go/build"],
            &[("src/a.go", "a2"), ("src/b.go", "b"), ("src/c.go", "c")],
        )
    }

    #[test]
    fn the_vector_of_the_protocol() {
        let remote = listing(&[
            ("go/", ""),
            ("go/VERSION", "v"),
            ("go/src/", ""),
            ("go/src/a.go", "a1"),
            ("go/src/b.go", "b"),
            ("go/src/old.go", "o"),
            ("go/src/go/", ""),
            ("go/src/go/build/", ""),
            ("go/src/go/build/zcgo.go", "z"),
            ("go/lib/", ""),
            ("go1.4/", ""),
        ]);
        let plan = plan(&Profile::go(), &local(), &remote, |_| false);
        assert_eq!(plan.delete, ["go/lib", "go/src/old.go"]);
        assert_eq!(plan.send, ["src/a.go", "src/c.go"]);
        assert_eq!(plan.new, ["src/c.go"]);
        assert!(!plan.marker);
    }

    #[test]
    fn nothing_is_done_twice_and_the_marker_is_written_once() {
        let same = listing(&[
            ("go/src/", ""),
            ("go/src/a.go", "a2"),
            ("go/src/b.go", "b"),
            ("go/src/c.go", "c"),
        ]);
        let first = plan(&Profile::go(), &local(), &same, |_| false);
        assert!(first.marker && first.send.is_empty() && first.delete.is_empty());
        let mut all = same;
        all.extend(listing(&[("go/VERSION", "v")]));
        assert!(plan(&Profile::go(), &local(), &all, |_| false).is_empty());
    }

    #[test]
    fn a_directory_that_is_gone_keeps_what_is_kept() {
        let remote = listing(&[
            ("go/src/old/", ""),
            ("go/src/old/x.go", "x"),
            ("go/src/old/deep/", ""),
            ("go/src/old/deep/out.o", "o"),
            ("go/src/old/empty/", ""),
            ("go/src/cmd/", ""),
            ("go/src/cmd/cgo/", ""),
            ("go/src/cmd/cgo/zdefaultcc.go", "z"),
            ("go/src/cmd/cgo/main.go", "m"),
        ]);
        let plan = plan(&Profile::go(), &local(), &remote, |name| {
            name.ends_with(".o")
        });
        assert_eq!(
            plan.delete,
            [
                "go/src/cmd/cgo/main.go",
                "go/src/old/empty",
                "go/src/old/x.go"
            ]
        );
    }

    #[test]
    fn a_file_that_became_a_directory_is_removed_first() {
        let local = Local::of(&["a"], &[("a/b", "1"), ("c", "2")]);
        let remote = listing(&[("a", "0"), ("c/", ""), ("c/d", "3")]);
        let plan = plan(&Profile::default(), &local, &remote, |_| false);
        assert_eq!(plan.delete, ["a", "c"]);
        assert_eq!(plan.send, ["a/b", "c"]);
    }
}
