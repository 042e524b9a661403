//! A toolchain for who asks by the beginning of its version: what is there, else from a mirror.

use super::dir::{Ready, ToolchainDir};
use super::fetch::{Happening, Source};
use super::gotip;
use super::spec::{Spec, newest};
use crate::Result;

impl ToolchainDir {
    /// A toolchain to be run: `go1.22.5` is exactly that, `go@1.22` is the newest that is here and
    /// fits, else the newest that the mirrors list; `gotip` is what was built. What is not here is
    /// downloaded.
    ///
    /// Cancel safety: as [`ToolchainDir::download`].
    ///
    /// # Errors
    /// Those of [`Spec::parse`], [`Source::newest`] and [`ToolchainDir::download`].
    pub async fn available(
        &self,
        name: &str,
        source: &Source,
        tell: &(dyn Fn(Happening) + Sync),
    ) -> Result<Ready> {
        let rows = source.rows();
        if name == gotip::NAME {
            return self.ready_tip(rows);
        }
        let spec = match name.split_once('@') {
            None => Spec::parse(name, rows)?,
            Some((toolchain, wanted)) => match self.newest_here(toolchain, wanted, source)? {
                Some(spec) => spec,
                None => source.newest(toolchain, wanted).await?,
            },
        };
        if self.ready(&spec, rows).is_err() {
            self.download(&spec, source, tell).await?;
        }
        self.ready(&spec, rows)
    }

    fn newest_here(&self, toolchain: &str, wanted: &str, source: &Source) -> Result<Option<Spec>> {
        let listed = self.list(source.rows())?;
        let ready = listed.iter().filter(|one| one.ready);
        let specs = ready.filter_map(|one| Spec::parse(&one.name, source.rows()).ok());
        let specs: Vec<Spec> = specs.filter(|spec| spec.toolchain() == toolchain).collect();
        let found = newest(wanted, specs.iter().map(Spec::version));
        found
            .map(|version| Spec::new(toolchain, version))
            .transpose()
    }
}
