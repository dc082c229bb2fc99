//! Whose certificates are trusted: the system's authorities, or those that SSL_CERT_FILE and SSL_CERT_DIR name in their place.

use std::env;
use std::path::Path;

use anyhow::{Result, ensure};
use rustls_native_certs::ErrorKind;
use ureq::tls::{Certificate, RootCerts};

/// Certificates of the authorities; Mozilla's, which are part of the program, where the system has none.
pub fn roots() -> Result<RootCerts> {
    let given = |name: &&str| env::var_os(name).is_some_and(|value| !value.is_empty());
    let variables: Vec<&str> = ["SSL_CERT_FILE", "SSL_CERT_DIR"].into_iter().filter(given).collect();
    let read = rustls_native_certs::load_native_certs();
    if variables.is_empty() && read.certs.is_empty() {
        return Ok(RootCerts::WebPki);
    }
    // One of a folder's files may be unreadable; the file that is named may not.
    let named = env::var_os("SSL_CERT_FILE").unwrap_or_default();
    let misses = |kind: &ErrorKind| match kind {
        ErrorKind::Io { path, .. } => !named.is_empty() && path == Path::new(&named),
        _ => false,
    };
    let whole = !read.certs.is_empty() && !read.errors.iter().any(|e| misses(&e.kind));
    ensure!(
        variables.is_empty() || whole,
        "no certificate can be read from {} ({}); expected PEM files of the authorities to trust",
        variables.join(" and "),
        read.errors.first().map_or_else(|| "there is none".to_string(), ToString::to_string)
    );
    let certificates: Vec<_> = read.certs.iter().map(|der| Certificate::from_der(der).to_owned()).collect();
    Ok(RootCerts::new_with_certs(&certificates))
}
