//! The function around the body: parameters, their types, the name of the kernel.

use crate::body;
use crate::refuse;
use crate::scope::{Name, Scope};
use proc_macro2::TokenStream;
use quote::{format_ident, quote, quote_spanned};
use syn::{
    Attribute, Expr, FnArg, GenericParam, Ident, ItemFn, Pat, PatType, Result, ReturnType, Safety, Type,
    TypeParamBound, TypePath, spanned::Spanned,
};

/// What a parameter is for.
enum Param {
    /// A value of the host, of any type.
    Host { name: Ident, ty: Type },
    /// `&Buf<T>` or `&mut Buf<T>`.
    Buffer { name: Ident, elem: TokenStream, mutable: bool },
    /// A number.
    Scalar { name: Ident, ty: Type },
    /// A handle that the typed layer has a type for, in `#[device]`: `Shared<T>`, `Private<T>`, …
    Handle { name: Ident, ty: Type },
}

/// Takes `#[host]` off a list of attributes and says whether it was there.
pub fn take_host(attributes: &mut Vec<Attribute>) -> Result<bool> {
    let mut host = false;
    let mut error = None;
    attributes.retain(|a| {
        let is = a.path().is_ident("host");
        if is && !matches!(a.meta, syn::Meta::Path(_)) {
            error = Some(syn::Error::new(a.span(), "`#[host]` takes no arguments"));
        }
        host |= is;
        !is
    });
    error.map_or(Ok(host), Err)
}

/// Types that stand for themselves: handles of the typed layer.
pub fn is_handle(ty: &Type) -> bool {
    const HANDLES: [&str; 5] = ["Shared", "Private", "Fragment", "FragmentVar", "SharedTile"];
    last_segment(ty).is_some_and(|name| HANDLES.contains(&name.to_string().as_str()))
}

fn last_segment(ty: &Type) -> Option<&Ident> {
    match ty {
        Type::Path(TypePath { qself: None, path, .. }) => path.segments.last().map(|s| &s.ident),
        _ => None,
    }
}

