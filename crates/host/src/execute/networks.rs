//! The steps on networks.

use bollard::models::{NetworkConnectRequest, NetworkDisconnectRequest};
use bowline_core::container::NetworkSpec;
use bowline_core::labels::Identity;
use bowline_core::object::GatewayKey;
use bowline_core::step::{FailureClass, StepFailure};
use bytes::Bytes;
use hyper::{Method, StatusCode};
use tokio::net::{TcpStream, UnixStream};

use super::containers::is_same;
use super::{changed, failure, gone, looked, looked_at};
use crate::Host;
use crate::engine::{Address, CHANGE, Engine, INSPECT, absent, within};
use crate::error::CallError;
use crate::http::exchange;
use crate::observe::Taken;

impl Host {
    pub(super) async fn create_network(
        &self,
        key: &GatewayKey,
        name: &str,
        identity: &Identity,
        spec: &NetworkSpec,
    ) -> Result<(), StepFailure> {
        if !self.owns(identity, key) {
            return Err(failure(
                FailureClass::Refused,
                format!("the labels of {name} are not those of {key}"),
            ));
        }
        // Looked up first: our own network from an attempt whose answer was lost has the subnet already.
        if self.has_network(key, name, identity).await? {
            return Ok(());
        }
        if self.route_overlap(spec.subnet).await.map_err(|error| looked_at(&error))? {
            return Err(failure(
                FailureClass::SubnetTaken,
                format!("the subnet {} overlaps a route of this host", spec.subnet),
            ));
        }
        let error = match self.engine.create_network(&network_body(name, identity, spec)).await {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        if error.status() == Some(409) && self.has_network(key, name, identity).await? {
            return Ok(());
        }
        if error.status().is_some()
            && !self.try_subnet(spec.subnet).await.map_err(|error| looked_at(&error))?
        {
            return Err(failure(
                FailureClass::SubnetTaken,
                format!("the subnet {} overlaps another network ({error})", spec.subnet),
            ));
        }
        if error.status() == Some(403) {
            // The subnet is taken and no network is seen to have it: one is being made, most likely ours, by a
            // call whose answer was lost. (Measured on 20.10: a network is listed 0.5 s after its subnet is taken.)
            return Err(failure(
                FailureClass::Moved,
                format!("the subnet {} is held by a network that is being made ({error})", spec.subnet),
            ));
        }
        Err(changed(&error))
    }

    /// Whether the wanted network is there.
    ///
    /// # Errors
    /// `NameTaken` when somebody else's has the name, `Moved` when another of ours has.
    async fn has_network(
        &self,
        key: &GatewayKey,
        name: &str,
        wanted: &Identity,
    ) -> Result<bool, StepFailure> {
        let networks = self.engine.networks(&[]).await.map_err(|error| looked_at(&error))?;
        let Some(holder) = networks.iter().find(|network| network.name.as_deref() == Some(name)) else {
            return Ok(false);
        };
        match self.identity(holder.labels.as_ref()) {
            Some(ours) if is_same(&ours, wanted) => Ok(true),
            Some(_) => Err(failure(FailureClass::Moved, format!("another network of ours is named {name}"))),
            None => {
                self.note_taken(key, name, Taken::Seen);
                Err(failure(FailureClass::NameTaken, format!("a network that is not ours is named {name}")))
            }
        }
    }

    /// Attaches a container to the gateway's own network, ports and all.
    pub(super) async fn connect(&self, key: &GatewayKey, id: &str, network: &str) -> Result<(), StepFailure> {
        let container = self.own_container(key, id).await?.ok_or_else(|| gone(id))?;
        let networks = self.engine.networks(&[]).await.map_err(|error| looked_at(&error))?;
        let own = networks.iter().find(|seen| {
            seen.name.as_deref() == Some(network)
                && self.identity(seen.labels.as_ref()).is_some_and(|identity| self.owns(&identity, key))
        });
        let Some(own) = own.and_then(|own| own.id.clone()) else {
            return Err(failure(FailureClass::Moved, format!("the network {network} is not there")));
        };
        if container.live.networks.contains(&own) {
            return Ok(());
        }
        let request = NetworkConnectRequest { container: container.id, ..NetworkConnectRequest::default() };
        match within(CHANGE, self.engine.docker.connect_network(&own, request)).await {
            // Attached already, by an attempt whose answer was lost.
            Err(error @ CallError::Status { code: 403, .. }) => {
                Err(failure(FailureClass::Moved, error.to_string()))
            }
            other => other.map_err(|error| changed(&error)),
        }
    }

    /// Detaches a container from a network that is not its own.
    pub(super) async fn disconnect(
        &self,
        key: &GatewayKey,
        id: &str,
        network: &str,
    ) -> Result<(), StepFailure> {
        let Some(container) = self.own_container(key, id).await? else { return Ok(()) };
        if !container.live.networks.contains(network) {
            return Ok(());
        }
        let request = NetworkDisconnectRequest { container: container.id, force: Some(true) };
        match within(CHANGE, self.engine.docker.disconnect_network(network, request)).await {
            Err(CallError::Status { code: 404, .. }) => Ok(()),
            other => other.map_err(|error| changed(&error)),
        }
    }

    pub(super) async fn remove_network(&self, key: &GatewayKey, id: &str) -> Result<(), StepFailure> {
        let inspect = within(INSPECT, self.engine.docker.inspect_network(id, None));
        let Some(network) = absent(inspect.await).map_err(|error| looked(&error))? else {
            return Ok(());
        };
        if !self.identity(network.labels.as_ref()).is_some_and(|identity| self.owns(&identity, key)) {
            return Err(failure(
                FailureClass::Moved,
                format!("network {id} does not carry the labels of {key}; it is left alone"),
            ));
        }
        let id = network.id.as_deref().unwrap_or(id);
        match within(CHANGE, self.engine.docker.remove_network(id)).await {
            Err(CallError::Status { code: 404, .. }) => Ok(()),
            // Something is attached still: look again at what that is.
            Err(error @ CallError::Status { code: 403, .. }) => {
                Err(failure(FailureClass::Moved, error.to_string()))
            }
            other => other.map_err(|error| changed(&error)),
        }
    }
}

impl Engine {
    /// `POST /networks/create`, by hand: the client library's request has lost `CheckDuplicate`, without which
    /// Engines before API 1.44 make any number of networks of one name.
    async fn create_network(&self, body: &serde_json::Value) -> Result<(), CallError> {
        let path = format!("/v{}/networks/create", self.version().api);
        let body = Bytes::from(body.to_string());
        let call = async {
            match &self.address {
                Address::Unix(socket) => {
                    let stream = UnixStream::connect(socket).await.map_err(|error| error.to_string())?;
                    exchange(stream, Method::POST, &path, "docker", body).await
                }
                Address::Tcp(at) => {
                    let stream = TcpStream::connect(at).await.map_err(|error| error.to_string())?;
                    exchange(stream, Method::POST, &path, at, body).await
                }
            }
        };
        match tokio::time::timeout(CHANGE, call).await {
            Ok(Ok((StatusCode::CREATED, _))) => Ok(()),
            Ok(Ok((status, body))) => {
                let said = serde_json::from_slice::<serde_json::Value>(&body).ok();
                let message = said.as_ref().and_then(|said| said["message"].as_str()).unwrap_or_default();
                Err(CallError::Status { code: status.as_u16(), message: message.to_owned() })
            }
            Ok(Err(error)) => Err(CallError::Connection(error)),
            Err(_) => Err(CallError::Deadline(CHANGE)),
        }
    }
}

/// A bridge on the leased subnet whose containers do not reach each other.
fn network_body(name: &str, identity: &Identity, spec: &NetworkSpec) -> serde_json::Value {
    let NetworkSpec { subnet } = spec;
    serde_json::json!({
        "Name": name,
        "CheckDuplicate": true,
        "Driver": "bridge",
        "Internal": false,
        "Attachable": false,
        "EnableIPv6": false,
        "IPAM": { "Driver": "default", "Config": [{ "Subnet": subnet.to_string() }] },
        "Options": { "com.docker.network.bridge.enable_icc": "false" },
        "Labels": identity.to_labels(),
    })
}
