//! The bytes of upstream's crates, as bincode 1.3.3 with serde and chrono 0.4.19 wrote them.

use std::collections::HashMap;

use anna_api::{
    lattice::{
        causal::{
            MultiKeyCausalLattice, MultiKeyCausalPayload, SingleKeyCausalLattice, VectorClock, VectorClockValuePair,
        },
        last_writer_wins::Timestamp,
        LastWriterWinsLattice, MapLattice, MaxLattice, OrderedSetLattice, SetLattice,
    },
    ClientKey, LatticeValue,
};

fn hex(text: &str) -> Vec<u8> {
    text.split_whitespace()
        .map(|byte| u8::from_str_radix(byte, 16).unwrap())
        .collect()
}

fn clock(entries: &[(&str, usize)]) -> VectorClock {
    let entry = |(id, n): &(&str, usize)| (id.to_string(), MaxLattice::new(*n));
    MapLattice::new(entries.iter().map(entry).collect::<HashMap<_, _>>())
}

fn set(elements: &[&str]) -> SetLattice<Vec<u8>> {
    SetLattice::new(elements.iter().map(|e| e.as_bytes().to_vec()).collect())
}

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// Values whose encoding has one form, and their bytes.
fn values() -> Vec<(LatticeValue, &'static str)> {
    let lww = |t, v: &str| LastWriterWinsLattice::from_pair(time(t), v.into());
    let deps = MapLattice::new([(ClientKey::from("dep"), clock(&[("n2", 1)]))].into());
    let ordered = ["bc", "a", "ab"].map(|e| e.as_bytes().to_vec());
    vec![
        (
            lww("2024-03-05T12:34:56Z", "hi").into(),
            "00 00 00 00 14 00 00 00 00 00 00 00 32 30 32 34 2d 30 33 2d 30 35 54 31 32 3a 33 34 3a 35 36 5a
             02 00 00 00 00 00 00 00 68 69",
        ),
        (
            lww("2024-03-05T12:34:56.789123Z", "").into(),
            "00 00 00 00 1b 00 00 00 00 00 00 00 32 30 32 34 2d 30 33 2d 30 35 54 31 32 3a 33 34 3a 35 36 2e
             37 38 39 31 32 33 5a 00 00 00 00 00 00 00 00",
        ),
        (set(&[]).into(), "01 00 00 00 00 00 00 00 00 00 00 00"),
        (
            set(&["a"]).into(),
            "01 00 00 00 01 00 00 00 00 00 00 00 01 00 00 00 00 00 00 00 61",
        ),
        (
            OrderedSetLattice::new(ordered.into()).into(),
            "02 00 00 00 03 00 00 00 00 00 00 00 01 00 00 00 00 00 00 00 61 02 00 00 00 00 00 00 00 61 62
             02 00 00 00 00 00 00 00 62 63",
        ),
        (
            SingleKeyCausalLattice::new(VectorClockValuePair::new(clock(&[("n1", 3)]), set(&["v"]))).into(),
            "03 00 00 00 01 00 00 00 00 00 00 00 02 00 00 00 00 00 00 00 6e 31 03 00 00 00 00 00 00 00
             01 00 00 00 00 00 00 00 01 00 00 00 00 00 00 00 76",
        ),
        (
            SingleKeyCausalLattice::new(VectorClockValuePair::new(clock(&[]), set(&[]))).into(),
            "03 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00",
        ),
        (
            MultiKeyCausalLattice::new(MultiKeyCausalPayload::new(clock(&[("n1", 3)]), deps, set(&["v"]))).into(),
            "04 00 00 00 01 00 00 00 00 00 00 00 02 00 00 00 00 00 00 00 6e 31 03 00 00 00 00 00 00 00
             01 00 00 00 00 00 00 00 03 00 00 00 00 00 00 00 64 65 70 01 00 00 00 00 00 00 00
             02 00 00 00 00 00 00 00 6e 32 01 00 00 00 00 00 00 00
             01 00 00 00 00 00 00 00 01 00 00 00 00 00 00 00 76",
        ),
    ]
}

#[test]
fn values_are_encoded_as_upstream_does() {
    for (value, golden) in values() {
        let golden = hex(golden);
        assert_eq!(bincode::serialize(&value).unwrap(), golden, "{value:?}");
        assert_eq!(bincode::deserialize::<LatticeValue>(&golden).unwrap(), value);
        let trailing = [&golden[..], b"more"].concat();
        assert_eq!(bincode::deserialize::<LatticeValue>(&trailing).unwrap(), value);
        for short in 0..golden.len() {
            let cut = bincode::deserialize::<LatticeValue>(&golden[..short]);
            assert!(cut.is_err(), "{short} bytes of {value:?} are {cut:?}");
        }
    }
}

