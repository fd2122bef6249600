//! Turns PEM files into what both sides of a TLS connection need, and reads them again on demand.
//!
//! A reload that fails leaves the old certificates in use: a half-written file must not take the
//! endpoint down.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig, crypto};

use crate::config::{ClientCertificates, Config, Tls, UpstreamTls};

/// What new connections use. Shared by all workers; replaced whole.
#[derive(Debug, Default)]
pub struct TlsFiles {
    /// Towards clients.
    clients: Mutex<Option<Arc<ServerConfig>>>,
    /// Towards instances.
    instances: Mutex<Option<Arc<ClientConfig>>>,
}

impl TlsFiles {
    /// Read all files that the configuration names, then use them for new connections.
    ///
    /// # Errors
    /// When a file cannot be read or used; it names the file, and nothing is changed.
    pub fn load(&self, config: &Config) -> io::Result<()> {
        let clients = config.tls.as_ref().map(towards_clients).transpose()?;
        let instances = config.upstream_tls.as_ref().map(towards_instances).transpose()?;
        *self.clients.lock().unwrap_or_else(PoisonError::into_inner) = clients.map(Arc::new);
        *self.instances.lock().unwrap_or_else(PoisonError::into_inner) = instances.map(Arc::new);
        Ok(())
    }

    /// Return what a connection from a client uses.
    #[must_use]
    pub fn clients(&self) -> Option<Arc<ServerConfig>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Return what a connection to an instance uses.
    #[must_use]
    pub fn instances(&self) -> Option<Arc<ClientConfig>> {
        self.instances.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn towards_clients(tls: &Tls) -> io::Result<ServerConfig> {
    let provider = Arc::new(crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?;
    let builder = match (&tls.client_ca, tls.client_certificates) {
        (None, _) | (_, ClientCertificates::None) => builder.with_no_client_auth(),
        (Some(path), wanted) => {
            let roots = Arc::new(authorities(path)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
            let verifier = match wanted {
                ClientCertificates::Optional => verifier.allow_unauthenticated(),
                _ => verifier,
            };
            let verifier = verifier.build().map_err(|error| unusable(path, &error))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    builder
        .with_single_cert(chain(&tls.certificate)?, private_key(&tls.key)?)
        .map_err(|error| unusable(&tls.certificate, &error))
}

fn towards_instances(tls: &UpstreamTls) -> io::Result<ClientConfig> {
    let provider = Arc::new(crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(authorities(&tls.ca)?);
    match &tls.identity {
        None => Ok(builder.with_no_client_auth()),
        Some((certificate, key)) => builder
            .with_client_auth_cert(chain(certificate)?, private_key(key)?)
            .map_err(|error| unusable(certificate, &error)),
    }
}

fn authorities(path: &Path) -> io::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in chain(path)? {
        roots.add(certificate).map_err(|error| unusable(path, &error))?;
    }
    Ok(roots)
}

fn chain(path: &Path) -> io::Result<Vec<CertificateDer<'static>>> {
    let certificates = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| unreadable(path, error))?;
    if certificates.is_empty() {
        return Err(unusable(path, &"it holds no PEM certificate"));
    }
    Ok(certificates)
}

fn private_key(path: &Path) -> io::Result<PrivateKeyDer<'static>> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| unreadable(path, error))
}

fn unreadable(path: &Path, error: rustls::pki_types::pem::Error) -> io::Error {
    match error {
        rustls::pki_types::pem::Error::Io(cause) => {
            io::Error::new(cause.kind(), format!("{}: {cause}", path.display()))
        }
        other => unusable(path, &other),
    }
}

fn unusable(path: &Path, why: &dyn std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{}: {why}", path.display()))
}
