//! The machines of the farm.

use std::collections::BTreeMap;

use axum::Json;
#[cfg(feature = "reverse")]
use axum::extract::State;
use build_core::ids::{BuildId, HostType, LeaseId};
use build_core::pool::MachineStatus;
#[cfg(feature = "reverse")]
use build_core::report::MachinesPast;
use build_core::report::{LostSource, Machine, Machines, PoolReport, Pools, Session, Sessions};

use crate::coordinator;
#[cfg(feature = "reverse")]
use crate::web::{Admin, Site};
use crate::web::{Looking, Refusal, User};

pub(super) async fn pools(Looking(site): Looking) -> Result<Json<Pools>, Refusal> {
    let status = site.handle().status().await?;
    let mut kinds: BTreeMap<HostType, PoolReport> = BTreeMap::new();
    for machine in status.machines {
        let kind = kinds
            .entry(machine.host_type.clone())
            .or_insert_with(|| PoolReport {
                host_type: machine.host_type,
                machines: 0,
                held: 0,
                troubled: 0,
            });
        kind.machines += 1;
        kind.held += usize::from(machine.lease.is_some());
        kind.troubled += usize::from(machine.trouble.is_some());
    }
    Ok(Json(Pools {
        pools: kinds.into_values().collect(),
        stalled: status.stalled,
        stalled_since: status.stalled_since,
        misconfigured: status.misconfigured,
        lost: status.lost.into_iter().map(lost).collect(),
    }))
}

fn lost(source: coordinator::LostSource) -> LostSource {
    LostSource {
        source: source.source,
        since: source.since,
        why: source.why,
    }
}

pub(super) async fn machines(Looking(site): Looking) -> Result<Json<Machines>, Refusal> {
    let status = site.handle().status().await?;
    let open = site.records().open().await?;
    let holders: BTreeMap<LeaseId, BuildId> = open
        .into_iter()
        .flat_map(|row| {
            let id = row.id;
            row.held.into_iter().map(move |lease| (lease, id.clone()))
        })
        .collect();
    let view = |status: MachineStatus| Machine {
        build: status.lease.as_ref().and_then(|l| holders.get(l)).cloned(),
        status,
    };
    let machines = status.machines.into_iter().map(view).collect();
    let set_aside = status.set_aside;
    Ok(Json(Machines {
        machines,
        set_aside,
    }))
}

/// Who holds which machine is the business of those who may hold one.
pub(super) async fn sessions(Looking(site): Looking, _: User) -> Result<Json<Sessions>, Refusal> {
    let open = site.records().open_sessions().await?;
    let sessions = open.into_iter().map(Session::from).collect();
    Ok(Json(Sessions { sessions }))
}

/// What is remembered of machines that register.
#[cfg(feature = "reverse")]
pub(super) async fn past(
    State(site): State<Site>,
    Admin(_): Admin,
) -> Result<Json<MachinesPast>, Refusal> {
    Ok(Json(match site.registered() {
        Some(machines) => machines.past(),
        None => MachinesPast::default(),
    }))
}
