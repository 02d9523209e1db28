//! The attributes `essa_wrap` and `essa_main`. Use them through `essa_api`.

use proc_macro::TokenStream;
use proc_macro2::TokenStream as TokenStream2;

mod wrap;

/// Makes a function one that other instances, other functions and clients can call.
///
/// ```
/// # fn main() -> Result<(), essa_api::EssaResult> {
/// use essa_api::essa_wrap;
///
/// /// Adds two numbers.
/// #[essa_wrap(name = "add_extern")]
/// pub fn add(a: u64, b: u64) -> u64 {
///     a + b
/// }
///
/// let sum = add_extern(1, 2)?; // runs somewhere, in an instance of its own
/// assert_eq!(sum.get()?, add(1, 2));
/// # Ok(())
/// # }
/// ```
///
/// The function stays as it is. Beside it are made
///
/// * the export `__essa_wrapper__add`, which is what the host calls: it decodes the arguments, calls `add` and encodes its
///   result, both with bincode; outside, the function is called `add`;
/// * the function with the name given, which takes the same arguments, starts `add` in an instance of its own and returns
///   `Result<essa_api::RemoteFunctionResult<u64>, essa_api::EssaResult>`;
/// * the struct `__essaArgs__add`, the arguments in their order.
///
/// Arguments and results are of any type that serde can encode and decode, and owned: a `String` and not a `&str`.
///
/// Generic functions, methods and `async` functions cannot be exported, and arguments need a name:
///
/// ```compile_fail
/// #[essa_api::essa_wrap(name = "first_extern")]
/// fn first((a, _): (u8, u8)) -> u8 { a }
/// ```
///
/// ```compile_fail
/// #[essa_api::essa_wrap(name = "same_extern")]
/// fn same<T>(t: T) -> T { t }
/// ```
///
/// ```compile_fail
/// #[essa_api::essa_wrap(nom = "add_extern")]
/// fn add(a: u8) -> u8 { a }
/// ```
#[proc_macro_attribute]
pub fn essa_wrap(attribute: TokenStream, item: TokenStream) -> TokenStream {
    beside(item, |item| wrap::wrap(attribute.into(), item))
}

/// Makes a function what `essad run` runs, in a module that is a reactor (`crate-type = ["cdylib"]`). (essad)
///
/// ```
/// #[essa_api::essa_main]
/// fn run() -> Result<(), std::num::ParseIntError> {
///     let n: u64 = "42".parse()?;
///     println!("{n}");
///     Ok(())
/// }
/// ```
///
/// It takes no arguments and returns nothing or a `Result`; an error is written to standard error and the run ends with
/// status 1. A program with a `main` is run by that, and needs no attribute.
///
/// ```compile_fail
/// #[essa_api::essa_main]
/// fn run(n: u64) {}
/// ```
#[proc_macro_attribute]
pub fn essa_main(attribute: TokenStream, item: TokenStream) -> TokenStream {
    beside(item, |item| wrap::main(attribute.into(), item))
}

/// The item as it is and what is made of it, or what is wrong.
fn beside(item: TokenStream, make: impl FnOnce(TokenStream2) -> syn::Result<TokenStream2>) -> TokenStream {
    let made = make(item.clone().into()).unwrap_or_else(|e| e.to_compile_error());
    let mut all = item;
    all.extend(TokenStream::from(made));
    all
}
