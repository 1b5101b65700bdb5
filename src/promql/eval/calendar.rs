//! Dates in UTC from Unix time: the proleptic Gregorian calendar, for any number of seconds.

use crate::model::TimestampMs;

const SECONDS_PER_DAY: i64 = 86_400;

/// An instant as a calendar shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::promql) struct Civil {
    pub(super) year: i64,
    /// 1 to 12.
    pub(super) month: i64,
    /// 1 to 31.
    pub(super) day: i64,
    pub(super) hour: i64,
    pub(super) minute: i64,
    pub(super) second: i64,
    /// 0 is Sunday.
    pub(super) weekday: i64,
    /// 1 to 366.
    pub(super) day_of_year: i64,
}

impl Civil {
    /// The date of a number of seconds since the Unix epoch.
    pub(super) fn from_unix(seconds: i64) -> Self {
        let days = seconds.div_euclid(SECONDS_PER_DAY);
        let rest = seconds.rem_euclid(SECONDS_PER_DAY);
        // Years begin in March here, so that the leap day is the last of its year; an era is the 400
        // years after which the calendar repeats. 719468 days lie between 0000-03-01 and the epoch.
        let shifted = days + 719_468;
        let era = shifted.div_euclid(146_097);
        let day_of_era = shifted.rem_euclid(146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_from_march = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_from_march + 2) / 153;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        let year = era * 400 + year_of_era + i64::from(month <= 2);
        // March 1 is day 60, or 61 after a leap day; January 1 is 306 days after March 1.
        let day_of_year =
            if month <= 2 { day_from_march - 305 } else { day_from_march + 60 + i64::from(is_leap(year)) };
        Self {
            year,
            month,
            day: day_from_march - (153 * month_from_march + 2) / 5 + 1,
            hour: rest / 3_600,
            minute: rest / 60 % 60,
            second: rest % 60,
            weekday: (days + 4).rem_euclid(7),
            day_of_year,
        }
    }

    pub(super) fn days_in_month(&self) -> i64 {
        match self.month {
            2 => 28 + i64::from(is_leap(self.year)),
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        }
    }
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

/// `2006-01-02T15:04:05Z`.
pub(super) fn rfc3339(at: TimestampMs) -> String {
    let Civil { year, month, day, hour, minute, second, .. } = Civil::from_unix(at.div_euclid(1000));
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        let check = |at: i64, text: &str, weekday: i64, day_of_year: i64, days_in_month: i64| {
            let civil = Civil::from_unix(at);
            assert_eq!(rfc3339(at * 1000), text);
            assert_eq!((civil.weekday, civil.day_of_year), (weekday, day_of_year), "{text}");
            assert_eq!(civil.days_in_month(), days_in_month, "{text}");
        };
        check(0, "1970-01-01T00:00:00Z", 4, 1, 31);
        check(-1, "1969-12-31T23:59:59Z", 3, 365, 31);
        check(951_782_400, "2000-02-29T00:00:00Z", 2, 60, 29);
        check(951_868_800, "2000-03-01T00:00:00Z", 3, 61, 31);
        check(1_709_294_400, "2024-03-01T12:00:00Z", 5, 61, 31);
        check(1_735_603_200, "2024-12-31T00:00:00Z", 2, 366, 31);
        check(1_677_628_799, "2023-02-28T23:59:59Z", 2, 59, 28);
        check(4_107_542_400, "2100-03-01T00:00:00Z", 1, 60, 31);
    }

    #[test]
    fn any_number_of_seconds_has_a_date() {
        for seconds in [i64::MIN, i64::MAX] {
            assert!((1..=12).contains(&Civil::from_unix(seconds).month));
        }
    }
}
