//! What a machine has: shells, programs on its `PATH`, toolchains. Only programs themselves are
//! started to find out, for not every machine has a shell.

use build_client::once;
use build_core::Result;
use build_core::buildlet::{Buildlet, Exec, ExecOutcome};
use build_core::engine::CHECKOUT_DIR;
use build_core::ids::ExecId;
use build_core::plan::Shell;

/// Longest argument of a command: Linux takes 128 KiB.
const MAX_ARGUMENT: usize = 100 << 10;
/// Says of each word whether it is no program on `PATH`.
const MISSING: &str = "for tool do command -v \"$tool\" >/dev/null 2>&1 || echo \"$tool\"; done";

/// A command that asks the shell of `exec` to do nothing; `None` when it is started without one.
pub(super) fn shell_of(exec: &Exec) -> Option<Exec> {
    let is_shell = |shell: &Shell| {
        let (program, flags) = shell.program();
        exec.cmd == program && exec.args.iter().zip(flags).all(|(arg, flag)| arg == flag)
    };
    let shell = Shell::ALL.into_iter().find(is_shell)?;
    let (program, flags) = shell.program();
    let nothing = flags
        .iter()
        .fold(Exec::new(program), |e, flag| e.arg(*flag));
    Some(Exec {
        env: exec.env.clone(),
        path: exec.path.clone(),
        ..nothing.arg("exit")
    })
}

/// Whether a program can be started at all, wherever it is started.
pub(super) async fn can_start(buildlet: &dyn Buildlet, exec: &Exec) -> Result<bool> {
    let output = buildlet.exec(exec.clone()).await?;
    Ok(!matches!(output.outcome(), ExecOutcome::NotStarted(_)))
}

/// Puts a script that is longer than an argument may be, for it names thousands of tests, into a file
/// beside the checkout.
pub(super) async fn shorten(buildlet: &dyn Buildlet, exec: &mut Exec, id: &ExecId) -> Result<()> {
    let reads_files = [Shell::Sh, Shell::Bash].map(|shell| shell.program().0);
    if reads_files.contains(&exec.cmd.as_str())
        && let [flag, script, ..] = &mut exec.args[..]
        && flag == "-c"
        && script.len() > MAX_ARGUMENT
    {
        let file = format!(".farmer-script-{id}");
        let text = std::mem::replace(script, format!(". \"$WORKDIR/{file}\""));
        buildlet.put(&file, 0o600, once(text)).await?;
    }
    Ok(())
}

/// Whether the toolchain that a command would see is of this version. Nothing is fetched for it.
pub(super) async fn has_toolchain(
    buildlet: &dyn Buildlet,
    exec: &Exec,
    name: &str,
    version: &str,
) -> Result<bool> {
    let mut ask = match name {
        "go" => Exec::new("go").arg("version"),
        "rust" => Exec::new("rustc").arg("--version"),
        other => Exec::new(other).arg("--version"),
    };
    ask.env.clone_from(&exec.env);
    ask.path.clone_from(&exec.path);
    let ask = ask
        .env("GOTOOLCHAIN", "local")
        .env("RUSTUP_AUTO_INSTALL", "0");
    let output = buildlet.exec(ask.dir(CHECKOUT_DIR)).await?;
    Ok(output.outcome().is_ok() && is_version(&output.text(), version))
}

/// Whether the first line with a version in `said` tells `version`, or one that it is the beginning of.
fn is_version(said: &str, version: &str) -> bool {
    let number = |word: &str| {
        let at = word.find(|c: char| c.is_ascii_digit())?;
        let is_word = word[..at].chars().all(char::is_alphabetic);
        // Warnings may stand before it: they name no number of two parts.
        let found = &word[at..];
        (is_word && found.contains('.')).then(|| found.to_owned())
    };
    let found = said.split_whitespace().find_map(number);
    let rest = found
        .as_deref()
        .and_then(|found| found.strip_prefix(version));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// The first of `tools` that is not on the `PATH` the command will see. A machine that can answer by
/// no means is believed to have them all: the command says what it does not find.
pub(super) async fn missing_tool(
    buildlet: &dyn Buildlet,
    exec: &Exec,
    tools: &[String],
) -> Result<Option<String>> {
    if tools.is_empty() {
        return Ok(None);
    }
    let with_env = |check: Exec| Exec {
        env: exec.env.clone(),
        path: exec.path.clone(),
        ..check
    };
    let mut check = with_env(Exec::shell(MISSING).arg("missing"));
    check.args.extend(tools.iter().cloned());
    let output = buildlet.exec(check).await?;
    if !matches!(output.outcome(), ExecOutcome::NotStarted(_)) {
        return Ok(output.text().lines().next().map(str::to_owned));
    }
    // A machine of Windows.
    for tool in tools {
        let asked = buildlet
            .exec(with_env(Exec::new("where").arg(tool)))
            .await?;
        match asked.outcome() {
            ExecOutcome::NotStarted(_) => return Ok(None),
            ExecOutcome::Ok => {}
            _ => return Ok(Some(tool.clone())),
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_in_what_programs_say() {
        assert!(is_version("go version go1.22.3 linux/amd64", "1.22"));
        assert!(is_version("rustc 1.95.0 (abc 2026-01-01)", "1.95.0"));
        assert!(is_version("v20.11.0\n", "20.11"));
        assert!(is_version("warning: no home\nv20.11.0\n", "20"));
        assert!(!is_version("v20.11.0", "2"));
        assert!(!is_version("v20.11.0", "20.1"));
        assert!(!is_version("", "1"));
    }

    #[test]
    fn a_shell_is_known_by_its_program_and_flags() {
        assert!(shell_of(&Exec::shell("true")).is_some());
        assert!(shell_of(&Exec::new("cargo").arg("test")).is_none());
        let pwsh = Exec::new("pwsh").arg("-NoLogo").arg("-NoProfile");
        assert_eq!(shell_of(&pwsh).map(|exec| exec.cmd), Some("pwsh".into()));
    }
}
