//! Every kernel of the library, and every schedule that the tuner may choose, through NVIDIA's compiler for every generation of chips:
//! planned and legalised for a chip that is described and not there, printed, compiled, assembled, and counted; the counts are kept in
//! docs/cuda-kernels.md. What the kernels compute is tested where something runs them. `scripts/cuda-compilers` says where the
//! compiler is; ANYCHIP_NVRTC names it.

use crate::every_kernel::CASES;
use anychip::{
    DType, Device, Tensor, bf16, f16,
    hal::{
        Command, Completion, DeviceInfo, Driver, Error, Loaded, Memory, Module, RawBuffer, RawDevice, RawProgram,
        Result, Submission, Ticket, Work,
        contract::Resources,
        handles::lock,
        op::ReduceOp,
        render::c::{Dialect, render},
    },
    schedule::{Problem, map, matmul, reduce, rows},
    tune::Contest,
};
use anychip_cuda::{
    chip::Chip,
    nvrtc::{self, Failure, Nvrtc},
};
use std::{
    collections::BTreeMap,
    fmt::{self, Write},
    fs,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// What the assembler says of a kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Counts {
    registers: u32,
    shared: u32,
    spilled: u32,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} / {} / {}", self.registers, self.shared, self.spilled)
    }
}

/// The compiler with which the kept table was made; others count otherwise.
const COUNTED_WITH: (u32, u32) = (12, 9);

/// A chip for which kernels are compiled, and that runs none: memory reads as zeros.
struct Described {
    chip: Chip,
    info: DeviceInfo,
    nvrtc: Arc<Nvrtc>,
    next: AtomicU64,
    /// What is being done, and in it which kernel is how large.
    doing: Mutex<String>,
    compiled: Mutex<BTreeMap<String, Counts>>,
}

impl Described {
    fn new(capability: (u32, u32), nvrtc: Arc<Nvrtc>) -> Described {
        let chip = Chip::example(capability);
        let name = nvrtc::architecture(capability).replace('_', "");
        let info = DeviceInfo { id: format!("{name}:0"), backend: name, ..chip.info() };
        Described { chip, info, nvrtc, next: AtomicU64::new(1), doing: Mutex::default(), compiled: Mutex::default() }
    }

    fn next(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }
}

/// The number before these words in the assembler's report.
fn before(log: &str, words: &str) -> u32 {
    let numbers =
        log.match_indices(words).filter_map(|(at, _)| log[..at].split_whitespace().last()?.parse::<u32>().ok());
    numbers.sum()
}

impl RawDevice for Described {
    fn info(&self) -> &DeviceInfo {
        &self.info
    }
    fn alloc(&self, _bytes: u64, _memory: Memory) -> Result<RawBuffer> {
        Ok(RawBuffer(self.next()))
    }
    fn free(&self, _buffer: RawBuffer) {}
    fn host_write(&self, _buffer: RawBuffer, _at: u64, _from: &[u8]) -> Result<()> {
        Ok(())
    }
    fn host_read(&self, _buffer: RawBuffer, _at: u64, to: &mut [u8]) -> Result<()> {
        to.fill(0);
        Ok(())
    }
    fn load(&self, module: &Module<'_>, _cached: Option<&[u8]>) -> Result<Loaded> {
        let Module::Kernel(kernel) = module else { return Err(Error::unsupported("a graph", "kernels only")) };
        let text = render(kernel, &Dialect::cuda(self.chip.dialect()))?;
        let mut options = nvrtc::options(self.chip.capability);
        options.push("--ptxas-options=-v".into());
        let made = self.nvrtc.compile(&kernel.name, &text.source, &options).map_err(|e| Error::CompileFailed {
            kernel: kernel.name.clone(),
            device: self.info.id.clone(),
            rendered: text.source.clone(),
            log: match e {
                Failure::Log(log) | Failure::Memory(log) | Failure::Other(log) => log,
            },
        })?;
        let counts = Counts {
            registers: before(&made.log, " registers"),
            shared: before(&made.log, " bytes smem"),
            spilled: before(&made.log, " bytes spill stores") + before(&made.log, " bytes spill loads"),
        };
        let [x, y, z] = kernel.workgroup;
        let name = format!("{} | {} [{x}, {y}, {z}]", lock(&self.doing), kernel.name);
        let mut compiled = lock(&self.compiled);
        // Further kernels of one name in one case take its other paths.
        let more = (2..).map(|n| format!("{name} ({n})"));
        let free = [name.clone()].into_iter().chain(more).find(|n| !compiled.contains_key(n));
        compiled.insert(free.expect("names without end"), counts);
        drop(compiled);
        Ok(Loaded { program: RawProgram(self.next()), binary: vec![], resources: Resources::default() })
    }
    fn unload(&self, _program: RawProgram) {}
    fn submit(&self, work: &Submission<'_>) -> Result<Ticket> {
        let Work::Commands(commands) = work.work else { return Err(Error::unsupported("a list", "commands only")) };
        assert!(commands.iter().all(|c| !matches!(c, Command::Launch { groups, .. } if groups.contains(&0))));
        Ok(Ticket { queue: work.queue, value: self.next() })
    }
    fn wait(&self, _ticket: Ticket, _timeout: Duration) -> Result<Option<Completion>> {
        Ok(Some(Completion::default()))
    }
}

