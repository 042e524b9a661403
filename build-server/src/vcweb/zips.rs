//! Repositories as zip archives: `git/hello.zip` in a folder or below an address.
//!
//! An archive that has changed is unpacked beside the repository and takes its place at once;
//! one that is damaged, hostile or cannot be had changes nothing.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use build_client::httpdl::{Download, HttpClient, sum_of};
use build_core::{Error, ErrorKind, Result};
use zip::ZipArchive;

/// Between two looks at an archive, unless somebody insists.
const EVERY: Duration = Duration::from_secs(5 * 60);
/// For one look at an archive over the network.
const PATIENCE: Duration = Duration::from_secs(60);
/// Largest archive.
const MAX_ARCHIVE: u64 = 256 << 20;
/// Bytes of all files of an archive.
const MAX_BYTES: u64 = 1 << 30;
/// Files and directories of an archive.
const MAX_ENTRIES: usize = 100_000;
/// Kinds of repositories that may come as archives.
const KINDS: [&str; 7] = ["auth", "bzr", "fossil", "git", "go", "hg", "svn"];

/// Where archives are.
#[derive(Clone, Debug)]
pub enum ZipSource {
    /// A folder.
    Folder(PathBuf),
    /// Below an address, asked by this client.
    Address(String, HttpClient),
}

/// The archives of a site.
pub(super) struct Zips {
    source: ZipSource,
    /// Where repositories lie.
    data: PathBuf,
    /// What this part keeps for itself.
    own: PathBuf,
    known: Mutex<HashMap<String, Arc<Known>>>,
}

#[derive(Default)]
struct Known {
    /// Held by whoever looks: others wait.
    looked: tokio::sync::Mutex<Option<Instant>>,
    told: Mutex<String>,
}

impl Zips {
    pub(super) fn new(source: ZipSource, data: &Path) -> Result<Self> {
        if let ZipSource::Folder(folder) = &source
            && !folder.is_dir()
        {
            let text = format!("{} is not a directory of archives", folder.display());
            return Err(Error::new(ErrorKind::NotFound, text));
        }
        let own = data.join(".zips");
        fs::create_dir_all(&own)?;
        Ok(Self {
            source,
            data: data.to_owned(),
            own,
            known: Mutex::default(),
        })
    }

    /// Brings the repository `kind/name` to what its archive holds. What is wrong is logged, and
    /// what was there before goes on being served.
    pub(super) async fn load(&self, kind: &str, name: &str, insists: bool) {
        let plain = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
        if !KINDS.contains(&kind) || name.is_empty() || !name.chars().all(plain) {
            return;
        }
        let key = format!("{kind}/{name}");
        let known = self.known().entry(key.clone()).or_default().clone();
        let mut looked = known.looked.lock().await;
        if !insists && looked.is_some_and(|at| at.elapsed() < EVERY) {
            return;
        }
        *looked = Some(Instant::now());
        let told = match self.look(kind, name).await {
            Ok(told) => told,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                // Names that nobody has an archive for are not remembered: there is no end of them.
                self.known().remove(&key);
                return;
            }
            Err(error) => {
                tracing::warn!(
                    archive = key,
                    error = error.chain(),
                    "an archive is of no use"
                );
                error.chain()
            }
        };
        *known.told.lock().unwrap_or_else(PoisonError::into_inner) = told;
    }

    /// What came of each archive.
    pub(super) fn told(&self) -> BTreeMap<String, String> {
        let known = self.known();
        let told = known.iter().map(|(name, known)| {
            let told = known.told.lock().unwrap_or_else(PoisonError::into_inner);
            (name.clone(), told.clone())
        });
        told.filter(|(_, told)| !told.is_empty()).collect()
    }

    fn known(&self) -> MutexGuard<'_, HashMap<String, Arc<Known>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn look(&self, kind: &str, name: &str) -> Result<String> {
        let own = self.own.join(kind);
        fs::create_dir_all(&own)?;
        let archive = match &self.source {
            ZipSource::Folder(folder) => folder.join(kind).join(format!("{name}.zip")),
            ZipSource::Address(address, client) => {
                let file = own.join(format!("{name}.zip"));
                let url = format!("{}/{kind}/{name}.zip", address.trim_end_matches('/'));
                let download = Download::new(url, &file)
                    .at_most(MAX_ARCHIVE)
                    .deadline(PATIENCE)
                    .attempts(2, Duration::from_millis(200));
                download.run(client, &|_| ()).await?;
                file
            }
        };
        let about = fs::metadata(&archive).map_err(|e| Error::from(e).while_doing("find it"))?;
        if about.len() > MAX_ARCHIVE {
            return Err(Error::new(ErrorKind::Limit, "the archive is too large"));
        }
        let sum = hex::encode(sum_of(&archive).await?);
        let marker = own.join(format!("{name}.sum"));
        let place = self.data.join(kind).join(name);
        let had = fs::read_to_string(&marker).ok();
        if place.exists() {
            match had {
                Some(had) if had == sum => return Ok(format!("as in the archive {}", short(&sum))),
                Some(_) => {}
                None => {
                    let text = format!(
                        "{} is there and did not come out of an archive",
                        place.display()
                    );
                    let error = Error::new(ErrorKind::Conflict, text);
                    return Err(error.with_hint("move it away; the archive then takes its place"));
                }
            }
        }
        let new = own.join(format!("{name}.new"));
        let told = format!("as in the archive {}", short(&sum));
        let work = move || replace(&archive, &new, &place, &marker, &sum);
        match tokio::task::spawn_blocking(work).await {
            Ok(done) => done.map(|()| told),
            Err(error) => Err(Error::caused_by(ErrorKind::Bug, "unpack it", error)),
        }
    }
}

