//! Reads kernels from text. Never panics and never allocates more than the text is long, whatever it holds.

use super::{
    lex::{Parser, Token, short},
    names::*,
};
use crate::{Error, Result, ir::*};
use std::str::FromStr;

impl FromStr for Kernel {
    type Err = Error;

    /// # Errors
    /// `InvalidArgument` with line, column, what was expected and what was found.
    fn from_str(s: &str) -> Result<Kernel> {
        let mut p = Parser::new(s)?;
        let k = p.kernel()?;
        if p.token != Token::End {
            return p.expected("the end of the text");
        }
        Ok(k)
    }
}

impl<'a> Parser<'a> {
    fn mark(&mut self, c: char) -> Result<()> {
        if self.token != Token::Mark(c) {
            return self.expected(&format!("{c:?}"));
        }
        self.advance()
    }

    /// True, and past it, when the word comes next.
    fn takes(&mut self, word: &str) -> Result<bool> {
        let yes = self.token == Token::Word(word);
        if yes {
            self.advance()?;
        }
        Ok(yes)
    }

    fn keyword(&mut self, word: &str) -> Result<()> {
        if !self.takes(word)? {
            return self.expected(&format!("{word:?}"));
        }
        Ok(())
    }

    fn word(&mut self, what: &str) -> Result<&'a str> {
        match self.token {
            Token::Word(w) => {
                self.advance()?;
                Ok(w)
            }
            _ => self.expected(what),
        }
    }

    fn of<T: Copy>(&mut self, table: Table<T>) -> Result<T> {
        match &self.token {
            Token::Word(w) => match find(table, w) {
                Some(t) => {
                    self.advance()?;
                    Ok(t)
                }
                None => self.expected(&format!("one of {}", words(table))),
            },
            _ => self.expected(&format!("one of {}", words(table))),
        }
    }

    fn number<T: TryFrom<u64>>(&mut self, what: &str) -> Result<T> {
        match self.token {
            Token::Number(n) => match T::try_from(n) {
                Ok(t) => {
                    self.advance()?;
                    Ok(t)
                }
                Err(_) => self.expected(&format!("{what} of {} bits", 8 * size_of::<T>())),
            },
            _ => self.expected(what),
        }
    }

    fn name(&mut self) -> Result<String> {
        match &self.token {
            Token::Word(w) => {
                let name = w.to_string();
                self.advance()?;
                Ok(name)
            }
            Token::Text(_) => self.text("a name"),
            _ => self.expected("a name"),
        }
    }

    fn text(&mut self, what: &str) -> Result<String> {
        match std::mem::replace(&mut self.token, Token::End) {
            Token::Text(t) => {
                self.advance()?;
                Ok(t)
            }
            other => {
                self.token = other;
                self.expected(what)
            }
        }
    }

    // ---- names of things ----

    /// A letter and a number: `p3`.
    fn id(&mut self, letter: &str, what: &str) -> Result<u32> {
        if let Token::Word(w) = self.token
            && let Some(n) = w.strip_prefix(letter).and_then(|d| d.parse().ok())
        {
            self.advance()?;
            return Ok(n);
        }
        self.expected(&format!("{what}, as in {letter}0"))
    }

    fn param(&mut self) -> Result<ParamId> {
        self.id("p", "a parameter").map(ParamId)
    }

    fn var(&mut self) -> Result<VarId> {
        self.id("v", "a variable").map(VarId)
    }

    fn shared(&mut self) -> Result<SharedId> {
        self.id("s", "a shared array").map(SharedId)
    }

    fn value(&mut self) -> Result<Value> {
        if self.token != Token::Mark('%') {
            return self.expected("a value, as in %0");
        }
        self.advance()?;
        self.number("a value's number").map(Value)
    }

    /// `, value`
    fn next_value(&mut self) -> Result<Value> {
        self.mark(',')?;
        self.value()
    }

    /// `%n: type`
    fn def(&mut self) -> Result<Value> {
        let start = self.start;
        let v = self.value()?;
        self.mark(':')?;
        let ty = self.ty()?;
        if self.types.insert(v.0, ty).is_some_and(|before| before != ty) {
            return self.error(start, &format!("expected one type for {v}; it was given another before"));
        }
        Ok(v)
    }

    fn bracketed(&mut self) -> Result<Value> {
        self.mark('[')?;
        let v = self.value()?;
        self.mark(']')?;
        Ok(v)
    }

    fn at(&mut self) -> Result<(Place, Value)> {
        let place = match self.token {
            Token::Word(w) if w.starts_with('p') => Place::Buffer(self.param()?),
            Token::Word(w) if w.starts_with('s') => Place::Shared(self.shared()?),
            Token::Word(w) if w.starts_with('a') => Place::Private(PrivateId(self.id("a", "a private array")?)),
            _ => return self.expected("a buffer, shared or private array, as in p0, s0 or a0"),
        };
        Ok((place, self.bracketed()?))
    }

    fn tile(&mut self) -> Result<(Value, Layout)> {
        self.keyword("stride")?;
        Ok((self.value()?, self.of(LAYOUT)?))
    }

    fn operand(&mut self) -> Result<FragOperand> {
        if !self.takes("tile")? {
            return self.value().map(FragOperand::Reg);
        }
        let shared = self.shared()?;
        let index = self.bracketed()?;
        let (stride, layout) = self.tile()?;
        self.keyword("swizzle")?;
        let swizzle = self.swizzle()?;
        Ok(FragOperand::Tile { shared, index, stride, layout, swizzle })
    }

    fn list<T>(&mut self, one: impl Fn(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        self.mark('[')?;
        let mut all = vec![];
        while self.token != Token::Mark(']') {
            if !all.is_empty() {
                self.mark(',')?;
            }
            all.push(one(self)?);
        }
        self.mark(']')?;
        Ok(all)
    }

    fn swizzle(&mut self) -> Result<Swizzle> {
        Ok(Swizzle { bits: self.number("the swizzle's bits")?, shift: self.number("the swizzle's shift")? })
    }

    fn dtype(&mut self) -> Result<DType> {
        match self.elem()? {
            Elem::D(d) => Ok(d),
            Elem::Idx => self.error(self.start, "expected an element type that lies in memory, found idx"),
        }
    }

    fn elem(&mut self) -> Result<Elem> {
        match self.token {
            Token::Word(w) => match elem(w) {
                Some(e) => {
                    self.advance()?;
                    Ok(e)
                }
                None => self.expected("an element type"),
            },
            _ => self.expected("an element type"),
        }
    }

    fn ty(&mut self) -> Result<Type> {
        let Token::Word(w) = self.token else { return self.expected("a type") };
        if w == "frag" {
            self.advance()?;
            let role = self.of(ROLE)?;
            let (m, n, k) = (self.number("rows")?, self.number("columns")?, self.number("an inner dimension")?);
            let elem = self.dtype()?;
            return Ok(Type::Frag(Frag { role, m, n, k, elem, scope: self.of(SCOPE)? }));
        }
        let vector = |w: &str| {
            let (e, lanes) = w.rsplit_once('x')?;
            Some(Type::Num { elem: elem(e)?, lanes: lanes.parse().ok()? })
        };
        match elem(w).map(Type::scalar).or_else(|| vector(w)) {
            Some(t) => {
                self.advance()?;
                Ok(t)
            }
            None => self.expected("a type, as in f32, u8x4 or frag acc 16 8 16 f32 subgroup"),
        }
    }

    // ---- the kernel ----

    fn kernel(&mut self) -> Result<Kernel> {
        self.keyword("anychip")?;
        self.keyword("kernel")?;
        let version = self.number("the language's version")?;
        let name = self.name()?;
        self.keyword("workgroup")?;
        self.mark('(')?;
        let x = self.number("lanes")?;
        self.mark(',')?;
        let y = self.number("lanes")?;
        self.mark(',')?;
        let z = self.number("lanes")?;
        self.mark(')')?;
        let mut k = Kernel {
            version,
            name,
            workgroup: [x, y, z],
            params: vec![],
            shared: vec![],
            private: vec![],
            vars: vec![],
            values: vec![],
            body: vec![],
            files: vec![],
            hints: Hints::default(),
            idx_bits: 0,
        };
        self.mark('{')?;
        while !self.takes("body")? {
            self.declaration(&mut k)?;
        }
        k.body = self.block()?;
        self.mark('}')?;
        for (i, (v, ty)) in std::mem::take(&mut self.types).into_iter().enumerate() {
            if v as usize != i {
                return self
                    .error(self.end, &format!("expected a definition of %{i} (or `unused %{i}: type`): %{v} has one"));
            }
            k.values.push(ty);
        }
        Ok(k)
    }

    fn declaration(&mut self, k: &mut Kernel) -> Result<()> {
        const WHAT: &str = "idx, hints, file, param, shared, private, var, unused or body";
        let Token::Word(word) = self.token else { return self.expected(WHAT) };
        match word {
            "idx" => {
                self.advance()?;
                k.idx_bits = self.number("bits")?;
            }
            "hints" => {
                self.advance()?;
                if self.takes("min_groups")? {
                    k.hints.min_groups_per_unit = Some(self.number("workgroups")?);
                }
                if self.takes("subgroup")? {
                    k.hints.subgroup = Some(self.number("lanes")?);
                }
            }
            "file" => {
                self.advance()?;
                k.files.push(self.text("a file's name in quotation marks")?);
            }
            "param" => {
                self.advance()?;
                let name = self.name()?;
                self.mark(':')?;
                let kind = self.param_kind()?;
                k.params.push(Param { name, kind });
            }
            "shared" | "private" => {
                self.advance()?;
                let name = self.name()?;
                self.mark(':')?;
                let elem = self.elem()?;
                self.mark('[')?;
                let len = self.number("elements")?;
                self.mark(']')?;
                let to = if word == "shared" { &mut k.shared } else { &mut k.private };
                to.push(Array { name, elem, len });
            }
            "var" => {
                self.advance()?;
                let name = self.name()?;
                self.mark(':')?;
                k.vars.push(Var { name, ty: self.ty()? });
            }
            "unused" => {
                self.advance()?;
                self.def()?;
            }
            _ => return self.expected(WHAT),
        }
        Ok(())
    }

    fn param_kind(&mut self) -> Result<ParamKind> {
        if self.takes("buffer")? {
            let elem = self.dtype()?;
            let access = self.of(ACCESS)?;
            self.keyword("align")?;
            return Ok(ParamKind::Buffer { elem, access, align: self.number("elements")? });
        }
        if !self.takes("scalar")? {
            return self.expected("buffer or scalar");
        }
        let elem = self.elem()?;
        let role = if self.takes("offset")? {
            Role::Offset(self.param()?)
        } else if self.takes("len")? {
            Role::Len(self.param()?)
        } else if self.takes("groups")? {
            Role::Groups
        } else if self.takes("high")? {
            Role::High(self.param()?)
        } else {
            Role::User
        };
        Ok(ParamKind::Scalar { elem, role })
    }

    fn block(&mut self) -> Result<Block> {
        if self.depth >= verify::MAX_DEPTH {
            return self.error(self.start, &format!("expected at most {} nested blocks", verify::MAX_DEPTH));
        }
        self.mark('{')?;
        self.depth += 1;
        let mut block = vec![];
        while self.token != Token::Mark('}') {
            let out = if self.token == Token::Mark('%') {
                let v = self.def()?;
                self.mark('=')?;
                Some(v)
            } else {
                None
            };
            let op = self.op()?;
            let mut loc = Loc::default();
            if self.token == Token::Mark('@') {
                self.advance()?;
                loc.file = self.number("a file's number")?;
                self.mark(':')?;
                loc.line = self.number("a line")?;
            }
            block.push(Inst { out, op, loc });
        }
        self.depth -= 1;
        self.advance()?;
        Ok(block)
    }

    fn op(&mut self) -> Result<Op> {
        let start = self.start;
        let Token::Word(w) = self.token else { return self.expected("an operation, or } to close the block") };
        if let Some(op) = find(UNARY, w) {
            self.advance()?;
            return Ok(Op::Unary(op, self.value()?));
        }
        if let Some(op) = find(BINARY, w) {
            self.advance()?;
            return Ok(Op::Binary(op, self.value()?, self.next_value()?));
        }
        if let Some(op) = find(CMP, w) {
            self.advance()?;
            return Ok(Op::Compare(op, self.value()?, self.next_value()?));
        }
        let word = self.word("an operation")?;
        Ok(match word {
            "const" => Op::Const(self.number("a constant's bits")?),
            "scalar" => Op::Scalar(self.param()?),
            "buf_len" => Op::BufLen(self.param()?),
            "group_id" => Op::Builtin(Builtin::GroupId(self.number("a dimension")?)),
            "num_groups" => Op::Builtin(Builtin::NumGroups(self.number("a dimension")?)),
            "local_id" => Op::Builtin(Builtin::LocalId(self.number("a dimension")?)),
            "local_size" => Op::Builtin(Builtin::LocalSize(self.number("a dimension")?)),
            "global_id" => Op::Builtin(Builtin::GlobalId(self.number("a dimension")?)),
            "subgroup_size" => Op::Builtin(Builtin::SubgroupSize),
            "subgroup_lane" => Op::Builtin(Builtin::SubgroupLane),
            "subgroup_id" => Op::Builtin(Builtin::SubgroupId),
            "mul_add" => Op::MulAdd(self.value()?, self.next_value()?, self.next_value()?),
            "fma" => Op::Fma(self.value()?, self.next_value()?, self.next_value()?),
            "select" => Op::Select(self.value()?, self.next_value()?, self.next_value()?),
            "cast" => Op::Cast(self.value()?),
            "bitcast" => Op::Bitcast(self.value()?),
            "splat" => Op::Splat(self.value()?),
            "dot4" => {
                let (a_signed, b_signed) = (self.of(SIGN)?, self.of(SIGN)?);
                let (a, b, acc) = (self.value()?, self.next_value()?, self.next_value()?);
                Op::Dot4 { a, b, acc, a_signed, b_signed }
            }
            "unpack" => {
                let (bits, signed) = (self.number("bits")?, self.of(SIGN)?);
                Op::Unpack { word: self.value()?, index: self.next_value()?, bits, signed }
            }
            "vector" => {
                self.mark('[')?;
                let mut of = vec![];
                while self.token != Token::Mark(']') {
                    if !of.is_empty() {
                        self.mark(',')?;
                    }
                    of.push(self.value()?);
                }
                self.mark(']')?;
                Op::Vector(of)
            }
            "extract" => {
                let v = self.value()?;
                self.mark(',')?;
                Op::Extract(v, self.number("a lane")?)
            }
            "load" => {
                let (place, index) = self.at()?;
                Op::Load { place, index, aligned: self.takes("aligned")? }
            }
            "store" => {
                let (place, index) = self.at()?;
                let value = self.next_value()?;
                Op::Store { place, index, value, aligned: self.takes("aligned")? }
            }
            "get" => Op::Get(self.var()?),
            "set" => Op::Set(self.var()?, self.next_value()?),
            "atomic" => {
                let op = self.of(ATOMIC)?;
                let (place, index) = self.at()?;
                let value = self.next_value()?;
                let compare = if self.takes("compare")? { Some(self.value()?) } else { None };
                Op::Atomic { op, place, index, value, compare, scope: self.of(SCOPE)? }
            }
            "if" => {
                let cond = self.value()?;
                let then = self.block()?;
                let otherwise = if self.takes("else")? { self.block()? } else { vec![] };
                Op::If { cond, then, otherwise }
            }
            "for" => {
                let var = self.def()?;
                self.keyword("in")?;
                let (start, end, step) = (self.value()?, self.next_value()?, self.next_value()?);
                let unroll = match self.token {
                    Token::Word("auto") => Unroll::Auto,
                    Token::Word("never") => Unroll::Never,
                    Token::Word("full") => Unroll::Full,
                    Token::Word("by") => Unroll::By(0),
                    _ => return self.expected("auto, never, full or by"),
                };
                self.advance()?;
                let unroll = match unroll {
                    Unroll::By(_) => Unroll::By(self.number("a factor")?),
                    other => other,
                };
                Op::For { var, start, end, step, body: self.block()?, unroll }
            }
            "while" => {
                let head = self.block()?;
                self.keyword("cond")?;
                Op::While { head, cond: self.value()?, body: self.block()? }
            }
            "break" => Op::Break,
            "continue" => Op::Continue,
            "return" => Op::Return,
            "barrier" => Op::Barrier(self.of(SCOPE)?),
            "group_reduce" => Op::GroupReduce(self.of(REDUCE)?, self.value()?),
            "subgroup" => {
                let op = if self.takes("reduce")? { SubgroupOp::Reduce(self.of(REDUCE)?) } else { self.of(SUBGROUP)? };
                let value = self.value()?;
                let lane = if self.token == Token::Mark(',') { Some(self.next_value()?) } else { None };
                Op::Subgroup { op, value, lane }
            }
            "copy_async" => {
                let (dst, dst_index) = (self.shared()?, self.bracketed()?);
                self.mark(',')?;
                let (src, src_index) = (self.param()?, self.bracketed()?);
                self.mark(',')?;
                let elems = self.number("elements")?;
                let take = if self.takes("take")? { Some(self.value()?) } else { None };
                Op::CopyAsync { dst, dst_index, src, src_index, elems, take, aligned: self.takes("aligned")? }
            }
            "copy_tile" => {
                let (dst, dst_index) = (self.shared()?, self.bracketed()?);
                self.mark(',')?;
                let src = self.param()?;
                self.keyword("origin")?;
                let origin = self.param()?;
                self.keyword("extents")?;
                let extents = self.list(Self::param)?;
                self.keyword("strides")?;
                let strides = self.list(Self::param)?;
                self.keyword("size")?;
                let size = [self.number("a box's rows")?, self.number("a box's columns")?];
                self.keyword("at")?;
                let at = self.list(Self::value)?;
                let swizzle = if self.takes("swizzle")? { self.swizzle()? } else { Swizzle::NONE };
                self.keyword("slot")?;
                let (bars, slot) = (self.shared()?, self.bracketed()?);
                let view = TileView { origin, extents, strides, size };
                Op::CopyTile { dst, dst_index, src, view, at, swizzle, bars, slot }
            }
            "tile_commit" => Op::TileCommit { bars: self.shared()?, slot: self.bracketed()? },
            "tile_wait" => {
                let (bars, slot) = (self.shared()?, self.bracketed()?);
                Op::TileWait { bars, slot, parity: self.next_value()? }
            }
            "copy_commit" => Op::CopyCommit,
            "copy_wait" => Op::CopyWait(self.number("groups of copies")?),
            "frag_fill" => Op::FragFill(self.value()?),
            "frag_load" => {
                let (place, index) = self.at()?;
                let (stride, layout) = self.tile()?;
                let swizzle = if self.takes("swizzle")? { self.swizzle()? } else { Swizzle::NONE };
                Op::FragLoad { place, index, stride, layout, swizzle, aligned: self.takes("aligned")? }
            }
            "frag_mma" => {
                let a = self.operand()?;
                self.mark(',')?;
                Op::FragMma { a, b: self.operand()?, acc: self.next_value()? }
            }
            "frag_store" => {
                let frag = self.value()?;
                self.mark(',')?;
                let (place, index) = self.at()?;
                let (stride, layout) = self.tile()?;
                Op::FragStore { frag, place, index, stride, layout }
            }
            "frag_each" => {
                let frag = self.value()?;
                self.mark(',')?;
                let row = self.def()?;
                self.mark(',')?;
                let col = self.def()?;
                self.mark(',')?;
                let elem = self.def()?;
                Op::FragEach { frag, row, col, elem, body: self.block()? }
            }
            "frag_rows" => Op::FragRows(self.of(REDUCE)?, self.value()?),
            "frag_map" => {
                let to = self.var()?;
                let of = self.list(Self::value)?;
                self.mark(',')?;
                let row = self.def()?;
                self.mark(',')?;
                let col = self.def()?;
                self.mark(',')?;
                let elems = self.list(Self::def)?;
                self.mark(',')?;
                Op::FragMap { to, of, row, col, elems, result: self.var()?, body: self.block()? }
            }
            "assume_multiple" => {
                let v = self.value()?;
                self.mark(',')?;
                Op::AssumeMultiple(v, self.number("a number")?)
            }
            _ => {
                // Back to the word, which is none of the operations.
                let why = format!("expected an operation, or }} to close the block, found {:?}", short(word));
                return self.error(start, &why);
            }
        })
    }
}

fn elem(w: &str) -> Option<Elem> {
    match w {
        "idx" => Some(Elem::Idx),
        w => DType::ALL.into_iter().find(|d| d.name() == w).map(Elem::D),
    }
}
