//! What of a Go tree a bootstrap tarball keeps.
//!
//! A bootstrap toolchain only has to build the next one: tests, documentation and the tools
//! that the build makes anew are left out.

/// Directories and files left out, relative to the tree.
const PATHS: &[&str] = &[
    "api",
    "bin/gofmt",
    "doc",
    "misc/android",
    "misc/cgo",
    "misc/chrome",
    "misc/swig",
    "test",
];

/// Programs left out of `pkg/tool/`.
const TOOLS: &[&str] = &[
    "addr2line",
    "api",
    "cgo",
    "cover",
    "dist",
    "doc",
    "fix",
    "nm",
    "objdump",
    "pack",
    "pprof",
    "trace",
    "vet",
    "yacc",
];

/// Whether the file or directory at `path`, relative to the tree and with `/` in it, is kept.
/// A directory that is not kept goes with everything below it.
///
/// The rule is about names alone. That only regular files and directories are kept is up to
/// the caller, who sees the tree.
///
/// ```
/// use build_core::bootstrap_trim::keep;
/// assert!(keep("bin/go") && keep("pkg/tool/linux_amd64/compile"));
/// assert!(!keep("src/fmt/fmt_test.go") && !keep("pkg/tool/windows_amd64/vet.exe"));
/// ```
#[must_use]
pub fn keep(path: &str) -> bool {
    let path = path.trim_end_matches('/');
    let base = path.rsplit('/').next().unwrap_or(path);
    // The programs of a Windows tree are the same programs.
    let program = base.strip_suffix(".exe").unwrap_or(base);
    let without_exe = &path[..path.len() - (base.len() - program.len())];
    let compiled_commands = matches!(
        path.strip_prefix("pkg/")
            .and_then(|rest| rest.split_once('/')),
        Some((_, "cmd"))
    );
    let tool = path.starts_with("pkg/tool/") && TOOLS.contains(&program);
    let left_by_editors =
        base.ends_with('~') || (base.len() > 1 && base.starts_with('#') && base.ends_with('#'));
    !(compiled_commands
        || tool
        || left_by_editors
        || PATHS.contains(&path)
        || without_exe == "bin/gofmt"
        || base == "testdata"
        || base.ends_with("_test.go"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_build_makes_anew_is_left_out() {
        for path in [
            "pkg/linux_amd64/cmd",
            "pkg/obj/cmd/",
            "api",
            "bin/gofmt",
            "bin/gofmt.exe",
            "doc",
            "misc/cgo",
            "test",
            "src/go/testdata",
            "pkg/tool/linux_amd64/cgo",
            "pkg/tool/windows_amd64/pprof.exe",
            "src/#x.go#",
            "src/x.go~",
            "src/x_test.go",
        ] {
            assert!(!keep(path), "{path}");
        }
    }

    #[test]
    fn everything_else_stays() {
        for path in [
            "VERSION",
            "bin/go",
            "bin/go.exe",
            "pkg/tool/linux_amd64/compile",
            "pkg/tool/linux_amd64/link",
            "pkg/linux_amd64/cmd/x",
            "pkg/cmd",
            "src/cmd",
            "src/cmd/cgo/main.go",
            "src/testing/x.go",
            "src/api",
            "misc/git",
            "src/#x.go",
            "#",
        ] {
            assert!(keep(path), "{path}");
        }
    }
}