fn short(sum: &str) -> &str {
    sum.get(..12).unwrap_or(sum)
}

/// Unpacks an archive beside a repository and puts the one in the place of the other.
fn replace(archive: &Path, new: &Path, place: &Path, marker: &Path, sum: &str) -> Result<()> {
    remove(new)?;
    unpack(archive, new)?;
    if let Some(parent) = place.parent() {
        fs::create_dir_all(parent)?;
    }
    // The marker first: what has one came out of an archive, whichever it was.
    write(marker, "unpacking")?;
    swap(new, place)?;
    write(marker, sum)?;
    // What was there before, now beside.
    Ok(remove(new)?)
}

fn write(file: &Path, text: &str) -> io::Result<()> {
    let beside = file.with_added_extension("tmp");
    let mut out = File::create(&beside)?;
    out.write_all(text.as_bytes())?;
    fs::rename(beside, file)
}

fn remove(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Puts `new` in the place of `place`: at once where the system can do that.
fn swap(new: &Path, place: &Path) -> io::Result<()> {
    if !place.exists() {
        return fs::rename(new, place);
    }
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        if renameat_with(CWD, new, CWD, place, RenameFlags::EXCHANGE).is_ok() {
            return Ok(());
        }
    }
    // Readers may see nothing for a moment, and never a mixture.
    let old = new.with_extension("old");
    remove(&old)?;
    fs::rename(place, &old)?;
    fs::rename(new, place)?;
    remove(&old)
}

/// Unpacks files and directories, nothing else, into the new directory `dir`.
fn unpack(archive: &Path, dir: &Path) -> Result<()> {
    let refused = |text: String| Error::new(ErrorKind::Corrupt, text);
    let damaged = |error| Error::caused_by(ErrorKind::Corrupt, "the archive is damaged", error);
    let mut archive = ZipArchive::new(io::BufReader::new(File::open(archive)?)).map_err(damaged)?;
    if archive.len() > MAX_ENTRIES {
        return Err(refused("the archive has too many entries".to_owned()));
    }
    fs::create_dir_all(dir)?;
    let mut left = MAX_BYTES;
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index).map_err(damaged)?;
        let name = entry.name().map_err(damaged)?.into_owned();
        let below = inside(&name)
            .ok_or_else(|| refused(format!("the entry {name:?} leaves the archive's directory")))?;
        let path = dir.join(below);
        if entry.is_dir() {
            fs::create_dir_all(&path)?;
            continue;
        }
        if !entry.is_file() {
            return Err(refused(format!("the entry {name:?} is a link")));
        }
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        let mut file = File::create_new(&path)
            .map_err(|e| Error::caused_by(ErrorKind::Corrupt, format!("the entry {name:?}"), e))?;
        let mut bounded = io::Read::take(&mut entry, left + 1);
        let bytes = io::copy(&mut bounded, &mut file).map_err(|error| match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Error::from(error),
            _ => Error::caused_by(ErrorKind::Corrupt, format!("the entry {name:?}"), error),
        })?;
        left = left
            .checked_sub(bytes)
            .ok_or_else(|| refused("the archive unpacks to too much".to_owned()))?;
    }
    Ok(())
}

