//! The guide for authors quotes these tests: every block of code in it stands in the file that it names.

#[test]
fn every_block_of_the_guide_is_compiled() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let guide = std::fs::read_to_string(format!("{root}/docs/kernel-language.md")).unwrap();
    let mut blocks = 0;
    for (before, rest) in guide.match_indices("```rust\n").map(|(at, _)| (&guide[..at], &guide[at + 8..])) {
        let block = rest.split("```").next().unwrap();
        let named = before.trim_end().lines().last().unwrap();
        let file = named.strip_prefix("<!-- ").and_then(|l| l.strip_suffix(" -->"));
        let file = file.unwrap_or_else(|| panic!("no file is named above the block\n{block}"));
        let source = std::fs::read_to_string(format!("{root}/{file}")).unwrap();
        assert!(source.contains(block), "{file} does not have the block\n{block}");
        blocks += 1;
    }
    assert!(blocks >= 9, "only {blocks} blocks were found");
}
