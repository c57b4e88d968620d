//! Leases: host ports, user ids and subnets that the database gives to one holder on one host.
//!
//! What is needed and which value comes next is decided here; that no value has two holders is a unique
//! constraint of the database, and that a value is really free is tried against the host.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What a lease gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LeaseKind {
    /// A TCP port of the host on which a gateway is published.
    Port,
    /// The numeric user id, and group id of the same number, of one container.
    Uid,
    /// The subnet of a gateway's network; its value is the network address as a number.
    Subnet,
}

impl LeaseKind {
    /// The word used in the database and in messages.
    pub fn as_str(self) -> &'static str {
        match self {
            LeaseKind::Port => "port",
            LeaseKind::Uid => "uid",
            LeaseKind::Subnet => "subnet",
        }
    }
}

impl fmt::Display for LeaseKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which part of a gateway holds a lease.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Holder {
    /// The gateway itself: its port, its subnet, its container's uid.
    Gateway,
    /// The server with this registry key: its container's uid.
    Server(String),
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Holder::Gateway => f.write_str("gateway"),
            Holder::Server(key) => write!(f, "server/{key}"),
        }
    }
}

impl From<Holder> for String {
    fn from(holder: Holder) -> Self {
        holder.to_string()
    }
}

/// A text that names no holder.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither `gateway` nor `server/<key>`")]
pub struct BadHolder(String);

impl TryFrom<String> for Holder {
    type Error = BadHolder;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl FromStr for Holder {
    type Err = BadHolder;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('/') {
            None if text == "gateway" => Ok(Holder::Gateway),
            Some(("server", key)) if !key.is_empty() => Ok(Holder::Server(key.to_owned())),
            _ => Err(BadHolder(text.to_owned())),
        }
    }
}

/// One lease that a gateway has or needs.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LeaseSlot {
    /// What is given.
    pub kind: LeaseKind,
    /// To which part of the gateway.
    pub holder: Holder,
}

impl LeaseSlot {
    /// The slot of `kind` for `holder`.
    pub fn new(kind: LeaseKind, holder: Holder) -> Self {
        LeaseSlot { kind, holder }
    }
}

/// The leases of one gateway: slot to value.
pub type Leases = BTreeMap<LeaseSlot, i64>;

/// An inclusive range of numbers, written `20000-29999`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Range {
    /// The first value.
    pub first: i64,
    /// The last value.
    pub last: i64,
}

/// A range that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a range: write it as FIRST-LAST, for example 20000-29999")]
pub struct BadRange(String);

impl FromStr for Range {
    type Err = BadRange;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || BadRange(text.to_owned());
        let (first, last) = text.split_once('-').ok_or_else(bad)?;
        let first: i64 = first.trim().parse().map_err(|_| bad())?;
        let last: i64 = last.trim().parse().map_err(|_| bad())?;
        if first < 1 || last < first || last > i64::from(u32::MAX) - 1 {
            return Err(bad());
        }
        Ok(Range { first, last })
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

/// The prefix length of every leased subnet: a /26 holds a gateway and 60 servers, where a /28 ends at its
/// 14th container.
pub const SUBNET_PREFIX: u8 = 26;

/// A pool of addresses that is cut into subnets of [`SUBNET_PREFIX`], written `10.213.0.0/16`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubnetPool {
    /// Network address.
    pub address: Ipv4Addr,
    /// Prefix length, at most [`SUBNET_PREFIX`].
    pub prefix: u8,
}

/// A subnet pool that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a subnet pool: write a private network of /8 to /26, for example 10.213.0.0/16")]
pub struct BadSubnetPool(String);

impl FromStr for SubnetPool {
    type Err = BadSubnetPool;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || BadSubnetPool(text.to_owned());
        let (address, prefix) = text.split_once('/').ok_or_else(bad)?;
        let address: Ipv4Addr = address.parse().map_err(|_| bad())?;
        let prefix: u8 = prefix.parse().map_err(|_| bad())?;
        if !(8..=SUBNET_PREFIX).contains(&prefix) || !address.is_private() {
            return Err(bad());
        }
        if u32::from(address).trailing_zeros() < 32 - u32::from(prefix) {
            return Err(bad());
        }
        Ok(SubnetPool { address, prefix })
    }
}

impl fmt::Display for SubnetPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// One leased subnet, written `10.213.0.64/26`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subnet(pub Ipv4Addr);

impl Subnet {
    /// The subnet whose lease has this value; `None` when the value is no IPv4 address.
    pub fn from_lease(value: i64) -> Option<Self> {
        u32::try_from(value).ok().map(|bits| Subnet(Ipv4Addr::from(bits)))
    }

    /// The lease value of this subnet.
    pub fn lease_value(self) -> i64 {
        i64::from(u32::from(self.0))
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{SUBNET_PREFIX}", self.0)
    }
}

/// The ranges from which one host leases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ranges {
    /// Host ports of gateways.
    pub ports: Range,
    /// User ids of containers.
    pub uids: Range,
    /// Where subnets are cut from.
    pub subnets: SubnetPool,
}

impl Ranges {
    /// All values of `kind`, ascending.
    fn values(&self, kind: LeaseKind) -> Box<dyn Iterator<Item = i64>> {
        match kind {
            LeaseKind::Port => Box::new(self.ports.first..=self.ports.last),
            LeaseKind::Uid => Box::new(self.uids.first..=self.uids.last),
            LeaseKind::Subnet => {
                let first = Subnet(self.subnets.address).lease_value();
                let end = first + (1_i64 << (32 - self.subnets.prefix));
                Box::new((first..end).step_by(1 << (32 - SUBNET_PREFIX)))
            }
        }
    }

    /// How the range of `kind` is written, for messages.
    pub fn describe(&self, kind: LeaseKind) -> String {
        match kind {
            LeaseKind::Port => self.ports.to_string(),
            LeaseKind::Uid => self.uids.to_string(),
            LeaseKind::Subnet => self.subnets.to_string(),
        }
    }

    /// The flag of `serve` that widens the range of `kind`.
    pub fn flag(kind: LeaseKind) -> &'static str {
        match kind {
            LeaseKind::Port => "--port-range",
            LeaseKind::Uid => "--uid-range",
            LeaseKind::Subnet => "--subnet-pool",
        }
    }

    /// The next value to try for a lease of `kind`, or `None` when the range is exhausted.
    ///
    /// `taken` holds what others have, `skipped` what the host was found to use itself; neither is ever
    /// proposed. `reserved` holds ports that stay with the name of a deleted gateway for a while: they are
    /// proposed only when nothing else is left. `preferred` (the port that this name had before) comes first.
    pub fn next_free(
        &self,
        kind: LeaseKind,
        taken: &BTreeSet<i64>,
        skipped: &BTreeSet<i64>,
        reserved: &BTreeSet<i64>,
        preferred: Option<i64>,
    ) -> Option<i64> {
        let free = |value: &i64| !taken.contains(value) && !skipped.contains(value);
        if let Some(value) = preferred.filter(free)
            && self.values(kind).any(|candidate| candidate == value)
        {
            return Some(value);
        }
        let mut fallback = None;
        for value in self.values(kind).filter(free) {
            if !reserved.contains(&value) {
                return Some(value);
            }
            fallback = fallback.or(Some(value));
        }
        fallback
    }
}

#[cfg(test)]
mod tests;
