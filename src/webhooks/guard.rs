//! Who may be called: a subscriber names an address that *we* call, so it must not lead into our own network (server-side
//! request forgery).
//!
//! What counts is the address that a connection is opened to, not the name in the URL: names are resolved here, at the
//! moment of connecting, and addresses that are not public are left out. So a name that changes its mind between a check
//! and its use gains nothing. Addresses written into the URL never reach a resolver and are checked by themselves.

use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// What a subscriber's URL may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Guard {
    /// Whether it may be without TLS.
    pub allow_http: bool,
    /// Whether it may lead into private networks, this machine included.
    pub allow_private: bool,
}

/// Longest URL in bytes.
const URL_BYTES_MAX: usize = 2_048;

/// Why an address is not called.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Too long, or no URL.
    #[error("must be a URL of at most {URL_BYTES_MAX} bytes, such as https://shop.example/hooks")]
    NotAUrl,
    /// Another scheme.
    #[error("must begin with https://{}", if *.http { " or http://" } else { "" })]
    Scheme {
        /// Whether http would be right.
        http: bool,
    },
    /// It holds a user or a password.
    #[error("must not hold a user or a password: messages are authenticated by their signature")]
    Credentials,
    /// An address of a network that is not public.
    #[error("leads to an address that is not public")]
    NotPublic,
    /// The name has no address at present.
    #[error("the host's name has no address")]
    NoAddress,
}

impl Guard {
    /// Reads a URL, as far as it can be judged without resolving its name.
    ///
    /// # Errors
    /// It is not one that may be called.
    pub fn check(self, text: &str) -> Result<Url, Refused> {
        if text.len() > URL_BYTES_MAX {
            return Err(Refused::NotAUrl);
        }
        let url = Url::parse(text).map_err(|_| Refused::NotAUrl)?;
        if url.scheme() != "https" && !(self.allow_http && url.scheme() == "http") {
            return Err(Refused::Scheme { http: self.allow_http });
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Refused::Credentials);
        }
        match address_in(&url) {
            Some(address) if !self.admits(address) => Err(Refused::NotPublic),
            _ => Ok(url),
        }
    }

    /// Whether a connection to this address may be opened.
    pub fn admits(self, address: IpAddr) -> bool {
        if self.allow_private {
            !address.is_unspecified() && !address.is_multicast() && address != IpAddr::V4(Ipv4Addr::BROADCAST)
        } else {
            is_public(address)
        }
    }

    async fn resolve_name(self, name: &str) -> Result<Vec<SocketAddr>, Refused> {
        let found = tokio::net::lookup_host((name, 0)).await;
        let found: Vec<SocketAddr> = found.map_err(|_| Refused::NoAddress)?.collect();
        self.admitted(found)
    }

    fn admitted(self, mut found: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, Refused> {
        if found.is_empty() {
            return Err(Refused::NoAddress);
        }
        found.retain(|address| self.admits(address.ip()));
        if found.is_empty() {
            return Err(Refused::NotPublic);
        }
        Ok(found)
    }
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = *self;
        Box::pin(async move {
            let found = guard.resolve_name(name.as_str()).await?;
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// The address that a URL is written with, if it is not a name. Hexadecimal, octal and shortened ones have been written
/// out by the parser, as browsers do.
fn address_in(url: &Url) -> Option<IpAddr> {
    let host = url.host_str()?;
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    bare.unwrap_or(host).parse().ok()
}

/// Whether an address is one of the public internet's, by the IANA's registries of special-purpose addresses.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    match address.octets() {
        // This network, private, loopback; multicast, reserved, broadcast.
        [0 | 10 | 127 | 224..=255, ..] => false,
        // Carrier-grade NAT.
        [100, second, ..] => !(64..=127).contains(&second),
        // Link-local, and the clouds' metadata services.
        [169, second, ..] => second != 254,
        // Private.
        [172, second, ..] => !(16..=31).contains(&second),
        // Protocol assignments, documentation, relays from IPv6, private.
        [192, second, third, _] => !matches!((second, third), (0, 0 | 2) | (88, 99) | (168, _)),
        // Benchmarks, documentation.
        [198, second, third, _] => !matches!((second, third), (18 | 19, _) | (51, 100)),
        // Documentation.
        [203, second, third, _] => (second, third) != (0, 113),
        _ => true,
    }
}

/// Only global unicast (`2000::/3`), and of that nothing that wraps an IPv4 address or is set aside: so neither loopback,
/// unique local, link-local and multicast addresses, nor IPv4-mapped and translated ones.
fn is_public_v6(address: Ipv6Addr) -> bool {
    match address.segments() {
        [0x2001, second, ..] => second > 0x1ff && second != 0xdb8,
        [0x3fff, second, ..] => second > 0xfff,
        [first, ..] => (0x2000..0x4000).contains(&first) && first != 0x2002,
    }
}

#[cfg(test)]
mod tests;
