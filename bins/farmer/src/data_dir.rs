//! Where the data directory is when nobody says.

use std::path::PathBuf;

use farmer_cli::Failure;

/// The data directory: the one given, else the platform's state directory and `/farmer`.
pub(crate) fn data_dir(given: Option<PathBuf>) -> Result<PathBuf, Failure> {
    given
        .filter(|dir| !dir.as_os_str().is_empty())
        .or_else(state_dir)
        .ok_or_else(|| {
            Failure::usage(
                "no place for data: neither HOME nor XDG_STATE_HOME is set",
                "give one with --data DIR",
            )
        })
}

fn state_dir() -> Option<PathBuf> {
    let variable = |name: &str| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|p| p.is_absolute())
    };
    let state = if cfg!(target_os = "macos") {
        variable("HOME")?.join("Library/Application Support")
    } else {
        variable("XDG_STATE_HOME").or_else(|| Some(variable("HOME")?.join(".local/state")))?
    };
    Some(state.join("farmer"))
}
