//! What the language does not have, and what to write instead.

use syn::{Error, Expr, Result, spanned::Spanned};

/// An error at a piece of the author's code.
pub fn at<T>(what: &impl Spanned, why: impl std::fmt::Display) -> Result<T> {
    Err(Error::new(what.span(), why))
}

/// The sentence for an expression that is Rust but not of the kernel language.
pub fn why(e: &Expr) -> &'static str {
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
