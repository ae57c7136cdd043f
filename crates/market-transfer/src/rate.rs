//! Limits on the rate of transfers.

use std::num::NonZeroU64;
use std::str::FromStr;
use std::time::Duration;
use tokio::time::Instant;

/// A limit in bytes per second, as `curl --limit-rate` writes it: a number, with or without one of
/// the suffixes k, M, G, T (times 1,024 each, in any letter case).
///
/// ```
/// use market_transfer::Rate;
///
/// assert_eq!("10M".parse::<Rate>()?.bytes_per_second(), 10 << 20);
/// assert_eq!("1.5k".parse::<Rate>()?.bytes_per_second(), 1_536);
/// assert!("fast".parse::<Rate>().is_err() && "0".parse::<Rate>().is_err());
/// # Ok::<(), market_transfer::RateError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate(NonZeroU64);

/// A text that is no rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is no rate: a number of bytes per second is expected, such as 500k or 10M")]
pub struct RateError;

impl Rate {
    /// Bytes per second.
    pub fn bytes_per_second(self) -> u64 {
        self.0.get()
    }
}

impl FromStr for Rate {
    type Err = RateError;

    fn from_str(text: &str) -> Result<Self, RateError> {
        let text = text.trim();
        let (number, shift) = match text.bytes().last().map(|byte| byte.to_ascii_lowercase()) {
            Some(suffix @ (b'b' | b'k' | b'm' | b'g' | b't')) => {
                let shift =
                    b"bkmgt".iter().position(|&known| known == suffix).unwrap_or_default() * 10;
                (&text[..text.len() - 1], shift)
            }
            _ => (text, 0),
        };
        let digits =
            |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
        if !digits(whole) || !digits(fraction) {
            return Err(RateError);
        }
        let whole: u64 = whole.parse().map_err(|_| RateError)?;
        // Three digits of the fraction: thousandths are enough.
        let thousandths = fraction
            .bytes()
            .chain(*b"000")
            .take(3)
            .fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0'));
        let scale = 1_u64 << shift;
        let bytes = whole
            .checked_mul(scale)
            .and_then(|bytes| bytes.checked_add(thousandths.saturating_mul(scale) / 1_000));
        bytes.and_then(NonZeroU64::new).map(Self).ok_or(RateError)
    }
}

/// Keeps a stream within a [`Rate`].
pub(crate) struct Pacer {
    rate: Rate,
    /// When the next byte is due.
    due: Option<Instant>,
}

/// A stream that was slower for a while may catch up so much.
const CREDIT: Duration = Duration::from_millis(500);

impl Pacer {
    pub(crate) fn new(rate: Rate) -> Self {
        Self { rate, due: None }
    }

    /// How many bytes to copy at once: a quarter of a second's, in multiples of 64 KiB.
    pub(crate) fn stride(&self) -> u64 {
        (self.rate.bytes_per_second() / 4).max(1).next_multiple_of(64 << 10)
    }

    /// Waits until so many bytes, which have been copied already, were due.
    pub(crate) async fn throttle(&mut self, bytes: u64) {
        let now = Instant::now();
        let earliest = now.checked_sub(CREDIT).unwrap_or(now);
        let seconds = bytes as f64 / self.rate.bytes_per_second() as f64;
        // A rate of one byte a second and a piece of 256 KiB: three days.
        let due = self.due.map_or(now, |due| due.max(earliest)) + Duration::from_secs_f64(seconds);
        self.due = Some(due);
        tokio::time::sleep_until(due).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_rates_are_taken() {
        for (text, bytes) in
            [("1", 1), (" 500K ", 500 << 10), ("2g", 2 << 30), ("0.5M", 512 << 10), ("7b", 7)]
        {
            assert_eq!(text.parse::<Rate>().map(Rate::bytes_per_second), Ok(bytes), "{text}");
        }
        for text in
            ["", "k", "-1", "1e3", "0", "0.0001", "1 M", "1.M", ".5", "99999999999999T", "1kk"]
        {
            assert_eq!(text.parse::<Rate>(), Err(RateError), "{text}");
        }
    }

    #[test]
    fn the_rate_is_kept_and_a_pause_gives_little_credit() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let start = Instant::now();
            let mut pacer = Pacer::new("1000".parse().unwrap());
            for _ in 0..10 {
                pacer.throttle(1_000).await;
            }
            assert_eq!(start.elapsed().as_secs(), 10);
            tokio::time::sleep(Duration::from_secs(60)).await;
            pacer.throttle(1_500).await;
            assert!(start.elapsed() >= Duration::from_secs(71), "{:?}", start.elapsed());
        });
    }
}
