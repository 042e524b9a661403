//! `farmer join`: this machine becomes one of a farm.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use build_core::service_file::{Manager, Service};
use clap::Args;
use farmer_cli::{Exit, Failure};

use crate::programs;

/// The kind of machine that builds without a configuration ask for.
const KIND: &str = "local";

#[derive(Debug, Args)]
pub(crate) struct Join {
    /// Where the farm answers: https://host:port
    pub url: String,
    /// The file with the key or token of this machine
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// The key of the farm, or of the authority that is its own: sha256:...
    #[arg(long, value_name = "PIN", conflicts_with = "ca_file")]
    pub pin: Option<String>,
    /// The authorities that vouch for the farm; PEM
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// What this machine is called in the farm [default: its host name]
    #[arg(long)]
    pub name: Option<String>,
    /// What kind of machine it is: builders of that host run on it
    #[arg(long, value_name = "KIND", default_value = KIND)]
    pub host_type: String,
    /// What it has, beside its system and processor: gpu,big
    #[arg(long, value_name = "LIST")]
    pub labels: Option<String>,
    /// Where builds work; it is emptied before each use [default: in the temporary directory]
    #[arg(long, value_name = "DIR")]
    pub work_dir: Option<PathBuf>,
    /// Where toolchains of builds are kept [default: farmer/machine in the user's cache directory]
    #[arg(long, value_name = "DIR", conflicts_with = "container")]
    pub keep_dir: Option<PathBuf>,
    /// Keep this program equal to the one of the farm, which then chooses what runs here
    #[arg(long, conflicts_with = "container")]
    pub self_update: bool,
    /// Make this system start it from now on, instead of running it here
    #[arg(long)]
    pub install: bool,
    /// Print the file that --install writes, and what is to be run then, and do nothing
    #[arg(long, conflicts_with = "container")]
    pub print: bool,
    /// Print the line that runs it in a container of this image, and do nothing
    #[arg(long, value_name = "IMAGE", num_args = 0..=1, default_missing_value = "debian:stable-slim")]
    pub container: Option<String>,
}

pub(crate) const EXAMPLES: &str = "\
Examples:
  farmer join https://farm.example:8119 --token-file token --pin sha256:...
  farmer join https://farm.example --token-file /etc/farmer.token --labels gpu --install
  farmer join https://farm.example --token-file token --container

It comes back for ever: after a cut of the network, and when the farm is started again.
Exit codes: 0 stopped, 1 the farm refuses this machine, 2 bad usage.";

/// Joins, or tells how this machine is made to.
pub(crate) fn join(args: &Join) -> Result<ExitCode, Failure> {
    let coordinator = coordinator(&args.url)?;
    if let Some(image) = &args.container {
        println!("{}", container_line(args, image));
        return Ok(ExitCode::SUCCESS);
    }
    if args.install || args.print {
        return install(args, &coordinator).map(|()| ExitCode::SUCCESS);
    }
    if let Some(dir) = &args.work_dir {
        std::fs::create_dir_all(dir).map_err(|error| {
            Failure::usage(
                format!("{}: {error}", dir.display()),
                "name a directory of your own",
            )
        })?;
    }
    programs::run(&buildlet(args, &coordinator, keep_dir(args)))
}

/// Host and port of a URL; the port of HTTPS when there is none.
fn coordinator(url: &str) -> Result<String, Failure> {
    let hint = "give the address that `farmer up` printed: https://host:port";
    let rest = match url.split_once("://") {
        Some(("https", rest)) => rest,
        Some(("http", _)) => {
            return Err(Failure::usage(
                format!("{url}: machines join over https alone"),
                "start the farm with --tls-dev or with a certificate",
            ));
        }
        Some(_) => {
            return Err(Failure::usage(
                format!("{url} is no address of a farm"),
                hint,
            ));
        }
        None => url,
    };
    let host = rest.trim_end_matches('/');
    if host.is_empty() || host.contains('/') || host.contains('@') {
        return Err(Failure::usage(
            format!("{url} is no address of a farm"),
            hint,
        ));
    }
    let after_address = host.rsplit_once(']').map_or(host, |(_, after)| after);
    Ok(match after_address.contains(':') {
        true => host.to_owned(),
        false => format!("{host}:443"),
    })
}

