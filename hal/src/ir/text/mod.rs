//! The text form of a kernel: `Display` writes it, `FromStr` reads it back to an equal value, places included.
//!
//! White space separates and is otherwise free; `//` comments run to the end of a line. Numbers are decimal or `0x`.
//! Reading checks the grammar only: [`verify`](super::verify) says whether the kernel means anything.
//!
//! ```text
//! kernel   = "anychip" "kernel" version name "workgroup" "(" n "," n "," n ")" "{" head* "body" block "}"
//! head     = "idx" bits
//!          | "hints" ["min_groups" n] ["subgroup" n]
//!          | "file" string
//!          | "param" name ":" "buffer" dtype ("read" | "write" | "read_write") "align" n
//!          | "param" name ":" "scalar" elem [ "offset" param | "len" param | "groups" ]
//!          | ("shared" | "private") name ":" elem "[" n "]"
//!          | "var" name ":" type
//!          | "unused" def                              -- a value that nothing defines
//! name     = identifier | string
//! elem     = dtype | "idx"          dtype = "bool" | "i8" … "u64" | "f16" | "bf16" | "f32" | "f64" | "f8e4m3" | "f8e5m2"
//! type     = elem | elem "x" lanes | "frag" ("a" | "b" | "acc" | "rows") m n k dtype scope
//! scope    = "subgroup" | "workgroup" | "device"
//! block    = "{" inst* "}"
//! inst     = [def "="] op ["@" file ":" line]
//! def      = value ":" type                            value = "%" n
//! param    = "p" n      var = "v" n      shared = "s" n      private = "a" n
//! at       = (param | shared | private) "[" value "]"
//! tile     = at "stride" value ("row" | "col")
//! operand  = value | "tile" shared "[" value "]" "stride" value ("row" | "col") "swizzle" bits shift
//! op       = "const" n | "scalar" param | "buf_len" param
//!          | ("group_id" | "num_groups" | "local_id" | "local_size" | "global_id") dimension
//!          | "subgroup_size" | "subgroup_lane" | "subgroup_id"
//!          | unary value                               -- neg abs sign not floor ceil trunc round sqrt rsqrt recip exp
//!                                                         exp2 log log2 sin cos tan tanh erf count_ones leading_zeros
//!                                                         trailing_zeros is_nan is_inf cast bitcast splat
//!          | binary value "," value                    -- add sub mul div rem min max pow and or xor shl shr
//!                                                         eq ne lt le gt ge
//!          | ("mul_add" | "fma" | "select") value "," value "," value
//!          | "dot4" sign sign value "," value "," value        sign = "signed" | "unsigned"
//!          | "unpack" bits sign value "," value
//!          | "vector" "[" [value ("," value)*] "]" | "extract" value "," lane
//!          | "load" at ["aligned"] | "store" at "," value ["aligned"]
//!          | "get" var | "set" var "," value
//!          | "atomic" kind at "," value ["compare" value] scope
//!                      -- add min max and or xor exchange compare_exchange load store
//!          | "if" value block ["else" block]
//!          | "for" def "in" value "," value "," value ("auto" | "never" | "full" | "by" n) block
//!          | "while" block "cond" value block | "break" | "continue" | "return"
//!          | "barrier" scope | "group_reduce" reduction value
//!          | "subgroup" ("reduce" reduction | "shuffle" | "shuffle_xor" | "shuffle_down" | "shuffle_up" | "broadcast"
//!                      | "scan_add") value ["," value]       reduction = sum prod min max and or xor
//!          | "copy_async" shared "[" value "]" "," param "[" value "]" "," n ["take" value] ["aligned"]
//!          | "copy_commit" | "copy_wait" n
//!          | "frag_fill" value | "frag_load" tile ["swizzle" bits shift] ["aligned"] | "frag_mma" operand "," operand "," value
//!          | "frag_store" value "," tile | "frag_each" value "," def "," def "," def block
//!          | "frag_rows" reduction value
//!          | "frag_map" var "[" value ("," value)* "]" "," def "," def "," "[" def ("," def)* "]" "," var block
//!          | "assume_multiple" value "," n
//! ```

mod lex;
mod names;
mod parse;
mod print;
