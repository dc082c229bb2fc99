//! Proxies, as curl reads them from the environment: `https_proxy` is for https alone and `http_proxy` for http alone,
//! `all_proxy` for both, and the hosts of `no_proxy` are reached without. HTTP_PROXY in capitals counts for nothing: a web
//! server sets it from a visitor's header `Proxy`.

use std::net::IpAddr;

use anyhow::{Result, anyhow};
use ureq::Proxy;
use ureq::http::Uri;

use super::place::text;

/// The proxies of the environment.
pub struct Proxies {
    http: Option<Proxy>,
    https: Option<Proxy>,
    exceptions: String,
}

impl Proxies {
    /// Reads the environment; of two spellings the first that is set counts.
    pub fn from_env() -> Result<Self> {
        let exceptions = text("no_proxy")?.or(text("NO_PROXY")?).unwrap_or_default();
        Ok(Self {
            http: first(&["http_proxy", "all_proxy", "ALL_PROXY"])?,
            https: first(&["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"])?,
            exceptions,
        })
    }

    /// The proxy on the way to an address.
    pub fn to(&self, url: &str) -> Option<&Proxy> {
        let url: Uri = url.parse().ok()?;
        let (proxy, port) = match url.scheme_str() {
            Some("https") => (&self.https, 443),
            _ => (&self.http, 80),
        };
        let excepted = is_excepted(&self.exceptions, url.host()?, url.port_u16().unwrap_or(port));
        proxy.as_ref().filter(|_| !excepted)
    }
}

fn first(names: &[&str]) -> Result<Option<Proxy>> {
    for name in names {
        if let Some(value) = text(name)? {
            // The value may hold a password.
            let proxy = Proxy::new(&value).map_err(|_| {
                anyhow!(
                    "{name} is not the address of a proxy; expected one such as http://host:3128 or socks5h://host:1080"
                )
            })?;
            return Ok(Some(proxy));
        }
    }
    Ok(None)
}

/// Whether a list, whose entries stand between commas or blanks, has a host: by its name or that of a domain it lies in, by
/// its address or a network's (`10.0.0.0/8`), each for all ports or with one; `*` has all.
fn is_excepted(list: &str, host: &str, port: u16) -> bool {
    let host = bare(host).trim_end_matches('.').to_ascii_lowercase();
    let address: Option<IpAddr> = host.parse().ok();
    list.split([',', ' ', '\t']).filter(|entry| !entry.is_empty()).any(|entry| {
        let (name, only) = with_port(entry);
        if only.is_some_and(|only| only != port) {
            return false;
        }
        match address {
            _ if name == "*" => true,
            Some(address) => is_in(address, name),
            None => {
                let name = name.trim_start_matches('*').trim_start_matches('.').trim_end_matches('.');
                let tail = host.strip_suffix(&name.to_ascii_lowercase());
                !name.is_empty() && tail.is_some_and(|before| before.is_empty() || before.ends_with('.'))
            }
        }
    })
}

/// Name and port of `name:port`; an IPv6 address with a port stands in brackets.
fn with_port(entry: &str) -> (&str, Option<u16>) {
    match entry.rsplit_once(':') {
        Some((name, port)) if !name.contains(':') || name.ends_with(']') => match port.parse() {
            Ok(port) => (bare(name), Some(port)),
            Err(_) => (entry, None),
        },
        _ => (bare(entry), None),
    }
}

/// An IPv6 address out of its brackets.
fn bare(host: &str) -> &str {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

/// Whether an address is the one named, or in the network named.
fn is_in(address: IpAddr, network: &str) -> bool {
    let (base, bits) = network.split_once('/').unwrap_or((network, ""));
    let (Ok(base), Ok(bits)) =
        (bare(base).parse::<IpAddr>(), if bits.is_empty() { Ok(128) } else { bits.parse::<u32>() })
    else {
        return false;
    };
    let same = |a: u128, b: u128, width: u32| bits == 0 || (a ^ b) >> width.saturating_sub(bits) == 0;
    match (address, base) {
        (IpAddr::V4(a), IpAddr::V4(b)) => same(a.to_bits().into(), b.to_bits().into(), 32),
        (IpAddr::V6(a), IpAddr::V6(b)) => same(a.to_bits(), b.to_bits(), 128),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exceptions_are_names_domains_addresses_and_networks() {
        for (list, host, port, excepted) in [
            ("", "a.example", 443, false),
            ("a.example", "a.example", 443, true),
            ("b.example,a.example", "a.example", 443, true),
            (" b.example , a.example ", "a.example", 443, true),
            ("b.example a.example", "a.example", 443, true),
            ("b.example,,\ta.example", "a.example", 443, true),
            ("example", "a.example", 443, true),
            (".example", "a.example", 443, true),
            (".example", "example", 443, true),
            ("*.example", "a.example", 443, true),
            ("A.Example.", "a.exAMPLE", 443, true),
            ("ample", "a.example", 443, false),
            ("a.example", "example", 443, false),
            ("*", "a.example", 443, true),
            ("b, *", "a.example", 443, true),
            (".", "a.example", 443, false),
            ("a.example:443", "a.example", 443, true),
            ("a.example:8443", "a.example", 443, false),
            ("a.example:port", "a.example", 443, false),
            ("127.0.0.1", "127.0.0.1", 80, true),
            ("127.0.0.1:80", "127.0.0.1", 80, true),
            ("127.0.0.1:81", "127.0.0.1", 80, false),
            ("127.0.0.0/8", "127.9.0.1", 80, true),
            ("10.0.0.0/8, 127.0.0.0/8", "127.9.0.1", 80, true),
            ("127.0.0.0/9", "127.128.0.1", 80, false),
            ("127.0.0.2/32", "127.0.0.1", 80, false),
            ("0.0.0.0/0", "127.0.0.1", 80, true),
            ("127.0.0.0/x", "127.0.0.1", 80, false),
            ("0.1", "127.0.0.1", 80, false),
            ("127.0.0.1", "localhost", 80, false),
            ("::1", "[::1]", 80, true),
            ("[::1]", "[::1]", 80, true),
            ("[::1]:80", "[::1]", 80, true),
            ("[::1]:81", "[::1]", 80, false),
            ("fd00::/8", "[fd12::1]", 80, true),
            ("fd00::/8", "[fe12::1]", 80, false),
            ("::/0", "127.0.0.1", 80, false),
        ] {
            assert_eq!(is_excepted(list, host, port), excepted, "{list:?} {host} {port}");
        }
    }

    #[test]
    fn each_scheme_has_a_proxy_of_its_own() {
        let proxy = |host: &str| Some(Proxy::new(host).unwrap());
        let proxies = Proxies { http: None, https: proxy("http://p:3128"), exceptions: "b.example:8443".into() };
        let port = |url: &str| proxies.to(url).map(Proxy::port);
        assert_eq!(port("https://a.example/x"), Some(3128));
        assert_eq!(port("http://a.example/x"), None);
        assert_eq!(port("https://b.example:8443/x"), None);
        assert_eq!(port("https://b.example/x"), Some(3128));
    }
}
