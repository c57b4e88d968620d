//! The Engine's events as hints about what to look at.
//!
//! Events are lossy by design (the Engine keeps 256 and skips a listener that is slow), so they carry a key and
//! never a fact, and every connection begins with [`HostHint::All`].

use std::collections::HashMap;
use std::time::{Duration, Instant};

use bollard::models::{EventMessage, EventMessageTypeEnum};
use bollard::query_parameters::EventsOptionsBuilder;
use bowline_core::labels::{self, Identity, Owner};
use bowline_core::object::GatewayKey;
use chrono::DateTime;
use futures::{Stream, StreamExt, stream};
use tokio::sync::{broadcast, mpsc};

use crate::Host;
use crate::engine::{Engine, LIST, within};
use crate::error::{CallError, HostError};
use crate::pulls::Arrivals;

/// Wait before the second attempt to connect; doubled by each failure up to [`LAST_WAIT`], and jittered.
const FIRST_WAIT: Duration = Duration::from_millis(800);
const LAST_WAIT: Duration = Duration::from_secs(30);
/// A connection that lasted this long was no failure.
const CALM: Duration = Duration::from_secs(120);
/// Hints that the listener may leave unread before we stop reading the Engine's.
const PENDING: usize = 256;
/// What may have changed a container. Not among them: exec, health, attach, copy, resize, top.
const CONTAINER_ACTIONS: [&str; 12] = [
    "create", "start", "restart", "die", "stop", "kill", "oom", "pause", "unpause", "rename", "update",
    "destroy",
];
/// By what an image, or another name of one, comes to the Engine; `build` and `import` tell it as a tag.
const IMAGE_ACTIONS: [&str; 4] = ["tag", "load", "pull", "import"];

/// What may be worth looking at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostHint {
    /// Everything: take an inventory. Sent whenever the stream of events was (re)connected.
    All,
    /// One gateway.
    Key(GatewayKey),
}

impl Host {
    /// Hints without end: from the Engine's events, and from images that were waited for. To be called within a runtime; ends
    /// when the stream is dropped.
    pub fn events(&self) -> impl Stream<Item = HostHint> + Send + 'static {
        let (hints, receiver) = mpsc::channel(PENDING);
        let source = Source {
            engine: self.engine.clone(),
            owner: self.settings.owner.clone(),
            networks: HashMap::new(),
            arrivals: self.pulls.arrivals(),
            hints,
        };
        tokio::spawn(source.run(self.pulls.ended()));
        stream::unfold(
            receiver,
            |mut receiver| async move { receiver.recv().await.map(|hint| (hint, receiver)) },
        )
    }
}

/// The task behind one stream of hints.
struct Source {
    engine: Engine,
    owner: Owner,
    /// Networks of ours by id: network events carry no labels, and those of other people's networks are many.
    networks: HashMap<String, GatewayKey>,
    /// Where images that gateways wait for are looked for.
    arrivals: Arrivals,
    hints: mpsc::Sender<HostHint>,
}

/// Nobody listens any more.
struct Closed;

impl Source {
    async fn run(mut self, mut pulls: broadcast::Receiver<GatewayKey>) {
        let closed = self.hints.clone();
        let work = async {
            let mut failures = 0_u32;
            loop {
                let began = Instant::now();
                let ended = match self.connection(&mut pulls).await {
                    Ok(Closed) => return,
                    Err(error) => bowline_core::causes::with_causes(&error),
                };
                failures = if began.elapsed() >= CALM { 0 } else { failures.saturating_add(1) };
                let wait = wait(failures, rand::random_range(0.5..=1.0));
                tracing::info!(ended, wait_ms = wait.as_millis(), "Docker events were cut off");
                tokio::time::sleep(wait).await;
            }
        };
        tokio::select! {
            () = work => {}
            () = closed.closed() => {}
        }
    }

    /// One connection, from the list of networks to the end of the stream.
    async fn connection(&mut self, pulls: &mut broadcast::Receiver<GatewayKey>) -> Result<Closed, HostError> {
        // From the Engine's own clock: what happens from here on is replayed to the stream, so that no gap is left
        // between it and the inventory that `All` brings about.
        let since = self.engine.now().await?;
        self.learn_networks().await?;
        let mut events = Box::pin(self.stream(&since));
        if self.hints.send(HostHint::All).await.is_err() {
            return Ok(Closed);
        }
        loop {
            let hint = tokio::select! {
                event = events.next() => match event {
                    Some(Ok(event)) => self.hint(event).await,
                    Some(Err(error)) => return Err(HostError::call("read events")(error)),
                    None => {
                        let cause = CallError::Connection("the stream ended".to_owned());
                        return Err(HostError::call("read events")(cause));
                    }
                },
                pull = pulls.recv() => Some(pull.map_or(HostHint::All, HostHint::Key)),
            };
            if let Some(hint) = hint
                && self.hints.send(hint).await.is_err()
            {
                return Ok(Closed);
            }
        }
    }

