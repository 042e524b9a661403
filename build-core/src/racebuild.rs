//! Race detector libraries: which script makes one on which machine, and the README that tells
//! what they were made from.

use crate::error::{Error, ErrorKind, Result};

/// How one library is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipe {
    /// System and processor, such as `linux/amd64`.
    pub platform: String,
    /// The builder whose machines can make it.
    pub builder: String,
    /// The script; it finds the revisions in its environment and leaves `output` behind.
    pub script: String,
    /// The file that the script leaves, below the machine's work directory.
    pub output: String,
}

impl Recipe {
    /// The system.
    #[must_use]
    pub fn os(&self) -> &str {
        self.platform.split('/').next().unwrap_or_default()
    }

    /// The processor, without a level such as `v3`.
    #[must_use]
    pub fn arch(&self) -> &str {
        self.platform.split('/').nth(1).unwrap_or_default()
    }

    /// The name of the library in the Go tree.
    #[must_use]
    pub fn file(&self) -> &str {
        self.output.rsplit('/').next().unwrap_or(&self.output)
    }

    /// What the script is called on the machine.
    #[must_use]
    pub fn script_name(&self) -> &'static str {
        if self.os() == "windows" {
            "script.bat"
        } else {
            "script.bash"
        }
    }
}

/// What a patch of LLVM is called on the machine.
pub const PATCH: &str = "patch.patch";

/// Where the Go libraries are, below the root of the tree.
pub const RACE_DIR: &str = "src/runtime/race";

/// Platform, builder, what is installed first, whether the library is tried before it is taken.
const GO: &[(&str, &str, bool, bool)] = &[
    ("openbsd/amd64", "openbsd-amd64-race", false, true),
    ("freebsd/amd64", "freebsd-amd64-race", false, true),
    ("darwin/amd64", "darwin-amd64-10_12", false, true),
    ("linux/amd64", "linux-amd64-race", true, true),
    // golang.org/issue/23731 and 24322: the tests do not pass there.
    ("linux/ppc64le", "linux-ppc64le-buildlet", true, false),
    ("linux/arm64", "linux-arm64-packet", true, false),
    ("netbsd/amd64", "netbsd-amd64-9_0", false, false),
    ("windows/amd64", "windows-amd64-race", false, true),
];

/// The recipes of the Go project, in the order of December 2020.
#[must_use]
pub fn go_recipes() -> Vec<Recipe> {
    let recipe = |&(platform, builder, installs, tries): &(&str, &str, bool, bool)| {
        let file = format!("race_{}.syso", platform.replace('/', "_"));
        let script = if platform.starts_with("windows/") {
            windows_script(&file)
        } else {
            unix_script(&file, installs, tries, platform.starts_with("linux/"))
        };
        Recipe {
            platform: platform.to_owned(),
            builder: builder.to_owned(),
            script,
            output: format!("go/{RACE_DIR}/{file}"),
        }
    };
    GO.iter().map(recipe).collect()
}

fn unix_script(file: &str, installs: bool, tries: bool, default_compiler: bool) -> String {
    let install = if installs {
        "export DEBIAN_FRONTEND=noninteractive\napt-get update\napt-get install -y git g++\n"
    } else {
        ""
    };
    let compiler = if default_compiler { "" } else { "CC=clang " };
    let tried = if tries {
        "(cd go/src && ./race.bash)\n"
    } else {
        ""
    };
    format!(
        "#!/usr/bin/env bash\nset -euo pipefail\n{install}\
         git clone \"${{GO_REPO:-https://go.googlesource.com/go}}\" go\n\
         git -C go checkout \"$GOREV\"\n\
         if [ -n \"${{GOGITOP:-}}\" ]; then\n\
         git -C go fetch \"${{GO_REPO:-https://go.googlesource.com/go}}\" \"$GOSRCREF\"\n\
         git -C go -c user.name=racebuild -c user.email=racebuild@localhost \"$GOGITOP\" FETCH_HEAD\n\
         fi\n\
         git clone \"${{LLVM_REPO:-https://github.com/llvm/llvm-project}}\" llvm-project\n\
         git -C llvm-project checkout \"$REV\"\n\
         if [ -n \"${{LLVM_PATCH:-}}\" ]; then git -C llvm-project apply \"$PWD/$LLVM_PATCH\"; fi\n\
         tsan=llvm-project/compiler-rt/lib/tsan/go\n\
         (cd \"$tsan\" && {compiler}./buildgo.sh)\n\
         cp \"$tsan/{file}\" go/{RACE_DIR}/\n{tried}"
    )
}

fn windows_script(file: &str) -> String {
    let lines = [
        "choco install git mingw -y",
        "call refreshenv",
        "git clone https://go.googlesource.com/go go",
        "git -C go checkout %GOREV%",
        "if not \"%GOGITOP%\"==\"\" git -C go fetch https://go.googlesource.com/go %GOSRCREF%",
        "if not \"%GOGITOP%\"==\"\" git -C go -c user.name=racebuild -c user.email=racebuild@localhost %GOGITOP% FETCH_HEAD",
        "git clone https://github.com/llvm/llvm-project llvm-project",
        "git -C llvm-project checkout %REV%",
        "if not \"%LLVM_PATCH%\"==\"\" git -C llvm-project apply %CD%\\%LLVM_PATCH%",
        "pushd llvm-project\\compiler-rt\\lib\\tsan\\go && call build.bat",
        "popd",
    ];
    let copy = format!(
        "copy /Y llvm-project\\compiler-rt\\lib\\tsan\\go\\{file} go\\src\\runtime\\race\\{file}"
    );
    let mut script = String::from("@echo on\r\n");
    for line in lines
        .iter()
        .copied()
        .chain([copy.as_str(), "cd go\\src && call race.bat"])
    {
        script.push_str(line);
        script.push_str("\r\nif %errorlevel% neq 0 exit /b %errorlevel%\r\n");
    }
    script
}

