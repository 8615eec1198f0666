//! The `Date` of responses (RFC 9110 section 6.6.1).

use std::cell::RefCell;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{HeaderMap, HeaderValue, header};
use httpdate::HttpDate;

/// Adds the date, unless there is one.
pub(super) fn add(headers: &mut HeaderMap) {
    if let header::Entry::Vacant(entry) = headers.entry(header::DATE) {
        entry.insert(now());
    }
}

/// The current date.
pub(super) fn now() -> HeaderValue {
    DATE.with_borrow_mut(|date| date.at(SystemTime::now()))
}

thread_local!(static DATE: RefCell<Date> = const { RefCell::new(Date { seconds: 0, value: None }) });

/// The date that was last formatted.
#[derive(Debug)]
struct Date {
    /// Seconds since the epoch.
    seconds: u64,
    value: Option<HeaderValue>,
}

impl Date {
    fn at(&mut self, now: SystemTime) -> HeaderValue {
        let seconds = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        match &self.value {
            Some(value) if self.seconds == seconds => value.clone(),
            _ => {
                let date = HttpDate::from(UNIX_EPOCH + Duration::from_secs(seconds)).to_string();
                let value = HeaderValue::try_from(date).expect("a date is ASCII");
                *self = Self { seconds, value: Some(value.clone()) };
                value
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::Date;

    #[test]
    fn the_date_follows_a_clock_that_is_set_backwards() {
        let mut date = Date { seconds: 0, value: None };
        for (seconds, expected) in [
            (784_111_777_900, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (784_111_778_000, "Sun, 06 Nov 1994 08:49:38 GMT"),
            (784_108_177_000, "Sun, 06 Nov 1994 07:49:37 GMT"),
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
        ] {
            assert_eq!(date.at(UNIX_EPOCH + Duration::from_millis(seconds)), expected);
        }
    }
}
