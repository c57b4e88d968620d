//! What an IP address is, as far as dialling it is concerned.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Who may be at an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Anybody on the internet.
    Public,
    /// Somebody of this network or this machine: dialled only where the admin allows it.
    Private,
    /// No MCP server, ever: link-local addresses (the metadata services of clouds among them), multicast, and
    /// what is reserved or stands for no machine.
    Never,
}

/// Metadata and host services of clouds at addresses that look like any other: Alibaba, Azure.
const CLOUD_V4: [Ipv4Addr; 2] = [Ipv4Addr::new(100, 100, 100, 200), Ipv4Addr::new(168, 63, 129, 16)];

/// Judges an address by the registries of special addresses (RFC 6890 and what followed).
pub(crate) fn reach(address: IpAddr) -> Reach {
    match address {
        IpAddr::V4(address) => reach_v4(address),
        IpAddr::V6(address) => reach_v6(address),
    }
}

fn reach_v4(address: Ipv4Addr) -> Reach {
    if CLOUD_V4.contains(&address) {
        return Reach::Never;
    }
    match address.octets() {
        [10 | 127, ..] | [172, 16..=31, ..] | [192, 168, ..] | [100, 64..=127, ..] | [198, 18 | 19, ..] => {
            Reach::Private
        }
        // This network, link-local, protocol assignments, documentation, 6to4 relays, multicast and reserved.
        [0, ..]
        | [169, 254, ..]
        | [192, 0, 0 | 2, _]
        | [192, 88, 99, _]
        | [198, 51, 100, _]
        | [203, 0, 113, _]
        | [224..=255, ..] => Reach::Never,
        _ => Reach::Public,
    }
}

fn reach_v6(address: Ipv6Addr) -> Reach {
    let embedded = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        reach_v4(Ipv4Addr::new(a, b, c, d))
    };
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 1] => Reach::Private,
        // IPv4 in other clothes: mapped, by NAT64, by 6to4.
        [0, 0, 0, 0, 0, 0xffff, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x2002, high, low, ..] => embedded(high, low),
        // Metadata services among the private addresses: Amazon, which has the whole prefix, Google and Oracle.
        [0xfd00, 0xec2, ..]
        | [0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254]
        | [0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe] => Reach::Never,
        [0xfc00..=0xfdff, ..] => Reach::Private,
        // Teredo, benchmarks, ORCHID and documentation are in the public block.
        [0x2001, 0..=0x1ff, ..] | [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => Reach::Never,
        [0x2000..=0x3fff, ..] => Reach::Public,
        _ => Reach::Never,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_address_is_known() {
        let table = [
            (Reach::Public, "1.1.1.1 93.184.216.34 172.15.0.1 172.32.0.1 192.169.0.1 100.63.0.1 100.128.0.1"),
            (Reach::Public, "2606:4700::1111 2a00:1450::1 ::ffff:1.1.1.1 64:ff9b::101:101 2002:101:101::1"),
            (
                Reach::Private,
                "10.0.0.1 127.0.0.1 127.0.0.11 172.16.0.1 172.31.255.255 192.168.1.1 100.64.0.1",
            ),
            (
                Reach::Private,
                "::1 fd12::1 fc00::1 ::ffff:127.0.0.1 ::ffff:10.0.0.1 64:ff9b::a00:1 2002:a00:1::1",
            ),
            (Reach::Never, "0.0.0.0 0.1.2.3 169.254.169.254 224.0.0.1 240.0.0.1 255.255.255.255 192.0.0.8"),
            (Reach::Never, "192.0.2.1 198.51.100.1 203.0.113.1 100.100.100.200 168.63.129.16"),
            (Reach::Never, ":: ::2 fe80::1 febf::1 fec0::1 ff02::1 2001:db8::1 2001::1 100::1 fd00:ec2::254"),
            (Reach::Never, "fd00:ec2::23 fd00:ec2:1::1 fd20:ce::254 fd00:c1::a9fe:a9fe"),
            (Reach::Private, "fd00:ec3::254 fd20:ce::255 fd20:cd::254 fd00:c1::a9fe:a9ff"),
            (
                Reach::Never,
                "::ffff:169.254.169.254 64:ff9b::a9fe:a9fe 2002:a9fe:a9fe::1 64:ff9b:1::1 4000::1",
            ),
        ];
        for (expected, addresses) in table {
            for address in addresses.split_ascii_whitespace() {
                assert_eq!(reach(address.parse().unwrap()), expected, "{address}");
            }
        }
    }
}
