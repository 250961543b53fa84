//! Drivers that hang or die when they are touched. This test binary is its own probe helper: what kills it there would kill it
//! here, so that a test which ends at all shows that nobody touched them in this process.

mod common;

use anychip_hal::{
    DType, DeviceInfo, Driver, Error, RawDevice, Registry, Result,
    info::TypeSupport,
    probe::{Helper, Installed, Outcome},
};
use common::{Mock, info};
use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// What goes wrong is in the name; `devices`: what goes wrong with each of them.
struct Touchy {
    name: &'static str,
    devices: &'static [&'static str],
    /// `None`: it is of the house.
    installed: Option<Installed>,
}

fn suffer(how: &str) {
    match how {
        "aborts" => std::process::abort(),
        "illegal" => illegal(),
        "exits" => std::process::exit(3),
        "leaves" => std::process::exit(0),
        "asserts" => {
            eprintln!("touchy.c:7: assertion `chip' failed");
            std::process::abort()
        }
        "loops" => loop {
            std::hint::spin_loop();
        },
        _ => {}
    }
}

/// An instruction that the processor does not have.
fn illegal() {
    // SAFETY: it ends the process, and is called where that is wanted.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        std::arch::asm!("ud2")
    }
    #[cfg(target_arch = "aarch64")]
    unsafe {
        std::arch::asm!("udf #0")
    }
}

const CAN_BE_ILLEGAL: bool = cfg!(any(target_arch = "x86_64", target_arch = "aarch64"));

/// What the interpreter of these tests computes with: all but small floats.
fn able() -> DeviceInfo {
    let mut i = info();
    for small in [DType::F16, DType::BF16] {
        i.types.insert(small, TypeSupport::STORAGE);
    }
    i
}

impl Driver for Touchy {
    fn name(&self) -> &str {
        self.name
    }
    fn devices(&self) -> Result<Vec<Result<DeviceInfo>>> {
        suffer(self.name);
        if self.name == "missing" {
            return Err(Error::NoDriver { backend: "missing".into(), why: "libmissing.so.1 is not installed".into() });
        }
        Ok((0..self.devices.len())
            .map(|n| {
                let mut i = able();
                i.id = format!("{}:{n}", self.name);
                i.identity.physical = i.id.clone();
                Ok(i)
            })
            .collect())
    }
    fn open(&self, ordinal: u32) -> Result<Arc<dyn RawDevice>> {
        let Some(how) = self.devices.get(ordinal as usize) else {
            return Err(Error::NoDevice { asked: format!("{}:{ordinal}", self.name), why: "out of range".into() });
        };
        suffer(how);
        let mut i = able();
        i.id = format!("{}:{ordinal}", self.name);
        let device = Mock::new(i);
        device.state().lies = *how == "lies";
        Ok(Arc::new(device))
    }
    fn installed(&self) -> Option<Installed> {
        self.installed.clone()
    }
}

const MIXED: &[&str] = &["aborts", "well", "loops", "lies", "well"];

fn touchy(name: &'static str, installed: Option<Installed>) -> Arc<Touchy> {
    let devices = if name == "mixed" { MIXED } else { &["well"] };
    Arc::new(Touchy { name, devices, installed })
}

