use std::fmt;
use std::time::Duration;

use super::rule::GO;
use super::{Clause, Decision, DistRule, Farm, GoVersion, Host, Kind, ReleaseBranch, Target};
use crate::Result;

/// How long the tests of one command may take, before it is scaled.
const TEST_LIMIT: Duration = Duration::from_secs(20 * 60);
const SCALE: &str = "GO_TEST_TIMEOUT_SCALE=";

/// A builder as it is configured.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Record {
    /// `os-arch` or `os-arch-suffix`.
    pub name: String,
    /// The host that it runs on.
    pub host: String,
    /// An issue that explains its failures; 0 for none.
    pub known_issue: u64,
    /// For people.
    pub notes: String,
    /// It only tries changes.
    pub try_only: bool,
    /// It compiles tests and does not run them.
    pub compile_only: bool,
    /// Its network fails now and then.
    pub flaky_net: bool,
    /// The oldest Go that it builds.
    pub min_go: GoVersion,
    /// No archive of the built tree is kept.
    pub skip_snapshot: bool,
    /// It runs benchmarks when changes are tried.
    pub run_bench: bool,
    /// The result of the make script is the result.
    pub stop_after_make: bool,
    /// It fetches modules while it builds.
    pub needs_go_proxy: bool,
    /// Packages installed for the race detector; see [`Builder::race_packages`].
    pub race_packages: Option<Vec<String>>,
    /// Commits of Go that must be among the ancestors.
    pub go_deps: Option<Vec<String>>,
    /// How the tree is compiled on another host.
    pub cross_compile: Option<CrossCompile>,
    /// More machines for the tests.
    pub helpers: u32,
    /// The same when a change is tried; 0: as many as otherwise.
    pub try_helpers: u32,
    /// `K=V` for every build.
    pub env: Vec<String>,
    /// Arguments of the make script and of the script for everything.
    pub script_args: Vec<String>,
    /// What it builds; without it, the farm's default.
    pub builds: Option<Vec<Clause>>,
    /// What it tries.
    #[serde(rename = "try")]
    pub tries: Vec<Clause>,
    /// Which dist tests it runs.
    pub dist_tests: Vec<DistRule>,
}

/// How a tree is compiled on another host.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CrossCompile {
    /// The host.
    pub compile_host: String,
    /// Its C compiler for the target.
    pub cc_for_target: String,
    /// `GOARM` of the target.
    pub goarm: String,
    /// Not for tried changes alone.
    pub always: bool,
}

impl Record {
    pub(super) fn problems(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut say = |text: &str| found.push(format!("builder {:?}: {text}", self.name));
        if self.name.is_empty() || !self.name.contains('-') {
            say("its name is not os-arch or os-arch-suffix");
        }
        if self.skip_snapshot && (self.helpers > 0 || self.try_helpers > 0) {
            say("helpers need the snapshot that skip_snapshot skips");
        }
        if self.dist_tests.iter().any(DistRule::is_empty) {
            say("a rule of dist_tests is about no test");
        }
        found
    }
}

/// A builder of a farm, with its host: everything that follows from the configuration.
#[derive(Clone, Copy)]
pub struct Builder<'f> {
    farm: &'f Farm,
    record: &'f Record,
    host: &'f Host,
}

impl fmt::Debug for Builder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Builder({})", self.record.name)
    }
}

/// In which kind of run tests are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TestTime {
    /// A change is tried by the builders that try it of themselves.
    NormalTry,
    /// After the commit is in, or when somebody asked for this builder.
    Other,
}

impl<'f> Builder<'f> {
    pub(super) fn new(farm: &'f Farm, record: &'f Record, host: &'f Host) -> Self {
        Self { farm, record, host }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &'f str {
        &self.record.name
    }

