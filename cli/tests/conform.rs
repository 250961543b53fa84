//! `anychip conform`: what it prints, what it writes, and when its exit code is 0.

use std::{
    path::Path,
    process::{Command, Output},
};
use tempfile::TempDir;

fn anychip(cache: &Path, arguments: &[&str]) -> Output {
    let mut c = Command::new(env!("CARGO_BIN_EXE_anychip"));
    c.args(arguments).env("ANYCHIP_CACHE_DIR", cache).env_remove("ANYCHIP_CACHE").env_remove("ANYCHIP_PROBE");
    c.output().unwrap()
}

fn text(of: &[u8]) -> String {
    String::from_utf8_lossy(of).into_owned()
}

#[test]
fn a_filtered_run_passes_and_its_bundle_is_checked() {
    let folder = TempDir::new().unwrap();
    let (cache, bundle) = (folder.path().join("cache"), folder.path().join("bundle"));
    let bundle = bundle.to_str().unwrap();
    let filter = "runtime/misuse/";
    let ran = anychip(&cache, &["conform", "--device", "cpu", "--filter", filter, "--report", bundle]);
    let said = text(&ran.stdout);
    assert!(ran.status.success(), "{said}{}", text(&ran.stderr));
    assert!(said.contains("no level: only what matches the filter was run"), "{said}");
    let checked = anychip(&cache, &["conform", "verify", bundle]);
    assert!(
        checked.status.success() && text(&checked.stdout).contains("the sums are right"),
        "{}",
        text(&checked.stderr)
    );
    let matrix = anychip(&cache, &["conform", "matrix", bundle]);
    assert!(text(&matrix.stdout).contains("| runtime/misuse |"), "{}", text(&matrix.stdout));
    std::fs::remove_file(Path::new(bundle).join("junit.xml")).unwrap();
    let refused = anychip(&cache, &["conform", "verify", bundle]);
    assert!(!refused.status.success() && text(&refused.stderr).contains("junit.xml"), "{}", text(&refused.stderr));
}

#[test]
fn what_cannot_be_asked_says_so() {
    let cache = TempDir::new().unwrap();
    let refused = |arguments: &[&str], words: &str| {
        let o = anychip(cache.path(), arguments);
        assert!(!o.status.success() && text(&o.stderr).contains(words), "{arguments:?}: {}", text(&o.stderr));
    };
    refused(&["conform", "--device", "cpu", "--filter", "no/such/case"], "no case is asked for");
    refused(&["conform", "--device", "toaster:0", "--filter", "runtime/misuse/"], "toaster");
    refused(&["conform", "--device", "cpu", "--filter", "["], "accepted");
    refused(&["conform"], "--device");
    refused(&["conform", "--device", "cpu", "--level", "4"], "4");
    refused(&["conform", "verify", "/does/not/exist"], "SHA256SUMS");
}

#[test]
fn the_list_counts_what_a_filter_leaves() {
    let cache = TempDir::new().unwrap();
    let listed = anychip(cache.path(), &["conform", "--list", "--filter", "core/logic/*"]);
    let said = text(&listed.stdout);
    let ids = said.lines().filter(|l| l.starts_with("core/logic/")).count();
    assert!(ids > 0 && said.contains(&format!("{ids} cases: 0 runtime, {ids} core, 0 inference, 0 system")), "{said}");
    assert!(said.contains("operation") && said.contains("shape") && said.contains("bool"), "{said}");
}
