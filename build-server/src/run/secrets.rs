//! Who is given secrets.

use build_core::plan::Plan;
use build_core::work::WorkItem;
use build_core::{Error, ErrorKind, Result};

/// Refuses a plan that asks for secrets for a commit that anybody may have written: its steps would
/// print them, or send them away.
///
/// # Errors
/// [`ErrorKind::Invalid`] naming the step.
pub(super) fn check(item: &WorkItem, plan: &Plan) -> Result<()> {
    let asking = plan.steps.iter().find(|step| !step.secrets.is_empty());
    let Some(step) = asking.filter(|_| item.is_from_outside()) else {
        return Ok(());
    };
    let text = format!(
        "step \"{}\" asks for secrets, and a commit from outside gets none",
        step.name
    );
    Err(Error::new(ErrorKind::Invalid, text).with_hint(
        "give the step `when` with trust = [\"trusted\", \"unknown\"], so that it is left out",
    ))
}

#[cfg(test)]
mod tests {
    use build_core::ids::{CommitHash, RepoName, SecretName, StepName};
    use build_core::plan::Step;
    use build_core::work::Trust;

    use super::*;

    #[test]
    fn a_commit_from_outside_gets_no_secret() {
        let commit = CommitHash::new("a".repeat(40)).unwrap();
        let mut item = WorkItem::new(RepoName::new("app").unwrap(), "/app", commit);
        let mut step = Step::new(StepName::new("deploy").unwrap(), "make deploy");
        let plain = Plan::new(vec![step.clone()], "").unwrap();
        let name = SecretName::new("deploy key").unwrap();
        step.secrets.insert("KEY".to_owned(), name);
        let asking = Plan::new(vec![step], "").unwrap();
        for trust in Trust::ALL {
            item.trust = trust;
            assert!(check(&item, &plain).is_ok(), "{trust:?}");
            let is_refused = check(&item, &asking).is_err();
            assert_eq!(is_refused, trust == Trust::Untrusted, "{trust:?}");
        }
        item.trust = Trust::Untrusted;
        let error = check(&item, &asking).unwrap_err();
        assert!(error.to_string().contains("step \"deploy\""), "{error}");
    }
}
