//! `farmer artifact`: the files that a build has kept.

use std::path::{Component, Path, PathBuf};

use build_client::farm::FarmClient;
use build_core::buildlet::ByteStream;
use build_core::clock::{Clock as _, SystemClock};
use build_core::event::Artifact;
use build_core::ids::StepName;
use build_core::report::{ArtifactQuery, ListedArtifact, rfc3339};
use build_core::tarutil::Glob;
use build_core::{Error, ErrorKind, Result};
use build_server::record::BuildRow;
use build_server::retention::KeepArtifacts;
use build_server::store::{BlobKey, BlobKind, Blobs as _, FileBlobs, checked};
use farmer_cli::{Failure, progress};
use futures::TryStreamExt;
use serde_json::json;
use tokio::io::AsyncWriteExt;

use crate::cli::{ArtifactCommand, Download};
use crate::farm_file::FarmFile;
use crate::output::{failure, print_json, print_text};
use crate::records::Recorded;
use crate::running;

pub(crate) const EXAMPLES: &str = "\
Examples:
  farmer artifact list                                 what the newest build has kept
  farmer artifact download B0123456789                 all of it, into the directory B0123456789
  farmer artifact download B0123456789 'out/**' -o .   what lies below out, into this directory";

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
            let row = recorded.with_all_files(row).await?;
            let contents = Contents::open(data)?;
            let files = contents.list(&row, step.as_deref()).await?;
            list(&row, &files, json)
        }
        ArtifactCommand::Download(args) => {
            let row = recorded.find(Some(&args.build)).await?;
            let row = recorded.with_all_files(row).await?;
            download(args, &row, data, json).await
        }
    }
}

fn list(row: &BuildRow, files: &[ListedArtifact], json: bool) -> Result<(), Failure> {
    if json {
        let files = files.iter().map(|file| {
            let ListedArtifact { step, artifact, .. } = file;
            let mut told = json!({
                "step": step, "path": artifact.path, "size": artifact.size, "sha256": artifact.sha256
            });
            if let Some(part) = file.part {
                told["part"] = json!(part);
            }
            if let Some(until) = file.until {
                told["until"] = json!(rfc3339::text(until));
            }
            if file.gone {
                told["gone"] = json!(true);
            }
            told
        });
        return print_json(&json!({ "build": row.id, "artifacts": files.collect::<Vec<_>>() }));
    }
    let units: Vec<String> = files.iter().map(|file| file.unit().to_string()).collect();
    let width = units.iter().map(String::len).max().unwrap_or_default();
    for (file, unit) in files.iter().zip(&units) {
        let Artifact { path, size, .. } = &file.artifact;
        let note = note(file);
        print_text(&format!("{unit:<width$}  {size:>12}  {path}{note}\n"))?;
    }
    if files.is_empty() {
        farmer_cli::say!("build {} has kept no files", row.id);
    }
    Ok(())
}

/// Until when a file stays, or that it is gone; nothing when it stays for ever.
fn note(file: &ListedArtifact) -> String {
    match (file.gone, file.until) {
        (true, _) => "  (not kept any more)".to_owned(),
        (false, Some(until)) => {
            let until = until.to_string().replace('T', " ").replace('Z', " UTC");
            format!("  (until {until})")
        }
        (false, None) => String::new(),
    }
}

