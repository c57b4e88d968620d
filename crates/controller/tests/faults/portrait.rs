//! What is left of a gateway when its controller has come to rest, in words that can be compared.

use bowline_core::container::ContainerSpec;
use bowline_core::lease::{Holder, LeaseKind, LeaseSlot, Subnet};

use crate::bench::Bench;

/// Everything that is left of a gateway, in words without what differs from one life to the next (ids and the tenant's
/// name).
pub(crate) type Portrait = Vec<String>;

impl Bench {
    /// What is left, and that it is sound by itself.
    pub(crate) async fn portrait(&self) -> Portrait {
        assert_eq!(self.world.violations(), Vec::<String>::new(), "{:#?}", self.world.log());
        let leases = self.leases().await;
        assert_eq!(self.leased().await, leases.len(), "a lease without a holder");
        let failed = self.failed().await.into_iter().map(|unit| format!("failed {unit}"));
        let leased =
            leases.iter().map(|(slot, value)| format!("lease {} {} {value}", slot.kind, slot.holder));
        let mut lines: Vec<String> = leased.chain(failed).collect();
        for (seen, spec) in self.world.containers() {
            // Limits are what they are now, wherever they came from. The revision of secrets is of a Secret's uid; the
            // values are told with their file.
            let secrets = if spec.secrets.is_empty() { String::new() } else { "some".to_owned() };
            let spec = ContainerSpec { limits: seen.live.limits, secrets, ..spec };
            let (name, networks) = (&seen.name, seen.live.networks.len());
            lines.push(format!("container {name} {:?} {} {networks} {spec:?}", seen.state, seen.restarts));
        }
        for (seen, spec) in self.world.networks() {
            lines.push(format!("network {} {spec:?}", seen.name));
        }
        let secrets = self.world.secrets();
        for (uid, tree) in self.world.trees() {
            // Two files carry uid and times; their presence is compared, and whether they are true is checked by
            // the plan that found nothing to do.
            let told = |path: &str| !matches!(path, "recovery.json" | "config/gateway.json");
            for (path, entry) in tree {
                let shown = match secrets.get(&(uid, path.clone())) {
                    Some(values) => format!("{values:?}"),
                    None if told(&path) => format!("{entry:?}"),
                    None => String::new(),
                };
                lines.push(format!("path {uid}/{path} {shown}"));
            }
        }
        if let Some(record) = self.record().await {
            lines = lines
                .iter()
                .map(|line| line.replace(&record.object.metadata.uid.to_string(), "UID"))
                .collect();
        }
        let namespace = &self.key.namespace;
        for line in &mut lines {
            *line = line.replace(&format!("-{namespace}"), "-TENANT");
        }
        lines.sort();
        lines
    }

    /// The portrait without what a collision on the host may change: the port, the subnet and names.
    pub(crate) async fn without_places(&self, portrait: &Portrait) -> Portrait {
        let Some(record) = self.record().await else { return portrait.clone() };
        let digits = record.object.metadata.uid.simple().to_string();
        let leased = |kind| record.leases.get(&LeaseSlot::new(kind, Holder::Gateway)).copied();
        let mut places = vec![(format!("_default_{}", &digits[24..]), "")];
        // The first of each range is what an undisturbed gateway has.
        for port in [Some(20000), leased(LeaseKind::Port)].into_iter().flatten() {
            places.push((port.to_string(), "PORT"));
        }
        let first = i64::from(u32::from(std::net::Ipv4Addr::new(10, 213, 0, 0)));
        for subnet in [Some(first), leased(LeaseKind::Subnet)].into_iter().flatten() {
            places.push((subnet.to_string(), "SUBNET"));
            places.extend(Subnet::from_lease(subnet).map(|subnet| (subnet.0.to_string(), "SUBNET")));
        }
        let replaced = |line: &String| {
            places.iter().fold(line.clone(), |line, (from, to)| line.replace(from.as_str(), to))
        };
        let mut lines: Vec<_> = portrait.iter().map(replaced).collect();
        lines.sort();
        lines
    }
}
