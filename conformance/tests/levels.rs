//! The lists of the levels are those that the cases make, and their sums are written down.

use anychip_conformance::{case::SUITE, cases, levels};
use std::{collections::HashSet, fs, path::Path};

#[test]
fn the_lists_are_those_of_the_cases() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("levels");
    let cases = cases::all();
    let texts: Vec<String> = (0..4).map(|level| levels::text(level, &cases)).collect();
    let sums = levels::sums(texts.iter().map(String::as_str));
    let files = levels::FILES.iter().copied().chain(["HASHES"]).zip(texts.iter().chain([&sums]));
    if std::env::var_os("ANYCHIP_WRITE_LEVELS").is_some() {
        return files.for_each(|(file, text)| fs::write(folder.join(file), text).unwrap());
    }
    for (file, text) in files {
        let found = fs::read_to_string(folder.join(file)).unwrap_or_default();
        let (found, made): (HashSet<_>, HashSet<_>) = (found.lines().collect(), text.lines().collect());
        let first = |a: &HashSet<&str>, b: &HashSet<&str>| a.difference(b).min().map(|s| s.to_string());
        assert!(
            found == made,
            "conformance/levels/{file} is not what the cases make: it lacks {:?} and has {:?}, for example. A list that was \
             published changes with the suite's version only; `ANYCHIP_WRITE_LEVELS=1 cargo test -p anychip-conformance \
             --test levels` writes it",
            first(&made, &found),
            first(&found, &made),
        );
    }
}

/// The sums of the lists of every version of the suite. A new list is a new version: a line here, and `SUITE`.
const FROZEN: [(u32, &str); 1] = [(1, "8d76399b4df21515f872a0febca6c7b1b6b5cc50fae0be7bac37cd14b5ac31de")];

#[test]
fn lists_change_with_the_version_of_the_suite_only() {
    assert_eq!(
        FROZEN.last(),
        Some(&(SUITE, levels::hash().as_str())),
        "new lists need a new number in `SUITE`, and a line above"
    );
}

#[test]
fn ids_are_well_formed_and_used_once() {
    let cases = cases::all();
    let mut seen = HashSet::new();
    for c in &cases {
        assert!(seen.insert(&c.id), "{} is used twice", c.id);
        let fine = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"/-_.+=".contains(&b);
        assert!(c.id.bytes().all(fine), "{}: lower case without spaces", c.id);
        assert!(
            (3..=6).contains(&c.id.split('/').count()) && c.id.split('/').all(|p| !p.is_empty()),
            "{}: level/area/…",
            c.id
        );
        assert!(c.level == 3 || !c.soaks, "{}: only a system case soaks", c.id);
        assert!(c.about != "soak" || c.soaks, "{}: `.soaking()` gives it the time that it needs", c.id);
    }
}
