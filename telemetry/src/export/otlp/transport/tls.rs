//! TLS for the exporter: rustls with ring, the system's authorities or our own, and a client certificate when asked for.

use std::path::Path;
use std::sync::Arc;

use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::export::settings::Tls;
use crate::export::{InvalidExport, Signal};

/// Reads the files and makes what connects.
///
/// # Errors
/// When a file cannot be read, holds no certificate or key, or certificate and key do not fit.
pub(super) fn connector(signal: Signal, tls: &Tls, alpn: &[u8]) -> Result<TlsConnector, InvalidExport> {
    let wrong = |what: &str, path: &Path, why: String| {
        InvalidExport::value(&format!("the {what} for {}", signal.as_str()), &path.display().to_string(), why)
    };
    let mut roots = RootCertStore::empty();
    match &tls.certificate {
        Some(path) => {
            for certificate in certificates(path).map_err(|why| wrong("certificate", path, why))? {
                roots.add(certificate).map_err(|error| wrong("certificate", path, error.to_string()))?;
            }
        }
        None => {
            // One that cannot be read is one authority less, not an error.
            let found = rustls_native_certs::load_native_certs().unwrap_or_default();
            roots.add_parsable_certificates(found);
            if roots.is_empty() {
                let why = "the system has none; name a file of authorities to trust";
                return Err(InvalidExport::value(&format!("the certificate for {}", signal.as_str()), "", why));
            }
        }
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring speaks TLS 1.2 and 1.3")
        .with_root_certificates(roots);
    let mut config = match (&tls.client_certificate, &tls.client_key) {
        (None, None) => builder.with_no_client_auth(),
        (Some(chain), Some(key)) => {
            let own = certificates(chain).map_err(|why| wrong("client certificate", chain, why))?;
            let read =
                PrivateKeyDer::from_pem_file(key).map_err(|error| wrong("client key", key, error.to_string()))?;
            builder.with_client_auth_cert(own, read).map_err(|error| wrong("client key", key, error.to_string()))?
        }
        (Some(path), None) => return Err(wrong("client certificate", path, "stands without a client key".into())),
        (None, Some(path)) => return Err(wrong("client key", path, "stands without a client certificate".into())),
    };
    config.alpn_protocols = vec![alpn.to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = CertificateDer::pem_file_iter(path).map_err(|error| error.to_string())?;
    let found = read.collect::<Result<Vec<_>, _>>().map_err(|error| error.to_string())?;
    if found.is_empty() { Err("holds no certificate in PEM".into()) } else { Ok(found) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_used_is_named() {
        let here = Some(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"));
        let absent = Some(Path::new("/no/such/file.pem").to_owned());
        let plain = Tls::default();
        for (tls, says) in [
            (Tls { certificate: absent, ..plain.clone() }, "/no/such/file.pem"),
            (Tls { certificate: here.clone(), ..plain.clone() }, "holds no certificate in PEM"),
            (Tls { client_certificate: here.clone(), ..plain.clone() }, "stands without a client key"),
            (Tls { client_key: here, ..plain.clone() }, "stands without a client certificate"),
        ] {
            let error = connector(Signal::Traces, &tls, b"h2").err().expect(says).to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}