/// A registry of drivers, whose records lie below a folder.
fn registry(names: &[&'static str], folder: &Path) -> Registry {
    let mut r = Registry::new();
    names.iter().for_each(|n| r.add(touchy(n, Some(Installed::new()))));
    r.keep_probes_in(folder);
    r
}

/// This binary as a helper, which writes down what it was asked.
fn helper(folder: &Path, seconds: u64) -> Helper {
    let arguments = ["--exact", "--ignored", "--nocapture", "helper_of_the_others"];
    let helper = arguments.into_iter().fold(Helper::this_program().unwrap(), Helper::argument);
    helper.argument(format!("log:{}", log(folder).display())).limit(Duration::from_secs(seconds))
}

fn log(folder: &Path) -> PathBuf {
    folder.join("asked.txt")
}

fn asked(folder: &Path) -> Vec<String> {
    fs::read_to_string(log(folder)).unwrap_or_default().lines().map(str::to_string).collect()
}

#[test]
#[ignore = "run by the other tests, in a process of its own"]
fn helper_of_the_others() {
    let arguments: Vec<String> = std::env::args().collect();
    let Some(at) = arguments.iter().position(|a| a == "probe") else { return };
    let target = &arguments[at + 1];
    let log = arguments.iter().find_map(|a| a.strip_prefix("log:")).expect("where to write");
    writeln!(fs::OpenOptions::new().create(true).append(true).open(log).unwrap(), "{target}").unwrap();
    let names = ["aborts", "illegal", "exits", "leaves", "asserts", "loops", "missing", "mixed", "well"];
    let mut r = Registry::new();
    names.into_iter().for_each(|n| r.add(touchy(n, Some(Installed::new()))));
    println!("anychip-probing is what a driver may say");
    r.answer_probe(target, &mut std::io::stdout()).unwrap();
}

fn why(r: &Registry) -> Vec<(String, String)> {
    r.devices().unavailable.into_iter().map(|u| (u.backend, u.why)).collect()
}

fn ids(r: &Registry) -> Vec<String> {
    r.devices().devices.into_iter().map(|d| d.id).collect()
}

#[test]
fn a_driver_that_dies_is_a_line_with_a_reason() {
    let folder = tempfile::tempdir().unwrap();
    let mut names = vec!["aborts", "exits", "leaves", "asserts", "missing", "well"];
    if CAN_BE_ILLEGAL {
        names.push("illegal");
    }
    let mut r = registry(&names, folder.path());
    r.probe_with(helper(folder.path(), 60));
    let said = why(&r);
    let of = |name: &str| said.iter().find(|(n, _)| n == name).map(|(_, why)| why.as_str()).unwrap_or_default();
    assert_eq!(ids(&r), ["well:0"]);
    assert_eq!(of("missing"), "libmissing.so.1 is not installed", "what the driver says itself");
    assert_eq!(of("exits"), "probing it ended with exit code 3; `anychip devices --probe` tries again");
    assert!(of("leaves").contains("exit code 0 (before it had an answer)"), "{}", of("leaves"));
    if cfg!(unix) {
        assert_eq!(of("aborts"), "probing it ended with SIGABRT; `anychip devices --probe` tries again");
        assert!(of("asserts").contains("SIGABRT (touchy.c:7: assertion `chip' failed)"), "{}", of("asserts"));
        assert!(!CAN_BE_ILLEGAL || of("illegal").contains("ended with SIGILL"), "{}", of("illegal"));
    }
    // Opening one says the same, and what there is.
    let e = r.open("aborts").unwrap_err();
    assert!(matches!(e, Error::NoDevice { .. }), "{e:?}");
    assert!(e.to_string().contains("aborts: probing it ended with"), "{e}");
    assert!(e.to_string().contains("there are also: well:0"), "{e}");
    assert_eq!(r.open("auto").unwrap()[0].info().id, "well:0");
    assert!(r.open("well:7").unwrap_err().to_string().contains("well has 1 device"));
}

#[test]
fn a_device_that_dies_hangs_or_lies_hides_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let mut r = registry(&["mixed"], folder.path());
    r.probe_with(helper(folder.path(), 4));
    assert_eq!(ids(&r), ["mixed:1", "mixed:4"]);
    let said = why(&r);
    assert_eq!(said.iter().map(|(n, _)| n.as_str()).collect::<Vec<_>>(), ["mixed:0", "mixed:2", "mixed:3"]);
    assert!(said[0].1.starts_with("probing it ended with "), "{said:?}");
    assert!(said[1].1.starts_with("probing it did not end within 4s"), "{said:?}");
    assert!(
        said[2].1.starts_with("it cannot be relied on: in bool, from 1 it makes 0x01 where 0x00 is right"),
        "{said:?}"
    );
    for lost in ["mixed", "mixed:2", "mixed:3", "mixed:1,mixed:0"] {
        assert!(matches!(r.open(lost), Err(Error::NoDevice { .. })), "{lost}");
    }
    assert_eq!(r.open("mixed:1,mixed:4").unwrap().len(), 2);
    assert_eq!(r.open("auto").unwrap()[0].info().id, "mixed:1");
    let told = ["mixed", "mixed:0", "mixed:1", "mixed:2", "mixed:3", "mixed:4"];
    assert_eq!(asked(folder.path()), told, "each once, however often it was asked here");
}

