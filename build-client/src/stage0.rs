//! The first program of a build machine: finds out which buildlet it is to run, fetches it, and
//! runs it with the right arguments.
//!
//! It is baked into images and changes rarely, so everything that changes is told from outside:
//! by the environment, by the metadata of a cloud, or by the table of the Go project's machines
//! of 2020, which is the last resort.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::httpdl::{Download, Downloaded, HttpClient};
use crate::plain_http;
use crate::{Error, ErrorKind, Result};

/// Where the Go project keeps its buildlets.
const BUCKET: &str = "https://storage.googleapis.com/go-builder-data";
/// Where metadata of Google's machines are.
const METADATA: &str = "metadata.google.internal";
/// How long one question to them may take.
const METADATA_LIMIT: Duration = Duration::from_secs(5);
/// How long one look at the network may take, and the pause before the next.
const LOOK: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Attempts to download.
const ATTEMPTS: u32 = 3;
/// Where machines of the Go project register.
const GO_COORDINATOR: &str = "farmer.golang.org:443";

/// A machine: its system and processor in Go's words, and its environment.
#[derive(Clone, Debug)]
pub struct Machine {
    os: String,
    arch: String,
    env: BTreeMap<String, String>,
}

/// Where the address of the buildlet came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Source {
    /// `META_BUILDLET_BINARY_URL`.
    Environment,
    /// `GO_BUILDER_ENV` is of a machine whose buildlet has a name of its own.
    BuilderEnv,
    /// The metadata of the cloud.
    Metadata,
    /// Nothing was told: that of the Go project for this system.
    Default,
}

impl Machine {
    /// A machine with this system, processor and environment.
    pub fn new(
        os: impl Into<String>,
        arch: impl Into<String>,
        env: impl IntoIterator<Item = (String, String)>,
    ) -> Self {
        Self {
            os: os.into(),
            arch: arch.into(),
            env: env.into_iter().collect(),
        }
    }

    /// The system and processor of this program, in Go's words.
    pub fn here(env: impl IntoIterator<Item = (String, String)>) -> Self {
        let os = match std::env::consts::OS {
            "macos" => "darwin",
            other => other,
        };
        let arch = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "x86" => "386",
            "aarch64" => "arm64",
            "powerpc64" => "ppc64",
            "loongarch64" => "loong64",
            other => other,
        };
        Self::new(os, arch, env)
    }

    fn var(&self, name: &str) -> &str {
        self.env.get(name).map_or("", String::as_str)
    }

    /// Where the buildlet is. Asks the metadata of the cloud when nothing else tells.
    ///
    /// # Errors
    /// The machine is one of Google's and its metadata do not say.
    pub async fn url(&self) -> Result<(String, Source)> {
        let told = self.var("META_BUILDLET_BINARY_URL");
        if !told.is_empty() {
            return Ok((told.to_owned(), Source::Environment));
        }
        if self.var("GO_BUILDER_ENV") == "linux-arm-arm5spacemonkey" {
            let url = format!("{BUCKET}/buildlet.linux-arm-arm5");
            return Ok((url, Source::BuilderEnv));
        }
        if let Some(url) = self.metadata_url().await? {
            return Ok((url, Source::Metadata));
        }
        let url = format!("{BUCKET}/buildlet.{}-{}", self.os, self.arch);
        Ok((url, Source::Default))
    }

    async fn metadata_url(&self) -> Result<Option<String>> {
        let told = self.var("GCE_METADATA_HOST");
        let host = if told.is_empty() { METADATA } else { told };
        let fields = [("Metadata-Flavor", "Google")];
        let about = format!("http://{host}/computeMetadata/v1/instance/id");
        let is_there = match plain_http::get(&about, &fields, METADATA_LIMIT).await {
            Ok(answer) => answer.flavor.as_deref() == Some("Google"),
            Err(_) => false,
        };
        if !is_there && told.is_empty() {
            return Ok(None);
        }
        let attribute = "buildlet-binary-url";
        let url = format!("http://{host}/computeMetadata/v1/instance/attributes/{attribute}");
        let answer = plain_http::get(&url, &fields, METADATA_LIMIT).await?;
        let text = String::from_utf8_lossy(&answer.body).trim().to_owned();
        if answer.status != 200 || text.is_empty() {
            let text = format!(
                "neither META_BUILDLET_BINARY_URL nor the attribute {attribute} of this machine \
                 says where the buildlet is (status {})",
                answer.status
            );
            return Err(Error::new(ErrorKind::NotFound, text));
        }
        Ok(Some(text))
    }

    /// The arguments of the buildlet: `STAGE0_ARGS`, divided by blanks, or those of the Go
    /// project's machine that `GO_BUILDER_ENV` names.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for an ARM machine that does not say which it is.
    pub fn arguments(&self) -> Result<Vec<String>> {
        let told = self.var("STAGE0_ARGS");
        if !told.is_empty() {
            return Ok(told
                .split_whitespace()
                .map(|word| self.expand(word))
                .collect());
        }
        let env = self.var("GO_BUILDER_ENV");
        let mut args = Vec::new();
        let of_env = BY_ENV.iter().find(|(name, _)| *name == env);
        if let Some((name, more)) = of_env {
            if let Some(host_type) = reverse_type(name) {
                args.extend(reverse(host_type));
            }
            args.extend(more.iter().map(|word| self.expand(word)));
        }
        match (self.os.as_str(), self.arch.as_str()) {
            ("linux", "s390x") => {
                args.push("--workdir=/data/golang/workdir".into());
                args.extend(reverse("host-linux-s390x"));
            }
            ("solaris" | "illumos", "amd64") => args.extend(reverse(env)),
            ("linux", "arm" | "arm64") if of_env.is_none() => {
                let text = format!(
                    "GO_BUILDER_ENV={env:?} is no machine that is known; say its arguments in \
                     STAGE0_ARGS"
                );
                return Err(Error::new(ErrorKind::Invalid, text));
            }
            _ => {}
        }
        Ok(args)
    }

    /// `${NAME}` becomes the variable's value.
    fn expand(&self, text: &str) -> String {
        let mut out = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            out.push_str(before);
            let Some((name, tail)) = after.split_once('}') else {
                out.push_str("${");
                rest = after;
                continue;
            };
            out.push_str(self.var(name));
            rest = tail;
        }
        out.push_str(rest);
        out
    }

    /// What the buildlet is told beyond this program's own environment; `is_root` says whether it
    /// runs as the administrator of a Unix system.
    pub fn more_env(
        &self,
        is_root: bool,
        network: Duration,
        download: Duration,
    ) -> Vec<(String, String)> {
        let mut env = Vec::new();
        for (name, value) in [("USER", "root"), ("HOME", "/root")] {
            if is_root && self.var(name).is_empty() {
                env.push((name.to_owned(), value.to_owned()));
            }
        }
        env.push(("GO_STAGE0_NET_DELAY".into(), go_duration(network)));
        env.push(("GO_STAGE0_DL_DELAY".into(), go_duration(download)));
        env
    }
}

