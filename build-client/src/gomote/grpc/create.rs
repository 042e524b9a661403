//! A machine is asked for and waited for.

use std::time::Duration;

use tokio::time::timeout;

use super::super::protos::{CreateInstanceRequest, create_instance_response};
use super::super::{Event, Listed};
use super::calls::{Calls, failed, listed};
use crate::{Error, ErrorKind, Result};

/// A stream about a wait says something every five seconds.
const SILENCE: Duration = Duration::from_secs(120);
/// What Go's own client asks for unless it is told otherwise: nothing is set up on the machine.
const BARE: &str = "disable-golang-build";

impl Calls {
    /// Cancel safe: the server gives the wish up when the call ends.
    pub(in super::super) async fn create(
        &self,
        builder: &str,
        told: &mut impl FnMut(Event),
    ) -> Result<Listed> {
        let asked = CreateInstanceRequest {
            builder_type: builder.to_owned(),
            experiment_option: vec![BARE.to_owned()],
        };
        let what = format!("create a machine of {builder}");
        let silent = || {
            let text = format!("{what}: the server has fallen silent");
            Error::new(ErrorKind::TimedOut, text)
        };
        let asked = self.ask(asked, None)?;
        let mut client = self.client()?;
        let begun = timeout(SILENCE, client.create_instance(asked)).await;
        let begun = begun.map_err(|_| silent())?;
        let mut answers = begun.map_err(|status| failed(&what, &status))?.into_inner();
        loop {
            let next = timeout(SILENCE, answers.message()).await;
            let answer = next.map_err(|_| silent())?;
            let Some(answer) = answer.map_err(|status| failed(&what, &status))? else {
                let text = format!("{what}: the answer ended without a machine");
                return Err(Error::new(ErrorKind::Unavailable, text));
            };
            if answer.status() == create_instance_response::Status::Waiting {
                told(Event::Ahead(
                    u64::try_from(answer.waiters_ahead).unwrap_or(0),
                ));
                continue;
            }
            if let Some(instance) = answer.instance {
                return named(listed(&instance));
            }
        }
    }
}

fn named(listed: Listed) -> Result<Listed> {
    match listed.name.is_empty() {
        true => Err(Error::new(
            ErrorKind::Corrupt,
            "the new machine has no name",
        )),
        false => Ok(listed),
    }
}
