//! Checking a bundle without the chip: is it whole and unaltered, and do its results make what it claims?

use super::{FILES, Facts, Report, SIGNATURE, SUMS, Statement, judged, page};
use crate::{
    case::SUITE,
    levels,
    run::{Outcome, Selection, Verdict},
    verdict::Waivers,
};
use minisign_verify::{PublicKey, Signature};
use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::Path,
};

/// What the cases that soak are about.
const SOAK: &str = "soak";

/// What shows that a bundle is what its author made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Evidence {
    /// The sums are right, which shows accident and careless editing; anyone could have made them.
    Sums,
    /// There is a signature, and no key that it was checked with.
    Unchecked,
    /// Signed by whoever has this key.
    Signed(String),
}

impl Evidence {
    /// In a sentence.
    pub fn words(&self) -> String {
        match self {
            Evidence::Sums => "the sums are right: nothing was damaged or carelessly edited; nobody signed it".into(),
            Evidence::Unchecked => format!("the sums are right; {SIGNATURE} was not checked: give its author's key"),
            Evidence::Signed(key) => format!("signed with the key {key}"),
        }
    }
}

/// A bundle that holds what it claims.
#[derive(Debug, Clone, PartialEq)]
pub struct Verified {
    /// All of it.
    pub report: Report,
    /// Who says so.
    pub evidence: Evidence,
    /// The page was made again and is the same; else it was made by another version of the command.
    pub page: bool,
}

/// Checks a folder; with a key (minisign's, in base64) its signature too.
///
/// # Errors
/// A sentence with the file and what is wrong with it.
pub fn verify(folder: &Path, key: Option<&str>) -> Result<Verified, String> {
    let texts = whole(folder)?;
    let text = |name: &str| texts.get(name).map(String::as_str).unwrap_or_default();
    let statement: Statement = toml::from_str(text("statement.toml")).map_err(|e| format!("statement.toml: {e}"))?;
    if statement.suite != SUITE || statement.lists != levels::hash() || text("HASHES") != levels::own_sums() {
        return Err(format!(
            "statement.toml: it was judged by suite {} with the lists {}; this command has suite {SUITE} with {}",
            statement.suite,
            short(&statement.lists),
            short(&levels::hash())
        ));
    }
    let facts: Facts = serde_json::from_str(text("environment.json")).map_err(|e| format!("environment.json: {e}"))?;
    let waivers = Waivers::read(text("waivers.toml")).map_err(|e| format!("waivers.toml: {e}"))?;
    let outcomes = results(&statement, text("results.jsonl"))?;
    let (asked, device) = (&statement.asked, &facts.device);
    let bare = |id: &str| id.replace(":0", "");
    if bare(&asked.device) != bare(&device.id) {
        return Err(format!(
            "statement.toml: {} was asked for, and environment.json is of {}",
            asked.device, device.id
        ));
    }
    let judged = judged(&statement.asked, &outcomes, &waivers).map_err(|e| format!("statement.toml: {e}"))?;
    // What the results make, by the same way that made the bundle.
    let made = Statement {
        made: statement.made.clone(),
        anychip: statement.anychip.clone(),
        page: statement.page.clone(),
        signer: statement.signer.clone(),
        ..Statement::new(statement.asked.clone(), &facts, &judged, &outcomes)
    };
    if made.level != statement.level {
        let level = |l: Option<u8>| l.map_or("none".to_string(), |l| l.to_string());
        return Err(format!(
            "statement.toml: it claims level {}, and its results make {}",
            level(statement.level),
            level(made.level)
        ));
    }
    if made != statement {
        let (claimed, made) = (toml::to_string(&statement), toml::to_string(&made));
        let (claimed, made) = (claimed.unwrap_or_default(), made.unwrap_or_default());
        let differs = claimed.lines().zip(made.lines()).find(|(a, b)| a != b).unwrap_or_default();
        return Err(format!("statement.toml: it claims `{}`, and its results make `{}`", differs.0, differs.1));
    }
    let report = Report { statement, outcomes, facts, waivers };
    let same = report.statement.page == page::revision();
    if same {
        for (name, made) in report.files()? {
            if made != text(name) {
                return Err(format!("{name}: it is not what the results make"));
            }
        }
    }
    let evidence = signed(folder, text(SUMS), report.statement.signer.as_deref(), key)?;
    Ok(Verified { report, evidence, page: same })
}

fn short(hash: &str) -> &str {
    hash.get(..12).unwrap_or(hash)
}