struct Only(Arc<Described>);

impl Driver for Only {
    fn name(&self) -> &str {
        &self.0.info.backend
    }
    fn devices(&self) -> Result<Vec<Result<DeviceInfo>>> {
        // None to be listed: other tests run on everything that is.
        Ok(vec![])
    }
    fn open(&self, _ordinal: u32) -> Result<Arc<dyn RawDevice>> {
        Ok(self.0.clone())
    }
    fn installed(&self) -> Option<anychip::hal::probe::Installed> {
        None
    }
}

/// What is tuned, each at an extent at which the large tiles fit too.
fn problems() -> Vec<Problem> {
    let product = |dtype| matmul::Problem { dtype, batch: 1, rows: 512, cols: 512, inner: 512, col_stride: 1 };
    let mut all: Vec<_> = [DType::F32, DType::F16, DType::BF16].map(|d| Problem::Matmul(product(d))).into();
    let dtype = DType::F32;
    all.push(Problem::Map(map::Problem { dtype, elements: 1 << 16, cols: 1 << 16, reads: 2 }));
    all.extend(
        [rows::Kind::Softmax, rows::Kind::LayerNorm, rows::Kind::RmsNorm]
            .map(|row| Problem::Rows(rows::Problem { row, dtype, rows: 64, cols: 1024 })),
    );
    let sum = |across| reduce::Problem { op: ReduceOp::Sum, dtype, results: 64, reduced: 1024, across, along: !across };
    all.extend([true, false].map(|across| Problem::Reduce(sum(across))));
    all
}

/// Types, widths of heads, and whether a mask is added.
fn attentions() -> impl Iterator<Item = (DType, usize, bool)> {
    let of = |d| [(64, false), (64, true), (128, false), (128, true)].map(|(width, masked)| (d, width, masked));
    [DType::F16, DType::BF16].into_iter().flat_map(of)
}

