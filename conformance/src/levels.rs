//! Levels as frozen lists: what has to hold for each is written down, and what a bundle is measured by.
//!
//! A list is a file of ids, a line each, `optional` behind those that a device may lack. The lists are made of the cases and checked
//! in; a test says when they differ, and writes them anew when it is asked to. What judges is the list, not the code beside it.

use crate::{
    Case,
    case::{LEVELS, SUITE},
};
use sha2::{Digest, Sha256};
use std::{fmt::Write, sync::LazyLock};

/// The files, by level.
pub const FILES: [&str; 4] = ["0-runtime.txt", "1-core.txt", "2-inference.txt", "3-system.txt"];
/// What they hold.
const TEXTS: [&str; 4] = [
    include_str!("../levels/0-runtime.txt"),
    include_str!("../levels/1-core.txt"),
    include_str!("../levels/2-inference.txt"),
    include_str!("../levels/3-system.txt"),
];

/// A line of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The case.
    pub id: String,
    /// Its level.
    pub level: u8,
    /// A device that lacks it does not reach the level.
    pub mandatory: bool,
}

impl Listed {
    /// The second part of the id.
    pub fn area(&self) -> &str {
        self.id.split('/').nth(1).unwrap_or_default()
    }
}

impl From<&Case> for Listed {
    fn from(c: &Case) -> Listed {
        Listed { id: c.id.clone(), level: c.level, mandatory: c.mandatory }
    }
}

/// Everything that is listed, by level.
pub fn listed() -> &'static [Listed] {
    static ALL: LazyLock<Vec<Listed>> =
        LazyLock::new(|| TEXTS.iter().enumerate().flat_map(|(level, text)| read(level as u8, text)).collect());
    &ALL
}

/// What a level's text lists.
pub fn read(level: u8, text: &str) -> Vec<Listed> {
    let lines = text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#'));
    let listed = |line: &str| match line.split_once(' ') {
        Some((id, _)) => Listed { id: id.into(), level, mandatory: false },
        None => Listed { id: line.into(), level, mandatory: true },
    };
    lines.map(listed).collect()
}

/// The text of a level that these cases make.
pub fn text(level: u8, cases: &[Case]) -> String {
    let mut of: Vec<_> = cases.iter().filter(|c| c.level == level).collect();
    of.sort_by(|a, b| a.id.cmp(&b.id));
    let name = LEVELS.get(level as usize).unwrap_or(&"");
    let mut text = format!("# Conformance suite {SUITE}, level {level} {name}: what a device must pass.\n");
    for c in of {
        let _ = writeln!(text, "{}{}", c.id, if c.mandatory { "" } else { " optional" });
    }
    text
}

/// SHA-256, as `sha256sum` writes it.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |mut text, b| {
        let _ = write!(text, "{b:02x}");
        text
    })
}

/// The lists' sums, as `sha256sum -c` reads them.
pub fn sums<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
    FILES.iter().zip(texts).map(|(file, text)| format!("{}  {file}\n", sha256(text.as_bytes()))).collect()
}

/// The sums of the lists of this suite.
pub fn own_sums() -> String {
    sums(TEXTS)
}

/// The hash of all lists of this suite together: what a bundle names.
pub fn hash() -> String {
    sha256(own_sums().as_bytes())
}
