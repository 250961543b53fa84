//! Every public method of a tensor that computes something is named in the oracle's tables.

use anychip_oracle::operations::named;
use std::{collections::BTreeSet, path::Path};

/// Methods that make no value: what a tensor is, reading it, where it is computed.
const NO_OPERATIONS: &[&str] = &[
    "at",
    "bits",
    "buffer_on",
    "checkpoint",
    "constant",
    "contiguous",
    "device",
    "dim",
    "dims",
    "dtype",
    "elem_count",
    "explain",
    "from_node",
    "new",
    "node",
    "position",
    "rank",
    "realize",
    "realize_all",
    "seed",
    "shape",
    "to_bytes",
    "to_device",
    "to_ndarray",
    "to_scalar",
    "to_vec",
    "to_vec0",
    "to_vec1",
    "to_vec2",
    "to_vec3",
    // How windows and kernels move: parts of an argument.
    "ceil_mode",
    "count_include_pad",
    "dilation",
    "groups",
    "output_padding",
    "padding",
    "same",
    "stride",
];

/// Names of the public functions in the source of the tensor, those that macros make among them.
fn methods() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/tensor");
    for entry in std::fs::read_dir(folder).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        let mut within = "";
        for line in text.lines() {
            let line_start = line.trim_start();
            match line {
                "unary! {" | "binary! {" | "reductions! {" => within = line,
                "}" => within = "",
                _ => {}
            }
            let words = |s: &str| -> Vec<String> {
                s.split_whitespace()
                    .map(str::to_string)
                    .take_while(|w| w.chars().all(|c| c.is_alphanumeric() || c == '_'))
                    .collect()
            };
            if let Some(rest) = line_start.strip_prefix("pub fn ") {
                let name = rest.split(['(', '<']).next().unwrap_or_default();
                if !name.starts_with('$') {
                    found.insert(name.to_string());
                }
            } else if !within.is_empty()
                && !line_start.starts_with("//")
                && line_start.contains(", ")
                && line_start.ends_with(';')
            {
                found.extend(words(line_start.split(',').next().unwrap_or_default()));
            }
        }
    }
    assert!(found.contains("matmul") && found.contains("exp") && found.contains("sum_keepdim"), "{found:?}");
    found
}

#[test]
fn every_method_is_in_the_tables() {
    let missing: Vec<String> =
        methods().into_iter().filter(|m| !named(m) && !NO_OPERATIONS.contains(&m.as_str())).collect();
    assert!(
        missing.is_empty(),
        "{missing:?}: name them in conformance/src/oracle/operations.rs with meaning, bound and edges, and test them here"
    );
}
