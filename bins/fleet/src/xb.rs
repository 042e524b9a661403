//! `xb`: checks the environment before a deployment command runs.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use build_core::xb::{
    Environment, Image, OwnImage, Rules, base_images, dockerfile_of, google_email,
};
use build_core::{Error, ErrorKind};
use clap::Parser;
use farmer_cli::{Exit, Failure};

const EXAMPLES: &str = "Examples:
  xb --staging kubectl get pods       only when kubectl is at the staging cluster
  xb --prod docker push REPO/stage0   REPO is the registry of the environment
  xb docker build -f Dockerfile .     only on known base images; own ones are built first
  xb google-email                     the google.com account of gcloud
  xb --config deploy.toml --env live kubectl apply -f app.yaml

A file of rules:
  base_images = [\"debian:\", \"registry.example.com/\"]
  [environment.live]
  context = \"live-cluster\"
  repo = \"registry.example.com/live\"
  get_context = \"kubectl config use-context live-cluster\"
  [own_image.\"example/base\"]
  dir = \"base\"
  build = [\"make\", \"docker\"]

Exit codes: those of the command; 1 when it was not run.";

/// Check the environment before a deployment command runs
#[derive(Parser)]
#[command(name = "xb", version, after_help = EXAMPLES)]
struct Args {
    /// Use production
    #[arg(long)]
    prod: bool,
    /// Use staging
    #[arg(long)]
    staging: bool,
    /// Use the environment of this name
    #[arg(long, value_name = "NAME")]
    env: Option<String>,
    /// Rules to check by [default: those of the Go project]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Check, and print the command instead of running it
    #[arg(long)]
    dry_run: bool,
    /// kubectl, docker or google-email, with its arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    command: Vec<String>,
}

/// The entry point: the arguments without the program's name.
pub fn main(args: Vec<OsString>) -> ExitCode {
    // The flags end where the command begins: what follows is the command's own.
    let args = match farmer_cli::parse::<Args>(with_end_of_flags(args)) {
        Ok(args) => args,
        Err(code) => return code,
    };
    match args.run() {
        Ok(code) => code,
        Err(failure) => farmer_cli::finish("xb", Err(failure)),
    }
}

/// `args` with `--` before the command.
fn with_end_of_flags(args: Vec<OsString>) -> Vec<OsString> {
    let mut seen = Vec::new();
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        let text = arg.to_string_lossy().into_owned();
        if !text.starts_with('-') {
            seen.extend(["--".into(), arg]);
            break;
        }
        let valued = matches!(
            text.trim_start_matches('-'),
            "env" | "config" | "completions"
        );
        seen.push(arg);
        if text == "--" {
            break;
        }
        if valued {
            seen.extend(args.next());
        }
    }
    seen.extend(args);
    seen
}

impl Args {
    fn run(&self) -> Result<ExitCode, Failure> {
        let rules = self.rules()?;
        match self.command[0].as_str() {
            "kubectl" => {
                check_context(self.environment(&rules).map_err(|e| refused(&e))?)?;
                self.start(&self.command)
            }
            "docker" => {
                if self.command.get(1).is_some_and(|sub| sub == "build") {
                    self.check_images(&rules)?;
                }
                let command = rules
                    .with_repo(&self.command, || self.environment(&rules))
                    .map_err(|e| refused(&e))?;
                self.start(&command)
            }
            "google-email" => {
                let listing = Command::new("gcloud")
                    .args(["config", "configurations", "list"])
                    .stdin(Stdio::null())
                    .output()?;
                let text = String::from_utf8_lossy(&listing.stdout).into_owned()
                    + &String::from_utf8_lossy(&listing.stderr);
                let none = || {
                    let what = format!(
                        "didn't find @google.com address in gcloud config configurations list: {}",
                        text.trim_end()
                    );
                    refused(&Error::new(ErrorKind::NotFound, what))
                };
                println!("{}", google_email(&text).ok_or_else(none)?);
                Ok(ExitCode::SUCCESS)
            }
            other => Err(refused(
                &Error::new(ErrorKind::Invalid, format!("unknown command {other:?}"))
                    .with_hint("kubectl, docker or google-email"),
            )),
        }
    }

    fn rules(&self) -> Result<Rules, Failure> {
        let Some(file) = &self.config else {
            return Ok(Rules::go());
        };
        let text = std::fs::read_to_string(file).map_err(|error| {
            Failure::usage(
                format!("reading {}: {error}", file.display()),
                "name the rules with --config",
            )
        })?;
        Rules::parse(&text).map_err(|e| {
            Failure::because(
                Exit::Usage,
                &e.while_doing(file.display().to_string()),
                None,
            )
        })
    }

    fn environment<'a>(&self, rules: &'a Rules) -> Result<&'a Environment, Error> {
        let named = self.env.as_deref();
        let chosen: Vec<&str> = [
            self.prod.then_some("prod"),
            self.staging.then_some("staging"),
            named,
        ]
        .into_iter()
        .flatten()
        .collect();
        let [name] = chosen[..] else {
            return Err(Error::new(
                ErrorKind::Invalid,
                "must specify exactly one of --prod or --staging",
            )
            .with_hint("or another environment of the rules with --env NAME"));
        };
        rules.environment(name)
    }

    fn check_images(&self, rules: &Rules) -> Result<(), Failure> {
        let file = dockerfile_of(&self.command);
        let text = std::fs::read_to_string(&file).map_err(|error| {
            refused(&Error::caused_by(
                ErrorKind::NotFound,
                format!("reading {file}"),
                error,
            ))
        })?;
        let images = base_images(&text);
        // All of them are known before one is built.
        let wanted: Vec<_> = images
            .iter()
            .map(|image| Ok((image, rules.image(image)?)))
            .collect::<Result<_, Error>>()
            .map_err(|e| refused(&e))?;
        for (image, asks) in wanted {
            if let Image::Own(own) = asks {
                eprintln!("building dependent layer {image:?}");
                self.build(own)?;
            }
        }
        Ok(())
    }

    fn build(&self, own: &OwnImage) -> Result<(), Failure> {
        let mut dir = own.dir.clone();
        if let [program, args @ ..] = &own.find_dir[..] {
            let found = Command::new(program)
                .args(args)
                .stdin(Stdio::null())
                .stderr(Stdio::inherit())
                .output()?;
            if !found.status.success() {
                return Err(refused(&Error::new(
                    ErrorKind::NotFound,
                    format!("{}: {}", own.find_dir.join(" "), found.status),
                )));
            }
            dir = String::from_utf8_lossy(&found.stdout).trim().to_owned();
        }
        let dir = if dir.is_empty() {
            Path::new(".")
        } else {
            Path::new(&dir)
        };
        let [program, args @ ..] = &own.build[..] else {
            return Err(Failure::usage(
                "an own image without a build command",
                "give it build = [\"make\", \"docker\"]",
            ));
        };
        if self.dry_run {
            println!("(cd {} && {})", dir.display(), own.build.join(" "));
            return Ok(());
        }
        let status = Command::new(program).args(args).current_dir(dir).status()?;
        if status.success() {
            return Ok(());
        }
        Err(refused(&Error::new(
            ErrorKind::Invalid,
            format!("{}: {status}", own.build.join(" ")),
        )))
    }

    /// Runs the command; its exit code is ours.
    fn start(&self, command: &[String]) -> Result<ExitCode, Failure> {
        use std::os::unix::process::ExitStatusExt as _;
        if self.dry_run {
            println!("{}", command.join(" "));
            return Ok(ExitCode::SUCCESS);
        }
        let status = Command::new(&command[0])
            .args(&command[1..])
            .status()
            .map_err(|error| {
                refused(&Error::caused_by(
                    ErrorKind::NotFound,
                    format!("starting {}", command[0]),
                    error,
                ))
            })?;
        let code = status
            .code()
            .or_else(|| status.signal().map(|signal| 128 + signal))
            .unwrap_or(1);
        Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)))
    }
}

fn refused(error: &Error) -> Failure {
    Failure::because(Exit::Failed, error, error.hint())
}

fn check_context(wanted: &Environment) -> Result<(), Failure> {
    let output = Command::new("kubectl")
        .args(["config", "current-context"])
        .stdin(Stdio::null())
        .output()
        .map_err(|error| {
            refused(&Error::caused_by(
                ErrorKind::NotFound,
                "No kubectl in path.",
                error,
            ))
        })?;
    // Without a context kubectl fails, and there is none that could be the wanted one.
    let current = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if current == wanted.context {
        return Ok(());
    }
    let text = format!(
        "Wrong kubectl context; currently using {current:?}; want {:?}",
        wanted.context
    );
    let remedy = match wanted.get_context.as_str() {
        "" => "choose it with: kubectl config use-context".to_owned(),
        command => format!("run: {command}"),
    };
    Err(refused(
        &Error::new(ErrorKind::Denied, text).with_hint(remedy),
    ))
}
