//! The most recent errors, for operators.

use std::collections::VecDeque;
use std::fmt::Display;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use serde::Serialize;

/// How many errors are kept.
const KEPT: usize = 50;

/// The maximum length of a message, in bytes. Guests can influence messages.
const MESSAGE_BYTES: usize = 500;

/// The source of an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ErrorSource {
    Guest,
    Upstream,
    Configuration,
}

/// An error, as `/status` shows it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct RecentError {
    /// When it last occurred.
    #[serde(serialize_with = "crate::time::rfc3339")]
    pub(crate) at: SystemTime,
    pub(crate) source: ErrorSource,
    /// The guest's or upstream's name.
    pub(crate) name: String,
    pub(crate) kind: &'static str,
    pub(crate) message: String,
    /// How often it has occurred while it was kept.
    pub(crate) times: u64,
}

/// The most recent errors. An error that occurs repeatedly is kept once. A new one replaces the oldest one of the
/// source with the most errors, so that the many addresses of an upstream leave room for a guest's only error.
#[derive(Debug, Default)]
pub(crate) struct Recent(Mutex<VecDeque<RecentError>>);

impl Recent {
    pub(crate) fn add(&self, source: ErrorSource, name: &str, kind: &'static str, message: impl Display) {
        let mut message = message.to_string();
        message.truncate(message.floor_char_boundary(MESSAGE_BYTES));
        let mut errors = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |other: &RecentError| {
            (other.source, other.kind) == (source, kind) && other.name == name && other.message == message
        };
        let before = errors.iter().position(same).and_then(|index| errors.remove(index));
        let times = before.map_or(1, |error| error.times + 1);
        let error =
            RecentError { at: SystemTime::now(), source, name: name.to_owned(), kind, message, times };
        errors.push_back(error);
        if errors.len() > KEPT
            && let Some(crowded) = oldest_of_most_frequent(&errors)
        {
            errors.remove(crowded);
        }
    }

    /// The most recent errors, newest first.
    pub(crate) fn newest_first(&self) -> Vec<RecentError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().rev().cloned().collect()
    }
}

fn oldest_of_most_frequent(errors: &VecDeque<RecentError>) -> Option<usize> {
    let of_the_same = |error: &RecentError| {
        errors.iter().filter(|other| (other.source, &other.name) == (error.source, &error.name)).count()
    };
    // Of several maxima, the last is used, which is the first one here.
    errors.iter().enumerate().rev().max_by_key(|(_, error)| of_the_same(error)).map(|(index, _)| index)
}

#[cfg(test)]
mod tests {
    use super::{ErrorSource, KEPT, MESSAGE_BYTES, Recent};

    #[test]
    fn only_the_newest_errors_are_kept_with_long_messages_truncated_between_characters() {
        let recent = Recent::default();
        for number in 0..KEPT + 3 {
            recent.add(ErrorSource::Guest, "g", "trap", number);
        }
        recent.add(ErrorSource::Upstream, "u", "connect", "ä".repeat(MESSAGE_BYTES));
        let errors = recent.newest_first();
        assert_eq!(errors.len(), KEPT);
        assert_eq!(errors[0].message, "ä".repeat(MESSAGE_BYTES / 2));
        assert_eq!(errors.last().map(|error| error.message.as_str()), Some("4"));
    }

    #[test]
    fn many_errors_of_one_source_do_not_evict_those_of_another() {
        let recent = Recent::default();
        recent.add(ErrorSource::Guest, "g", "trap", "the only one");
        for number in 0..2 * KEPT {
            recent.add(ErrorSource::Upstream, "u", "connect", number);
        }
        let errors = recent.newest_first();
        let shown: Vec<_> = errors.iter().map(|error| &*error.message).collect();
        assert_eq!(
            (shown.len(), shown[0], shown[KEPT - 2], shown[KEPT - 1]),
            (KEPT, "99", "51", "the only one")
        );
    }

    #[test]
    fn a_repeated_error_becomes_the_newest_and_evicts_nothing() {
        let recent = Recent::default();
        for message in ["a", "b", "a", "a"] {
            recent.add(ErrorSource::Guest, "g", "trap", message);
        }
        recent.add(ErrorSource::Guest, "h", "trap", "b");
        let errors = recent.newest_first();
        let shown: Vec<_> = errors.iter().map(|error| (&*error.name, &*error.message, error.times)).collect();
        assert_eq!(shown, [("h", "b", 1), ("g", "a", 3), ("g", "b", 1)]);
    }
}