/// The path of an entry below its directory; `None` when it leaves that, or names nothing.
fn inside(name: &str) -> Option<PathBuf> {
    if name.starts_with('/') || name.contains(['\\', '\0']) {
        return None;
    }
    let parts: Vec<&str> = name.trim_end_matches('/').split('/').collect();
    let plain = |part: &&str| !matches!(*part, "" | "." | "..");
    parts.iter().all(plain).then(|| parts.iter().collect())
}

#[cfg(test)]
mod tests {
    use zip::ZipWriter;
    use zip::write::SimpleFileOptions;

    use super::*;

    fn pack(to: &Path, entries: &[(&str, &str)]) {
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        let mut zip = ZipWriter::new(File::create(to).unwrap());
        for (name, content) in entries {
            if let Some(target) = content.strip_prefix("-> ") {
                zip.add_symlink(*name, target, SimpleFileOptions::default())
                    .unwrap();
            } else {
                zip.start_file(*name, SimpleFileOptions::default()).unwrap();
                zip.write_all(content.as_bytes()).unwrap();
            }
        }
        zip.finish().unwrap();
    }

    #[tokio::test]
    async fn a_changed_archive_takes_the_place_and_a_bad_one_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let (folder, data) = (dir.path().join("zips"), dir.path().join("data"));
        fs::create_dir_all(&data).unwrap();
        let archive = folder.join("go/page.zip");
        pack(&archive, &[("index.html", "one"), ("a/b", "x")]);
        let zips = Zips::new(ZipSource::Folder(folder.clone()), &data).unwrap();
        let page = || fs::read_to_string(data.join("go/page/index.html")).unwrap();
        zips.load("go", "page", false).await;
        assert_eq!(page(), "one");
        // Looked at a moment ago.
        pack(&archive, &[("index.html", "two")]);
        zips.load("go", "page", false).await;
        assert_eq!(page(), "one");
        zips.load("go", "page", true).await;
        assert_eq!(page(), "two");
        assert!(!data.join("go/page/a").exists(), "nothing is mixed");

        for (bad, why) in [
            (vec![("index.html", "bad"), ("../x", "out")], "leaves"),
            (vec![("index.html", "bad"), ("/x", "out")], "leaves"),
            (vec![("index.html", "bad"), ("a\\..\\x", "out")], "leaves"),
            (vec![("index.html", "bad"), ("l", "-> /etc")], "is a link"),
            (vec![("a", "file"), ("a/b", "below a file")], "a"),
        ] {
            pack(&archive, &bad);
            zips.load("go", "page", true).await;
            assert_eq!(page(), "two", "{bad:?}");
            assert!(zips.told()["go/page"].contains(why), "{:?}", zips.told());
        }
        fs::write(&archive, "PK\x03\x04 no archive").unwrap();
        zips.load("go", "page", true).await;
        assert_eq!(page(), "two");
        assert!(!data.join("x").exists() && !data.join("go/x").exists());

        // A restart knows what came out of archives, and touches nothing else.
        pack(&archive, &[("index.html", "three")]);
        pack(&folder.join("go/own.zip"), &[("index.html", "theirs")]);
        fs::create_dir_all(data.join("go/own")).unwrap();
        let zips = Zips::new(ZipSource::Folder(folder), &data).unwrap();
        zips.load("go", "page", false).await;
        zips.load("go", "own", false).await;
        zips.load("go", "none", false).await;
        zips.load("go", "..", false).await;
        assert_eq!(page(), "three");
        assert!(zips.told()["go/own"].contains("did not come out of an archive"));
        assert!(!data.join("go/own/index.html").exists());
        assert_eq!(zips.told().len(), 2);
    }
}
