//! Values of every kind that essad has: upstream's five and three more. (essad)
//!
#![cfg_attr(not(feature = "upstream"), doc = "```")]
#![cfg_attr(feature = "upstream", doc = "```no_run")]
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use essa_api::value::{self, Counter};
//!
//! // Each writer has an id that nobody else uses.
//! let (key, mut visits) = ("visits".into(), Counter::default());
//! visits.add("door-1", 3);
//! visits.add("door-1", -1);
//! value::put(&key, &visits.into())?;
//! assert_eq!(value::get(&key)?.into_counter().unwrap().value(), 2);
//! # Ok(())
//! # }
//! ```
//!
//! Modules built with the feature `upstream` see upstream's kinds only.

use std::collections::BTreeMap;

use anna_api::{
    lattice::{
        causal::{MultiKeyCausalLattice, SingleKeyCausalLattice},
        LastWriterWinsLattice, OrderedSetLattice, SetLattice,
    },
    AnnaError, ClientKey, LatticeValue,
};
use serde::{de, ser, Deserialize, Deserializer, Serialize, Serializer};

use crate::{encoded, read, EssaResult};

/// What is stored under `key`, if anything.
pub fn try_get(key: &ClientKey) -> Result<Option<Value>, EssaResult> {
    match read::value(key) {
        Ok(bytes) => encoded::decode(&bytes).map(Some),
        Err(EssaResult::NotFound) => Ok(None),
        Err(other) => Err(other),
    }
}

/// What is stored under `key`, as soon as there is something. It ends at the latest when the call's time is up.
pub fn get(key: &ClientKey) -> Result<Value, EssaResult> {
    encoded::decode(&encoded::wait(key)?)
}

/// Merges `value` into what is stored under `key`, as [`kvs_put`](crate::kvs_put) does.
pub fn put(key: &ClientKey, value: &Value) -> Result<(), EssaResult> {
    encoded::put(key, value)
}

/// The encoded value under `key`, if there is one.
pub fn try_get_encoded(key: &ClientKey) -> Result<Option<Vec<u8>>, EssaResult> {
    match read::value(key) {
        Ok(encoded) => Ok(Some(encoded)),
        Err(EssaResult::NotFound) => Ok(None),
        Err(other) => Err(other),
    }
}

/// A value as it is stored. The order of the variants is part of the encoding; the first five are [`LatticeValue`]'s.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Value {
    /// The newest value.
    Lww(LastWriterWinsLattice<Vec<u8>>),
    /// The union of all sets put.
    Set(SetLattice<Vec<u8>>),
    /// The union of all sets put, in ascending order.
    OrderedSet(OrderedSetLattice<Vec<u8>>),
    /// The values that no later one has replaced.
    SingleCausal(SingleKeyCausalLattice<SetLattice<Vec<u8>>>),
    /// The same, with what the writers had seen of other keys.
    MultiCausal(MultiKeyCausalLattice<SetLattice<Vec<u8>>>),
    /// The value with the smallest priority.
    Priority(Priority),
    /// A number that writers add to.
    Counter(Counter),
    /// Values under names.
    Map(Map),
}

impl Value {
    /// The counter inside, if it is one.
    pub fn into_counter(self) -> Option<Counter> {
        match self {
            Self::Counter(counter) => Some(counter),
            _ => None,
        }
    }

    /// The map inside, if it is one.
    pub fn into_map(self) -> Option<Map> {
        match self {
            Self::Map(map) => Some(map),
            _ => None,
        }
    }

    /// The priority value inside, if it is one.
    pub fn into_priority(self) -> Option<Priority> {
        match self {
            Self::Priority(priority) => Some(priority),
            _ => None,
        }
    }

