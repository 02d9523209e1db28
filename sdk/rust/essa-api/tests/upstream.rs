//! Names, signatures and numbers of upstream's crates: what source written for them relies on.

use std::collections::{BTreeSet, HashSet};

use anna_api::{lattice::SetLattice, ClientKey, LatticeValue};
use essa_api::{c_api, essa_wrap, EssaResult, RemoteFunctionResult, ResultHandle};

#[test]
fn signatures() {
    let _: fn(usize) -> Result<Vec<u8>, EssaResult> = essa_api::get_args_raw;
    let _: fn(&[u8]) -> Result<(), EssaResult> = essa_api::set_result;
    let _: fn(&str, &[u8]) -> Result<ResultHandle, EssaResult> = essa_api::call_function;
    let _: fn(ResultHandle) -> Result<Vec<u8>, EssaResult> = ResultHandle::wait;
    let _: fn(&ClientKey) -> Result<Option<LatticeValue>, EssaResult> = essa_api::kvs_try_get;
    let _: fn(&ClientKey) -> Result<LatticeValue, EssaResult> = essa_api::kvs_get;
    let _: fn(&ClientKey, &LatticeValue) -> Result<(), EssaResult> = essa_api::kvs_put;
    let _: fn(ResultHandle) -> RemoteFunctionResult<u8> = RemoteFunctionResult::new;
    let _: fn(RemoteFunctionResult<u8>) -> Result<u8, EssaResult> = RemoteFunctionResult::get;
    let _: fn(RemoteFunctionResult<u8>) -> Result<u8, EssaResult> = essa_api::remote_result::RemoteFunctionResult::get;
}

#[test]
fn imports() {
    let _: unsafe extern "C" fn(*mut u8, usize) -> i32 = c_api::essa_get_args;
    let _: unsafe extern "C" fn(*const u8, usize) -> i32 = c_api::essa_set_result;
    let _: unsafe extern "C" fn(*const u8, usize, *const u8, usize, *mut usize) -> i32 = c_api::essa_call;
    let _: unsafe extern "C" fn(usize, *mut usize) -> i32 = c_api::essa_get_result_len;
    let _: unsafe extern "C" fn(usize, *mut u8, usize, *mut usize) -> i32 = c_api::essa_get_result;
    let _: unsafe extern "C" fn(*const u8, usize, *const u8, usize) -> i32 = c_api::essa_put_lattice;
    let _: unsafe extern "C" fn(*const u8, usize, *mut usize) -> i32 = c_api::essa_get_lattice_len;
    let _: unsafe extern "C" fn(*const u8, usize, *mut u8, usize, *mut usize) -> i32 = c_api::essa_get_lattice_data;
}

#[test]
fn numbers() {
    let known = [
        (EssaResult::Ok, 0),
        (EssaResult::UnknownError, -1),
        (EssaResult::NoSuchFunction, -2),
        (EssaResult::BufferTooSmall, -3),
        (EssaResult::NotFound, -4),
        (EssaResult::InvalidFunctionSignature, -5),
        (EssaResult::NoResult, -6),
        (EssaResult::InvalidResult, -8),
    ];
    for (result, number) in known {
        assert_eq!(i32::from(result), number);
        assert_eq!(EssaResult::try_from(number), Ok(result));
    }
    for number in [1, -7, -9, i32::MIN] {
        assert_eq!(EssaResult::try_from(number).unwrap_err().number, number);
    }
    let texts: HashSet<_> = known.iter().map(|(result, _)| result.to_string()).collect();
    assert_eq!(texts.len(), known.len());
    let _: Box<dyn std::error::Error + Send + Sync> = EssaResult::NotFound.into();
}

/// A name for the guestbook, as a caller has it.
#[derive(Debug, Clone, PartialEq, essa_api::serde::Serialize, essa_api::serde::Deserialize)]
#[serde(crate = "essa_api::serde")]
pub struct Name {
    first: String,
    last: Option<String>,
}

type Greeting = Result<(String, u128), String>;

#[essa_wrap(name = "greet_extern")]
fn greet(mut names: Vec<Name>, r#type: char, loud: bool) -> Greeting {
    let Some(name) = names.pop() else {
        return Err("nobody is there".to_owned());
    };
    let text = format!("{}{}{}", name.first, name.last.as_deref().unwrap_or(""), r#type);
    Ok((if loud { text.to_uppercase() } else { text }, names.len() as u128))
}

#[essa_wrap(name = "keep")]
fn r#move(key: ClientKey, element: Vec<u8>) {
    essa_api::kvs_put(&key, &SetLattice::new([element].into()).into()).unwrap();
}

#[test]
fn stubs() {
    let names = ["Ada", "Grace"].map(|first| Name {
        first: first.to_owned(),
        last: Some(" x".to_owned()),
    });
    let _: fn(_, _, _) -> Result<RemoteFunctionResult<Greeting>, EssaResult> = greet_extern;
    let done = greet_extern(names.to_vec(), 'é', true).unwrap().get().unwrap();
    assert_eq!(done, Ok(("GRACE XÉ".to_owned(), 1)));
    let done = greet_extern(vec![], '!', true).unwrap().get().unwrap();
    assert_eq!(done, greet(vec![], '!', true));
    for element in [b"a", b"b"] {
        let () = keep("k".into(), element.to_vec()).unwrap().get().unwrap();
    }
    let set = essa_api::kvs_get(&"k".into()).unwrap().into_set().unwrap();
    let sorted: BTreeSet<_> = anna_api::lattice::Lattice::reveal(&set).iter().collect();
    assert_eq!(sorted, [&b"a".to_vec(), &b"b".to_vec()].into());
}

#[test]
fn arguments_are_their_fields_in_order() {
    // The export reads what any client would send: no header, no names, no padding.
    let args = essa_api::bincode::serialize(&(
        vec![Name {
            first: "A".into(),
            last: None,
        }],
        '!',
        false,
    ))
    .unwrap();
    assert_eq!(
        args,
        [&[1, 0, 0, 0, 0, 0, 0, 0][..], &[1, 0, 0, 0, 0, 0, 0, 0], b"A\0!\0"].concat()
    );
    essa_api::local::register("__essa_wrapper__greet", __essa_wrapper__greet);
    let call = essa_api::call_function("__essa_wrapper__greet", &args).unwrap();
    let want = [&[0, 0, 0, 0][..], &[2, 0, 0, 0, 0, 0, 0, 0], b"A!", &[0; 16]].concat();
    assert_eq!(call.wait().unwrap(), want);
}
