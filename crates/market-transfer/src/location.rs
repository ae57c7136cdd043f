//! Where a source is: a path or a URL, told apart, and shown without secrets.

use crate::ssh::Host;
use crate::{Error, ErrorKind};
use std::path::PathBuf;

/// A source's location by its scheme.
#[derive(Clone, PartialEq, Eq)]
pub enum Location {
    /// A local path; `file://` is cut off.
    Path(PathBuf),
    /// `http://` or `https://`.
    Http(String),
    /// `ssh://[user@]host:path`.
    Ssh {
        /// The host.
        host: Host,
        /// The path there; a relative one is below the user's home.
        path: String,
    },
    /// `rbd://[user@]host/pool/image[@snapshot]`: an image of Ceph, exported on a host.
    Rbd {
        /// The host.
        host: Host,
        /// Arguments of `rbd`.
        arguments: Vec<String>,
    },
    /// `s3://bucket/key`: an object of an S3 service.
    S3 {
        /// The bucket.
        bucket: String,
        /// The key, as it is written.
        key: String,
    },
    /// Any other scheme, in lower case.
    Other(String),
}

impl Location {
    /// Tells paths and URLs apart.
    ///
    /// # Errors
    /// When the text is empty, or holds a NUL byte, or is neither a URL nor an absolute path.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let malformed = |cause: &str| Err(Error::new(ErrorKind::Malformed, redacted(text), cause));
        if text.is_empty() {
            return Err(Error::new(ErrorKind::Malformed, "the source", "is empty"));
        }
        if text.contains('\0') {
            return malformed("holds a NUL byte");
        }
        match scheme(text) {
            Some((scheme, rest)) => Ok(match scheme.as_str() {
                "http" | "https" => Self::Http(text.to_owned()),
                "file" => return Self::path(rest),
                "ssh" => {
                    return Self::ssh(rest)
                        .map_err(|cause| Error::new(ErrorKind::Malformed, redacted(text), cause));
                }
                "s3" => {
                    return Self::s3(rest)
                        .map_err(|cause| Error::new(ErrorKind::Malformed, redacted(text), cause));
                }
                "rbd" => {
                    return Self::rbd(rest)
                        .map_err(|cause| Error::new(ErrorKind::Malformed, redacted(text), cause));
                }
                _ => Self::Other(scheme),
            }),
            None => Self::path(text),
        }
    }

    fn path(text: &str) -> Result<Self, Error> {
        if text.starts_with('/') {
            return Ok(Self::Path(PathBuf::from(text)));
        }
        Err(Error::new(
            ErrorKind::Malformed,
            redacted(text),
            "is neither an absolute path nor a URL",
        ))
    }
}

impl Location {
    fn ssh(rest: &str) -> Result<Self, &'static str> {
        let (host, path) = split_host(rest).ok_or("is not ssh://host:path")?;
        let host = Host::new(host).map_err(|_| "names no host that ssh could be given")?;
        if path.is_empty() {
            return Err("names no path");
        }
        Ok(Self::Ssh { host, path: path.to_owned() })
    }

    fn s3(rest: &str) -> Result<Self, &'static str> {
        match rest.split_once('/') {
            Some((bucket, key)) if !bucket.is_empty() && !key.is_empty() => {
                Ok(Self::S3 { bucket: bucket.to_owned(), key: key.to_owned() })
            }
            _ => Err("is not s3://bucket/key"),
        }
    }

    fn rbd(rest: &str) -> Result<Self, &'static str> {
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (host, image) = place.split_once('/').ok_or("is not rbd://host/pool/image")?;
        let host = Host::new(host).map_err(|_| "names no host that ssh could be given")?;
        let mut arguments = Vec::new();
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            let option = match &*name {
                "CEPH_USER" => "--id",
                "CEPH_KEY" => "--keyfile",
                "CEPH_CONF" => "--conf",
                _ => continue,
            };
            if !value.is_empty() {
                arguments.extend([option.to_owned(), value.into_owned()]);
            }
        }
        if image.is_empty() || image.starts_with('-') {
            return Err("names no image of Ceph");
        }
        arguments.extend(["export".to_owned(), image.to_owned(), "-".to_owned()]);
        Ok(Self::Rbd { host, arguments })
    }
}

/// Splits `host:path` at the colon that ends the host; an IPv6 address stands in brackets.
fn split_host(text: &str) -> Option<(&str, &str)> {
    let from = text
        .find(']')
        .filter(|_| text.split('@').next_back().is_some_and(|host| host.starts_with('[')));
    let colon = text[from.unwrap_or_default()..].find(':')? + from.unwrap_or_default();
    Some((&text[..colon], &text[colon + 1..]))
}

fn scheme(text: &str) -> Option<(String, &str)> {
    let (scheme, rest) = text.split_once("://")?;
    let valid = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
    valid.then(|| (scheme.to_ascii_lowercase(), rest))
}

