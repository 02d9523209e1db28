use anna_api::lattice::{Lattice, SetLattice};
use essa_api::{essa_main, essa_wrap};

const BOOK: &str = "guestbook";

/// Adds name to the guestbook and returns everybody who is in it.
#[essa_wrap(name = "sign_remote")]
pub fn sign(name: String) -> Result<Vec<String>, String> {
    let name = name.trim();
    if name.is_empty() {
        return Err("say who you are".into());
    }
    let entry = SetLattice::new([name.into()].into());
    essa_api::kvs_put(&BOOK.into(), &entry.into()).map_err(|e| e.to_string())?;
    guests()
}

/// Everybody who is in the guestbook.
#[essa_wrap(name = "guests_remote")]
pub fn guests() -> Result<Vec<String>, String> {
    let Some(book) = essa_api::kvs_try_get(&BOOK.into()).map_err(|e| e.to_string())? else {
        return Ok(vec![]);
    };
    let names = book.into_set().map_err(|e| e.to_string())?.into_revealed();
    let mut names: Vec<_> = names
        .iter()
        .map(|n| String::from_utf8_lossy(n).into_owned())
        .collect();
    names.sort();
    Ok(names)
}

/// What essad run runs: two guests sign at the same time, each in an instance of its own.
#[essa_main]
fn run() -> Result<(), Box<dyn std::error::Error>> {
    let (ada, grace) = (sign_remote("Ada".into())?, sign_remote("Grace".into())?);
    ada.get_with_reason()??;
    grace.get_with_reason()??;
    println!("hello, {}", guests()?.join(" and "));
    Ok(())
}

#[test]
fn everybody_is_in_the_book() {
    assert_eq!(guests(), Ok(vec![]));
    sign_remote(" Ada ".into()).unwrap().get().unwrap().unwrap();
    assert_eq!(sign("Grace".into()).unwrap(), ["Ada", "Grace"]);
    assert_eq!(sign(" ".into()).unwrap_err(), "say who you are");
}
