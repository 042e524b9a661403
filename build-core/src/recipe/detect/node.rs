//! JavaScript packages, by the package manager that their authors use.

use serde_json::Value;

use super::guess::{Guess, step};
use super::look::{Look, join};
use crate::error::Result;

/// What `npm init` writes, which always fails.
const NO_TEST: &str = "no test specified";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Manager {
    Npm,
    Pnpm,
    Yarn,
    YarnBerry,
    Bun,
}

impl Manager {
    /// By `packageManager`, otherwise by the lock file.
    fn of(manifest: &Value, files: &[String]) -> Self {
        let has = |name: &str| files.iter().any(|n| n == name);
        let said = manifest["packageManager"].as_str().unwrap_or_default();
        let (name, version) = said.split_once('@').unwrap_or((said, ""));
        let is_berry = has(".yarnrc.yml") || !(version.is_empty() || version.starts_with("1."));
        match name {
            "pnpm" => Self::Pnpm,
            "bun" => Self::Bun,
            "yarn" if is_berry => Self::YarnBerry,
            "yarn" => Self::Yarn,
            "npm" => Self::Npm,
            _ if has("pnpm-lock.yaml") => Self::Pnpm,
            _ if has("bun.lock") || has("bun.lockb") => Self::Bun,
            _ if has("yarn.lock") && has(".yarnrc.yml") => Self::YarnBerry,
            _ if has("yarn.lock") => Self::Yarn,
            _ => Self::Npm,
        }
    }

    fn program(self) -> &'static str {
        match self {
            Self::Npm => "npm",
            Self::Pnpm => "pnpm",
            Self::Yarn | Self::YarnBerry => "yarn",
            Self::Bun => "bun",
        }
    }

    fn install(self, files: &[String]) -> &'static str {
        let has = |name: &str| files.iter().any(|n| n == name);
        match self {
            Self::Npm if has("package-lock.json") || has("npm-shrinkwrap.json") => "npm ci",
            Self::Npm => "npm install --no-audit --no-fund",
            Self::Pnpm if has("pnpm-lock.yaml") => "pnpm install --frozen-lockfile",
            Self::Pnpm => "pnpm install",
            Self::Yarn if has("yarn.lock") => "yarn install --frozen-lockfile",
            Self::YarnBerry if has("yarn.lock") => "yarn install --immutable",
            Self::Yarn | Self::YarnBerry => "yarn install",
            Self::Bun if has("bun.lock") || has("bun.lockb") => "bun install --frozen-lockfile",
            Self::Bun => "bun install",
        }
    }

    /// Runs a script in every package of the workspace that has it.
    fn everywhere(self, script: &str) -> String {
        match self {
            Self::Npm => format!("npm run {script} --workspaces --if-present"),
            Self::Pnpm => format!("pnpm --recursive --if-present run {script}"),
            Self::Yarn => format!("yarn workspaces run {script}"),
            Self::YarnBerry => format!("yarn workspaces foreach --all run {script}"),
            Self::Bun => format!("bun run --filter '*' {script}"),
        }
    }

    /// Runs a script of the root package.
    fn run(self, script: &str) -> String {
        match (self, script) {
            (Self::Npm, "test") => "npm test".to_owned(),
            (Self::Npm | Self::Bun, _) => format!("{} run {script}", self.program()),
            _ => format!("{} {script}", self.program()),
        }
    }
}

/// Installs what the lock file says, then builds and tests with the package's own scripts.
pub(super) async fn node(look: &Look<'_>, dir: &str) -> Result<Guess> {
    let manifest: Value = look.json(&join(dir, "package.json")).await?;
    let files = look.list(dir).await?;
    let manager = Manager::of(&manifest, &files);
    let program = manager.program();
    let script = |name: &str| {
        let text = manifest["scripts"][name].as_str();
        text.filter(|text| !text.is_empty() && !text.contains(NO_TEST))
    };
    let mut steps = vec![step("install", manager.install(&files), &[program])];
    let has_workspaces = !manifest["workspaces"].is_null()
        || (manager == Manager::Pnpm && files.iter().any(|n| n == "pnpm-workspace.yaml"));
    if script("test").is_some() {
        // A test script that builds for itself is common; one that needs `build` cannot say so.
        if script("build").is_some() && script("pretest").is_none() {
            steps.push(step("build", &manager.run("build"), &[program]));
        }
        steps.push(step("test", &manager.run("test"), &[program]));
    } else if has_workspaces {
        steps.push(step("test", &manager.everywhere("test"), &[program]));
    } else if script("build").is_some() {
        steps.push(step("build", &manager.run("build"), &[program]));
    }
    Ok(Guess::chain(steps))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn install(manifest: &str, files: &[&str]) -> &'static str {
        let manifest: Value = serde_json::from_str(manifest).unwrap();
        let files: Vec<_> = files.iter().map(ToString::to_string).collect();
        Manager::of(&manifest, &files).install(&files)
    }

    #[test]
    fn the_lock_file_or_the_manifest_names_the_manager() {
        assert_eq!(
            install("{}", &["pnpm-lock.yaml"]),
            "pnpm install --frozen-lockfile"
        );
        assert_eq!(
            install("{}", &["yarn.lock"]),
            "yarn install --frozen-lockfile"
        );
        assert_eq!(
            install("{}", &["yarn.lock", ".yarnrc.yml"]),
            "yarn install --immutable"
        );
        assert_eq!(
            install("{}", &["bun.lockb"]),
            "bun install --frozen-lockfile"
        );
        assert_eq!(install("{}", &["npm-shrinkwrap.json"]), "npm ci");
        assert_eq!(
            install(r#"{"packageManager":"yarn@4.1.0+sha"}"#, &["yarn.lock"]),
            "yarn install --immutable"
        );
        assert_eq!(
            install(r#"{"packageManager":"pnpm@9.0.0"}"#, &["package-lock.json"]),
            "pnpm install"
        );
    }
}
