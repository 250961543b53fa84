//! A bundle holds what a run found; whoever changes it is found out; its page looks like one.

use anychip_conformance::{
    Subject, cases, levels,
    report::{
        Asked, Facts, Report, SIGNATURE, SUMS, matrix,
        verify::{Evidence, verify},
    },
    run::{self, Host, Selection, Settings, Verdict},
    verdict::Waivers,
};
use std::{
    env, fs, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
    thread,
    time::{Duration, Instant},
};
use tempfile::TempDir;

const FILTER: &str = "runtime/misuse/,core/rows/softmax/*";

/// Not a test: what the child of the tests below runs.
#[test]
#[ignore = "the child of other tests"]
fn child() {
    run::serve(io::stdin().lock(), &mut io::stdout(), cases::all(), Subject::open).unwrap();
}

/// What a run on the CPU found, made once.
fn report() -> &'static Report {
    static REPORT: OnceLock<Report> = OnceLock::new();
    REPORT.get_or_init(|| {
        let arguments = ["--ignored", "--exact", "child", "--nocapture"];
        let host = arguments.into_iter().fold(Host::this_program().unwrap(), Host::argument);
        let settings = Settings::new("cpu");
        let chosen = run::select(cases::all(), &Selection::new(Some(3), Some(FILTER)).unwrap());
        let outcomes = host.run(&settings, &chosen, &mut |_| {}).unwrap();
        let (device, environment) = host.inspect(&settings).unwrap();
        let peaks = host.peaks(&settings).unwrap();
        let facts = Facts { device, environment, peaks: Some(peaks), no_peaks: None };
        Report::new(asked(Some(FILTER)), facts, outcomes, Waivers::default()).unwrap().0
    })
}

fn asked(filter: Option<&str>) -> Asked {
    Asked { device: "cpu".into(), level: 3, filter: filter.map(String::from), seed: 0, soak: 60 }
}

fn written(report: &Report) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    report.write(folder.path()).unwrap();
    folder
}

/// Every file's sum, as one does who hides an edit.
fn sum_again(folder: &Path) {
    let names: Vec<String> = fs::read_to_string(folder.join(SUMS))
        .unwrap()
        .lines()
        .map(|l| l.split_once("  ").unwrap().1.to_string())
        .filter(|n| folder.join(n).exists())
        .collect();
    let sums = names.iter().map(|n| format!("{}  {n}\n", levels::sha256(&fs::read(folder.join(n)).unwrap())));
    fs::write(folder.join(SUMS), sums.collect::<String>()).unwrap();
}

fn edit(folder: &Path, file: &str, with: impl Fn(String) -> String) {
    let path = folder.join(file);
    let old = fs::read_to_string(&path).unwrap();
    let new = with(old.clone());
    assert_ne!(old, new, "{file}");
    fs::write(path, new).unwrap();
}

fn refused(folder: &Path, words: &[&str]) {
    let e = verify(folder, None).map(|v| v.report.statement).unwrap_err();
    assert!(words.iter().all(|w| e.contains(w)), "{words:?} in {e:?}");
}

#[test]
fn a_bundle_verifies_and_says_by_what_evidence() {
    let r = report();
    assert!(r.outcomes.len() > 20, "{}", r.outcomes.len());
    assert!(r.outcomes.iter().all(|o| o.verdict == Verdict::Pass), "{:?}", r.statement.verdict);
    assert_eq!(r.statement.level, None, "a part of the suite reaches no level");
    assert!(!r.facts.peaks.as_ref().unwrap().timed.is_empty());
    let folder = written(r);
    let v = verify(folder.path(), None).unwrap();
    assert_eq!((&v.report, v.evidence, v.page), (r, Evidence::Sums, true));
    // Written over itself, and never over what is someone else's.
    r.write(folder.path()).unwrap();
    let other = tempfile::tempdir().unwrap();
    fs::write(other.path().join("thesis.txt"), "years of work").unwrap();
    assert!(r.write(other.path()).unwrap_err().contains("not empty"));
    assert_eq!(fs::read_dir(other.path()).unwrap().count(), 1);
}

