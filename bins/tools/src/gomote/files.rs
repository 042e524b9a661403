//! Files of machines.

use std::collections::VecDeque;
use std::io::{IsTerminal as _, Read as _};
use std::path::{Path, PathBuf};

use build_client::{Error, ErrorKind};
use build_core::builders::Farm;
use build_core::buildlet::{Buildlet, ByteStream, FileMode, ListDir};
use build_core::tarutil::{EntryHeader, FileList, GzipOptions, Pack, Policy, Untar};
use farmer_cli::{Failure, progress};
use futures::{StreamExt as _, TryStreamExt as _};
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio_util::io::{ReaderStream, StreamReader, SyncIoBridge};

use super::args::{Cp, GetTar, Ls, Machines, Put, PutTar, Words};
use super::place::Place;
use super::target::Target;
use crate::told::failed;

/// Where Go's source is served.
const GO_ARCHIVE: &str = "https://go.googlesource.com/go/+archive";
/// The bucket of the Go project's bootstrap toolchains.
const BUCKET: &str = "go-builder-data";

fn stream(reader: impl tokio::io::AsyncRead + Send + 'static) -> ByteStream {
    Box::pin(ReaderStream::new(reader).map_err(Error::from))
}

pub(super) async fn ls(place: &Place, args: Ls) -> Result<(), Failure> {
    let mut words: VecDeque<_> = args.words.into();
    let targets = place.targets(&mut words).await?;
    let what = ListDir {
        dir: words.pop_front().unwrap_or_else(|| ".".into()),
        recursive: args.recursive,
        digest: args.digest,
        skip: args.skip,
    };
    for target in &targets {
        let entries = target
            .machine
            .list_dir(&what)
            .await
            .map_err(|e| failed(&e))?;
        if place.json {
            println!("{}", json!({"instance": target.name, "entries": entries}));
            continue;
        }
        if targets.len() > 1 {
            println!("# {}", target.name);
        }
        for entry in entries {
            let mut line = format!("{}\t{}", entry.mode, entry.name);
            let more = [
                entry.size.map(|size| size.to_string()),
                entry.modified,
                entry.digest,
            ];
            for more in more.into_iter().flatten() {
                line += "\t";
                line += &more;
            }
            println!("{line}");
        }
    }
    Ok(())
}

pub(super) async fn rm(place: &Place, args: Words) -> Result<(), Failure> {
    let mut words: VecDeque<_> = args.words.into();
    let targets = place.targets(&mut words).await?;
    let paths: Vec<String> = words.into();
    if paths.is_empty() {
        return Err(Failure::usage(
            "name what is to be removed",
            "`.` is everything",
        ));
    }
    for target in &targets {
        target
            .machine
            .remove_all(&paths)
            .await
            .map_err(|e| failed(&e))?;
    }
    Ok(())
}

pub(super) async fn put(place: &Place, args: Put) -> Result<(), Failure> {
    let mut words: VecDeque<_> = args.words.into();
    let targets = place.targets(&mut words).await?;
    let source = words
        .pop_front()
        .ok_or_else(|| Failure::usage("name the file", "`-` is standard input"))?;
    let (content, own_mode) = if source == "-" {
        let mut all = Vec::new();
        std::io::stdin().read_to_end(&mut all)?;
        (all, 0o666)
    } else {
        read_file(Path::new(&source))?
    };
    let dest = match (words.pop_front(), source.as_str()) {
        (Some(dest), _) => dest,
        (None, "-") => {
            return Err(Failure::usage(
                "must specify destination file name when source is standard input",
                "add it behind the `-`",
            ));
        }
        (None, path) => match Path::new(path).file_name() {
            Some(base) => base.to_string_lossy().into_owned(),
            None => {
                return Err(Failure::usage(
                    format!("{path:?} has no base name"),
                    "name the destination",
                ));
            }
        },
    };
    let mode = match &args.mode {
        Some(text) => parse_mode(text)?,
        None => own_mode,
    };
    let bits = FileMode::from_unix(0o100_000 | mode).bits();
    for target in &targets {
        let content = build_client::once(content.clone());
        let put = target.machine.put(&dest, bits, content).await;
        put.map_err(|e| failed(&e))?;
    }
    Ok(())
}

