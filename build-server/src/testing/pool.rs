//! What every pool of machines promises.

use build_client::once;
use build_core::buildlet::{Buildlet, Exec, ListDir};
use build_core::ids::{BuilderName, LeaseId, MachineId, Nonce};
use build_core::plan::{Network, Sandbox};
use build_core::pool::{Adoption, LEASE_TTL, LeaseRecord, LeaseRequest, Pool};
use build_core::schedule::Machine;
use build_core::{Error, ErrorKind, Result};

fn request(machine: &Machine, n: u64) -> Result<LeaseRequest> {
    Ok(LeaseRequest {
        lease: LeaseId::from_bits(n),
        nonce: Nonce::new(format!("contract-{n}"))?,
        machine: machine.id().clone(),
        host_type: machine.host_type().clone(),
        builder: BuilderName::new("contract")?,
        sandbox: Sandbox::default(),
        network: Network::default(),
        image: None,
        ttl: LEASE_TTL,
    })
}

fn holder(pool: &dyn Pool, machine: &MachineId) -> Option<LeaseId> {
    let status = pool.status().into_iter().find(|s| s.machine == *machine);
    status.and_then(|status| status.lease)
}

/// Checks what every [`Pool`] promises, on one that has a free machine. Machines need not be able
/// to run commands: what is asked of them is files.
///
/// # Errors
/// When the pool fails.
///
/// # Panics
/// When it breaks a promise: the text says which.
pub async fn pool(pool: &dyn Pool) -> Result<()> {
    assert!(!pool.name().is_empty(), "a pool has a name");
    let machines = pool.machines();
    let Some(machine) = machines.first() else {
        panic!("the contract needs a machine");
    };
    let status = pool.status();
    assert!(
        machines
            .iter()
            .all(|m| status.iter().any(|s| s.machine == *m.id())),
        "every machine has a status"
    );
    assert_eq!(holder(pool, machine.id()), None, "nobody has it yet");
    let unknown = LeaseRecord {
        lease: LeaseId::from_bits(99),
        nonce: Nonce::new("contract-99")?,
        machine: machine.id().clone(),
        place: String::new(),
    };
    assert!(
        is_gone(pool, &unknown).await?,
        "a lease that never was is gone"
    );

    let wish = request(machine, 1)?;
    let lease = pool.acquire(&wish).await?;
    let record = lease.record().clone();
    assert_eq!(
        (&record.lease, &record.nonce, &record.machine),
        (&wish.lease, &wish.nonce, &wish.machine),
        "a lease is what was asked for"
    );
    assert_eq!(
        holder(pool, machine.id()),
        Some(wish.lease.clone()),
        "the status tells who has it"
    );
    works(lease.buildlet()).await?;
    let again = pool.acquire(&wish).await?;
    assert_eq!(
        again.record().place,
        record.place,
        "asked twice, it is the same machine"
    );
    let files = again.buildlet().list_dir(&ListDir::default()).await?;
    assert!(
        files.iter().any(|f| f.name == "contract.txt"),
        "with everything on it"
    );
    lease.renew(LEASE_TTL).await?;
    let other = pool.acquire(&request(machine, 2)?).await;
    let refused = other.err().map(|error| error.kind());
    assert!(
        refused.is_some(),
        "a machine that is held is given to nobody else"
    );

    lease.release().await?;
    lease.release().await?;
    assert_eq!(
        holder(pool, machine.id()),
        None,
        "what was given back is free"
    );
    let renewed = lease.renew(LEASE_TTL).await;
    assert!(renewed.is_err(), "and not to be renewed");
    drop((lease, again));
    assert!(is_gone(pool, &record).await?, "and gone");
    let next = pool.acquire(&request(machine, 3)?).await?;
    let files = next.buildlet().list_dir(&ListDir::default()).await;
    let left = files.unwrap_or_default();
    assert!(
        left.iter().all(|f| f.name != "contract.txt"),
        "the next holder finds nothing of it"
    );
    next.release().await
}

async fn is_gone(pool: &dyn Pool, record: &LeaseRecord) -> Result<bool> {
    Ok(matches!(pool.adopt(record).await?, Adoption::Gone))
}

async fn works(buildlet: &dyn Buildlet) -> Result<()> {
    buildlet.status().await?;
    buildlet.put("contract.txt", 0o600, once("text")).await?;
    let files = buildlet.list_dir(&ListDir::default()).await?;
    let found = files.iter().find(|file| file.name == "contract.txt");
    assert!(
        found.is_some(),
        "what was put on a machine is there: {files:?}"
    );
    Ok(())
}

/// Checks that a second pool, as of the next process, finds the machine that the first one holds:
/// both are of the same place, and `first` is not used afterwards.
///
/// # Errors
/// When a pool fails.
///
/// # Panics
/// When the machine is not found, or is given to somebody who cannot prove that it is his.
pub async fn pool_after_restart(first: &dyn Pool, second: &dyn Pool) -> Result<()> {
    let machines = first.machines();
    let Some(machine) = machines.first() else {
        panic!("the contract needs a machine");
    };
    let lease = first.acquire(&request(machine, 11)?).await?;
    works(lease.buildlet()).await?;
    let record = lease.record().clone();
    let stranger = LeaseRecord {
        nonce: Nonce::new("another")?,
        ..record.clone()
    };
    assert!(
        is_gone(second, &stranger).await?,
        "without its proof a machine is not found"
    );
    let Adoption::Adopted(adopted) = second.adopt(&record).await? else {
        let text = "the machine of an earlier process was not found again";
        return Err(Error::new(ErrorKind::NotFound, text));
    };
    let files = adopted.buildlet().list_dir(&ListDir::default()).await?;
    assert!(
        files.iter().any(|f| f.name == "contract.txt"),
        "it is the same machine"
    );
    let told = adopted.buildlet().exec(Exec::new("true")).await?;
    assert!(told.outcome().is_ok(), "and works");
    adopted.release().await?;
    assert!(
        is_gone(second, &record).await?,
        "what was given back is gone"
    );
    Ok(())
}