#[test]
fn what_is_altered_or_missing_is_refused_by_its_name() {
    let folder = written(report());
    let folder = folder.path();
    for file in fs::read_dir(folder).unwrap().map(|f| f.unwrap().path()) {
        let name = file.file_name().unwrap().to_str().unwrap().to_string();
        let whole = fs::read(&file).unwrap();
        fs::remove_file(&file).unwrap();
        refused(folder, &[&name]);
        if let Some(at) = whole.len().checked_sub(2) {
            let mut altered = whole.clone();
            altered[at] ^= 1;
            fs::write(&file, altered).unwrap();
            refused(folder, &[if name == SUMS { "" } else { &name }]);
        }
        fs::write(&file, whole).unwrap();
    }
    fs::write(folder.join("more.txt"), "more").unwrap();
    refused(folder, &["more.txt", "does not belong"]);
    fs::remove_file(folder.join("more.txt")).unwrap();
    verify(folder, None).unwrap();
}

#[test]
fn an_edit_with_new_sums_is_refused_too() {
    let fresh = || written(report());
    let first = report().outcomes[0].id.clone();

    let removed = fresh();
    edit(removed.path(), "results.jsonl", |t| t.split_once('\n').unwrap().1.to_string());
    refused(removed.path(), &["results.jsonl", "altered"]);
    sum_again(removed.path());
    refused(removed.path(), &["results.jsonl", &first, "no result"]);

    let level = fresh();
    edit(level.path(), "statement.toml", |t| t.replacen("exact =", "level = 3\nexact =", 1));
    sum_again(level.path());
    refused(level.path(), &["statement.toml", "claims level 3", "make none"]);

    let count = fresh();
    edit(count.path(), "statement.toml", |t| t.replacen("pass = ", "pass = 1", 1));
    sum_again(count.path());
    refused(count.path(), &["statement.toml", "its results make"]);

    let chip = fresh();
    edit(chip.path(), "statement.toml", |t| t.replacen("[chip]\nname = \"", "[chip]\nname = \"Better ", 1));
    sum_again(chip.path());
    refused(chip.path(), &["statement.toml", "Better"]);

    let page = fresh();
    edit(page.path(), "report.html", |t| t.replacen("passed", "excelled", 1));
    sum_again(page.path());
    refused(page.path(), &["report.html", "not what the results make"]);

    let twice = fresh();
    edit(twice.path(), "results.jsonl", |t| format!("{}\n{t}", t.lines().next().unwrap()));
    sum_again(twice.path());
    refused(twice.path(), &["results.jsonl", "twice"]);

    let lists = fresh();
    edit(lists.path(), "statement.toml", |t| t.replacen("lists = \"", "lists = \"0", 1));
    sum_again(lists.path());
    refused(lists.path(), &["statement.toml", "lists"]);

    // A filter that leaves the failure out does not turn a part into all.
    let all = fresh();
    edit(all.path(), "statement.toml", |t| t.replacen(&format!("filter = \"{FILTER}\"\n"), "", 1));
    sum_again(all.path());
    refused(all.path(), &["results.jsonl", "no result"]);
}

/// The page's text, slashes as they are read.
fn page(folder: &Path) -> String {
    fs::read_to_string(folder.join("report.html")).unwrap().replace("&#x2f;", "/")
}

