//! Trust in https servers by a file of PEM certificates (`TLS_CA`), beside the authorities of the
//! machine: a server is trusted when a certificate of the file has signed its certificate, or is its
//! certificate.
//!
//! `openssl req -x509` makes a certificate that says of itself that it is an authority, and signs
//! itself. The library takes no authority for a server, so such a certificate is compared byte by
//! byte; its time and its names are checked all the same.

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};
use std::sync::Arc;
use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

/// A TLS configuration that trusts the certificates of a PEM file beside those of the machine;
/// `None` when the file has none that can be used.
pub(crate) fn configuration(pem: &[u8], provider: Arc<CryptoProvider>) -> Option<ClientConfig> {
    let named: Vec<CertificateDer<'static>> =
        CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().ok()?;
    let mut roots = RootCertStore::empty();
    let (usable, _) = roots.add_parsable_certificates(named.iter().cloned());
    if usable == 0 {
        return None;
    }
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let authorities =
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .build()
            .ok()?;
    let configuration =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().ok()?;
    let verifier = Arc::new(Verifier { authorities, named });
    Some(configuration.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
}

#[derive(Debug)]
struct Verifier {
    authorities: Arc<WebPkiServerVerifier>,
    /// The certificates of the file.
    named: Vec<CertificateDer<'static>>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.named.iter().any(|named| named == end_entity) {
            return verify_itself(end_entity, server_name, now);
        }
        self.authorities.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        )
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.authorities.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.authorities.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.authorities.supported_verify_schemes()
    }
}

/// The time and the name of a certificate that is trusted as it is.
fn verify_itself(
    certificate: &CertificateDer<'_>,
    server_name: &ServerName<'_>,
    now: UnixTime,
) -> Result<ServerCertVerified, Error> {
    let parsed = Certificate::from_der(certificate).map_err(|_| CertificateError::BadEncoding)?;
    let validity = parsed.tbs_certificate().validity();
    if now.as_secs() < validity.not_before.to_unix_duration().as_secs() {
        return Err(CertificateError::NotValidYet.into());
    }
    if now.as_secs() > validity.not_after.to_unix_duration().as_secs() {
        return Err(CertificateError::Expired.into());
    }
    if has_names(&parsed)? {
        let certificate = rustls::server::ParsedCertificate::try_from(certificate)?;
        rustls::client::verify_server_name(&certificate, server_name)?;
    } else if !common_name(&parsed).is_some_and(|name| is_named(&name, &server_name.to_str())) {
        return Err(CertificateError::NotValidForName.into());
    }
    Ok(ServerCertVerified::assertion())
}

/// Whether it has names or addresses as an alternative to the common name, which does not count
/// then.
fn has_names(certificate: &Certificate) -> Result<bool, Error> {
    let names = certificate.tbs_certificate().get_extension::<SubjectAltName>();
    let names = names.map_err(|_| CertificateError::BadEncoding)?;
    let is_host =
        |name: &GeneralName| matches!(name, GeneralName::DnsName(_) | GeneralName::IpAddress(_));
    Ok(names.is_some_and(|(_, names)| names.0.iter().any(is_host)))
}

/// The common name of its subject, as `-subj /CN=host` sets it.
fn common_name(certificate: &Certificate) -> Option<String> {
    let name = certificate.tbs_certificate().subject().common_name().ok()??;
    Some(name.value().into_owned())
}

/// Whether a common name is that of a host; `*.` stands for one label.
fn is_named(common_name: &str, host: &str) -> bool {
    let of_label = || host.split_once('.').zip(common_name.strip_prefix("*."));
    common_name.eq_ignore_ascii_case(host)
        || of_label().is_some_and(|((label, domain), of)| {
            !label.is_empty()
                && of.contains('.')
                && of.eq_ignore_ascii_case(domain)
                && host.parse::<std::net::IpAddr>().is_err()
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_common_name_is_that_of_one_host_or_of_one_label() {
        for (name, host) in [
            ("localhost", "LOCALHOST"),
            ("127.0.0.1", "127.0.0.1"),
            ("*.example.com", "a.example.com"),
        ] {
            assert!(is_named(name, host), "{name} {host}");
        }
        for (name, host) in [
            ("", "h"),
            ("*", "h"),
            ("*.com", "a.com"),
            ("*.example.com", "example.com"),
            ("*.example.com", "a.b.example.com"),
            ("*.0.0.1", "127.0.0.1"),
            ("localhost", "localhost.example.com"),
        ] {
            assert!(!is_named(name, host), "{name} {host}");
        }
    }
}
