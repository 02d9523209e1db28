//! The newest value, and the timestamps that tell which it is.

use std::{cmp::Ordering, fmt::Debug};

use super::{element_methods, Lattice};

mod calendar;
mod timestamp;
mod timestamp_text;

pub use timestamp::{InvalidTimestamp, Timestamp};

/// Keeps the value with the newest timestamp.
///
/// Where two have the same timestamp, the greater one is kept, so that it does not matter which came first. Upstream
/// panics there. The order is that of the values' `Debug` text; `LatticeValue` and the store compare the bytes.
///
/// ```
/// use anna_api::lattice::{LastWriterWinsLattice, Lattice};
///
/// let first = LastWriterWinsLattice::new_now("a");
/// let mut last = first.clone();
/// last.merge(&LastWriterWinsLattice::from_pair(first.element().timestamp().next(), "b"));
/// last.merge(&first);
/// assert_eq!(last.reveal().value(), &"b");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct LastWriterWinsLattice<T> {
    element: TimestampValuePair<T>,
}

impl<T> LastWriterWinsLattice<T> {
    /// The value as given.
    pub fn new(element: TimestampValuePair<T>) -> Self {
        Self { element }
    }

    /// The value with the time that it is now.
    pub fn new_now(value: T) -> Self {
        Self::from_pair(Timestamp::now(), value)
    }

    /// The value with that time.
    pub fn from_pair(timestamp: Timestamp, value: T) -> Self {
        Self::new(TimestampValuePair::new(timestamp, value))
    }

    /// What is inside.
    pub fn element(&self) -> &TimestampValuePair<T> {
        &self.element
    }
}

impl<T: Clone + PartialEq + Debug> Lattice for LastWriterWinsLattice<T> {
    type Element = TimestampValuePair<T>;

    element_methods!();

    fn merge_element(&mut self, element: &TimestampValuePair<T>) {
        let replace = match element.timestamp.cmp(&self.element.timestamp) {
            Ordering::Greater => true,
            Ordering::Less => false,
            Ordering::Equal => {
                element.value != self.element.value
                    && format!("{:?}", element.value) > format!("{:?}", self.element.value)
            }
        };
        if replace {
            self.element = element.clone();
        }
    }
}

/// A value and the time it was written at.
#[derive(Debug, PartialEq, Eq, Clone, serde::Serialize, serde::Deserialize)]
pub struct TimestampValuePair<T> {
    timestamp: Timestamp,
    value: T,
}

impl<T> TimestampValuePair<T> {
    /// The pair as given.
    pub fn new(timestamp: Timestamp, value: T) -> Self {
        Self { timestamp, value }
    }

    /// The time.
    pub fn timestamp(&self) -> Timestamp {
        self.timestamp
    }

    /// The value.
    pub fn value(&self) -> &T {
        &self.value
    }

    /// Takes the value.
    pub fn into_value(self) -> T {
        self.value
    }
}