fn read_file(path: &Path) -> Result<(Vec<u8>, u32), Failure> {
    use std::os::unix::fs::PermissionsExt as _;
    let read = || {
        let meta = std::fs::metadata(path)?;
        Ok((std::fs::read(path)?, meta.permissions().mode() & 0o7777))
    };
    read().map_err(|error: std::io::Error| {
        Failure::usage(
            format!("cannot read {}: {error}", path.display()),
            "name another file",
        )
    })
}

/// Permissions and the three bits above them; a type of file is none of them.
fn parse_mode(text: &str) -> Result<u32, Failure> {
    let digits = text.strip_prefix("0o").unwrap_or(text);
    u32::from_str_radix(digits, 8)
        .ok()
        .filter(|mode| mode & !0o7777 == 0)
        .ok_or_else(|| Failure::usage(format!("bad mode: {text:?}"), "octal, such as 0755"))
}

pub(super) async fn put_bootstrap(place: &Place, args: Machines) -> Result<(), Failure> {
    let targets = place.targets(&mut args.words.into()).await?;
    for target in &targets {
        bootstrap(target).await?;
    }
    Ok(())
}

/// Has the machine fetch the toolchain that its builder builds Go with.
pub(super) async fn bootstrap(target: &Target) -> Result<(), Failure> {
    let farm = Farm::go2020();
    let url = target
        .of_go(&farm)
        .map(|builder| builder.host().bootstrap_url(BUCKET));
    match url.filter(|url| !url.is_empty()) {
        Some(url) => {
            let put = target.machine.fetch_tar(&url, "go1.4").await;
            put.map_err(|e| failed(&e))
        }
        None => {
            println!(
                "No GoBootstrapURL defined for {:?}; ignoring. (may be baked into image)",
                target.builder
            );
            Ok(())
        }
    }
}

pub(super) async fn put_tar(place: &Place, args: PutTar) -> Result<(), Failure> {
    let mut words: VecDeque<_> = args.words.into();
    let targets = place.targets(&mut words).await?;
    let word = words.pop_front();
    let is_url = |text: &str| text.starts_with("http://") || text.starts_with("https://");
    let is_revision = |text: &str| {
        (7..=40).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_hexdigit())
            && !Path::new(text).exists()
    };
    let revision = args
        .gorev
        .or_else(|| word.clone().filter(|word| is_revision(word)));
    let url = args
        .url
        .or_else(|| word.clone().filter(|word| is_url(word)));
    for target in &targets {
        if let Some(revision) = &revision {
            let url = format!("{GO_ARCHIVE}/{revision}.tar.gz");
            fetch(&*target.machine, &url, &args.dir).await?;
            let mut version = FileList::new();
            version.add_bytes(EntryHeader::file("VERSION", 0), format!("devel {revision}"));
            put_list(&*target.machine, &version, &args.dir).await?;
            continue;
        }
        if let Some(url) = &url {
            fetch(&*target.machine, url, &args.dir).await?;
            continue;
        }
        let tgz = match word.as_deref() {
            None | Some("-") if targets.len() > 1 => {
                return Err(Failure::usage(
                    "standard input is for one machine",
                    "name a file",
                ));
            }
            None | Some("-") => stream(tokio::io::stdin()),
            Some(path) => open_with_bar(Path::new(path)).await?,
        };
        let put = target.machine.put_tar(tgz, &args.dir).await;
        put.map_err(|e| failed(&e))?;
    }
    Ok(())
}

async fn fetch(machine: &dyn Buildlet, url: &str, dir: &str) -> Result<(), Failure> {
    let put = machine.fetch_tar(url, dir).await;
    put.map_err(|e| failed(&e))
}

async fn put_list(machine: &dyn Buildlet, list: &FileList, dir: &str) -> Result<(), Failure> {
    let mut all = Vec::new();
    list.open_gz().read_to_end(&mut all)?;
    let put = machine.put_tar(build_client::once(all), dir).await;
    put.map_err(|e| failed(&e))
}