async fn download(args: &Download, row: &BuildRow, data: &Path, json: bool) -> Result<(), Failure> {
    let globs: Vec<Glob> = args.paths.iter().map(|text| Glob::new(text)).collect();
    let wanted = |file: &Artifact| {
        let path = file.path.as_bytes();
        globs.is_empty() || globs.iter().any(|glob| glob.matches(path))
    };
    let contents = Contents::open(data)?;
    let mut files = contents.list(row, args.step.as_deref()).await?;
    files.retain(|file| wanted(&file.artifact));
    if files.is_empty() {
        return Err(Failure::usage(
            format!("build {} has kept no such file", row.id),
            format!("see: farmer artifact list {}", row.id),
        ));
    }
    if let Some(gone) = files.iter().find(|file| file.gone) {
        let text = format!("{} is not kept any more", gone.artifact.path);
        let error = Error::new(ErrorKind::NotFound, text);
        return Err(failure(&error.with_hint(format!(
            "build the commit again: farmer rerun {}, or name the files that are there: \
             farmer artifact list {}",
            row.id, row.id
        ))));
    }
    let out = args.out.clone();
    let out = out.unwrap_or_else(|| PathBuf::from(row.id.as_str()));
    let targets = targets(&files, &out).map_err(|e| failure(&e))?;
    let bytes = files.iter().map(|file| file.artifact.size).sum();
    let bar = progress::bytes("download", bytes);
    for (listed, target) in files.iter().zip(&targets) {
        let (step, file) = (&listed.step, &listed.artifact);
        let stream = contents.of(row, listed).await;
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

/// Where each file goes: below its step, or the part of it, when two have kept one of the same path.
fn targets(files: &[ListedArtifact], out: &Path) -> Result<Vec<PathBuf>> {
    let paths = files.iter().map(|file| file.artifact.path.as_bytes());
    let mut paths: Vec<&[u8]> = paths.collect();
    paths.sort_unstable();
    let twice = paths.windows(2).any(|pair| pair[0] == pair[1]);
    let target = |listed: &ListedArtifact| {
        let file = &listed.artifact;
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
            true => out.join(listed.unit().to_string()).join(path),
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
    Files(FileBlobs, KeepArtifacts),
}

impl Contents {
    fn open(data: &Path) -> Result<Self, Failure> {
        if let Some(farm) = running::find(data)? {
            return Ok(Self::Farm(farm));
        }
        let blobs = FileBlobs::open_to_read(data.join("blobs"));
        let keep = FarmFile::open(None, data)?.keep_artifacts();
        Ok(Self::Files(blobs, keep))
    }

    /// The files that a build has kept, or one of its steps.
    async fn list(
        &self,
        row: &BuildRow,
        step: Option<&str>,
    ) -> Result<Vec<ListedArtifact>, Failure> {
        let step = step.map(StepName::new).transpose();
        let step = step.map_err(|e| failure(&e))?;
        let listed = match self {
            Self::Farm(farm) => list_there(farm, row, step).await,
            Self::Files(blobs, keep) => list_here(blobs, *keep, row, step).await,
        };
        listed.map_err(|e| failure(&e))
    }

    async fn of(&self, row: &BuildRow, listed: &ListedArtifact) -> Result<ByteStream> {
        let file = &listed.artifact;
        match self {
            Self::Farm(farm) => farm.artifact(&row.id, listed).await,
            Self::Files(blobs, _) => {
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

/// What a farm that runs says.
async fn list_there(
    farm: &FarmClient,
    row: &BuildRow,
    step: Option<StepName>,
) -> Result<Vec<ListedArtifact>> {
    let mut files = Vec::new();
    let mut which = ArtifactQuery {
        step,
        ..ArtifactQuery::default()
    };
    loop {
        let page = farm.artifacts(&row.id, &which).await?;
        files.extend(page.artifacts);
        match page.next {
            Some(next) => which.after = next,
            None => return Ok(files),
        }
    }
}

/// What a data directory says.
async fn list_here(
    blobs: &FileBlobs,
    keep: KeepArtifacts,
    row: &BuildRow,
    step: Option<StepName>,
) -> Result<Vec<ListedArtifact>> {
    let mut files = Vec::new();
    let is_wanted = |of: &StepName| step.as_ref().is_none_or(|step| of == step);
    for kept in row.kept.iter().filter(|kept| is_wanted(&kept.step)) {
        let is_over = keep.is_over(row, &kept.step, SystemClock.now());
        for file in &kept.artifacts {
            let key = BlobKey::new(BlobKind::Artifact, &file.sha256)?;
            files.push(ListedArtifact {
                until: keep.until(row, &kept.step),
                gone: is_over || blobs.size(&key).await?.is_none(),
                ..ListedArtifact::new(&row.id, &kept.unit(), file.clone())
            });
        }
    }
    Ok(files)
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
    use build_core::ids::BuildId;
    use build_core::plan::{Part, Unit};

    use super::*;

    fn file(step: &str, part: Part, path: &str) -> ListedArtifact {
        let step = StepName::new(step).unwrap();
        let file = Artifact {
            path: path.into(),
            size: 0,
            sha256: String::new(),
        };
        ListedArtifact::new(&BuildId::from_bits(1), &Unit { step, part }, file)
    }

    #[test]
    fn files_stay_below_the_directory() {
        let out = Path::new("out");
        let of = |step, path| file(step, Part::Whole, path);
        let found = targets(&[of("a", "x/y"), of("b", "z")], out).unwrap();
        assert_eq!(found, [out.join("x/y"), out.join("z")]);
        let found = targets(&[of("a", "x/y"), of("b", "x/y")], out).unwrap();
        assert_eq!(found, [out.join("a/x/y"), out.join("b/x/y")]);
        let shards = [0, 1].map(|n| file("a", Part::Shard(n), "x"));
        let found = targets(&shards, out).unwrap();
        assert_eq!(
            found,
            [out.join("a (shard 1)/x"), out.join("a (shard 2)/x")]
        );
        for bad in ["../x", "/etc/x", "a/../../x", ""] {
            assert!(targets(&[of("a", bad)], out).is_err(), "{bad}");
        }
    }

    #[test]
    fn it_is_said_until_when_a_file_stays() {
        let mut of = file("a", Part::Whole, "x");
        assert_eq!(note(&of), "");
        of.until = Some(build_core::clock::Timestamp::from_seconds(0));
        assert_eq!(note(&of), "  (until 1970-01-01 00:00:00 UTC)");
        of.gone = true;
        assert_eq!(note(&of), "  (not kept any more)");
    }
}
