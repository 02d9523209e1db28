//! The host within this process answers as a real one does.

use std::{thread, time::Duration};

use anna_api::{
    lattice::{LastWriterWinsLattice, Lattice, SetLattice},
    ClientKey,
};
use essa_api::{c_api, call_function, essa_wrap, local, EssaResult};

fn add(key: &str, element: &str) -> Result<(), EssaResult> {
    essa_api::kvs_put(&key.into(), &SetLattice::new([element.into()].into()).into())
}

fn elements(key: &str) -> Vec<Vec<u8>> {
    let set = essa_api::kvs_get(&key.into()).unwrap().into_set().unwrap();
    let mut all: Vec<_> = set.into_revealed().into_iter().collect();
    all.sort();
    all
}

#[essa_wrap(name = "put_late_extern")]
fn put_late(key: ClientKey, element: String) {
    thread::sleep(Duration::from_millis(30));
    add(&key, &element).unwrap();
}

#[essa_wrap(name = "fail_extern")]
fn fail(text: String) -> u8 {
    panic!("on purpose: {text}")
}

#[essa_wrap(name = "takes_text_extern")]
fn takes_text(text: String) -> usize {
    text.len()
}

#[test]
fn a_caller_sees_what_its_callees_put() {
    put_late_extern("k".into(), "a".into()).unwrap().get().unwrap();
    add("k", "b").unwrap();
    assert_eq!(elements("k"), [b"a", b"b"]);
}

#[test]
fn a_get_waits() {
    let key = ClientKey::from("late");
    assert_eq!(essa_api::kvs_try_get(&key), Ok(None));
    let put = put_late_extern(key.clone(), "x".into()).unwrap();
    assert_eq!(elements("late"), [b"x"]);
    put.get().unwrap();
}

#[test]
fn each_test_has_a_store_of_its_own() {
    add("own", "mine").unwrap();
    thread::spawn(|| assert_eq!(essa_api::kvs_try_get(&"own".into()), Ok(None)))
        .join()
        .unwrap();
    assert_eq!(elements("own"), [b"mine"]);
}

#[test]
fn a_value_of_another_type_is_refused() {
    add("kind", "a").unwrap();
    let text = LastWriterWinsLattice::new_now(b"text".to_vec()).into();
    assert_eq!(essa_api::kvs_put(&"kind".into(), &text), Err(EssaResult::UnknownError));
    assert_eq!(elements("kind"), [b"a"]);
}

#[test]
fn failures_have_codes() {
    let code =
        |call: Result<essa_api::ResultHandle, EssaResult>| call.and_then(essa_api::ResultHandle::wait).unwrap_err();
    assert_eq!(
        code(call_function("__essa_wrapper__nobody", b"")),
        EssaResult::NoSuchFunction
    );
    extern "C-unwind" fn silent(_: usize) {}
    local::register("silent", silent);
    assert_eq!(code(call_function("silent", b"")), EssaResult::NoResult);
    local::register("__essa_wrapper__takes_text", __essa_wrapper__takes_text);
    // More letters than there are.
    assert_eq!(
        code(call_function("__essa_wrapper__takes_text", &[9; 9])),
        EssaResult::UnknownError
    );
    // A result that is not what the caller expects.
    let wrong = call_function("__essa_wrapper__takes_text", &[0; 8]).unwrap();
    let wrong = essa_api::RemoteFunctionResult::<String>::new(wrong);
    assert_eq!(wrong.get(), Ok(String::new()));
    let wrong = essa_api::RemoteFunctionResult::<(u64, u64)>::new(
        call_function("__essa_wrapper__takes_text", &[0; 8]).unwrap(),
    );
    assert_eq!(wrong.get(), Err(EssaResult::InvalidResult));
}

#[test]
fn a_failure_has_a_reason() {
    assert_eq!(fail_extern("x".into()).unwrap().get(), Err(EssaResult::UnknownError));
    let long = "long ".repeat(200);
    for text in ["short", &long] {
        let error = fail_extern(text.into()).unwrap().get_with_reason().unwrap_err();
        assert_eq!(error.code, EssaResult::UnknownError);
        if cfg!(feature = "upstream") {
            assert_eq!(
                (error.reason.as_deref(), error.to_string()),
                (None, "unspecified error".into())
            );
        } else {
            let want = format!("guest_fault: panic: on purpose: {text}");
            assert_eq!((error.reason.as_ref(), error.to_string()), (Some(&want), want.clone()));
        }
        assert_eq!(EssaResult::from(error), EssaResult::UnknownError);
    }
    // No reason: what is wrong is known here, not there.
    let error = call_function("nobody", b"").err().unwrap();
    assert_eq!(error, EssaResult::NoSuchFunction);
}

#[test]
fn the_imports_keep_what_they_promise() {
    let (key, value) = ("imports", essa_api::bincode::serialize(&(1u32, 1u64, "a")).unwrap());
    let (mut len, mut handle, mut buffer) = (0, 0, [0u8; 64]);
    let (at, size) = (buffer.as_mut_ptr(), buffer.len());
    local::register("__essa_wrapper__takes_text", __essa_wrapper__takes_text);
    let (name, args) = ("__essa_wrapper__takes_text", [0u8; 8]);
    // SAFETY: every pointer is good for the length beside it.
    unsafe {
        assert_eq!(c_api::essa_get_args(at, 0), 0); // a run has no arguments
        assert_eq!(c_api::essa_get_lattice_len(key.as_ptr(), key.len(), &mut len), -4);
        assert_eq!(
            c_api::essa_get_lattice_data(key.as_ptr(), key.len(), at, size, &mut len),
            -4
        );
        assert_eq!(c_api::essa_put_lattice(key.as_ptr(), key.len(), value.as_ptr(), 3), -1);
        assert_eq!(
            c_api::essa_put_lattice(key.as_ptr(), key.len(), value.as_ptr(), value.len()),
            0
        );
        assert_eq!(
            c_api::essa_put_lattice(b"\xff".as_ptr(), 1, value.as_ptr(), value.len()),
            -1
        );
        assert_eq!(c_api::essa_get_lattice_len(key.as_ptr(), key.len(), &mut len), 0);
        assert_eq!(len, value.len());
        assert_eq!(
            c_api::essa_get_lattice_data(key.as_ptr(), key.len(), at, len - 1, &mut len),
            -3
        );
        // What is read is what the length was told of, also when more has come since.
        add(key, "b").unwrap();
        assert_eq!(
            c_api::essa_get_lattice_data(key.as_ptr(), key.len(), at, size, &mut len),
            0
        );
        assert_eq!(buffer[..len], value);
        assert_eq!(
            c_api::essa_get_lattice_data(key.as_ptr(), key.len(), at, size, &mut len),
            0
        );
        assert!(len > value.len());

        assert_eq!(
            c_api::essa_call(name.as_ptr(), name.len(), args.as_ptr(), args.len(), &mut handle),
            0
        );
        assert_eq!(handle, 1);
        for _ in 0..2 {
            assert_eq!(c_api::essa_get_result_len(handle, &mut len), 0);
            assert_eq!(len, 8);
        }
        assert_eq!(c_api::essa_get_result(handle, at, 7, &mut len), -3);
        assert_eq!(c_api::essa_get_result(handle, at, size, &mut len), 0);
        assert_eq!(c_api::essa_get_result(handle, at, size, &mut len), -4);
        assert_eq!(c_api::essa_get_result_len(99, &mut len), -4);
    }
}
