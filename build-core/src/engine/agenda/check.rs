//! Holds the agenda against the rule, in tests: it is to say the same.

use std::collections::BTreeMap;

use super::{Agenda, Due, commands};
use crate::engine::next::{Mode, Next, next_beside};
use crate::engine::orders::Orders;
use crate::engine::state::BuildState;
use crate::ids::LeaseId;
use crate::work::Builder;

impl Agenda {
    pub(super) fn by_rule(
        &self,
        build: &BuildState,
        builder: Option<&Builder>,
        mode: Mode,
    ) -> Next {
        next_beside(build, builder, mode, &self.ordered)
    }

    /// # Panics
    /// When events or units are others than by the rule.
    pub(super) fn check_due(&self, rule: &Next, due: &Due) {
        assert_eq!(
            (&due.events, &due.wants),
            (&rule.events, &rule.wants),
            "{self:#?}"
        );
    }

    /// # Panics
    /// When the orders to some machine are others than by the rule.
    pub(super) fn check_orders(&self, orders: &Orders<'_>, rule: &Next) {
        let mut expected: BTreeMap<&LeaseId, Vec<String>> = BTreeMap::new();
        for command in &rule.commands {
            if let Some(lease) = command.lease() {
                let of_lease = expected.entry(lease).or_default();
                of_lease.push(format!("{command:?}"));
            }
        }
        for seat in self.seats.values() {
            let mut rule = expected.remove(&seat.lease).unwrap_or_default();
            let ordered = commands(orders, seat, &seat.orders);
            let mut ordered: Vec<_> = ordered.iter().map(|c| format!("{c:?}")).collect();
            rule.sort();
            ordered.sort();
            assert_eq!(ordered, rule, "{self:#?}");
        }
        assert!(expected.is_empty(), "{expected:?}");
    }
}
