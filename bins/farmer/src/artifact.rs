//! `farmer artifact`: the files that a build has kept.

use std::path::{Component, Path, PathBuf};

use build_client::farm::FarmClient;
use build_core::buildlet::ByteStream;
use build_core::event::Artifact;
use build_core::ids::StepName;
use build_core::tarutil::Glob;
use build_core::{Error, ErrorKind, Result};
use build_server::record::BuildRow;
use build_server::store::{BlobKey, BlobKind, Blobs as _, FileBlobs, Quota, checked};
use farmer_cli::{Failure, progress};
use futures::TryStreamExt;
use serde_json::json;
use tokio::io::AsyncWriteExt;

use crate::cli::{ArtifactCommand, Download};
use crate::output::{failure, print_json, print_text};
use crate::records::Recorded;
use crate::running;

pub(crate) const EXAMPLES: &str = "\
Examples:
  farmer artifact list                                 what the newest build has kept
  farmer artifact download B0123456789                 all of it, into the directory B0123456789
  farmer artifact download B0123456789 'out/**' -o .   what lies below out, into this directory";

/// A kept file and the step that has kept it.
type Kept<'r> = (&'r StepName, &'r Artifact);

/// Lists or downloads.
pub(crate) async fn artifact(
    command: &ArtifactCommand,
    data: &Path,
    json: bool,
) -> Result<(), Failure> {
    let recorded = Recorded::open(data).await?;
    match command {
        ArtifactCommand::List { build, step } => {
            let row = recorded.find(build.as_deref()).await?;
            list(&row, step.as_deref(), json)
        }
        ArtifactCommand::Download(args) => {
            let row = recorded.find(Some(&args.build)).await?;
            download(args, &row, data, json).await
        }
    }
}

fn kept<'r>(row: &'r BuildRow, step: Option<&str>) -> Vec<Kept<'r>> {
    let of_step = row.kept.iter();
    let of_step = of_step.filter(|kept| step.is_none_or(|step| kept.step.as_str() == step));
    of_step
        .flat_map(|kept| kept.artifacts.iter().map(|file| (&kept.step, file)))
        .collect()
}

fn list(row: &BuildRow, step: Option<&str>, json: bool) -> Result<(), Failure> {
    let files = kept(row, step);
    if json {
        let files = files.iter().map(|(step, file)| {
            json!({ "step": step, "path": file.path, "size": file.size, "sha256": file.sha256 })
        });
        return print_json(&json!({ "build": row.id, "artifacts": files.collect::<Vec<_>>() }));
    }
    let width = files.iter().map(|(step, _)| step.as_str().len()).max();
    for (step, file) in &files {
        let line = format!(
            "{:<width$}  {:>12}  {}\n",
            step.as_str(),
            file.size,
            file.path,
            width = width.unwrap_or_default()
        );
        print_text(&line)?;
    }
    if files.is_empty() {
        farmer_cli::say!("build {} has kept no files", row.id);
    }
    Ok(())
}

async fn download(args: &Download, row: &BuildRow, data: &Path, json: bool) -> Result<(), Failure> {
    let globs: Vec<Glob> = args.paths.iter().map(|text| Glob::new(text)).collect();
    let wanted = |file: &Artifact| {
        let path = file.path.as_bytes();
        globs.is_empty() || globs.iter().any(|glob| glob.matches(path))
    };
    let mut files = kept(row, args.step.as_deref());
    files.retain(|(_, file)| wanted(file));
    if files.is_empty() {
        return Err(Failure::usage(
            format!("build {} has kept no such file", row.id),
            format!("see: farmer artifact list {}", row.id),
        ));
    }
    let out = args.out.clone();
    let out = out.unwrap_or_else(|| PathBuf::from(row.id.as_str()));
    let targets = targets(&files, &out).map_err(|e| failure(&e))?;
    let contents = Contents::open(data)?;
    let bar = progress::bytes("download", files.iter().map(|(_, file)| file.size).sum());
    for ((step, file), target) in files.iter().zip(&targets) {
        let stream = contents.of(row, step, file).await;
        let saved = match stream {
            Ok(stream) => save(stream, file, target, &bar).await,
            Err(error) => Err(error),
        };
        saved.map_err(|e| failure(&e.while_doing(format!("download {}", file.path))))?;
        if json {
            print_json(&json!({ "step": step, "path": file.path, "file": target }))?;
        }
    }
    bar.finish_and_clear();
    if !json {
        let (count, out) = (files.len(), out.display());
        print_text(&format!("{count} files of {} in {out}\n", row.id))?;
    }
    Ok(())
}

