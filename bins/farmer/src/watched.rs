//! The repositories of a farm, and what they ask of it.

use build_core::ErrorKind;
use build_core::recipe::{Detect, FarmerToml, Host};
use build_core::work::Builder;
use build_server::source::{Checkouts, GitCheckouts};
use farmer_cli::Failure;

use crate::check::read_config;
use crate::cli::Up;
use crate::describe::say_uncommitted;
use crate::output::failure;

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
    for repo in &args.repos {
        let (origin, file) = read(repo, checkouts).await?;
        let file = watched.recipe.clone().unwrap_or(file);
        watched.add(origin, &file)?;
    }
    Ok(watched)
}

async fn read(repo: &str, checkouts: &GitCheckouts) -> Result<(String, FarmerToml), Failure> {
    let item = match checkouts.resolve(repo, None).await {
        Ok(item) => item,
        // Nothing was committed yet: its first commit will be built.
        Err(error) if error.kind() == ErrorKind::Invalid => {
            farmer_cli::say!("farmer: {}", error.chain());
            let origin = std::path::absolute(repo)?.to_string_lossy().into_owned();
            return Ok((origin, FarmerToml::default()));
        }
        // It may be back later: it is looked at again and again.
        Err(error) if error.kind() == ErrorKind::Unavailable => {
            farmer_cli::say!("farmer: {}; it is tried again", error.chain());
            return Ok((repo.to_owned(), FarmerToml::default()));
        }
        Err(error) => return Err(failure(&error)),
    };
    let default = checkouts.default_branch(&item.origin).await;
    match default.map_err(|e| failure(&e))? {
        Some(branch) => farmer_cli::say!("farmer: {}: the default branch is {branch}", item.repo),
        None => farmer_cli::say!(
            "farmer: {}: no branch is checked out and no remote names one: the commit is built",
            item.repo
        ),
    }
    farmer_cli::say!(
        "farmer: {} at {} {:?}",
        item.repo,
        item.commit.short(),
        item.subject
    );
    let count = checkouts.uncommitted(repo).await.map_err(|e| failure(&e))?;
    say_uncommitted(count, false);
    let tree = checkouts.tree(&item).await.map_err(|e| failure(&e))?;
    let file = match Detect::configuration(tree.as_ref()).await {
        Ok(file) => file.unwrap_or_default(),
        // Its build says so too, and a later commit may be right.
        Err(error) if error.kind() == ErrorKind::Invalid => {
            farmer_cli::say!("farmer: {}: {}", item.repo, error.chain());
            FarmerToml::default()
        }
        Err(error) => return Err(failure(&error)),
    };
    Ok((item.origin, file))
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