/// The type of an expression: `f32` becomes `Expr<f32>`, a tuple a tuple of them.
pub fn chip_type(ty: &Type) -> Result<TokenStream> {
    match ty {
        Type::Tuple(tuple) => {
            let elems = tuple.elems.iter().map(chip_type).collect::<Result<Vec<_>>>()?;
            Ok(quote_spanned!(ty.span()=> (#(#elems,)*)))
        }
        Type::Paren(inner) => chip_type(&inner.elem),
        Type::Group(inner) => chip_type(&inner.elem),
        Type::Path(_) if is_handle(ty) => Ok(quote!(#ty)),
        Type::Path(_) => Ok(quote_spanned!(ty.span()=> __anychip::Expr<#ty>)),
        _ => {
            refuse::at(ty, "this is not a type on the chip: there are numbers, bool, Idx, Vec2, Vec4, Vec8 and tuples")
        }
    }
}

fn buffer_elem(ty: &Type) -> Option<TokenStream> {
    let Type::Path(TypePath { qself: None, path, .. }) = ty else { return None };
    let last = path.segments.last()?;
    if last.ident != "Buf" {
        return None;
    }
    match &last.arguments {
        syn::PathArguments::AngleBracketed(args) if args.args.len() == 1 => {
            let arg = args.args.first()?;
            Some(quote!(#arg))
        }
        _ => None,
    }
}

fn param(arg: &mut FnArg, device: bool) -> Result<Param> {
    let FnArg::Typed(PatType { attrs, pat, ty, .. }) = arg else {
        return refuse::at(arg, "a kernel has no `self`");
    };
    let host = take_host(attrs)?;
    if let Some(other) = attrs.first() {
        return refuse::at(other, "a parameter of a kernel has no attribute but `#[host]`");
    }
    let name = match &**pat {
        Pat::Ident(p) if p.by_ref.is_none() && p.subpat.is_none() => {
            if let (Some(m), false) = (&p.mutability, host) {
                return refuse::at(m, "a parameter cannot be `mut`: start a `let mut` with its value");
            }
            p.ident.clone()
        }
        other => return refuse::at(other, "a parameter of a kernel is a plain name"),
    };
    let ty = (**ty).clone();
    if host {
        return Ok(Param::Host { name, ty });
    }
    match &ty {
        Type::Reference(r) => match buffer_elem(&r.elem) {
            Some(elem) => Ok(Param::Buffer { name, elem, mutable: r.mutability.is_some() }),
            None if matches!(&*r.elem, Type::Slice(_)) => {
                refuse::at(&ty, "a slice is of the host: a buffer of the chip is `&Buf<T>` or `&mut Buf<T>`")
            }
            None => refuse::at(
                &ty,
                "the only references that a kernel takes are `&Buf<T>` and `&mut Buf<T>`; a value of the host is marked `#[host]`",
            ),
        },
        Type::Path(_) if last_segment(&ty).is_some_and(|n| n == "Buf") => {
            refuse::at(&ty, "a buffer is taken as `&Buf<T>` (read) or `&mut Buf<T>` (written)")
        }
        Type::Path(_) if is_handle(&ty) && device => Ok(Param::Handle { name, ty }),
        Type::Path(_) if is_handle(&ty) => {
            refuse::at(&ty, "shared and private arrays are made in the kernel: `let tile = shared::<f32>(n);`")
        }
        Type::Path(_) if last_segment(&ty).is_some_and(|n| n == "usize" || n == "isize") => {
            refuse::at(&ty, "the chip has `u32`, `u64` and `Idx`; a number of the host is marked `#[host]`")
        }
        Type::Path(_) => Ok(Param::Scalar { name, ty }),
        _ => refuse::at(
            &ty,
            "a kernel takes `&Buf<T>`, `&mut Buf<T>` and numbers; any other value is of the host and marked `#[host]`",
        ),
    }
}

fn plain(f: &ItemFn) -> Result<()> {
    let s = &f.sig;
    if let Some(t) = &s.constness {
        return refuse::at(t, "a kernel is not `const`");
    }
    if let Some(t) = &s.asyncness {
        return refuse::at(t, "a kernel cannot wait: there is no `async` on the chip");
    }
    if let Some(t) = &s.abi {
        return refuse::at(t, "a kernel has no ABI of its own");
    }
    if let Some(t) = &s.variadic {
        return refuse::at(t, "a kernel has a fixed list of parameters");
    }
    Ok(())
}

fn params(f: &mut ItemFn, device: bool) -> Result<Vec<Param>> {
    let mut found = vec![];
    let mut errors: Option<syn::Error> = None;
    for arg in &mut f.sig.inputs {
        match param(arg, device) {
            Ok(p) => found.push(p),
            Err(e) => match &mut errors {
                Some(all) => all.combine(e),
                None => errors = Some(e),
            },
        }
    }
    errors.map_or(Ok(found), Err)
}

/// Type and const parameters that tell kernels apart: the parts of the name behind the function's.
fn suffix(f: &ItemFn) -> Vec<TokenStream> {
    const CHIP: [&str; 7] = ["Scalar", "Element", "Num", "Float", "Int", "Value", "Arith"];
    let of_chip = |b: &TypeParamBound| match b {
        TypeParamBound::Trait(t) => {
            t.path.segments.last().is_some_and(|s| CHIP.contains(&s.ident.to_string().as_str()))
        }
        _ => false,
    };
    let mut parts = vec![];
    for p in &f.sig.generics.params {
        match p {
            GenericParam::Type(t) => {
                let in_where = f.sig.generics.where_clause.iter().flat_map(|w| &w.predicates).any(|p| match p {
                    syn::WherePredicate::Type(p) => {
                        last_segment(&p.bounded_ty) == Some(&t.ident) && p.bounds.iter().any(of_chip)
                    }
                    _ => false,
                });
                if t.bounds.iter().any(of_chip) || in_where {
                    let name = &t.ident;
                    parts.push(quote_spanned!(name.span()=> <#name as __anychip::Scalar>::NAME));
                }
            }
            GenericParam::Const(c) => {
                let name = &c.ident;
                parts.push(quote_spanned!(name.span()=> &::std::string::ToString::to_string(&#name)));
            }
            GenericParam::Lifetime(_) => {}
        }
    }
    parts
}

fn is_host_number(ty: &Type) -> bool {
    const NUMBERS: [&str; 10] = ["u8", "u16", "u32", "u64", "usize", "i32", "i64", "bool", "f32", "f64"];
    matches!(ty, Type::Path(p) if p.path.segments.len() == 1)
        && last_segment(ty).is_some_and(|n| NUMBERS.contains(&n.to_string().as_str()))
}

/// Const generics are of the host, as every name is that the body does not bind.
fn scope(params: &[Param], device: bool) -> Scope {
    let mut scope = Scope::new(device);
    for p in params {
        match p {
            Param::Host { name, .. } => scope.bind(name, Name::Host),
            Param::Buffer { name, .. } | Param::Scalar { name, .. } | Param::Handle { name, .. } => {
                scope.bind(name, Name::Chip);
            }
        }
    }
    scope
}

/// Lints that see the expansion and not what the author wrote.
fn allowed() -> TokenStream {
    quote!(#[allow(unused_braces, unused_parens, clippy::all)])
}

/// `#[kernel]`
pub fn kernel(mut f: ItemFn) -> Result<TokenStream> {
    plain(&f)?;
    if let Safety::Unsafe(t) = &f.sig.safety {
        return refuse::at(t, "a kernel is not `unsafe`: whether indices are checked is chosen by the launch");
    }
    if let ReturnType::Type(_, ty) = &f.sig.output {
        return refuse::at(ty, "a kernel returns nothing: it writes to `&mut Buf<T>`");
    }
    let params = params(&mut f, false)?;
    // A refused body leaves the function standing, so that its callers raise no errors of their own.
    let body =
        body::block_statements(&f.block, &mut scope(&params, false)).unwrap_or_else(|e| vec![e.into_compile_error()]);
    let mut host = vec![];
    let mut declare = vec![];
    for p in &params {
        match p {
            Param::Host { name, ty } => host.push(quote!(#name: #ty)),
            Param::Buffer { name, elem, mutable } => {
                let text = name.to_string();
                let make = format_ident!("{}", if *mutable { "buf_mut" } else { "buf" }, span = name.span());
                declare.push(quote_spanned!(name.span()=> let #name = __anychip::#make::<#elem>(#text);));
            }
            Param::Scalar { name, ty } => {
                let text = name.to_string();
                declare.push(quote_spanned!(name.span()=> let #name = __anychip::scalar::<#ty>(#text);));
            }
            Param::Handle { name, .. } => return refuse::at(name, "arrays are made in the kernel"),
        }
    }
    let (attributes, vis, name) = (&f.attrs, &f.vis, &f.sig.ident);
    let (generics, where_clause) = (&f.sig.generics, &f.sig.generics.where_clause);
    let text = name.to_string();
    let suffix = suffix(&f);
    let allowed = allowed();
    // A name of the expansion: no parameter of the author can collide with it.
    let workgroup = Ident::new("workgroup", proc_macro2::Span::mixed_site());
    Ok(quote! {
        #(#attributes)*
        #allowed
        #vis fn #name #generics (
            #workgroup: impl ::std::convert::Into<__anychip::Workgroup>,
            #(#host),*
        ) -> __anychip::Result<__anychip::Kernel> #where_clause {
            __anychip::build(#text, &[#(#suffix),*], #workgroup, || {
                #(#declare)*
                #(#body)*
            })
        }
    })
}

/// `#[device]`
pub fn device(mut f: ItemFn) -> Result<TokenStream> {
    plain(&f)?;
    if let Safety::Unsafe(t) = &f.sig.safety {
        return refuse::at(t, "a device function is not `unsafe`");
    }
    let params = params(&mut f, true)?;
    let mut scope = scope(&params, true);
    let mut inputs = vec![];
    let mut declare = vec![];
    for p in &params {
        match p {
            Param::Host { name, ty } if is_host_number(ty) => {
                inputs.push(quote_spanned!(name.span()=> #name: impl __anychip::IntoHost<#ty>));
                declare.push(quote_spanned!(name.span()=> let #name: #ty = __anychip::IntoHost::into_host(#name);));
            }
            Param::Host { name, ty } | Param::Handle { name, ty } => inputs.push(quote!(#name: #ty)),
            Param::Buffer { name, elem, mutable: true } => {
                inputs.push(quote_spanned!(name.span()=> #name: __anychip::BufMut<#elem>));
            }
            Param::Buffer { name, elem, mutable: false } => {
                inputs.push(quote_spanned!(name.span()=> #name: impl ::std::convert::Into<__anychip::Buf<#elem>>));
                declare.push(
                    quote_spanned!(name.span()=> let #name: __anychip::Buf<#elem> = ::std::convert::Into::into(#name);),
                );
            }
            Param::Scalar { name, ty } => {
                inputs.push(quote_spanned!(name.span()=> #name: impl __anychip::IntoExpr<#ty>));
                declare.push(
                    quote_spanned!(name.span()=> let #name: __anychip::Expr<#ty> = __anychip::expr::<#ty>(#name);),
                );
            }
        }
    }
    let (output, body) = match &f.sig.output {
        ReturnType::Default => {
            let body = body::block_statements(&f.block, &mut scope).unwrap_or_else(|e| vec![e.into_compile_error()]);
            (quote!(), quote!(#(#body)*))
        }
        ReturnType::Type(arrow, ty) => {
            let out = chip_type(ty)?;
            let body = match body::block_value(&f.block, &mut scope) {
                Ok(body) => body::typed(ty, body),
                Err(e) => {
                    let e = e.into_compile_error();
                    quote!(#e ::std::process::abort())
                }
            };
            (quote!(#arrow #out), body)
        }
    };
    let (attributes, vis, name) = (&f.attrs, &f.vis, &f.sig.ident);
    let (generics, where_clause) = (&f.sig.generics, &f.sig.generics.where_clause);
    let allowed = allowed();
    Ok(quote! {
        #(#attributes)*
        #allowed
        #vis fn #name #generics (#(#inputs),*) #output #where_clause {
            #(#declare)*
            #body
        }
    })
}

/// For messages: what an expression that must be a name is not.
pub fn plain_name(e: &Expr) -> Option<&Ident> {
    match e {
        Expr::Path(p) if p.qself.is_none() => p.path.get_ident(),
        Expr::Paren(p) => plain_name(&p.expr),
        Expr::Group(g) => plain_name(&g.expr),
        _ => None,
    }
}