#[test]
fn every_kernel_compiles_for_every_architecture_and_spills_nothing() {
    const TEST: &str = "every_kernel_compiles_for_every_architecture_and_spills_nothing";
    let Some(named) = std::env::var_os("ANYCHIP_NVRTC") else {
        let names = |variable: &str| std::env::var(variable).unwrap_or_default();
        assert!(
            !names("ANYCHIP_REQUIRE").split(',').any(|r| r.trim() == "nvrtc"),
            "{TEST}: ANYCHIP_NVRTC must name NVRTC"
        );
        // Runs that are for other backends say nothing of it.
        let only = names("ANYCHIP_TEST_BACKENDS");
        if only.is_empty() || only.contains("cuda") {
            println!("SKIPPED: {TEST}: ANYCHIP_NVRTC names no compiler (scripts/cuda-compilers)");
        }
        return;
    };
    let nvrtc = Arc::new(Nvrtc::open(named).unwrap());
    let described =
        [(7, 0), (8, 0), (9, 0), (10, 0)].map(|capability| Arc::new(Described::new(capability, nvrtc.clone())));
    // A thread each for two of them: the compiler takes several at once.
    std::thread::scope(|threads| {
        for some in described.chunks(2) {
            threads.spawn(move || some.iter().for_each(compile));
        }
    });
    let mut rows = BTreeMap::<String, [String; 4]>::new();
    let mut spilling = vec![];
    for (column, chip) in described.iter().enumerate() {
        let compiled = lock(&chip.compiled);
        assert!(compiled.len() >= 40, "only {} kernels were made for {}", compiled.len(), chip.info.id);
        for (kernel, c) in compiled.iter() {
            assert!(c.registers > 0, "nothing is known of {kernel} for {}", chip.info.id);
            rows.entry(kernel.clone()).or_default()[column] = c.to_string();
            spilling.extend((c.spilled > 0).then(|| format!("{}: {kernel}: {c}\n", chip.info.id)));
        }
    }
    let mut table = String::from(
        "# What NVIDIA's compiler makes of every kernel\n\n\
         Registers of a lane / bytes of shared memory / bytes spilled, by NVRTC 12.9, for each architecture; a kernel of the library at work, or a\n\
         problem with a schedule that the tuner may choose. Written by `scripts/cuda-compilers` and\n\
         `ANYCHIP_WRITE_DOCS=1 ANYCHIP_NVRTC=… cargo test -p anychip --test suite cuda_kernels`; a test keeps it true.\n\n\
         | at work | kernel [workgroup] | sm_70 | sm_80 | sm_90a | sm_100a |\n| --- | --- | --- | --- | --- | --- |\n",
    );
    for (kernel, counts) in &rows {
        writeln!(table, "| {kernel} | {} |", counts.join(" | ")).unwrap();
    }
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/cuda-kernels.md");
    if std::env::var_os("ANYCHIP_WRITE_DOCS").is_some() {
        fs::write(&kept, &table).unwrap();
    }
    assert!(spilling.is_empty(), "kernels spill:\n{}", spilling.concat());
    if nvrtc.version == COUNTED_WITH {
        let known = fs::read_to_string(&kept).unwrap_or_default();
        let differs = table.lines().zip(known.lines().chain(std::iter::repeat(""))).find(|(now, then)| now != then);
        assert!(
            table == known,
            "docs/cuda-kernels.md is out of date, first in {differs:?}; write it with ANYCHIP_WRITE_DOCS=1 cargo test -p anychip --test \
             suite cuda_kernels"
        );
    }
}

/// Every case, and every schedule of the problems that are tuned.
fn compile(chip: &Arc<Described>) {
    anychip::register(Arc::new(Only(chip.clone())));
    let id = &chip.info.id;
    let device = Device::open(id).unwrap();
    for (n, (name, case)) in CASES.iter().enumerate() {
        *lock(&chip.doing) = format!("{n:03} {name}");
        let made = case(&device).and_then(|t| t.to_vec::<f32>());
        made.unwrap_or_else(|e| panic!("{name}, case {n}, for {id}: {e}"));
    }
    // Attention of small floats, which fragments compute where a chip has them: heads of every number of registers.
    for (dtype, width, masked) in attentions() {
        let mask = if masked { ", masked" } else { "" };
        *lock(&chip.doing) = format!("attention of {dtype}, heads of {width}{mask}");
        let of = |shape: &[usize]| {
            let n = shape.iter().product();
            match dtype {
                DType::F16 => Tensor::from_vec(vec![f16::ZERO; n], shape, &device),
                _ => Tensor::from_vec(vec![bf16::ZERO; n], shape, &device),
            }
        };
        let made = of(&[2, 256, width]).and_then(|x| {
            let mask = if masked { Some(of(&[256, 256])?) } else { None };
            x.attention(&x, &x, mask.as_ref(), None, !masked)?.to_bytes()
        });
        made.unwrap_or_else(|e| panic!("attention of {dtype}, heads of {width}{mask}, for {id}: {e}"));
    }
    for problem in problems() {
        *lock(&chip.doing) = format!("{} {problem}, plain", problem.family());
        let contest = Contest::new(&device.chain()[0], &problem, Duration::MAX)
            .unwrap_or_else(|e| panic!("{problem} for {id}: {e}"));
        for schedule in problem.candidates(&chip.info) {
            *lock(&chip.doing) = format!("{} {problem}, {schedule}", problem.family());
            contest.trial(schedule).unwrap_or_else(|e| panic!("{problem}, {schedule} for {id}: {e}"));
        }
    }
}
