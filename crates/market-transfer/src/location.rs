//! Where a source is: a path or a URL, told apart, and shown without secrets.

use crate::{Error, ErrorKind};
use std::path::PathBuf;

/// A source's location by its scheme.
#[derive(Clone, PartialEq, Eq)]
pub enum Location {
    /// A local path; `file://` is cut off.
    Path(PathBuf),
    /// `http://` or `https://`.
    Http(String),
    /// Any other scheme, in lower case.
    Other(String),
}

impl Location {
    /// Tells paths and URLs apart.
    ///
    /// # Errors
    /// When the text is empty, or holds a NUL byte, or is neither a URL nor an absolute path.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let malformed = |cause: &str| Err(Error::new(ErrorKind::Malformed, shown(text), cause));
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
                _ => Self::Other(scheme),
            }),
            None => Self::path(text),
        }
    }

    fn path(text: &str) -> Result<Self, Error> {
        if text.starts_with('/') {
            return Ok(Self::Path(PathBuf::from(text)));
        }
        Err(Error::new(ErrorKind::Malformed, shown(text), "is neither an absolute path nor a URL"))
    }
}

fn scheme(text: &str) -> Option<(String, &str)> {
    let (scheme, rest) = text.split_once("://")?;
    let valid = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
    valid.then(|| (scheme.to_ascii_lowercase(), rest))
}

/// A path or URL as it may appear in a message: without user and password, without query and fragment, on one line, and not
/// longer than 256 characters.
///
/// ```
/// use market_transfer::shown;
///
/// assert_eq!(shown("http://me:secret@host/a?key=secret"), "http://host/a");
/// assert_eq!(shown("/var/tmp/a\nb"), "/var/tmp/a\\nb");
/// ```
pub fn shown(location: &str) -> String {
    let public = match scheme(location.trim_start()) {
        // Not a URL that we know, but somebody may have meant one.
        None if location.contains("://") => "<not a URL>".to_owned(),
        None => location.to_owned(),
        Some((scheme, rest)) => {
            let rest = rest.split(['?', '#']).next().unwrap_or_default();
            let end = rest.find('/').unwrap_or(rest.len());
            let (authority, path) = rest.split_at(end);
            let host = authority.rsplit('@').next().unwrap_or_default();
            let port = if host.ends_with(']') { "" } else { host.rsplit_once(':').map_or("", |(_, port)| port) };
            // What is no port is a password with a slash in it: nothing before the last @ is shown.
            if !port.bytes().all(|b| b.is_ascii_digit()) {
                let shown = rest.rsplit_once('@').map_or("", |(_, after)| after);
                return shown_line(&format!("{scheme}://{shown}"));
            }
            format!("{scheme}://{host}{path}")
        }
    };
    shown_line(&public)
}

fn shown_line(public: &str) -> String {
    let mut line: String = public.chars().take(256).flat_map(escape).collect();
    if public.chars().nth(256).is_some() {
        line.push_str("...");
    }
    line
}

fn escape(c: char) -> impl Iterator<Item = char> {
    let escaped = (c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')).then(|| c.escape_default());
    let plain = escaped.is_none().then_some(c);
    escaped.into_iter().flatten().chain(plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn schemes_and_paths_are_told_apart() {
        assert!(matches!(Location::parse("/a/b"), Ok(Location::Path(path)) if path == Path::new("/a/b")));
        assert!(matches!(Location::parse("file:///a"), Ok(Location::Path(path)) if path == Path::new("/a")));
        assert!(matches!(Location::parse("HTTP://h/a"), Ok(Location::Http(_))));
        assert!(matches!(Location::parse("restic+rbd://h/a"), Ok(Location::Other(scheme)) if scheme == "restic+rbd"));
        for wrong in ["", "a/b", "-x", "http:/a", "/a\0b", "file://a"] {
            assert_eq!(Location::parse(wrong).err().map(|e| e.kind), Some(ErrorKind::Malformed), "{wrong:?}");
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
        ] {
            assert!(!shown(url).contains("hunter2"), "{}", shown(url));
        }
        assert_eq!(shown(&format!("/{}", "a".repeat(300))).len(), 256 + 3);
    }
}
