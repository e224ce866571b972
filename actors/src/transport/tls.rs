//! Links that only the nodes of one cluster can make and read: TLS 1.3, both sides with a certificate.

use super::options::{TlsFiles, TransportError};
use std::io;
use std::path::Path;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::rustls::client::verify_server_name;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::server::{ParsedCertificate, ResolvesServerCertUsingSni, WebPkiClientVerifier};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig, version};
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

/// The name in the certificate of every node. Nodes come and go and change their addresses; that they belong to the
/// cluster is all that a certificate says.
const SERVER_NAME: &str = "uoop";

/// Both sides of it.
#[derive(Clone)]
pub(super) struct Tls {
    acceptor: TlsAcceptor,
    connector: TlsConnector,
    name: ServerName<'static>,
}

impl Tls {
    /// Reads the files. They are read once: a node that is given new ones is started again.
    pub(super) fn load(files: &TlsFiles) -> Result<Self, TransportError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let versions = &[&version::TLS13];
        let chain = certificates(&files.certificate)?;
        let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| unusable(&files.key, error))?;
        let mut roots = RootCertStore::empty();
        for authority in certificates(&files.authority)? {
            roots
                .add(authority)
                .map_err(|error| unusable(&files.authority, error))?;
        }
        let roots = Arc::new(roots);
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider))
            .build()
            .map_err(|error| unusable(&files.authority, error))?;
        let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions)
            .and_then(|builder| {
                let builder = builder.with_client_cert_verifier(clients);
                builder.with_single_cert(chain.clone(), key.clone_key())
            })
            .map_err(|error| unusable(&files.certificate, error))?;
        let client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .and_then(|builder| builder.with_root_certificates(roots).with_client_auth_cert(chain, key))
            .map_err(|error| unusable(&files.certificate, error))?;
        let name = ServerName::try_from(SERVER_NAME).map_err(|error| unusable(&files.certificate, error))?;
        Ok(Self {
            acceptor: TlsAcceptor::from(Arc::new(server)),
            connector: TlsConnector::from(Arc::new(client)),
            name,
        })
    }

    /// Takes a connection that came in.
    pub(super) async fn accept(&self, stream: TcpStream) -> io::Result<server::TlsStream<TcpStream>> {
        let stream = self.acceptor.accept(stream).await?;
        let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
        let certificate = certificates
            .first()
            .ok_or_else(|| io::Error::other("the client has no certificate"))?;
        // The authority may sign for others than nodes.
        let certificate = ParsedCertificate::try_from(certificate).map_err(io::Error::other)?;
        verify_server_name(&certificate, &self.name).map_err(io::Error::other)?;
        Ok(stream)
    }

    /// Makes a connection that goes out private.
    pub(super) async fn connect(&self, stream: TcpStream) -> io::Result<client::TlsStream<TcpStream>> {
        self.connector.connect(self.name.clone(), stream).await
    }
}

/// An acceptor that accepts nobody, for the listener that `ractor_cluster` insists on.
pub(super) fn closed_door() -> Result<TlsAcceptor, TransportError> {
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&version::TLS13])
        .map_err(|error| TransportError::Actor(error.to_string()))?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(ResolvesServerCertUsingSni::new()));
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TransportError> {
    let certificates: Vec<_> = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect)
        .map_err(|error| unusable(file, error))?;
    if certificates.is_empty() {
        return Err(unusable(file, "there is no certificate in it"));
    }
    Ok(certificates)
}

fn unusable(file: &Path, reason: impl std::fmt::Display) -> TransportError {
    TransportError::Tls {
        file: file.to_owned(),
        reason: reason.to_string(),
    }
}