#[test]
fn a_record_is_honoured_by_who_has_no_helper_and_spares_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let names = ["aborts", "well"];
    let mut first = registry(&names, folder.path());
    first.probe_with(helper(folder.path(), 60));
    let (listed, said) = (ids(&first), why(&first));
    let told = asked(folder.path());
    assert_eq!(told, ["aborts", "well", "well:0"]);
    // The library in another process: it would die here if it did not look.
    let library = registry(&names, folder.path());
    assert_eq!((ids(&library), why(&library)), (listed.clone(), said.clone()));
    let mut next = registry(&names, folder.path());
    next.probe_with(helper(folder.path(), 60));
    assert_eq!((ids(&next), why(&next)), (listed, said));
    assert_eq!(asked(folder.path()), told, "nobody was asked again");
    // Unless that is wanted.
    next.probe_again();
    assert_eq!(ids(&next), ["well:0"]);
    assert_eq!(asked(folder.path()).len(), 2 * told.len());
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::metadata(folder.path().join("probes")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }
}

#[test]
fn another_installation_voids_the_record() {
    let folder = tempfile::tempdir().unwrap();
    let (library, manifests) = (folder.path().join("libtouchy.so"), folder.path().join("icd.d"));
    fs::create_dir(&manifests).unwrap();
    let named = |text: &str| text.lines().next().map(str::to_string);
    let listed = || {
        let mut r = Registry::new();
        let installed = Installed::new().manifests(&manifests, "icd", named).variables(&["ANYCHIP_TEST_TOUCHY_*"]);
        r.add(touchy("well", Some(installed)));
        r.keep_probes_in(folder.path());
        r.probe_with(helper(folder.path(), 60));
        assert_eq!(ids(&r), ["well:0"]);
        asked(folder.path()).len() / 2
    };
    assert_eq!((listed(), listed()), (1, 1));
    fs::write(manifests.join("touchy.icd"), library.to_str().unwrap()).unwrap();
    assert_eq!((listed(), listed()), (2, 2), "a manifest came");
    fs::write(&library, "version 1").unwrap();
    assert_eq!((listed(), listed()), (3, 3), "the library came that it names");
    let file = fs::OpenOptions::new().write(true).open(&library).unwrap();
    file.set_modified(std::time::UNIX_EPOCH + Duration::from_secs(1 << 30)).unwrap();
    assert_eq!((listed(), listed()), (4, 4), "the library is another of the same size");
    // SAFETY: no other test of this binary reads this variable.
    unsafe { std::env::set_var("ANYCHIP_TEST_TOUCHY_MODE", "slow") };
    assert_eq!((listed(), listed()), (5, 5), "a variable was set");
    unsafe { std::env::remove_var("ANYCHIP_TEST_TOUCHY_MODE") };
    assert_eq!(listed(), 5, "all is as it was before");
}

