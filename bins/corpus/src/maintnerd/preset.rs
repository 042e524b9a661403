//! What `-config` stands for.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use build_core::repos::Repos;
use farmer_cli::{Exit, Failure};
use maintner_core::godata;
use maintner_core::sync::Target;

use crate::live::report::failure;

/// Projects of the Go project that its table of repositories lacks.
const FURTHER: [&str; 2] = [
    "code.googlesource.com/gocloud",
    "code.googlesource.com/google-api-go-client",
];

/// A preset of what to follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Preset {
    /// All repositories of the Go project.
    Go,
    /// The same, on from the log of the Go project's server.
    DevGo,
    /// Nothing: the log of that server is shown.
    Godata,
}

impl Preset {
    /// The preset of this name, if one is named. `watched`: what is named beside it.
    pub(super) fn of(name: &str, watched: &[&str]) -> Result<Option<Self>, Failure> {
        let preset = match name {
            "" => return Ok(None),
            "go" => Self::Go,
            "devgo" => Self::DevGo,
            "godata" => Self::Godata,
            _ => {
                return Err(Failure::usage(
                    format!("unknown --config={name}"),
                    "there are go, devgo and godata; or name what to follow with -watch-github, -watch-gerrit and -watch-git",
                ));
            }
        };
        match watched.first() {
            None => Ok(Some(preset)),
            Some(list) => Err(Failure::usage(
                format!("can't set both --config and --watch-{list}"),
                "a preset says what is followed; leave one of them out",
            )),
        }
    }

    /// What it follows.
    pub(super) fn targets(self) -> Result<Vec<Target>, Failure> {
        if self == Self::Godata {
            return Ok(Vec::new());
        }
        let repos = Repos::go2020();
        let github: BTreeSet<&str> = repos
            .iter()
            .map(|repo| repo.github.as_str())
            .filter(|github| !github.is_empty())
            .collect();
        let own = repos
            .iter()
            .map(|repo| format!("go.googlesource.com/{}", repo.project));
        let gerrit: BTreeSet<String> = own.chain(FURTHER.map(str::to_owned)).collect();
        let github = github.into_iter().map(Target::github);
        let gerrit = gerrit.iter().map(|project| Target::gerrit(project));
        let all = github.chain(gerrit).collect::<Result<_, _>>();
        all.map_err(|error| failure(&error))
    }

    /// Who tells that there is news.
    pub(super) fn pubsub(self) -> Option<&'static str> {
        (self != Self::Godata).then_some("https://pubsubhelper.golang.org")
    }
}

/// Puts the log of a server in the place of the one in `folder`: a development copy that goes on
/// by itself.
pub(super) async fn begin_with(server: &str, folder: &Path) -> Result<(), Failure> {
    eprintln!("maintnerd: bringing the log of {server} up to date");
    let options = godata::Options::default().server(server);
    let (corpus, source, _ready) = godata::open_with_status(options)
        .await
        .map_err(|error| crate::maintq::failure(&error))?;
    drop(corpus);
    let from = source.folder().ok_or_else(|| {
        Failure::usage(
            format!("{server} is kept nowhere"),
            "set HOME or XDG_CACHE_HOME",
        )
    })?;
    let to = folder.to_owned();
    let copied = tokio::task::spawn_blocking(move || copy(&from, &to)).await;
    copied.map_err(|error| Failure::because(Exit::Infrastructure, &error, None))?
}

/// Copies the files of a log, and removes those that are none of it.
fn copy(from: &Path, to: &Path) -> Result<(), Failure> {
    fs::create_dir_all(to)?;
    let _alone =
        maintner_core::log::LogLock::take(to).map_err(|error| crate::maintq::failure(&error))?;
    let mut wanted = BTreeSet::new();
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.ends_with(".mutlog") {
            continue;
        }
        let name = format!("maintner-{name}");
        let there = fs::metadata(to.join(&name))
            .is_ok_and(|there| entry.metadata().is_ok_and(|here| here.len() == there.len()));
        if !there || name.contains("growing") {
            let fresh = to.join(format!("temp-{name}.new"));
            fs::copy(entry.path(), &fresh)?;
            fs::rename(&fresh, to.join(&name))?;
        }
        wanted.insert(name);
    }
    for entry in fs::read_dir(to)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.ends_with(".mutlog") && !wanted.contains(&name) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_go_project_is_all_of_its_repositories() {
        let targets = Preset::Go.targets().unwrap();
        let has = |text: &str| targets.contains(&text.parse().unwrap());
        assert!(has("github:golang/go") && has("gerrit:go.googlesource.com/build"));
        assert!(has("gerrit:code.googlesource.com/gocloud"));
        assert!(targets.len() > 60, "{}", targets.len());
        assert!(Preset::Godata.targets().unwrap().is_empty());
    }
}
