//! `docs/operations.md` says what the tables say.

use anychip_oracle::operations::page;

/// `ANYCHIP_WRITE_DOCS=1 cargo test -p anychip-oracle --test page` writes it anew.
#[test]
fn the_page_is_up_to_date() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/operations.md");
    let want = page();
    if std::env::var_os("ANYCHIP_WRITE_DOCS").is_some() {
        std::fs::write(&path, &want).unwrap();
    }
    let have = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        have.replace("\r\n", "\n") == want,
        "docs/operations.md is out of date; write it with ANYCHIP_WRITE_DOCS=1 cargo test -p anychip-oracle --test page"
    );
}