/// A time in Go's words, rounded to tenths of a second: `0s`, `300ms`, `1.5s`, `1m2.5s`.
fn go_duration(time: Duration) -> String {
    let tenths = (time.as_millis() + 50) / 100;
    let (minutes, rest) = (tenths / 600, tenths % 600);
    let seconds = match rest % 10 {
        0 => format!("{}s", rest / 10),
        tenth => format!("{}.{tenth}s", rest / 10),
    };
    match (minutes, tenths) {
        (0, 1..=9) => format!("{}ms", tenths * 100),
        (0, _) => seconds,
        (1..60, _) => format!("{minutes}m{seconds}"),
        _ => format!("{}h{}m{seconds}", minutes / 60, minutes % 60),
    }
}

/// The machines of the Go project in 2020: what `GO_BUILDER_ENV` says, and arguments beside those
/// of a machine that registers.
const BY_ENV: &[(&str, &[&str])] = &[
    ("linux-arm-arm5spacemonkey", &["--workdir=${WORKDIR}"]),
    ("host-linux-arm-aws", &["--workdir=${WORKDIR}"]),
    ("host-linux-arm-scaleway", &["--hostname=${HOSTNAME}"]),
    ("host-linux-arm64-aws", &["--workdir=${WORKDIR}"]),
    (
        "host-linux-arm64-packet",
        &[
            "--workdir=/workdir",
            "--hostname=${HOSTNAME}",
            "--reboot=false",
        ],
    ),
    ("host-linux-mipsle-mengzhuo", &["--workdir=${WORKDIR}"]),
    (
        "host-linux-mips64le-rtrk",
        &["--workdir=${WORKDIR}", "--hostname=${GO_BUILDER_ENV}"],
    ),
    (
        "host-linux-mips64-rtrk",
        &["--workdir=${WORKDIR}", "--hostname=${GO_BUILDER_ENV}"],
    ),
    ("host-linux-ppc64le-power9-osu", &[]),
    ("host-linux-ppc64le-osu", &[]),
    ("host-linux-ppc64-osu", &[]),
];

/// As what a machine registers, if it does.
fn reverse_type(env: &str) -> Option<&str> {
    match env {
        "linux-arm-arm5spacemonkey" => Some("host-linux-arm5spacemonkey"),
        "host-linux-arm-aws" | "host-linux-arm64-aws" => None,
        other => Some(other),
    }
}

fn reverse(host_type: &str) -> [String; 3] {
    [
        "--halt=false".into(),
        format!("--reverse-type={host_type}"),
        format!("--coordinator={GO_COORDINATOR}"),
    ]
}