/// Every file, when none is missing, added or altered.
fn whole(folder: &Path) -> Result<BTreeMap<String, String>, String> {
    let read = |name: &str| {
        let bytes = fs::read(folder.join(name)).map_err(|e| format!("{name}: {e}"))?;
        let sum = levels::sha256(&bytes);
        String::from_utf8(bytes).map(|text| (text, sum)).map_err(|_| format!("{name}: it is no text"))
    };
    let (sums, _) = read(SUMS)?;
    let mut texts = BTreeMap::new();
    for line in sums.lines() {
        let Some((sum, name)) = line.split_once("  ") else {
            return Err(format!("{SUMS}: {line:?} is no sum and file"));
        };
        if !FILES.contains(&name) {
            return Err(format!("{SUMS}: {name} is no file of a bundle"));
        }
        let (text, found) = read(name)?;
        if found != sum {
            return Err(format!("{name}: it was altered: its sum is {}, and {} is meant", short(&found), short(sum)));
        }
        texts.insert(name.to_string(), text);
    }
    if let Some(missing) = FILES.iter().find(|f| !texts.contains_key(**f)) {
        return Err(format!("{SUMS}: it has no sum of {missing}"));
    }
    for entry in fs::read_dir(folder).map_err(|e| format!("{}: {e}", folder.display()))? {
        let name = entry.map_err(|e| e.to_string())?.file_name().to_string_lossy().into_owned();
        if !texts.contains_key(&name) && name != SUMS && name != SIGNATURE {
            return Err(format!("{name}: it does not belong to the bundle"));
        }
    }
    texts.insert(SUMS.into(), sums);
    Ok(texts)
}

/// Every result, when each case that was asked for has one and each can be.
fn results(statement: &Statement, text: &str) -> Result<Vec<Outcome>, String> {
    let file = "results.jsonl";
    let mut all: Vec<Outcome> = Vec::new();
    for (n, line) in text.lines().enumerate() {
        all.push(serde_json::from_str(line).map_err(|e| format!("{file}: line {}: {e}", n + 1))?);
    }
    let mut by_id = HashMap::new();
    for o in &all {
        if by_id.insert(o.id.as_str(), o).is_some() {
            return Err(format!("{file}: {} is there twice", o.id));
        }
        let wrong = match o.verdict {
            Verdict::Pass => {
                o.worst.is_some() || o.why.is_some() || o.seen.fraction.is_some_and(|f| f.is_nan() || f > 1.0)
            }
            _ => o.why.is_none(),
        };
        // A soak that passed went on for as long as is claimed.
        let short = o.about == SOAK && o.verdict == Verdict::Pass && o.seconds < statement.asked.soak as f64;
        if wrong || short {
            return Err(format!("{file}: {} is {} and its evidence says otherwise", o.id, o.verdict.name()));
        }
    }
    let asked = &statement.asked;
    let selection =
        Selection::new(Some(asked.level), asked.filter.as_deref()).map_err(|e| format!("statement.toml: {e}"))?;
    let list: Vec<_> = levels::listed().iter().filter(|l| selection.takes(&l.id, l.level)).collect();
    if let Some(missing) = list.iter().find(|l| !by_id.contains_key(l.id.as_str())) {
        return Err(format!("{file}: {} was asked for and has no result", missing.id));
    }
    let listed: std::collections::HashSet<_> = list.iter().map(|l| l.id.as_str()).collect();
    match all.iter().find(|o| !listed.contains(o.id.as_str())) {
        Some(other) => Err(format!("{file}: {} was not asked for", other.id)),
        None if all.is_empty() => Err(format!("{file}: there is no result")),
        None => Ok(all),
    }
}

/// A public key of minisign.
///
/// # Errors
/// A sentence about what is no such key.
pub fn public_key(text: &str) -> Result<PublicKey, String> {
    PublicKey::from_base64(text.trim()).map_err(|e| format!("the key {text}: {e}; minisign's, in base64, is accepted"))
}

/// Checks the signature where there is one, or ought to be.
fn signed(folder: &Path, sums: &str, signer: Option<&str>, key: Option<&str>) -> Result<Evidence, String> {
    if let (Some(signer), Some(key)) = (signer, key)
        && signer.trim() != key.trim()
    {
        return Err(format!("statement.toml: it names the key {signer}, and {key} was given"));
    }
    let there = folder.join(SIGNATURE).exists();
    let Some(key) = key.or(signer) else {
        return Ok(if there { Evidence::Unchecked } else { Evidence::Sums });
    };
    if !there {
        return Err(format!("{SIGNATURE}: it is missing, and the bundle is to be signed with {key}"));
    }
    let public = public_key(key)?;
    let signature = Signature::from_file(folder.join(SIGNATURE)).map_err(|e| format!("{SIGNATURE}: {e}"))?;
    match public.verify(sums.as_bytes(), &signature, false) {
        Ok(()) => Ok(Evidence::Signed(key.trim().to_string())),
        Err(e) => Err(format!("{SIGNATURE}: it is not of {SUMS} with the key {key}: {e}")),
    }
}

/// The statement's words, for what shows them.
pub fn words(verified: &Verified) -> String {
    let s = &verified.report.statement;
    format!("{} ({} {}): {}", s.chip.name, s.chip.driver, s.chip.version, s.verdict)
}
