//! What is tried again, how often, and after which pauses.

use crate::{Error, ErrorKind};
use std::fmt;
use std::time::{Duration, SystemTime};

/// How often something that failed is tried again, and how long is waited before.
///
/// ```
/// use market_transfer::RetryPolicy;
/// use std::time::Duration;
///
/// let policy = RetryPolicy::default();
/// assert_eq!((policy.retries, policy.first_pause), (3, Duration::from_secs(1)));
/// assert_eq!(RetryPolicy::none().retries, 0);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetryPolicy {
    /// Tries after the first one. By default 3.
    pub retries: u32,
    /// The pause before the first retry; each further pause is twice as long. By default one
    /// second. Between half and all of a pause is waited, by chance, so that several programs that
    /// one failing server has stopped do not come back at the same moment.
    pub first_pause: Duration,
    /// The longest pause, whether computed or asked for by the other side. By default one minute.
    pub max_pause: Duration,
    /// After so many further bytes a transfer that breaks is a new failure, with all its retries.
    /// With less, a server could keep a transfer alive for ever. By default 8 MiB.
    pub renewal_bytes: u64,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            retries: 3,
            first_pause: Duration::from_secs(1),
            max_pause: Duration::from_secs(60),
            renewal_bytes: 8 << 20,
        }
    }
}

impl RetryPolicy {
    /// Every failure is final.
    pub fn none() -> Self {
        Self { retries: 0, ..Self::default() }
    }

    /// The same with another number of retries.
    #[must_use]
    pub fn with_retries(mut self, retries: u32) -> Self {
        self.retries = retries;
        self
    }

    /// The same with another pause before the first retry; zero for no pauses at all.
    #[must_use]
    pub fn with_first_pause(mut self, first_pause: Duration) -> Self {
        self.first_pause = first_pause;
        self
    }

    /// All retries of one operation, none of them used.
    pub fn start(&self) -> Retries {
        Retries { policy: *self, used: 0 }
    }

    /// Runs an operation until it succeeds, fails for good, or has been tried often enough.
    ///
    /// # Errors
    /// The error of the last try, which says how many retries did not help.
    ///
    /// ```
    /// use market_transfer::{Error, ErrorKind, RetryPolicy, RetryableError};
    /// use std::time::Duration;
    ///
    /// # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    /// # runtime.block_on(async {
    /// let policy = RetryPolicy::default().with_first_pause(Duration::ZERO);
    /// let mut tries = 0;
    /// let answer = policy
    ///     .run(async || {
    ///         tries += 1;
    ///         let busy = || Error::new(ErrorKind::Unreachable, "the service", "is busy");
    ///         if tries < 3 { Err(RetryableError::temporary(busy())) } else { Ok("done") }
    ///     })
    ///     .await?;
    /// assert_eq!((answer, tries), ("done", 3));
    /// # Ok::<(), Error>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub async fn run<T>(
        &self,
        mut operation: impl AsyncFnMut() -> Result<T, RetryableError>,
    ) -> Result<T, Error> {
        let mut retries = self.start();
        loop {
            match operation().await {
                Ok(value) => return Ok(value),
                Err(failure) => retries.wait_after(failure).await?,
            }
        }
    }
}

/// The retries of one operation that are left.
#[derive(Clone, Debug)]
pub struct Retries {
    policy: RetryPolicy,
    used: u32,
}

impl Retries {
    /// All retries are available again: what was reached counts as a new beginning.
    pub fn renew(&mut self) {
        self.used = 0;
    }

    /// Waits before the next try. `requested` is the pause that the other side has asked for: at
    /// least so long is waited, but never longer than [`RetryPolicy::max_pause`].
    ///
    /// # Errors
    /// When no retry is left; at once.
    pub async fn wait(&mut self, requested: Option<Duration>) -> Result<(), GivenUp> {
        if self.used == self.policy.retries {
            return Err(GivenUp(self.policy.retries));
        }
        let pause = requested.unwrap_or_else(|| self.computed_pause());
        self.used += 1;
        tokio::time::sleep(pause.min(self.policy.max_pause)).await;
        Ok(())
    }

    /// Waits before the next try after a failure.
    ///
    /// # Errors
    /// The failure itself, when no further try may help or none is left.
    pub async fn wait_after(&mut self, failure: RetryableError) -> Result<(), Error> {
        if !failure.again {
            return Err(failure.error);
        }
        self.wait(failure.pause).await.map_err(|given_up| {
            let cause = format!("{}{given_up}", failure.error.cause);
            failure.error.with_cause(cause)
        })
    }

    /// The first pause, doubled for each retry that was used; between half and all of it.
    fn computed_pause(&self) -> Duration {
        let doubled = self.policy.first_pause.saturating_mul(2_u32.saturating_pow(self.used));
        let pause = doubled.min(self.policy.max_pause);
        // Without random numbers, all of it.
        let fraction =
            getrandom::u32().map_or(1.0, |random| f64::from(random) / f64::from(u32::MAX));
        pause.mul_f64(0.5 + fraction / 2.0)
    }
}

/// There is no further try. Its text is what to add to the reason of the last failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GivenUp(u32);

impl fmt::Display for GivenUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            retries => write!(f, " ({retries} retries did not help)"),
        }
    }
}

/// A failure, and whether another try may help.
#[derive(Clone, Debug)]
pub struct RetryableError {
    pub(crate) error: Error,
    pub(crate) again: bool,
    pub(crate) pause: Option<Duration>,
}

