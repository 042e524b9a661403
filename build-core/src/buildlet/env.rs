//! The environment of a command: whose assignments win, and what `path` makes of `PATH`.

use crate::env_list::{NameCase, Place, dedup, get, remove, set};

/// The system a command runs on, as far as its environment depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum EnvStyle {
    /// `PATH`, `:`.
    Unix,
    /// `PATH` in any case, `;`.
    Windows,
    /// `path`, NUL.
    Plan9,
}

impl EnvStyle {
    /// The style of the system this is compiled for.
    pub const HERE: Self = if cfg!(windows) {
        Self::Windows
    } else {
        Self::Unix
    };

    fn name_case(self) -> NameCase {
        if self == Self::Windows {
            NameCase::Folded
        } else {
            NameCase::Distinct
        }
    }

    fn path_variable(self) -> &'static str {
        if self == Self::Plan9 { "path" } else { "PATH" }
    }

    fn path_separator(self) -> &'static str {
        match self {
            Self::Unix => ":",
            Self::Windows => ";",
            Self::Plan9 => "\0",
        }
    }
}

/// What a buildlet gives to every command it runs.
#[derive(Debug, Clone)]
pub struct Environment {
    style: EnvStyle,
    work_dir: String,
    inherited: Vec<String>,
    inherited_bootstrap: Option<String>,
    overrides_tmp: bool,
    go_cache: Option<String>,
}

impl Environment {
    /// An environment on top of that of the buildlet's process.
    ///
    /// `WORKDIR` and, for commands that look for a Go to build Go with, `GOROOT_BOOTSTRAP`
    /// are added to `process`.
    #[must_use]
    pub fn new(style: EnvStyle, work_dir: &str, process: Vec<String>) -> Self {
        let case = style.name_case();
        let inherited_bootstrap = get(&process, "GOROOT_BOOTSTRAP", case).map(str::to_owned);
        let mut inherited = process;
        if style == EnvStyle::Windows {
            set(&mut inherited, "GOBUILDEXIT", "1", case);
        }
        set(&mut inherited, "WORKDIR", work_dir, case);
        set(
            &mut inherited,
            "GOROOT_BOOTSTRAP",
            &format!("{work_dir}/go1.4"),
            case,
        );
        Self {
            style,
            work_dir: work_dir.to_owned(),
            inherited,
            inherited_bootstrap,
            overrides_tmp: true,
            go_cache: None,
        }
    }

    /// With this directory as `GOCACHE` instead of the one below the work directory, which begins
    /// empty on a new machine.
    #[must_use]
    pub fn go_cache(mut self, dir: Option<String>) -> Self {
        self.go_cache = dir;
        self
    }

    /// Whether `TMPDIR` and the caches below the work directory win over the caller's, as
    /// in the Go implementation (they do unless this is called with false).
    #[must_use]
    pub fn override_tmp(mut self, overrides: bool) -> Self {
        self.overrides_tmp = overrides;
        self
    }

    /// The environment of one command: the buildlet's, then `env` of the request, then the
    /// temporary directories, then `PATH` by the `path` of the request. The last assignment
    /// of a variable wins.
    ///
    /// A `GOROOT_BOOTSTRAP` that does not `exist` gives way to the one the buildlet was
    /// started with.
    #[must_use]
    pub fn of_command(
        &self,
        env: &[String],
        path: Option<&[String]>,
        exists: impl Fn(&str) -> bool,
    ) -> Vec<String> {
        let mut all = self.inherited.clone();
        if self.overrides_tmp {
            all.extend_from_slice(env);
            all.extend(self.temporary());
        } else {
            all.extend(self.temporary());
            all.extend_from_slice(env);
        }
        let case = self.style.name_case();
        let bootstrap = get(&all, "GOROOT_BOOTSTRAP", case);
        if let Some(inherited) = &self.inherited_bootstrap
            && !bootstrap.is_some_and(exists)
        {
            all.push(format!("GOROOT_BOOTSTRAP={inherited}"));
        }
        if let Some(path) = path {
            apply_path(&mut all, path, &self.work_dir, self.style);
        }
        dedup(&all, case, Place::Last)
    }

