//! The kinds of values that essad has besides: their bytes, their merges, and their way through the store.
#![cfg(not(feature = "upstream"))]

use anna_api::{
    lattice::{last_writer_wins::Timestamp, LastWriterWinsLattice, SetLattice},
    AnnaError, ClientKey, LatticeValue,
};
use essa_api::{
    bincode,
    value::{self, Counter, Map, Priority, Value, MAX_DEPTH},
    EssaResult,
};

fn counter(totals: &[(&str, i64)]) -> Counter {
    let mut counter = Counter::default();
    totals.iter().for_each(|(id, n)| counter.add(id, *n));
    counter
}

fn map(entries: &[(&str, Value)]) -> Map {
    let mut map = Map::default();
    for (name, value) in entries {
        map.insert(name.as_bytes(), value.clone()).unwrap();
    }
    map
}

fn priority(priority: f64, data: &str) -> Priority {
    let data = data.into();
    Priority { priority, data }
}

fn set(element: &str) -> Value {
    LatticeValue::from(SetLattice::new([element.into()].into())).into()
}

fn word(n: u64) -> [u8; 8] {
    n.to_le_bytes()
}

#[test]
fn bytes() {
    for (value, want) in [
        (
            Value::from(priority(1.5, "p")),
            [&[5, 0, 0, 0][..], &1.5f64.to_le_bytes(), &word(1), b"p"].concat(),
        ),
        (
            counter(&[("b", -2), ("a", 3), ("a", -1)]).into(),
            [
                &[6, 0, 0, 0][..],
                &word(2),
                &word(1),
                b"a",
                &word(3),
                &word(1),
                &word(1),
                b"b",
                &word(0),
                &word(2),
            ]
            .concat(),
        ),
        (
            map(&[("k", set("x"))]).into(),
            [
                &[7, 0, 0, 0][..],
                &word(1),
                &word(1),
                b"k",
                &word(4 + 8 + 8 + 1),
                &[1, 0, 0, 0],
                &word(1),
                &word(1),
                b"x",
            ]
            .concat(),
        ),
    ] {
        assert_eq!(bincode::serialize(&value).unwrap(), want, "{value:?}");
        assert_eq!(bincode::deserialize::<Value>(&want).unwrap(), value);
        for short in 0..want.len() {
            assert!(
                bincode::deserialize::<Value>(&want[..short]).is_err(),
                "{short} bytes of {value:?}"
            );
        }
    }
    let nan = bincode::serialize(&Value::from(priority(-f64::NAN, ""))).unwrap();
    assert_eq!(nan[4..12], 0x7ff8_0000_0000_0001_u64.to_le_bytes());
    // Upstream's kinds are the same bytes in both types.
    let lww = LatticeValue::from(LastWriterWinsLattice::from_pair(
        Timestamp::from_unix_nanos(1),
        b"v".to_vec(),
    ));
    let encoded = bincode::serialize(&lww).unwrap();
    assert_eq!(bincode::serialize(&Value::from(lww.clone())).unwrap(), encoded);
    assert_eq!(
        LatticeValue::try_from(bincode::deserialize::<Value>(&encoded).unwrap()),
        Ok(lww)
    );
}

