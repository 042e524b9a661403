//! The machines of the farm, and what is done with one.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use build_core::ErrorKind;
use build_core::ids::{BuildId, LeaseId, MachineId};
use build_core::machine::Aside;
use build_core::report::{HoldMachine, Machine, Machines};

use super::input::Body;
use crate::web::{Admin, Looking, Refusal, Site};

/// Longest time that somebody may set a machine aside for.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

pub(super) async fn machines(Looking(site): Looking) -> Result<Json<Machines>, Refusal> {
    Ok(Json(all(&site).await?))
}

async fn all(site: &Site) -> Result<Machines, Refusal> {
    let (status, now) = (site.handle().status().await?, site.clock().now());
    let open = site.records().open().await?;
    let holders: BTreeMap<LeaseId, BuildId> = open
        .into_iter()
        .flat_map(|row| {
            let id = row.id;
            row.held.into_iter().map(move |lease| (lease, id.clone()))
        })
        .collect();
    let records: BTreeMap<_, _> = status.records.iter().map(|r| (&r.machine, r)).collect();
    let view = |status: build_core::pool::MachineStatus| {
        let build = status.lease.as_ref().and_then(|l| holders.get(l)).cloned();
        let record = records.get(&status.machine).copied();
        Machine::new(status, build, record, now)
    };
    Ok(Machines {
        machines: status.machines.into_iter().map(view).collect(),
        set_aside: status.set_aside,
    })
}

pub(super) async fn hold(
    State(site): State<Site>,
    Admin(user): Admin,
    Path(machine): Path<String>,
    Body(wish): Body<HoldMachine>,
) -> Result<Json<Machines>, Refusal> {
    let machine = MachineId::new(machine)?;
    if wish.why.trim().is_empty() || wish.time.is_zero() || wish.time > LONGEST {
        return Err(Refusal::new(
            ErrorKind::Invalid,
            format!("machine {machine} cannot be set aside like this"),
            "say `why`, and for how long as `for_ms`, a year at most",
        ));
    }
    let now = site.clock().now();
    let aside = Aside {
        why: wish.why,
        since: now,
        until: now + wish.time,
        by: Some(user.name().to_owned()),
    };
    site.handle().set_machine_aside(&machine, aside).await?;
    only(&site, &machine).await
}

pub(super) async fn release(
    State(site): State<Site>,
    _: Admin,
    Path(machine): Path<String>,
) -> Result<Json<Machines>, Refusal> {
    let machine = MachineId::new(machine)?;
    site.handle().release_machine(&machine).await?;
    only(&site, &machine).await
}

/// That machine, if it is there at present.
async fn only(site: &Site, machine: &MachineId) -> Result<Json<Machines>, Refusal> {
    let mut all = all(site).await?;
    all.machines
        .retain(|known| known.status.machine == *machine);
    Ok(Json(Machines {
        set_aside: Vec::new(),
        ..all
    }))
}