impl RetryableError {
    /// A failure that may pass: another try may help.
    pub fn temporary(error: Error) -> Self {
        Self { error, again: true, pause: None }
    }

    /// A failure that stays.
    pub fn permanent(error: Error) -> Self {
        Self { error, again: false, pause: None }
    }

    /// The same with the pause that the other side has asked for before the next try.
    #[must_use]
    pub fn with_pause(mut self, pause: Option<Duration>) -> Self {
        self.pause = pause;
        self
    }

    /// What failed.
    pub fn error(&self) -> &Error {
        &self.error
    }

    /// The error alone.
    pub fn into_error(self) -> Error {
        self.error
    }

    /// Whether another try may help.
    pub fn is_temporary(&self) -> bool {
        self.again
    }

    /// The pause that the other side has asked for.
    pub fn pause(&self) -> Option<Duration> {
        self.pause
    }

    /// The same with words added to its reason.
    pub(crate) fn with_note(mut self, note: &str) -> Self {
        self.error.cause.push_str(note);
        self
    }
}

/// A failure that stays.
impl From<Error> for RetryableError {
    fn from(error: Error) -> Self {
        Self::permanent(error)
    }
}

/// The kind of a failure that an HTTP status stands for, and whether another try may help.
pub(crate) fn of_http_status(status: u16) -> (ErrorKind, bool) {
    let kind = match status {
        404 | 410 => ErrorKind::Absent,
        401 | 403 | 407 => ErrorKind::Denied,
        _ => ErrorKind::Unreachable,
    };
    (kind, matches!(status, 408 | 429 | 500..=599))
}

/// The pause that a `Retry-After` header asks for: a number of seconds, or the HTTP date of the
/// next try (RFC 9110, 10.2.3), seen from `now`. `None` for a date that
/// has passed, which says nothing about when to try again, and for a value of another form.
///
/// ```
/// use market_transfer::parse_retry_after;
/// use std::time::{Duration, SystemTime};
///
/// let minute = Some(Duration::from_secs(60));
/// assert_eq!(parse_retry_after("60", SystemTime::now()), minute);
/// assert_eq!(parse_retry_after("Thu, 01 Jan 1970 00:01:00 GMT", SystemTime::UNIX_EPOCH), minute);
/// assert_eq!(parse_retry_after("soon", SystemTime::now()), None);
/// ```
pub fn parse_retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // More seconds than fit are for ever.
        return Some(value.parse().map_or(Duration::MAX, Duration::from_secs));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    date.duration_since(now).ok().filter(|pause| !pause.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::Instant;

    fn block_on(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(test);
    }

    #[test]
    fn pauses_double_up_to_the_longest_one_and_are_never_shorter_than_half() {
        block_on(async {
            let policy = RetryPolicy { retries: 8, ..RetryPolicy::default() };
            let mut retries = policy.start();
            for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
                let start = Instant::now();
                retries.wait(None).await.unwrap();
                let (pause, waited) = (Duration::from_secs(seconds), start.elapsed());
                let tick = Duration::from_millis(2);
                assert!(waited >= pause / 2 && waited <= pause + tick, "{seconds}: {waited:?}");
            }
            assert_eq!(
                retries.wait(None).await.unwrap_err().to_string(),
                " (8 retries did not help)"
            );
            retries.renew();
            assert!(retries.wait(None).await.is_ok());
        });
    }

    #[test]
    fn a_pause_that_was_asked_for_is_kept_but_not_for_ever() {
        block_on(async {
            let mut retries = RetryPolicy::default().start();
            for (asked, waited) in [(7, 7), (3_600, 60), (0, 0)] {
                let start = Instant::now();
                retries.wait(Some(Duration::from_secs(asked))).await.unwrap();
                assert_eq!(start.elapsed().as_secs(), waited, "{asked}");
            }
        });
    }

    #[test]
    fn failures_that_stay_are_not_tried_again_and_others_say_how_often_they_were() {
        block_on(async {
            let error = || Error::new(ErrorKind::Unreachable, "x", "is busy");
            let tried = |temporary: bool, retries: u32| async move {
                let mut tries = 0;
                let policy = RetryPolicy::none().with_retries(retries);
                let outcome = policy.run(async || {
                    tries += 1;
                    let failure = RetryableError::temporary(error());
                    Err::<(), _>(if temporary { failure } else { error().into() })
                });
                let message = outcome.await.unwrap_err().to_string();
                (tries, message)
            };
            assert_eq!(tried(false, 5).await, (1, "x: is busy".to_owned()));
            assert_eq!(tried(true, 0).await, (1, "x: is busy".to_owned()));
            assert_eq!(tried(true, 5).await, (6, "x: is busy (5 retries did not help)".to_owned()));
        });
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        for (value, seconds) in [
            (" 120 ", Some(120)),
            ("0", Some(0)),
            ("Sun, 06 Nov 1994 08:50:37 GMT", Some(60)),
            ("Sunday, 06-Nov-94 08:49:47 GMT", Some(10)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", None),
            ("99999999999999999999999", Some(u64::MAX)),
            ("", None),
            ("-1", None),
            ("1.5", None),
            ("tomorrow", None),
        ] {
            let pause = parse_retry_after(value, now);
            assert_eq!(pause.map(|pause| pause.as_secs()), seconds, "{value}");
        }
    }
}
