//! `cl`: lists the changes under review, and who waits for whom.

use std::cell::RefCell;
use std::ffi::OsString;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::SystemTime;

use build_client::gerrit::{AccountTable, Auth, Client};
use clap::Parser;
use farmer_cli::{Exit, Failure, Out};
use maintner_core::View;
use maintner_core::query::UnixTime;
use maintner_core::reviews::{Filter, Order, Reviews};

const EXAMPLES: &str = "Examples:
  cl ~/var/maintnerd                    all open changes, by project and subject
  cl -r -sort delay ~/var/maintnerd     those that wait for review, longest first
  cl -cl 12345 -json ~/var/maintnerd
  cl -offline ~/var/maintnerd           without asking who the accounts are

The addresses of accounts come from the Gerrit server and are kept in the cache directory; it is
asked again, at most every five minutes, when somebody is not known.";

/// List the changes under review, and who waits for whom
#[derive(Parser)]
#[command(name = "cl", version, after_help = EXAMPLES)]
struct Args {
    /// Include changes that are merged
    #[arg(long)]
    closed: bool,
    /// Only changes that ask not to be reviewed: in progress, or DO NOT REVIEW in the subject
    #[arg(long)]
    dnr: bool,
    /// Only changes in need of review
    #[arg(short = 'r')]
    needs_review: bool,
    /// Print the changes as JSON
    #[arg(long)]
    json: bool,
    /// Print full URLs of changes
    #[arg(long)]
    url: bool,
    /// Order (age or delay) instead of project and subject
    #[arg(long, default_value = "")]
    sort: String,
    /// Only the change of this number
    #[arg(long, value_name = "N")]
    cl: Option<i32>,
    /// Only the changes of this project
    #[arg(long)]
    project: Option<String>,
    /// Server that knows the accounts
    #[arg(
        long,
        value_name = "URL",
        default_value = "https://go-review.googlesource.com"
    )]
    gerrit: String,
    /// File that keeps the accounts [default: in the cache directory]
    #[arg(long, value_name = "FILE")]
    accounts: Option<PathBuf>,
    /// Do not ask the server
    #[arg(long)]
    offline: bool,
    /// Log folder
    #[arg(default_value = ".")]
    folder: PathBuf,
}

/// The entry point: the arguments without the program's name.
pub fn main(args: Vec<OsString>) -> ExitCode {
    farmer_cli::blocking(args, Args::run)
}

impl Args {
    fn run(&self, out: &mut Out) -> Result<(), Failure> {
        let order = match self.sort.as_str() {
            "" => Order::Project,
            "age" => Order::Age,
            "delay" => Order::Delay,
            other => {
                return Err(refused(
                    format!("unknown sort order {other:?}"),
                    "-sort=age or -sort=delay",
                ));
            }
        };
        let filter = Filter {
            closed: self.closed,
            needs_review: self.needs_review,
            do_not_review: self.dnr,
            number: self.cl.filter(|number| *number > 0),
            project: self.project.clone().filter(|name| !name.is_empty()),
        };
        let view = crate::maintq::corpus(&self.folder)?.view();
        let reviews = self.reviews(&view, &filter)?.ordered(order);
        let now = UnixTime::from(SystemTime::now());
        if self.json {
            serde_json::to_writer_pretty(&mut *out, reviews.list())
                .map_err(|error| Failure::because(Exit::Infrastructure, &error, None))?;
            writeln!(out)?;
        } else if self.needs_review {
            write!(out, "{}", reviews.text_of_needed(now, self.url))?;
        } else {
            write!(out, "{}", reviews.text(now, self.url))?;
        }
        Ok(())
    }

    /// The changes, after asking the server for accounts that are not known.
    fn reviews(&self, view: &View, filter: &Filter) -> Result<Reviews, Failure> {
        let file = self.accounts.clone().or_else(cache_file);
        let mut table = file.as_deref().map(AccountTable::load).unwrap_or_default();
        let unknown = RefCell::new(None);
        let emails = |account: &str| {
            let email = table.email(account).map(str::to_owned);
            if email.is_none() && !account.is_empty() {
                unknown
                    .borrow_mut()
                    .get_or_insert_with(|| account.to_owned());
            }
            email
        };
        let reviews = Reviews::of(view, filter, &emails);
        let now = SystemTime::now();
        let missing = unknown
            .into_inner()
            .filter(|account| !self.offline && table.may_learn(account, now));
        if missing.is_none() {
            return Ok(reviews);
        }
        let gerrit = Client::new(&self.gerrit, Auth::None).map_err(|error| {
            Failure::usage(
                error.to_string(),
                "name the server with -gerrit, or say -offline",
            )
        })?;
        let asked = tokio::runtime::Handle::current().block_on(table.refresh(&gerrit, now));
        asked.map_err(|error| {
            Failure::because(
                Exit::Infrastructure,
                &error,
                Some("-offline lists the changes without names"),
            )
        })?;
        if let Some(file) = &file {
            table.save(file)?;
        }
        Ok(Reviews::of(view, filter, &|account| {
            table.email(account).map(str::to_owned)
        }))
    }
}

/// Where accounts are kept: `farmer/accounts.json` of the cache directory.
fn cache_file() -> Option<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .filter(|dir| !dir.is_empty())
        .map(PathBuf::from);
    let cache = cache.or_else(|| Some(std::env::home_dir()?.join(".cache")))?;
    Some(cache.join("farmer/accounts.json"))
}

/// What the program of 2020 ended with exit code 1 for.
fn refused(text: String, hint: &str) -> Failure {
    let error = std::io::Error::new(std::io::ErrorKind::InvalidInput, text);
    Failure::because(Exit::Failed, &error, Some(hint))
}
