//! The check before a deployment command: is it about to act on the environment that was meant?
//!
//! What is allowed stands in a table, an environment a section; the Go project's is a preset.
//! ```
//! use build_core::xb::Rules;
//! let rules = Rules::go();
//! let staging = rules.environment("staging").unwrap();
//! let args = rules.with_repo(&["push".into(), "REPO/x".into()], || Ok(staging)).unwrap();
//! assert_eq!(args, ["push", "gcr.io/go-dashboard-dev/x"]);
//! assert!(rules.image("ubuntu:20.04").is_err() && rules.image("debian:10").is_ok());
//! ```

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::error::{Error, ErrorKind, Result};

/// One environment: what commands on it must look like.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Environment {
    /// The kubectl context that belongs to it.
    pub context: String,
    /// What `REPO` stands for in the arguments of docker.
    pub repo: String,
    /// The command that makes the context the current one, shown when it is not.
    #[serde(default)]
    pub get_context: String,
}

/// An image that is built before the images above it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OwnImage {
    /// A command that prints the directory to build in; empty: `dir` says it.
    #[serde(default)]
    pub find_dir: Vec<String>,
    /// The directory to build in, when nothing finds it.
    #[serde(default)]
    pub dir: String,
    /// The command that builds it.
    pub build: Vec<String>,
}

/// What is allowed.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rules {
    /// The environments by name.
    pub environment: BTreeMap<String, Environment>,
    /// How base images may begin.
    #[serde(default)]
    pub base_images: Vec<String>,
    /// Base images of our own.
    #[serde(default)]
    pub own_image: BTreeMap<String, OwnImage>,
}

/// What a base image asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Image<'a> {
    /// Nothing: it is a known public one.
    Public,
    /// That it is built first.
    Own(&'a OwnImage),
}

impl Rules {
    /// The Go project's of December 2020: `prod` and `staging`.
    #[must_use]
    pub fn go() -> Self {
        let environment = |project: &str| Environment {
            context: format!("gke_{project}_us-central1-f_go"),
            repo: format!("gcr.io/{project}"),
            get_context: format!(
                "gcloud container clusters get-credentials --project={project} --zone=us-central1-f go"
            ),
        };
        let words = |line: &str| line.split(' ').map(str::to_owned).collect();
        let stage0 = OwnImage {
            find_dir: words("go list -f {{.Dir}} golang.org/x/build/cmd/buildlet/stage0"),
            dir: String::new(),
            build: words("make docker"),
        };
        Self {
            environment: [
                ("prod", "symbolic-datum-552"),
                ("staging", "go-dashboard-dev"),
            ]
            .map(|(name, project)| (name.to_owned(), environment(project)))
            .into(),
            base_images: ["golang:", "debian:", "alpine:", "fedora:"]
                .map(Into::into)
                .into(),
            own_image: [("golang/buildlet-stage0".to_owned(), stage0)].into(),
        }
    }

    /// Reads rules: `[environment.NAME]` with `context`, `repo`, `get_context`; `base_images`;
    /// `[own_image."NAME"]` with `build` and `dir` or `find_dir`.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] with the place of the mistake.
    #[cfg(feature = "config")]
    pub fn parse(text: &str) -> Result<Self> {
        toml::from_str(text)
            .map_err(|error| Error::caused_by(ErrorKind::Invalid, "bad rules of deployment", error))
    }

    /// The environment of that name.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] with those that there are.
    pub fn environment(&self, name: &str) -> Result<&Environment> {
        self.environment.get(name).ok_or_else(|| {
            let known: Vec<&str> = self.environment.keys().map(String::as_str).collect();
            Error::new(ErrorKind::NotFound, format!("no environment {name:?}"))
                .with_hint(format!("there is {}", known.join(", ")))
        })
    }

    /// The arguments of docker with `REPO` replaced; `environment` is asked for only when it
    /// stands in one.
    ///
    /// # Errors
    /// Those of `environment`.
    pub fn with_repo<'a>(
        &self,
        args: &[String],
        environment: impl Fn() -> Result<&'a Environment>,
    ) -> Result<Vec<String>> {
        args.iter()
            .map(|arg| {
                if arg.contains("REPO") {
                    Ok(arg.replace("REPO", &environment()?.repo))
                } else {
                    Ok(arg.clone())
                }
            })
            .collect()
    }

    /// What the base image `name` asks for.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`] when it is no known one.
    pub fn image(&self, name: &str) -> Result<Image<'_>> {
        if self.base_images.iter().any(|start| name.starts_with(start)) {
            return Ok(Image::Public);
        }
        let bare = name.split([':', '@']).next().unwrap_or(name);
        self.own_image
            .get(name)
            .or_else(|| self.own_image.get(bare))
            .map(Image::Own)
            .ok_or_else(|| {
                Error::new(
                    ErrorKind::Denied,
                    format!("unsupported layer {name:?}; don't know how to validate or build"),
                )
                .with_hint(format!(
                    "base images may begin with {}",
                    self.base_images.join(", ")
                ))
            })
    }
}

