//! Why something waits, in words.

use super::{about, person};
use crate::ids::HolderId;
use crate::schedule::{Ahead, Explanation, FullQuota, Hold, Owner, SetAside, Shortage};
use crate::work::Class;

fn machines(count: usize) -> String {
    match count {
        1 => "the one machine".into(),
        n => format!("all {n} machines"),
    }
}

/// What holds it back, one sentence.
pub fn reason(why: &Explanation) -> String {
    if let Some(cannot) = why.cannot_run() {
        return cannot;
    }
    let text = hold(why);
    match (&why.hold, why.supply.set_aside) {
        (Hold::SetAside(_), _) | (_, 0) => text,
        (_, n) => format!("{text}, {n} more set aside (see `farmer machine list`)"),
    }
}

fn hold(why: &Explanation) -> String {
    let kind = &why.host_type;
    match &why.hold {
        Hold::Busy => format!(
            "{} of kind {kind} that {} in use",
            machines(why.supply.held),
            if why.supply.held == 1 {
                "fits is"
            } else {
                "fit are"
            }
        ),
        Hold::Resting(_) => format!("machines of kind {kind} failed and rest"),
        Hold::Reserved => {
            format!(
                "{} free machines are kept for more urgent work",
                why.supply.reserved
            )
        }
        Hold::Quota(full) => quota(full),
        Hold::Account(short) => account(short),
        Hold::SetAside(machines) => aside(machines),
        Hold::NoMachines | Hold::NoneFits(_) => why.to_string(),
    }
}

/// Whose quota is full. Addresses are shown as everywhere on the pages: by the name before them.
fn quota(full: &FullQuota) -> String {
    let whose = match &full.owner {
        Owner::Author(author) => person(author),
        Owner::Repo(repo) => format!("the repository {repo}"),
    };
    let machines = if full.limit == 1 {
        "machine"
    } else {
        "machines"
    };
    format!(
        "quota: {whose} holds {} of {} {machines}",
        full.held, full.limit
    )
}

/// What is taken of a capacity, and by whom.
fn account(short: &Shortage) -> String {
    let text = format!("it waits for {short}");
    let by = named(&short.holders, short.builds);
    match short.kept || by.is_empty() {
        true => text,
        false => format!("{text} by {by}"),
    }
}

/// Which machines are set aside, and why.
fn aside(machines: &[SetAside]) -> String {
    let one = |aside: &SetAside| {
        let SetAside {
            machine,
            why,
            until,
        } = aside;
        format!("machine {machine} is set aside until {until}: {why}")
    };
    machines.iter().map(one).collect::<Vec<_>>().join("; ")
}

/// Some of so many builds and sessions, by their names.
fn named(holders: &[HolderId], of: usize) -> String {
    let named: Vec<_> = holders.iter().map(HolderId::as_str).collect();
    match of.saturating_sub(named.len()) {
        0 => named.join(", "),
        n if named.is_empty() => format!("{n} builds and sessions"),
        n => format!("{} and {n} more", named.join(", ")),
    }
}

/// The ends that make room in an account.
fn room(short: &Shortage) -> String {
    let Shortage { of, wanted, .. } = short;
    let (account, left) = (&of.account, of.account.units.saturating_sub(of.used));
    match (short.is_for_ever(), &short.kept_for) {
        (true, _) => format!("a larger account {} in farmer.toml", account.name),
        (false, Some(first)) => format!("the machine of {first}, which is ahead and needs more"),
        (false, None) if short.kept => "the machine of who is ahead and needs more".into(),
        (false, None) => format!(
            "{} more {} that are given back, or a larger account in farmer.toml",
            wanted.saturating_sub(left),
            account.unit
        ),
    }
}

/// The ends that make room in a quota.
fn ends(full: &FullQuota) -> String {
    let count = (full.held + 1).saturating_sub(full.limit);
    let of = match count {
        0 | 1 => "one".to_owned(),
        n => n.to_string(),
    };
    if full.holders.is_empty() {
        return format!("the end of {of} of the {} that hold them", full.builds);
    }
    format!("the end of {of} of {}", named(&full.holders, full.builds))
}

