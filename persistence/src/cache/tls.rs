//! TLS to Redis, by the same library as everywhere else in this process.

use super::redis::InvalidAddress;
use fred::types::config::TlsConnector;
use rustls_native_certs::load_native_certs;
use std::path::Path;
use std::sync::Arc;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// Makes connections to servers whose certificates these authorities have signed; without a file, those that this machine
/// trusts (or that `SSL_CERT_FILE` names).
pub(super) fn connector(authority: Option<&Path>) -> Result<TlsConnector, InvalidAddress> {
    let roots = authority.map_or_else(trusted_here, of_file)?;
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| InvalidAddress::Authority(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(config))
}

fn trusted_here() -> Result<RootCertStore, InvalidAddress> {
    let found = load_native_certs();
    let mut roots = RootCertStore::empty();
    // A few that are odd are no reason to do without the others.
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let why = found
            .errors
            .first()
            .map_or_else(|| "there are none".to_owned(), ToString::to_string);
        let text = format!("of this machine: {why}; install ca-certificates, or name a file as redis.authority");
        return Err(InvalidAddress::Authority(text));
    }
    Ok(roots)
}

fn of_file(file: &Path) -> Result<RootCertStore, InvalidAddress> {
    let unusable = |problem: String| InvalidAddress::Authority(format!("in {}: {problem}", file.display()));
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let mut roots = RootCertStore::empty();
    for certificate in read.map_err(|error| unusable(error.to_string()))? {
        roots.add(certificate).map_err(|error| unusable(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(unusable("there is no certificate in it".to_owned()));
    }
    Ok(roots)
}
