//! What the language does not have, and what to write instead.

use quote::ToTokens;
use syn::{Error, Expr, Result};

/// An error at a piece of the author's code, from its first token to its last.
pub fn at<T>(what: &impl ToTokens, why: impl std::fmt::Display) -> Result<T> {
    Err(Error::new_spanned(what, why))
}

/// An error for a form that the language does not have: at its keyword where it has one, since it may be long.
pub fn form<T>(e: &Expr) -> Result<T> {
    match e {
        Expr::Async(f) => at(&f.async_token, why(e)),
        Expr::Match(f) => at(&f.match_token, why(e)),
        Expr::Unsafe(f) => at(&f.unsafe_token, why(e)),
        _ => at(e, why(e)),
    }
}

/// The sentence for an expression that is Rust but not of the kernel language.
fn why(e: &Expr) -> &'static str {
    match e {
        Expr::Array(_) | Expr::Repeat(_) => {
            "arrays are not values on the chip: use `private::<T>(n)` for one lane or `shared::<T>(n)` for the workgroup"
        }
        Expr::Async(_) | Expr::Await(_) | Expr::Yield(_) => "a kernel cannot wait: there is no `async` on the chip",
        Expr::Cast(_) => {
            "`as` is not part of the kernel language: write `.to_f32()`, `.to_u32()`, … or `.cast::<T>()`, which say what happens at the edges"
        }
        Expr::Closure(_) => {
            "closures are not part of the kernel language: write a `#[device] fn`, or take one as a `#[host]` parameter"
        }
        Expr::Const(_) => "`const { … }` is of the host: write `#[host] let`",
        Expr::Field(_) => "there are no structs on the chip; a field of a host value is read in `#[host]` code",
        Expr::Let(_) => "`if let` and `while let` are of the host: mark the statement `#[host]`",
        Expr::Macro(_) => {
            "macros are not part of the kernel language; to refuse host values write `#[host] if … { refuse(\"why\") }`"
        }
        Expr::Match(_) => {
            "`match` is not part of the kernel language: write `if` and `else`, or `#[host] match` for a value of the host"
        }
        Expr::Range(_) => "a range stands only after `in`",
        Expr::RawAddr(_) | Expr::Reference(_) => {
            "there are no references on the chip: buffers, arrays and values are passed by name"
        }
        Expr::Struct(_) => "there are no structs on the chip; keep host structs in `#[host]` code",
        Expr::Try(_) => "`?` is not part of the kernel language: nothing on the chip returns an error",
        Expr::TryBlock(_) => "`try` is not part of the kernel language: nothing on the chip returns an error",
        Expr::Unary(_) => "there are no pointers on the chip: nothing can be dereferenced",
        Expr::Unsafe(_) => {
            "`unsafe` is not part of the kernel language: whether indices are checked is chosen by the launch"
        }
        Expr::Infer(_) => "`_` is not a value",
        _ => "this form of Rust is not part of the kernel language",
    }
}