async fn open_with_bar(path: &Path) -> Result<ByteStream, Failure> {
    let opened = async {
        let file = tokio::fs::File::open(path).await?;
        let bytes = file.metadata().await?.len();
        std::io::Result::Ok((file, bytes))
    };
    let (file, bytes) = opened.await.map_err(|error| {
        Failure::usage(
            format!("cannot read {}: {error}", path.display()),
            "name another file",
        )
    })?;
    let bar = progress::bytes("sent", bytes);
    Ok(Box::pin(stream(file).inspect(move |piece| {
        if let Ok(piece) = piece {
            bar.inc(piece.len() as u64);
        }
    })))
}

pub(super) async fn get_tar(place: &Place, args: GetTar) -> Result<(), Failure> {
    let targets = place.targets(&mut args.words.into()).await?;
    let to_stdout = match &args.o {
        Some(path) => path.as_os_str() == "-",
        None => targets.len() == 1 && !std::io::stdout().is_terminal(),
    };
    if (to_stdout || args.o.is_some()) && targets.len() > 1 {
        return Err(Failure::usage(
            "one file is for one machine",
            "leave -o away: each gets a file of its own",
        ));
    }
    for target in &targets {
        if to_stdout {
            let tgz = target
                .machine
                .get_tar(&args.dir)
                .await
                .map_err(|e| failed(&e))?;
            write_to(tgz, &mut tokio::io::stdout()).await?;
            continue;
        }
        let path = args.o.clone();
        let path = path.unwrap_or_else(|| format!("{}.tar.gz", target.name).into());
        collect_into(&*target.machine, &args.dir, &path).await?;
        eprintln!("# wrote {}", path.display());
    }
    Ok(())
}

/// Writes the archive of a directory to a file, whole or not at all.
pub(super) async fn collect_into(
    machine: &dyn Buildlet,
    dir: &str,
    path: &Path,
) -> Result<(), Failure> {
    let tgz = machine.get_tar(dir).await.map_err(|e| failed(&e))?;
    let beside = path.parent().filter(|dir| !dir.as_os_str().is_empty());
    let draft = tempfile::NamedTempFile::new_in(beside.unwrap_or(Path::new(".")))?;
    let mut file = tokio::fs::File::from_std(draft.reopen()?);
    write_to(tgz, &mut file).await?;
    file.sync_all().await?;
    draft
        .persist(path)
        .map_err(|error| Failure::from(error.error))?;
    Ok(())
}

async fn write_to(
    mut tgz: ByteStream,
    out: &mut (impl tokio::io::AsyncWrite + Unpin),
) -> Result<(), Failure> {
    let bar = progress::counter("bytes received");
    while let Some(piece) = tgz.next().await {
        let piece = piece.map_err(|e| failed(&e))?;
        bar.inc(piece.len() as u64);
        out.write_all(&piece).await?;
    }
    Ok(out.flush().await?)
}

/// Either end of a copy.
enum End {
    Here(PathBuf),
    There(String, String),
}

/// Behind the name of a machine: one that is reached directly may have a port,
/// `builder@host:port:path`.
fn split(text: &str) -> Option<(&str, &str)> {
    let (name, path) = text.split_once(':')?;
    let port = path.split_once(':').map(|(port, _)| port);
    let digits = |port: &&str| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    match port.filter(digits) {
        Some(port) if name.contains('@') => {
            let (name, path) = text.split_at(name.len() + 1 + port.len());
            Some((name, path.strip_prefix(':')?))
        }
        _ => Some((name, path)),
    }
}

fn end(text: &str) -> End {
    match split(text) {
        // A path is one that begins like a path, whatever comes then.
        Some((name, path)) if !name.is_empty() && !name.contains('/') && !text.starts_with('.') => {
            End::There(name.to_owned(), path.to_owned())
        }
        _ => End::Here(text.into()),
    }
}

pub(super) async fn cp(place: &Place, args: Cp) -> Result<(), Failure> {
    // Directories are copied with what is in them either way.
    let _as_in_cp = args.recursive;
    match (end(&args.from), end(&args.to)) {
        (End::Here(from), End::There(name, to)) => {
            let target = place.target(&mut VecDeque::from([name])).await?;
            copy_there(&target, &from, &to).await
        }
        (End::There(name, from), End::Here(to)) => {
            let target = place.target(&mut VecDeque::from([name])).await?;
            copy_here(&target, &from, &to).await
        }
        _ => Err(Failure::usage(
            "one end of a copy is a machine, the other one is not",
            "write a file of a machine as INSTANCE:PATH",
        )),
    }
}

