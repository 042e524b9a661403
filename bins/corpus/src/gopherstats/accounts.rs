//! The modes that ask GitHub: teams, and accounts of authors.

use std::io::Write as _;

use build_client::contributors::GitHubAccounts;
use build_client::gophers::People;
use farmer_cli::{Exit, Failure, Out};
use serde_json::json;

use super::{Args, Format, quoted, record, usage};

/// How many of a team are known, and of whom.
#[derive(Clone, Copy, Default)]
struct Sizes {
    inside: usize,
    outside: usize,
}

impl Args {
    fn github(&self) -> Result<GitHubAccounts, Failure> {
        let file = self.github_token.clone().or_else(|| {
            let home = std::env::home_dir()?;
            let file = home.join("keys/github-read-org");
            file.is_file().then_some(file)
        });
        let credentials = match file {
            None => None,
            Some(file) => {
                let text = std::fs::read_to_string(&file);
                let text = text.map_err(|e| usage(format!("{}: {e}", file.display())))?;
                let parts = text.trim().split_once(':');
                let (user, token) = parts
                    .ok_or_else(|| usage(format!("{}: it is not user:token", file.display())))?;
                Some((user.to_owned(), token.to_owned()))
            }
        };
        GitHubAccounts::new(&self.github, credentials).map_err(failed)
    }

    /// The repository whose people are looked for.
    fn discovered(&self) -> String {
        match &self.discovery_go_repo {
            Some(name) => format!("golang/{name}"),
            None => self.repo.clone(),
        }
    }

    /// Sizes of teams, and before them those of a time of which somebody has kept the members.
    pub(super) fn teams(&self, people: &People, out: &mut Out) -> Result<(), Failure> {
        let asked = self.github()?;
        let teams = asked.teams(&self.repo, &self.teams);
        let teams = tokio::runtime::Handle::current().block_on(teams);
        let teams = teams.map_err(failed)?;
        if teams.is_empty() {
            let text = format!("{} has no team {}", self.repo, self.teams.join(", "));
            return Err(usage(text));
        }
        if let Some(file) = &self.before {
            let text = std::fs::read_to_string(file);
            let text = text.map_err(|e| usage(format!("{}: {e}", file.display())))?;
            let logins = text.split_whitespace().filter_map(|w| w.strip_prefix('@'));
            let sizes = self.sizes(people, logins);
            self.team(&file.display().to_string(), sizes, out)?;
        }
        for team in &teams {
            let sizes = self.sizes(people, team.members.iter().map(String::as_str));
            self.team(&team.name, sizes, out)?;
        }
        Ok(())
    }

    fn sizes<'a>(&self, people: &People, logins: impl Iterator<Item = &'a str>) -> Sizes {
        let mut sizes = Sizes::default();
        for login in logins {
            let id = format!("@{login}");
            match people.get(&id) {
                Some(person) if person.is_bot() => {}
                Some(person) if person.has_tag(&self.org) => sizes.inside += 1,
                Some(_) => sizes.outside += 1,
                None => eprint!("{}", record("", &[&id])),
            }
        }
        sizes
    }

    fn team(&self, name: &str, sizes: Sizes, out: &mut Out) -> Result<(), Failure> {
        let Sizes { inside, outside } = sizes;
        let sum = inside + outside;
        match self.format {
            Format::Table => Ok(writeln!(
                out,
                "Team {name}: {sum} total ({inside} {}, {outside} ext)",
                self.inside()
            )?),
            Format::Csv => Ok(writeln!(out, "{},{inside},{outside}", quoted(name))?),
            Format::Json => self.json(
                &json!({ "team": name, "inside": inside, "outside": outside }),
                out,
            ),
        }
    }

    /// Accounts of GitHub whose address in commits is not known to be theirs, as records of people.
    pub(super) fn unknown_emails(&self, people: &People, out: &mut Out) -> Result<(), Failure> {
        let (asked, repo) = (self.github()?, self.discovered());
        let authors = asked.authors(&repo, |commits| {
            if commits % 10_000 == 0 {
                farmer_cli::say!("{commits} commits of {repo}");
            }
        });
        let authors = tokio::runtime::Handle::current().block_on(authors);
        for author in authors.map_err(failed)? {
            let id = format!("@{}", author.login);
            let by_email = people.get(&author.email).map(|person| &person.name);
            let known = people.get(&id).map(|person| &person.name);
            if known.is_some() && by_email == known {
                continue;
            }
            match self.format {
                Format::Table => write!(out, "{}", record(&author.name, &[&author.email, &id]))?,
                Format::Csv => writeln!(
                    out,
                    "{},{},{}",
                    quoted(&author.login),
                    quoted(&author.name),
                    quoted(&author.email)
                )?,
                Format::Json => self.json(
                    &json!({ "login": author.login, "name": author.name, "email": author.email }),
                    out,
                )?,
            }
        }
        Ok(())
    }
}

fn failed(error: build_client::Error) -> Failure {
    let exit = match error.kind() {
        build_client::ErrorKind::Invalid => Exit::Usage,
        _ => Exit::Infrastructure,
    };
    let hint = error.hint().map(str::to_owned);
    Failure::because(exit, &error, hint.as_deref())
}
