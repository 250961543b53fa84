//! Programs through the system's C++ compiler. What was compiled once is kept on disk, by the hash of all that it was made from.

use super::{Options, source};
use crate::{exec, settings::settings};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

/// The shim's files, as kernels include them.
const SHIM: [(&str, &str); 8] = [
    ("shim.h", include_str!("../../shim/shim.h")),
    ("functions.h", include_str!("../../shim/functions.h")),
    ("copy.h", include_str!("../../shim/copy.h")),
    ("matrix.h", include_str!("../../shim/matrix.h")),
    ("warpgroup.h", include_str!("../../shim/warpgroup.h")),
    ("small.h", include_str!("../../shim/small.h")),
    ("cuda_fp16.h", include_str!("../../shim/cuda_fp16.h")),
    ("cuda_bf16.h", include_str!("../../shim/cuda_bf16.h")),
];

/// The compiler, and what tells it from another.
struct Compiler {
    path: PathBuf,
    identity: String,
}

fn compiler() -> Result<&'static Compiler, String> {
    static COMPILER: OnceLock<Result<Compiler, String>> = OnceLock::new();
    let found = COMPILER.get_or_init(|| {
        let named = settings().compiler.iter().cloned();
        let usual = ["g++", "c++", "clang++"].into_iter().map(PathBuf::from);
        for candidate in named.chain(usual) {
            if let Ok(out) = Command::new(&candidate).arg("--version").output()
                && out.status.success()
            {
                return Ok(Compiler { path: candidate, identity: String::from_utf8_lossy(&out.stdout).into_owned() });
            }
        }
        Err("the CUDA emulator needs a C++ compiler: g++ or clang++, or one that ANYCHIP_EMULATED_CXX names".into())
    });
    found.as_ref().map_err(Clone::clone)
}

/// What tells one version of the shim from another: what was compiled with one runs with that one only.
pub fn version() -> &'static blake3::Hash {
    static VERSION: OnceLock<blake3::Hash> = OnceLock::new();
    VERSION.get_or_init(|| {
        let mut hash = blake3::Hasher::new();
        SHIM.iter().for_each(|(name, text)| {
            hash.update(name.as_bytes()).update(text.as_bytes());
        });
        hash.finalize()
    })
}

/// The folder with the shim's files, written once for each version of them.
fn shim() -> Result<&'static Path, String> {
    static FOLDER: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let write = || -> std::io::Result<PathBuf> {
        let folder = settings().cache.join(format!("shim-{}", &version().to_hex()[..16]));
        if !folder.is_dir() {
            fs::create_dir_all(&settings().cache)?;
            let new = tempfile::tempdir_in(&settings().cache)?;
            for (name, text) in SHIM {
                fs::write(new.path().join(name), text)?;
            }
            // Another process may have been faster: its files are the same.
            let new = new.keep();
            if fs::rename(&new, &folder).is_err() {
                fs::remove_dir_all(&new)?;
            }
        }
        Ok(folder)
    };
    let made = FOLDER.get_or_init(|| write().map_err(|e| format!("{}: {e}", settings().cache.display())));
    made.as_deref().map_err(Clone::clone)
}

fn flags(options: &Options) -> Vec<String> {
    let number: String = options.architecture.chars().filter(char::is_ascii_digit).collect();
    let mut flags: Vec<String> = [
        "-x",
        "c++",
        "-std=c++17",
        "-O1",
        "-fPIC",
        "-shared",
        "-fno-exceptions",
        "-fno-rtti",
        "-fno-strict-aliasing",
        "-fwrapv",
        "-fno-math-errno",
        "-fno-trapping-math",
        "-fno-asynchronous-unwind-tables",
        "-fno-stack-protector",
        "-nostdinc",
        "-nostdinc++",
        "-nostartfiles",
        "-nodefaultlibs",
        "-Wl,-Bsymbolic",
    ]
    .map(str::to_owned)
    .into();
    if compiler().is_ok_and(|c| !c.identity.contains("clang")) {
        // What threads share changes while a function waits for others.
        flags.extend(
            ["-fno-ipa-reference", "-fno-gnu-unique", "-foptimize-sibling-calls", "-fmax-errors=20"].map(str::to_owned),
        );
        flags.push(format!("-Werror=frame-larger-than={}", exec::FRAME));
    } else {
        flags.push(format!("-Wframe-larger-than={}", exec::FRAME));
        flags.push("-Werror=frame-larger-than".into());
    }
    #[cfg(target_arch = "x86_64")]
    if std::is_x86_feature_detected!("avx2")
        && std::is_x86_feature_detected!("fma")
        && std::is_x86_feature_detected!("f16c")
    {
        flags.extend(["-mavx2", "-mfma", "-mf16c"].map(str::to_owned));
    }
    flags.push(format!("-ffp-contract={}", if options.contract { "fast" } else { "off" }));
    flags.push(format!("-D__CUDA_ARCH__={number}0"));
    if options.architecture.ends_with('a') {
        flags.push(format!("-D__CUDA_ARCH_FEAT_SM{number}_ALL=1"));
    }
    flags.push(format!("-D__CUDACC_VER_MAJOR__={}", settings().nvrtc.0));
    flags.push(format!("-D__CUDACC_VER_MINOR__={}", settings().nvrtc.1));
    flags.extend(options.defines.iter().map(|define| format!("-D{define}")));
    flags
}

