//! Expressions: what has a value on the chip.
//!
//! An expression made only of names of the host (and literals) is left as it is and lifted where it meets the
//! chip. Literals alone become untyped numbers that take the type of the place where they stand.

use crate::body::{attributes, block_value_as, host_branches, own};
use crate::refuse;
use crate::scope::{Frame, Name, Scope};
use crate::signature::take_host;
use proc_macro2::{Literal, TokenStream};
use quote::{quote, quote_spanned};
use syn::{BinOp, Expr, ExprIf, Lit, RangeLimits, Result, Type, UnOp, spanned::Spanned};

/// What an expression is made of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Made {
    /// Literals only.
    Literals,
    /// Values of the host.
    Host,
    /// Something of the chip, or something that the language does not have.
    Chip,
}

impl Made {
    fn and(self, other: Made) -> Made {
        match (self, other) {
            (Made::Chip, _) | (_, Made::Chip) => Made::Chip,
            (Made::Host, _) | (_, Made::Host) => Made::Host,
            (Made::Literals, Made::Literals) => Made::Literals,
        }
    }
}

fn made(e: &Expr, scope: &Scope) -> Made {
    let all = |es: &mut dyn Iterator<Item = &Expr>| es.fold(Made::Literals, |m, e| m.and(made(e, scope)));
    match e {
        Expr::Lit(_) => Made::Literals,
        Expr::Path(p) => match p.path.get_ident().filter(|_| p.qself.is_none()).map(|i| scope.lookup(i)) {
            Some(Some(Name::Chip | Name::Variable)) => Made::Chip,
            // Constants, const generics, functions, associated constants: all from outside, all of the host.
            Some(Some(Name::Host) | None) | None => Made::Host,
        },
        Expr::Paren(e) => made(&e.expr, scope),
        Expr::Group(e) => made(&e.expr, scope),
        Expr::Unary(e) => made(&e.expr, scope),
        Expr::Binary(e) => made(&e.left, scope).and(made(&e.right, scope)),
        Expr::Field(e) if made(&e.base, scope) == Made::Host => Made::Host,
        Expr::Cast(e) if made(&e.expr, scope) == Made::Host => Made::Host,
        Expr::Reference(e) if made(&e.expr, scope) == Made::Host => Made::Host,
        Expr::Index(e) if made(&e.expr, scope) == Made::Host => Made::Host.and(made(&e.index, scope)),
        Expr::MethodCall(e) if made(&e.receiver, scope) == Made::Host => Made::Host.and(all(&mut e.args.iter())),
        _ => Made::Chip,
    }
}

/// True for an expression of the host.
pub fn is_host(e: &Expr, scope: &Scope) -> bool {
    made(e, scope) == Made::Host
}