/// Where toolchains are kept: a place that outlives the temporary directory.
fn keep_dir(args: &Join) -> Option<PathBuf> {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from);
    let absolute = |name| absolute(name).filter(|dir| dir.is_absolute());
    let cache = absolute("XDG_CACHE_HOME");
    let cache = cache.or_else(|| absolute("HOME").map(|home| home.join(".cache")));
    let default = || cache.map(|cache| cache.join("farmer/machine"));
    args.keep_dir.clone().or_else(default)
}

/// The command line of the buildlet.
fn buildlet(args: &Join, coordinator: &str, keep_dir: Option<PathBuf>) -> Vec<OsString> {
    let mut line: Vec<OsString> = vec!["buildlet".into(), "--stay".into(), "--halt=false".into()];
    let mut flag = |name: &str, value: &OsString| {
        let mut text = OsString::from(format!("--{name}="));
        text.push(value);
        line.push(text);
    };
    flag("coordinator", &coordinator.into());
    flag("reverse-type", &(&args.host_type).into());
    let more = [
        ("hostname", args.name.as_ref().map(OsString::from)),
        ("labels", args.labels.as_ref().map(OsString::from)),
        ("pin", args.pin.as_ref().map(OsString::from)),
        ("ca-file", args.ca_file.as_ref().map(OsString::from)),
        ("key-file", args.token_file.as_ref().map(OsString::from)),
        ("workdir", args.work_dir.as_ref().map(OsString::from)),
        ("keep-dir", keep_dir.map(OsString::from)),
    ];
    for (name, value) in more {
        if let Some(value) = value {
            flag(name, &value);
        }
    }
    if args.self_update {
        flag("self-update", &"farmer".into());
    }
    line
}

/// This command again, with whole paths: services start somewhere else.
fn command(args: &Join) -> Result<Vec<String>, Failure> {
    let whole = |path: &Path| -> Result<String, Failure> {
        let path = std::path::absolute(path)?;
        path.into_os_string().into_string().map_err(|path| {
            let text = format!("{} is not UTF-8", path.to_string_lossy());
            Failure::usage(text, "services need names in UTF-8")
        })
    };
    let mut words = vec![
        whole(&std::env::current_exe()?)?,
        "join".into(),
        args.url.clone(),
    ];
    let mut flag = |name: &str, value: Option<String>| {
        words.extend(
            value
                .into_iter()
                .flat_map(|value| [format!("--{name}"), value]),
        );
    };
    let path = |path: &Option<PathBuf>| path.as_deref().map(whole).transpose();
    flag("token-file", path(&args.token_file)?);
    flag("pin", args.pin.clone());
    flag("ca-file", path(&args.ca_file)?);
    flag("name", args.name.clone());
    flag("host-type", Some(args.host_type.clone()));
    flag("labels", args.labels.clone());
    flag("work-dir", path(&args.work_dir)?);
    flag("keep-dir", path(&args.keep_dir)?);
    if args.self_update {
        words.push("--self-update".into());
    }
    Ok(words)
}

fn install(args: &Join, coordinator: &str) -> Result<(), Failure> {
    let is_root = rustix::process::getuid().is_root();
    let manager = match std::env::consts::OS {
        "macos" => Manager::Launchd,
        "windows" => Manager::Windows,
        _ if is_root => Manager::Systemd,
        _ => Manager::SystemdUser,
    };
    let service = Service {
        name: "farmer-join".into(),
        title: format!("Build machine of {coordinator}"),
        command: command(args)?,
    };
    let file = service.file(manager);
    if args.print {
        print!("# {}\n{}", file.path, file.text);
        for line in &file.then {
            println!("# then: {line}");
        }
        return Ok(());
    }
    let path = match file.path.strip_prefix("~/") {
        Some(rest) => match std::env::var_os("HOME") {
            Some(home) => PathBuf::from(home).join(rest),
            None => return Err(Failure::usage("HOME is not set", "say whose service it is")),
        },
        None => PathBuf::from(&file.path),
    };
    let written = path
        .parent()
        .map_or(Ok(()), std::fs::create_dir_all)
        .and_then(|()| std::fs::write(&path, &file.text));
    written.map_err(|error| {
        let text = std::io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        Failure::because(Exit::Failed, &text, Some("--print shows the file"))
    })?;
    println!("wrote {}", path.display());
    println!("now run:");
    for line in &file.then {
        println!("  {line}");
    }
    Ok(())
}

