//! Projects whose builds take their authors some seconds, made up.

use std::fmt::Write as _;

/// Libraries of the project in Rust, each of several modules.
const CRATES: usize = 12;
const MODULES: usize = 12;
/// Packages of the project in Go, each of several files.
const PACKAGES: usize = 60;
const FILES: usize = 4;
/// Files of the project in C++.
const UNITS: usize = 60;
/// Functions of each file.
const FUNCTIONS: usize = 25;

/// A kind of project.
pub(super) struct Project {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    /// Programs that it needs.
    pub(super) tools: &'static [&'static str],
    /// What its author calls.
    pub(super) command: &'static str,
    /// What a farm begins with.
    warm: &'static str,
    pub(super) files: fn() -> Vec<(String, String)>,
    /// The change of a round: a path and its new contents.
    pub(super) edit: fn(usize) -> (String, String),
}

impl Project {
    /// What is committed for the farm.
    pub(super) fn config(&self) -> String {
        let Self { warm, command, .. } = self;
        format!("{warm}[[step]]\nname = \"build\"\nrun = \"{command}\"\n")
    }
}

pub(super) const PROJECTS: &[Project] = &[
    Project {
        name: "warm-rust",
        about: "a workspace of 12 libraries in Rust",
        tools: &["cargo"],
        command: "cargo test --offline --workspace --quiet",
        warm: "warm = [\"target\"]\n",
        files: rust,
        edit: |round| (rust_path(CRATES - 1, 0), rust_module(round + 1)),
    },
    Project {
        name: "warm-go",
        about: "a module of 60 packages in Go",
        tools: &["go"],
        command: "go test ./...",
        warm: "",
        files: go,
        edit: |round| {
            (
                go_path(PACKAGES - 1, 0),
                go_file(PACKAGES - 1, 0, round + 1),
            )
        },
    },
    Project {
        name: "warm-c++",
        about: "60 files in C++, built by CMake",
        tools: &["cmake", "make", "c++"],
        command: "cmake -S . -B build && cmake --build build -j2 && ctest --test-dir build",
        warm: "warm = [\"build\"]\n",
        files: cpp,
        edit: |round| (cpp_path(0), cpp_unit(0, round + 1)),
    },
];

fn rust_path(number: usize, module: usize) -> String {
    format!("crates/c{number}/src/m{module}.rs")
}

fn rust_module(salt: usize) -> String {
    let mut text = String::from("use std::collections::BTreeMap;\n");
    for n in 0..FUNCTIONS {
        let _in_memory = writeln!(
            text,
            "pub fn f{n}(words: &[&str]) -> BTreeMap<String, usize> {{\n    \
             let mut all = BTreeMap::new();\n    \
             for word in words {{ *all.entry(format!(\"{{word}}-{n}-{salt}\")).or_insert(0) += word.len(); }}\n    \
             all\n}}"
        );
    }
    text + "#[test]\nfn counts() { assert_eq!(f0(&[\"a\", \"a\"]).len(), 1); }\n"
}

fn rust() -> Vec<(String, String)> {
    let members = "[workspace]\nresolver = \"2\"\nmembers = [\"crates/*\"]\n";
    let mut files = vec![("Cargo.toml".to_owned(), members.to_owned())];
    for number in 0..CRATES {
        let mut manifest =
            format!("[package]\nname = \"c{number}\"\nversion = \"0.1.0\"\nedition = \"2021\"\n");
        if let Some(before) = number.checked_sub(1) {
            let _in_memory = write!(
                manifest,
                "[dependencies]\nc{before} = {{ path = \"../c{before}\" }}\n"
            );
        }
        files.push((format!("crates/c{number}/Cargo.toml"), manifest));
        let modules = (0..MODULES).map(|module| format!("pub mod m{module};\n"));
        files.push((format!("crates/c{number}/src/lib.rs"), modules.collect()));
        files.extend((0..MODULES).map(|module| (rust_path(number, module), rust_module(0))));
    }
    files
}

fn go_path(package: usize, file: usize) -> String {
    format!("p{package}/f{file}.go")
}