#[test]
fn sets_are_read_in_any_order() {
    let golden = hex("01 00 00 00 02 00 00 00 00 00 00 00 02 00 00 00 00 00 00 00 62 63 01 00 00 00 00 00 00 00 61");
    let value: LatticeValue = set(&["a", "bc"]).into();
    assert_eq!(bincode::deserialize::<LatticeValue>(&golden).unwrap(), value);
    let mine = bincode::serialize(&value).unwrap();
    assert_eq!(mine.len(), golden.len());
    assert_eq!(bincode::deserialize::<LatticeValue>(&mine).unwrap(), value);
    let twice = hex("01 00 00 00 02 00 00 00 00 00 00 00 01 00 00 00 00 00 00 00 61 01 00 00 00 00 00 00 00 61");
    let once: LatticeValue = set(&["a"]).into();
    assert_eq!(bincode::deserialize::<LatticeValue>(&twice).unwrap(), once);
}

#[test]
fn the_last_of_equal_keys_counts() {
    let golden = hex(
        "03 00 00 00 02 00 00 00 00 00 00 00 01 00 00 00 00 00 00 00 61 05 00 00 00 00 00 00 00
         01 00 00 00 00 00 00 00 61 03 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00",
    );
    let value: LatticeValue = bincode::deserialize(&golden).unwrap();
    let want = SingleKeyCausalLattice::new(VectorClockValuePair::new(clock(&[("a", 3)]), set(&[])));
    assert_eq!(value, want.into());
}

#[test]
fn what_is_no_value_is_refused() {
    for (what, bytes) in [
        ("an unknown variant", "09 00 00 00"),
        ("more elements than bytes", "01 00 00 00 ff ff ff ff ff ff ff ff"),
        (
            "a timestamp that is none",
            "00 00 00 00 01 00 00 00 00 00 00 00 78 00 00 00 00 00 00 00 00",
        ),
        ("text that is not UTF-8", "00 00 00 00 01 00 00 00 00 00 00 00 ff"),
    ] {
        let read = bincode::deserialize::<LatticeValue>(&hex(bytes));
        assert!(read.is_err(), "{what} was read as {read:?}");
    }
}

#[test]
fn keys_are_strings() {
    let golden = hex("02 00 00 00 00 00 00 00 61 62");
    let key = ClientKey::from("ab");
    assert_eq!(bincode::serialize(&key).unwrap(), golden);
    assert_eq!(bincode::deserialize::<ClientKey>(&golden).unwrap(), key);
    assert_eq!((key.len(), key.to_string()), (2, "ab".to_owned()));
}

#[test]
fn timestamps_have_one_text() {
    for text in [
        "2024-03-05T12:34:56Z",
        "2024-03-05T12:34:56.789Z",
        "2024-03-05T12:34:56.789120Z",
        "2024-03-05T12:34:56.789123Z",
        "2024-03-05T12:34:56.789123456Z",
        "2024-03-05T12:34:56.000000001Z",
        "2016-12-31T23:59:60.500Z",
        "0000-01-01T00:00:00Z",
        "-0001-01-01T00:00:00Z",
        "+12345-01-01T00:00:00Z",
        "1970-01-01T00:00:00Z",
        "-262144-01-01T00:00:00Z",
        "+262143-12-31T23:59:60.999999999Z",
        "2000-02-29T23:59:59.999Z",
    ] {
        let t = time(text);
        assert_eq!(t.to_string(), text);
        let bytes = bincode::serialize(&t).unwrap();
        assert_eq!(bytes, bincode::serialize(text).unwrap());
        assert_eq!(bincode::deserialize::<Timestamp>(&bytes).unwrap(), t);
    }
    assert_eq!(
        format!("{:?}", time("1970-01-01T00:00:00Z")),
        "Timestamp(1970-01-01T00:00:00Z)"
    );
}

