//! An `[[input]]` of `.farmer.toml`: read and checked.

use serde::Deserialize;

use super::farmer_toml::{RawSize, invalid, runs_here};
use super::step_toml::plain_dir;
use crate::error::{Error, Result};
use crate::ids::{BuilderName, StepName};
use crate::plan::{ARCHIVE_BYTES, Input, InputFrom, check_place};

#[derive(Deserialize)]
pub(super) struct RawInput {
    #[serde(default)]
    dir: String,
    repo: Option<String>,
    rev: Option<String>,
    url: Option<String>,
    sha256: Option<String>,
    size: Option<RawSize>,
    unpack: Option<bool>,
    strip: Option<u32>,
    snapshot: Option<StepName>,
    builder: Option<BuilderName>,
    optional: Option<bool>,
    #[serde(default)]
    builders: Vec<String>,
}

/// An input, and the builders whose builds have it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Given {
    input: Input,
    builders: Vec<String>,
}

impl Given {
    /// The input, when builds on `builder` have it.
    pub(super) fn on(&self, builder: &BuilderName) -> Option<Input> {
        runs_here(&self.builders, builder).then(|| self.input.clone())
    }
}

impl RawInput {
    /// The input that is the `n`th in the file, counted from 0.
    pub(super) fn read(self, n: usize) -> Result<Given> {
        let place = format!("input[{n}]");
        self.check_kinds(&place)?;
        let dir = plain_dir(&self.dir);
        check_place(&place, &dir)?;
        let builders = self.builders.clone();
        let from = match (&self.repo, &self.url, &self.snapshot) {
            (_, Some(_), _) => self.archive(&place)?,
            (repo, _, Some(step)) => InputFrom::Snapshot {
                step: step.clone(),
                builder: self.builder,
                repo: repo.as_deref().map(|r| repository(&place, r)).transpose()?,
                rev: revision(&place, self.rev)?,
                optional: self.optional.unwrap_or(false),
                found: None,
            },
            (Some(repo), ..) => InputFrom::Checkout {
                repo: repository(&place, repo)?,
                rev: revision(&place, self.rev)?,
                item: None,
            },
            _ => return Err(nothing(&place)),
        };
        let input = Input { dir, from };
        Ok(Given { input, builders })
    }

    /// One of the three kinds, and no key of another one.
    fn check_kinds(&self, place: &str) -> Result<()> {
        let (repo, url, snapshot) = (
            self.repo.is_some(),
            self.url.is_some(),
            self.snapshot.is_some(),
        );
        if url && (repo || snapshot) {
            let text = format!("{place} is several things at once");
            let hint = "an archive and a checkout need an [[input]] each";
            return Err(invalid(text).with_hint(hint));
        }
        if !(repo || url || snapshot) {
            return Err(nothing(place));
        }
        let keys = [
            ("rev", "repo", self.rev.is_some(), repo || snapshot),
            ("sha256", "url", self.sha256.is_some(), url),
            ("size", "url", self.size.is_some(), url),
            ("unpack", "url", self.unpack.is_some(), url),
            ("strip", "url", self.strip.is_some(), url),
            ("builder", "snapshot", self.builder.is_some(), snapshot),
            ("optional", "snapshot", self.optional.is_some(), snapshot),
        ];
        match keys.iter().find(|(.., is_given, fits)| *is_given && !fits) {
            None => Ok(()),
            Some((key, of, ..)) => {
                let text = format!("{place} has `{key}`, which goes with `{of}`");
                Err(invalid(text).with_hint(format!("take `{key}` out")))
            }
        }
    }

    fn archive(self, place: &str) -> Result<InputFrom> {
        let url = self.url.unwrap_or_default();
        let is_web = url.starts_with("https://") || url.starts_with("http://");
        if !is_web || !url.bytes().all(|b| b.is_ascii_graphic()) {
            let text = format!("{place}: url is no address of the web");
            return Err(invalid(text).with_hint("write it like \"https://example.org/a.tar.gz\""));
        }
        check_no_password(place, "url", &url)?;
        let is_sum = |sum: &&String| sum.len() == 64 && sum.bytes().all(|b| b.is_ascii_hexdigit());
        let Some(sha256) = self.sha256.as_ref().filter(is_sum) else {
            let text = format!("{place}: an archive needs its SHA-256, 64 hexadecimal digits");
            return Err(
                invalid(text).with_hint("add sha256 = \"...\", as `sha256sum FILE` prints it")
            );
        };
        let unpack = self.unpack.unwrap_or(true);
        if !unpack && self.strip.is_some() {
            let text = format!("{place}: a file that is not unpacked has no folders to leave out");
            return Err(invalid(text).with_hint("take `strip` out, or `unpack = false`"));
        }
        let size = self.size.map(|size| size.read("size")).transpose();
        Ok(InputFrom::Archive {
            url,
            sha256: sha256.to_lowercase(),
            max_bytes: size
                .map_err(|e: Error| e.while_doing(place.to_owned()))?
                .unwrap_or(ARCHIVE_BYTES),
            unpack,
            strip: self.strip.unwrap_or(0),
        })
    }
}

/// A repository as it is named; passwords would be shown to everybody.
fn repository(place: &str, repo: &str) -> Result<String> {
    let is_plain = !repo.starts_with('-') && !repo.contains(|c: char| c.is_control());
    if repo.is_empty() || !is_plain || repo.starts_with('/') {
        let text = format!("{place}: repo {repo:?} names no repository");
        return Err(invalid(text).with_hint(
            "give its name in the farm, a git URL, or ../PATH beside a repository on the farm's machine",
        ));
    }
    check_no_password(place, "repo", repo)?;
    Ok(repo.to_owned())
}

