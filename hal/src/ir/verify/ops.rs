//! Types of flat operations: what each takes and what it defines.

use super::*;

impl Verifier<'_> {
    /// Checks a flat operation's operands and says what it defines.
    pub(super) fn result(&self, op: &Op, out: Option<Type>) -> Check<Want> {
        let declared = || out.ok_or_else(|| "its result must be given a value".to_string());
        let t = match op {
            Op::Const(_) => match declared()? {
                t @ Type::Num { .. } => t,
                Type::Frag(_) => return Err("a constant is a scalar or a vector, not a fragment".into()),
            },
            Op::Scalar(p) => match self.k.params.get(p.at()) {
                Some(Param { kind: ParamKind::Scalar { elem, .. }, .. }) => Type::scalar(*elem),
                Some(p) => return Err(format!("reads parameter {} as a scalar, but it is a buffer", p.name)),
                None => return Err(format!("names parameter {}, but there are only {}", p.0, self.k.params.len())),
            },
            Op::BufLen(p) => {
                self.buffer(*p)?;
                Type::IDX
            }
            Op::Builtin(b) => match b {
                Builtin::GroupId(d) | Builtin::NumGroups(d) | Builtin::GlobalId(d) => {
                    ensure!(*d < 3, "{b:?}: dimensions are 0, 1 and 2");
                    Type::IDX
                }
                Builtin::LocalId(d) | Builtin::LocalSize(d) => {
                    ensure!(*d < 3, "{b:?}: dimensions are 0, 1 and 2");
                    Type::U32
                }
                Builtin::SubgroupSize | Builtin::SubgroupLane | Builtin::SubgroupId => Type::U32,
            },
            Op::Unary(op, a) => {
                let (e, lanes) = self.num(*a)?;
                let (ok, accepted) = match op {
                    UnaryOp::Neg | UnaryOp::Abs | UnaryOp::Sign => (computes(e), "a number"),
                    UnaryOp::Not => (e.is_int() || e.is_bool(), "an integer or bool"),
                    UnaryOp::CountOnes | UnaryOp::LeadingZeros | UnaryOp::TrailingZeros => (e.is_int(), "an integer"),
                    _ => (e.is_float() && computes(e), "f16, bf16, f32 or f64"),
                };
                ensure!(ok, "{op:?} of {}; {accepted} is accepted", e.name());
                match op {
                    UnaryOp::IsNan | UnaryOp::IsInf => Type::vector(DType::Bool, lanes),
                    _ => Type::vector(e, lanes),
                }
            }
            Op::Binary(op, a, b) => {
                let (e, lanes) = self.num(*a)?;
                self.is(&format!("the second operand of {op:?}"), *b, Type::vector(e, lanes))?;
                let (ok, accepted) = match op {
                    BinaryOp::And | BinaryOp::Or | BinaryOp::Xor => (e.is_int() || e.is_bool(), "an integer or bool"),
                    BinaryOp::Shl | BinaryOp::Shr => (e.is_int(), "an integer"),
                    BinaryOp::Pow => (e.is_float() && computes(e), "f16, bf16, f32 or f64"),
                    _ => (computes(e), "a number"),
                };
                ensure!(ok, "{op:?} of {}; {accepted} is accepted", e.name());
                Type::vector(e, lanes)
            }
            Op::Compare(op, a, b) => {
                let (e, lanes) = self.num(*a)?;
                self.is(&format!("the second operand of {op:?}"), *b, Type::vector(e, lanes))?;
                let ok = computes(e) || e.is_bool() && matches!(op, CmpOp::Eq | CmpOp::Ne);
                ensure!(ok, "{op:?} of {}; numbers are accepted, bool for Eq and Ne", e.name());
                Type::vector(DType::Bool, lanes)
            }
            Op::MulAdd(a, b, c) | Op::Fma(a, b, c) => {
                let (e, lanes) = self.num(*a)?;
                self.is("the second factor", *b, Type::vector(e, lanes))?;
                self.is("the addend", *c, Type::vector(e, lanes))?;
                let fma = matches!(op, Op::Fma(..));
                ensure!(
                    computes(e) && (!fma || e.is_float()),
                    "{} of {}; {} is accepted",
                    if fma { "fma" } else { "mul_add" },
                    e.name(),
                    if fma { "a float" } else { "a number" }
                );
                Type::vector(e, lanes)
            }
            Op::Select(c, a, b) => {
                let (e, lanes) = self.num(*a)?;
                self.is("the second choice of select", *b, Type::vector(e, lanes))?;
                let got = self.ty(*c)?;
                ensure!(
                    got == Type::BOOL || got == Type::vector(DType::Bool, lanes),
                    "the condition of select is {}; bool with 1 or {lanes} lanes is accepted",
                    type_name(got)
                );
                Type::vector(e, lanes)
            }
            Op::Cast(a) => {
                let (_, lanes) = self.num(*a)?;
                match declared()? {
                    t @ Type::Num { lanes: l, .. } if l == lanes => t,
                    t => return Err(format!("cast to {}; a type of {lanes} lanes is accepted", type_name(t))),
                }
            }
            Op::Bitcast(a) => {
                let (from, lanes) = self.num(*a)?;
                match (declared()?, from) {
                    (t @ Type::Num { elem: Elem::D(to), lanes: l }, Elem::D(from))
                        if l == lanes && to.size() == from.size() && from != DType::Bool && to != DType::Bool =>
                    {
                        t
                    }
                    (t, _) => {
                        return Err(format!(
                            "bitcast from {} to {}; types of one size and number of lanes are accepted, not bool or idx",
                            from.name(),
                            type_name(t)
                        ));
                    }
                }
            }
            Op::Dot4 { a, b, acc, a_signed, b_signed } => {
                self.is("the first operand of dot4", *a, Type::U32)?;
                self.is("the second operand of dot4", *b, Type::U32)?;
                let t = Type::scalar(if *a_signed || *b_signed { DType::I32 } else { DType::U32 });
                self.is("the accumulator of dot4", *acc, t)?;
                t
            }
            Op::Unpack { word, index, bits, .. } => {
                self.is("the word of unpack", *word, Type::U32)?;
                self.is("the index of unpack", *index, Type::U32)?;
                ensure!(matches!(bits, 1 | 2 | 4), "unpack of {bits} bits; 1, 2 or 4 are accepted");
                Type::scalar(DType::I32)
            }
            Op::Vector(of) => {
                let t = declared()?;
                let Type::Num { elem, lanes } = t else {
                    return Err("a vector's result is a vector".into());
                };
                ensure!(of.len() == lanes as usize, "a vector of {lanes} lanes from {} values", of.len());
                for v in of {
                    self.is("a lane of a vector", *v, Type::scalar(elem))?;
                }
                t
            }
            Op::Splat(a) => {
                let (e, lanes) = self.num(*a)?;
                ensure!(lanes == 1, "splat of a vector of {lanes} lanes; a scalar is accepted");
                match declared()? {
                    t @ Type::Num { elem, .. } if elem == e => t,
                    t => return Err(format!("splat of {} to {}", e.name(), type_name(t))),
                }
            }
            Op::Extract(a, lane) => {
                let (e, lanes) = self.num(*a)?;
                ensure!(*lane < lanes, "lane {lane} of a vector of {lanes}");
                Type::scalar(e)
            }
            Op::Load { place, index, .. } => {
                let e = self.place(*place, true, false)?;
                self.index("the index of a load", *index)?;
                match declared()? {
                    t @ Type::Num { elem, .. } if elem == e => t,
                    t => return Err(format!("load of {} from elements of {}", type_name(t), e.name())),
                }
            }
            Op::Store { place, index, value, .. } => {
                let e = self.place(*place, false, true)?;
                self.index("the index of a store", *index)?;
                let (got, _) = self.num(*value)?;
                ensure!(got == e, "stores {} into elements of {}; convert it first", got.name(), e.name());
                return Ok(Want::Nothing);
            }
            Op::Get(v) => self.var(*v)?.ty,
            Op::Set(v, to) => {
                let var = self.var(*v)?;
                self.is(&format!("what variable {} is set to", var.name), *to, var.ty)?;
                return Ok(Want::Nothing);
            }
            Op::Atomic { op, place, index, value, compare, .. } => {
                ensure!(!matches!(place, Place::Private(_)), "atomics work on buffers and shared arrays");
                let e = self.place(*place, *op != AtomicOp::Store, *op != AtomicOp::Load)?;
                let ok = match e {
                    Elem::D(DType::I32 | DType::U32 | DType::I64 | DType::U64) => true,
                    Elem::D(DType::F32 | DType::F64) => {
                        matches!(op, AtomicOp::Add | AtomicOp::Exchange | AtomicOp::Load | AtomicOp::Store)
                    }
                    _ => false,
                };
                ensure!(
                    ok,
                    "atomic {op:?} on {}; i32, u32, i64, u64 are accepted, f32 and f64 for Add, Exchange, Load, Store",
                    e.name()
                );
                self.index("the index of an atomic", *index)?;
                let t = Type::scalar(e);
                self.is("the operand of an atomic", *value, t)?;
                ensure!(
                    compare.is_some() == (*op == AtomicOp::CompareExchange),
                    "CompareExchange has a value to compare with, other atomics have none"
                );
                if let Some(c) = compare {
                    self.is("what CompareExchange compares with", *c, t)?;
                }
                return Ok(Want::Maybe(t));
            }
            Op::Return | Op::CopyCommit | Op::CopyWait(_) => return Ok(Want::Nothing),
            Op::Barrier(s) => {
                ensure!(*s != Scope::Device, "there is no device-wide barrier; a subgroup's and a workgroup's are");
                return Ok(Want::Nothing);
            }
            Op::GroupReduce(op, a) => {
                let (e, lanes) = self.num(*a)?;
                self.reduces(*op, e)?;
                Type::vector(e, lanes)
            }
            Op::Subgroup { op, value, lane } => {
                let (e, lanes) = self.num(*value)?;
                let takes = match op {
                    SubgroupOp::Reduce(r) => {
                        self.reduces(*r, e)?;
                        false
                    }
                    SubgroupOp::ScanAdd => {
                        self.reduces(ReduceOp::Sum, e)?;
                        false
                    }
                    _ => true,
                };
                ensure!(takes == lane.is_some(), "{op:?} {} a lane operand", if takes { "needs" } else { "has no" });
                if let Some(l) = lane {
                    self.is("the lane operand", *l, Type::U32)?;
                }
                Type::vector(e, lanes)
            }
            Op::CopyAsync { dst, dst_index, src, src_index, elems, take, aligned: _ } => {
                let to = self.shared(*dst)?.elem;
                let from = self.place(Place::Buffer(*src), true, false)?;
                ensure!(to == from, "copies elements of {} to a shared array of {}", from.name(), to.name());
                self.index("the destination index of a copy", *dst_index)?;
                self.index("the source index of a copy", *src_index)?;
                ensure!((1..=64).contains(elems), "copies {elems} elements per lane; 1 to 64 are accepted");
                if let Some(n) = take {
                    self.is("how many elements of a copy are read", *n, Type::U32)?;
                }
                return Ok(Want::Nothing);
            }
            Op::CopyTile { dst, dst_index, src, view, at, swizzle, bars, slot } => {
                let to = self.shared(*dst)?.elem;
                let from = self.place(Place::Buffer(*src), true, false)?;
                ensure!(to == from, "copies elements of {} to a shared array of {}", from.name(), to.name());
                self.is("the first element of a box in shared memory", *dst_index, Type::U32)?;
                let rank = view.extents.len();
                ensure!((2..=5).contains(&rank), "a box of a tensor of {rank} axes; 2 to 5 are accepted");
                let counts = view.strides.len() + 1 == rank && at.len() == rank;
                ensure!(counts, "a tensor of {rank} axes has one stride less, and a box of it as many coordinates");
                for p in view.scalars() {
                    let kind = self.k.params.get(p.at()).map(|p| p.kind);
                    let idx = matches!(kind, Some(ParamKind::Scalar { elem: Elem::Idx, .. }));
                    ensure!(idx, "parameter {} says how a tensor lies; a scalar of idx is accepted", p.0);
                }
                let [rows, cols] = view.size;
                ensure!(
                    (1..=256).contains(&rows) && (1..=256).contains(&cols),
                    "a box of {rows}x{cols}; 1 to 256 each"
                );
                for v in at {
                    self.index("where a box begins", *v)?;
                }
                self.swizzle(*swizzle)?;
                self.slot(*bars, *slot)?;
                return Ok(Want::Nothing);
            }
            Op::TileCommit { bars, slot } => {
                self.slot(*bars, *slot)?;
                return Ok(Want::Nothing);
            }
            Op::TileWait { bars, slot, parity } => {
                self.slot(*bars, *slot)?;
                self.is("the parity of a round", *parity, Type::U32)?;
                return Ok(Want::Nothing);
            }
            Op::FragFill(v) => match declared()? {
                t @ Type::Frag(f) => {
                    self.is("what a fragment is filled with", *v, self.element(*v, f)?)?;
                    t
                }
                t => return Err(format!("fills {}; a fragment is accepted", type_name(t))),
            },
            Op::FragLoad { place, index, stride, swizzle, .. } => match declared()? {
                t @ Type::Frag(f) => {
                    self.tile(*place, true, f, *index, *stride)?;
                    let plain = *swizzle == Swizzle::NONE;
                    ensure!(plain || matches!(place, Place::Shared(_)), "only tiles in shared arrays are swizzled");
                    self.swizzle(*swizzle)?;
                    t
                }
                t => return Err(format!("loads {} as a fragment", type_name(t))),
            },
            Op::FragStore { frag, place, index, stride, .. } => {
                let f = self.frag(*frag)?;
                self.tile(*place, false, f, *index, *stride)?;
                return Ok(Want::Nothing);
            }
            Op::FragRows(op, acc) => {
                let f = self.frag(*acc)?;
                ensure!(f.role == FragRole::Acc, "rows of {}; an accumulator's are accepted", type_name(Type::Frag(f)));
                self.reduces(*op, Elem::D(f.elem))?;
                Type::Frag(Frag { role: FragRole::Rows, ..f })
            }
            Op::FragMma { a, b, acc } => {
                let f = self.frag(*acc)?;
                ensure!(f.role == FragRole::Acc, "the accumulator of a multiplication is an operand fragment");
                for (operand, role) in [(a, FragRole::A), (b, FragRole::B)] {
                    match operand {
                        FragOperand::Reg(v) => {
                            let g = self.frag(*v)?;
                            ensure!(
                                Frag { elem: f.elem, ..g } == Frag { role, ..f },
                                "operand {role:?} is a {}; one of the accumulator's shape and scope ({}x{}x{}) is accepted",
                                type_name(Type::Frag(g)),
                                f.m,
                                f.n,
                                f.k
                            );
                        }
                        FragOperand::Tile { shared, index, stride, swizzle, .. } => {
                            let e = self.shared(*shared)?.elem;
                            ensure!(
                                matches!(e, Elem::D(d) if d != DType::Bool),
                                "operand {role:?} is a tile of {}",
                                e.name()
                            );
                            self.is("the first element of a tile", *index, Type::U32)?;
                            self.is("the stride of a tile", *stride, Type::U32)?;
                            self.swizzle(*swizzle)?;
                        }
                    }
                }
                Type::Frag(f)
            }
            Op::AssumeMultiple(v, n) => {
                self.index("what is promised to be a multiple", *v)?;
                ensure!(*n > 0, "a multiple of 0 is promised; 1 or more is accepted");
                return Ok(Want::Maybe(self.ty(*v)?));
            }
            Op::If { .. }
            | Op::For { .. }
            | Op::While { .. }
            | Op::FragEach { .. }
            | Op::FragMap { .. }
            | Op::Break
            | Op::Continue => {
                return Ok(Want::Nothing); // checked by the caller
            }
        };
        Ok(Want::Type(t))
    }

    fn swizzle(&self, s: Swizzle) -> Check {
        let (bits, shift) = (s.bits, s.shift);
        ensure!(bits <= 7 && shift <= 15, "a swizzle of {bits} bits shifted by {shift}; up to 7 and 15 are accepted");
        Ok(())
    }

    fn slot(&self, bars: SharedId, slot: Value) -> Check {
        let e = self.shared(bars)?.elem;
        ensure!(e == Elem::D(DType::U64), "slots of copies in a shared array of {}; u64 is accepted", e.name());
        self.is("a slot of copies", slot, Type::U32)
    }

    fn tile(&self, place: Place, reads: bool, f: Frag, index: Value, stride: Value) -> Check {
        ensure!(f.role != FragRole::Rows, "numbers of rows do not lie in memory; they are reduced, filled and mapped");
        ensure!(!matches!(place, Place::Private(_)), "fragments lie in buffers and shared arrays");
        let e = self.place(place, reads, !reads)?;
        ensure!(e == Elem::D(f.elem), "a fragment of {} and elements of {}", f.elem, e.name());
        self.index("the first element of a fragment", index)?;
        self.is("the stride of a fragment", stride, Type::U32)
    }
}
