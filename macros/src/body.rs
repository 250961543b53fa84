//! Statements: bindings, assignments, control flow, on the chip and of the host.

use crate::expr::{argument, condition, is_host, steps, value, value_as};
use crate::refuse;
use crate::scope::{Frame, Name, Scope};
use crate::signature::{chip_type, is_handle, plain_name, take_host};
use proc_macro2::{Ident, Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::visit::Visit;
use syn::{
    Attribute, BinOp, Block, Expr, ExprIf, Item, Local, LocalInit, Pat, PatIdent, PatType, Result, Stmt, Type,
    spanned::Spanned,
};

/// A name of the expansion that no name of the author can collide with.
pub fn own(name: &str) -> Ident {
    Ident::new(name, Span::mixed_site())
}

/// The same, for messages about its value to point to `place`.
fn own_at(name: &str, place: Span) -> Ident {
    Ident::new(name, Span::mixed_site().located_at(place))
}

/// `tokens` as an expression of type `ty`.
pub fn typed(ty: &Type, tokens: TokenStream) -> TokenStream {
    match ty {
        Type::Tuple(tuple) => {
            let names: Vec<_> = (0..tuple.elems.len()).map(|i| own(&format!("part{i}"))).collect();
            let parts = tuple.elems.iter().zip(&names).map(|(ty, name)| typed(ty, quote!(#name)));
            quote!({ let (#(#names,)*) = #tokens; (#(#parts,)*) })
        }
        Type::Paren(inner) => typed(&inner.elem, tokens),
        Type::Group(inner) => typed(&inner.elem, tokens),
        _ if is_handle(ty) => tokens,
        _ => quote_spanned!(tokens_span(&tokens)=> __anychip::expr::<#ty>(#tokens)),
    }
}

/// The span of the first token: where a type error should point.
fn tokens_span(tokens: &TokenStream) -> Span {
    tokens.clone().into_iter().next().map_or_else(Span::call_site, |t| t.span())
}

/// The statements of a block whose value, if it has one, is not used.
pub fn block_statements(block: &Block, scope: &mut Scope) -> Result<Vec<TokenStream>> {
    scope.nested(|scope| statements(&block.stmts, scope))
}

/// A block that has a value: `{ …; value }`.
pub fn block_value(block: &Block, scope: &mut Scope) -> Result<TokenStream> {
    block_value_as(block, None, scope)
}

/// A block that has a value of a type, where one is known.
pub fn block_value_as(block: &Block, ty: Option<&Type>, scope: &mut Scope) -> Result<TokenStream> {
    scope.nested(|scope| match block.stmts.split_last() {
        Some((Stmt::Expr(tail, None), before)) => {
            let before = statements(before, scope)?;
            let tail = value_as(tail, ty, scope)?;
            Ok(quote!({ #(#before)* #tail }))
        }
        Some((last, _)) => refuse::at(last, "a value is expected here: the block must end with an expression"),
        None => refuse::at(block, "a value is expected here: the block is empty"),
    })
}

/// All statements; every error that they have.
fn statements(stmts: &[Stmt], scope: &mut Scope) -> Result<Vec<TokenStream>> {
    let mut done = vec![];
    let mut errors: Option<syn::Error> = None;
    let mut left: Option<&'static str> = None;
    for stmt in stmts {
        let result = match left {
            Some(by) => refuse::at(stmt, format!("this is never reached: `{by}` stands before it")),
            None => statement(stmt, scope),
        };
        left = match left {
            // Said once; what follows is still looked at.
            Some(_) => None,
            None => leaves(stmt),
        };
        match result {
            Ok(tokens) => done.push(tokens),
            Err(e) => match &mut errors {
                Some(all) => all.combine(e),
                None => errors = Some(e),
            },
        }
    }
    errors.map_or(Ok(done), Err)
}

/// The word by which a statement leaves its block.
fn leaves(stmt: &Stmt) -> Option<&'static str> {
    match stmt {
        Stmt::Expr(Expr::Break(_), _) => Some("break"),
        Stmt::Expr(Expr::Continue(_), _) => Some("continue"),
        Stmt::Expr(Expr::Return(_), _) => Some("return"),
        _ => None,
    }
}

fn statement(stmt: &Stmt, scope: &mut Scope) -> Result<TokenStream> {
    match stmt {
        Stmt::Local(local) => binding(local, scope),
        Stmt::Item(Item::Const(_) | Item::Use(_)) => Ok(quote!(#stmt)),
        Stmt::Item(item) => {
            refuse::at(item, "items stand outside of the kernel; only `const` and `use` may stand here")
        }
        Stmt::Macro(m) => refuse::form(&Expr::Macro(syn::ExprMacro { attrs: vec![], mac: m.mac.clone() })),
        Stmt::Expr(e, _) => {
            let mut e = e.clone();
            if let Some(attributes) = statement_attributes(&mut e)
                && take_host(attributes)?
            {
                return host_statement(&e, scope);
            }
            expression(&e, scope)
        }
    }
}

/// The attributes of a statement: the parser hangs them on the leftmost operand.
fn statement_attributes(e: &mut Expr) -> Option<&mut Vec<Attribute>> {
    match e {
        Expr::Assign(e) => statement_attributes(&mut e.left),
        Expr::Binary(e) => statement_attributes(&mut e.left),
        Expr::Cast(e) => statement_attributes(&mut e.expr),
        other => attributes(other),
    }
}

/// The attributes of an expression; `None` for forms that the language does not have anyway.
pub fn attributes(e: &mut Expr) -> Option<&mut Vec<Attribute>> {
    Some(match e {
        Expr::Block(e) => &mut e.attrs,
        Expr::Break(e) => &mut e.attrs,
        Expr::Call(e) => &mut e.attrs,
        Expr::Continue(e) => &mut e.attrs,
        Expr::Field(e) => &mut e.attrs,
        Expr::ForLoop(e) => &mut e.attrs,
        Expr::If(e) => &mut e.attrs,
        Expr::Index(e) => &mut e.attrs,
        Expr::Loop(e) => &mut e.attrs,
        Expr::Macro(e) => &mut e.attrs,
        Expr::Match(e) => &mut e.attrs,
        Expr::MethodCall(e) => &mut e.attrs,
        Expr::Paren(e) => &mut e.attrs,
        Expr::Path(e) => &mut e.attrs,
        Expr::Return(e) => &mut e.attrs,
        Expr::Tuple(e) => &mut e.attrs,
        Expr::Unary(e) => &mut e.attrs,
        Expr::While(e) => &mut e.attrs,
        _ => return None,
    })
}

// ---- bindings ----

/// Binds every name of a pattern of the host.
fn bind_host(pat: &Pat, scope: &mut Scope) {
    struct Names<'a>(&'a mut Scope);
    impl<'ast> Visit<'ast> for Names<'_> {
        fn visit_pat_ident(&mut self, p: &'ast PatIdent) {
            self.0.bind(&p.ident, Name::Host);
            syn::visit::visit_pat_ident(self, p);
        }
    }
    Names(scope).visit_pat(pat);
}

/// Binds a name, `_`, or a tuple of them to values of the chip.
fn bind_chip(pat: &Pat, scope: &mut Scope) -> Result<()> {
    match pat {
        Pat::Ident(PatIdent { by_ref: None, mutability: None, subpat: None, ident, .. }) => {
            scope.bind(ident, Name::Chip);
            Ok(())
        }
        Pat::Ident(PatIdent { mutability: Some(m), .. }) => {
            refuse::at(m, "this cannot be `mut`: start a `let mut` with its value")
        }
        Pat::Wild(_) => Ok(()),
        Pat::Tuple(t) => t.elems.iter().try_for_each(|p| bind_chip(p, scope)),
        Pat::Paren(p) => bind_chip(&p.pat, scope),
        other => refuse::at(other, "a pattern in a kernel is a name, `_`, or a tuple of names"),
    }
}

fn binding(local: &Local, scope: &mut Scope) -> Result<TokenStream> {
    let mut local = local.clone();
    if take_host(&mut local.attrs)? {
        bind_host(&local.pat, scope);
        return Ok(quote!(#local));
    }
    if let Some(other) = local.attrs.first() {
        return refuse::at(other, "a `let` of a kernel has no attribute but `#[host]`");
    }
    let (pat, ty) = match &local.pat {
        Pat::Type(PatType { pat, ty, .. }) => (&**pat, Some(&**ty)),
        pat => (pat, None),
    };
    let Some(LocalInit { expr: init, diverge, .. }) = &local.init else {
        return refuse::at(&local, "a `let` of a kernel has a value: `let x: f32 = 0.0;`");
    };
    if let Some((otherwise, _)) = diverge {
        return refuse::at(otherwise, "`let … else` is of the host: mark the statement `#[host]`");
    }
    if let Pat::Ident(PatIdent { by_ref: None, mutability: Some(m), subpat: None, ident, .. }) = pat {
        let Some(ty) = ty else {
            let why = format!("`let mut {ident}` needs a type: `let mut {ident}: f32 = …`");
            return Err(syn::Error::new(m.span().join(ident.span()).unwrap_or(ident.span()), why));
        };
        if let Type::Tuple(_) | Type::Reference(_) | Type::Array(_) = ty {
            return refuse::at(ty, "a variable of a kernel is one number or vector; arrays are `private::<T>(n)`");
        }
        let init = value_as(init, Some(ty), scope)?;
        scope.bind(ident, Name::Variable);
        let text = ident.to_string();
        return Ok(
            quote_spanned!(ident.span()=> let #ident: __anychip::Var<#ty> = __anychip::var::<#ty>(#text, #init);),
        );
    }
    let init = named_array(pat, init, scope).map_or_else(|| value_as(init, ty, scope), Ok)?;
    bind_chip(pat, scope)?;
    match ty {
        Some(ty) => {
            let (to, init) = (chip_type(ty)?, typed(ty, init));
            Ok(quote!(let #pat: #to = #init;))
        }
        None => Ok(quote!(let #pat = #init;)),
    }
}

/// `let tile = shared::<f32>(n)`: the array gets the name of the binding.
fn named_array(pat: &Pat, init: &Expr, scope: &mut Scope) -> Option<TokenStream> {
    let (Pat::Ident(name), Expr::Call(call)) = (pat, init) else { return None };
    let Expr::Path(function) = &*call.func else { return None };
    let last = function.path.segments.last()?;
    let named = match last.ident.to_string().as_str() {
        "shared" => "shared_named",
        "private" => "private_named",
        _ => return None,
    };
    if function.path.segments.len() != 1 || scope.lookup(&last.ident).is_some() || call.args.len() != 1 {
        return None;
    }
    let len = argument(call.args.first()?, scope).ok()?;
    let (named, generics, text) = (Ident::new(named, last.ident.span()), &last.arguments, name.ident.to_string());
    Some(quote_spanned!(last.ident.span()=> __anychip::#named #generics (#text, #len)))
}

// ---- statements of the host ----

fn host_statement(e: &Expr, scope: &mut Scope) -> Result<TokenStream> {
    match e {
        Expr::If(_) | Expr::Match(_) => host_branches(e, false, None, scope).map(|t| quote!(#t)),
        Expr::ForLoop(f) => {
            let (label, pat, iter) = (&f.label, &f.pat, &f.expr);
            let body = scope.nested(|scope| {
                bind_host(pat, scope);
                scope.within(Frame::HostLoop, |scope| block_statements(&f.body, scope))
            })?;
            Ok(quote_spanned!(f.for_token.span=> #label for #pat in #iter { #(#body)* }))
        }
        Expr::While(w) => {
            let (label, cond) = (&w.label, &w.cond);
            let body = scope.nested(|scope| {
                bind_conditions(cond, scope);
                scope.within(Frame::HostLoop, |scope| block_statements(&w.body, scope))
            })?;
            Ok(quote_spanned!(w.while_token.span=> #label while #cond { #(#body)* }))
        }
        Expr::Loop(l) => {
            let label = &l.label;
            let body = scope.within(Frame::HostLoop, |scope| block_statements(&l.body, scope))?;
            Ok(quote_spanned!(l.loop_token.span=> #label loop { #(#body)* }))
        }
        Expr::Break(_) | Expr::Continue(_) if scope.innermost() != Some(Frame::HostLoop) => refuse::at(
            e,
            "this would leave a block of the chip half built: a `#[host]` loop is left only from its own level",
        ),
        // In a kernel the builder finds what was left open, unless the kernel was refused before.
        Expr::Return(_) if scope.device => {
            refuse::at(e, "a device function is written into its caller and cannot return early: use `if` and `else`")
        }
        _ => Ok(quote!(#e;)),
    }
}

/// Names bound by `if let` and `while let` of the host.
fn bind_conditions(cond: &Expr, scope: &mut Scope) {
    match cond {
        Expr::Let(l) => bind_host(&l.pat, scope),
        Expr::Binary(b) => {
            bind_conditions(&b.left, scope);
            bind_conditions(&b.right, scope);
        }
        Expr::Paren(p) => bind_conditions(&p.expr, scope),
        _ => {}
    }
}

/// `#[host] if` and `#[host] match`: the host chooses which of the branches become code.
pub fn host_branches(e: &Expr, wanted: bool, ty: Option<&Type>, scope: &mut Scope) -> Result<TokenStream> {
    let branch = |block: &Block, scope: &mut Scope| -> Result<TokenStream> {
        if wanted {
            let body = block_value_as(block, ty, scope)?;
            return Ok(match ty {
                Some(ty) => {
                    let body = typed(ty, body);
                    quote!({ #body })
                }
                None => body,
            });
        }
        let body = block_statements(block, scope)?;
        Ok(quote!({ #(#body)* }))
    };
    match e {
        Expr::If(i) => {
            let cond = &i.cond;
            let (then, otherwise) = scope.nested(|scope| {
                bind_conditions(cond, scope);
                let then = branch(&i.then_branch, scope)?;
                let otherwise = match &i.else_branch {
                    None if wanted => {
                        return refuse::at(&i.if_token, "a value is expected here: this `if` needs an `else`");
                    }
                    None => quote!(),
                    Some((_, other)) => match &**other {
                        Expr::Block(b) => {
                            let b = branch(&b.block, scope)?;
                            quote!(else #b)
                        }
                        nested => {
                            let nested = host_branches(nested, wanted, ty, scope)?;
                            quote!(else #nested)
                        }
                    },
                };
                Ok((then, otherwise))
            })?;
            Ok(quote_spanned!(i.if_token.span=> if #cond #then #otherwise))
        }
        Expr::Match(m) => {
            let scrutinee = &m.expr;
            let arms = m
                .arms
                .iter()
                .map(|arm| {
                    scope.nested(|scope| {
                        bind_host(&arm.pat, scope);
                        let pat = &arm.pat;
                        let body = match (&*arm.body, wanted) {
                            (Expr::Block(b), _) => branch(&b.block, scope)?,
                            (other, true) => {
                                let v = value_as(other, ty, scope)?;
                                ty.map_or(v.clone(), |ty| typed(ty, v))
                            }
                            (other, false) => {
                                let s = expression(other, scope)?;
                                quote!({ #s })
                            }
                        };
                        Ok(quote!(#pat => #body,))
                    })
                })
                .collect::<Result<Vec<_>>>()?;
            Ok(quote_spanned!(m.match_token.span=> match #scrutinee { #(#arms)* }))
        }
        other => refuse::at(other, "`#[host]` stands before `if` and `match` here"),
    }
}

// ---- statements of the chip ----

/// An expression in the place of a statement.
fn expression(e: &Expr, scope: &mut Scope) -> Result<TokenStream> {
    match e {
        Expr::If(i) => chip_if(i, scope),
        Expr::ForLoop(f) => {
            no_label(&f.label)?;
            let iter = steps(&f.expr, scope)?;
            let pat = &f.pat;
            let body = scope.nested(|scope| {
                bind_chip(pat, scope)?;
                scope.within(Frame::ChipLoop, |scope| block_statements(&f.body, scope))
            })?;
            let steps = own_at("steps", f.expr.span());
            Ok(quote_spanned!(f.for_token.span=> {
                let #steps = #iter;
                let #pat = __anychip::begin_loop(#steps);
                #(#body)*
                __anychip::end_loop(#steps);
            }))
        }
        Expr::While(w) => {
            no_label(&w.label)?;
            let cond = condition(&w.cond, scope)?;
            let body = scope.within(Frame::ChipLoop, |scope| block_statements(&w.body, scope))?;
            Ok(quote_spanned!(w.while_token.span=> {
                __anychip::begin_while();
                __anychip::while_cond(#cond);
                { #(#body)* }
                __anychip::end_while();
            }))
        }
        Expr::Loop(l) => {
            no_label(&l.label)?;
            let body = scope.within(Frame::ChipLoop, |scope| block_statements(&l.body, scope))?;
            Ok(quote_spanned!(l.loop_token.span=> {
                __anychip::begin_while();
                __anychip::while_cond(true);
                { #(#body)* }
                __anychip::end_while();
            }))
        }
        Expr::Break(b) => {
            if let Some(value) = &b.expr {
                return refuse::at(
                    value,
                    "`break` with a value is not part of the kernel language: set a `let mut` before it",
                );
            }
            leave(e, "break", b.label.as_ref(), scope)?;
            Ok(quote_spanned!(b.break_token.span=> __anychip::break_loop();))
        }
        Expr::Continue(c) => {
            leave(e, "continue", c.label.as_ref(), scope)?;
            Ok(quote_spanned!(c.continue_token.span=> __anychip::continue_loop();))
        }
        Expr::Return(r) => {
            if let Some(value) = &r.expr {
                return refuse::at(value, "a kernel returns nothing; a device function ends with its value");
            }
            if scope.device {
                return refuse::at(
                    e,
                    "a device function is written into its caller and cannot return early: use `if` and `else`",
                );
            }
            Ok(quote_spanned!(r.return_token.span=> __anychip::return_lane();))
        }
        Expr::Assign(a) => {
            let to = value(&a.right, scope)?;
            assign(&a.left, a.eq_token.span, scope, New::Value(to))
        }
        Expr::Binary(b) if binary_of_assignment(&b.op).is_some() => {
            let op = binary_of_assignment(&b.op).unwrap_or(b.op);
            let right = value(&b.right, scope)?;
            assign(&b.left, op.span(), scope, New::Of(op, right))
        }
        Expr::Block(b) if b.label.is_none() => {
            let body = block_statements(&b.block, scope)?;
            Ok(quote!({ #(#body)* }))
        }
        Expr::Paren(p) => expression(&p.expr, scope),
        e if is_host(e, scope) => Ok(quote!(#e;)),
        e => {
            let tokens = value(e, scope)?;
            Ok(quote!(#tokens;))
        }
    }
}

fn no_label(label: &Option<syn::Label>) -> Result<()> {
    match label {
        Some(l) => refuse::at(&l.name, "loops of a kernel have no labels: `break` and `continue` mean the innermost"),
        None => Ok(()),
    }
}

fn leave(e: &Expr, word: &str, label: Option<&syn::Lifetime>, scope: &Scope) -> Result<()> {
    if let Some(label) = label {
        return refuse::at(label, "loops of a kernel have no labels: `break` and `continue` mean the innermost");
    }
    match scope.innermost_loop() {
        Some(Frame::ChipLoop) => Ok(()),
        Some(_) => refuse::at(
            e,
            format!("the innermost loop is of the host: write `#[host] {word}`, or take `#[host]` off the loop"),
        ),
        None => refuse::at(e, format!("`{word}` stands outside of a loop")),
    }
}

fn binary_of_assignment(op: &BinOp) -> Option<BinOp> {
    let span = op.span();
    Some(match op {
        BinOp::AddAssign(_) => BinOp::Add(syn::token::Plus(span)),
        BinOp::SubAssign(_) => BinOp::Sub(syn::token::Minus(span)),
        BinOp::MulAssign(_) => BinOp::Mul(syn::token::Star(span)),
        BinOp::DivAssign(_) => BinOp::Div(syn::token::Slash(span)),
        BinOp::RemAssign(_) => BinOp::Rem(syn::token::Percent(span)),
        BinOp::BitAndAssign(_) => BinOp::BitAnd(syn::token::And(span)),
        BinOp::BitOrAssign(_) => BinOp::BitOr(syn::token::Or(span)),
        BinOp::BitXorAssign(_) => BinOp::BitXor(syn::token::Caret(span)),
        BinOp::ShlAssign(_) => BinOp::Shl(syn::Token![<<](span)),
        BinOp::ShrAssign(_) => BinOp::Shr(syn::Token![>>](span)),
        _ => return None,
    })
}

/// What is assigned.
enum New {
    /// `= value`
    Value(TokenStream),
    /// `+= value` and its like: the old value, the operator, the right side.
    Of(BinOp, TokenStream),
}

/// `target = new`; an index is computed once.
fn assign(target: &Expr, span: Span, scope: &mut Scope, new: New) -> Result<TokenStream> {
    if let Some(name) = plain_name(target) {
        return match scope.lookup(name) {
            Some(Name::Variable) => {
                let new = match new {
                    New::Value(new) => new,
                    New::Of(op, right) => quote_spanned!(name.span()=> #name.get() #op (#right)),
                };
                Ok(quote_spanned!(span=> #name.set(#new);))
            }
            Some(Name::Chip) => refuse::at(name, format!("`{name}` is set once: declare it `let mut {name}: …`")),
            Some(Name::Host) => refuse::at(
                name,
                format!("`{name}` is of the host: mark the assignment `#[host]`, it happens while the kernel is built"),
            ),
            None => refuse::at(name, format!("`{name}` is not a variable of this kernel")),
        };
    }
    match target {
        Expr::Paren(p) => assign(&p.expr, span, scope, new),
        Expr::Index(i) => {
            let (place, index) = (argument(&i.expr, scope)?, argument(&i.index, scope)?);
            match new {
                New::Value(new) => Ok(quote_spanned!(span=> __anychip::store(#place, #index, #new);)),
                New::Of(op, right) => {
                    let at = own_at("at", i.index.span());
                    let place_span = i.expr.span();
                    let old = quote_spanned!(place_span=> __anychip::load(#place, #at));
                    Ok(quote_spanned!(span=> {
                        let #at = #index;
                        __anychip::store(#place, #at, #old #op (#right));
                    }))
                }
            }
        }
        other => refuse::at(other, "this cannot be assigned: a `let mut` and an element `place[i]` can"),
    }
}

/// `if` in the place of a statement. Without `else`, `a && b` is an `if` in an `if` and needs no variable.
fn chip_if(i: &ExprIf, scope: &mut Scope) -> Result<TokenStream> {
    let span = i.if_token.span;
    let mut conds = vec![];
    match i.else_branch {
        None => conjuncts(&i.cond, scope, &mut conds)?,
        Some(_) => conds.push(condition(&i.cond, scope)?),
    }
    let then = scope.within(Frame::ChipIf, |scope| block_statements(&i.then_branch, scope))?;
    let otherwise = match &i.else_branch {
        None => quote!(),
        Some((token, e)) => {
            let body = scope.within(Frame::ChipIf, |scope| expression(e, scope))?;
            quote_spanned!(token.span=> __anychip::begin_else(); { #body })
        }
    };
    let ends = conds.iter().map(|_| quote_spanned!(span=> __anychip::end_if();));
    Ok(quote_spanned!(span=> #(__anychip::begin_if(#conds);)* { #(#then)* } #otherwise #(#ends)*))
}

fn conjuncts(cond: &Expr, scope: &mut Scope, to: &mut Vec<TokenStream>) -> Result<()> {
    match cond {
        Expr::Binary(b) if matches!(b.op, BinOp::And(_)) && !is_host(cond, scope) => {
            conjuncts(&b.left, scope, to)?;
            conjuncts(&b.right, scope, to)
        }
        Expr::Paren(p) => conjuncts(&p.expr, scope, to),
        other => {
            to.push(condition(other, scope)?);
            Ok(())
        }
    }
}