    fn temporary(&self) -> Vec<String> {
        if self.style != EnvStyle::Unix {
            return Vec::new();
        }
        let dir = &self.work_dir;
        let go_cache = match &self.go_cache {
            Some(shared) => format!("GOCACHE={shared}"),
            None => format!("GOCACHE={dir}/gocache"),
        };
        vec![format!("TMPDIR={dir}/tmp"), go_cache]
    }
}

/// Sets `PATH` to these elements. In them `$PATH` stands for its last value, `$WORKDIR` for
/// the work directory and `$EMPTY` for nothing; empty elements are dropped, and without any
/// left the variable is removed.
pub fn apply_path(env: &mut Vec<String>, path: &[String], work_dir: &str, style: EnvStyle) {
    let (variable, case) = (style.path_variable(), style.name_case());
    let old = get(env, variable, case).unwrap_or_default().to_owned();
    let expand = |element: &String| {
        element
            .replace("$WORKDIR", work_dir)
            .replace("$PATH", &old)
            .replace("$EMPTY", "")
    };
    let elements: Vec<_> = path
        .iter()
        .map(expand)
        .filter(|element| !element.is_empty())
        .collect();
    if elements.is_empty() {
        remove(env, variable, case);
    } else {
        set(env, variable, &elements.join(style.path_separator()), case);
    }
}

