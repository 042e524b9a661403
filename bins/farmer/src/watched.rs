//! The repositories of a farm, and what they ask of it.

use build_core::ErrorKind;
use build_core::recipe::{Detect, FarmerToml, Host};
use build_core::work::Builder;
use build_server::source::{Checkouts, GitCheckouts};
use farmer_cli::Failure;
use futures::{StreamExt as _, stream};

use crate::check::read_config;
use crate::cli::Up;
use crate::describe::uncommitted;
use crate::output::failure;

/// Repositories that are read at the same time.
const AT_A_TIME: usize = 8;

/// Repositories, and the builders and machines that all of them together need.
pub(crate) struct Watched {
    /// Absolute paths, and URLs.
    pub(crate) origins: Vec<String>,
    pub(crate) builders: Vec<Builder>,
    pub(crate) hosts: Vec<Host>,
    /// The configuration of every commit, when one was given.
    pub(crate) recipe: Option<FarmerToml>,
}

/// Reads the newest commit of each repository.
pub(crate) async fn watch(args: &Up, checkouts: &GitCheckouts) -> Result<Watched, Failure> {
    let recipe = args.config.as_deref().map(read_config).transpose()?;
    let mut watched = Watched {
        origins: Vec::new(),
        builders: Vec::new(),
        hosts: Vec::new(),
        recipe,
    };
    // Several at a time, for git is asked often for each; their order stays.
    let reading = args.repos.iter().map(|repo| read(repo, checkouts));
    let mut reading = stream::iter(reading).buffered(AT_A_TIME);
    while let Some(read) = reading.next().await {
        let Read { origin, file, said } = read?;
        for line in said {
            farmer_cli::say!("farmer: {line}");
        }
        let file = watched.recipe.clone().unwrap_or(file);
        watched.add(origin, &file)?;
    }
    Ok(watched)
}

/// What one repository asks for, and what is said of it.
struct Read {
    origin: String,
    file: FarmerToml,
    said: Vec<String>,
}

impl Read {
    fn of(origin: String, said: Vec<String>) -> Self {
        let file = FarmerToml::default();
        Self { origin, file, said }
    }
}

async fn read(repo: &str, checkouts: &GitCheckouts) -> Result<Read, Failure> {
    let item = match checkouts.resolve(repo, None).await {
        Ok(item) => item,
        // Nothing was committed yet: its first commit will be built.
        Err(error) if error.kind() == ErrorKind::Invalid => {
            let origin = std::path::absolute(repo)?.to_string_lossy().into_owned();
            return Ok(Read::of(origin, vec![error.chain()]));
        }
        // It may be back later: it is looked at again and again.
        Err(error) if error.kind() == ErrorKind::Unavailable => {
            let said = format!("{}; it is tried again", error.chain());
            return Ok(Read::of(repo.to_owned(), vec![said]));
        }
        Err(error) => return Err(failure(&error)),
    };
    let default = checkouts.default_branch(&item.origin);
    let (default, count) =
        futures::try_join!(default, checkouts.uncommitted(repo)).map_err(|e| failure(&e))?;
    let (name, commit) = (&item.repo, item.commit.short());
    let mut said = vec![
        match default {
            Some(branch) => format!("{name}: the default branch is {branch}"),
            None => format!(
                "{name}: no branch is checked out and no remote names one: the commit is built"
            ),
        },
        format!("{name} at {commit} {:?}", item.subject),
    ];
    said.extend(uncommitted(count, false).map(|text| format!("{name}: {text}")));
    let tree = checkouts.tree(&item).await.map_err(|e| failure(&e))?;
    let file = match Detect::configuration(tree.as_ref()).await {
        Ok(file) => file.unwrap_or_default(),
        // Its build says so too, and a later commit may be right.
        Err(error) if error.kind() == ErrorKind::Invalid => {
            said.push(format!("{name}: {}", error.chain()));
            FarmerToml::default()
        }
        Err(error) => return Err(failure(&error)),
    };
    Ok(Read {
        origin: item.origin,
        file,
        said,
    })
}

impl Watched {
    fn add(&mut self, origin: String, file: &FarmerToml) -> Result<(), Failure> {
        if self.origins.contains(&origin) {
            return Ok(());
        }
        for builder in file.builders() {
            match self.builders.iter().find(|b| b.name == builder.name) {
                Some(known) if *known != builder => {
                    return Err(two_meanings("builder", builder.name.as_str(), &origin));
                }
                Some(_) => {}
                None => self.builders.push(builder),
            }
        }
        for host in file.hosts() {
            match self.hosts.iter().find(|h| h.name == host.name) {
                Some(known) if known != host => {
                    return Err(two_meanings("host", host.name.as_str(), &origin));
                }
                Some(_) => {}
                None => self.hosts.push(host.clone()),
            }
        }
        self.origins.push(origin);
        Ok(())
    }
}

fn two_meanings(what: &str, name: &str, origin: &str) -> Failure {
    Failure::usage(
        format!("{what} \"{name}\" means something else in {origin} than in another repository"),
        "name them differently, or run a farm for each with its own --data and --port",
    )
}
