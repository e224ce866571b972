use super::{TestNode, introduce, join, options, stop};
use crate::transport::{TlsFiles, TransportError, TransportOptions};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::net::TcpStream;

/// An authority, and a directory for what it signs.
struct Authority {
    directory: PathBuf,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        static AUTHORITIES: AtomicU64 = AtomicU64::new(0);
        let number = AUTHORITIES.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("uoop-transport-{}-{number}", std::process::id()));
        fs::create_dir_all(&directory).expect("a directory");
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("it signs itself");
        fs::write(directory.join("authority.pem"), issuer.pem()).expect("it is written");
        Self { directory, issuer }
    }

    /// A certificate for a name, as files.
    fn sign(&self, name: &str) -> TlsFiles {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        let certificate = params.signed_by(&key, &self.issuer).expect("it is signed");
        let file = |end: &str| self.directory.join(format!("{name}.{end}"));
        fs::write(file("pem"), certificate.pem()).expect("it is written");
        fs::write(file("key"), key.serialize_pem()).expect("it is written");
        TlsFiles {
            certificate: file("pem"),
            key: file("key"),
            authority: self.directory.join("authority.pem"),
        }
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn with(name: &str, tls: TlsFiles) -> TransportOptions {
    let mut options = options(name);
    options.tls = Some(tls);
    options
}

async fn start(name: &str, tls: TlsFiles) -> TestNode {
    TestNode::start_with(with(name, tls)).await.expect("it starts")
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_of_one_authority_link_and_nothing_else_does() {
    let (authority, other) = (Authority::new(), Authority::new());
    let a = start("a", authority.sign("uoop")).await;
    let b = start("b", authority.sign("uoop")).await;
    let mut foreign = other.sign("uoop");
    // It would take any of ours, but is not ours itself.
    foreign.authority = authority.sign("uoop").authority;
    let foreign = start("c", foreign).await;
    // Signed by the authority, for something else.
    let printer = start("d", authority.sign("printer")).await;
    let plain = TestNode::start("e").await;
    let all = [&a, &b, &foreign, &printer, &plain];
    introduce(&all);
    a.linked(&b.name).await;
    b.linked(&a.name).await;
    tokio::time::sleep(Duration::from_millis(700)).await;
    for one in all {
        for other in all {
            let ours = [&a.name, &b.name].contains(&&one.name) && [&a.name, &b.name].contains(&&other.name);
            assert!(ours || !one.is_linked(&other.name), "{} and {}", one.name, other.name);
        }
    }
    let answer = a.ask(&b, b"hello").await.expect("it is answered");
    assert_eq!(answer, [a.name.as_bytes(), b":hello"].concat());
    stop(&all).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_certificates_any_address_may_be_listened_on() {
    let authority = Authority::new();
    let mut options = with("a", authority.sign("uoop"));
    options.listen = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    let a = TestNode::start_with(options).await.expect("it starts");
    stop(&[&a]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_connections_lock_nobody_out() {
    let authority = Authority::new();
    let a = start("a", authority.sign("uoop")).await;
    let mut silent = Vec::new();
    for _ in 0..8 {
        silent.push(TcpStream::connect(a.transport.address()).await.expect("it is accepted"));
    }
    let b = start("b", authority.sign("uoop")).await;
    join(&[&a, &b]).await;
    drop(silent);
    stop(&[&a, &b]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_cannot_be_used_are_named() {
    let authority = Authority::new();
    let files = authority.sign("uoop");
    let mut absent = files.clone();
    absent.key = authority.directory.join("absent.key");
    let mut swapped = files.clone();
    swapped.certificate.clone_from(&files.key);
    let mut foreign = files.clone();
    foreign.key = authority.sign("another").key;
    for (wrong, expected) in [
        (&absent, &absent.key),
        (&swapped, &files.key),
        (&foreign, &files.certificate),
    ] {
        match TestNode::start_with(with("a", wrong.clone())).await.map(|_| ()) {
            Err(TransportError::Tls { file, .. }) => assert_eq!(&file, expected),
            other => panic!("{wrong:?}: {other:?}"),
        }
    }
}