/// The line for a container. The program comes from this machine: it needs nothing else there.
fn container_line(args: &Join, image: &str) -> String {
    let mut words: Vec<String> = [
        "docker",
        "run",
        "-d",
        "--restart=always",
        "--name=farmer-join",
    ]
    .map(str::to_owned)
    .to_vec();
    words.push("--tmpfs=/workdir:rw,exec".into());
    let program = std::env::current_exe().unwrap_or_else(|_| "farmer".into());
    words.extend([
        "-v".into(),
        format!("{}:/usr/local/bin/farmer:ro", program.display()),
    ]);
    let mount = |path: &Path, to: &str| {
        let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        ["-v".to_owned(), format!("{}:{to}:ro", whole.display())]
    };
    let (token, ca) = ("/run/farmer/token", "/run/farmer/ca.pem");
    if let Some(path) = &args.token_file {
        words.extend(mount(path, token));
    }
    if let Some(path) = &args.ca_file {
        words.extend(mount(path, ca));
    }
    words.extend([
        image.to_owned(),
        "farmer".into(),
        "join".into(),
        args.url.clone(),
    ]);
    let flags = [
        (
            "--token-file",
            args.token_file.as_ref().map(|_| token.to_owned()),
        ),
        ("--ca-file", args.ca_file.as_ref().map(|_| ca.to_owned())),
        ("--pin", args.pin.clone()),
        ("--name", args.name.clone()),
        ("--host-type", Some(args.host_type.clone())),
        ("--labels", args.labels.clone()),
        ("--work-dir", Some("/workdir".into())),
    ];
    for (flag, value) in flags {
        words.extend(value.into_iter().flat_map(|value| [flag.to_owned(), value]));
    }
    words
        .iter()
        .map(|word| quoted(word))
        .collect::<Vec<_>>()
        .join(" ")
}

/// A word of a shell.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=./:,@+%".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(url: &str) -> Join {
        Join {
            url: url.into(),
            token_file: Some("token".into()),
            pin: Some("sha256:00".into()),
            ca_file: None,
            name: Some("box 1".into()),
            host_type: KIND.into(),
            labels: None,
            work_dir: None,
            keep_dir: None,
            self_update: false,
            install: false,
            print: false,
            container: None,
        }
    }

    #[test]
    fn addresses_are_those_of_farms() {
        let at = |url| coordinator(url).ok();
        assert_eq!(at("https://farm:8119/").as_deref(), Some("farm:8119"));
        assert_eq!(at("farm").as_deref(), Some("farm:443"));
        assert_eq!(at("https://[::1]:1").as_deref(), Some("[::1]:1"));
        assert_eq!(at("https://[::1]").as_deref(), Some("[::1]:443"));
        for bad in [
            "http://farm",
            "ftp://farm",
            "https://",
            "https://u@farm",
            "https://farm/x",
        ] {
            assert_eq!(at(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_buildlet_stays_and_never_turns_the_machine_off() {
        let line = buildlet(&args("farm"), "farm:443", Some("/k".into()));
        let line: Vec<&str> = line.iter().map(|word| word.to_str().unwrap()).collect();
        assert_eq!(
            line,
            [
                "buildlet",
                "--stay",
                "--halt=false",
                "--coordinator=farm:443",
                "--reverse-type=local",
                "--hostname=box 1",
                "--pin=sha256:00",
                "--key-file=token",
                "--keep-dir=/k"
            ]
        );
    }

    #[test]
    fn services_and_containers_get_whole_paths() {
        let words = command(&args("https://farm")).unwrap();
        let at = words
            .iter()
            .position(|word| word == "--token-file")
            .unwrap();
        assert!(Path::new(&words[at + 1]).is_absolute());
        let line = container_line(&args("https://farm"), "image");
        assert!(line.contains("/token:/run/farmer/token:ro"), "{line}");
        assert!(line.ends_with("image farmer join https://farm --token-file /run/farmer/token --pin sha256:00 --name 'box 1' --host-type local --work-dir /workdir"), "{line}");
    }
}
