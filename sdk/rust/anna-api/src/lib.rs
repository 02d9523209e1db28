//! The keys and values of the store, as functions see them.
//!
//! The types, their modules and their encoding (bincode 1.3) are those of upstream's `anna-api`: source written for that
//! crate compiles with this one, and both read each other's bytes. What is different is what the merges do where upstream
//! panics or depends on the order of arrival; the merge of each type says so.
//!
//! Values are merged where they are stored. Functions rarely merge themselves: they build a value, and
//! `essa_api::kvs_put` merges it into what is there.

mod error;
mod key;
pub mod lattice;
mod value;

pub use error::AnnaError;
pub use key::ClientKey;
pub use value::{LatticeType, LatticeValue};
