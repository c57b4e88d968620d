//! Which requests may reach the MCP endpoint at all, by their `Host` and `Origin`: a page in the user's
//! browser must not (DNS rebinding, cross-site requests), whatever token it has found.

use std::net::IpAddr;

use hyper::http::uri::{Authority, Uri};
use hyper::http::{HeaderMap, HeaderValue, header};

/// Whether the request is addressed to this gateway: exactly one `Host`, and it, as well as an authority in
/// the request line, is a loopback name or one of `allowed`. The port does not matter.
pub fn host_is_served(uri: &Uri, headers: &HeaderMap, allowed: &[String]) -> bool {
    let mut hosts = headers.get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return false;
    };
    authority_of(host).is_some_and(|host| is_ours(&host, allowed))
        && uri.authority().is_none_or(|authority| is_ours(authority, allowed))
}

/// Whether the request comes from no page, or from a page of a loopback name or of one of `allowed`.
pub fn origin_is_served(headers: &HeaderMap, allowed: &[String]) -> bool {
    headers.get_all(header::ORIGIN).iter().all(|origin| {
        let Some(origin) = origin.to_str().ok().and_then(|text| text.parse::<Uri>().ok()) else {
            return false;
        };
        // `null` and every scheme of an application of its own end here.
        matches!(origin.scheme_str(), Some("http" | "https"))
            && origin.authority().is_some_and(|authority| is_ours(authority, allowed))
    })
}

fn authority_of(host: &HeaderValue) -> Option<Authority> {
    host.to_str().ok()?.parse().ok()
}

fn is_ours(authority: &Authority, allowed: &[String]) -> bool {
    let host = authority.host();
    // `evil.example@localhost` has the host `localhost`; nobody who means well sends one.
    if authority.as_str().contains('@') {
        return false;
    }
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    host.eq_ignore_ascii_case("localhost")
        || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
        || allowed.iter().any(|name| {
            let name = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
            name.eq_ignore_ascii_case(bare)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &header::HeaderName, values: &[&str]) -> HeaderMap {
        values.iter().map(|value| (name.clone(), HeaderValue::from_str(value).unwrap())).collect()
    }

    #[test]
    fn only_loopback_and_allowed_hosts_are_served_on_any_port() {
        let allowed = ["gateway.example".to_owned(), "fd00::1".to_owned()];
        let uri = Uri::from_static("/mcp");
        let served = [
            "localhost",
            "LOCALHOST:8811",
            "127.0.0.1:20017",
            "127.1.2.3",
            "[::1]:1",
            "gateway.example:443",
            "Gateway.Example",
            "[fd00::1]:80",
        ];
        for host in served {
            assert!(host_is_served(&uri, &headers(&header::HOST, &[host]), &allowed), "{host}");
        }
        let refused = [
            "evil.example",
            "localhost.evil.example",
            "10.0.0.1",
            "0.0.0.0",
            "[::]",
            "evil.example@localhost",
            "",
            "gateway.example.",
            "local host",
            "localhost,evil.example",
        ];
        for host in refused {
            assert!(!host_is_served(&uri, &headers(&header::HOST, &[host]), &allowed), "{host}");
        }
    }

    #[test]
    fn a_missing_or_second_host_is_refused() {
        let uri = Uri::from_static("/mcp");
        assert!(!host_is_served(&uri, &HeaderMap::new(), &[]));
        assert!(!host_is_served(&uri, &headers(&header::HOST, &["localhost", "localhost"]), &[]));
    }

    #[test]
    fn an_authority_in_the_request_line_counts_too() {
        let uri = Uri::from_static("http://evil.example/mcp");
        assert!(!host_is_served(&uri, &headers(&header::HOST, &["localhost"]), &[]));
    }

    #[test]
    fn a_page_is_served_only_from_loopback_or_an_allowed_host() {
        let allowed = ["app.example".to_owned()];
        let table = [
            (&[][..], true),
            (&["http://localhost:3000"], true),
            (&["https://[::1]"], true),
            (&["https://app.example"], true),
            (&["https://evil.example"], false),
            (&["null"], false),
            (&["localhost"], false),
            (&["file://localhost"], false),
            (&["http://localhost", "https://evil.example"], false),
        ];
        for (origins, served) in table {
            assert_eq!(origin_is_served(&headers(&header::ORIGIN, origins), &allowed), served, "{origins:?}");
        }
    }
}