#[test]
fn merges() {
    let (nan, zero) = (f64::NAN, 0.0);
    let wide = map(&[("a", set("x")), ("b", counter(&[("w", 1)]).into())]);
    for (a, b, want) in [
        (
            priority(1.0, "a").into(),
            priority(2.0, "b").into(),
            priority(1.0, "a").into(),
        ),
        (
            priority(1.0, "a").into(),
            priority(1.0, "b").into(),
            priority(1.0, "b").into(),
        ),
        (
            priority(nan, "a").into(),
            priority(2.0, "b").into(),
            priority(2.0, "b").into(),
        ),
        (
            priority(-nan, "a").into(),
            priority(nan, "b").into(),
            priority(nan, "b").into(),
        ),
        (
            priority(-zero, "a").into(),
            priority(zero, "b").into(),
            priority(-zero, "a").into(),
        ),
        (
            counter(&[("a", 3), ("b", 1)]).into(),
            counter(&[("a", 2), ("c", -5)]).into(),
            { counter(&[("a", 3), ("b", 1), ("c", -5)]).into() },
        ),
        (
            map(&[("a", set("x"))]).into(),
            map(&[("b", counter(&[("w", 1)]).into())]).into(),
            Value::from(wide),
        ),
        (set("x"), set("x"), set("x")),
    ] {
        for values in [[&a, &b, &a], [&b, &a, &b], [&a, &a, &b], [&b, &b, &a]] {
            let mut merged = values[0].clone();
            values[1..].iter().for_each(|v| merged.try_merge(v).unwrap());
            assert_eq!(merged, want, "{values:?}");
        }
    }
    let mut deep = Value::from(map(&[("a", set("x")), ("b", set("y"))]));
    let before = deep.clone();
    let other = map(&[("a", set("z")), ("b", counter(&[]).into())]).into();
    assert_eq!(deep.try_merge(&other), Err(AnnaError::Lattice));
    assert_eq!(deep, before, "a merge that fails changes nothing");
    assert_eq!(set("x").try_merge(&counter(&[]).into()), Err(AnnaError::Lattice));
}

#[test]
fn counters_saturate() {
    assert_eq!(counter(&[("a", 3), ("b", -5)]).value(), -2);
    assert_eq!(counter(&[("a", i64::MIN)]).value(), i64::MIN);
    let mut huge = counter(&[("a", i64::MAX), ("a", i64::MAX), ("a", i64::MAX), ("b", i64::MAX)]);
    assert_eq!(huge.value(), i64::MAX);
    assert_eq!(huge.totals().next(), Some(("a", u64::MAX, 0)));
    huge.add("c", -1);
    assert_eq!(huge.totals().count(), 3);
}

#[test]
fn depth_is_bounded() {
    let nested = |depth: usize| (1..depth).fold(map(&[("x", set("x"))]), |inner, _| map(&[("m", inner.into())]));
    let deepest = Value::from(nested(MAX_DEPTH));
    let encoded = bincode::serialize(&deepest).unwrap();
    assert_eq!(bincode::deserialize::<Value>(&encoded).unwrap(), deepest);
    assert!(bincode::serialize(&Value::from(nested(MAX_DEPTH + 1))).is_err());
    // The same, from somebody who does not ask.
    let mut forged = encoded;
    for _ in 0..2000 {
        let len = forged.len() as u64;
        forged = [&[7, 0, 0, 0][..], &word(1), &word(1), b"m", &word(len), &forged].concat();
    }
    assert!(bincode::deserialize::<Value>(&forged).is_err());
    // And the next one is read as ever.
    assert!(bincode::deserialize::<Value>(&bincode::serialize(&set("x")).unwrap()).is_ok());
}

#[test]
fn through_the_store() {
    let key = ClientKey::from("visits");
    assert_eq!(value::try_get(&key), Ok(None));
    assert_eq!(value::try_get_encoded(&key), Ok(None));
    for n in [3, 5] {
        value::put(&key, &counter(&[("door", n)]).into()).unwrap();
    }
    assert_eq!(value::get(&key).unwrap().into_counter().unwrap().value(), 5);
    let encoded = value::try_get_encoded(&key).unwrap().unwrap();
    assert_eq!(
        bincode::deserialize::<Value>(&encoded).unwrap(),
        counter(&[("door", 5)]).into()
    );
    // Upstream has no counters: there such a key is empty, and a wait for it ends.
    assert_eq!(essa_api::kvs_try_get(&key), Ok(None));
    assert_eq!(essa_api::kvs_get(&key), Err(EssaResult::InvalidResult));
    assert_eq!(value::put(&key, &set("x")), Err(EssaResult::UnknownError));
    value::put(&"set".into(), &set("x")).unwrap();
    assert_eq!(essa_api::kvs_get(&"set".into()).map(Value::from), Ok(set("x")));
    assert!(set("x").into_counter().is_none() && set("x").into_map().is_none());
    assert_eq!(Value::from(priority(1.0, "")).into_priority(), Some(priority(1.0, "")));
    let one = Value::from(map(&[("k", set("x"))])).into_map().unwrap();
    assert_eq!(
        (one.get(b"k"), one.get(b"l"), one.iter().count()),
        (Some(&set("x")), None, 1)
    );
}