/// An expression in the place of an argument, an index or a bound: values of the host stay what they are.
pub fn argument(e: &Expr, scope: &mut Scope) -> Result<TokenStream> {
    // A truth value or a text may be for the host: `refuse("why")`, `unpack(word, i, 4, true)`.
    let for_both = matches!(e, Expr::Lit(l) if matches!(l.lit, Lit::Bool(_) | Lit::Str(_)));
    if for_both || is_host(e, scope) { Ok(quote!(#e)) } else { value(e, scope) }
}

/// A condition.
pub fn condition(e: &Expr, scope: &mut Scope) -> Result<TokenStream> {
    match e {
        Expr::Let(_) => refuse::form(e),
        e => argument(e, scope),
    }
}

/// An expression of the chip.
pub fn value(e: &Expr, scope: &mut Scope) -> Result<TokenStream> {
    value_as(e, None, scope)
}

/// An expression of the chip, of a type where one is known.
pub fn value_as(e: &Expr, ty: Option<&Type>, scope: &mut Scope) -> Result<TokenStream> {
    let mut owned;
    let mut e = e;
    if let Expr::If(_) | Expr::Match(_) = e {
        owned = e.clone();
        if let Some(attributes) = attributes(&mut owned)
            && take_host(attributes)?
        {
            let branches = host_branches(&owned, true, ty, scope)?;
            return Ok(quote!((#branches)));
        }
        e = &owned;
    }
    if is_host(e, scope) {
        return Ok(quote_spanned!(e.span()=> __anychip::lit(#e)));
    }
    match e {
        Expr::Lit(l) => literal(&l.lit),
        Expr::Path(p) => match p.path.get_ident() {
            Some(name) if scope.lookup(name) == Some(Name::Variable) => Ok(quote_spanned!(name.span()=> #name.get())),
            _ => Ok(quote!(#e)),
        },
        Expr::Paren(p) => {
            let inner = value_as(&p.expr, ty, scope)?;
            Ok(quote_spanned!(p.paren_token.span.join()=> (#inner)))
        }
        Expr::Group(g) => value_as(&g.expr, ty, scope),
        Expr::Unary(u) => {
            let of = value(&u.expr, scope)?;
            match u.op {
                UnOp::Neg(op) => Ok(quote!(#op #of)),
                UnOp::Not(op) => Ok(quote!(#op #of)),
                _ => refuse::form(e),
            }
        }
        Expr::Binary(b) => binary(b, scope),
        Expr::Index(i) => {
            let (place, index) = (argument(&i.expr, scope)?, argument(&i.index, scope)?);
            Ok(quote_spanned!(i.expr.span()=> __anychip::load(#place, #index)))
        }
        Expr::Call(c) => call(c, scope),
        Expr::MethodCall(m) => {
            let receiver = argument(&m.receiver, scope)?;
            let (name, turbofish) = (&m.method, &m.turbofish);
            let args = m.args.iter().map(|a| argument(a, scope)).collect::<Result<Vec<_>>>()?;
            Ok(quote_spanned!(name.span()=> #receiver.#name #turbofish(#(#args),*)))
        }
        Expr::Tuple(t) => {
            let elems = t.elems.iter().map(|e| value(e, scope)).collect::<Result<Vec<_>>>()?;
            Ok(quote!((#(#elems,)*)))
        }
        Expr::Block(b) if b.label.is_none() => {
            let block = block_value_as(&b.block, ty, scope)?;
            Ok(quote!((#block)))
        }
        Expr::If(i) => if_value(i, ty, scope),
        Expr::Assign(_) => refuse::at(e, "an assignment has no value"),
        Expr::Break(_) | Expr::Continue(_) | Expr::Return(_) => {
            refuse::at(e, "this stands as a statement of its own in a kernel: `if cond { break; }`")
        }
        Expr::ForLoop(f) => refuse::at(&f.for_token, NO_LOOP_VALUE),
        Expr::While(w) => refuse::at(&w.while_token, NO_LOOP_VALUE),
        Expr::Loop(l) => refuse::at(&l.loop_token, NO_LOOP_VALUE),
        other => refuse::form(other),
    }
}

fn literal(lit: &Lit) -> Result<TokenStream> {
    let span = lit.span();
    match lit {
        Lit::Int(n) => match n.suffix() {
            "" => {
                let mut number = Literal::i128_suffixed(n.base10_parse()?);
                number.set_span(span);
                Ok(quote!(#number))
            }
            "usize" | "isize" | "i128" => refuse::at(
                lit,
                "this type is of the host: leave the suffix away, the number takes the type of its place",
            ),
            "u128" => refuse::at(lit, "there are no 128-bit integers on the chip"),
            suffix => {
                let ty = syn::Ident::new(suffix, span);
                Ok(quote_spanned!(span=> __anychip::expr::<#ty>(#lit)))
            }
        },
        Lit::Float(x) => match x.suffix() {
            "" => {
                let parsed: f64 = x.base10_parse()?;
                if !parsed.is_finite() {
                    return refuse::at(lit, "this number is larger than f64 can hold");
                }
                let mut number = Literal::f64_suffixed(parsed);
                number.set_span(span);
                Ok(quote!(#number))
            }
            suffix => {
                let ty = syn::Ident::new(suffix, span);
                Ok(quote_spanned!(span=> __anychip::expr::<#ty>(#lit)))
            }
        },
        Lit::Bool(b) => Ok(quote_spanned!(span=> __anychip::expr::<bool>(#b))),
        Lit::Byte(b) => Ok(quote_spanned!(span=> __anychip::expr::<u8>(#b))),
        _ => refuse::at(lit, "there are no texts and characters on the chip"),
    }
}

fn binary(b: &syn::ExprBinary, scope: &mut Scope) -> Result<TokenStream> {
    let span = b.op.span();
    let compare = match b.op {
        BinOp::Eq(_) => "eq",
        BinOp::Ne(_) => "ne",
        BinOp::Lt(_) => "lt",
        BinOp::Le(_) => "le",
        BinOp::Gt(_) => "gt",
        BinOp::Ge(_) => "ge",
        _ => "",
    };
    match b.op {
        BinOp::And(_) | BinOp::Or(_) => {
            let left = condition(&b.left, scope)?;
            let right = scope.within(Frame::ChipIf, |scope| condition(&b.right, scope))?;
            let both = own("both");
            // The right side stands inside the `if`: it is computed only where the left one does not decide.
            Ok(if matches!(b.op, BinOp::And(_)) {
                quote_spanned!(span=> ({
                    __anychip::begin_if(#left);
                    let #both = __anychip::branch_value::<bool>(#right);
                    __anychip::begin_else();
                    #both.set(false);
                    __anychip::end_if();
                    #both.get()
                }))
            } else {
                quote_spanned!(span=> ({
                    __anychip::begin_if(#left);
                    let #both = __anychip::branch_value::<bool>(true);
                    __anychip::begin_else();
                    #both.set(#right);
                    __anychip::end_if();
                    #both.get()
                }))
            })
        }
        _ if !compare.is_empty() => {
            let (left, right) = (value(&b.left, scope)?, value(&b.right, scope)?);
            let compare = syn::Ident::new(compare, span);
            Ok(quote_spanned!(span=> __anychip::#compare(#left, #right)))
        }
        BinOp::Add(_)
        | BinOp::Sub(_)
        | BinOp::Mul(_)
        | BinOp::Div(_)
        | BinOp::Rem(_)
        | BinOp::BitAnd(_)
        | BinOp::BitOr(_)
        | BinOp::BitXor(_)
        | BinOp::Shl(_)
        | BinOp::Shr(_) => {
            let (left, right) = (value(&b.left, scope)?, value(&b.right, scope)?);
            let op = &b.op;
            Ok(quote!(#left #op #right))
        }
        _ => refuse::at(b, "an assignment has no value"),
    }
}

const NO_LOOP_VALUE: &str = "a loop has no value in a kernel: set a `let mut` in it";

/// Functions that every number type has; some Rust types have their own of the same name.
const OF_NUMBERS: [&str; 5] = ["from_f32", "from_i32", "from_u32", "lowest", "highest"];

fn call(c: &syn::ExprCall, scope: &mut Scope) -> Result<TokenStream> {
    let Expr::Path(function) = &*c.func else {
        return refuse::at(
            &c.func,
            "what is called in a kernel is a name: a function of the language or a `#[device] fn`",
        );
    };
    if let Some(name) = function.path.get_ident()
        && let Some(Name::Chip | Name::Variable) = scope.lookup(name)
    {
        return refuse::at(name, format!("`{name}` is a value; what is called in a kernel is a function"));
    }
    let args = c.args.iter().map(|a| argument(a, scope)).collect::<Result<Vec<_>>>()?;
    let span = c.func.span();
    let segments = &function.path.segments;
    if let (Some(last), 2, None) = (segments.last(), segments.len(), &function.qself)
        && OF_NUMBERS.contains(&last.ident.to_string().as_str())
    {
        let (ty, name) = (&segments[0], &last.ident);
        return Ok(quote_spanned!(span=> <#ty as __anychip::Num>::#name(#(#args),*)));
    }
    Ok(quote_spanned!(span=> #function(#(#args),*)))
}

/// What stands after `in`.
pub fn steps(e: &Expr, scope: &mut Scope) -> Result<TokenStream> {
    match e {
        Expr::Paren(p) => steps(&p.expr, scope),
        Expr::Group(g) => steps(&g.expr, scope),
        Expr::Range(r) => {
            if let RangeLimits::Closed(t) = r.limits {
                return refuse::at(&t, "`..=` is not part of the kernel language: write `a..b + 1`");
            }
            match (&r.start, &r.end) {
                (Some(a), Some(b)) => {
                    let (a, b) = (value(a, scope)?, value(b, scope)?);
                    Ok(quote_spanned!(r.limits.span()=> __anychip::range(#a, #b)))
                }
                _ => refuse::at(r, "a range in a kernel has both ends: `0..n`; an endless loop is `loop`"),
            }
        }
        Expr::MethodCall(m) if !is_host(e, scope) => {
            let receiver = steps(&m.receiver, scope)?;
            let (name, turbofish) = (&m.method, &m.turbofish);
            let args = m.args.iter().map(|a| argument(a, scope)).collect::<Result<Vec<_>>>()?;
            Ok(quote_spanned!(name.span()=> #receiver.#name #turbofish(#(#args),*)))
        }
        e => argument(e, scope),
    }
}

/// `if` with a value: a variable that both branches set.
fn if_value(i: &ExprIf, ty: Option<&Type>, scope: &mut Scope) -> Result<TokenStream> {
    let span = i.if_token.span;
    let Some((_, otherwise)) = &i.else_branch else {
        return refuse::at(&i.if_token, "a value is expected here: this `if` needs an `else`");
    };
    let cond = condition(&i.cond, scope)?;
    let then = scope.within(Frame::ChipIf, |scope| block_value_as(&i.then_branch, ty, scope))?;
    let otherwise = scope.within(Frame::ChipIf, |scope| value_as(otherwise, ty, scope))?;
    let chosen = own("chosen");
    let generic = ty.map(|ty| quote!(::<#ty>));
    Ok(quote_spanned!(span=> ({
        __anychip::begin_if(#cond);
        let #chosen = __anychip::branch_value #generic (#then);
        __anychip::begin_else();
        #chosen.set(#otherwise);
        __anychip::end_if();
        #chosen.get()
    })))
}
