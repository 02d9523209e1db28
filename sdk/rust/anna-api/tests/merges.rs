//! Merges: the order of arrival does not matter, and neither does arriving twice.

use anna_api::{
    lattice::{
        causal::{
            MultiKeyCausalLattice, MultiKeyCausalPayload, SingleKeyCausalLattice, VectorClock, VectorClockValuePair,
        },
        last_writer_wins::Timestamp,
        BoolLattice, LastWriterWinsLattice, Lattice, MapLattice, MaxLattice, OrderedSetLattice, SetLattice,
    },
    AnnaError, ClientKey, LatticeType, LatticeValue,
};

fn clock(entries: &[(&str, usize)]) -> VectorClock {
    MapLattice::new(
        entries
            .iter()
            .map(|(id, n)| (id.to_string(), MaxLattice::new(*n)))
            .collect(),
    )
}

fn set(elements: &[&str]) -> SetLattice<Vec<u8>> {
    SetLattice::new(elements.iter().map(|e| e.as_bytes().to_vec()).collect())
}

fn ordered(elements: &[&str]) -> LatticeValue {
    OrderedSetLattice::new(elements.iter().map(|e| e.as_bytes().to_vec()).collect()).into()
}

fn lww(nanos: i64, bytes: &[u8]) -> LatticeValue {
    LastWriterWinsLattice::from_pair(Timestamp::from_unix_nanos(nanos), bytes.to_vec()).into()
}

fn single(vector_clock: VectorClock, elements: &[&str]) -> LatticeValue {
    SingleKeyCausalLattice::new(VectorClockValuePair::new(vector_clock, set(elements))).into()
}

fn multi(vector_clock: VectorClock, dep: usize, elements: &[&str]) -> LatticeValue {
    let dependencies = MapLattice::new([(ClientKey::from("k"), clock(&[("d", dep)]))].into());
    MultiKeyCausalLattice::new(MultiKeyCausalPayload::new(vector_clock, dependencies, set(elements))).into()
}

fn merged(values: &[&LatticeValue]) -> LatticeValue {
    let mut all = values[0].clone();
    for value in &values[1..] {
        all.try_merge(value).unwrap();
    }
    all
}

#[test]
fn two_values_merge_in_any_order() {
    let (a1, b1, ab1) = (clock(&[("a", 1)]), clock(&[("b", 1)]), clock(&[("a", 1), ("b", 1)]));
    let a2 = clock(&[("a", 2)]);
    for (a, b, want) in [
        (lww(1, b"z"), lww(2, b"a"), lww(2, b"a")),
        (lww(1, b"a"), lww(1, b"b"), lww(1, b"b")),
        (lww(1, &[9]), lww(1, &[100]), lww(1, &[100])),
        (lww(1, &[1, 2]), lww(1, &[1, 2, 3]), lww(1, &[1, 2, 3])),
        (set(&["a"]).into(), set(&["b"]).into(), set(&["a", "b"]).into()),
        (ordered(&["b"]), ordered(&["a", "b"]), ordered(&["a", "b"])),
        (
            single(a1.clone(), &["x"]),
            single(a2.clone(), &["y"]),
            single(a2.clone(), &["y"]),
        ),
        (
            single(a1.clone(), &["x"]),
            single(b1.clone(), &["y"]),
            single(ab1.clone(), &["x", "y"]),
        ),
        // One id used twice: upstream keeps what came last.
        (
            single(a1.clone(), &["x"]),
            single(a1.clone(), &["y"]),
            single(a1.clone(), &["x", "y"]),
        ),
        (
            multi(a1.clone(), 5, &["x"]),
            multi(a2.clone(), 2, &["y"]),
            multi(a2.clone(), 2, &["y"]),
        ),
        (
            multi(a1.clone(), 5, &["x"]),
            multi(b1.clone(), 2, &["y"]),
            multi(ab1.clone(), 5, &["x", "y"]),
        ),
        (
            multi(a1.clone(), 1, &["x"]),
            multi(a1.clone(), 2, &["y"]),
            multi(a1.clone(), 2, &["x", "y"]),
        ),
    ] {
        for values in [
            &[&a, &b][..],
            &[&b, &a],
            &[&a, &b, &a],
            &[&b, &a, &b, &b],
            &[&a, &a, &b],
        ] {
            assert_eq!(merged(values), want, "{values:?}");
        }
        assert_eq!(merged(&[&a, &a]), a);
    }
}

