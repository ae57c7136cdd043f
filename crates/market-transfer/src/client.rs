//! The one HTTP client of the workspace: whom it trusts, which redirects it follows, through which
//! proxies, and what its failures are.
//!
//! This module is for crates that speak a protocol of their own over HTTP. It has types of
//! [`reqwest`] in its signatures on purpose, and moves with the version of that crate.

use crate::error::{Distrust, find_cause, inner};
use crate::retry::RetryableError;
use crate::thread::run_on_thread;
use crate::{Error, ErrorKind, Options, read_small_file, trust};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::{Action, Attempt as Redirect, Policy};
use reqwest::{Client, ClientBuilder};
use rustls::CertificateError;
use std::error::Error as StdError;
use std::io;
use std::net::ToSocketAddrs;
use std::sync::Arc;

/// The largest file of certificates: a whole machine's have a quarter of it.
const MAX_CA_BYTES: u64 = 4 << 20;

/// More redirects than this are a loop.
const MAX_REDIRECTS: usize = 20;

pub use reqwest;

/// Builds a client with the time-outs, certificates and redirects of these options; `adjust` sets
/// whatever else the caller needs. `subject` names what is asked for in messages.
///
/// # Errors
/// When [`Options::tls_ca`] cannot be read or holds no certificate, or the system has no
/// randomness.
pub fn client(
    options: &Options,
    subject: &str,
    adjust: impl Fn(ClientBuilder) -> ClientBuilder,
) -> Result<Client, Error> {
    // Somebody else in the process may have chosen a provider already; theirs is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let to_http = options.redirect_to_http;
    let builder = || {
        let builder = Client::builder()
            .connect_timeout(options.connect_timeout)
            .user_agent(options.user_agent.as_str())
            // A URL may hold a signature, which is nobody else's business.
            .referer(false)
            .redirect(Policy::custom(move |redirect| follow(redirect, to_http)))
            .dns_resolver(Arc::new(Resolver));
        let builder = if everything_is_direct(|name| std::env::var(name).ok()) {
            builder.no_proxy()
        } else {
            builder
        };
        adjust(builder)
    };
    let client = match &options.tls_ca {
        _ if options.tls_insecure => builder().tls_danger_accept_invalid_certs(true).build(),
        Some(path) => {
            let pem = read_small_file(path, MAX_CA_BYTES)?;
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let configuration = trust::configuration(&pem, provider).ok_or_else(|| {
                Error::new(
                    ErrorKind::Malformed,
                    path.to_string_lossy(),
                    "holds no PEM certificate that can be used",
                )
            })?;
            builder().tls_backend_preconfigured(configuration).build()
        }
        // Without any certificate on the machine no client can be built that verifies; plain http
        // needs none.
        None => builder().build().or_else(|_| builder().tls_certs_only([]).build()),
    };
    client.map_err(|error| failure(subject, &error).error)
}

/// Why a redirect is not followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum Astray {
    #[error("redirects without end")]
    Endless,
    #[error(
        "redirects from https:// to http://, which is not followed: anybody on the way could change the bytes; \
         REDIRECT_TO_HTTP=\"YES\" allows it"
    )]
    Downgraded,
}

fn follow(redirect: Redirect<'_>, to_http: bool) -> Action {
    let from_https = redirect.previous().iter().any(|url| url.scheme() == "https");
    if redirect.previous().len() > MAX_REDIRECTS {
        redirect.error(Astray::Endless)
    } else if from_https && redirect.url().scheme() == "http" && !to_http {
        redirect.error(Astray::Downgraded)
    } else {
        redirect.follow()
    }
}

/// Whether `no_proxy` has the entry `*`: the library takes it for names alone, and it is meant for
/// addresses too.
fn everything_is_direct(variable: impl Fn(&str) -> Option<String>) -> bool {
    let list = variable("NO_PROXY").or_else(|| variable("no_proxy")).unwrap_or_default();
    list.split(',').any(|entry| entry.trim() == "*")
}

/// Asks the system for addresses on a thread that nobody has to wait for, and that may not be had.
struct Resolver;

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let host = name.as_str().to_owned();
            let look =
                move || (host.as_str(), 0).to_socket_addrs().map(Iterator::collect::<Vec<_>>);
            let addresses = run_on_thread("resolver", look).await??;
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

/// A request that did not get through. The error of the library names the URL, with everything
/// that is secret in it, so only what it was made from is kept.
pub fn failure(subject: &str, error: &reqwest::Error) -> RetryableError {
    let of = |error, again| RetryableError { error, again, pause: None };
    if let Some(astray) = find_cause::<Astray>(error) {
        let kind = match astray {
            Astray::Downgraded => ErrorKind::Untrusted,
            Astray::Endless => ErrorKind::Unreachable,
        };
        return of(Error::new(kind, subject, astray.to_string()), false);
    }
    if error.is_timeout() {
        let cause = if error.is_connect() {
            "did not accept a connection in time"
        } else {
            "was silent for too long"
        };
        let error = Error::new(ErrorKind::Unreachable, subject, cause);
        return of(error.with_source(io::Error::from(io::ErrorKind::TimedOut)), true);
    }
    if let Some(rustls::Error::InvalidCertificate(reason)) = find_cause(error) {
        return of(distrusted(subject, reason), false);
    }
    let kind = if error.is_builder() { ErrorKind::Malformed } else { ErrorKind::Unreachable };
    of(by_root(kind, subject, root(error)), !error.is_builder())
}

/// A certificate that is not trusted.
fn distrusted(subject: &str, reason: &CertificateError) -> Error {
    let distrust = match reason {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => Distrust::Expired,
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            Distrust::NotYetValid
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            Distrust::OtherName
        }
        CertificateError::UnknownIssuer => Distrust::UnknownIssuer,
        // The library has no variant for what is no certificate of a server.
        CertificateError::Other(_) => Distrust::Unfit,
        _ => Distrust::Other,
    };
    let cause = match distrust {
        Distrust::Other => format!("the server's certificate {distrust}: {reason}"),
        distrust => format!("the server's certificate {distrust}"),
    };
    Error::new(ErrorKind::Untrusted, subject, cause).with_source(distrust)
}

/// The innermost cause: the outer ones repeat the URL, which may hold a password.
fn root(error: &reqwest::Error) -> &(dyn StdError + 'static) {
    let mut cause: &(dyn StdError + 'static) = error;
    while let Some(next) = inner(cause) {
        cause = next;
    }
    cause
}

fn by_root(kind: ErrorKind, subject: &str, root: &(dyn StdError + 'static)) -> Error {
    if let Some(system) = root.downcast_ref::<io::Error>() {
        return Error::io(subject, system).with_kind(kind);
    }
    let cause = match root.downcast_ref::<reqwest::Error>() {
        Some(_) => "the transfer failed".to_owned(),
        None => root.to_string(),
    };
    Error::new(kind, subject, cause)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_among_what_needs_no_proxy_is_everything() {
        let of = |upper: Option<&'static str>, lower: Option<&'static str>| {
            everything_is_direct(move |name| {
                if name == "NO_PROXY" { upper } else { lower }.map(str::to_owned)
            })
        };
        assert!(of(Some("*"), None) && of(None, Some(" * ")) && of(None, Some("localhost, *")));
        assert!(
            !of(None, None)
                && !of(Some("*.example.com"), None)
                && !of(Some("10.0.0.0/8"), Some("*"))
        );
    }
}
