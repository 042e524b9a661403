//! `gopherstats`: who does how much in a project.

mod accounts;

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsString;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use build_client::gerrit::{Auth, Client};
use build_client::gophers::People;
use clap::{Parser, ValueEnum};
use farmer_cli::{Exit, Failure, Out};
use maintner_core::View;
use maintner_core::activity::{
    CohortProject, Quarters, Ranking, Somebody, activity, changes_by_quarter, closes_by_quarter,
    cohort,
};
use maintner_core::query::{Issue, Project, UnixTime};
use serde_json::json;

const EXAMPLES: &str = "Examples:
  gopherstats -mode=range-stats -from=2020-12-01 -to=2021-01-01 -people=people.toml ~/var/maintnerd
  gopherstats -mode=gerrit-cls -people=people.toml -format=csv https://maintner.golang.org/logs
  gopherstats -mode=github-issue-close -repo=golang/go -people=people.toml -org=org:example ~/var/maintnerd
  gopherstats -mode=find-github-email -repo=golang/tools -people=people.toml
  gopherstats -mode=workshop-stats -issue=21017 -since=2017-07-15 ~/var/maintnerd

The people file is described in docs/programs/gophers.md. Exit codes: 0 done, 1 no or an unknown
mode, 2 bad usage, 3 a server failed.";

/// Accounts of the Go project's Gerrit, as its commits name them.
const GO_GERRIT: &str = "@62eb7196-b449-3ce5-99f1-c037f21e1705";
/// The groups of the Go project's Gerrit that are counted.
const GROUPS: [&str; 8] = [
    "admins",
    "approvers",
    "gophers",
    "may-abandon-changes",
    "may-forge-author-identity",
    "may-start-trybots",
    "osp-team",
    "release-managers",
];
const MODES: &str = "\"find-gerrit-gophers\": accounts of Gerrit that belong to nobody known
\"find-github-email\": authors' accounts of GitHub whose addresses are not known
\"gerrit-cls\": changes by quarter
\"gerrit-groups\": sizes of groups of Gerrit
\"github-groups\": sizes of teams of GitHub
\"github-issue-close\": issues closed by quarter
\"range-stats\": who did how much between -from and -to
\"workshop-stats\": what those did who wrote their account into comments of -issue, since -since";

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Json,
    Csv,
}

/// Say who does how much in a project
#[derive(Parser)]
#[command(name = "gopherstats", version, after_help = EXAMPLES)]
struct Args {
    /// What is counted: find-gerrit-gophers, find-github-email, gerrit-cls, gerrit-groups,
    /// github-groups, github-issue-close, range-stats, workshop-stats
    #[arg(long, default_value = "", hide_default_value = true)]
    mode: String,
    /// From this time on: 2020-12-31, 2020-12-31T23:59, with seconds, with an offset
    #[arg(long, value_name = "TIME", default_value = "1900-01-01")]
    from: String,
    /// Before this time
    #[arg(long, value_name = "TIME", default_value = "2100-01-01")]
    to: String,
    /// The offset of times that have none, such as -08:00
    #[arg(
        long,
        value_name = "OFFSET",
        default_value = "Z",
        allow_hyphen_values = true
    )]
    tz: String,
    /// Only these Gerrit projects, as host/project or project, separated by commas
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    projects: Vec<String>,
    /// The GitHub repository; range-stats looks at all of its owner
    #[arg(long, value_name = "OWNER/REPO", default_value = "golang/go")]
    repo: String,
    /// Who people are; repeat it for more files
    #[arg(long, value_name = "FILE")]
    people: Vec<PathBuf>,
    /// The tag of the organisation whose share is shown
    #[arg(long, value_name = "TAG", default_value = "org:google")]
    org: String,
    /// Unknown addresses of this domain belong to it
    #[arg(long, value_name = "DOMAIN", default_value = "google.com")]
    org_domain: String,
    /// Length of the lists of range-stats
    #[arg(long, value_name = "N", default_value_t = 40)]
    top: usize,
    /// The issue of workshop-stats
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    issue: i32,
    /// The beginning of workshop-stats
    #[arg(long, value_name = "TIME", default_value = "")]
    since: String,
    /// The Gerrit of find-gerrit-gophers and gerrit-groups
    #[arg(
        long,
        value_name = "URL",
        default_value = "https://go-review.googlesource.com"
    )]
    gerrit: String,
    /// The GitHub of find-github-email and github-groups
    #[arg(long, value_name = "URL", default_value = "https://api.github.com")]
    github: String,
    /// Who asks it, as user:token [default: ~/keys/github-read-org, when it is there]
    #[arg(long, value_name = "FILE")]
    github_token: Option<PathBuf>,
    /// The Go project's repository of find-github-email, in the place of -repo; as in 2020
    #[arg(long, value_name = "NAME", hide = true)]
    discovery_go_repo: Option<String>,
    /// The teams of github-groups, separated by commas
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        default_value = "go-approvers,gophers"
    )]
    teams: Vec<String>,
    /// Members at an earlier time, each as @name: github-groups shows their number first
    #[arg(long, value_name = "FILE")]
    before: Option<PathBuf>,
    /// How it is shown
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// Log folder, or the address of a log server
    #[arg(default_value = ".")]
    folder: PathBuf,
}

