//! Which vector width this processor has. Asked once per call of a slice function, never per element; the answer is
//! cached by the standard library. Every function of `vmath` and every micro-kernel of `linalg` exists once per level.

/// A vector width for which the numeric code is compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// What the build's target guarantees: SSE2 on x86-64 (no fused multiply-add), NEON on AArch64.
    Baseline,
    /// AVX2 with FMA: 8 lanes of f32.
    Avx2,
    /// AVX-512 F, BW, DQ and VL: 16 lanes of f32.
    Avx512,
}

impl Level {
    /// The widest level this processor has.
    pub fn detect() -> Level {
        let mut best = Level::Baseline;
        for level in [Level::Avx2, Level::Avx512] {
            if level.available() {
                best = level;
            }
        }
        best
    }

    /// Whether this processor can run the level.
    pub fn available(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        {
            match self {
                Level::Baseline => true,
                Level::Avx2 => {
                    is_x86_feature_detected!("avx2")
                        && is_x86_feature_detected!("fma")
                        && is_x86_feature_detected!("f16c")
                }
                Level::Avx512 => {
                    Level::Avx2.available()
                        && is_x86_feature_detected!("avx512f")
                        && is_x86_feature_detected!("avx512bw")
                        && is_x86_feature_detected!("avx512dq")
                        && is_x86_feature_detected!("avx512vl")
                }
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        {
            self == Level::Baseline
        }
    }

    /// The levels this processor can run, narrowest first. Tests run each of them.
    pub fn all() -> impl Iterator<Item = Level> {
        [Level::Baseline, Level::Avx2, Level::Avx512].into_iter().filter(|level| level.available())
    }
}