#[test]
fn different_types_do_not_merge() {
    let values = [
        (lww(1, b""), LatticeType::Lww),
        (set(&[]).into(), LatticeType::Set),
        (ordered(&[]), LatticeType::OrderedSet),
        (single(clock(&[]), &[]), LatticeType::SingleCausal),
        (multi(clock(&[]), 1, &[]), LatticeType::MultiCausal),
    ];
    for (a, ty) in &values {
        assert_eq!(a.ty(), *ty);
        for (b, other) in &values {
            let merge = a.clone().try_merge(b);
            assert_eq!(merge, if ty == other { Ok(()) } else { Err(AnnaError::Lattice) });
        }
    }
}

#[test]
fn values_are_taken_as_what_they_are() {
    let value = lww(1, b"x");
    assert_eq!(value.as_lww().unwrap().element().value(), b"x");
    let text = value.as_set().unwrap_err().to_string();
    assert_eq!(text, "expected a value of type Set, it is Lww");
    assert!(value.clone().into_ordered_set().is_err() && value.clone().into_single_causal().is_err());
    assert!(value.as_ordered_set().is_err() && value.as_single_causal().is_err());
    assert!(value.as_multi_causal().is_err() && value.clone().into_multi_causal().is_err());
    assert_eq!(value.into_lww().unwrap().into_revealed().into_value(), b"x");
    let value: LatticeValue = set(&["a"]).into();
    assert_eq!(value.into_set().unwrap().into_revealed(), [b"a".to_vec()].into());
}

#[test]
fn one_type_by_itself() {
    // Values that have no bytes, at the same instant.
    let at = Timestamp::from_unix_nanos(7);
    let (a, b) = (
        LastWriterWinsLattice::from_pair(at, 1.5),
        LastWriterWinsLattice::from_pair(at, 2.5),
    );
    let (mut x, mut y) = (a.clone(), b.clone());
    x.merge(&b);
    y.merge(&a);
    assert_eq!(x, y);
    x.assign(a.reveal().clone());
    assert_eq!(x, a);

    let mut flag = BoolLattice::default();
    flag.merge(&BoolLattice::new(true));
    flag.merge(&BoolLattice::new(false));
    assert!(*flag.reveal());
    flag.assign(false);
    assert!(!flag.into_revealed());

    let mut days = OrderedSetLattice::default();
    days.merge_element(&[3, 1].into());
    assert_eq!(days.len(), MaxLattice::new(2));
    assert!(days.intersection(&[1, 2].into()).eq(&[1]));

    let mut names = SetLattice::default();
    names.insert("a");
    assert_eq!(names.intersection(&["a", "b"].into()).count(), 1);

    let mut scores = MapLattice::default();
    scores.insert("x", MaxLattice::new(1));
    scores.merge(&MapLattice::new(
        [("x", MaxLattice::new(3)), ("y", MaxLattice::new(2))].into(),
    ));
    assert_eq!(scores.reveal()["x"], MaxLattice::new(3));
    assert_eq!(scores.key_set(), SetLattice::new(["x", "y"].into()));
    assert!(scores.contains_key(&"y").into_revealed());
    scores.remove("y");
    assert!(!scores.contains_key(&"y").into_revealed());
}

#[test]
fn errors_say_what_is_wrong() {
    let texts: std::collections::HashSet<_> = [
        AnnaError::KeyDoesNotExist,
        AnnaError::WrongThread,
        AnnaError::Timeout,
        AnnaError::Lattice,
        AnnaError::NoServers,
        AnnaError::Serialize,
    ]
    .map(|e| e.to_string())
    .into();
    assert_eq!(texts.len(), 6);
    #[cfg(feature = "serde_json")]
    {
        let json = serde_json::from_str::<u8>("x").unwrap_err();
        assert_eq!(AnnaError::from(json), AnnaError::Serialize);
    }
}