async fn copy_there(target: &Target, from: &Path, to: &str) -> Result<(), Failure> {
    if from.is_dir() {
        let from = from.to_owned();
        let packed = tokio::task::spawn_blocking(move || {
            let mut all = tempfile::tempfile()?;
            let pack = Pack::open(&from)?;
            pack.write_gz(&mut all, &GzipOptions::default())
                .map_err(std::io::Error::other)?;
            std::io::Seek::rewind(&mut all)?;
            std::io::Result::Ok(all)
        });
        let packed = packed.await.map_err(std::io::Error::other)??;
        let tgz = stream(tokio::fs::File::from_std(packed));
        let put = target.machine.put_tar(tgz, to).await;
        return put.map_err(|e| failed(&e));
    }
    let (content, mode) = read_file(from)?;
    let base = from.file_name().unwrap_or_default().to_string_lossy();
    let to = match to {
        "" | "." => base.into_owned(),
        to if to.ends_with('/') => format!("{to}{base}"),
        to => to.to_owned(),
    };
    let bits = FileMode::from_unix(0o100_000 | mode).bits();
    let put = target
        .machine
        .put(&to, bits, build_client::once(content))
        .await;
    put.map_err(|e| failed(&e))
}

async fn copy_here(target: &Target, from: &str, to: &Path) -> Result<(), Failure> {
    // A file is packed with its directory, and taken out of that.
    let (dir, base) = match from.trim_end_matches('/').rsplit_once('/') {
        Some((dir, base)) => (dir, base),
        None => ("", from),
    };
    let what = ListDir {
        dir: dir.to_owned(),
        ..ListDir::default()
    };
    let listed = target
        .machine
        .list_dir(&what)
        .await
        .map_err(|e| failed(&e))?;
    let is_dir = matches!(from, "" | ".")
        || listed.iter().any(|e| {
            e.is_dir()
                && e.name
                    .as_str()
                    .is_some_and(|name| name.trim_end_matches('/') == base)
        });
    let is_file = listed.iter().any(|e| e.name == base);
    if !is_dir && !is_file {
        let text = format!("{} has no file {from:?}", target.name);
        return Err(failed(&Error::new(ErrorKind::NotFound, text)));
    }
    let packed = if is_dir { from } else { dir };
    let tgz = target
        .machine
        .get_tar(packed)
        .await
        .map_err(|e| failed(&e))?;
    let reader = StreamReader::new(tgz.map_err(std::io::Error::other));
    let place = tempfile::tempdir_in(match to.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    })?;
    let into = place.path().to_owned();
    let bridge = SyncIoBridge::new(reader);
    let unpacked = tokio::task::spawn_blocking(move || {
        Untar::open(&into)?
            .policy(Policy::trees())
            .unpack(bridge)
            .map(drop)
            .map_err(std::io::Error::other)
    });
    unpacked.await.map_err(std::io::Error::other)??;
    let source = match is_dir {
        true => place.path().to_owned(),
        false => place.path().join(base),
    };
    let to = match to.is_dir() && is_file && !is_dir {
        true => to.join(base),
        false => to.to_owned(),
    };
    if is_dir && to.exists() {
        return Err(Failure::usage(
            format!("{} is there already", to.display()),
            "name a new directory",
        ));
    }
    Ok(std::fs::rename(source, to)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_octal_and_have_no_type() {
        assert_eq!(parse_mode("0755").unwrap(), 0o755);
        assert_eq!(parse_mode("4755").unwrap(), 0o4755);
        for bad in ["", "9", "0100644", "rwx", "-1"] {
            assert!(parse_mode(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn one_end_of_a_copy_is_a_machine() {
        assert!(matches!(end("user-a-x-0:go/VERSION"), End::There(..)));
        for here in ["file", "./a:b", "dir/a:b", "/x:y"] {
            assert!(matches!(end(here), End::Here(_)), "{here}");
        }
    }
}
