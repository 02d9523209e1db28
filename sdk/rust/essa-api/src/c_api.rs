//! What the host gives a function, as it gives it: the imports of the module.
//!
//! Bytes are handed over as a pointer and a length. For what the host has to give, the function first asks how long it is
//! and then brings a buffer. Numbers that are returned are [`EssaResult`](crate::EssaResult)s. The functions of the parent
//! module do all this safely.
//!
//! Compiled for the host machine, the same functions are there, and [`local`](crate::local) is what is behind them.

/// Declares imports: from a module of the host where there is one, else functions that do the same within this process.
macro_rules! imports {
    ($module:literal if $condition:meta {$(
        $(#[$docs:meta])*
        fn $name:ident($($arg:ident: $type:ty),* $(,)?) = $local:path;
    )*}) => {
        #[cfg(all(target_family = "wasm", $condition))]
        #[link(wasm_import_module = $module)]
        extern "C" {$(
            $(#[$docs])*
            pub fn $name($($arg: $type),*) -> i32;
        )*}
        $(
            $(#[$docs])*
            /// # Safety
            ///
            /// Each pointer must be good for as many bytes as the length beside it says, and one without a length for one
            /// word.
            #[cfg(all(not(target_family = "wasm"), $condition))]
            pub unsafe extern "C" fn $name($($arg: $type),*) -> i32 {
                // SAFETY: the caller keeps the promise above.
                unsafe { $local($($arg),*) }
            }
        )*
    };
}

imports! {
    "host" if all() {
        /// Copies the arguments of the running call into `args_ptr`. `args_len` is what the export was given; with less it
        /// is `BufferTooSmall`.
        fn essa_get_args(args_ptr: *mut u8, args_len: usize) = crate::local::abi::get_args;

        /// Sets the result of the running call. The last one counts.
        fn essa_set_result(ptr: *const u8, len: usize) = crate::local::abi::set_result;

        /// Starts a call of an export of this module and returns at once; `result_handle` stands for the call.
        fn essa_call(
            function_name_ptr: *const u8,
            function_name_len: usize,
            args_ptr: *const u8,
            args_len: usize,
            result_handle: *mut usize
        ) = crate::local::abi::call;

        /// Waits until the call has ended and tells the length of its result. It may be asked again.
        fn essa_get_result_len(result_handle: usize, value_len_ptr: *mut usize) = crate::local::abi::get_result_len;

        /// Waits until the call has ended and copies its result; the handle ends with it. With too small a capacity it is
        /// `BufferTooSmall`, and the handle goes on.
        fn essa_get_result(
            result_handle: usize,
            value_ptr: *mut u8,
            value_capacity: usize,
            value_len_ptr: *mut usize
        ) = crate::local::abi::get_result;

        /// Merges an encoded value into what is stored under the key, and returns when the store has acknowledged it.
        fn essa_put_lattice(
            key_ptr: *const u8,
            key_len: usize,
            value_ptr: *const u8,
            value_len: usize
        ) = crate::local::abi::put_lattice;

        /// Tells the length of the value stored under the key. essad keeps that value for the read that follows.
        fn essa_get_lattice_len(
            key_ptr: *const u8,
            key_len: usize,
            value_len_ptr: *mut usize
        ) = crate::local::abi::get_lattice_len;

        /// Copies the encoded value stored under the key.
        fn essa_get_lattice_data(
            key_ptr: *const u8,
            key_len: usize,
            value_ptr: *mut u8,
            value_capacity: usize,
            value_len_ptr: *mut usize
        ) = crate::local::abi::get_lattice_data;
    }
}

imports! {
    "essa" if not(feature = "upstream") {
        /// As [`essa_get_lattice_len`], but waits until there is a value. `NotFound`: it is of a kind that upstream does
        /// not have. (essad)
        fn essa_wait_lattice_len(
            key_ptr: *const u8,
            key_len: usize,
            value_len_ptr: *mut usize
        ) = crate::local::abi::wait_lattice_len;

        /// As [`essa_get_lattice_len`], for values of every kind. (essad)
        fn essa_get_value_len(
            key_ptr: *const u8,
            key_len: usize,
            value_len_ptr: *mut usize
        ) = crate::local::abi::get_value_len;

        /// As [`essa_get_lattice_data`], for values of every kind. (essad)
        fn essa_get_value_data(
            key_ptr: *const u8,
            key_len: usize,
            value_ptr: *mut u8,
            value_capacity: usize,
            value_len_ptr: *mut usize
        ) = crate::local::abi::get_value_data;

        /// Copies the text that says why a call failed, once a wait has told that it did. With `BufferTooSmall` the length
        /// is set as well. (essad)
        fn essa_get_error(
            result_handle: usize,
            text_ptr: *mut u8,
            text_capacity: usize,
            text_len_ptr: *mut usize
        ) = crate::local::abi::get_error;
    }
}
