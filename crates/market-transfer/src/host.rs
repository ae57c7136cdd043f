//! Names of other hosts, checked before they reach a command line.

use crate::{Error, ErrorKind};
use std::fmt;
use std::net::IpAddr;

/// A host as `ssh` takes it: `[user@]name`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Host(String);

impl Host {
    /// Checks a host. Names, addresses and aliases of an ssh configuration are made of letters,
    /// digits and `-._:%[]`; anything else, and what `ssh` would take for an option, is refused, so
    /// that it can never reach a shell.
    ///
    /// # Errors
    /// [`Malformed`](ErrorKind::Malformed).
    ///
    /// ```
    /// use market_transfer::ssh::Host;
    ///
    /// assert!(Host::new("oneadmin@bridge-1.example").is_ok());
    /// assert!(Host::new("-oProxyCommand=x").is_err());
    /// ```
    pub fn new(text: &str) -> Result<Self, Error> {
        let (user, name) =
            text.rsplit_once('@').map_or((None, text), |(user, name)| (Some(user), name));
        let valid = |part: &str, signs: &[u8]| {
            !part.is_empty()
                && part.len() <= 255
                && !part.starts_with('-')
                && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || signs.contains(&byte))
        };
        if !valid(name, b"-._:%[]") || user.is_some_and(|user| !valid(user, b"-._+@")) {
            return Err(Error::new(ErrorKind::Malformed, "the ssh host", "is no name of a host"));
        }
        Ok(Self(text.to_owned()))
    }

    /// The host without the user.
    pub fn name(&self) -> &str {
        self.0.rsplit('@').next().unwrap_or_default()
    }

    /// Whether its name is one of this machine in any spelling: `localhost`, a loopback or
    /// unspecified address, `127.1`. Other names are not resolved, and the ssh configuration is not
    /// read.
    ///
    /// ```
    /// use market_transfer::ssh::Host;
    ///
    /// assert!(Host::new("me@127.1")?.is_loopback() && !Host::new("bridge-1")?.is_loopback());
    /// # Ok::<(), market_transfer::Error>(())
    /// ```
    pub fn is_loopback(&self) -> bool {
        let name = self.name().trim_matches(['[', ']']).split('%').next().unwrap_or_default();
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        let own = |address: IpAddr| address.is_loopback() || address.is_unspecified();
        let address = name.parse().ok().or_else(|| match url::Host::parse(&name) {
            Ok(url::Host::Ipv4(address)) => Some(IpAddr::V4(address)),
            _ => None,
        });
        match address {
            Some(IpAddr::V6(address)) => {
                own(address.to_ipv4_mapped().map_or(IpAddr::V6(address), IpAddr::V4))
            }
            Some(address) => own(address),
            None => {
                let known =
                    ["localhost", "localhost4", "localhost6", "ip6-localhost", "ip6-loopback"];
                known.contains(&name.as_str())
                    || name.ends_with(".localhost")
                    || name.starts_with("localhost.")
            }
        }
    }

    /// As `ssh` takes it: an IPv6 address without its brackets.
    pub(crate) fn argument(&self) -> String {
        self.0.replace(['[', ']'], "")
    }

    /// The host with the user, as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The host and the path of `[user@]host:path`, as `ssh://` URLs have them.
pub(crate) fn parse_host_path(text: &str) -> Result<(Host, &str), &'static str> {
    let (host, path) = split_host(text).ok_or("is not ssh://host:path")?;
    let host = Host::new(host).map_err(|_| "names no host that ssh could be given")?;
    if path.is_empty() { Err("names no path") } else { Ok((host, path)) }
}

/// Splits `host:path` at the colon that ends the host; an IPv6 address stands in brackets.
fn split_host(text: &str) -> Option<(&str, &str)> {
    let from = text
        .find(']')
        .filter(|_| text.split('@').next_back().is_some_and(|host| host.starts_with('[')));
    let colon = text[from.unwrap_or_default()..].find(':')? + from.unwrap_or_default();
    Some((&text[..colon], &text[colon + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_names_and_nothing_else() {
        for good in
            ["h", "u@h", "10.0.0.1", "fe80::1%eth0", "[::1]", "u@domain@h", "bridge_1.example"]
        {
            assert!(Host::new(good).is_ok(), "{good}");
        }
        let long = "h".repeat(256);
        for bad in [
            "", "-h", "u@-h", "-u@h", "@h", "u@", "a b", "h;x", "$(x)", "h`x`", "h'x", "h\nx",
            "h/x", "é", &long,
        ] {
            assert!(Host::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn this_machine_has_many_names() {
        for own in [
            "localhost",
            "u@LOCALHOST.",
            "127.0.0.1",
            "127.9.9.9",
            "127.1",
            "0x7f.1",
            "2130706433",
            "0",
            "[::1]",
            "::1",
            "::ffff:127.0.0.1",
            "::",
            "a.localhost",
            "localhost.localdomain",
        ] {
            assert!(Host::new(own).unwrap().is_loopback(), "{own}");
        }
        for other in ["h", "10.0.0.1", "localhosts", "[fe80::1%lo]", "1.127"] {
            assert!(!Host::new(other).unwrap().is_loopback(), "{other}");
        }
    }
}
