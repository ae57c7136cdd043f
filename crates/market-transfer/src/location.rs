//! Where a source is: a path or a URL, told apart, and shown without secrets.

use crate::host::parse_host_path;
use crate::{Error, ErrorKind};
use std::fmt;
use std::path::Path;

/// The scheme of local paths.
const FILE: &str = "file";

/// Where a source is, split once: a scheme, and what the scheme makes of the rest.
///
/// What follows `://` is kept as it was written; it is for the [`Scheme`](crate::Scheme) to say
/// what is malformed in it. Shown, by `Display` and `Debug`, is the [`redacted`] text.
///
/// ```
/// use market_transfer::Location;
///
/// let image = Location::parse("HTTPS://me:secret@host/image?key=secret")?;
/// assert_eq!((image.scheme(), image.rest()), ("https", "me:secret@host/image?key=secret"));
/// assert_eq!(image.to_string(), "https://host/image");
/// let local = Location::parse("/var/tmp/image")?;
/// assert_eq!((local.scheme(), local.path()), ("file", Some("/var/tmp/image".as_ref())));
/// # Ok::<(), market_transfer::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Location {
    text: String,
    scheme: String,
    /// Where the rest begins in the text.
    rest: usize,
}

impl Location {
    /// Tells paths and URLs apart. A path without a scheme and `file://` with a path are the same.
    ///
    /// # Errors
    /// [`Malformed`](ErrorKind::Malformed) when the text is empty, or holds a NUL byte, or is
    /// neither a URL nor an absolute path.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let malformed = |cause: &str| Err(Error::new(ErrorKind::Malformed, redacted(text), cause));
        if text.is_empty() {
            return Err(Error::new(ErrorKind::Malformed, "the source", "is empty"));
        }
        if text.contains('\0') {
            return malformed("holds a NUL byte");
        }
        let (scheme, rest) = scheme(text).unwrap_or_else(|| (FILE.to_owned(), text));
        if scheme == FILE && !rest.starts_with('/') {
            return malformed("is neither an absolute path nor a URL");
        }
        let rest = text.len() - rest.len();
        Ok(Self { text: text.to_owned(), scheme, rest })
    }

    /// The scheme in lower case; `file` for a local path.
    pub fn scheme(&self) -> &str {
        &self.scheme
    }

    /// What follows `://`, as it was written: with user, password and query. For a local path, the
    /// path.
    pub fn rest(&self) -> &str {
        &self.text[self.rest..]
    }

    /// All of it as it was written: with user, password and query.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The path, when it is a local one.
    pub fn path(&self) -> Option<&Path> {
        (self.scheme == FILE).then(|| Path::new(self.rest()))
    }

    /// The error that it is not of the form that its scheme has; `cause` says which, as in "names
    /// no path".
    pub fn malformed(&self, cause: impl Into<String>) -> Error {
        Error::new(ErrorKind::Malformed, self.to_string(), cause)
    }

    /// The error that nobody here can read it.
    pub fn unsupported(&self, cause: impl Into<String>) -> Error {
        Error::new(ErrorKind::Unsupported, self.to_string(), cause)
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&redacted(&self.text))
    }
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Location").field(&redacted(&self.text)).finish()
    }
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
    let (host, path) = parse_host_path(rest).ok()?;
    let meant = path.split('/').next().is_some_and(|start| start.contains('@'));
    (!meant).then(|| format!("{}:{path}", host.name()))
}

/// A text without secrets on one line of at most 256 characters, control characters escaped, as
/// messages show texts of others. It hides nothing: see [`redacted`] for paths and URLs.
///
/// ```
/// assert_eq!(market_transfer::redacted_line("one\ntwo"), "one\\ntwo");
/// ```
pub fn redacted_line(public: &str) -> String {
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

    #[test]
    fn schemes_and_paths_are_told_apart() {
        for (text, scheme, rest, path) in [
            ("/a/b", "file", "/a/b", Some("/a/b")),
            ("file:///a", "file", "/a", Some("/a")),
            ("HTTP://h/A", "http", "h/A", None),
            ("restic+rbd://h/a", "restic+rbd", "h/a", None),
            ("ssh://u@h:/a b'$(x)?y", "ssh", "u@h:/a b'$(x)?y", None),
            ("S3://b/a/x y?z#1-7", "s3", "b/a/x y?z#1-7", None),
        ] {
            let location = Location::parse(text).unwrap();
            assert_eq!((location.scheme(), location.rest()), (scheme, rest), "{text}");
            assert_eq!((location.path(), location.as_str()), (path.map(Path::new), text), "{text}");
        }
        for wrong in ["", "a/b", "-x", "http:/a", "/a\0b", "file://a", "1x://h", "://h"] {
            let kind = Location::parse(wrong).err().map(|error| error.kind);
            assert_eq!(kind, Some(ErrorKind::Malformed), "{wrong:?}");
        }
    }

    #[test]
    fn a_location_is_shown_without_its_secrets() {
        let location = Location::parse("tape://u:hunter2@h/7?key=hunter2").unwrap();
        assert_eq!(format!("{location} {location:?}"), "tape://h/7 Location(\"tape://h/7\")");
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
