//! A network of our own: each node in a namespace with an address of its own, all of them behind a router, where packets from
//! one to another can be dropped without a word, in one direction or both. What the nodes share (the database, the
//! participants, the front) is in our namespace, behind the same router.
//!
//! It takes root and `ip` with namespaces. Nothing but `ip` is needed: the router drops what a rule of its own calls a black
//! hole, before it looks for a route.

use super::super::RunError;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Where nodes serve, each in its own namespace.
pub(super) const HTTP_PORT: u16 = 8_080;
pub(super) const GATEWAY_PORT: u16 = 7_400;

/// The network. It goes when this is dropped.
pub(super) struct Network {
    /// What all names and addresses of this run begin with.
    tag: String,
    prefix: String,
    nodes: usize,
    certificates: PathBuf,
}

/// Somebody in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A node, from 1.
    Node(usize),
    /// The database.
    Database,
    /// The front and the participants.
    Front,
}

impl Network {
    /// Makes it, and the certificates that nodes need when others can reach them.
    ///
    /// # Errors
    /// It cannot be made here.
    pub(super) fn make(nodes: usize, directory: &Path) -> Result<Self, RunError> {
        let id = std::process::id();
        let network = Self {
            tag: format!("ch{}", id % 100_000),
            prefix: format!("10.{}", 100 + id % 100),
            nodes,
            certificates: directory.join("certificates"),
        };
        network.lay()?;
        let written = network.certify();
        written.map_err(|why| impossible(&format!("certificates: {why}")))?;
        Ok(network)
    }

    fn lay(&self) -> Result<(), RunError> {
        let (tag, prefix) = (&self.tag, &self.prefix);
        let router = format!("{tag}r");
        let join = |namespace: Option<&str>, n: usize| -> Result<(), RunError> {
            let (here, there) = (format!("{tag}a{n}"), format!("{tag}b{n}"));
            ip(&format!("link add {here} type veth peer name {there}"))?;
            ip(&format!("link set {there} netns {router}"))?;
            ip(&format!("-n {router} addr add {prefix}.{n}.254/24 dev {there}"))?;
            ip(&format!("-n {router} link set {there} up"))?;
            let inside = namespace.map_or(String::new(), |namespace| format!("-n {namespace} "));
            if let Some(namespace) = namespace {
                ip(&format!("link set {here} netns {namespace}"))?;
                ip(&format!("{inside}link set lo up"))?;
            }
            ip(&format!("{inside}addr add {prefix}.{n}.1/24 dev {here}"))?;
            ip(&format!("{inside}link set {here} up"))
        };
        ip(&format!("netns add {router}"))?;
        ip(&format!("netns exec {router} sysctl -qw net.ipv4.ip_forward=1"))?;
        join(None, 0)?;
        // The database is at an address of its own, so that it can be cut off alone.
        ip(&format!("addr add {prefix}.0.2/24 dev {tag}a0"))?;
        for n in 1..=self.nodes {
            let namespace = self.namespace(n);
            ip(&format!("netns add {namespace}"))?;
            join(Some(&namespace), n)?;
            ip(&format!("-n {namespace} route add default via {prefix}.{n}.254"))?;
            ip(&format!("route add {prefix}.{n}.0/24 via {prefix}.0.254"))?;
        }
        Ok(())
    }

    /// An authority, and a certificate of each node.
    fn certify(&self) -> Result<(), Box<dyn std::error::Error>> {
        std::fs::create_dir_all(&self.certificates)?;
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        std::fs::write(self.certificates.join("authority.pem"), authority.pem())?;
        for n in 1..=self.nodes {
            let key = KeyPair::generate()?;
            let certificate = CertificateParams::new(vec!["uoop".to_owned()])?.signed_by(&key, &authority)?;
            std::fs::write(self.certificates.join(format!("n{n}.pem")), certificate.pem())?;
            std::fs::write(self.certificates.join(format!("n{n}.key")), key.serialize_pem())?;
        }
        Ok(())
    }

    /// The settings of a node that name its certificate.
    pub(super) fn certificates(&self, n: usize) -> [(&'static str, String); 3] {
        let file = |name: String| self.certificates.join(name).display().to_string();
        [
            ("cluster.certificate", file(format!("n{n}.pem"))),
            ("cluster.key", file(format!("n{n}.key"))),
            ("cluster.authority", file("authority.pem".to_owned())),
        ]
    }

    /// The namespace of a node.
    pub(super) fn namespace(&self, n: usize) -> String {
        format!("{}n{n}", self.tag)
    }

    /// The address of somebody in it.
    pub(super) fn address(&self, place: Place) -> String {
        let prefix = &self.prefix;
        match place {
            Place::Node(n) => format!("{prefix}.{n}.1"),
            Place::Front => format!("{prefix}.0.1"),
            Place::Database => format!("{prefix}.0.2"),
        }
    }

    /// From now on, what one sends to another is dropped.
    pub(super) fn cut(&self, from: Place, to: Place) -> Result<(), RunError> {
        self.rule("add", from, to)
    }

    /// It arrives again.
    pub(super) fn mend(&self, from: Place, to: Place) -> Result<(), RunError> {
        self.rule("del", from, to)
    }

    fn rule(&self, verb: &str, from: Place, to: Place) -> Result<(), RunError> {
        let (from, to) = (self.address(from), self.address(to));
        ip(&format!(
            "-n {}r rule {verb} pref 10 from {from} to {to} blackhole",
            self.tag
        ))
    }

    /// Puts the database of this address into the network. Its address there.
    pub(super) async fn bring_in(&self, url: &str, tasks: &mut JoinSet<()>) -> Result<String, RunError> {
        let (scheme, rest) = url.split_once("://").ok_or(RunError::NoDatabase)?;
        let (server, database) = rest.split_once('/').ok_or(RunError::NoDatabase)?;
        let (user, server) = server
            .rsplit_once('@')
            .map_or(("", server), |(user, server)| (user, server));
        let listener = TcpListener::bind((self.address(Place::Database), 0))
            .await
            .map_err(RunError::Port)?;
        let address = listener.local_addr().map_err(RunError::Port)?;
        let server = server.to_owned();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((mut node, _)) = listener.accept().await {
                while connections.try_join_next().is_some() {}
                let server = server.clone();
                connections.spawn(async move {
                    if let Ok(mut database) = TcpStream::connect(server).await {
                        let _ = (node.set_nodelay(true), database.set_nodelay(true));
                        // How it ends is a matter of the two.
                        let _ = copy_bidirectional(&mut node, &mut database).await;
                    }
                });
            }
        });
        let at = if user.is_empty() { "" } else { "@" };
        Ok(format!("{scheme}://{user}{at}{address}/{database}"))
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // Their links go with the namespaces.
        for n in 1..=self.nodes {
            let _ = ip(&format!("netns del {}", self.namespace(n)));
        }
        let _ = ip(&format!("link del {}a0", self.tag));
        let _ = ip(&format!("netns del {}r", self.tag));
    }
}

fn impossible(why: &str) -> RunError {
    RunError::Impossible {
        fault: "partition",
        why: format!("{why} (it takes root, and ip with network namespaces)"),
    }
}

fn ip(arguments: &str) -> Result<(), RunError> {
    let mut ip = Command::new("ip");
    let output = ip.args(arguments.split(' ')).stdin(Stdio::null()).output();
    let output = output.map_err(|error| impossible(&format!("ip: {error}")))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(impossible(&format!("ip {arguments}: {said}")))
}
