//! Times as S3 writes them: ISO 8601 in lists, a compact form of it in signatures.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

const SECONDS_PER_DAY: u64 = 86_400;
const DAYS_OF_MONTHS: [u64; 12] = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

/// Reads `2026-11-22T16:00:00.000Z`, with any fraction of a second and any offset; `None` for what
/// is no such time. One before 1970, as some services write for "unset", is the beginning of 1970.
pub(crate) fn parse_iso8601(text: &str) -> Option<SystemTime> {
    let (date, time) = text.split_once(['T', 't', ' '])?;
    let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
    let zone = time.find(['Z', 'z', '+', '-'])?;
    let (clock, zone) = time.split_at(zone);
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    let [hour, minute, second] = numbers(clock, ':', [2, 2, 2])?;
    let is_fraction = !fraction.is_empty() && is_digits(fraction);
    // A leap second is the first second of the next minute.
    let in_range = hour < 24 && minute < 60 && second <= 60 && is_fraction;
    let days = days_until(year, month, day).filter(|_| in_range)?;
    let nanos = format!("{fraction:0<9.9}").parse().ok()?;
    let seconds = days * SECONDS_PER_DAY + hour * 3_600 + minute * 60 + second;
    let time = UNIX_EPOCH + Duration::from_secs(seconds) + Duration::from_nanos(nanos);
    match zone.split_at(1) {
        ("Z" | "z", "") => Some(time),
        (sign @ ("+" | "-"), offset) => {
            let [hours, minutes] = numbers(offset, ':', [2, 2])?;
            let offset = Duration::from_secs(hours * 3_600 + minutes * 60);
            let valid = hours < 24 && minutes < 60;
            let time =
                if sign == "+" { time.checked_sub(offset) } else { time.checked_add(offset) };
            time.filter(|_| valid).map(|time| time.max(UNIX_EPOCH))
        }
        _ => None,
    }
}

/// `20130524T000000Z`: the time that a request is signed at.
pub(crate) fn signing_time(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (mut days, clock) = (seconds / SECONDS_PER_DAY, seconds % SECONDS_PER_DAY);
    let (mut year, mut month) = (1970, 1);
    while days >= days_of_year(year) {
        days -= days_of_year(year);
        year += 1;
    }
    while days >= days_of_month(year, month) {
        days -= days_of_month(year, month);
        month += 1;
    }
    let (hour, minute, second) = (clock / 3_600, clock / 60 % 60, clock % 60);
    format!("{year:04}{month:02}{:02}T{hour:02}{minute:02}{second:02}Z", days + 1)
}

/// Numbers of so many digits each, and nothing else.
fn numbers<const N: usize>(text: &str, separator: char, digits: [usize; N]) -> Option<[u64; N]> {
    let mut numbers = [0; N];
    let mut parts = text.split(separator);
    for (number, digits) in numbers.iter_mut().zip(digits) {
        let part = parts.next().filter(|part| part.len() == digits && is_digits(part))?;
        *number = part.parse().ok()?;
    }
    parts.next().is_none().then_some(numbers)
}

fn is_digits(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit())
}

/// The days from the beginning of 1970 until a date, none for one before; `None` when there is no
/// such date.
fn days_until(year: u64, month: u64, day: u64) -> Option<u64> {
    let is_date = (1..=12).contains(&month) && (1..=days_of_month(year, month)).contains(&day);
    if !is_date {
        return None;
    }
    if year < 1970 {
        return Some(0);
    }
    let years: u64 = (1970..year).map(days_of_year).sum();
    let months: u64 = (1..month).map(|month| days_of_month(year, month)).sum();
    Some(years + months + day - 1)
}

fn days_of_year(year: u64) -> u64 {
    if is_leap_year(year) { 366 } else { 365 }
}

/// `month` is 1 to 12.
fn days_of_month(year: u64, month: u64) -> u64 {
    let index = usize::try_from(month - 1).unwrap_or_default();
    DAYS_OF_MONTHS[index] + u64::from(month == 2 && is_leap_year(year))
}

fn is_leap_year(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(text: &str) -> Option<u64> {
        parse_iso8601(text).map(|time| time.duration_since(UNIX_EPOCH).unwrap().as_secs())
    }

    #[test]
    fn times_of_lists_are_read() {
        for (text, expected) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2026-11-22T16:00:00.000Z", 1_795_363_200),
            ("2000-02-29T23:59:59Z", 951_868_799),
            ("2026-11-22T17:30:00+01:30", 1_795_363_200),
            ("2026-11-22T15:00:00-01:00", 1_795_363_200),
            ("2026-11-22 16:00:00.123456789Z", 1_795_363_200),
            ("2026-11-22T16:00:00.12345678901Z", 1_795_363_200),
            ("9999-12-31T23:59:59Z", 253_402_300_799),
            ("1970-01-01T00:00:00+01:00", 0),
            ("0001-01-01T00:00:00Z", 0),
        ] {
            assert_eq!(seconds(text), Some(expected), "{text}");
        }
        let half = parse_iso8601("1970-01-01T00:00:00.5Z").unwrap();
        assert_eq!(half.duration_since(UNIX_EPOCH).unwrap(), Duration::from_millis(500));
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "T",
            "2026-11-22",
            "2026-11-22T16:00:00",
            "2026-02-29T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-01-00T00:00:00Z",
            "2026-01-32T00:00:00Z",
            "2026-01-01T24:00:00Z",
            "2026-01-01T00:60:00Z",
            "2026-01-01T00:00:00.Z",
            "2026-01-01T00:00:00+1:00",
            "26-1-1T0:0:0Z",
            "2026-01-01T00:00:00Zx",
            "2026-01-01T00:00:00+0\u{e9}:0",
        ] {
            assert_eq!(parse_iso8601(text), None, "{text}");
        }
    }

    #[test]
    fn signing_times_are_compact() {
        for (seconds, expected) in [
            (0, "19700101T000000Z"),
            (951_868_799, "20000229T235959Z"),
            (1_369_353_600, "20130524T000000Z"),
            (1_795_363_200, "20261122T160000Z"),
        ] {
            assert_eq!(signing_time(UNIX_EPOCH + Duration::from_secs(seconds)), expected);
        }
    }
}
