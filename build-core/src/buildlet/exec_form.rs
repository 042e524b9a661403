//! Commands as forms: the bodies of `/exec` and `/exec/start`.

use std::time::Duration;

use super::{Exec, Form, Params, Program, param};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::ExecId;
use crate::name::Name;
use crate::plan::{Network, Sandbox};

/// How an empty list of `PATH` elements is written.
const EMPTY_PATH: &str = "$EMPTY";

/// The form of a command. `mode`, `dir` and `debug` are always there, as Go clients write
/// them; our own parameters only where they say something.
#[must_use]
pub fn exec_form(exec: &Exec) -> Form {
    let mode = match exec.lookup {
        Program::InWorkDir => "",
        Program::OfSystem => "sys",
    };
    let form = Form::new()
        .with(param::CMD, &exec.cmd)
        .with(param::MODE, mode)
        .with(param::DIR, &exec.dir)
        .with(param::DEBUG, exec.debug.to_string())
        .with_all(param::CMD_ARG, &exec.args)
        .with_all(param::ENV, &exec.env)
        .with_all(param::ESCAPED_ENV, exec.env_bytes.iter().map(Name::escaped))
        .with_all(param::PATH, path_values(exec.path.as_deref()));
    own_values(exec).fold(form, |form, (name, value)| form.with(name, value))
}

fn path_values(path: Option<&[String]>) -> Vec<&str> {
    match path {
        None => Vec::new(),
        Some([]) => vec![EMPTY_PATH],
        Some(elements) => elements.iter().map(String::as_str).collect(),
    }
}

fn own_values(exec: &Exec) -> impl Iterator<Item = (&'static str, String)> {
    let millis = |time: Option<Duration>| time.map(|time| time.as_millis().to_string());
    [
        (param::ID, exec.id.as_ref().map(ToString::to_string)),
        (param::TIMEOUT_MS, millis(exec.timeout)),
        (param::QUIET_MS, millis(exec.quiet)),
        (
            param::DISK_FLOOR,
            exec.disk_floor_bytes.map(|n| n.to_string()),
        ),
        (param::LOG_LIMIT, exec.log_bytes.map(|n| n.to_string())),
        (
            param::MEMORY_LIMIT,
            exec.memory_bytes.map(|n| n.to_string()),
        ),
        (param::PROCESS_LIMIT, exec.processes.map(|n| n.to_string())),
        (param::SANDBOX, asked(exec.sandbox, exec.sandbox.word())),
        (
            param::NETWORK,
            asked(exec.network, Some(exec.network.word())),
        ),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name, value?)))
}

/// A word, where it says something.
fn asked<T: Default + PartialEq>(value: T, word: Option<&str>) -> Option<String> {
    word.filter(|_| value != T::default()).map(str::to_owned)
}

