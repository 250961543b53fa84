//! A case that kills its process or never ends costs itself and nothing else.

use anychip_conformance::{
    Case, Failure, Subject,
    run::{self, Host, Outcome, Settings, Verdict},
};
use std::{io, process::abort, thread, time::Duration};

/// Cases of this test. What hangs and dies does so where no error can be caught.
fn cases() -> Vec<Case> {
    let case = |id: &str, run: fn() -> Result<(), Failure>| Case::new(id, "x", None, "one", move |_, _, _| run());
    vec![
        case("core/a/good", || Ok(())),
        case("core/b/aborts", || {
            eprintln!("assertion in a driver");
            abort()
        }),
        case("core/c/good", || Ok(())),
        case("core/d/hangs", || {
            loop {
                thread::sleep(Duration::from_secs(1));
            }
        }),
        case("core/e/exits", || std::process::exit(0)),
        case("core/f/panics", || panic!("at the disco")),
        case("core/g/lacks", || Err(Failure::Unsupported("no such unit".into()))),
        case("core/h/good", || {
            // What a driver writes to standard output is no answer.
            print!("garbage without an end");
            Ok(())
        }),
    ]
}

/// Not a test: what the children of the test below run.
#[test]
#[ignore = "the child of another test"]
fn child() {
    run::serve(io::stdin().lock(), &mut io::stdout(), cases(), Subject::open).unwrap();
}

fn host() -> Host {
    ["--ignored", "--exact", "child", "--nocapture"].into_iter().fold(Host::this_program().unwrap(), Host::argument)
}

#[test]
fn every_end_of_a_case_costs_that_case_only() {
    for jobs in [1, 2] {
        let settings = Settings { limit: Duration::from_secs(3), jobs, ..Settings::new("cpu") };
        let mut began = 0;
        let mut all = host()
            .run(&settings, &cases(), &mut |p| began += usize::from(matches!(p, run::Progress::Begins(_))))
            .unwrap();
        all.sort_by(|a, b| a.id.cmp(&b.id));
        let verdicts: Vec<_> = all.iter().map(|o| o.verdict).collect();
        use Verdict::*;
        assert_eq!(verdicts, [Pass, Crash, Pass, Hang, Crash, Fail, Unsupported, Pass], "{all:?}");
        assert_eq!(began, 8);
        let why = |n: usize| all[n].why.clone().unwrap_or_default();
        assert!(why(1).contains("SIGABRT") && why(1).contains("assertion in a driver"), "{}", why(1));
        assert!(why(3).contains("3s"), "{}", why(3));
        assert!(why(5).contains("at the disco") && why(5).contains("run.rs"), "{}", why(5));
        assert!(why(6).contains("no such unit"), "{}", why(6));
    }
}

#[test]
fn what_cannot_begin_is_an_error_and_no_verdict() {
    let run = |host: Host, device: &str, cases: &[Case]| -> Result<Vec<Outcome>, String> {
        host.run(&Settings::new(device), cases, &mut |_| {})
    };
    assert!(run(host(), "cpu", &[]).unwrap_err().contains("no case"));
    let none = run(host(), "toaster:7", &cases()).unwrap_err();
    assert!(none.contains("toaster"), "{none}");
    let gone = run(Host::new("/does/not/exist"), "cpu", &cases()).unwrap_err();
    assert!(gone.contains("cannot be run"), "{gone}");
}

#[test]
fn the_child_says_what_it_runs_on() {
    let (info, environment) = host().inspect(&Settings::new("cpu")).unwrap();
    assert_eq!(info.id, "cpu");
    assert!(!environment.system.is_empty() && !environment.processor.is_empty());
}
