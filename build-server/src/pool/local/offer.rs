//! The machines that a pool offers, which may become more and fewer while it is used.

use build_core::Result;
use build_core::ids::{HostType, MachineId};
use build_core::plan::Sandbox;
use build_core::schedule::{Draw, Machine as Slot};

use super::{LocalPool, own_labels};

/// The machines that may be leased.
pub(super) struct Offer {
    pub(super) slots: Vec<Slot>,
    /// How many are kept ready, where there are so many slots.
    pub(super) spares: usize,
}

impl Offer {
    pub(super) fn spares_wanted(&self) -> usize {
        self.spares.min(self.slots.len())
    }
}

/// The slots of a pool.
///
/// # Errors
/// [`ErrorKind::Invalid`](build_core::ErrorKind::Invalid) when the name of the host type is too long
/// for one of a machine.
pub(super) fn slots(
    host_type: &HostType,
    count: usize,
    labels: &[String],
    draws: &[Draw],
) -> Result<Vec<Slot>> {
    let slot = |number: usize| {
        let id = MachineId::new(format!("{host_type}-{number}"))?;
        let slot = Slot::new(id, host_type.clone(), own_labels(labels));
        Ok(slot.drawing(draws.iter().cloned()))
    };
    (1..=count).map(slot).collect()
}

impl LocalPool {
    /// From now on leases are kept apart from this machine at that level, as
    /// [`LocalPoolBuilder::sandbox`](super::LocalPoolBuilder::sandbox) says. Those that somebody
    /// holds stay as they are.
    pub fn keep_apart(&self, sandbox: Sandbox) {
        self.shared.guard.set(sandbox);
    }

    /// From now on it has `count` machines, each with `labels` besides those of its system and
    /// taking `draws` of what is shared. Who holds one that is not among them any more keeps it
    /// until it is given back.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](build_core::ErrorKind::Invalid) when the name of the host type is too
    /// long for one of a machine; then nothing has changed.
    pub fn offer(&self, count: usize, labels: &[String], draws: &[Draw]) -> Result<()> {
        let slots = slots(&self.shared.host_type, count, labels, draws)?;
        let spares = {
            let mut offer = self.shared.offer();
            if offer.slots == slots {
                return Ok(());
            }
            offer.slots = slots;
            offer.spares_wanted()
        };
        self.shared.table().keep_spares(spares);
        self.shared.wake.notify_one();
        self.shared
            .changes
            .send_modify(|count| *count = count.wrapping_add(1));
        Ok(())
    }
}
