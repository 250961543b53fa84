//! `#[kernel]` and `#[device]`: functions of the kernel language, written in Rust's grammar.
//!
//! The attributes translate; they know no types. What they expand to are calls of `anychip_hal::ir::typed`, reached
//! through the name `__anychip` that its prelude brings in, so that the output compiles under every name by which
//! the crate is known or re-exported: whoever writes a kernel imports the prelude with `*`.
//!
//! Everything that is not part of the language is refused here with its span and a way out; everything that
//! depends on types (an unknown method, `f32 + u32`) is refused by the compiler at the author's own tokens.

mod body;
mod expr;
mod refuse;
mod scope;
mod signature;

use proc_macro::TokenStream;
use syn::{ItemFn, parse_macro_input};

/// Makes a kernel of a function: the result is a function of the workgroup and of the `#[host]` parameters that
/// gives a verified `ir::Kernel`.
#[proc_macro_attribute]
pub fn kernel(attributes: TokenStream, item: TokenStream) -> TokenStream {
    expand(attributes, item, signature::kernel)
}

/// Makes a function that kernels call; its body is written into theirs.
#[proc_macro_attribute]
pub fn device(attributes: TokenStream, item: TokenStream) -> TokenStream {
    expand(attributes, item, signature::device)
}

fn expand(
    attributes: TokenStream,
    item: TokenStream,
    how: fn(ItemFn) -> syn::Result<proc_macro2::TokenStream>,
) -> TokenStream {
    if !attributes.is_empty() {
        let attributes = proc_macro2::TokenStream::from(attributes);
        return syn::Error::new_spanned(attributes, "this attribute takes no arguments").into_compile_error().into();
    }
    let function = parse_macro_input!(item as ItemFn);
    how(function).unwrap_or_else(syn::Error::into_compile_error).into()
}
