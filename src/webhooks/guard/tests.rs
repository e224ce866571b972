use super::*;

const STRICT: Guard = Guard {
    allow_http: false,
    allow_private: false,
};

const PRIVATE: [&str; 47] = [
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "10.255.255.255",
    "100.64.0.1",
    "100.127.255.255",
    "127.0.0.1",
    "127.255.255.254",
    "169.254.0.1",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.8",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.0.1",
    "192.168.255.255",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.7",
    "203.0.113.9",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::7f00:1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:8.8.8.8",
    "64:ff9b::7f00:1",
    "64:ff9b:1::a00:1",
    "100::1",
    "2001::1",
    "2001:2::1",
    "2001:10::1",
    "2001:20::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd12:3456::1",
    "fe80::1",
    "fec0::1",
    "ff02::1",
];

const PUBLIC: [&str; 16] = [
    "1.1.1.1",
    "8.8.8.8",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "128.0.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "192.0.1.1",
    "192.167.255.255",
    "198.17.255.255",
    "223.255.255.255",
    "2001:4860:4860::8888",
    "2606:4700:4700::1111",
];

fn address(text: &str) -> IpAddr {
    text.parse().expect(text)
}

#[test]
fn addresses_of_our_own_and_special_networks_are_not_called() {
    for text in PRIVATE {
        assert!(!STRICT.admits(address(text)), "{text}");
    }
    for text in PUBLIC {
        assert!(STRICT.admits(address(text)), "{text}");
    }
}

#[test]
fn private_networks_can_be_allowed_but_nobody_and_everybody_is_never_called() {
    let open = Guard {
        allow_private: true,
        ..STRICT
    };
    for text in ["127.0.0.1", "10.0.0.1", "::1", "fd00::1", "169.254.0.1", "1.1.1.1"] {
        assert!(open.admits(address(text)), "{text}");
    }
    for text in ["0.0.0.0", "::", "224.0.0.1", "ff02::1", "255.255.255.255"] {
        assert!(!open.admits(address(text)), "{text}");
    }
}

#[test]
fn urls_are_checked_whatever_way_an_address_is_written() {
    for text in [
        "https://127.0.0.1/",
        "https://127.1/",
        "https://2130706433/",
        "https://0x7f000001/",
        "https://0177.0.0.1/",
        "https://0/",
        "https://169.254.169.254/latest/meta-data",
        "https://[::1]:8443/",
        "https://[::ffff:10.0.0.1]/",
        "https://[0:0:0:0:0:ffff:7f00:1]/",
        "https://１２７.0.0.1/",
        "https://127.0.0.1.:443/",
    ] {
        assert_eq!(STRICT.check(text), Err(Refused::NotPublic), "{text}");
    }
    for text in [
        "https://shop.example/hooks?a=b",
        "https://8.8.8.8:8443/",
        "https://[2606:4700::1]/",
    ] {
        assert_eq!(STRICT.check(text).map(|url| url.to_string()), Ok(text.to_owned()));
    }
}

#[test]
fn other_schemes_credentials_and_nonsense_are_refused() {
    let http = Guard {
        allow_http: true,
        ..STRICT
    };
    assert_eq!(
        STRICT.check("http://shop.example/"),
        Err(Refused::Scheme { http: false })
    );
    assert!(http.check("http://shop.example/").is_ok() && http.check("https://shop.example/").is_ok());
    for text in [
        "ftp://shop.example/",
        "file:///etc/passwd",
        "gopher://x/",
        "unix:/run/x",
        "data:,x",
    ] {
        assert_eq!(http.check(text), Err(Refused::Scheme { http: true }), "{text}");
    }
    for text in [
        "https://user@shop.example/",
        "https://user:word@shop.example/",
        "https://:word@shop.example/",
    ] {
        assert_eq!(STRICT.check(text), Err(Refused::Credentials), "{text}");
    }
    let long = format!("https://shop.example/{}", "x".repeat(URL_BYTES_MAX));
    for text in ["", "shop.example", "https://", "//shop.example", "https:// x", &long] {
        assert_eq!(STRICT.check(text), Err(Refused::NotAUrl), "{text}");
    }
    assert_eq!(
        Refused::Scheme { http: true }.to_string(),
        "must begin with https:// or http://"
    );
}

#[tokio::test]
async fn a_name_is_judged_by_what_it_resolves_to() {
    assert_eq!(STRICT.resolve_name("localhost").await, Err(Refused::NotPublic));
    let open = Guard {
        allow_private: true,
        ..STRICT
    };
    let found = open.resolve_name("localhost").await.expect("this machine");
    assert!(found.iter().all(|address| address.ip().is_loopback()), "{found:?}");
}

#[test]
fn of_several_addresses_only_the_public_ones_are_left() {
    let addresses = |texts: &[&str]| {
        texts
            .iter()
            .map(|text| SocketAddr::new(address(text), 0))
            .collect::<Vec<_>>()
    };
    let mixed = addresses(&["10.0.0.1", "8.8.8.8", "::1", "2606:4700::1"]);
    assert_eq!(STRICT.admitted(mixed), Ok(addresses(&["8.8.8.8", "2606:4700::1"])));
    assert_eq!(
        STRICT.admitted(addresses(&["10.0.0.1", "::1"])),
        Err(Refused::NotPublic)
    );
    assert_eq!(STRICT.admitted(Vec::new()), Err(Refused::NoAddress));
}
