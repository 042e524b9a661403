//! Local machines of several kinds, by a table that may change while the farm runs.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use build_core::ids::{HostType, MachineId};
use build_core::plan::Sandbox;
use build_core::pool::{Adoption, Lease, LeaseRecord, LeaseRequest, MachineStatus, Pool};
use build_core::schedule::{Account, Draw, Machine};
use build_core::{Error, ErrorKind, Result};
use tokio::sync::watch;

use super::{LocalPool, LocalPoolBuilder};

/// The machines of one kind, in the table of a [`LocalHosts`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalHost {
    /// The kind.
    pub host_type: HostType,
    /// How many.
    pub count: usize,
    /// What they have besides their system and processor.
    pub labels: Vec<String>,
    /// What each takes of capacities that they share, while somebody holds it.
    pub draws: Vec<Draw>,
    /// How far builds are kept apart from this computer there, as
    /// [`LocalPoolBuilder::sandbox`] says.
    pub sandbox: Sandbox,
}

/// Local machines of several kinds: a [`LocalPool`] for each, as a table says. The table may be
/// replaced at any time: new machines can be had at once, and one that is not in it any more goes
/// when its holder gives it back.
///
/// Clones are the same pool.
#[derive(Clone)]
pub struct LocalHosts(Arc<Shared>);

struct Shared {
    make: Box<dyn Fn(HostType) -> LocalPoolBuilder + Send + Sync>,
    table: Mutex<Table>,
    changes: watch::Sender<u64>,
}

#[derive(Default)]
struct Table {
    /// Those that are not named any more stay, without machines: somebody may hold some.
    pools: BTreeMap<HostType, LocalPool>,
    accounts: Vec<Account>,
}

impl LocalHosts {
    /// No machines yet. `make` begins a pool of a kind; how many machines it has, with what, and how
    /// far they are kept apart is set by the table.
    pub fn new(make: impl Fn(HostType) -> LocalPoolBuilder + Send + Sync + 'static) -> Self {
        Self(Arc::new(Shared {
            make: Box::new(make),
            table: Mutex::default(),
            changes: watch::Sender::new(0),
        }))
    }

    /// The machines from now on, and the capacities that they share.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] when a kind is named twice, or has a name that is too long for one
    /// of a machine. Then everything is as it was.
    pub fn set(&self, hosts: &[LocalHost], accounts: &[Account]) -> Result<()> {
        let mut wanted: BTreeMap<&HostType, &LocalHost> = BTreeMap::new();
        for host in hosts {
            if wanted.insert(&host.host_type, host).is_some() {
                let text = format!("host \"{}\" is there twice", host.host_type);
                return Err(Error::new(ErrorKind::Invalid, text));
            }
            check_name(host)?;
        }
        let mut table = self.0.table();
        let mut new = Vec::new();
        for kind in wanted.keys().copied() {
            if !table.pools.contains_key(kind) {
                new.push((kind.clone(), (self.0.make)(kind.clone()).build()?));
            }
        }
        table.pools.extend(new);
        for (kind, pool) in &table.pools {
            match wanted.get(kind) {
                Some(host) => {
                    pool.keep_apart(host.sandbox);
                    pool.offer(host.count, &host.labels, &host.draws)?;
                }
                None => pool.offer(0, &[], &[])?,
            }
        }
        table.accounts = accounts.to_vec();
        drop(table);
        self.0
            .changes
            .send_modify(|count| *count = count.wrapping_add(1));
        Ok(())
    }

    /// Ends the machines that were kept ready, as [`LocalPool::close`] does.
    ///
    /// # Errors
    /// What could not be ended.
    pub async fn close(&self) -> Result<()> {
        let closing = self.0.pools();
        let closed = futures::future::join_all(closing.iter().map(LocalPool::close)).await;
        closed.into_iter().collect()
    }
}

/// The longest name of a machine of a kind is one.
fn check_name(host: &LocalHost) -> Result<()> {
    MachineId::new(format!("{}-{}", host.host_type, host.count)).map(drop)
}

impl Shared {
    fn table(&self) -> MutexGuard<'_, Table> {
        // Every lock covers a single change: a panic leaves the table whole.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pools(&self) -> Vec<LocalPool> {
        self.table().pools.values().cloned().collect()
    }

    fn pool(&self, kind: &str) -> Option<LocalPool> {
        let table = self.table();
        let mut pools = table.pools.iter();
        pools
            .find(|(known, _)| known.as_str() == kind)
            .map(|(_, pool)| pool.clone())
    }
}

#[async_trait]
impl Pool for LocalHosts {
    fn name(&self) -> &str {
        "local"
    }

    fn machines(&self) -> Vec<Machine> {
        self.0
            .pools()
            .iter()
            .flat_map(LocalPool::machines)
            .collect()
    }