fn revision(place: &str, rev: Option<String>) -> Result<Option<String>> {
    let is_plain = |rev: &String| {
        !rev.is_empty() && !rev.starts_with('-') && !rev.contains(|c: char| c.is_control())
    };
    if rev.as_ref().is_none_or(is_plain) {
        return Ok(rev);
    }
    let text = format!("{place}: rev {:?} names no commit", rev.unwrap_or_default());
    Err(invalid(text).with_hint("give a branch, a tag or the hash of a commit"))
}

fn check_no_password(place: &str, key: &str, url: &str) -> Result<()> {
    let host = url.split_once("://").map(|(_, rest)| rest);
    let host = host.map(|rest| rest.split(['/', '?', '#']).next().unwrap_or(rest));
    let user = host.and_then(|host| host.rsplit_once('@'));
    if user.is_none_or(|(user, _)| !user.contains(':')) {
        return Ok(());
    }
    let text = format!("{place}: {key} has a password, which everybody would see");
    Err(invalid(text).with_hint("let git on the farm's machine know it: git help credentials"))
}

fn nothing(place: &str) -> Error {
    invalid(format!("{place} is nothing")).with_hint(
        "give `repo` for a checkout, `url` for an archive, or `snapshot` for what a step has kept",
    )
}

#[cfg(test)]
mod tests {
    use super::super::FarmerToml;
    use super::*;

    const STEP: &str = "\n[[step]]\nname = \'a\'\nrun = \'x\'\n";

    #[test]
    fn inputs_are_read() {
        let text = format!(
            "[[input]]\nrepo = '../tools'\nrev = 'main'\ndir = './tools/'\n\
             [[input]]\nurl = 'https://h/a.tgz'\nsha256 = '{}'\nsize = '1 MiB'\nstrip = 1\ndir = 'a'\n\
             [[input]]\nsnapshot = 'make'\ndir = 'old'\nrepo = 'go'\noptional = true\n\
             [[input]]\nsnapshot = 'make'\ndir = 'old'\nbuilders = ['mac*']{STEP}",
            "AB".repeat(32)
        );
        let file = FarmerToml::parse(&text).unwrap();
        let plan = file.plan(&file.builders()[0].name, "test").unwrap();
        let said: Vec<_> = plan.inputs.iter().map(ToString::to_string).collect();
        assert_eq!(
            said,
            [
                "../tools at main in tools",
                "https://h/a.tgz, SHA-256 abababababab… in a",
                "the snapshot of step make of go (if there is one) in old",
            ]
        );
        let InputFrom::Archive {
            sha256,
            max_bytes,
            unpack,
            strip,
            ..
        } = &plan.inputs[1].from
        else {
            panic!("{:?}", plan.inputs)
        };
        assert_eq!(
            (sha256.as_str(), *max_bytes),
            ("ab".repeat(32).as_str(), 1 << 20)
        );
        assert_eq!((*unpack, *strip), (true, 1));
    }

    #[test]
    fn errors_name_the_input_and_the_remedy() {
        let cases = [
            ("dir = 'x'", "input[0] is nothing"),
            (
                "repo = 'x'\nurl = 'y'",
                "input[0] is several things at once",
            ),
            (
                "repo = 'x'\nstrip = 1",
                "input[0] has `strip`, which goes with `url`",
            ),
            (
                "url = 'file:///etc'\ndir = 'x'",
                "input[0]: url is no address of the web",
            ),
            (
                "url = 'https://h/a'\nsha256 = 'ab'\ndir = 'x'",
                "input[0]: an archive needs its SHA-256, 64 hexadecimal digits",
            ),
            (
                "repo = 'x'\ndir = '../y'",
                "input[0], dir: \"../y\" leads out of the checkout",
            ),
            (
                "repo = 'x'\ndir = '/y'",
                "input[0], dir: \"/y\" leads out of the checkout",
            ),
            ("repo = 'x'", "input[0] has no place"),
            (
                "repo = 'https://u:p@h/x'\ndir = 'x'",
                "input[0]: repo has a password, which everybody would see",
            ),
            (
                "repo = '/x'\ndir = 'x'",
                "input[0]: repo \"/x\" names no repository",
            ),
            (
                "repo = 'x'\ndir = 'x'\nrev = '--upload-pack=y'",
                "input[0]: rev \"--upload-pack=y\" names no commit",
            ),
        ];
        for (keys, said) in cases {
            let error = FarmerToml::parse(&format!("[[input]]\n{keys}{STEP}")).unwrap_err();
            assert_eq!(error.to_string(), said);
            assert!(error.hint().is_some(), "{said}");
        }
        let text = format!(
            "[[input]]\nrepo = 'x'\ndir = 'a/b'\n[[input]]\nrepo = 'y'\ndir = './a/'{STEP}"
        );
        let file = FarmerToml::parse(&text).unwrap();
        let error = file.plan(&file.builders()[0].name, "test").unwrap_err();
        assert_eq!(
            error.to_string(),
            "y at its default branch cannot be put in \"a\": x at its default branch is in \"a/b\""
        );
        let tree = "[[step]]\nname = 'a'\nrun = 'x'\n[[step]]\nname = 'b'\nrun = 'x'\n\
            needs = ['a']\ninputs = [{ step = 'a', dir = 'y' }]";
        let error = FarmerToml::parse(tree).unwrap_err();
        assert_eq!(
            error.to_string(),
            "step \"b\" gets the tree of step \"a\", which keeps none"
        );
    }
}
