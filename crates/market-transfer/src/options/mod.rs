//! How sources are read.

mod scheme;

pub use scheme::{Scheme, Schemes};

use crate::rate::Rate;
use crate::retry::RetryPolicy;
use std::path::PathBuf;
use std::time::Duration;

/// How sources are read: time-outs, retries, limits, whom to trust, and the schemes that are known.
///
/// ```
/// use market_transfer::Options;
/// use std::time::Duration;
///
/// let options = Options::default().with_idle_timeout(Duration::from_secs(60)).with_retries(5);
/// assert_eq!(options.connect_timeout, Duration::from_secs(30));
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// How long a connection may take to be made. By default 30 seconds.
    pub connect_timeout: Duration,
    /// How long the other side may be silent. There is no limit on the whole transfer. By default
    /// 5 minutes.
    pub idle_timeout: Duration,
    /// How often a transfer that broke is resumed, and after which pauses. By default 3 times.
    pub retry: RetryPolicy,
    /// What this program calls itself to HTTP servers. By default the name and version of this
    /// library.
    pub user_agent: String,
    /// A file of PEM certificates that https servers may be signed with, beside those of the
    /// machine. By default none.
    pub tls_ca: Option<PathBuf>,
    /// Takes any certificate of an https server: nobody knows who is on the other side. By default
    /// off.
    pub tls_insecure: bool,
    /// Follows a redirect from `https://` to `http://`, where anybody on the way could change the
    /// bytes. By default off.
    pub redirect_to_http: bool,
    /// The most bytes that a [`transfer`](crate::Source::transfer) may store; more is an error,
    /// [`TooLarge`](crate::ErrorKind::TooLarge). A caller that knows how large the content should
    /// be sets it for that source. By default `None`: unpacking fails when it makes a thousand
    /// times of what was fetched, and more than 1 GiB, zeros not counted.
    pub max_unpacked_bytes: Option<u64>,
    /// How fast bytes may be read. By default without a limit.
    pub limit: Option<Rate>,
    /// The `ssh` command, its words separated by blanks. By default `ssh`.
    pub ssh: String,
    /// Whether `ssh://` must lead to another machine than this one, under whatever name. By default
    /// it need not.
    pub ssh_elsewhere: bool,
    /// Who opens what. By default [`Schemes::default`].
    pub schemes: Schemes,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(300),
            retry: RetryPolicy::default(),
            user_agent: concat!("market-transfer/", env!("CARGO_PKG_VERSION")).to_owned(),
            tls_ca: None,
            tls_insecure: false,
            redirect_to_http: false,
            max_unpacked_bytes: None,
            limit: None,
            ssh: "ssh".to_owned(),
            ssh_elsewhere: false,
            schemes: Schemes::default(),
        }
    }
}

/// Each sets the field of its name.
impl Options {
    /// Sets [`connect_timeout`](Self::connect_timeout).
    #[must_use]
    pub fn with_connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Sets [`idle_timeout`](Self::idle_timeout).
    #[must_use]
    pub fn with_idle_timeout(mut self, timeout: Duration) -> Self {
        self.idle_timeout = timeout;
        self
    }

    /// Sets [`retry`](Self::retry).
    #[must_use]
    pub fn with_retry(mut self, policy: RetryPolicy) -> Self {
        self.retry = policy;
        self
    }

    /// Sets how often a transfer is resumed, and nothing else of [`retry`](Self::retry).
    #[must_use]
    pub fn with_retries(mut self, retries: u32) -> Self {
        self.retry.retries = retries;
        self
    }

    /// Sets the pause before the first retry, and nothing else of [`retry`](Self::retry).
    #[must_use]
    pub fn with_first_pause(mut self, pause: Duration) -> Self {
        self.retry.first_pause = pause;
        self
    }

    /// Sets [`user_agent`](Self::user_agent).
    #[must_use]
    pub fn with_user_agent(mut self, user_agent: impl Into<String>) -> Self {
        self.user_agent = user_agent.into();
        self
    }

    /// Sets [`tls_ca`](Self::tls_ca).
    #[must_use]
    pub fn with_tls_ca(mut self, certificates: impl Into<PathBuf>) -> Self {
        self.tls_ca = Some(certificates.into());
        self
    }

    /// Sets [`tls_insecure`](Self::tls_insecure).
    #[must_use]
    pub fn with_tls_insecure(mut self, insecure: bool) -> Self {
        self.tls_insecure = insecure;
        self
    }

    /// Sets [`redirect_to_http`](Self::redirect_to_http).
    #[must_use]
    pub fn with_redirect_to_http(mut self, allowed: bool) -> Self {
        self.redirect_to_http = allowed;
        self
    }

    /// Sets [`max_unpacked_bytes`](Self::max_unpacked_bytes).
    #[must_use]
    pub fn with_max_unpacked_bytes(mut self, bytes: impl Into<Option<u64>>) -> Self {
        self.max_unpacked_bytes = bytes.into();
        self
    }

    /// The same for a source of which at most so many bytes may be stored, such as the size that
    /// was declared for it; fewer when fewer are allowed already.
    ///
    /// ```
    /// use market_transfer::Options;
    ///
    /// assert_eq!(Options::default().at_most(7).at_most(9).max_unpacked_bytes, Some(7));
    /// ```
    #[must_use]
    pub fn at_most(mut self, bytes: u64) -> Self {
        self.max_unpacked_bytes =
            Some(self.max_unpacked_bytes.map_or(bytes, |before| before.min(bytes)));
        self
    }

    /// Sets [`limit`](Self::limit).
    #[must_use]
    pub fn with_limit(mut self, limit: impl Into<Option<Rate>>) -> Self {
        self.limit = limit.into();
        self
    }

    /// Sets [`ssh`](Self::ssh).
    #[must_use]
    pub fn with_ssh(mut self, command: impl Into<String>) -> Self {
        self.ssh = command.into();
        self
    }

    /// Sets [`ssh_elsewhere`](Self::ssh_elsewhere).
    #[must_use]
    pub fn with_ssh_elsewhere(mut self, required: bool) -> Self {
        self.ssh_elsewhere = required;
        self
    }

    /// Registers a scheme, in place of one of the same name.
    #[must_use]
    pub fn with_scheme(mut self, scheme: impl Scheme + Send + Sync + 'static) -> Self {
        self.schemes = self.schemes.with(scheme);
        self
    }

    /// Registers what opens every location of a scheme that nobody else has.
    #[must_use]
    pub fn with_fallback(mut self, scheme: impl Scheme + Send + Sync + 'static) -> Self {
        self.schemes = self.schemes.with_fallback(scheme);
        self
    }
}
