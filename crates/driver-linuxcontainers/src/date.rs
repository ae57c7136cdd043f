//! The times of the index.

/// Days before each month of a year that is no leap year.
const DAYS_BEFORE: [i64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
/// Days from the first of January of the year 1 to that of 1970.
const DAYS_TO_1970: i64 = 719_162;

/// Seconds from 1970 to a time in UTC in the form `20250131_05:24`, which names a build of an image;
/// `None` when the text is no such time.
pub(crate) fn parse_build_time(text: &str) -> Option<i64> {
    let digits = |from: usize, to: usize| -> Option<i64> {
        let part = text.get(from..to)?;
        part.bytes().all(|byte| byte.is_ascii_digit()).then(|| part.parse().ok())?
    };
    if text.len() != 14 || text.get(8..9)? != "_" || text.get(11..12)? != ":" {
        return None;
    }
    let (year, month, day) = (digits(0, 4)?, digits(4, 6)?, digits(6, 8)?);
    let (hour, minute) = (digits(9, 11)?, digits(12, 14)?);
    let days = days_since_1970(year, month, day)?;
    (hour < 24 && minute < 60).then_some(days * 86_400 + hour * 3_600 + minute * 60)
}

fn days_since_1970(year: i64, month: i64, day: i64) -> Option<i64> {
    let month = usize::try_from(month).ok()?.checked_sub(1)?;
    let before = *DAYS_BEFORE.get(month)?;
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let leap_day = i64::from(leap && month > 1);
    let next_month = DAYS_BEFORE.get(month + 1).copied().unwrap_or(365);
    let length = next_month - before + i64::from(leap && month == 1);
    if year < 1 || !(1..=length).contains(&day) {
        return None;
    }
    let years = year - 1;
    let days_of_years = years * 365 + years / 4 - years / 100 + years / 400;
    Some(days_of_years + before + leap_day + day - 1 - DAYS_TO_1970)
}

#[cfg(test)]
mod tests {
    use super::parse_build_time;

    #[test]
    fn build_times_are_seconds_since_1970() {
        // By date -u -d TIME +%s.
        for (text, seconds) in [
            ("19700101_00:00", 0),
            ("19691231_23:59", -60),
            ("20000229_12:00", 951_825_600),
            ("20000301_00:00", 951_868_800),
            ("20241231_23:59", 1_735_689_540),
            ("20250131_05:24", 1_738_301_040),
            ("21000301_00:00", 4_107_542_400),
            ("99991231_23:59", 253_402_300_740),
        ] {
            assert_eq!(parse_build_time(text), Some(seconds), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_none() {
        for text in [
            "",
            "20250131",
            "20250131_0524",
            "20250131_05:24:00",
            "20250131_05:2",
            "2025013a_05:24",
            "+0250131_05:24",
            "20250231_05:24",
            "20250229_05:24",
            "21000229_05:24",
            "20251301_05:24",
            "20250001_05:24",
            "20250100_05:24",
            "20250101_24:00",
            "20250101_00:60",
            "00000101_00:00",
            "2025é131_05:24",
        ] {
            assert_eq!(parse_build_time(text), None, "{text}");
        }
    }
}