    /// Merges `other` into this value, as the store does. Values of different kinds are [`AnnaError::Lattice`], and leave
    /// this one as it was.
    pub fn try_merge(&mut self, other: &Value) -> Result<(), AnnaError> {
        match (&mut *self, other) {
            (Self::Priority(mine), Self::Priority(other)) => mine.merge(other),
            (Self::Counter(mine), Self::Counter(other)) => mine.merge(other),
            (Self::Map(mine), Self::Map(other)) => return mine.try_merge(other),
            (mine, other) => {
                let (Ok(mut merged), Ok(other)) = (mine.clone().try_into(), other.clone().try_into()) else {
                    return Err(AnnaError::Lattice);
                };
                LatticeValue::try_merge(&mut merged, &other)?;
                *mine = merged.into();
            }
        }
        Ok(())
    }
}

impl From<LatticeValue> for Value {
    fn from(value: LatticeValue) -> Self {
        match value {
            LatticeValue::Lww(v) => Self::Lww(v),
            LatticeValue::Set(v) => Self::Set(v),
            LatticeValue::OrderedSet(v) => Self::OrderedSet(v),
            LatticeValue::SingleCausal(v) => Self::SingleCausal(v),
            LatticeValue::MultiCausal(v) => Self::MultiCausal(v),
        }
    }
}

impl TryFrom<Value> for LatticeValue {
    type Error = Value;

    /// Gives the value back where upstream does not have its kind.
    fn try_from(value: Value) -> Result<Self, Value> {
        Ok(match value {
            Value::Lww(v) => Self::Lww(v),
            Value::Set(v) => Self::Set(v),
            Value::OrderedSet(v) => Self::OrderedSet(v),
            Value::SingleCausal(v) => Self::SingleCausal(v),
            Value::MultiCausal(v) => Self::MultiCausal(v),
            other => return Err(other),
        })
    }
}

macro_rules! into_value {
    ($($kind:ident)*) => {$(
        impl From<$kind> for Value {
            fn from(value: $kind) -> Self {
                Self::$kind(value)
            }
        }
    )*};
}

into_value!(Priority Counter Map);

/// Keeps the data with the smallest priority; of two with the same, the greater data. What is not a number comes last.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Priority {
    /// The priority.
    #[serde(serialize_with = "one_nan")]
    pub priority: f64,
    /// What is kept.
    pub data: Vec<u8>,
}

/// Encodes a number; what is not a number has one form, the store's, so that equal values have equal bytes.
fn one_nan<S: Serializer>(number: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    let nan = f64::from_bits(0x7ff8_0000_0000_0001);
    serializer.serialize_f64(if number.is_nan() { nan } else { *number })
}

impl Priority {
    /// Merges `other` into this value.
    pub fn merge(&mut self, other: &Priority) {
        if self.order(other).is_gt() {
            self.clone_from(other);
        }
    }

    /// Less is what wins.
    fn order(&self, other: &Priority) -> std::cmp::Ordering {
        let nan = self.priority.is_nan().cmp(&other.priority.is_nan());
        let number = if self.priority.is_nan() && other.priority.is_nan() {
            std::cmp::Ordering::Equal
        } else {
            self.priority.total_cmp(&other.priority)
        };
        nan.then(number).then_with(|| other.data.cmp(&self.data))
    }
}

impl PartialEq for Priority {
    fn eq(&self, other: &Self) -> bool {
        self.order(other).is_eq()
    }
}

/// Counts up and down. Each writer, named by an id that nobody else uses, keeps two totals that only grow.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Counter {
    totals: BTreeMap<String, (u64, u64)>,
}

impl Counter {
    /// Adds `n` in the name of `writer`. Totals stop at the greatest number.
    pub fn add(&mut self, writer: &str, n: i64) {
        let (up, down) = self.totals.entry(writer.to_owned()).or_default();
        let total = if n < 0 { down } else { up };
        *total = total.saturating_add(n.unsigned_abs());
    }