/// A failure counts whatever the statement says, and a waiver caps the level.
#[test]
fn results_make_the_level() {
    // A soak lasts for as long as was asked for.
    let seconds = |soaks: bool| if soaks { asked(None).soak as f64 } else { 0.001 };
    let mut outcomes: Vec<_> =
        cases::all().iter().map(|c| run::Outcome::ended(c, Verdict::Pass, None, seconds(c.soaks))).collect();
    assert_eq!(outcomes.len(), levels::listed().len());
    let facts = report().facts.clone();
    let make = |outcomes: &[run::Outcome], waivers: &str| {
        Report::new(asked(None), facts.clone(), outcomes.to_vec(), Waivers::read(waivers).unwrap()).unwrap().0
    };
    let top = levels::listed().iter().map(|l| l.level).max();
    let good = make(&outcomes, "");
    assert_eq!(good.statement.level, top);
    verify(written(&good).path(), None).unwrap();
    outcomes.sort_by(|a, b| a.id.cmp(&b.id));
    let core = outcomes.iter().position(|o| o.id.starts_with("core/")).unwrap();
    outcomes[core].verdict = Verdict::Fail;
    outcomes[core].why = Some("element [0] is 1, expected 2".into());
    let bad = make(&outcomes, "");
    assert_eq!(bad.statement.level, Some(0));
    assert!(bad.statement.verdict.contains("level 1 is out of reach: 1 failed"), "{}", bad.statement.verdict);
    let waiver = format!("[[waiver]]\nid = \"{}\"\nreason = \"the driver's bug 17\"\n", outcomes[core].id);
    let waived = make(&outcomes, &waiver);
    assert_eq!(waived.statement.level, Some(0));
    let folder = written(&waived);
    verify(folder.path(), None).unwrap();
    let page = page(folder.path());
    let replay = format!("anychip conform --device cpu --filter {} --seed 0", outcomes[core].id);
    assert!(page.contains(&replay) && page.contains("bug 17"));
    assert!(
        !page.contains("<script") && !page.contains("http://") && !page.contains("https://"),
        "nothing from elsewhere"
    );
    // A pass whose evidence says otherwise.
    outcomes[core].verdict = Verdict::Pass;
    refused(written(&make(&outcomes, "")).path(), &["results.jsonl", "evidence"]);
}

#[test]
fn a_signature_shows_the_author() {
    let pair = minisign::KeyPair::generate_unencrypted_keypair().unwrap();
    let (key, other) = (pair.pk.to_base64(), minisign::KeyPair::generate_unencrypted_keypair().unwrap().pk.to_base64());
    let sign = |folder: &Path| {
        let sums = fs::File::open(folder.join(SUMS)).unwrap();
        let signature = minisign::sign(None, &pair.sk, sums, None, None).unwrap();
        fs::write(folder.join(SIGNATURE), signature.into_string()).unwrap();
    };
    let folder = written(report());
    let folder = folder.path();
    assert!(verify(folder, Some(&key)).unwrap_err().contains("missing"));
    sign(folder);
    assert_eq!(verify(folder, None).unwrap().evidence, Evidence::Unchecked);
    assert_eq!(verify(folder, Some(&key)).unwrap().evidence, Evidence::Signed(key.clone()));
    assert!(verify(folder, Some(&other)).unwrap_err().contains(SIGNATURE));
    // Every line of the sums is signed.
    edit(folder, SUMS, |t| t.lines().rev().map(|l| format!("{l}\n")).collect());
    assert!(verify(folder, Some(&key)).unwrap_err().contains(SIGNATURE));
    // Who says that it will be signed must have signed it, with that key.
    let mut signed = report().clone();
    signed.statement.signer = Some(key.clone());
    let folder = written(&signed);
    let folder = folder.path();
    assert!(verify(folder, None).unwrap_err().contains("missing"));
    assert!(page(folder).contains(&key));
    sign(folder);
    assert_eq!(verify(folder, None).unwrap().evidence, Evidence::Signed(key));
    assert!(verify(folder, Some(&other)).unwrap_err().contains("statement.toml"));
}

