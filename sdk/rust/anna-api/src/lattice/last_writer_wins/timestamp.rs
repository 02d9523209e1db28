use std::{
    fmt,
    time::{SystemTime, UNIX_EPOCH},
};

use super::calendar::MAX_SECS;

/// An instant in UTC, in nanoseconds. It is encoded as text, `2024-03-05T12:34:56.789Z`, as upstream's crates encode it.
///
/// A leap second is an instant of its own, after the 59th second; years go from -262144 to 262143.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp {
    /// Seconds since 1970, leap seconds not counted.
    pub(super) secs: i64,
    /// From a billion on: within the leap second that follows.
    pub(super) nanos: u32,
}

pub(super) const BILLION: u32 = 1_000_000_000;

impl Timestamp {
    /// The time that it is now.
    ///
    /// In a function it is never before the newest timestamp that the call has read.
    pub fn now() -> Self {
        let since = |d: std::time::Duration| i64::try_from(d.as_nanos()).unwrap_or(i64::MAX);
        Self::from_unix_nanos(match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(after) => since(after),
            Err(before) => -since(before.duration()),
        })
    }

    /// The instant so many nanoseconds after 1970.
    pub fn from_unix_nanos(nanos: i64) -> Self {
        let billion = i64::from(BILLION);
        Self {
            secs: nanos.div_euclid(billion),
            nanos: nanos.rem_euclid(billion) as u32, // below a billion
        }
    }

    /// Nanoseconds since 1970, the nearest number that fits; a leap second counts as the second after it.
    pub fn unix_nanos(self) -> i64 {
        self.secs
            .saturating_mul(i64::from(BILLION))
            .saturating_add(i64::from(self.nanos))
    }

    /// The first instant after this one: for a value that is to replace one with this timestamp. The last of all instants
    /// is followed by itself.
    pub fn next(self) -> Self {
        let next = match self.nanos + 1 {
            n if n == BILLION || n == 2 * BILLION => Self {
                secs: self.secs + 1,
                nanos: 0,
            },
            nanos => Self { nanos, ..self },
        };
        if next.secs > MAX_SECS {
            self
        } else {
            next
        }
    }
}

/// What a text is that is not a timestamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidTimestamp;

impl fmt::Display for InvalidTimestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a timestamp such as 2024-03-05T12:34:56.789Z")
    }
}

impl std::error::Error for InvalidTimestamp {}