#[test]
fn timestamps_are_read_leniently() {
    for (text, want) in [
        ("2024-03-05T12:34:56+02:00", "2024-03-05T10:34:56Z"),
        ("2024-03-05T12:34:56+0200", "2024-03-05T10:34:56Z"),
        ("2024-03-05T12:34:56-00:00", "2024-03-05T12:34:56Z"),
        ("2024-03-05 12:34:56Z", "2024-03-05T12:34:56Z"),
        ("2024-03-05T12:34:56.5Z", "2024-03-05T12:34:56.500Z"),
        ("2024-03-05T12:34:56.1234567891Z", "2024-03-05T12:34:56.123456789Z"),
        ("2024-03-05T12:34:60Z", "2024-03-05T12:34:60Z"),
        ("2024-03-05T12:34:56 UTC", "2024-03-05T12:34:56Z"),
        ("2024-3-5T1:2:3Z", "2024-03-05T01:02:03Z"),
        (" 2024-03-05T12:34:56Z", "2024-03-05T12:34:56Z"),
        ("2024-03-05T12:34:56Z ", "2024-03-05T12:34:56Z"),
        ("+12345-01-01T00:00:00Z", "+12345-01-01T00:00:00Z"),
    ] {
        assert_eq!(time(text).to_string(), want, "{text:?}");
    }
    for text in [
        "",
        "2024-03-05t12:34:56z",
        "2024-03-05T12:34Z",
        "2024-03-05T12:34:56",
        " 2024 - 03 - 05 T 12 : 34 : 56 Z",
        "2024-03-05T12:34:56+02",
        "2024-02-30T00:00:00Z",
        "2023-02-29T00:00:00Z",
        "2024-13-01T00:00:00Z",
        "2024-03-05T24:00:00Z",
        "2024-03-05T12:34:61Z",
        "2024-03-05T12:34:56.Z",
        "+262144-01-01T00:00:00Z",
        "+99999999999999999999-01-01T00:00:00Z",
        "2024-03-05T12:34:56Zx",
        "2024-03-05T12:34:56\u{e9}",
    ] {
        assert!(text.parse::<Timestamp>().is_err(), "{text:?} was read");
    }
}

#[test]
fn timestamps_count() {
    let day = Timestamp::from_unix_nanos(1_709_642_096_789_123_456);
    assert_eq!(day.to_string(), "2024-03-05T12:34:56.789123456Z");
    assert_eq!(day.unix_nanos(), 1_709_642_096_789_123_456);
    assert_eq!(day.next().to_string(), "2024-03-05T12:34:56.789123457Z");
    assert_eq!(
        Timestamp::from_unix_nanos(-1).to_string(),
        "1969-12-31T23:59:59.999999999Z"
    );
    assert_eq!(Timestamp::from_unix_nanos(-1).next(), Timestamp::from_unix_nanos(0));
    assert_eq!(
        time("2016-12-31T23:59:60.999999999Z").next(),
        time("2017-01-01T00:00:00Z")
    );
    let last = time("+262143-12-31T23:59:60.999999999Z");
    assert_eq!(last.next(), last);
    assert_eq!(last.unix_nanos(), i64::MAX);
    assert_eq!(time("-262144-01-01T00:00:00Z").unix_nanos(), i64::MIN);
    assert!(time("2016-12-31T23:59:60Z") > time("2016-12-31T23:59:59.999Z"));
    assert!(Timestamp::now() > day);
    // The calendar, day by day, against the one that counts.
    let mut t = time("1896-01-01T00:00:00Z");
    for _ in 0..(366 * 220) {
        let (text, next) = (t.to_string(), t.unix_nanos() + 86_400_000_000_000);
        assert_eq!(time(&text), t);
        t = Timestamp::from_unix_nanos(next);
        assert!(t.to_string() > text);
    }
}

#[test]
fn the_types_of_rust_are_encoded_as_ever() {
    // What is part of functions' arguments and results; the crate that encodes is not ours, and must not change.
    let args = bincode::serialize(&("foo", 15000usize, "q", 0u8)).unwrap();
    assert_eq!(
        &args[..19],
        hex("03 00 00 00 00 00 00 00 66 6f 6f 98 3a 00 00 00 00 00 00")
    );
    let ok: Result<u8, String> = Ok(1);
    let err: Result<u8, String> = Err("e".into());
    assert_eq!(bincode::serialize(&ok).unwrap(), hex("00 00 00 00 01"));
    assert_eq!(
        bincode::serialize(&err).unwrap(),
        hex("01 00 00 00 01 00 00 00 00 00 00 00 65")
    );
    assert!(bincode::serialize(&()).unwrap().is_empty());
    assert_eq!(bincode::serialize(&Some(1u16)).unwrap(), hex("01 01 00"));
    assert_eq!(bincode::serialize(&'é').unwrap(), hex("c3 a9"));
    assert_eq!(bincode::serialize(&1.5f64).unwrap(), hex("00 00 00 00 00 00 f8 3f"));
}
