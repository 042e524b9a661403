//! The JVM, .NET, Swift, Elixir, PHP, Ruby, Haskell, Zig and Bazel.

use serde_json::Value;

use super::guess::{Guess, step};
use super::look::{Look, join};
use crate::error::Result;

/// Signing is for those who hold the key: it is left out.
pub(super) async fn maven(look: &Look<'_>, dir: &str) -> Result<Guess> {
    let (program, tool) = if look.has_in(dir, "mvnw").await? {
        ("./mvnw", "java")
    } else {
        ("mvn", "mvn")
    };
    let run = format!("{program} --batch-mode -Dgpg.skip=true verify");
    Ok(Guess::chain(vec![step("verify", &run, &[tool])]))
}

pub(super) async fn gradle(look: &Look<'_>, dir: &str) -> Result<Guess> {
    let (run, tool) = if look.has_in(dir, "gradlew").await? {
        ("./gradlew build", "java")
    } else {
        ("gradle build", "gradle")
    };
    Ok(Guess::chain(vec![step("build", run, &[tool])]))
}

pub(super) fn dotnet() -> Guess {
    Guess::chain(vec![
        step("build", "dotnet build", &["dotnet"]),
        step("test", "dotnet test --no-build", &["dotnet"]),
    ])
}

pub(super) fn swift() -> Guess {
    Guess::chain(vec![
        step("build", "swift build", &["swift"]),
        step("test", "swift test", &["swift"]),
    ])
}

pub(super) fn elixir() -> Guess {
    let install = "mix local.hex --force --if-missing && mix deps.get";
    Guess::chain(vec![
        step("install", install, &["mix"]),
        step("test", "mix test", &["mix"]),
    ])
}

pub(super) async fn php(look: &Look<'_>, dir: &str) -> Result<Guess> {
    let manifest: Value = look.json(&join(dir, "composer.json")).await?;
    let test = if manifest["scripts"]["test"].is_null() {
        "vendor/bin/phpunit"
    } else {
        "composer run-script test"
    };
    Ok(Guess::chain(vec![
        step(
            "install",
            "composer install --no-interaction",
            &["composer"],
        ),
        step("test", test, &["php"]),
    ]))
}

pub(super) async fn ruby(look: &Look<'_>, dir: &str) -> Result<Guess> {
    let files = look.list(dir).await?;
    let has = |name: &str| files.iter().any(|n| n == name);
    let test = if has("Rakefile") {
        "bundle exec rake"
    } else if has("spec/") || has(".rspec") {
        "bundle exec rspec"
    } else {
        "bundle exec rake test"
    };
    Ok(Guess::chain(vec![
        step(
            "install",
            "bundle config set --local path vendor/bundle && bundle install",
            &["bundle"],
        ),
        step("test", test, &["bundle"]),
    ]))
}

pub(super) fn stack() -> Guess {
    Guess::chain(vec![step("test", "stack test", &["stack"])])
}

pub(super) fn cabal() -> Guess {
    Guess::chain(vec![
        step("build", "cabal build all --enable-tests", &["cabal"]),
        step("test", "cabal test all", &["cabal"]),
    ])
}

pub(super) fn zig() -> Guess {
    Guess::chain(vec![
        step("build", "zig build", &["zig"]),
        step("test", "zig build test", &["zig"]),
    ])
}

pub(super) fn bazel() -> Guess {
    Guess::chain(vec![
        step("build", "bazel build //...", &["bazel"]),
        step("test", "bazel test //... --test_output=errors", &["bazel"]),
    ])
}