/// Waits until something answers at `url` (plain HTTP), whatever it says.
///
/// # Errors
/// [`ErrorKind::TimedOut`] when nothing has after `limit`.
pub async fn await_network(url: &str, limit: Duration) -> Result<Duration> {
    let begin = Instant::now();
    loop {
        let error = match plain_http::get(url, &[], LOOK.min(limit)).await {
            Ok(_) => return Ok(begin.elapsed()),
            Err(error) if error.kind() == ErrorKind::Invalid => return Err(error),
            Err(error) => error,
        };
        if begin.elapsed() + LOOK_AGAIN > limit {
            let text = format!("the network is not there after {} s", limit.as_secs_f64());
            return Err(Error::caused_by(ErrorKind::TimedOut, text, error));
        }
        sleep(LOOK_AGAIN).await;
    }
}

/// Fetches the buildlet to `file`, unless it is current, and makes it executable. With a SHA-256 it
/// is checked before the old file is replaced.
///
/// # Errors
/// The download's, after three attempts; the old file stays then.
pub async fn fetch(
    client: &HttpClient,
    url: &str,
    file: &Path,
    sha256: Option<[u8; 32]>,
) -> Result<Downloaded> {
    let mut download = Download::new(url, PathBuf::from(file)).attempts(ATTEMPTS, LOOK_AGAIN * 2);
    if let Some(sum) = sha256 {
        download = download.sha256(sum);
    }
    let done = download
        .run(client, &|_| ())
        .await
        .map_err(|error| error.while_doing(format!("download {url}")))?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(file, mode).map_err(|e| {
            Error::from(e).while_doing(format!("make {} executable", file.display()))
        })?;
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(os: &str, arch: &str, env: &[(&str, &str)]) -> Machine {
        let env = env.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned()));
        Machine::new(os, arch, env)
    }

    #[test]
    fn machines_of_2020_get_their_arguments() {
        let args = |os, arch, env: &[(&str, &str)]| {
            machine(os, arch, env)
                .arguments()
                .map(|args| args.join(" "))
                .map_err(|e| e.to_string())
        };
        let go = "--coordinator=farmer.golang.org:443";
        assert_eq!(args("linux", "amd64", &[]), Ok(String::new()));
        let env = ("GO_BUILDER_ENV", "host-linux-mips64-rtrk");
        assert_eq!(
            args("linux", "mips64", &[env, ("WORKDIR", "/w")]),
            Ok(format!(
                "--halt=false --reverse-type=host-linux-mips64-rtrk {go} --workdir=/w --hostname=host-linux-mips64-rtrk"
            ))
        );
        assert_eq!(
            args("linux", "s390x", &[]),
            Ok(format!(
                "--workdir=/data/golang/workdir --halt=false --reverse-type=host-linux-s390x {go}"
            ))
        );
        let aws = ("GO_BUILDER_ENV", "host-linux-arm64-aws");
        assert_eq!(
            args("linux", "arm64", &[aws, ("WORKDIR", "/w")]),
            Ok("--workdir=/w".into())
        );
        let env = ("GO_BUILDER_ENV", "host-solaris-amd64");
        assert!(
            args("solaris", "amd64", &[env])
                .unwrap()
                .contains("--reverse-type=host-solaris-amd64")
        );
        let unknown = args("linux", "arm64", &[("GO_BUILDER_ENV", "mine")]).unwrap_err();
        assert!(
            unknown.contains("\"mine\"") && unknown.contains("STAGE0_ARGS"),
            "{unknown}"
        );
        let told = ("STAGE0_ARGS", "--reverse-type=mine  --hostname=${HOSTNAME}");
        assert_eq!(
            args("linux", "arm64", &[told, ("HOSTNAME", "h1")]),
            Ok("--reverse-type=mine --hostname=h1".into())
        );
    }

    #[test]
    fn times_are_told_in_gos_words() {
        for (millis, text) in [
            (0, "0s"),
            (349, "300ms"),
            (1500, "1.5s"),
            (2000, "2s"),
            (62_500, "1m2.5s"),
            (3_600_000, "1h0m0s"),
        ] {
            assert_eq!(go_duration(Duration::from_millis(millis)), text);
        }
        let env = machine("linux", "amd64", &[("HOME", "/h")]).more_env(
            true,
            Duration::ZERO,
            Duration::from_secs(1),
        );
        let names: Vec<_> = env.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["USER", "GO_STAGE0_NET_DELAY", "GO_STAGE0_DL_DELAY"]);
    }

    #[tokio::test]
    async fn the_environment_tells_first() {
        let told = machine(
            "linux",
            "amd64",
            &[("META_BUILDLET_BINARY_URL", "http://x/b")],
        );
        let expected = ("http://x/b".to_owned(), Source::Environment);
        assert_eq!(told.url().await.unwrap(), expected);
        let arm5 = machine(
            "linux",
            "arm",
            &[("GO_BUILDER_ENV", "linux-arm-arm5spacemonkey")],
        );
        assert!(
            arm5.url()
                .await
                .unwrap()
                .0
                .ends_with("buildlet.linux-arm-arm5")
        );
    }
}