/// What would let it go on, one clause.
pub fn unblock(why: &Explanation) -> String {
    match &why.hold {
        Hold::NoMachines => "start a machine, here or with `farmer join`".into(),
        Hold::NoneFits(_) => format!(
            "a machine of kind {} with {}, or another builder in the configuration",
            why.host_type,
            labels(why)
        ),
        Hold::Busy if why.ahead == 0 => "the next of them that becomes free".into(),
        Hold::Busy if why.ahead == 1 => "the second machine that becomes free".into(),
        Hold::Busy => format!("machine number {} that becomes free", why.ahead + 1),
        Hold::Resting(until) => format!("the next attempt, at {until}"),
        Hold::Reserved => {
            "the next machine that is given back, another machine, or a smaller part in [shares]"
                .into()
        }
        Hold::Quota(full) => format!("{}, or a larger quota in farmer.toml", ends(full)),
        Hold::Account(short) => room(short),
        Hold::SetAside(machines) => match machines.first() {
            Some(SetAside { machine, until, .. }) => format!(
                "the next attempt, at {until}, or once it is mended with `farmer machine release {machine}`"
            ),
            None => "the next attempt".into(),
        },
    }
}

fn labels(why: &Explanation) -> String {
    let labels: Vec<_> = why.labels.iter().collect();
    match labels.is_empty() {
        true => "no special labels".into(),
        false => format!("the labels {}", labels.join(", ")),
    }
}

/// A class, and how it stands to others.
pub fn tier(why: &Explanation) -> String {
    let place = match why.tier {
        0 => "before everything else",
        1 => "after urgent work, before everything that nobody waits for",
        2 => "before batch work, in turn by author",
        _ => "batch work, in which an hour of waiting is worth a class",
    };
    format!("{}: {place}", class(why.class))
}

/// Why something waits: what holds it back, what it is, who is ahead, what lets it go on, and
/// how long waits like it were.
pub fn waiting(why: &Explanation) -> String {
    let parts = [
        reason(why),
        tier(why),
        ahead(why),
        format!("it goes on with {}", unblock(why)),
        eta(why),
    ];
    parts.join("; ")
}

/// A class in words.
pub fn class(class: Class) -> &'static str {
    match class {
        Class::Urgent => "urgent",
        Class::Interactive => "somebody waits for it",
        Class::Try => "change under review",
        Class::ReleaseTip => "newest of a release branch",
        Class::DefaultTip => "newest of the default branch",
        Class::BranchTip => "newest of a branch",
        Class::Backfill => "older commit",
    }
}

/// Who is served before it.
pub fn ahead(why: &Explanation) -> String {
    if why.ahead == 0 {
        return "it is next".into();
    }
    let group = |ahead: &Ahead| {
        let author = ahead.author.as_deref().map(person);
        let whose = author.map(|name| format!(" by {name}")).unwrap_or_default();
        format!("{} {}{whose}", ahead.count, class(ahead.class))
    };
    let groups: Vec<_> = why.ahead_of.iter().map(group).collect();
    format!("{} ahead: {}", why.ahead, groups.join(", "))
}

/// When it is likely to begin: the work ahead over the machines that fit, or that it is unknown.
pub fn eta(why: &Explanation) -> String {
    let Some(expected) = why.expected else {
        return match (&why.hold, why.samples) {
            (Hold::Busy | Hold::Resting(_), 0) => {
                "when it begins is unknown: no build has ended since the farm began".into()
            }
            _ => "when it begins is unknown".into(),
        };
    };
    let builds = if why.samples == 1 { "build" } else { "builds" };
    let of = format!("median of {} {builds}", why.samples);
    let fitting = why.supply.held + why.supply.resting;
    let machines = if fitting == 1 { "machine" } else { "machines" };
    match (expected.is_zero(), why.ahead) {
        (true, _) => format!("any moment, what runs takes longer than usual ({of})"),
        (false, 0) => format!("begins in about {} ({of})", about(expected)),
        (false, ahead) => format!(
            "begins in about {} ({ahead} ahead on {fitting} {machines}, {of})",
            about(expected)
        ),
    }
}