/// A path or URL as it may appear in a message: without user and password, without query and
/// fragment, on one line, and not longer than 256 characters.
///
/// ```
/// use market_transfer::redacted;
///
/// assert_eq!(redacted("http://me:secret@host/a?key=secret"), "http://host/a");
/// assert_eq!(redacted("/var/tmp/a\nb"), "/var/tmp/a\\nb");
/// ```
pub fn redacted(location: &str) -> String {
    let public = match scheme(location.trim_start()) {
        Some((scheme, rest)) if scheme == "ssh" && shown_ssh(rest).is_some() => {
            format!("ssh://{}", shown_ssh(rest).unwrap_or_default())
        }
        // Not a URL that we know, but somebody may have meant one.
        None if location.contains("://")
            || (!location.starts_with('/') && location.contains('@')) =>
        {
            "<not a URL>".to_owned()
        }
        None => location.to_owned(),
        Some((scheme, rest)) => {
            let rest = rest.split(['?', '#']).next().unwrap_or_default();
            let end = rest.find('/').unwrap_or(rest.len());
            let (authority, path) = rest.split_at(end);
            let host = authority.rsplit('@').next().unwrap_or_default();
            let port = if host.ends_with(']') {
                ""
            } else {
                host.rsplit_once(':').map_or("", |(_, port)| port)
            };
            // What is no port is a password with a slash in it: nothing before the last @ is shown.
            if !port.bytes().all(|b| b.is_ascii_digit()) {
                let shown = rest.rsplit_once('@').map_or("", |(_, after)| after);
                return redacted_line(&format!("{scheme}://{shown}"));
            }
            format!("{scheme}://{host}{path}")
        }
    };
    redacted_line(&public)
}

/// `host:path` of an ssh location; `None` when somebody may have meant a password by what follows
/// the first colon.
fn shown_ssh(rest: &str) -> Option<String> {
    let Ok(Location::Ssh { host, path }) = Location::ssh(rest) else { return None };
    let meant = path.split('/').next().is_some_and(|start| start.contains('@'));
    (!meant).then(|| format!("{}:{path}", host.name()))
}

pub(crate) fn redacted_line(public: &str) -> String {
    let mut line: String = public.chars().take(256).flat_map(escape).collect();
    if public.chars().nth(256).is_some() {
        line.push_str("...");
    }
    line
}

fn escape(c: char) -> impl Iterator<Item = char> {
    let escaped =
        (c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')).then(|| c.escape_default());
    let plain = escaped.is_none().then_some(c);
    escaped.into_iter().flatten().chain(plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn schemes_and_paths_are_told_apart() {
        assert!(
            matches!(Location::parse("/a/b"), Ok(Location::Path(path)) if path == Path::new("/a/b"))
        );
        assert!(
            matches!(Location::parse("file:///a"), Ok(Location::Path(path)) if path == Path::new("/a"))
        );
        assert!(matches!(Location::parse("HTTP://h/a"), Ok(Location::Http(_))));
        assert!(
            matches!(Location::parse("restic+rbd://h/a"), Ok(Location::Other(scheme)) if scheme == "restic+rbd")
        );
        let ssh = Location::parse("ssh://u@h:/a b'$(x)?y").unwrap();
        assert!(
            matches!(&ssh, Location::Ssh { host, path } if host.as_str() == "u@h" && path == "/a b'$(x)?y")
        );
        let ssh = Location::parse("ssh://[::1]:a:b").unwrap();
        assert!(
            matches!(&ssh, Location::Ssh { host, path } if host.as_str() == "[::1]" && path == "a:b")
        );
        let rbd = Location::parse("rbd://h/one/one-1@s?CEPH_USER=a%20b&x=y&CEPH_CONF=").unwrap();
        assert!(matches!(&rbd, Location::Rbd { host, arguments }
            if host.as_str() == "h" && *arguments == ["--id", "a b", "export", "one/one-1@s", "-"]));
        let s3 = Location::parse("S3://b/a/x y?z#1-7").unwrap();
        assert!(
            matches!(&s3, Location::S3 { bucket, key } if bucket == "b" && key == "a/x y?z#1-7")
        );
        for wrong in [
            "",
            "s3://",
            "s3://b",
            "s3://b/",
            "s3:///k",
            "a/b",
            "-x",
            "http:/a",
            "/a\0b",
            "file://a",
            "ssh://h",
            "ssh://h:",
            "ssh://-oX=y:/a",
            "ssh://a b:/a",
            "ssh://:/a",
            "rbd://h",
            "rbd://h/",
            "rbd://h/-x",
            "rbd://-x/a/b",
            "rbd:///a/b",
        ] {
            assert_eq!(
                Location::parse(wrong).err().map(|e| e.kind),
                Some(ErrorKind::Malformed),
                "{wrong:?}"
            );
        }
    }

    #[test]
    fn no_secret_of_a_url_is_shown() {
        for url in [
            "http://u:hunter2@h/a",
            "rbd://h/p/i?CEPH_KEY=hunter2",
            "http://u:hunter2/x@h/a",
            "s3://h/a#hunter2",
            "http://u:@hunter2@h/",
            "http://u:abc/hunter2@h/",
            " http://u:hunter2@h/",
            "x y://u:hunter2@h",
            "ssh://u:hunter2@h:/a",
            "ssh://u:hunter2@h/a",
            "http:/u:hunter2@h/a",
            "http:u:hunter2@h/a",
            "u:hunter2@h/a",
        ] {
            assert!(!redacted(url).contains("hunter2"), "{}", redacted(url));
        }
        assert_eq!(redacted("ssh://u@h:dir/a"), "ssh://h:dir/a");
        assert_eq!(redacted(&format!("/{}", "a".repeat(300))).len(), 256 + 3);
    }
}
