//! Toolchains of a step: what its machine has, what this machine's files hold for it, and what is
//! carried to a machine with files of its own. Decision: docs/decisions/0024-toolchains-elsewhere.md.

mod carried;
mod preamble;

use std::collections::BTreeMap;

use build_core::buildlet::Exec;
use build_core::{Error, ErrorKind, Result};

use super::Inner;
use super::leases::Held;
use super::logs::OpenLog;
use super::tools::has_toolchain;
use crate::toolchains::{Portable, Toolchains};

pub(super) use self::preamble::Preamble;

/// Why a step has no toolchain.
#[derive(Debug)]
pub(super) enum Trouble {
    /// Nobody can get it: no other machine would have it.
    Missing(Error),
    /// The machine, or the way to it.
    Machine(Error),
}

impl Trouble {
    /// By what the machine has said.
    fn of(error: Error) -> Self {
        match error.kind() {
            ErrorKind::Unavailable
            | ErrorKind::TimedOut
            | ErrorKind::Canceled
            | ErrorKind::Limit
            | ErrorKind::Corrupt => Self::Machine(error),
            _ => Self::Missing(error),
        }
    }
}

impl Inner {
    /// Puts toolchains first on the `PATH` of a command, unless the machine has them, and says what it
    /// did where the machine has files of its own. `Some` names the one that cannot be had; its reason
    /// is in the log.
    pub(super) async fn equip(
        &self,
        held: &Held,
        exec: &mut Exec,
        asked: &BTreeMap<String, String>,
        preamble: &mut Preamble<'_>,
    ) -> Result<Option<String>> {
        for (name, version) in asked {
            let equipped = match preamble.is_wanted() {
                true => self.carry(held, exec, (name, version), preamble).await,
                false => self.equip_here(held, exec, name, version).await,
            };
            match equipped {
                Ok(()) => {}
                Err(Trouble::Machine(error)) => {
                    return Err(error.while_doing(format!("give a machine {name} {version}")));
                }
                Err(Trouble::Missing(error)) => {
                    let hint = error.hint().unwrap_or_default();
                    let reason = format!("{name} {version}: {}; {hint}", error.chain());
                    preamble.complain(&reason).await?;
                    return Ok(Some(format!("{name} {version}")));
                }
            }
        }
        preamble.end().await?;
        Ok(None)
    }

    /// For a machine that sees the files of this one.
    async fn equip_here(
        &self,
        held: &Held,
        exec: &mut Exec,
        name: &str,
        version: &str,
    ) -> Result<(), Trouble> {
        if self.has_own(held, exec, name, version).await? {
            return Ok(());
        }
        let given = self.gets(name, version)?.provide(name, version).await;
        let given = given.map_err(Trouble::Missing)?;
        put_first(exec, given.path, given.env);
        Ok(())
    }

    /// For a machine with files of its own.
    async fn carry(
        &self,
        held: &Held,
        exec: &mut Exec,
        (name, version): (&str, &str),
        preamble: &mut Preamble<'_>,
    ) -> Result<(), Trouble> {
        if self.has_own(held, exec, name, version).await? {
            let line = format!("{name} {version}: the machine's own");
            return preamble.say(&line).await.map_err(Trouble::Machine);
        }
        let (os, arch) = held.buildlet().platform().await.map_err(Trouble::of)?;
        let platform = format!("{os}/{arch}");
        let toolchains = self.gets(name, version)?;
        let portable = toolchains.portable(name, version, &platform).await;
        let portable = portable.map_err(Trouble::Missing)?;
        let root = self.carried(held, &portable, &platform, preamble).await;
        let root = root.map_err(Trouble::of)?;
        let (path, env) = there(&portable, &root, os == "windows");
        put_first(exec, path, env);
        Ok(())
    }

    /// Whether the machine has it itself.
    async fn has_own(
        &self,
        held: &Held,
        exec: &mut Exec,
        name: &str,
        version: &str,
    ) -> Result<bool, Trouble> {
        let has = has_toolchain(held.buildlet(), exec, name, version).await;
        let has = has.map_err(Trouble::of)?;
        if has {
            // Its own guard against other versions that a project may name.
            exec.env.insert(0, "GOTOOLCHAIN=local".to_owned());
        }
        Ok(has)
    }

    fn gets(&self, name: &str, version: &str) -> Result<&dyn Toolchains, Trouble> {
        self.toolchains.as_deref().ok_or_else(|| {
            let text = "the machine does not have it, and this farm gets no toolchains";
            let hint = format!("install {name} {version} on the machine");
            Trouble::Missing(Error::new(ErrorKind::NotFound, text).with_hint(hint))
        })
    }
}

/// What makes the copy at `root` the one that a command sees.
fn there(portable: &Portable, root: &str, windows: bool) -> (Vec<String>, Vec<String>) {
    let separator = if windows { "\\" } else { "/" };
    let at = |below: &String| match below.is_empty() {
        true => root.to_owned(),
        false => format!("{root}{separator}{}", below.replace('/', separator)),
    };
    let path = portable.path.iter().map(at).collect();
    let home = portable.home.iter().map(|name| format!("{name}={root}"));
    let env = portable.env.iter().cloned().chain(home).collect();
    (path, env)
}

fn put_first(exec: &mut Exec, mut path: Vec<String>, env: Vec<String>) {
    let rest = exec.path.take().unwrap_or_else(|| vec!["$PATH".to_owned()]);
    path.extend(rest);
    exec.path = Some(path);
    exec.env.splice(0..0, env);
}

/// Where what a step is told of its toolchains goes: nowhere on machines that see our files, whose
/// steps have them at once, and where the output is a list.
pub(super) fn preamble_of<'a>(
    held: &Held,
    asked: &BTreeMap<String, String>,
    is_list: bool,
    log: &'a mut OpenLog,
) -> Preamble<'a> {
    let elsewhere = !asked.is_empty() && !held.lease.sees_our_files();
    Preamble::new(log, elsewhere, is_list)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_found_where_it_is() {
        let portable = Portable {
            name: "go1.9".into(),
            root: "/here".into(),
            stamp: String::new(),
            path: vec!["bin".into(), String::new()],
            home: Some("GOROOT".into()),
            env: vec!["A=b".into()],
        };
        let (path, env) = there(&portable, "/kept/x/tree", false);
        assert_eq!(path, ["/kept/x/tree/bin", "/kept/x/tree"]);
        assert_eq!(env, ["A=b", "GOROOT=/kept/x/tree"]);
        let (path, _) = there(&portable, r"C:\w\go1.9", true);
        assert_eq!(path[0], r"C:\w\go1.9\bin");
        let mut exec = Exec::new("go").env("A", "c");
        put_first(&mut exec, path, env);
        assert_eq!(exec.path.unwrap().last().unwrap(), "$PATH");
        assert_eq!(
            exec.env.last().unwrap(),
            "A=c",
            "the step's own word counts"
        );
    }
}