    /// What is configured.
    #[must_use]
    pub fn record(&self) -> &'f Record {
        self.record
    }

    /// Its host.
    #[must_use]
    pub fn host(&self) -> &'f Host {
        self.host
    }

    /// The target's operating system, the first part of the name.
    #[must_use]
    pub fn goos(&self) -> &'f str {
        self.record.name.split('-').next().unwrap_or_default()
    }

    /// The target's architecture, the second part of the name.
    #[must_use]
    pub fn goarch(&self) -> &'f str {
        self.record.name.split('-').nth(1).unwrap_or_default()
    }

    /// Whether it looks for races: a part of its name says so.
    #[must_use]
    pub fn is_race(&self) -> bool {
        self.record
            .name
            .split('-')
            .skip(2)
            .any(|part| part == "race")
    }

    /// Whether it runs the long tests: a part of its name says so.
    #[must_use]
    pub fn is_long_test(&self) -> bool {
        self.record
            .name
            .split('-')
            .skip(1)
            .any(|part| part == "longtest")
    }

    /// Whether builds may use the network.
    #[must_use]
    pub fn outbound_network(&self) -> bool {
        self.is_long_test()
    }

    /// The script that builds and tests all, below the root of Go.
    #[must_use]
    pub fn all_script(&self) -> &'static str {
        let windows = self.record.name.starts_with("windows-");
        match () {
            () if self.is_race() && windows => "src/race.bat",
            () if self.is_race() => "src/race.bash",
            () if windows => "src/all.bat",
            () if self.record.name.starts_with("plan9-") => "src/all.rc",
            () if self.record.name.starts_with("misc-compile") => "src/buildall.bash",
            () => "src/all.bash",
        }
    }

    /// The script that builds, below the root of Go.
    #[must_use]
    pub fn make_script(&self) -> &'static str {
        match () {
            () if self.record.name.starts_with("windows-") => "src/make.bat",
            () if self.record.name.starts_with("plan9-") => "src/make.rc",
            () => "src/make.bash",
        }
    }

    /// Arguments of both scripts.
    #[must_use]
    pub fn script_args(&self) -> &'f [String] {
        &self.record.script_args
    }

    /// Whether building and testing are two steps.
    #[must_use]
    pub fn is_split(&self) -> bool {
        self.all_script() != "src/buildall.bash"
    }

    /// Where the built tree believes to be.
    #[must_use]
    pub fn goroot_final(&self) -> &'static str {
        match self.record.name.starts_with("windows-") {
            true => r"c:\go",
            false => "/usr/local/go",
        }
    }

    /// Parts of a path, joined as the target does; nothing is cleaned.
    #[must_use]
    pub fn join_path(&self, parts: &[&str]) -> String {
        match self.goos() {
            "windows" => parts.join("\\"),
            _ => parts.join("/"),
        }
    }

    /// The environment of its builds. A later entry wins where the process starts.
    #[must_use]
    pub fn env(&self) -> Vec<String> {
        let mut env = vec![format!("GO_BUILDER_NAME={}", self.record.name)];
        if self.record.flaky_net {
            env.push("GO_BUILDER_FLAKY_NET=1".to_owned());
        }
        if self.is_long_test() {
            env.push("GO_TEST_SHORT=0".to_owned());
        }
        env.extend(self.host.env.iter().chain(&self.record.env).cloned());
        env
    }

    /// The environment of its modules, for a repository; `proxy` is the URL of a module proxy
    /// for machines that reach one.
    #[must_use]
    pub fn modules_env(&self, repo: &str, proxy: &str) -> Vec<String> {
        let mut env = Vec::new();
        if (self.host.ec2 || self.host.reverse) && repo != GO {
            env.push(format!("GOPROXY={proxy}"));
        }
        match repo {
            GO if !self.outbound_network() => env.push("GOPROXY=off".to_owned()),
            "oauth2" | "build" | "perf" | "website" => env.push("GO111MODULE=on".to_owned()),
            _ => {}
        }
        env
    }

    /// Packages to install for the race detector once Go is built.
    #[must_use]
    pub fn race_packages(&self) -> Vec<&'f str> {
        match &self.record.race_packages {
            Some(packages) => packages.iter().map(String::as_str).collect(),
            None if self.is_race() => vec!["std"],
            None => Vec::new(),
        }
    }

    /// By how much slower tests are than elsewhere.
    #[must_use]
    pub fn timeout_scale(&self) -> u32 {
        let all = self.record.env.iter().chain(&self.host.env);
        let numbers = all.filter_map(|pair| pair.strip_prefix(SCALE)?.parse().ok());
        numbers.into_iter().find(|number| *number > 0).unwrap_or(1)
    }

    /// How long the tests of one command may take.
    #[must_use]
    pub fn test_limit(&self) -> Duration {
        TEST_LIMIT * self.timeout_scale()
    }

    /// How many more machines help with the tests.
    #[must_use]
    pub fn helpers(&self, is_try: bool) -> u32 {
        match is_try && self.record.try_helpers > 0 {
            true => self.record.try_helpers,
            false => self.record.helpers,
        }
    }

    /// Who cares for it, for people.
    #[must_use]
    pub fn short_owner(&self) -> &'f str {
        match self.host.owner.as_str() {
            "" => "go-dev",
            owner => owner.strip_suffix("@golang.org").unwrap_or(owner),
        }
    }

    /// Whether its host connects to us.
    #[must_use]
    pub fn is_reverse(&self) -> bool {
        self.host.kind() == Kind::Reverse
    }

    /// Whether the farm of tests that Go's staging runs has it.
    #[must_use]
    pub fn is_staged(&self) -> bool {
        const STAGED: [&str; 4] = [
            "linux-amd64",
            "linux-amd64-sid",
            "linux-amd64-clang",
            "js-wasm",
        ];
        self.is_reverse() || STAGED.contains(&self.name())
    }

    /// What is added to the message of a failure, if anything.
    #[must_use]
    pub fn known_issue_note(&self) -> Option<String> {
        let issue = self.record.known_issue;
        (issue > 0).then(|| {
            format!(
                "Note that builder {} has a known issue golang.org/issue/{issue}.",
                self.record.name
            )
        })
    }

    /// Whether a dist test runs.
    #[must_use]
    pub fn runs_dist_test(&self, test: &str, time: TestTime) -> bool {
        let normal_try = time == TestTime::NormalTry;
        let mut rules = self.record.dist_tests.iter();
        if let Some(rule) = rules.find(|rule| rule.is_about(test, normal_try)) {
            return rule.run;
        }
        let left = self.farm.defaults.try_tests.iter();
        let mut left = left.filter(|left| normal_try && left.test == test);
        left.all(|left| left.builders.contains(&self.record.name))
    }

    /// Whether it builds a commit after it is in.
    ///
    /// # Errors
    /// A target without its branches.
    pub fn builds_post_submit(&self, target: &Target) -> Result<bool> {
        Ok(self.explain_post_submit(target)?.is_yes())
    }

    /// Whether it tries a change of itself.
    ///
    /// # Errors
    /// A target without its branches.
    pub fn builds_try(&self, target: &Target) -> Result<bool> {
        Ok(self.explain_try(target)?.is_yes())
    }

    /// What decides whether it builds a commit after it is in.
    ///
    /// # Errors
    /// A target without its branches.
    pub fn explain_post_submit(&self, target: &Target) -> Result<Decision> {
        let at_all = self.explain_at_all(target)?;
        Ok(match self.record.try_only {
            true => Decision::TryOnly,
            false => at_all,
        })
    }

    /// What decides whether it tries a change of itself.
    ///
    /// # Errors
    /// A target without its branches.
    pub fn explain_try(&self, target: &Target) -> Result<Decision> {
        let at_all = self.explain_at_all(target)?;
        Ok(match self.clause_of(&self.record.tries, target) {
            Some(_) => at_all,
            None => Decision::NotTried,
        })
    }

    /// What decides whether it builds something when somebody asks for it.
    ///
    /// # Errors
    /// A target without its branches.
    pub fn explain_at_all(&self, target: &Target) -> Result<Decision> {
        target.check()?;
        for branch in [&target.branch, target.go_branch()] {
            if let Some(no) = ReleaseBranch::parse(branch).and_then(|b| self.gate(b, target)) {
                return Ok(no);
            }
        }
        let defaults = &self.farm.defaults;
        let mut pins = defaults.pins.iter().filter(|_| target.repo == GO);
        if pins.any(|pin| {
            let below = target.branch.strip_prefix(pin.branch.as_str());
            let is_it = below.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
            is_it && !pin.builders.contains(&self.record.name)
        }) {
            return Ok(Decision::Pinned);
        }
        if target.repo != GO && !self.is_split() {
            return Ok(Decision::NotSplit);
        }
        let default;
        let rule = match &self.record.builds {
            Some(rule) => rule,
            None => {
                default = Clause::by_default();
                &default
            }
        };
        let found = self.clause_of(rule, target);
        Ok(found.map_or(Decision::NoClause, Decision::Clause))
    }

    /// What refuses a release branch.
    fn gate(&self, branch: ReleaseBranch, target: &Target) -> Option<Decision> {
        let min = self.farm.defaults.min_release;
        match () {
            () if branch.0.major != min.major || branch.0 < min => {
                Some(Decision::ReleaseTooOld(branch))
            }
            () if branch.0 < self.record.min_go => Some(Decision::BelowMinimum(branch)),
            () if self.farm.defaults.release_except.contains(&target.repo) => {
                Some(Decision::NotOnReleases)
            }
            () => None,
        }
    }

    fn clause_of(&self, rule: &[Clause], target: &Target) -> Option<usize> {
        let left_out = &self.farm.defaults.repos_except;
        rule.iter()
            .position(|clause| clause.holds(target, left_out))
    }
}

/// Whether the tests of a package run outside of module mode as well.
#[must_use]
pub fn tests_in_gopath_mode(import_path: &str) -> bool {
    const GOPLS: &str = "golang.org/x/tools/gopls";
    let in_gopls = import_path
        .strip_prefix(GOPLS)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    !in_gopls && import_path != "golang.org/x/net/http2/h2demo"
}
