//! `junit.xml`: the results for tools that show tests.

use super::Report;
use crate::{case::LEVELS, run::Verdict};
use quick_junit::{NonSuccessKind, Report as Xml, TestCase, TestCaseStatus, TestSuite};
use std::time::Duration;

/// One test suite per area.
pub fn text(report: &Report) -> Result<String, String> {
    let mut xml = Xml::new(format!("anychip conformance of {}", report.statement.chip.name));
    for area in &report.statement.areas {
        let name = format!("{}/{}", LEVELS[area.level as usize % LEVELS.len()], area.area);
        let prefix = format!("{name}/");
        let mut suite = TestSuite::new(name.clone());
        for o in report.outcomes.iter().filter(|o| o.id.starts_with(&prefix)) {
            let why = o.why.clone().unwrap_or_default();
            let mut status = match o.verdict {
                Verdict::Pass => TestCaseStatus::success(),
                Verdict::Unsupported => TestCaseStatus::skipped(),
                Verdict::Fail => TestCaseStatus::non_success(NonSuccessKind::Failure),
                Verdict::Crash | Verdict::Hang => TestCaseStatus::non_success(NonSuccessKind::Error),
            };
            if o.verdict != Verdict::Pass {
                status.set_message(why);
            }
            let mut case = TestCase::new(o.id.clone(), status);
            case.set_classname(name.clone()).set_time(Duration::try_from_secs_f64(o.seconds).unwrap_or_default());
            suite.add_test_case(case);
        }
        xml.add_test_suite(suite);
    }
    xml.to_string().map_err(|e| format!("junit.xml: {e}"))
}