fn go_file(package: usize, file: usize, salt: usize) -> String {
    let mut text =
        format!("package p{package}\n\nimport (\n\t\"fmt\"\n\t\"sort\"\n\t\"strings\"\n");
    let before = package.checked_sub(1).filter(|_| file == 0);
    if let Some(before) = before {
        let _in_memory = writeln!(text, "\t\"example.org/bench/p{before}\"");
    }
    text += ")\n\n";
    if let Some(before) = before {
        let _in_memory = writeln!(text, "var _ = p{before}.F0x0");
    }
    for n in 0..FUNCTIONS {
        let _in_memory = writeln!(
            text,
            "func F{file}x{n}(words []string) map[string]int {{\n\tall := map[string]int{{}}\n\t\
             sort.Strings(words)\n\tfor _, word := range words {{\n\t\t\
             all[fmt.Sprintf(\"%s-{n}-{salt}\", strings.ToUpper(word))] += len(word)\n\t}}\n\treturn all\n}}\n"
        );
    }
    text
}

fn go() -> Vec<(String, String)> {
    let mut files = vec![(
        "go.mod".to_owned(),
        "module example.org/bench\n\ngo 1.20\n".to_owned(),
    )];
    for package in 0..PACKAGES {
        files.extend((0..FILES).map(|n| (go_path(package, n), go_file(package, n, 0))));
        let test = format!(
            "package p{package}\n\nimport \"testing\"\n\nfunc TestCounts(t *testing.T) {{\n\t\
             if len(F0x0([]string{{\"a\", \"a\"}})) != 1 {{\n\t\tt.Fatal()\n\t}}\n}}\n"
        );
        files.push((format!("p{package}/all_test.go"), test));
    }
    files
}

fn cpp_path(number: usize) -> String {
    format!("src/u{number}.cpp")
}

fn cpp_unit(number: usize, salt: usize) -> String {
    let mut text = String::from(
        "#include <map>\n#include <sstream>\n#include <string>\n#include <vector>\n#include \"all.h\"\n",
    );
    for n in 0..FUNCTIONS {
        let _in_memory = writeln!(
            text,
            "std::map<std::string, int> u{number}_{n}(const std::vector<std::string>& words) {{\n  \
             std::map<std::string, int> all;\n  for (auto& word : words) {{\n    \
             std::ostringstream out; out << word << {n} << {salt};\n    all[out.str()] += word.size();\n  }}\n  \
             return all;\n}}"
        );
    }
    text
}

fn cpp() -> Vec<(String, String)> {
    let mut header =
        String::from("#pragma once\n#include <map>\n#include <string>\n#include <vector>\n");
    let mut main = String::from(
        "#include \"all.h\"\nint main() {\n  std::vector<std::string> words{\"a\"};\n",
    );
    let mut units = String::new();
    let mut files = Vec::new();
    for number in 0..UNITS {
        let _in_memory = writeln!(
            header,
            "std::map<std::string, int> u{number}_0(const std::vector<std::string>&);"
        );
        let _in_memory = writeln!(main, "  if (u{number}_0(words).size() != 1) return 1;");
        units += &format!(" {}", cpp_path(number));
        files.push((cpp_path(number), cpp_unit(number, 0)));
    }
    let rules = format!(
        "cmake_minimum_required(VERSION 3.16)\nproject(bench CXX)\nset(CMAKE_CXX_STANDARD 17)\nenable_testing()\n\
         add_executable(all src/main.cpp{units})\nadd_test(NAME all COMMAND all)\n"
    );
    files.push(("src/all.h".to_owned(), header));
    files.push(("src/main.cpp".to_owned(), main + "  return 0;\n}\n"));
    files.push(("CMakeLists.txt".to_owned(), rules));
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_one_of_a_file_that_is_there() {
        for project in PROJECTS {
            let files = (project.files)();
            let (path, text) = (project.edit)(0);
            let (_, before) = files.iter().find(|(known, _)| *known == path).unwrap();
            assert_ne!(*before, text, "{}", project.name);
            assert_ne!((project.edit)(1).1, text, "{}", project.name);
            let toml = project.config();
            build_core::recipe::FarmerToml::parse(&toml).unwrap();
        }
    }
}