    /// Events of our containers and of all networks and images, until one of the streams ends.
    fn stream(&self, since: &str) -> impl Stream<Item = Result<EventMessage, CallError>> + Send + use<> {
        let label = vec![
            format!("{}={}", labels::INSTANCE, self.owner.instance),
            format!("{}={}", labels::INSTALLATION, self.owner.installation),
        ];
        let filters = |kind: &str| HashMap::from([("type".to_owned(), vec![kind.to_owned()])]);
        let mut containers = filters("container");
        containers.insert("label".to_owned(), label);
        let open = |filters: &HashMap<String, Vec<String>>| {
            let options = EventsOptionsBuilder::new().since(since).filters(filters).build();
            self.engine.docker.events(Some(options)).map(Some).chain(stream::iter([None]))
        };
        let mut images = filters("image");
        images.insert("event".to_owned(), IMAGE_ACTIONS.map(str::to_owned).to_vec());
        let all =
            stream::select_all([containers, filters("network"), images].map(|kind| Box::pin(open(&kind))));
        all.take_while(|event| std::future::ready(event.is_some()))
            .filter_map(|event| std::future::ready(event.map(|event| event.map_err(CallError::from))))
    }

    async fn learn_networks(&mut self) -> Result<(), HostError> {
        let installation = self.owner.installation.to_string();
        let ours = [(labels::INSTANCE, self.owner.instance.as_str()), (labels::INSTALLATION, &installation)];
        let listed = self.engine.networks(&ours).await?;
        self.networks = listed
            .into_iter()
            .filter_map(|network| Some((network.id?, Identity::from_labels(&network.labels?)?.key)))
            .collect();
        Ok(())
    }

    async fn hint(&mut self, event: EventMessage) -> Option<HostHint> {
        let action = event.action.unwrap_or_default();
        let actor = event.actor.unwrap_or_default();
        match event.typ {
            Some(EventMessageTypeEnum::CONTAINER) => {
                container_hint(&self.owner, &action, actor.attributes.as_ref())
            }
            Some(EventMessageTypeEnum::NETWORK) => {
                let id = actor.id?;
                if action == "create" && self.learn_networks().await.is_err() {
                    return Some(HostHint::All);
                }
                let key = match action.as_str() {
                    "destroy" | "remove" => self.networks.remove(&id),
                    _ => self.networks.get(&id).cloned(),
                };
                // Of somebody else's network.
                key.map(HostHint::Key)
            }
            Some(EventMessageTypeEnum::IMAGE) => {
                // Who waits for an image is told by way of the pulls.
                self.arrivals.look().await;
                None
            }
            _ => Some(HostHint::All),
        }
    }
}

fn container_hint(
    owner: &Owner,
    action: &str,
    attributes: Option<&HashMap<String, String>>,
) -> Option<HostHint> {
    if !CONTAINER_ACTIONS.contains(&action) {
        return None;
    }
    match attributes.and_then(Identity::from_labels) {
        Some(identity) if identity.owner == *owner => Some(HostHint::Key(identity.key)),
        Some(_) => None,
        // It carries our two labels, or it would not have come, but not the others.
        None => Some(HostHint::All),
    }
}

/// `fraction` of 0.8 s, doubled for each failure after the first, at most 30 s.
fn wait(failures: u32, fraction: f64) -> Duration {
    let doubled = FIRST_WAIT.saturating_mul(1_u32 << failures.saturating_sub(1).min(10));
    doubled.min(LAST_WAIT).mul_f64(fraction)
}

impl Engine {
    /// The Engine's clock, as its `since` parameter takes it.
    async fn now(&self) -> Result<String, HostError> {
        const WHAT: &str = "read the Engine's clock";
        let info = within(LIST, self.docker.info()).await.map_err(HostError::call(WHAT))?;
        let text = info.system_time.unwrap_or_default();
        let now = DateTime::parse_from_rfc3339(&text)
            .map_err(|error| HostError::call(WHAT)(CallError::Other(format!("{text:?}: {error}"))))?;
        Ok(format!("{}.{:09}", now.timestamp(), now.timestamp_subsec_nanos()))
    }
}

#[cfg(test)]
mod tests {
    use bowline_core::labels::Role;
    use uuid::Uuid;

    use super::*;

    fn identity() -> Identity {
        Identity {
            owner: Owner { instance: "i".to_owned(), installation: Uuid::from_u128(1) },
            host: "h".to_owned(),
            key: GatewayKey::new("u1", "default"),
            uid: Uuid::from_u128(2),
            role: Role::Gateway,
            spec_hash: "s".to_owned(),
            generation: 1,
            epoch: 1,
        }
    }

    #[test]
    fn waits_grow_from_below_a_second_to_half_a_minute() {
        let full: Vec<u128> = (1..=8).map(|failures| wait(failures, 1.0).as_millis()).collect();
        assert_eq!(full, [800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000]);
        assert_eq!(wait(u32::MAX, 0.5), Duration::from_secs(15));
        assert_eq!(wait(0, 1.0), FIRST_WAIT);
    }

    #[test]
    fn an_event_names_its_gateway_and_what_cannot_be_read_is_all() {
        let labels: HashMap<String, String> = identity().to_labels().into_iter().collect();
        let owner = identity().owner;
        let key = Some(HostHint::Key(identity().key));
        assert_eq!(container_hint(&owner, "die", Some(&labels)), key);
        assert_eq!(container_hint(&owner, "exec_start: sh", Some(&labels)), None);
        assert_eq!(container_hint(&owner, "health_status: healthy", Some(&labels)), None);
        let mut fewer = labels.clone();
        fewer.remove(labels::UID);
        assert_eq!(container_hint(&owner, "die", Some(&fewer)), Some(HostHint::All));
        let other = Owner { installation: Uuid::from_u128(9), ..owner };
        assert_eq!(container_hint(&other, "die", Some(&labels)), None);
    }
}
