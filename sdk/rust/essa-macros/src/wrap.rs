//! What the attributes make, from tokens to tokens.

use proc_macro2::{Ident, TokenStream};
use quote::{format_ident, quote, ToTokens};
use syn::{
    Error, Expr, ExprLit, FnArg, ItemFn, Lit, LitStr, MetaNameValue, Pat, Result, ReturnType, Safety, Signature, Type,
};

/// Makes what stands beside a function that can be called.
pub(crate) fn wrap(attribute: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let stub = stub_name(attribute.clone())?;
    let Ok(function) = syn::parse2::<ItemFn>(item) else {
        return Err(Error::new_spanned(attribute, "essa_wrap is for functions"));
    };
    let signature = &function.sig;
    refuse_what_cannot_be_exported(signature)?;
    let parameters = signature.inputs.iter().map(parameter).collect::<Result<Vec<_>>>()?;
    Ok(generate(&stub, signature, &parameters))
}

/// Makes the export that runs the function.
pub(crate) fn main(attribute: TokenStream, item: TokenStream) -> Result<TokenStream> {
    if !attribute.is_empty() {
        return Err(Error::new_spanned(attribute, "essa_main takes nothing"));
    }
    let function: ItemFn = syn::parse2(item).map_err(|e| Error::new(e.span(), "essa_main is for functions"))?;
    refuse_what_cannot_be_exported(&function.sig)?;
    if !function.sig.inputs.is_empty() {
        return Err(Error::new_spanned(
            function.sig.inputs,
            "what is run takes no arguments",
        ));
    }
    let name = &function.sig.ident;
    Ok(quote! {
        #[doc(hidden)]
        #[unsafe(export_name = "essa_main")]
        pub extern "C-unwind" fn __essa_main() {
            essa_api::__private::run(#name());
        }
    })
}

/// The name of the stub: the attribute is `name = "..."` and nothing else.
fn stub_name(attribute: TokenStream) -> Result<Ident> {
    let given: MetaNameValue =
        syn::parse2(attribute).map_err(|e| Error::new(e.span(), "essa_wrap takes `name = \"...\"`"))?;
    if !given.path.is_ident("name") {
        return Err(Error::new_spanned(
            given.path,
            "essa_wrap takes `name` and nothing else",
        ));
    }
    match &given.value {
        Expr::Lit(ExprLit {
            lit: Lit::Str(name), ..
        }) => identifier(name),
        other => Err(Error::new_spanned(other, "the name is a string")),
    }
}

fn identifier(name: &LitStr) -> Result<Ident> {
    name.parse().map_err(|_| {
        Error::new(
            name.span(),
            format!("{:?} cannot be the name of a function", name.value()),
        )
    })
}

fn refuse_what_cannot_be_exported(signature: &Signature) -> Result<()> {
    let refuse = |what: &dyn ToTokens, why: &str| Err(Error::new_spanned(what, why));
    match signature {
        Signature {
            asyncness: Some(word), ..
        } => refuse(word, "an async function cannot be exported"),
        Signature {
            safety: Safety::Unsafe(word),
            ..
        } => refuse(word, "an unsafe function cannot be exported"),
        Signature {
            variadic: Some(dots), ..
        } => refuse(dots, "a variadic function cannot be exported"),
        Signature { generics, .. } if !generics.params.is_empty() => {
            refuse(&generics.params, "a generic function cannot be exported")
        }
        _ => Ok(()),
    }
}

/// A parameter's name and type. `mut` concerns the function alone.
fn parameter(input: &FnArg) -> Result<(&Ident, &Type)> {
    match input {
        FnArg::Receiver(receiver) => Err(Error::new_spanned(receiver, "a method cannot be exported")),
        FnArg::Typed(typed) => match &*typed.pat {
            Pat::Ident(pattern) => Ok((&pattern.ident, &*typed.ty)),
            other => Err(Error::new_spanned(
                other,
                "an argument of an exported function needs a name, not a pattern",
            )),
        },
    }
}

fn generate(stub: &Ident, signature: &Signature, parameters: &[(&Ident, &Type)]) -> TokenStream {
    let function = &signature.ident;
    let plain = function.to_string();
    let plain = plain.trim_start_matches("r#");
    let export = format!("__essa_wrapper__{plain}");
    let wrapper = Ident::new(&export, function.span());
    let arguments = format_ident!("__essaArgs__{plain}", span = function.span());
    let (names, types): (Vec<_>, Vec<_>) = parameters.iter().copied().unzip();
    let output = match &signature.output {
        ReturnType::Default => quote!(()),
        ReturnType::Type(_, ty) => quote!(#ty),
    };
    let about_stub = format!("Starts [`{plain}`] in an instance of its own.");
    quote! {
        #[allow(non_camel_case_types)]
        #[derive(essa_api::serde::Serialize, essa_api::serde::Deserialize)]
        #[serde(crate = "essa_api::serde")]
        struct #arguments {
            #(#names: #types),*
        }

        #[doc(hidden)]
        #[allow(non_snake_case)]
        #[unsafe(no_mangle)]
        pub extern "C-unwind" fn #wrapper(args_raw_len: usize) {
            essa_api::__private::serve(#plain, args_raw_len, |args: #arguments| #function(#(args.#names),*));
        }

        #[doc = #about_stub]
        #[allow(dead_code, clippy::too_many_arguments)]
        pub fn #stub(#(#names: #types),*)
            -> ::core::result::Result<essa_api::RemoteFunctionResult<#output>, essa_api::EssaResult>
        {
            essa_api::__private::start(#export, #wrapper, &#arguments { #(#names),* })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(attribute: TokenStream, item: TokenStream) -> String {
        wrap(attribute, item).expect_err("it was taken").to_string()
    }

    #[test]
    fn names_are_upstreams() {
        let attribute = quote!(name = "append_foo");
        let made = wrap(
            attribute,
            quote!(
                fn foo(mut val: String, r#type: u8) -> String {
                    val
                }
            ),
        )
        .unwrap();
        let made: syn::File = syn::parse2(made).unwrap();
        let names: Vec<_> = made
            .items
            .iter()
            .map(|item| match item {
                syn::Item::Struct(s) => s.ident.to_string(),
                syn::Item::Fn(f) => f.sig.ident.to_string(),
                other => panic!("{}", other.to_token_stream()),
            })
            .collect();
        assert_eq!(names, ["__essaArgs__foo", "__essa_wrapper__foo", "append_foo"]);
        let syn::Item::Fn(stub) = &made.items[2] else {
            unreachable!()
        };
        let want: ItemFn = syn::parse_quote! {
            #[doc = "Starts [`foo`] in an instance of its own."]
            #[allow(dead_code, clippy::too_many_arguments)]
            pub fn append_foo(val: String, r#type: u8)
                -> ::core::result::Result<essa_api::RemoteFunctionResult<String>, essa_api::EssaResult>
            {
                essa_api::__private::start(
                    "__essa_wrapper__foo", __essa_wrapper__foo, &__essaArgs__foo { val, r#type })
            }
        };
        assert_eq!(stub.to_token_stream().to_string(), want.to_token_stream().to_string());
    }

    #[test]
    fn what_is_refused_is_told() {
        let foo = || {
            quote!(
                fn foo() {}
            )
        };
        for (attribute, item, want) in [
            (quote!(), foo(), "takes `name = \"...\"`"),
            (quote!("foo_extern"), foo(), "takes `name = \"...\"`"),
            (quote!(nom = "foo_extern"), foo(), "`name` and nothing else"),
            (quote!(name = "a", more = "b"), foo(), "takes `name = \"...\"`"),
            (quote!(name = foo_extern), foo(), "is a string"),
            (quote!(name = 5), foo(), "is a string"),
            (quote!(name = "two words"), foo(), "\"two words\" cannot be the name"),
            (quote!(name = ""), foo(), "cannot be the name"),
            (
                quote!(name = "a"),
                quote!(
                    struct Foo;
                ),
                "for functions",
            ),
            (
                quote!(name = "a"),
                quote!(
                    fn foo(&self) {}
                ),
                "method",
            ),
            (
                quote!(name = "a"),
                quote!(
                    fn foo((a, b): (u8, u8)) {}
                ),
                "not a pattern",
            ),
            (
                quote!(name = "a"),
                quote!(
                    fn foo(_: u8) {}
                ),
                "not a pattern",
            ),
            (
                quote!(name = "a"),
                quote!(
                    fn foo<T>(t: T) {}
                ),
                "generic",
            ),
            (
                quote!(name = "a"),
                quote!(
                    async fn foo() {}
                ),
                "async",
            ),
            (
                quote!(name = "a"),
                quote!(
                    unsafe fn foo() {}
                ),
                "unsafe",
            ),
        ] {
            let text = error(attribute, item.clone());
            assert!(text.contains(want), "{item}: {text:?} does not say {want:?}");
        }
    }

    #[test]
    fn what_is_run() {
        let made = main(
            quote!(),
            quote!(
                fn run() {}
            ),
        )
        .unwrap();
        let made: ItemFn = syn::parse2(made).unwrap();
        assert_eq!(made.sig.ident, "__essa_main");
        for (attribute, item, want) in [
            (
                quote!(name = "a"),
                quote!(
                    fn run() {}
                ),
                "takes nothing",
            ),
            (
                quote!(),
                quote!(
                    struct Run;
                ),
                "for functions",
            ),
            (
                quote!(),
                quote!(
                    fn run(n: u8) {}
                ),
                "no arguments",
            ),
            (
                quote!(),
                quote!(
                    async fn run() {}
                ),
                "async",
            ),
        ] {
            let text = main(attribute, item.clone()).expect_err("it was taken").to_string();
            assert!(text.contains(want), "{item}: {text:?} does not say {want:?}");
        }
    }
}
