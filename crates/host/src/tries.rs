//! Trying a lease against the host before it is given: what the database thinks free may be in use.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use bowline_core::lease::{SUBNET_PREFIX, Subnet};

use crate::{Host, HostError, blocking};

impl Host {
    /// Whether the port is free on the publish address: whether we could listen there ourselves.
    pub async fn try_port(&self, port: u16) -> bool {
        let at = SocketAddr::new(self.settings.publish, port);
        blocking(move || TcpListener::bind(at).is_ok()).await
    }

    /// Whether the subnet overlaps neither a route of the host nor a network of Docker's. (Docker itself accepts
    /// one that overlaps the host's own route.)
    ///
    /// # Errors
    /// When the Engine or the routing table cannot be read: then nothing is known.
    pub async fn try_subnet(&self, subnet: Subnet) -> Result<bool, HostError> {
        if self.route_overlap(subnet).await? {
            return Ok(false);
        }
        let networks = self.engine.networks(&[]).await?;
        let taken = networks
            .into_iter()
            .filter_map(|network| network.ipam?.config)
            .flatten()
            .filter_map(|config| parse_subnet(&config.subnet?))
            .any(|(address, prefix)| overlaps(subnet, address, prefix));
        Ok(!taken)
    }

    /// Whether the subnet overlaps a route of the host other than the default route.
    pub(crate) async fn route_overlap(&self, subnet: Subnet) -> Result<bool, HostError> {
        const ROUTES: &str = "/proc/net/route";
        let table = tokio::fs::read_to_string(ROUTES).await.map_err(HostError::files(ROUTES))?;
        Ok(routes(&table).any(|(address, prefix)| overlaps(subnet, address, prefix)))
    }

    /// Whether nobody has the uid, as user or as group: no account, no range given to user namespaces, and no
    /// running process.
    ///
    /// # Errors
    /// When `/etc` or `/proc` cannot be read.
    pub async fn try_uid(&self, uid: u32) -> Result<bool, HostError> {
        blocking(move || {
            for accounts in ["/etc/passwd", "/etc/group"] {
                if account_has(&read(accounts)?, uid) {
                    return Ok(false);
                }
            }
            for ranges in ["/etc/subuid", "/etc/subgid"] {
                if range_has(&read(ranges)?, uid) {
                    return Ok(false);
                }
            }
            process_has(uid).map(|runs| !runs).map_err(HostError::files("/proc"))
        })
        .await
    }
}

/// A file of `/etc`; one that is not there is empty.
fn read(path: &'static str) -> Result<String, HostError> {
    match std::fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        other => other.map_err(HostError::files(path)),
    }
}

/// `name:password:id:…`, in both files.
fn account_has(file: &str, uid: u32) -> bool {
    file.lines().filter_map(|line| line.split(':').nth(2)?.parse::<u32>().ok()).any(|id| id == uid)
}

/// `name:first:count`.
fn range_has(file: &str, uid: u32) -> bool {
    file.lines().any(|line| {
        let mut parts = line.split(':').skip(1).map(str::parse::<u64>);
        match (parts.next(), parts.next()) {
            (Some(Ok(first)), Some(Ok(count))) => (first..first + count).contains(&u64::from(uid)),
            _ => false,
        }
    })
}

/// Real, effective, saved or file system uid of any process; `/proc/<pid>` itself belongs to root for some.
fn process_has(uid: u32) -> io::Result<bool> {
    for entry in std::fs::read_dir("/proc")? {
        let entry = entry?;
        let is_process =
            entry.file_name().to_str().is_some_and(|name| name.bytes().all(|b| b.is_ascii_digit()));
        if is_process
            // A process that ended meanwhile has no uid any more.
            && let Ok(status) = std::fs::read_to_string(entry.path().join("status"))
            && let Some(uids) = status.lines().find_map(|line| line.strip_prefix("Uid:"))
            && uids.split_whitespace().any(|id| id.parse() == Ok(uid))
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Address and prefix of every route but the default one: the columns `Destination` and `Mask` of
/// `/proc/net/route`, which hold the bytes of the address in the order of this machine's memory.
fn routes(table: &str) -> impl Iterator<Item = (Ipv4Addr, u32)> {
    table.lines().skip(1).filter_map(|line| {
        let mut columns = line.split_whitespace();
        let destination = u32::from_str_radix(columns.nth(1)?, 16).ok()?;
        let mask = u32::from_str_radix(columns.nth(5)?, 16).ok()?;
        let prefix = mask.count_ones();
        (prefix > 0).then(|| (Ipv4Addr::from(destination.to_ne_bytes()), prefix))
    })
}

/// Reads `10.0.0.0/8`; `None` for IPv6.
pub(crate) fn parse_subnet(text: &str) -> Option<(Ipv4Addr, u32)> {
    let (address, prefix) = text.split_once('/')?;
    Some((address.parse().ok()?, prefix.parse().ok().filter(|prefix| *prefix <= 32)?))
}

fn overlaps(subnet: Subnet, address: Ipv4Addr, prefix: u32) -> bool {
    let shorter = prefix.min(u32::from(SUBNET_PREFIX));
    let mask = u32::MAX.checked_shl(32 - shorter).unwrap_or(0);
    u32::from(subnet.0) & mask == u32::from(address) & mask
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_but_the_default_one_counts() {
        let table = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
            eth0\t00000000\t0101A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
            docker0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n";
        let found: Vec<_> = routes(table).collect();
        assert_eq!(found, [(Ipv4Addr::new(172, 17, 0, 0), 16)]);
    }

    #[test]
    fn subnets_overlap_when_the_shorter_prefix_agrees() {
        let ours = Subnet(Ipv4Addr::new(10, 213, 0, 64));
        for (text, expected) in [
            ("10.213.0.64/26", true),
            ("10.213.0.0/16", true),
            ("10.213.0.100/32", true),
            ("0.0.0.0/0", true),
            ("10.213.0.0/26", false),
            ("10.213.0.128/26", false),
            ("172.17.0.0/16", false),
        ] {
            let (address, prefix) = parse_subnet(text).unwrap();
            assert_eq!(overlaps(ours, address, prefix), expected, "{text}");
        }
        assert_eq!(parse_subnet("fd00::/64"), None);
        assert_eq!(parse_subnet("10.0.0.0/33"), None);
    }

    #[test]
    fn accounts_and_ranges_are_read_and_nonsense_is_skipped() {
        assert!(account_has("root:x:0:0::/root:/bin/sh\nu:x:1000:", 1000));
        assert!(!account_has("root:x:0:0\n\nbroken", 1000));
        let ranges = "u:100000:65536\nbroken\n";
        assert!(range_has(ranges, 100_000) && range_has(ranges, 165_535));
        assert!(!range_has(ranges, 165_536) && !range_has(ranges, 99_999));
    }

    #[test]
    fn a_uid_that_runs_a_process_is_seen() {
        assert!(process_has(rustix::process::geteuid().as_raw()).unwrap());
        assert!(!process_has(3_999_999_999).unwrap());
    }
}
