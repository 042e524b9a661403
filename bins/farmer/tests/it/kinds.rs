//! Six kinds of project, each green and red, built with their real tools from nothing but a commit.

use crate::repo::{Repo, has_tool};

/// Builds a green repository, then breaks it and builds the red one.
#[track_caller]
fn green_then_red(repo: &Repo, guess: &str, broken: (&str, &str), said: &str) {
    repo.commit("works");
    let green = repo.run(&["build"]).exits(0);
    assert!(
        green.err().contains(guess),
        "the guess is not explained:\n{}",
        green.err()
    );
    assert!(green.err().contains("passed"), "{}", green.err());
    repo.write(broken.0, broken.1).commit("breaks");
    let red = repo.run(&["build"]).exits(1);
    assert!(
        red.out().contains(said),
        "no {said:?} in the log:\n{}",
        red.out()
    );
    assert!(red.err().contains("failed"), "{}", red.err());
}

#[test]
fn rust() {
    if !has_tool("cargo") {
        return;
    }
    let repo = Repo::new();
    repo.write(
        "Cargo.toml",
        "[package]\nname = \"demo\"\nversion = \"0.1.0\"\nedition = \"2024\"\n",
    )
    .write(
        "src/lib.rs",
        "#[test]\nfn adds() { assert_eq!(1 + 1, 2); }\n",
    );
    let broken = (
        "src/lib.rs",
        "#[test]\nfn adds() { assert_eq!(1 + 1, 3); }\n",
    );
    green_then_red(&repo, "detected from Cargo.toml", broken, "adds");
}

#[test]
fn go() {
    if !has_tool("go") {
        return;
    }
    let repo = Repo::new();
    repo.write("go.mod", "module example.com/demo\n\ngo 1.20\n")
        .write(
            "demo_test.go",
            "package demo\n\nimport \"testing\"\n\nfunc TestAdds(t *testing.T) {}\n",
        );
    let broken = (
        "demo_test.go",
        "package demo\n\nimport \"testing\"\n\nfunc TestAdds(t *testing.T) { t.Fatal(\"no sum\") }\n",
    );
    green_then_red(&repo, "detected from go.mod", broken, "no sum");
}

#[test]
fn c_with_make() {
    if !has_tool("make") || !has_tool("cc") {
        return;
    }
    let repo = Repo::new();
    repo.write(
        "Makefile",
        "demo: demo.c\n\tcc -o demo demo.c\ntest: demo\n\t./demo\n",
    )
    .write("demo.c", "int main(void) { return 0; }\n");
    let broken = ("demo.c", "int main(void) { return misspelt; }\n");
    green_then_red(&repo, "detected from Makefile", broken, "misspelt");
}

#[test]
fn cmake() {
    if !has_tool("cmake") || !has_tool("ctest") || !has_tool("cc") {
        return;
    }
    let repo = Repo::new();
    repo.write(
        "CMakeLists.txt",
        "cmake_minimum_required(VERSION 3.13)\nproject(demo C)\nenable_testing()\n\
         add_executable(demo demo.c)\nadd_test(NAME runs COMMAND demo)\n",
    )
    .write("demo.c", "int main(void) { return 0; }\n");
    let broken = ("demo.c", "int main(void) { return 1; }\n");
    green_then_red(&repo, "detected from CMakeLists.txt", broken, "runs");
}

#[test]
fn python() {
    if !has_tool("python3") {
        return;
    }
    let repo = Repo::new();
    repo.write(
        "pyproject.toml",
        "[project]\nname = \"demo\"\nversion = \"0.1.0\"\n\n[tool.setuptools]\npy-modules = []\n",
    )
    .write("test_demo.py", "def test_adds():\n    assert 1 + 1 == 2\n");
    let broken = ("test_demo.py", "def test_adds():\n    assert 1 + 1 == 3\n");
    green_then_red(&repo, "detected from pyproject.toml", broken, "test_adds");
}

#[test]
fn node() {
    if !has_tool("npm") {
        return;
    }
    let repo = Repo::new();
    repo.write(
        "package.json",
        "{\"name\":\"demo\",\"version\":\"1.0.0\",\"scripts\":{\"test\":\"node test.js\"}}\n",
    )
    .write("test.js", "require('assert').equal(1 + 1, 2)\n");
    let broken = ("test.js", "require('assert').equal(1 + 1, 3, 'no sum')\n");
    green_then_red(&repo, "detected from package.json", broken, "no sum");
}