/// The entry point: the arguments without the program's name.
pub fn main(args: Vec<OsString>) -> ExitCode {
    farmer_cli::blocking(args, Args::run)
}

impl Args {
    fn run(&self, out: &mut Out) -> Result<(), Failure> {
        let people = People::load(&self.people).map_err(|e| usage(e.chain()))?;
        let who = |name: &str| {
            let person = people.get(name)?;
            Some(Somebody {
                name: person.name.clone(),
                inside: person.has_tag(&self.org),
                bot: person.is_bot(),
            })
        };
        match self.mode.as_str() {
            "gerrit-cls" => {
                let view = self.view()?;
                let projects = self.projects(&view)?;
                let counted = changes_by_quarter(projects.into_iter(), &self.org_domain, &who);
                self.quarters(&counted, "commits", out)
            }
            "github-issue-close" => {
                let view = self.view()?;
                let repo = view.github().repo(&self.repo);
                let repo = repo.map_err(|e| usage(e.to_string()))?;
                let counted = closes_by_quarter(&view, repo.issues(), &who);
                self.quarters(&counted, "closes", out)
            }
            "range-stats" => {
                let view = self.view()?;
                let range = (self.time(&self.from)?, self.time(&self.to)?);
                let issues = self.issues(&view);
                let projects = self.projects(&view)?;
                self.rankings(activity(issues, projects.into_iter(), range, &who), out)
            }
            "workshop-stats" => self.workshop(out),
            "gerrit-groups" => self.groups(&people, out),
            "github-groups" => self.teams(&people, out),
            "find-github-email" => self.unknown_emails(&people, out),
            "find-gerrit-gophers" => self.unknown_accounts(&people, out),
            "" => Err(unknown("Missing required --mode flag.")),
            _ => Err(unknown("Unknown --mode flag.")),
        }
    }

    fn view(&self) -> Result<View, Failure> {
        Ok(crate::maintq::corpus(&self.folder)?.view())
    }

    fn time(&self, text: &str) -> Result<UnixTime, Failure> {
        let whole = match text.len() {
            10 => format!("{text}T00:00:00{}", self.tz),
            16 => format!("{text}:00{}", self.tz),
            19 => format!("{text}{}", self.tz),
            _ => text.to_owned(),
        };
        let time: jiff::Timestamp = whole.parse().map_err(|_| {
            Failure::usage(
                format!("unrecognized RFC3339 or prefix {text:?} with the offset {:?}", self.tz),
                "write 2020-12-31, 2020-12-31T23:59, 2020-12-31T23:59:59 or 2020-12-31T23:59:59-08:00; offsets are such as -08:00 or Z",
            )
        })?;
        Ok(UnixTime::new(time.as_second()))
    }

