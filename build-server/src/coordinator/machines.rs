//! The machines of all pools, as the dispatcher is told of them.

use std::sync::Arc;

use build_core::dispatch::Input;
use build_core::ids::MachineId;
use build_core::machine::Aside;
use build_core::pool::{Patience, Pool};
use build_core::schedule::{Account, AccountUse, Machine};
use build_core::{Error, ErrorKind, Result};
use tokio::sync::oneshot;

use super::actor::Turning;
use super::handle::{Handle, Request, stopped};

/// What a person does with a machine.
pub(super) enum MachineChange {
    SetAside(Aside),
    Release,
}

impl Handle {
    /// Sets a machine aside until a time: nobody gets it, and who holds it keeps it. That is
    /// durable when this returns.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when no pool has such a machine, or ever had one.
    pub async fn set_machine_aside(&self, machine: &MachineId, aside: Aside) -> Result<()> {
        self.change_machine(machine, MachineChange::SetAside(aside))
            .await
    }

    /// Lets a machine be used again that was set aside, or that rests after a failure; what was is
    /// forgiven. That is durable when this returns.
    ///
    /// # Errors
    /// As [`Handle::set_machine_aside`].
    pub async fn release_machine(&self, machine: &MachineId) -> Result<()> {
        self.change_machine(machine, MachineChange::Release).await
    }

    async fn change_machine(&self, machine: &MachineId, change: MachineChange) -> Result<()> {
        let (answer, answered) = oneshot::channel();
        let request = Request::Machine {
            machine: machine.clone(),
            change,
            answer,
        };
        self.send(request).await?;
        answered.await.map_err(|_| stopped())?
    }
}

impl Turning {
    pub(super) fn look_at_pools(&mut self) {
        let accounts = accounts(&self.actor.pools);
        if accounts != self.accounts {
            self.accounts.clone_from(&accounts);
            self.take(Input::Accounts(accounts));
        }
        let machines: Vec<_> = self.actor.pools.iter().flat_map(machines).collect();
        if machines != self.machines {
            self.machines.clone_from(&machines);
            self.take(Input::Machines(machines));
        }
    }

    pub(super) fn accounts_in_use(&self) -> Vec<AccountUse> {
        let scheduler = self.actor.dispatcher.scheduler();
        scheduler.accounts().cloned().collect()
    }

    pub(super) fn change_machine(
        &mut self,
        machine: &MachineId,
        change: MachineChange,
        answer: oneshot::Sender<Result<()>>,
    ) {
        let now = self.now();
        let dispatcher = &mut self.actor.dispatcher;
        if !dispatcher.records().knows(machine) {
            // Whoever asked may have gone.
            let _ = answer.send(Err(unknown(machine)));
            return;
        }
        let (mark, effects) = match change {
            MachineChange::SetAside(aside) => dispatcher.set_aside(machine, aside, now),
            MachineChange::Release => dispatcher.readmit(machine, now),
        };
        self.changing.push((mark, answer));
        self.act(effects);
        self.hand_over();
    }

    /// Answers those whose changes are durable now.
    pub(super) fn answer_changes(&mut self) {
        let dispatcher = &self.actor.dispatcher;
        let is_durable = |(mark, _): &mut (u64, _)| dispatcher.is_recorded(*mark);
        for (_, answer) in self.changing.extract_if(.., is_durable) {
            // Whoever asked may have gone.
            let _ = answer.send(Ok(()));
        }
    }
}

fn unknown(machine: &MachineId) -> Error {
    let text = format!("the farm has no machine {machine}");
    Error::new(ErrorKind::NotFound, text).with_hint("`farmer machine list` names those it has")
}

/// The machines of a pool, each with its patience.
fn machines(pool: &Arc<dyn Pool>) -> Vec<Machine> {
    let machines = pool.machines();
    match pool.patience() {
        usual if usual == Patience::default() => machines,
        patience => machines
            .into_iter()
            .map(|machine| machine.patient(patience))
            .collect(),
    }
}

/// The capacities of all pools, each once.
fn accounts(pools: &[Arc<dyn Pool>]) -> Vec<Account> {
    let mut all: Vec<Account> = Vec::new();
    for account in pools.iter().flat_map(|pool| pool.accounts()) {
        match all.iter_mut().find(|known| known.name == account.name) {
            Some(known) => known.units = known.units.min(account.units),
            None => all.push(account),
        }
    }
    all
}
