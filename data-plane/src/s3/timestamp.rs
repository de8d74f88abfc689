//! The ways in which S3 writes a moment: SigV4's `20130524T000000Z`, XML's `2013-05-24T00:00:00.000Z` and HTTP's; and how
//! clients of SigV2 do.

use std::time::{Duration, SystemTime, UNIX_EPOCH};
use time::format_description::well_known::Rfc2822;
use time::{Date, Month, OffsetDateTime, Time};

/// Unix seconds of SigV4's basic form, `yyyymmddThhmmssZ` and nothing else.
#[must_use]
pub fn parse_basic(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    if bytes.len() != 16 || bytes[8] != b'T' || bytes[15] != b'Z' {
        return None;
    }
    let date = parse_day(text.get(..8)?)?;
    let two = |at: usize| number(text.get(at..at + 2)?).and_then(|n| u8::try_from(n).ok());
    let time = Time::from_hms(two(9)?, two(11)?, two(13)?).ok()?;
    Some(date.with_time(time).assume_utc().unix_timestamp())
}

/// A calendar day of the form `yyyymmdd`.
#[must_use]
pub fn parse_day(text: &str) -> Option<Date> {
    if text.len() != 8 {
        return None;
    }
    let year = i32::try_from(number(text.get(..4)?)?).ok()?;
    let month = Month::try_from(u8::try_from(number(text.get(4..6)?)?).ok()?).ok()?;
    Date::from_calendar_date(year, month, u8::try_from(number(text.get(6..)?)?).ok()?).ok()
}

/// SigV4's basic form of Unix seconds.
#[must_use]
pub fn basic(unix: i64) -> String {
    let t = moment(unix);
    format!(
        "{:04}{:02}{:02}T{:02}{:02}{:02}Z",
        t.year(),
        u8::from(t.month()),
        t.day(),
        t.hour(),
        t.minute(),
        t.second()
    )
}

/// Unix milliseconds of a moment; 0 before 1970.
#[must_use]
pub fn unix_millis(at: SystemTime) -> i64 {
    at.duration_since(UNIX_EPOCH).ok().and_then(|since| i64::try_from(since.as_millis()).ok()).unwrap_or(0)
}

/// XML's form, with milliseconds, of Unix milliseconds.
#[must_use]
pub fn iso_millis(unix_millis: i64) -> String {
    let t = moment(unix_millis.div_euclid(1000));
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
        t.year(),
        u8::from(t.month()),
        t.day(),
        t.hour(),
        t.minute(),
        t.second(),
        unix_millis.rem_euclid(1000)
    )
}

/// Unix seconds of XML's form, whole seconds or with a fraction, which is dropped.
#[must_use]
pub fn parse_iso(text: &str) -> Option<i64> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let (date, time) = (date.as_bytes(), time.as_bytes());
    let placed = |bytes: &[u8], length: usize, places: [usize; 2], mark: u8| {
        bytes.len() == length && places.iter().all(|place| bytes.get(*place) == Some(&mark))
    };
    let fraction = (1..=9).contains(&fraction.len()) && fraction.bytes().all(|byte| byte.is_ascii_digit());
    if !fraction || !placed(date, 10, [4, 7], b'-') || !placed(time, 8, [2, 5], b':') {
        return None;
    }
    let digits = |bytes: &[u8], mark: u8| -> String {
        bytes.iter().filter(|byte| **byte != mark).map(|byte| char::from(*byte)).collect()
    };
    parse_basic(&format!("{}T{}Z", digits(date, b'-'), digits(time, b':')))
}

/// HTTP's form (RFC 9110 IMF-fixdate) of Unix seconds. Moments before 1970 become 1970, after 9999 its end.
#[must_use]
pub fn http_date(unix: i64) -> String {
    let seconds = u64::try_from(unix).unwrap_or(0).min(253_402_300_799);
    httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(seconds))
}

/// Unix seconds of any of HTTP's three date forms.
#[must_use]
pub fn parse_http(text: &str) -> Option<i64> {
    let at: SystemTime = httpdate::parse_http_date(text).ok()?;
    i64::try_from(at.duration_since(UNIX_EPOCH).ok()?.as_secs()).ok()
}

/// Unix seconds of a date as in mail (RFC 2822), with its zone in digits: `Tue, 27 Mar 2007 19:36:42 +0000`.
#[must_use]
pub fn parse_mail(text: &str) -> Option<i64> {
    OffsetDateTime::parse(text, &Rfc2822).ok().map(OffsetDateTime::unix_timestamp)
}

/// Out of the calendar's range: the epoch. Such a moment is never a real object's.
fn moment(unix: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(unix).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

fn number(digits: &str) -> Option<u32> {
    if digits.bytes().all(|b| b.is_ascii_digit()) { digits.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use super::{basic, http_date, iso_millis, parse_basic, parse_http, parse_iso};
    use proptest::prelude::proptest;

    #[test]
    fn known_moments() {
        assert_eq!(parse_basic("20130524T000000Z"), Some(1_369_353_600));
        assert_eq!(iso_millis(1_369_353_600_007), "2013-05-24T00:00:00.007Z");
        assert_eq!(parse_iso("2013-05-24T00:00:00.007Z"), Some(1_369_353_600));
        assert_eq!(parse_iso("2013-05-24T00:00:01Z"), Some(1_369_353_601));
        assert_eq!(http_date(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(parse_http("Sunday, 06-Nov-94 08:49:37 GMT"), Some(784_111_777));
    }

    #[test]
    fn bad_dates_are_refused() {
        for bad in [
            "",
            "20130524T000000",
            "20131324T000000Z",
            "20130230T000000Z",
            "20130524T240000Z",
            "+0130524T000000Z",
            "2013052éT00000Z",
        ] {
            assert_eq!(parse_basic(bad), None, "{bad}");
        }
        for bad in [
            "2013-05-24",
            "2013-05-24T00:00:00",
            "2013-05-24T00:00:00+01:00",
            "2013-05-24T00:00:00.Z",
            "2013-5-24T00:00:00Z",
            "2013-05-24T000000Z",
            "2013-0-5-24T0:00:00Z",
            "2013-02-30T00:00:00Z",
        ] {
            assert_eq!(parse_iso(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn basic_round_trips(unix in 0i64..253_402_300_800) {
            assert_eq!(parse_basic(&basic(unix)), Some(unix));
        }

        #[test]
        fn formatting_never_panics(unix: i64, text: String) {
            let _ = (iso_millis(unix), http_date(unix), parse_basic(&text), parse_http(&text), parse_iso(&text));
        }
    }
}
