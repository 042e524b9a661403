//! How people name what is to be followed.

use std::fmt;
use std::str::FromStr;

use super::SyncError;

/// Something on a host: `github:OWNER/REPO`, `gerrit:HOST/PROJECT` or `git:URL`.
///
/// ```
/// use maintner_core::sync::Target;
/// let target: Target = "gerrit:go.googlesource.com/go".parse()?;
/// assert_eq!(target.to_string(), "gerrit:go.googlesource.com/go");
/// assert!("github:golang".parse::<Target>().is_err());
/// assert!("gitlab:group/project".parse::<Target>().is_err());
/// # Ok::<(), maintner_core::sync::SyncError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// A repository on GitHub.
    GitHub {
        /// Account or organisation.
        owner: String,
        /// Name of the repository.
        repo: String,
    },
    /// A project on a Gerrit server.
    Gerrit {
        /// `host/project`.
        project: String,
    },
    /// A git repository and nothing else: a URL, or a folder.
    Git {
        /// As git takes it.
        url: String,
    },
}

impl Target {
    /// `OWNER/REPO`.
    ///
    /// # Errors
    /// When it is something else, in the words of the Go program.
    pub fn github(text: &str) -> Result<Self, SyncError> {
        let part = |part: &str| {
            let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
            !part.is_empty() && part.chars().all(good) && part != "." && part != ".."
        };
        match text.split_once('/') {
            Some((owner, repo)) if part(owner) && part(repo) => Ok(Self::GitHub {
                owner: owner.to_owned(),
                repo: repo.to_owned(),
            }),
            _ => Err(SyncError::BadTarget(format!(
                "Invalid github repo: {text}. Should be 'owner/repo,owner2/repo2'"
            ))),
        }
    }

    /// `HOST/PROJECT`. As in the Go program exactly one slash; a project with a folder in its
    /// name is written with `%2F`.
    ///
    /// # Errors
    /// When it is something else.
    pub fn gerrit(text: &str) -> Result<Self, SyncError> {
        match text.split_once('/') {
            Some((host, project))
                if !host.is_empty() && !project.is_empty() && !project.contains('/') =>
            {
                Ok(Self::Gerrit {
                    project: format!("{host}/{}", project.replace("%2F", "/")),
                })
            }
            _ => Err(SyncError::BadTarget(format!(
                "gerrit project {text:?} expected to contain exactly 1 slash"
            ))),
        }
    }

    /// A URL or a folder.
    ///
    /// # Errors
    /// When it is empty, or an option rather than a URL.
    pub fn git(text: &str) -> Result<Self, SyncError> {
        if text.is_empty() || text.starts_with('-') || text.contains(char::is_control) {
            return Err(SyncError::BadTarget(format!(
                "{text:?} is no git repository; write git:https://host/path or git:/folder"
            )));
        }
        Ok(Self::Git {
            url: text.to_owned(),
        })
    }

    /// The name under which a git repository's refs are in the log: host and path of its URL;
    /// `local` and the folder's name for folders.
    ///
    /// ```
    /// use maintner_core::sync::Target;
    /// assert_eq!(Target::git_project("https://user@host:8443/a/b.git/"), "host/a/b");
    /// assert_eq!(Target::git_project("git@github.com:golang/go.git"), "github.com/golang/go");
    /// assert_eq!(Target::git_project("/srv/project"), "local/project");
    /// ```
    pub fn git_project(url: &str) -> String {
        let trimmed = url.trim_end_matches('/');
        let trimmed = trimmed.strip_suffix(".git").unwrap_or(trimmed);
        let (scheme, rest) = match trimmed.split_once("://") {
            Some((scheme, rest)) => (scheme, rest.split_once('/')),
            // host:path, unless a slash comes first.
            None => match trimmed.split_once(':') {
                Some((host, path)) if !host.contains('/') => ("ssh", Some((host, path))),
                _ => ("file", None),
            },
        };
        match rest {
            Some((host, path)) if scheme != "file" && !host.is_empty() => {
                let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
                let host = host.split_once(':').map_or(host, |(host, _)| host);
                format!("{host}/{}", path.trim_start_matches('/'))
            }
            _ => {
                let name = trimmed.rsplit('/').next().unwrap_or_default();
                format!("local/{name}")
            }
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::GitHub { owner, repo } => write!(f, "github:{owner}/{repo}"),
            Self::Gerrit { project } => write!(f, "gerrit:{project}"),
            Self::Git { url } => write!(f, "git:{url}"),
        }
    }
}

impl FromStr for Target {
    type Err = SyncError;

    fn from_str(text: &str) -> Result<Self, SyncError> {
        match text.split_once(':') {
            Some(("github", rest)) => Self::github(rest),
            Some(("gerrit", rest)) => {
                let (host, project) = rest.split_once('/').unwrap_or((rest, ""));
                Self::gerrit(&format!("{host}/{}", project.replace('/', "%2F")))
            }
            Some(("git", rest)) if !rest.starts_with("//") => Self::git(rest),
            _ => Err(SyncError::BadTarget(format!(
                "{text:?} names no host; write github:OWNER/REPO, gerrit:HOST/PROJECT or git:URL"
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_20_one_slash() {
        let error = Target::gerrit("go.googlesource.com/a/b").unwrap_err();
        assert!(
            error
                .to_string()
                .ends_with("expected to contain exactly 1 slash")
        );
        let nested = Target::gerrit("host/a%2Fb").unwrap();
        assert_eq!(nested.to_string(), "gerrit:host/a/b");
        assert_eq!("gerrit:host/a/b".parse::<Target>().unwrap(), nested);
    }

    #[test]
    fn what_is_no_target_is_named() {
        for bad in [
            "github:o/r/x",
            "github:../r",
            "git:--upload-pack=x",
            "go",
            "git:",
        ] {
            let error = bad.parse::<Target>().unwrap_err().to_string();
            let rest = bad.split_once(':').map_or(bad, |(_, rest)| rest);
            assert!(error.contains(rest), "{error}");
        }
        assert!("git:https://h/p".parse::<Target>().is_ok());
    }
}
