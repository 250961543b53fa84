//! The product by matrix fragments, beside the plain one, on every device: where a device has none, by the legaliser's lowering.
//! Of the drivers of the tests only the emulated CUDA multiplies fragments itself; what is rendered for others that do is validated in
//! hal's tests.

use crate::common::{numbers, on_every_device};
use anychip::{
    DType, Device,
    hal::{
        device::{Checks, Grid, Step},
        info::{FragmentShape, Rounding},
        op::{BinaryOp as Binary, UnaryOp},
    },
};
use anychip_kernels::library::{
    Body, Expr, Made, Map,
    fragments::{self, Tile},
    matmul::{self, MatMul, Schedule},
    pipeline::{self, Pipeline},
};

const BATCH: usize = 2;
const ROWS: usize = 32;
const COLS: usize = 64;
const INNER: usize = 48;

fn run(device: &Device, made: Made, a: &[u8], b: &[u8], bias: &[u8]) -> Vec<f32> {
    let chip = &device.chain()[0];
    let program = chip.kernel(&made.kernel, Checks::On).unwrap_or_else(|e| panic!("{device}: {e}"));
    let (a, b, bias) = (chip.alloc_from(a).unwrap(), chip.alloc_from(b).unwrap(), chip.alloc_from(bias).unwrap());
    let out = chip.alloc((BATCH * ROWS * COLS * 4) as u64).unwrap();
    let launch = Step::Launch {
        program,
        grid: Grid::Linear(made.grid),
        bindings: vec![bias.all(), a.all(), b.all(), out.all()],
        scalars: made.scalars,
    };
    chip.submit(&[launch]).unwrap().wait().unwrap_or_else(|e| panic!("{device}: {e}"));
    let mut bytes = vec![0; BATCH * ROWS * COLS * 4];
    chip.download(&out, 0, &mut bytes).unwrap();
    bytes.chunks_exact(4).map(|c| f32::from_le_bytes(c.try_into().unwrap())).collect()
}

#[test]
fn fragments_multiply_as_the_plain_kernel_does() {
    let halves = |n: usize, seed: u64| -> Vec<u8> {
        // Whole numbers: every order of a sum gives the same.
        numbers(n, seed, -4.0, 4.0).iter().flat_map(|x| anychip::f16::from_f32(x.round()).to_le_bytes()).collect()
    };
    let (a, b) = (halves(BATCH * ROWS * INNER, 1), halves(BATCH * INNER * COLS, 2));
    let bias: Vec<u8> = numbers(COLS, 3, -4.0, 4.0).iter().flat_map(|x| x.round().to_le_bytes()).collect();
    let product = |by_columns: bool| {
        let mut body = Body { slots: vec![DType::F32], ..Body::default() };
        let along = body.map(Map { strides: vec![0, 0, 1], offset: 0 });
        let bias = body.push(Expr::Read { slot: 0, map: along }, DType::F32);
        let anchor = body.push(Expr::Anchor, DType::F32);
        let sum = body.push(Expr::Binary(Binary::Add, anchor, bias), DType::F32);
        let epilogue = body.push(Expr::Unary(UnaryOp::Relu, sum), DType::F32);
        let lies = |far: usize, strides: [usize; 2]| Map {
            strides: [far, strides[0], strides[1]].map(|s| s as isize).to_vec(),
            offset: 0,
        };
        MatMul {
            body,
            epilogue,
            dims: vec![BATCH, ROWS, COLS],
            k: INNER,
            a: lies(ROWS * INNER, [INNER, 1]),
            b: lies(INNER * COLS, if by_columns { [1, INNER] } else { [COLS, 1] }),
            out: lies(ROWS * COLS, [COLS, 1]),
            dtype: DType::F16,
            sums: DType::F16,
            out_dtype: DType::F32,
        }
    };
    on_every_device(|d| {
        if !d.info().kernels || d.info().limits.max_shared < 32 * 1024 {
            println!("SKIPPED: fragments on {d}: too little shared memory");
            return;
        }
        for by_columns in [false, true] {
            let want = run(d, matmul::matmul(product(by_columns), Schedule::PLAIN).unwrap(), &a, &b, &bias);
            for (rows, cols) in [(1, 1), (2, 2)] {
                let tile = Tile { shape: [16, 16, 16], acc: DType::F32, rows, cols, subgroup: 32, subgroups: 1 };
                let made = fragments::matmul(product(by_columns), tile).unwrap().expect("whole tiles");
                let got = run(d, made, &a, &b, &bias);
                assert_eq!(got, want, "{d}: tile {tile:?}, by columns: {by_columns}");
            }
            let [m, n, k] = [16; 3];
            let (operand, rounding) = (DType::F16, Rounding::NearestEven);
            let shape = FragmentShape {
                m,
                n,
                k,
                a: operand,
                b: operand,
                acc: DType::F32,
                acc_bits: 24,
                rounding,
                operand_bits: FragmentShape::whole(operand),
                subgroups: 1,
            };
            // Of a subgroup, and of the workgroup out of shared memory.
            let line = FragmentShape { m: 64, n: 64, k: 64, subgroups: 4, ..shape.clone() };
            let limits = &d.info().limits;
            let wide = Pipeline::of(&line, [1, 1], [1, 1], [1, 2]);
            let boxes = Pipeline { boxes: true, ..wide };
            for pipeline in [Pipeline::of(&shape, [1, 1], [1, 2], [1, 2]), wide, boxes] {
                // Devices without 16 bits in shared memory hold twice as much.
                if pipeline.lanes() > limits.max_workgroup || 2 * pipeline.shared(operand) > limits.max_shared.into() {
                    println!("SKIPPED: {pipeline:?} on {d}: too small a workgroup");
                    continue;
                }
                let made = pipeline::matmul(product(by_columns), pipeline).unwrap().expect("rows lie side by side");
                assert_eq!(run(d, made, &a, &b, &bias), want, "{d}: {pipeline:?}, by columns: {by_columns}");
            }
        }
        // Extents that are no multiples are left to the plain kernel.
        let tile = Tile { shape: [16, 16, 16], acc: DType::F32, rows: 4, cols: 1, subgroup: 32, subgroups: 1 };
        assert!(fragments::matmul(product(false), tile).unwrap().is_none());
    });
}