/// The shared library of a program, or the compiler's words.
pub fn library(
    name: &str,
    text: &str,
    kernels: &[source::Kernel],
    headers: &[(String, String)],
    options: &Options,
) -> Result<Vec<u8>, String> {
    let (compiler, shim, flags) = (compiler()?, shim()?, flags(options));
    // Only what is used: every line costs each kernel its time.
    let names = |all: &[&str]| all.iter().any(|name| text.contains(name));
    let warpgroup = names(&["anychip_wgmma", "anychip_mbarrier", "anychip_bulk"]);
    let mut unit = String::new();
    if warpgroup {
        unit.push_str("#define ANYCHIP_WARPGROUP 1\n");
    }
    unit.push_str("#include \"shim.h\"\n");
    if names(&["anychip_mma_", "anychip_ldmatrix", "anychip_stmatrix", "anychip_wmma_"]) {
        unit.push_str("#include \"matrix.h\"\n");
    }
    if warpgroup {
        unit.push_str("#include \"warpgroup.h\"\n");
    }
    unit.push_str(&format!("#line 1 \"{}\"\n", name.replace(['"', '\\', '\n'], "_")));
    unit.push_str(&source::with_dynamic_shared(text));
    unit.push_str("\n#line 1 \"kernels of the program\"\n");
    for kernel in kernels {
        unit.push_str(&format!("ANYCHIP_KERNEL({0}, {1}{0}, {2})\n", kernel.name, kernel.within, kernel.bound));
    }
    unit.push_str("ANYCHIP_MODULE()\n");

    let mut hash = blake3::Hasher::new();
    for part in [&unit, &compiler.identity, &shim.to_string_lossy().into_owned(), &flags.join("\0")] {
        hash.update(&(part.len() as u64).to_le_bytes()).update(part.as_bytes());
    }
    for (name, text) in headers {
        hash.update(name.as_bytes()).update(text.as_bytes());
    }
    let kept = settings().cache.join(format!("{}.so", hash.finalize().to_hex()));
    if let Ok(library) = fs::read(&kept) {
        return Ok(library);
    }
    compile(compiler, shim, &flags, &unit, headers, &kept)
}

fn compile(
    compiler: &Compiler,
    shim: &Path,
    flags: &[String],
    unit: &str,
    headers: &[(String, String)],
    kept: &Path,
) -> Result<Vec<u8>, String> {
    let io = |e: std::io::Error| format!("{}: {e}", settings().cache.display());
    let folder = tempfile::tempdir_in(&settings().cache).map_err(io)?;
    let (unit_file, library_file) = (folder.path().join("unit.cpp"), folder.path().join("unit.so"));
    fs::write(&unit_file, unit).map_err(io)?;
    for (name, text) in headers {
        let file = folder.path().join(name);
        if let Some(parent) = file.parent() {
            fs::create_dir_all(parent).map_err(io)?;
        }
        fs::write(file, text).map_err(io)?;
    }
    let out = Command::new(&compiler.path)
        .args(flags)
        .arg("-I")
        .arg(shim)
        .arg("-I")
        .arg(folder.path())
        .arg(&unit_file)
        .arg("-o")
        .arg(&library_file)
        .args(["-lm", "-lc"])
        .output()
        .map_err(|e| format!("{}: {e}", compiler.path.display()))?;
    if !out.status.success() {
        return Err(String::from_utf8_lossy(&out.stderr).into_owned());
    }
    let library = fs::read(&library_file).map_err(io)?;
    fs::rename(&library_file, kept).map_err(io)?;
    Ok(library)
}