    /// What all writers have added and subtracted, the nearest number that fits.
    pub fn value(&self) -> i64 {
        let sum = |part: fn(&(u64, u64)) -> u64| self.totals.values().map(|t| i128::from(part(t))).sum::<i128>();
        let value = sum(|t| t.0) - sum(|t| t.1);
        value.clamp(i64::MIN.into(), i64::MAX.into()) as i64 // it fits now
    }

    /// What each writer has added and subtracted.
    pub fn totals(&self) -> impl Iterator<Item = (&str, u64, u64)> {
        self.totals.iter().map(|(id, (up, down))| (id.as_str(), *up, *down))
    }

    /// Merges `other` into this value: of each writer's totals the greater ones.
    pub fn merge(&mut self, other: &Counter) {
        for (id, (up, down)) in &other.totals {
            let mine = self.totals.entry(id.clone()).or_default();
            *mine = (mine.0.max(*up), mine.1.max(*down));
        }
    }
}

/// How deep maps may be nested in a value.
pub const MAX_DEPTH: usize = 8;

/// Values under names. Its merge merges what is under the same name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Map {
    entries: BTreeMap<Vec<u8>, Inner>,
}

/// A value inside a map is encoded as bytes, so with its length.
#[derive(Clone, Debug, PartialEq)]
struct Inner(Value);

impl Map {
    /// Puts `value` under `name`; where there is one of the same kind it is merged.
    pub fn insert(&mut self, name: &[u8], value: impl Into<Value>) -> Result<(), AnnaError> {
        let value = value.into();
        match self.entries.get_mut(name) {
            Some(mine) => mine.0.try_merge(&value),
            None => {
                self.entries.insert(name.to_owned(), Inner(value));
                Ok(())
            }
        }
    }

    /// The value under `name`.
    pub fn get(&self, name: &[u8]) -> Option<&Value> {
        self.entries.get(name).map(|inner| &inner.0)
    }

    /// Names and values by ascending name.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &Value)> {
        self.entries.iter().map(|(name, inner)| (name.as_slice(), &inner.0))
    }

    /// Merges `other` into this map, or changes nothing where values under one name are of different kinds.
    pub fn try_merge(&mut self, other: &Map) -> Result<(), AnnaError> {
        let mut merged = self.clone();
        for (name, value) in other.iter() {
            merged.insert(name, value.clone())?;
        }
        *self = merged;
        Ok(())
    }

    /// How deep maps are nested in this one.
    fn depth(&self) -> usize {
        let inner = self.entries.values().map(|inner| match &inner.0 {
            Value::Map(map) => map.depth(),
            _ => 0,
        });
        1 + inner.max().unwrap_or(0)
    }
}

impl Serialize for Inner {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if let Value::Map(map) = &self.0 {
            if map.depth() >= MAX_DEPTH {
                return Err(ser::Error::custom("maps are nested too deep"));
            }
        }
        let encoded = bincode::serialize(&self.0).map_err(ser::Error::custom)?;
        encoded.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Inner {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let encoded = Vec::<u8>::deserialize(deserializer)?;
        let value: Value = nesting::within(|| bincode::deserialize(&encoded)).map_err(de::Error::custom)?;
        Ok(Inner(value))
    }
}

/// Counts how deep the decoding is, so that what arrives cannot exhaust the stack.
mod nesting {
    use std::cell::Cell;

    thread_local!(static DEPTH: Cell<usize> = const { Cell::new(0) });

    struct Leave;

    impl Drop for Leave {
        fn drop(&mut self) {
            DEPTH.with(|d| d.set(d.get() - 1));
        }
    }

    pub(super) fn within<T>(decode: impl FnOnce() -> bincode::Result<T>) -> bincode::Result<T> {
        let depth = DEPTH.with(|d| {
            d.set(d.get() + 1);
            d.get()
        });
        let _leave = Leave;
        if depth > super::MAX_DEPTH {
            return Err(bincode::ErrorKind::Custom("maps are nested too deep".to_owned()).into());
        }
        decode()
    }
}
