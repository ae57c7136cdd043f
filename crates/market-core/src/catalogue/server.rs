//! The server of a catalogue.

use std::fmt;
use thiserror::Error;
use url::Url;

/// Why a text is not the URL of a server. No message repeats the text: it may hold a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ServerError {
    /// It is not an http or https URL with a host.
    #[error("is no http:// or https:// URL of a server")]
    NotAServer,
    /// It holds a blank or a control character.
    #[error("holds a blank or a control character")]
    BlankOrControl,
    /// It has a query or a fragment.
    #[error("holds a query (?) or a fragment (#): paths are put behind it")]
    QueryOrFragment,
}

/// A web server as a marketplace's template names it. Requests use the user and the password that
/// its URL may hold; URLs that are published, and messages, do not.
///
/// ```
/// use market_core::catalogue::Server;
///
/// let server = Server::parse("HTTPS://me:secret@host/market//")?;
/// assert_eq!(server.as_str(), "https://host/market/");
/// assert_eq!(server.request("list"), "https://me:secret@host/market/list");
/// assert_eq!(server.below("images/a:1/disk.img").unwrap(), "https://host/market/images/a:1/disk.img");
/// assert_eq!(server.below("../other/disk.img"), None);
/// # Ok::<(), market_core::catalogue::ServerError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Server {
    with_user: Url,
    published: Url,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Server").field(&self.as_str()).finish()
    }
}

impl Server {
    /// Reads an http or https URL. Slashes at its end do not matter.
    ///
    /// # Errors
    /// When it is no such URL, or has a query or a fragment.
    pub fn parse(text: &str) -> Result<Self, ServerError> {
        if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(ServerError::BlankOrControl);
        }
        let url = Url::parse(text).map_err(|_| ServerError::NotAServer)?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(ServerError::NotAServer);
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(ServerError::QueryOrFragment);
        }
        Self::of(url).ok_or(ServerError::NotAServer)
    }

    /// The server on which `path` was found at `url`, after redirects: what is before the path, when
    /// the path of the URL ends in exactly these segments; slashes behind them do not matter.
    ///
    /// ```
    /// use market_core::catalogue::Server;
    ///
    /// let server = Server::holding("http://me:secret@host/a/streams/v1/images.json?x=y", "streams/v1/images.json").unwrap();
    /// assert_eq!(server.as_str(), "http://host/a/");
    /// assert!(Server::holding("http://host/a/simplestreams/v1/images.json", "streams/v1/images.json").is_none());
    /// ```
    pub fn holding(url: &str, path: &str) -> Option<Self> {
        let mut url = Url::parse(url).ok().filter(Url::has_host)?;
        let before =
            url.path().trim_end_matches('/').strip_suffix(path)?.strip_suffix('/')?.to_owned();
        url.set_path(&before);
        url.set_query(None);
        url.set_fragment(None);
        Self::of(without_user(url)?)
    }

    fn of(mut with_user: Url) -> Option<Self> {
        let path = format!("{}/", with_user.path().trim_end_matches('/'));
        with_user.set_path(&path);
        Some(Self { published: without_user(with_user.clone())?, with_user })
    }

    /// The URL as it may be published, with a slash at its end.
    pub fn as_str(&self) -> &str {
        self.published.as_str()
    }

    /// The URL of a path below it, for a request: it may hold a password.
    pub fn request(&self, path: &str) -> String {
        format!("{}{path}", self.with_user)
    }

    /// The URL of a path below it, as it may be published; `None` when the path leads elsewhere.
    pub fn below(&self, path: &str) -> Option<String> {
        // Not another scheme, nor another host.
        let relative = format!("./{}", path.trim_start_matches('/'));
        let url = self.published.join(&relative).ok()?;
        let is_below =
            url.as_str().strip_prefix(self.as_str()).is_some_and(|rest| !rest.is_empty());
        (is_below && url.query().is_none() && url.fragment().is_none()).then(|| url.into())
    }
}

fn without_user(mut url: Url) -> Option<Url> {
    url.set_username("").ok()?;
    url.set_password(None).ok()?;
    Some(url)
}