/// Reads the parameters of `/exec` and `/exec/start`. Whether the paths in it may be used
/// is another question, which depends on the mode: see [`super::WirePath`].
///
/// # Errors
/// [`ErrorKind::Invalid`] without a program (in the protocol's words), or naming the
/// parameter of ours that cannot be read.
pub fn parse_exec(params: &Params) -> Result<Exec> {
    let cmd = params.get(param::CMD).filter(|cmd| !cmd.is_empty());
    let cmd = cmd.ok_or_else(|| Error::new(ErrorKind::Invalid, "requires 'cmd' parameter"))?;
    let text = |name| params.get(name).unwrap_or_default().to_owned();
    let list = |name| {
        params
            .body()
            .all(name)
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let millis = |name| Ok::<_, Error>(params.number(name)?.map(Duration::from_millis));
    Ok(Exec {
        cmd: cmd.to_owned(),
        args: list(param::CMD_ARG),
        lookup: match params.get(param::MODE) {
            Some("sys") => Program::OfSystem,
            _ => Program::InWorkDir,
        },
        dir: text(param::DIR),
        env: list(param::ENV),
        env_bytes: (params.body().all(param::ESCAPED_ENV))
            .map(Name::unescape)
            .collect(),
        path: parse_path(list(param::PATH)),
        debug: params.flag(param::DEBUG),
        id: params.get(param::ID).map(ExecId::new).transpose()?,
        timeout: millis(param::TIMEOUT_MS)?,
        quiet: millis(param::QUIET_MS)?,
        disk_floor_bytes: params.number(param::DISK_FLOOR)?,
        log_bytes: params.number(param::LOG_LIMIT)?,
        memory_bytes: params.number(param::MEMORY_LIMIT)?,
        processes: params.number(param::PROCESS_LIMIT)?,
        sandbox: params
            .get(param::SANDBOX)
            .map_or(Ok(Sandbox::default()), Sandbox::parse)?,
        network: params
            .get(param::NETWORK)
            .map_or(Ok(Network::default()), Network::parse)?,
    })
}

fn parse_path(values: Vec<String>) -> Option<Vec<String>> {
    match &values[..] {
        [] => None,
        [only] if only == EMPTY_PATH => Some(Vec::new()),
        _ => Some(values),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Observed from a Go client.
    const OBSERVED: &str = "cmd=go%2Fsrc%2Fmake.bash&cmdArg=-x&cmdArg=y+z&debug=true&dir=\
        &env=A%3D1&env=B%3D2&mode=&path=%24EMPTY";

    fn observed() -> Exec {
        let mut exec = Exec::in_work_dir("go/src/make.bash").arg("-x").arg("y z");
        exec = exec.env("A", "1").env("B", "2");
        exec.debug = true;
        exec.path = Some(Vec::new());
        exec
    }

    fn parse(body: &str) -> Result<Exec> {
        parse_exec(&Params::parse("", body.as_bytes())?)
    }

    #[test]
    fn an_observed_command_is_read_and_written() {
        assert_eq!(exec_form(&observed()).encode(), OBSERVED);
        assert_eq!(parse(OBSERVED).unwrap(), observed());
    }

    #[test]
    fn absent_and_empty_paths_differ() {
        assert_eq!(parse("cmd=x").unwrap().path, None);
        assert_eq!(
            parse("cmd=x&path=%24PATH&path=%2Fa").unwrap().path.unwrap(),
            ["$PATH", "/a"]
        );
        let encoded = exec_form(&Exec::new("x")).encode();
        assert_eq!(encoded, "cmd=x&debug=false&dir=&mode=sys");
    }

    #[test]
    fn lists_come_from_the_body_alone() {
        let params = Params::parse("cmd=q&cmdArg=q&env=Q%3D1&mode=sys", b"cmd=b&cmdArg=b").unwrap();
        let exec = parse_exec(&params).unwrap();
        assert_eq!((exec.cmd.as_str(), exec.lookup), ("b", Program::OfSystem));
        assert_eq!(exec.args, ["b"]);
        assert!(exec.env.is_empty());
    }

    #[test]
    fn our_parameters_come_back() {
        let mut exec = observed().id(ExecId::new("build-1.step-2").unwrap());
        exec.timeout = Some(Duration::from_secs(7200));
        exec.quiet = Some(Duration::from_millis(1));
        exec.disk_floor_bytes = Some(1 << 30);
        exec.log_bytes = Some(0);
        exec.memory_bytes = Some(u64::MAX);
        exec.processes = Some(512);
        exec.env_bytes = vec![b"B=caf\xe9"[..].into()];
        assert_eq!(parse(&exec_form(&exec).encode()).unwrap(), exec);
    }

    #[test]
    fn unusable_commands_are_refused_by_name() {
        for (body, words) in [
            ("", "requires 'cmd' parameter"),
            ("cmd=", "requires 'cmd' parameter"),
            ("cmd=x&timeout_ms=soon", "bad 'timeout_ms' parameter"),
            ("cmd=x&id=a/b", "bad exec id"),
        ] {
            let error = parse(body).unwrap_err();
            assert!(error.to_string().contains(words), "{body}: {error}");
            assert_eq!(error.kind(), ErrorKind::Invalid);
        }
    }
}
