//! The oracle shares nothing with what it judges.

/// Neither the manifest nor a source file names another crate of the house.
#[test]
fn knows_no_crate_of_the_house() {
    let here = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifest = std::fs::read_to_string(here.join("Cargo.toml")).unwrap();
    let dependencies = manifest.split_once("[dependencies]").expect("the manifest lists dependencies").1;
    assert!(!dependencies.contains("anychip") && !dependencies.contains("path"), "{dependencies}");
    let mut files = 0;
    let mut folders = vec![here.join("src")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            files += 1;
            assert!(!text.contains("anychip_"), "{} names a crate of the house", path.display());
        }
    }
    assert!(files > 8, "the oracle's files were not found");
}
