//! The machines of the farm.

use std::collections::BTreeMap;

use axum::Json;
use build_core::clock::Timestamp;
use build_core::ids::{BuildId, HostType, LeaseId};
use build_core::pool::MachineStatus;
use serde::Serialize;

use crate::coordinator::LostSource;
use crate::web::{Looking, Refusal};

/// The machines of one kind.
#[derive(Debug, Serialize)]
pub(super) struct PoolView {
    host_type: HostType,
    machines: usize,
    /// Held by builds.
    held: usize,
    /// Cannot be used at present.
    troubled: usize,
}

/// Every kind of machine, and whether the farm takes work.
#[derive(Debug, Serialize)]
pub(super) struct Pools {
    pools: Vec<PoolView>,
    /// Why nothing new begins, if so.
    stalled: Option<String>,
    /// Since when.
    stalled_since: Option<Timestamp>,
    /// What is wrong with the settings of the farm, if so: those before go on.
    misconfigured: Option<String>,
    /// Sources that cannot be read at present.
    lost: Vec<LostSource>,
}

pub(super) async fn pools(Looking(site): Looking) -> Result<Json<Pools>, Refusal> {
    let status = site.handle().status().await?;
    let mut kinds: BTreeMap<HostType, PoolView> = BTreeMap::new();
    for machine in status.machines {
        let kind = kinds
            .entry(machine.host_type.clone())
            .or_insert_with(|| PoolView {
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
        lost: status.lost,
    }))
}

/// One machine, and what runs on it.
#[derive(Debug, Serialize)]
pub(super) struct MachineView {
    #[serde(flatten)]
    status: MachineStatus,
    build: Option<BuildId>,
}

#[derive(Debug, Serialize)]
pub(super) struct Machines {
    machines: Vec<MachineView>,
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
    let view = |status: MachineStatus| MachineView {
        build: status.lease.as_ref().and_then(|l| holders.get(l)).cloned(),
        status,
    };
    let machines = status.machines.into_iter().map(view).collect();
    Ok(Json(Machines { machines }))
}