/// The matrix of the statements that are kept is the page in the documentation.
#[test]
fn the_support_matrix_is_made_of_statements() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files: Vec<PathBuf> = fs::read_dir(here.join("statements"))
        .unwrap()
        .map(|f| f.unwrap().path())
        .filter(|p| p.extension().is_some_and(|e| e == "toml"))
        .collect();
    files.sort();
    let statements: Vec<_> = files.iter().map(|f| matrix::statement(f).unwrap()).collect();
    let (made, page) = (matrix::page(&statements), here.join("../docs/devices.md"));
    if env::var_os("ANYCHIP_WRITE_DOCS").is_some() {
        fs::write(&page, &made).unwrap();
    }
    assert_eq!(
        fs::read_to_string(&page).unwrap_or_default(),
        made,
        "`ANYCHIP_WRITE_DOCS=1 cargo test -p anychip-conformance --test bundle` writes docs/devices.md anew"
    );
}

/// The page in a real browser: something is to be seen, in light and in dark.
#[test]
fn the_page_is_not_blank_in_a_browser() {
    let required = env::var("ANYCHIP_REQUIRE").is_ok_and(|v| v.split(',').any(|r| r.trim() == "chromium"));
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let Some(browser) = names.into_iter().find(|n| {
        Command::new(n).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|s| s.success())
    }) else {
        assert!(!required, "chromium is required and not installed");
        return eprintln!("SKIPPED: the_page_is_not_blank_in_a_browser: chromium is not installed");
    };
    let folder = written(report());
    let page = format!("file://{}", folder.path().join("report.html").display());
    let mut seen = vec![];
    for dark in [false, true] {
        let work = tempfile::tempdir().unwrap();
        let picture = work.path().join("page.png");
        let mut command = Command::new(browser);
        command.args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--hide-scrollbars",
            "--window-size=1200,2000",
        ]);
        if dark {
            command.arg("--blink-settings=preferredColorScheme=0");
        }
        command.arg(format!("--user-data-dir={}", work.path().join("profile").display()));
        command.arg(format!("--screenshot={}", picture.display())).arg(&page);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let begin = Instant::now();
        while child.try_wait().unwrap().is_none() {
            if begin.elapsed() > Duration::from_secs(90) {
                child.kill().unwrap();
                panic!("{browser} did not take the picture within 90 s");
            }
            thread::sleep(Duration::from_millis(50));
        }
        seen.push(picture_of(&picture));
    }
    for p in &seen {
        assert_eq!((p.width, p.height), (1200, 2000));
        assert!(p.colours > 100, "{} colours: a blank page", p.colours);
        // Green of what passed is there, and most rows show something.
        assert!(p.green > 2000 && p.busy > 600, "{} green points, {} rows that are not of one colour", p.green, p.busy);
    }
    assert!(
        seen[0].brightness > 200.0 && seen[1].brightness < 70.0,
        "light {} and dark {}",
        seen[0].brightness,
        seen[1].brightness
    );
}

struct Picture {
    width: u32,
    height: u32,
    colours: usize,
    green: usize,
    busy: usize,
    brightness: f64,
}

fn picture_of(path: &Path) -> Picture {
    let mut reader = png::Decoder::new(io::BufReader::new(fs::File::open(path).unwrap())).read_info().unwrap();
    let mut bytes = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut bytes).unwrap();
    let step = info.color_type.samples();
    let points: Vec<[u8; 3]> = bytes[..info.buffer_size()].chunks_exact(step).map(|p| [p[0], p[1], p[2]]).collect();
    let rows = points.chunks_exact(info.width as usize);
    Picture {
        width: info.width,
        height: info.height,
        colours: points.iter().collect::<std::collections::HashSet<_>>().len(),
        green: points.iter().filter(|[r, g, b]| *g > r.saturating_add(40) && *g > b.saturating_add(20)).count(),
        busy: rows.filter(|r| r.iter().any(|p| p != &r[0])).count(),
        brightness: points.iter().map(|p| f64::from(p.iter().map(|x| u32::from(*x)).sum::<u32>()) / 3.0).sum::<f64>()
            / points.len() as f64,
    }
}