#[test]
fn damaged_and_foreign_records_are_ignored_and_rewritten() {
    let folder = tempfile::tempdir().unwrap();
    let listed = |name: &'static str| {
        let mut r = registry(&[name], folder.path());
        r.probe_with(helper(folder.path(), 60));
        (ids(&r).len(), asked(folder.path()).len())
    };
    let entries = || {
        let list = fs::read_dir(folder.path().join("probes")).unwrap().map(|e| e.unwrap().path());
        list.collect::<Vec<_>>()
    };
    assert_eq!(listed("aborts"), (0, 1));
    let [died] = &entries()[..] else { panic!("one record") };
    let whole = fs::read(died).unwrap();
    let mut flipped = whole.clone();
    // Somebody turns the verdict round.
    let at = whole.len() - whole.iter().rev().position(|&b| b == b'a').unwrap() - 1;
    flipped[at] ^= 1;
    let mut told = 1;
    for damaged in [&whole[..0], &whole[..whole.len() / 2], &whole[..whole.len() - 1], &flipped, b"not a record at all"]
    {
        fs::write(died, damaged).unwrap();
        told += 1;
        assert_eq!(listed("aborts"), (0, told), "it is asked again");
        assert_eq!(fs::read(died).unwrap(), whole, "and written again");
    }
    // What belongs to another driver, under this one's name.
    assert_eq!(listed("well"), (1, told + 2));
    let well = entries().into_iter().find(|e| e != died).unwrap();
    fs::copy(&well, died).unwrap();
    assert_eq!(listed("aborts"), (0, told + 3));
    fs::copy(died, &well).unwrap();
    assert_eq!(listed("well"), (1, told + 5));
    // A folder where the folder cannot be: nothing is kept, everything goes on.
    let nowhere = folder.path().join("asked.txt");
    let mut r = registry(&["aborts", "well"], &nowhere);
    r.probe_with(helper(folder.path(), 60));
    assert_eq!(ids(&r), ["well:0"]);
}

#[test]
fn no_record_hides_a_driver_of_the_house() {
    let folder = tempfile::tempdir().unwrap();
    let mut r = registry(&["aborts"], folder.path());
    r.probe_with(helper(folder.path(), 60));
    assert!(ids(&r).is_empty());
    // The same name, with nothing of others in it: it is not even asked about.
    struct House;
    impl Driver for House {
        fn name(&self) -> &str {
            "aborts"
        }
        fn devices(&self) -> Result<Vec<Result<DeviceInfo>>> {
            Ok(vec![Ok(info())])
        }
        fn open(&self, _: u32) -> Result<Arc<dyn RawDevice>> {
            Ok(Arc::new(Mock::new(info())))
        }
        fn installed(&self) -> Option<Installed> {
            None
        }
    }
    r.add(Arc::new(House));
    let told = asked(folder.path());
    assert_eq!(ids(&r), ["mock:0"]);
    assert_eq!(r.open("aborts").unwrap().len(), 1);
    assert_eq!(asked(folder.path()), told);
}

#[test]
fn a_helper_that_does_not_help_is_told_from_a_driver_that_dies() {
    let folder = tempfile::tempdir().unwrap();
    let mut r = registry(&["well"], folder.path());
    r.probe_with(Helper::new(folder.path().join("not there")));
    let said = why(&r);
    assert!(said[0].1.contains("not there cannot be run: ") && said[0].1.contains("ANYCHIP_PROBE=off"), "{said:?}");
    // A program that knows nothing of probing.
    r.probe_with(Helper::this_program().unwrap().argument("--list").limit(Duration::from_secs(60)));
    assert!(why(&r)[0].1.contains("ended with exit code 0 before it began"), "{:?}", why(&r));
    r.probe_with(Helper::this_program().unwrap().argument("--no-such-option").limit(Duration::from_secs(60)));
    assert!(why(&r)[0].1.contains("before it began"), "{:?}", why(&r));
    assert!(!folder.path().join("probes").exists(), "nothing of that is for the record");
    r.probe_with(helper(folder.path(), 60));
    assert_eq!(ids(&r), ["well:0"]);
}

#[test]
fn outcomes_say_why() {
    assert_eq!(Outcome::Fine.why(), None);
    let hung = Outcome::Hung { limit: Duration::from_millis(2500) };
    assert!(hung.why().unwrap().contains("did not end within 2.5s"));
}