/// The file that `docker build` reads, by its arguments (`-f X`, `-fX`, `--file=X`).
#[must_use]
pub fn dockerfile_of(args: &[String]) -> String {
    let mut args = args.iter();
    let mut file = "Dockerfile".to_owned();
    while let Some(arg) = args.next() {
        if arg == "-f" || arg == "--file" {
            file = args.next().cloned().unwrap_or(file);
        } else if let Some(name) = arg.strip_prefix("--file=") {
            file = name.to_owned();
        } else if let Some(name) = arg.strip_prefix("-f").filter(|_| !arg.starts_with("--")) {
            file = name.trim_start_matches('=').to_owned();
        }
    }
    file
}

/// The base images that a Dockerfile names, in order: not the stages of the file itself, and not
/// `scratch`, which holds nothing.
#[must_use]
pub fn base_images(dockerfile: &str) -> Vec<String> {
    let mut stages: Vec<String> = Vec::new();
    let mut images = Vec::new();
    for line in dockerfile.lines() {
        let mut words = line.split_whitespace();
        if !words
            .next()
            .is_some_and(|word| word.eq_ignore_ascii_case("FROM"))
        {
            continue;
        }
        let mut words = words.filter(|word| !word.starts_with("--"));
        let Some(image) = words.next() else { continue };
        if image != "scratch" && !stages.iter().any(|stage| stage.eq_ignore_ascii_case(image)) {
            images.push(image.to_owned());
        }
        if words
            .next()
            .is_some_and(|word| word.eq_ignore_ascii_case("AS"))
        {
            stages.extend(words.next().map(str::to_owned));
        }
    }
    images
}

/// The first address at `google.com` in a listing of accounts.
#[must_use]
pub fn google_email(listing: &str) -> Option<&str> {
    listing.split_whitespace().find(|word| {
        word.rsplit_once('@').is_some_and(|(name, host)| {
            let host = host.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
            !name.is_empty() && host == "google.com"
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_images_of_a_file_with_stages() {
        let file = "# syntax\nFROM golang:1.15 AS build\nRUN true\nfrom --platform=x debian:10 as run\n\
                    FROM build\nFROM scratch\nFROMAGE x\nFROM golang/buildlet-stage0\n";
        assert_eq!(
            base_images(file),
            ["golang:1.15", "debian:10", "golang/buildlet-stage0"]
        );
        let rules = Rules::go();
        assert!(matches!(
            rules.image("golang/buildlet-stage0"),
            Ok(Image::Own(_))
        ));
        assert!(matches!(
            rules.image("golang/buildlet-stage0:latest"),
            Ok(Image::Own(_))
        ));
    }

    #[test]
    fn the_file_that_docker_reads() {
        let of = |args: &[&str]| {
            dockerfile_of(&args.iter().map(|a| (*a).to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(of(&["build", "."]), "Dockerfile");
        assert_eq!(of(&["build", "-f", "a", "."]), "a");
        assert_eq!(of(&["build", "-fa"]), "a");
        assert_eq!(of(&["build", "--file=a", "--force-rm"]), "a");
    }

    #[test]
    fn the_environment_is_asked_for_only_when_needed() {
        let rules = Rules::go();
        let refuse = || Err(Error::new(ErrorKind::Invalid, "none"));
        assert_eq!(rules.with_repo(&["ps".into()], refuse).unwrap(), ["ps"]);
        assert!(rules.with_repo(&["REPO".into()], refuse).is_err());
        assert!(
            rules
                .environment("x")
                .unwrap_err()
                .hint()
                .unwrap()
                .contains("prod, staging")
        );
    }

    #[test]
    fn addresses_in_a_listing() {
        assert_eq!(
            google_email("NAME ACCOUNT\nx a@home.net\ny b@google.com p"),
            Some("b@google.com")
        );
        assert_eq!(google_email("a@google.com.evil @google.com"), None);
    }

    #[cfg(feature = "config")]
    #[test]
    fn rules_of_another_project() {
        let rules = Rules::parse(
            "base_images = [\"debian:\"]\n[environment.live]\ncontext = \"live\"\nrepo = \"r.example/live\"\n",
        )
        .unwrap();
        assert_eq!(rules.environment("live").unwrap().context, "live");
        assert!(Rules::parse("[environment.x]\nkontext = \"y\"\n").is_err());
    }
}