/// Where each file goes: below its step when two steps have kept one of the same path.
fn targets(files: &[Kept<'_>], out: &Path) -> Result<Vec<PathBuf>> {
    let mut paths: Vec<&[u8]> = files.iter().map(|(_, file)| file.path.as_bytes()).collect();
    paths.sort_unstable();
    let twice = paths.windows(2).any(|pair| pair[0] == pair[1]);
    let target = |(step, file): &Kept<'_>| {
        let path = Path::new(os_str(file.path.as_bytes()));
        // A build decides what its files are called; where they go is for whoever downloads them.
        let inside = path
            .components()
            .all(|part| matches!(part, Component::Normal(_)));
        if !inside || path.as_os_str().is_empty() {
            let text = format!("{} would lie outside of {}", file.path, out.display());
            return Err(Error::new(ErrorKind::Invalid, text)
                .with_hint("fetch it over the API, under a name of your own"));
        }
        Ok(match twice {
            true => out.join(step.as_str()).join(path),
            false => out.join(path),
        })
    };
    files.iter().map(target).collect()
}

fn os_str(bytes: &[u8]) -> &std::ffi::OsStr {
    std::os::unix::ffi::OsStrExt::from_bytes(bytes)
}

/// Where the contents come from: the farm that runs, else its data directory.
enum Contents {
    Farm(FarmClient),
    Files(FileBlobs),
}

impl Contents {
    fn open(data: &Path) -> Result<Self, Failure> {
        if let Some(farm) = running::find(data)? {
            return Ok(Self::Farm(farm));
        }
        let blobs = FileBlobs::open(data.join("blobs"), Quota::default());
        Ok(Self::Files(blobs.map_err(|e| failure(&e))?))
    }

    async fn of(&self, row: &BuildRow, step: &StepName, file: &Artifact) -> Result<ByteStream> {
        match self {
            Self::Farm(farm) => farm.artifact(&row.id, step, file).await,
            Self::Files(blobs) => {
                let key = BlobKey::new(BlobKind::Artifact, &file.sha256)?;
                blobs.get(&key).await?.ok_or_else(|| {
                    let text = format!("{} is not kept any more", file.path);
                    Error::new(ErrorKind::NotFound, text)
                        .with_hint(format!("build the commit again: farmer rerun {}", row.id))
                })
            }
        }
    }
}

/// Writes a file whole, or leaves nothing and what was there before.
async fn save(
    contents: ByteStream,
    file: &Artifact,
    target: &Path,
    bar: &progress::ProgressBar,
) -> Result<()> {
    let dir = target.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(dir)?;
    let (out, path) = tempfile::NamedTempFile::new_in(dir)?.into_parts();
    let mut out = tokio::fs::File::from_std(out);
    let mut contents = checked(contents, &file.sha256, file.path.clone());
    while let Some(piece) = contents.try_next().await? {
        out.write_all(&piece).await?;
        bar.inc(piece.len() as u64);
    }
    out.flush().await?;
    path.persist(target).map_err(|error| error.error)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str) -> Artifact {
        Artifact {
            path: path.into(),
            size: 0,
            sha256: String::new(),
        }
    }

    #[test]
    fn files_stay_below_the_directory() {
        let (a, b) = (StepName::new("a").unwrap(), StepName::new("b").unwrap());
        let out = Path::new("out");
        let (one, two) = (file("x/y"), file("z"));
        let found = targets(&[(&a, &one), (&b, &two)], out).unwrap();
        assert_eq!(found, [out.join("x/y"), out.join("z")]);
        let found = targets(&[(&a, &one), (&b, &one)], out).unwrap();
        assert_eq!(found, [out.join("a/x/y"), out.join("b/x/y")]);
        for bad in ["../x", "/etc/x", "a/../../x", ""] {
            assert!(targets(&[(&a, &file(bad))], out).is_err(), "{bad}");
        }
    }
}
