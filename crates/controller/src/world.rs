//! What the loop needs of the world it changes.

use std::collections::BTreeSet;
use std::future::Future;

use bowline_core::lease::{LeaseKind, Subnet};
use bowline_core::object::GatewayKey;
use bowline_core::observed::Observed;
use bowline_core::step::{Step, StepFailure};
use bowline_core::volume::ObservedVolume;
use bowline_host::Host;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::prober::ProbeAnswer;

/// The world could not be looked at. Never taken for "there is nothing".
#[derive(Debug, thiserror::Error)]
#[error("the host could not be observed")]
pub struct WorldError {
    /// Whether the Engine did not answer at all, so that only waiting helps.
    pub unavailable: bool,
    /// What went wrong below.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

/// A host as the loop sees it: looked at, changed one step at a time, asked whether a number is free.
pub trait World: Send + Sync + 'static {
    /// Everything of ours that belongs to the key, and the state of these images.
    fn observe(
        &self,
        key: &GatewayKey,
        images: &BTreeSet<String>,
    ) -> impl Future<Output = Result<Observed, WorldError>> + Send;

    /// The volumes of ours that belong to the tenant of a namespace.
    fn volumes(
        &self,
        namespace: &str,
    ) -> impl Future<Output = Result<Vec<ObservedVolume>, WorldError>> + Send;

    /// Lets those of these images that could not be pulled be tried again at once: somebody asked for it.
    fn forget_failed_pulls(&self, images: &BTreeSet<String>);

    /// Makes one change, but for [`Step::WriteSecrets`]; a change that is made already is made.
    fn execute(&self, key: &GatewayKey, step: &Step) -> impl Future<Output = Result<(), StepFailure>> + Send;

    /// Makes a [`Step::WriteSecrets`] true: `values` are the variables of its sources with what goes into them. They
    /// are in the file afterwards, and no failure says anything of them.
    fn write_secrets(
        &self,
        key: &GatewayKey,
        uid: Uuid,
        path: &str,
        revision: &str,
        values: Vec<(String, Zeroizing<String>)>,
    ) -> impl Future<Output = Result<(), StepFailure>> + Send;

    /// Whether nobody on the host uses the number that a lease would give.
    fn is_free(&self, kind: LeaseKind, value: i64) -> impl Future<Output = Result<bool, WorldError>> + Send;

    /// Asks a gateway how it is: through its published port and its control socket.
    fn probe(&self, uid: Uuid, port: u16) -> impl Future<Output = ProbeAnswer> + Send;
}

impl From<bowline_host::HostError> for WorldError {
    fn from(error: bowline_host::HostError) -> Self {
        WorldError { unavailable: error.is_unavailable(), source: Box::new(error) }
    }
}

impl World for Host {
    async fn observe(&self, key: &GatewayKey, images: &BTreeSet<String>) -> Result<Observed, WorldError> {
        Ok(Host::observe(self, key, images).await?)
    }

    async fn volumes(&self, namespace: &str) -> Result<Vec<ObservedVolume>, WorldError> {
        Ok(Host::volumes(self, Some(namespace)).await?)
    }

    fn forget_failed_pulls(&self, images: &BTreeSet<String>) {
        Host::forget_failed_pulls(self, images);
    }

    async fn execute(&self, key: &GatewayKey, step: &Step) -> Result<(), StepFailure> {
        Host::execute(self, key, step).await
    }

    async fn write_secrets(
        &self,
        key: &GatewayKey,
        uid: Uuid,
        path: &str,
        revision: &str,
        values: Vec<(String, Zeroizing<String>)>,
    ) -> Result<(), StepFailure> {
        Host::write_secrets(self, key, uid, path, revision, values).await
    }

    async fn is_free(&self, kind: LeaseKind, value: i64) -> Result<bool, WorldError> {
        let free = match kind {
            LeaseKind::Port => match u16::try_from(value) {
                Ok(port) => self.try_port(port).await,
                Err(_) => false,
            },
            LeaseKind::Uid => match u32::try_from(value) {
                Ok(uid) => self.try_uid(uid).await?,
                Err(_) => false,
            },
            LeaseKind::Subnet => match Subnet::from_lease(value) {
                Some(subnet) => self.try_subnet(subnet).await?,
                None => false,
            },
        };
        Ok(free)
    }

    async fn probe(&self, uid: Uuid, port: u16) -> ProbeAnswer {
        let answer = Host::probe(self, uid, port).await;
        ProbeAnswer { healthy: answer.healthy, state: answer.state }
    }
}
