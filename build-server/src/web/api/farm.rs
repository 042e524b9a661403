//! The machines of the farm.

use std::collections::{BTreeMap, BTreeSet};

use axum::Json;
#[cfg(feature = "reverse")]
use axum::extract::State;
use build_core::ids::HostType;
#[cfg(feature = "reverse")]
use build_core::report::MachinesPast;
use build_core::report::{LostSource, PoolReport, Pools, Session, Sessions};

use crate::coordinator;
#[cfg(feature = "reverse")]
use crate::web::{Admin, Site};
use crate::web::{Looking, Refusal, User};

pub(super) async fn pools(Looking(site): Looking) -> Result<Json<Pools>, Refusal> {
    let (status, now) = (site.handle().status().await?, site.clock().now());
    let mut kinds: BTreeMap<HostType, PoolReport> = BTreeMap::new();
    let aside: BTreeSet<_> = (status.records.iter())
        .filter(|record| record.aside.as_ref().is_some_and(|aside| aside.holds(now)))
        .map(|record| &record.machine)
        .collect();
    for machine in status.machines {
        let is_aside = aside.contains(&machine.machine);
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
        kind.troubled += usize::from(machine.trouble.is_some() || is_aside);
    }
    Ok(Json(Pools {
        pools: kinds.into_values().collect(),
        accounts: status.accounts,
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