    /// The projects that are looked at; one that is named and is not there is an error.
    fn projects<'v>(&self, view: &'v View) -> Result<Vec<Project<'v>>, Failure> {
        let all = view.gerrit().projects();
        if self.projects.is_empty() {
            return Ok(all.collect());
        }
        let named = |project: &Project<'_>, name: &str| {
            name == project.full_name() || name == project.name()
        };
        let chosen: Vec<_> = all
            .filter(|project| self.projects.iter().any(|name| named(project, name)))
            .collect();
        let missing = self
            .projects
            .iter()
            .find(|name| !chosen.iter().any(|p| named(p, name)));
        match missing {
            Some(name) => Err(usage(format!("the corpus has no Gerrit project {name:?}"))),
            None => Ok(chosen),
        }
    }

    /// The issues of every repository of the owner.
    fn issues<'v>(&self, view: &'v View) -> impl Iterator<Item = Issue<'v>> + use<'v> {
        let owner = self.repo.split('/').next().unwrap_or_default().to_owned();
        let repos = view.github().repos();
        repos
            .filter(move |repo| repo.owner() == owner)
            .flat_map(|repo| repo.issues())
    }

    fn quarters(&self, counted: &Quarters, what: &str, out: &mut Out) -> Result<(), Failure> {
        match self.format {
            Format::Json => self.json(&json!(counted), out),
            Format::Csv => {
                writeln!(out, "quarter,inside,outside,people_inside,people_outside")?;
                for q in &counted.quarters {
                    writeln!(
                        out,
                        "{},{},{},{},{}",
                        q.quarter, q.inside, q.outside, q.people_inside, q.people_outside
                    )?;
                }
                Ok(())
            }
            Format::Table => {
                for q in &counted.quarters {
                    let (all, people) = (q.inside + q.outside, q.people_inside + q.people_outside);
                    writeln!(
                        out,
                        "{}: {all} {what} ({:.2}% {} {}; ext {}), {people} unique people ({} {}, {} ext)",
                        q.quarter,
                        100.0 * q.inside as f64 / all.max(1) as f64,
                        self.inside(),
                        q.inside,
                        q.outside,
                        q.people_inside,
                        self.inside(),
                        q.people_outside
                    )?;
                }
                for name in &counted.unknown {
                    eprintln!("nobody is known as {name:?}");
                }
                Ok(())
            }
        }
    }

    /// The organisation in a word.
    fn inside(&self) -> &str {
        match self.org.as_str() {
            "org:google" => "goog",
            tag => tag.rsplit(':').next().unwrap_or(tag),
        }
    }

    fn rankings(&self, mut lists: Vec<Ranking>, out: &mut Out) -> Result<(), Failure> {
        for list in &mut lists {
            list.people.truncate(self.top);
        }
        match self.format {
            Format::Json => self.json(&json!(lists), out),
            Format::Csv => {
                writeln!(out, "list,count,name")?;
                for list in &lists {
                    for (count, name) in &list.people {
                        let title = list.title.trim_end_matches(':');
                        writeln!(out, "{title},{count},{}", quoted(name))?;
                    }
                }
                Ok(())
            }
            Format::Table => {
                for list in &lists {
                    writeln!(out, "{}", list.title)?;
                    for (count, name) in &list.people {
                        writeln!(out, " {count:5} {name}")?;
                    }
                    writeln!(out)?;
                }
                Ok(())
            }
        }
    }

    fn json(&self, value: &serde_json::Value, out: &mut Out) -> Result<(), Failure> {
        serde_json::to_writer_pretty(&mut *out, value)
            .map_err(|error| Failure::because(Exit::Infrastructure, &error, None))?;
        Ok(writeln!(out)?)
    }

    fn workshop(&self, out: &mut Out) -> Result<(), Failure> {
        if self.issue == 0 || self.since.is_empty() {
            return Err(usage("workshop-stats needs -issue and -since".to_owned()));
        }
        let since = self.time(&self.since)?;
        let view = self.view()?;
        let repo = view
            .github()
            .repo(&self.repo)
            .map_err(|e| usage(e.to_string()))?;
        let issue = repo.issue(self.issue).map_err(|e| usage(e.to_string()))?;
        let accounts: HashSet<i64> = issue
            .comments()
            .filter_map(|comment| comment.body().trim().parse().ok())
            .collect();
        let projects = cohort(self.projects(&view)?.into_iter(), &accounts, since);
        if self.format == Format::Json {
            let told = json!({ "registrations": accounts.len(), "projects": projects });
            return self.json(&told, out);
        }
        if self.format == Format::Csv {
            writeln!(out, "project,opened,merged,opened_by_new,merged_by_new")?;
        } else {
            writeln!(out, "Number of registrations: {}", accounts.len())?;
        }
        for one in projects {
            let CohortProject {
                project,
                opened,
                merged,
                opened_by_new,
                merged_by_new,
            } = one;
            match self.format {
                Format::Csv => writeln!(
                    out,
                    "{project},{opened},{merged},{opened_by_new},{merged_by_new}"
                )?,
                _ => writeln!(
                    out,
                    "{project}:\n\tTotal Opened CLs: {opened}\n\tTotal Merged CLs: {merged}\n\t\
                     New Contributors Opened CLs: {opened_by_new}\n\tNew Contributors Merged CLs: {merged_by_new}"
                )?,
            }
        }
        Ok(())
    }

    fn client(&self) -> Result<Client, Failure> {
        // Groups are shown to those who may see them.
        let cookies = std::env::home_dir().map(|home| home.join(".gitcookies"));
        let auth = match cookies.filter(|file| file.is_file()) {
            Some(file) => Auth::cookie_file(file).map_err(|e| usage(e.to_string()))?,
            None => Auth::None,
        };
        Client::new(&self.gerrit, auth).map_err(|e| usage(e.to_string()))
    }

    fn groups(&self, people: &People, out: &mut Out) -> Result<(), Failure> {
        let client = self.client()?;
        let asked = async {
            let mut members = BTreeMap::new();
            for (name, group) in client.get_groups().await? {
                if GROUPS.contains(&name.as_str()) {
                    members.insert(name, client.group_members(&group.id).await?);
                }
            }
            Ok::<_, build_client::gerrit::Error>(members)
        };
        let members = tokio::runtime::Handle::current().block_on(asked);
        let members = members.map_err(|e| Failure::because(Exit::Infrastructure, &e, None))?;
        let mut told = Vec::new();
        for (name, members) in members {
            let (mut inside, mut outside) = (0, 0);
            for member in members {
                match people.by_gerrit(&member.name, &member.email) {
                    Some(person) if person.has_tag(&self.org) => inside += 1,
                    Some(_) => outside += 1,
                    None => eprint!("{}", record(&member.name, &[&member.email])),
                }
            }
            told.push((name, inside, outside));
        }
        for (name, inside, outside) in &told {
            match self.format {
                Format::Table => writeln!(
                    out,
                    "Group {name}: {} total ({inside} {}, {outside} external)",
                    inside + outside,
                    match self.inside() {
                        "goog" => "googlers",
                        org => org,
                    }
                )?,
                Format::Csv => writeln!(out, "{name},{inside},{outside}")?,
                Format::Json => self.json(
                    &json!({ "group": name, "inside": inside, "outside": outside }),
                    out,
                )?,
            }
        }
        Ok(())
    }

    fn unknown_accounts(&self, people: &People, out: &mut Out) -> Result<(), Failure> {
        let view = self.view()?;
        let mut seen: BTreeMap<String, usize> = BTreeMap::new();
        for cl in self
            .projects(&view)?
            .into_iter()
            .flat_map(|project| project.cls())
        {
            for meta in cl.metas() {
                let email = meta.commit().author().email().to_owned();
                if email.ends_with(GO_GERRIT) && people.get(&email).is_none() {
                    *seen.entry(email).or_default() += 1;
                }
            }
        }
        let mut seen: Vec<_> = seen.into_iter().collect();
        seen.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let client = self.client()?;
        for (email, _) in seen {
            let id = email.trim_end_matches(GO_GERRIT);
            let asked = tokio::runtime::Handle::current().block_on(client.get_account(id));
            match asked {
                Ok(account) => write!(out, "{}", record(&account.name, &[&account.email, &email]))?,
                Err(error) => eprintln!("looking up {email}: {error}"),
            }
        }
        Ok(())
    }
}

/// A person for the people file.
fn record(name: &str, ids: &[&str]) -> String {
    let mut people = People::new();
    let ids: Vec<&str> = std::iter::once(name)
        .chain(ids.iter().copied())
        .filter(|id| !id.is_empty())
        .collect();
    people.add(&ids);
    people.to_toml()
}

fn quoted(text: &str) -> String {
    match text.contains([',', '"', '\n']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.to_owned(),
    }
}

fn usage(text: String) -> Failure {
    Failure::usage(text, "see: gopherstats --help")
}

/// What the program of 2020 ended with exit code 1 for.
fn unknown(text: &str) -> Failure {
    let error = std::io::Error::new(std::io::ErrorKind::InvalidInput, format!("{text}\n{MODES}"));
    Failure::because(Exit::Failed, &error, Some("see: gopherstats --help"))
}
