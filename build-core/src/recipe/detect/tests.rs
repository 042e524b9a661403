use futures_executor::block_on;

use super::super::MemoryTree;
use super::*;

fn plan(tree: &MemoryTree) -> Plan {
    block_on(Detected::from_tree(tree)).unwrap().into_plan()
}

/// What is run, with the folder before it when that is not the root.
fn runs(tree: &MemoryTree) -> Vec<String> {
    let shown = |s: crate::plan::Step| match s.dir.as_str() {
        "" => s.run.to_string(),
        dir => format!("{dir}$ {}", s.run),
    };
    plan(tree).steps.into_iter().map(shown).collect()
}

fn files(names: &[&str]) -> MemoryTree {
    names
        .iter()
        .fold(MemoryTree::default(), |tree, name| tree.with(name, ""))
}

#[test]
fn each_kind_of_project_is_told_by_its_files() {
    assert_eq!(
        runs(&files(&["Cargo.toml", "Makefile"])),
        ["cargo build", "cargo test"]
    );
    assert_eq!(
        runs(&files(&["Cargo.toml", "Cargo.lock"]))[1],
        "cargo test --locked"
    );
    assert_eq!(runs(&files(&["go.mod"])), ["go vet ./...", "go test ./..."]);
    assert_eq!(runs(&files(&["CMakeLists.txt"])).len(), 3);
    assert_eq!(
        runs(&files(&["pom.xml"])),
        ["mvn --batch-mode -Dgpg.skip=true verify"]
    );
    assert_eq!(
        runs(&files(&["build.gradle", "gradlew"])),
        ["./gradlew build"]
    );
    let node = MemoryTree::default().with("package.json", r#"{"scripts":{"test":"node t.js"}}"#);
    assert_eq!(
        runs(&node),
        ["npm install --no-audit --no-fund", "npm test"]
    );
    let last = |names: &[&str]| runs(&files(names)).pop().unwrap();
    assert_eq!(last(&["configure.ac", "Makefile.am"]), "make check");
    assert_eq!(last(&["App.sln"]), "dotnet test --no-build");
    assert_eq!(last(&["Package.swift"]), "swift test");
    assert_eq!(last(&["mix.exs"]), "mix test");
    assert_eq!(last(&["Gemfile", "Rakefile"]), "bundle exec rake");
    assert_eq!(last(&["x.cabal"]), "cabal test all");
    assert_eq!(last(&["build.zig"]), "zig build test");
    assert_eq!(
        last(&["MODULE.bazel"]),
        "bazel test //... --test_output=errors"
    );
    let php = MemoryTree::default().with("composer.json", "{}");
    assert_eq!(runs(&php)[1], "vendor/bin/phpunit");
    let just = MemoryTree::default().with("justfile", "build:\n  x\ntest *args: build\n  y\n");
    assert_eq!(runs(&just), ["just test"]);
    let task = MemoryTree::default().with("Taskfile.yml", "tasks:\n  check:\n    cmds: [x]\n");
    assert_eq!(runs(&task), ["task check"]);
}

#[test]
fn a_workspace_is_tested_whole_and_strangers_are_said() {
    let tree = MemoryTree::default()
        .with(
            "Cargo.toml",
            "[package]\nname='r'\n[workspace]\nmembers=['m']\nexclude=['x']\n",
        )
        .with("m/Cargo.toml", "[dependencies]\np={path='../p'}\n")
        .with("p/Cargo.toml", "")
        .with("x/Cargo.toml", "")
        .with("vendor/v/Cargo.toml", "");
    assert_eq!(
        runs(&tree),
        ["cargo build --workspace", "cargo test --workspace"]
    );
    let reason = plan(&tree).reason;
    assert!(
        reason.ends_with(
            "also found x/Cargo.toml: not run, because it is no member of the workspace"
        ),
        "{reason}"
    );
    let alone = MemoryTree::default()
        .with("Cargo.toml", "[package]\nname='r'\n")
        .with("sub/Cargo.toml", "");
    assert!(
        plan(&alone)
            .reason
            .contains("also found sub/Cargo.toml: not run")
    );
}

#[test]
fn each_go_module_is_tested_in_its_folder() {
    let tree = files(&["go.mod", "sub/go.mod", "a/testdata/go.mod", "_x/go.mod"]);
    let runs = runs(&tree);
    assert_eq!(runs.len(), 3, "{runs:?}");
    assert!(runs[2].starts_with("sub$ go vet ./... && "), "{runs:?}");
    assert_eq!(plan(&tree).steps[2].name.as_str(), "sub: test");
}

#[test]
fn other_manifests_are_said_with_the_reason() {
    let tree = files(&[
        "go.mod",
        "package.json",
        "web/package.json",
        "docs/requirements.txt",
    ]);
    let reason = plan(&tree).reason;
    assert!(
        reason.contains("also found package.json: not run, because go.mod at the root"),
        "{reason}"
    );
    assert!(
        !reason.contains("web/package.json"),
        "it is a part of the one at the root"
    );
}

#[test]
fn manifests_in_folders_alone_are_run_there() {
    let tree = MemoryTree::default()
        .with("README", "")
        .with("api/go.mod", "")
        .with("web/app/package.json", r#"{"scripts":{"test":"t"}}"#)
        .with("web/app/yarn.lock", "")
        .with("web/app/lib/package.json", "{}");
    let runs = runs(&tree);
    assert!(runs[0].starts_with("api$ go vet"), "{runs:?}");
    assert_eq!(
        runs[1..],
        [
            "web/app$ yarn install --frozen-lockfile",
            "web/app$ yarn test"
        ]
    );
    let steps = plan(&tree).steps;
    assert_eq!(steps[2].needs[0].as_str(), "web/app: install");
}

#[test]
fn python_is_run_by_the_tool_of_its_authors() {
    let test = |names: &[(&str, &str)]| {
        let tree = names
            .iter()
            .fold(MemoryTree::default(), |t, (n, text)| t.with(n, *text));
        runs(&tree)
    };
    assert_eq!(
        test(&[("pyproject.toml", ""), ("uv.lock", "")]),
        ["uv sync --locked --all-extras", "uv run pytest"]
    );
    assert_eq!(
        test(&[("pyproject.toml", "[tool.poetry]")])[1],
        "poetry run pytest"
    );
    assert_eq!(
        test(&[("setup.py", ""), ("tox.ini", "")])[1],
        ".venv/bin/tox run -e py"
    );
    assert_eq!(
        test(&[(
            "pyproject.toml",
            "[tool.hatch.envs.default.scripts]\ntest='x'"
        )])[1],
        ".venv/bin/hatch run test"
    );
    let extras = "[project]\nname='x'\n[project.optional-dependencies]\ndev=[]\ntests=[]\n";
    let install = &test(&[("pyproject.toml", extras), ("requirements-dev.txt", "")])[0];
    assert!(
        install.ends_with(
            "install --quiet --disable-pip-version-check pytest -r requirements-dev.txt '.[tests]'"
        ),
        "{install}"
    );
    let groups = "[project]\nname='x'\n[dependency-groups]\ndev=[]\n";
    assert!(test(&[("pyproject.toml", groups)])[0].ends_with("pytest . --group dev"));
    let only = test(&[("requirements.txt", ""), ("requirements/test.txt", "")]);
    assert!(
        only[0].ends_with("pytest -r requirements.txt -r requirements/test.txt"),
        "{only:?}"
    );
}

#[test]
fn nothing_found_says_what_to_write() {
    let error = block_on(Detected::from_tree(&files(&["README"]))).unwrap_err();
    assert!(
        error.to_string().starts_with("found no .farmer.toml"),
        "{error}"
    );
    assert!(error.hint().unwrap().contains("[[step]]"));
    let empty = block_on(Detected::from_tree(&MemoryTree::default())).unwrap_err();
    assert_eq!(empty.to_string(), "the commit has no files");
}

#[test]
fn a_broken_manifest_is_named() {
    let tree = MemoryTree::default().with("Cargo.toml", "[workspace");
    let error = block_on(Detected::from_tree(&tree)).unwrap_err();
    assert!(
        error.to_string().starts_with("Cargo.toml is not TOML: "),
        "{error}"
    );
}

#[test]
fn a_file_that_is_too_large_is_a_fault_of_the_configuration() {
    let large = format!("# {}\n", "x".repeat(1 << 20));
    let tree = MemoryTree::default().with(".farmer.toml", large.as_str());
    let error = block_on(Detect::configuration(&tree)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(
        error.to_string().contains("larger than 1048576 bytes"),
        "{error}"
    );
    assert_eq!(error.hint(), Some("make .farmer.toml smaller than 1 MiB"));
}

#[test]
fn a_guess_is_explained_and_can_be_written_down() {
    let guess = block_on(Detected::from_tree(&files(&["go.mod"]))).unwrap();
    let text = guess.to_toml();
    assert!(
        text.starts_with("# detected from go.mod: go vet ./..., then go test ./...\n"),
        "{text}"
    );
    assert_eq!(
        FarmerToml::parse(&text).unwrap().steps(),
        guess.into_plan().steps
    );
}

#[test]
fn the_repositorys_own_ci_is_told_beside_the_guess() {
    let tree = files(&["go.mod"]).with(
        ".github/workflows/test.yml",
        "jobs:\n  t:\n    steps:\n      - run: go test -race ./...\n",
    );
    let reason = plan(&tree).reason;
    assert!(
        reason.ends_with("; its own CI (.github/workflows/test.yml) runs: go test -race ./..."),
        "{reason}"
    );
}

#[test]
fn the_file_in_the_commit_comes_before_any_guess() {
    let tree = files(&["go.mod"]).with(".farmer.toml", "[[step]]\nname = 'x'\nrun = 'true'");
    let file = block_on(Detect::configuration(&tree)).unwrap().unwrap();
    assert_eq!(file.steps()[0].run, "true".into());
    let bad = files(&[]).with(".farmer.toml", "[[step");
    assert!(
        block_on(Detect::configuration(&bad))
            .unwrap_err()
            .chain()
            .starts_with("read .farmer.toml: ")
    );
}