/// The `PATH` of a Windows machine for a Go build: C compilers of the wrong width are left
/// out, then the one of the right width is added.
#[must_use]
pub fn windows_compiler_path(path: &str, for_386: bool) -> String {
    let (wrong, right) = if for_386 {
        ("TDM-GCC-64", r"C:\godep\gcc32\bin")
    } else {
        ("TDM-GCC-32", r"C:\godep\gcc64\bin")
    };
    let kept = path
        .split(';')
        .filter(|element| !element.is_empty() && !element.contains(wrong));
    kept.chain([right]).collect::<Vec<_>>().join(";")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(items: &[&str]) -> Vec<String> {
        items.iter().map(|&item| item.to_owned()).collect()
    }

    /// The table of the protocol.
    #[test]
    fn path_rules() {
        let rows: [(&[&str], Option<&str>); 7] = [
            (&["$EMPTY"], None),
            (&[], None),
            (&["/go/bin", "$WORKDIR/foo"], Some("/go/bin:/workdir/foo")),
            (
                &["/go/bin", "$PATH", "$WORKDIR/foo"],
                Some("/go/bin:/bin:/usr/bin:/workdir/foo"),
            ),
            (
                &["$PATH", "/go/bin", "/a/b"],
                Some("/bin:/usr/bin:/go/bin:/a/b"),
            ),
            (&["/x:$PATH", "", "$EMPTY"], Some("/x:/bin:/usr/bin")),
            (&["$EMPTY/e"], Some("/e")),
        ];
        for (path, expected) in rows {
            let mut env = list(&["A=1", "PATH=/bin:/usr/bin", "B=2"]);
            apply_path(&mut env, &list(path), "/workdir", EnvStyle::Unix);
            assert_eq!(get(&env, "PATH", NameCase::Distinct), expected, "{path:?}");
            assert_eq!(&env[..2], ["A=1", "B=2"]);
        }
    }

    #[test]
    fn path_has_other_names_and_separators_elsewhere() {
        let mut env = list(&["Path=C:\\bin"]);
        apply_path(&mut env, &list(&["$PATH", "D:\\x"]), "W", EnvStyle::Windows);
        assert_eq!(env, ["PATH=C:\\bin;D:\\x"]);
        let mut env = list(&["path=/bin\0."]);
        apply_path(&mut env, &list(&["/x", "$PATH"]), "/w", EnvStyle::Plan9);
        assert_eq!(env, ["path=/x\0/bin\0."]);
    }

    #[test]
    fn a_path_in_env_is_what_path_builds_on() {
        let environment = Environment::new(EnvStyle::Unix, "/w", list(&["PATH=/bin"]));
        let path = list(&["/go/bin", "$PATH"]);
        let env = environment.of_command(&list(&["PATH=/opt"]), Some(&path), |_| true);
        assert_eq!(get(&env, "PATH", NameCase::Distinct), Some("/go/bin:/opt"));
    }

    #[test]
    fn results_of_go_lie_where_they_are_shared() {
        let environment = Environment::new(EnvStyle::Unix, "/w", list(&["GOCACHE=/user"]));
        let of = |environment: &Environment| environment.of_command(&[], None, |_| true);
        assert!(of(&environment).contains(&"GOCACHE=/w/gocache".to_owned()));
        let shared = environment.go_cache(Some("/user".to_owned()));
        assert!(of(&shared).contains(&"GOCACHE=/user".to_owned()));
        assert!(of(&shared).contains(&"TMPDIR=/w/tmp".to_owned()));
    }

    #[test]
    fn layers_win_in_the_order_of_the_protocol() {
        let environment = Environment::new(EnvStyle::Unix, "/w", list(&["A=process", "B=process"]));
        let request = list(&["A=request", "TMPDIR=/mine", "GOCACHE=/mine"]);
        let env = environment.of_command(&request, None, |_| true);
        assert_eq!(
            env,
            [
                "B=process",
                "WORKDIR=/w",
                "GOROOT_BOOTSTRAP=/w/go1.4",
                "A=request",
                "TMPDIR=/w/tmp",
                "GOCACHE=/w/gocache"
            ]
        );
        let own = environment
            .override_tmp(false)
            .of_command(&request, None, |_| true);
        assert_eq!(get(&own, "TMPDIR", NameCase::Distinct), Some("/mine"));
    }

    #[test]
    fn a_missing_bootstrap_gives_way_to_the_inherited_one() {
        let process = list(&["GOROOT_BOOTSTRAP=/usr/lib/go"]);
        let environment = Environment::new(EnvStyle::Unix, "/w", process);
        let bootstrap = |env: &[&str], exists: &str| {
            let env = environment.of_command(&list(env), None, |path| path == exists);
            get(&env, "GOROOT_BOOTSTRAP", NameCase::Distinct).map(str::to_owned)
        };
        assert_eq!(bootstrap(&[], "/w/go1.4").as_deref(), Some("/w/go1.4"));
        assert_eq!(bootstrap(&[], "").as_deref(), Some("/usr/lib/go"));
        assert_eq!(
            bootstrap(&["GOROOT_BOOTSTRAP=/own"], "/own").as_deref(),
            Some("/own")
        );
        assert_eq!(
            bootstrap(&["GOROOT_BOOTSTRAP=/own"], "").as_deref(),
            Some("/usr/lib/go")
        );
    }

    #[test]
    fn windows_machines_have_their_own_rules() {
        let environment = Environment::new(EnvStyle::Windows, "C:\\w", list(&["Path=a", "A=1"]));
        let env = environment.of_command(&list(&["a=2"]), None, |_| true);
        assert_eq!(
            env,
            [
                "Path=a",
                "GOBUILDEXIT=1",
                "WORKDIR=C:\\w",
                "GOROOT_BOOTSTRAP=C:\\w/go1.4",
                "a=2"
            ]
        );
        let path = r"C:\Windows;C:\TDM-GCC-32\bin;C:\TDM-GCC-64\bin;";
        assert_eq!(
            windows_compiler_path(path, false),
            r"C:\Windows;C:\TDM-GCC-64\bin;C:\godep\gcc64\bin"
        );
        assert_eq!(
            windows_compiler_path(path, true),
            r"C:\Windows;C:\TDM-GCC-32\bin;C:\godep\gcc32\bin"
        );
    }
}