    fn accounts(&self) -> Vec<Account> {
        self.0.table().accounts.clone()
    }

    async fn acquire(&self, request: &LeaseRequest) -> Result<Arc<dyn Lease>> {
        match self.0.pool(request.host_type.as_str()) {
            Some(pool) => pool.acquire(request).await,
            None => {
                let text = format!("there are no local machines of kind {}", request.host_type);
                Err(Error::new(ErrorKind::NotFound, text))
            }
        }
    }

    async fn adopt(&self, record: &LeaseRecord) -> Result<Adoption> {
        let machine = record.machine.as_str();
        let kind = machine.rsplit_once('-').map_or(machine, |(kind, _)| kind);
        match self.0.pool(kind) {
            Some(pool) => pool.adopt(record).await,
            None => Ok(Adoption::Gone),
        }
    }

    fn status(&self) -> Vec<MachineStatus> {
        self.0.pools().iter().flat_map(LocalPool::status).collect()
    }

    fn set_aside(&self) -> Vec<String> {
        let pools = self.0.pools();
        pools.iter().flat_map(LocalPool::set_aside).collect()
    }

    async fn changed(&self) {
        let mut changes = self.0.changes.subscribe();
        // The sender is in `self`.
        let _ = changes.changed().await;
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::task::Poll;

    use build_core::ids::AccountName;
    use futures::poll;

    use super::*;

    fn host(name: &str, count: usize, units: u32) -> LocalHost {
        let draws = NonZeroU32::new(units).map(|units| Draw {
            account: AccountName::new("cores").unwrap(),
            units,
        });
        LocalHost {
            host_type: HostType::new(name).unwrap(),
            count,
            labels: vec![format!("is-{name}")],
            draws: draws.into_iter().collect(),
            sandbox: Sandbox::None,
        }
    }

    fn named(pool: &LocalHosts) -> Vec<(String, bool, u32)> {
        let of = |machine: &Machine| {
            let units = machine.draws().iter().map(|draw| draw.units.get()).sum();
            let label = format!("is-{}", machine.host_type());
            (
                machine.id().to_string(),
                machine.labels().has(&label),
                units,
            )
        };
        // Outside of a runtime nothing is started.
        pool.machines().iter().map(of).collect()
    }

    #[test]
    fn a_table_is_replaced_as_a_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().to_owned();
        let pool = LocalHosts::new(move |kind| {
            LocalPool::builder("/bin/false", 0)
                .host_type(kind)
                .data_dir(&data)
        });
        assert!(named(&pool).is_empty());
        let cores = Account::new(AccountName::new("cores").unwrap(), 8);
        pool.set(
            &[host("big", 1, 4), host("small", 2, 0)],
            std::slice::from_ref(&cores),
        )
        .unwrap();
        let one = |name: &str, units| (name.to_owned(), true, units);
        let first = [one("big-1", 4), one("small-1", 0), one("small-2", 0)];
        assert_eq!(named(&pool), first);
        assert_eq!(pool.accounts(), [cores]);

        let long = "x".repeat(127);
        let refused = [
            vec![host("big", 3, 1), host(&long, 10, 1)],
            vec![host("big", 3, 1), host("big", 4, 1)],
        ];
        for hosts in refused {
            assert_eq!(
                pool.set(&hosts, &[]).unwrap_err().kind(),
                ErrorKind::Invalid
            );
            assert_eq!(named(&pool), first);
        }
        pool.set(&[host("big", 2, 2), host("huge", 1, 0)], &[])
            .unwrap();
        assert_eq!(
            named(&pool),
            [one("big-1", 2), one("big-2", 2), one("huge-1", 0)]
        );
        assert_eq!(pool.status().len(), 3);
        assert!(pool.accounts().is_empty());
        let gone = pool
            .0
            .pool("small")
            .expect("somebody may hold its machines");
        assert!(gone.machines().is_empty());
    }

    #[tokio::test]
    async fn who_waits_for_other_machines_is_told() {
        let pool = LocalHosts::new(|kind| LocalPool::builder("/bin/false", 0).host_type(kind));
        let mut told = std::pin::pin!(pool.changed());
        assert_eq!(poll!(&mut told), Poll::Pending);
        pool.set(&[host("big", 1, 0)], &[]).unwrap();
        assert_eq!(poll!(&mut told), Poll::Ready(()));
        let big = pool.0.pool("big").unwrap();
        let mut told = std::pin::pin!(big.changed());
        assert_eq!(poll!(&mut told), Poll::Pending);
        pool.set(&[host("big", 1, 0)], &[]).unwrap();
        assert_eq!(poll!(&mut told), Poll::Pending, "nothing is different");
        pool.set(&[host("big", 2, 0)], &[]).unwrap();
        assert_eq!(poll!(&mut told), Poll::Ready(()));
    }
}