/// The recipes of the platforms in `wanted`: `all`, or names separated by commas.
///
/// # Errors
/// [`ErrorKind::Invalid`] with the names that no recipe has, and those that there are.
pub fn select(recipes: &[Recipe], wanted: &str) -> Result<Vec<Recipe>> {
    if wanted == "all" {
        return Ok(recipes.to_vec());
    }
    let wanted: Vec<&str> = wanted.split(',').map(str::trim).collect();
    let unknown: Vec<&&str> = wanted
        .iter()
        .filter(|name| !recipes.iter().any(|r| r.platform == **name))
        .collect();
    if !unknown.is_empty() {
        let known: Vec<&str> = recipes.iter().map(|r| r.platform.as_str()).collect();
        return Err(Error::new(
            ErrorKind::Invalid,
            format!(
                "Unrecognized platforms: {unknown:?}. Supported platforms are:\n\t{}",
                known.join("\n\t")
            ),
        ));
    }
    Ok(recipes
        .iter()
        .filter(|r| wanted.contains(&r.platform.as_str()))
        .cloned()
        .collect())
}

/// `readme` with the line of `file` saying what it is made from now, a patch of LLVM by its name
/// included: the line is replaced where
/// it is, and appended when there is none. Everything else stays as it is.
#[must_use]
pub fn with_readme_line(
    readme: &str,
    file: &str,
    llvm_rev: &str,
    patch: Option<&str>,
    go_rev: &str,
) -> String {
    let patch = patch.map_or_else(String::new, |name| format!(" with patch {name}"));
    let line = format!("{file} built with LLVM {llvm_rev}{patch} and Go {go_rev}.");
    let mut found = false;
    let mut text = String::with_capacity(readme.len() + line.len() + 1);
    for old in readme.split_inclusive('\n') {
        if tells_of(old.trim_end_matches('\n'), file) {
            found = true;
            text.push_str(&line);
            text.push_str(if old.ends_with('\n') { "\n" } else { "" });
        } else {
            text.push_str(old);
        }
    }
    if !found {
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        text.push_str(&line);
        text.push('\n');
    }
    text
}

/// Whether `line` says what `file` was made from; the LLVM revision may be followed by
/// ` with patch X`.
fn tells_of(line: &str, file: &str) -> bool {
    let hex = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_hexdigit());
    let told = || {
        let rest = line.strip_prefix(file)?.strip_prefix(" built with LLVM ")?;
        let (llvm, go) = rest.strip_suffix('.')?.rsplit_once(" and Go ")?;
        let llvm = llvm.split_once(" with patch ").map_or(llvm, |(rev, _)| rev);
        Some(hex(llvm) && hex(go))
    };
    told().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_run_changes_its_own_line_alone() {
        let readme = "head\nrace_linux_amd64.syso built with LLVM aa and Go bb.\n\
                      race_linux_arm64.syso built with LLVM aa with patch x.diff and Go bb.\ntail\n";
        let new = with_readme_line(readme, "race_linux_amd64.syso", "11", None, "22");
        assert_eq!(
            new,
            readme.replacen("LLVM aa and Go bb", "LLVM 11 and Go 22", 1)
        );
        assert_eq!(
            with_readme_line(&new, "race_linux_amd64.syso", "11", None, "22"),
            new
        );
        let new = with_readme_line(readme, "race_linux_arm64.syso", "11", None, "22");
        assert!(new.contains("race_linux_arm64.syso built with LLVM 11 and Go 22.\ntail\n"));
        let new = with_readme_line("no end", "f.syso", "11", None, "22");
        assert_eq!(new, "no end\nf.syso built with LLVM 11 and Go 22.\n");
    }

    #[test]
    fn unknown_platforms_are_all_named() {
        let all = go_recipes();
        assert_eq!(select(&all, "all").unwrap(), all);
        let two = select(&all, "linux/arm64,linux/amd64").unwrap();
        assert_eq!(two.len(), 2);
        assert_eq!((two[0].os(), two[0].arch()), ("linux", "amd64"));
        let told = select(&all, "linux/amd64,plan9/386,x")
            .unwrap_err()
            .to_string();
        assert!(
            told.starts_with("Unrecognized platforms: [\"plan9/386\", \"x\"]. Supported"),
            "{told}"
        );
        assert!(told.contains("\n\topenbsd/amd64\n"), "{told}");
    }

    #[test]
    fn recipes_of_the_go_project() {
        for recipe in go_recipes() {
            let os = recipe.os();
            assert!(recipe.script.contains(recipe.file()) && recipe.script.contains("GOREV"));
            assert_eq!(
                recipe.script.contains("CC=clang"),
                !matches!(os, "linux" | "windows"),
                "{os}"
            );
            assert_eq!(recipe.script_name() == "script.bat", os == "windows");
        }
    }
}
