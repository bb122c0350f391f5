use std::time::Duration;

use quick_junit::NonSuccessKind::{Error, Failure};

use super::*;

fn passed() -> TestCaseStatus {
    TestCaseStatus::success()
}

/// A report of `suite::name` and how it ended, as a partition writes it.
fn report(seconds: u64, cases: &[(&str, &str, TestCaseStatus)]) -> Report {
    let mut report = Report::new("openshell");
    report.set_time(Duration::from_secs(seconds));
    for (suite, name, status) in cases {
        let mut one = TestSuite::new(*suite);
        one.set_time(Duration::from_secs(1));
        one.add_test_case(TestCase::new(*name, status.clone()));
        report.add_test_suite(one);
    }
    report
}

/// A list of two tests, and one that is ignored.
fn list() -> List {
    let case = |verdict: &str| format!(r#"{{"kind": "test", "ignored": false, "filter-match": {verdict}}}"#);
    let matches = case(r#"{"status": "matches"}"#);
    let ignored = case(r#"{"status": "mismatch", "reason": "ignored"}"#);
    let other = case(r#"{"status": "mismatch", "reason": "expression"}"#);
    List::parse(&format!(
        r#"{{"rust-suites": {{
            "matrix": {{"testcases": {{"a": {matches}, "b": {matches}, "long": {ignored}}}}},
            "other": {{"testcases": {{"a": {other}}}}}
        }}}}"#
    ))
    .unwrap()
}

fn test(suite: &str, name: &str) -> Test {
    Test { suite: suite.to_owned(), name: name.to_owned() }
}

#[test]
fn the_sums_are_those_of_all_parts() {
    let skipped = TestCaseStatus::skipped();
    let one = report(3, &[("matrix", "a", passed()), ("host", "a", TestCaseStatus::non_success(Failure))]);
    let other = report(
        4,
        &[
            ("matrix", "b", TestCaseStatus::non_success(Error)),
            ("matrix", "c", passed()),
            ("host", "b", skipped),
        ],
    );
    let merged = Merged::new(vec![one, other], None);
    let report = &merged.report;
    assert_eq!((report.tests, report.failures, report.errors, report.skipped), (5, 1, 1, 1));
    assert_eq!(report.time, Some(Duration::from_secs(7)));
    assert_eq!(report.name.as_ref().map(|name| name.as_str()), Some("openshell"));
    let suites: Vec<_> = report.test_suites.iter().map(|it| (it.name.as_str(), it.tests, it.time)).collect();
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    assert_eq!(suites, [("matrix", 3, seconds(3)), ("host", 2, seconds(2))]);
    assert_eq!((merged.passed, merged.failed, merged.skipped), (2, 2, 1));
    assert_eq!(merged.problems, [Problem::Failed(test("host", "a")), Problem::Failed(test("matrix", "b"))]);
}

#[test]
fn the_whole_run_has_no_problem() {
    let parts = vec![report(1, &[("matrix", "a", passed())]), report(1, &[("matrix", "b", passed())])];
    let merged = Merged::new(parts, Some(&list()));
    assert_eq!(merged.problems, []);
    assert_eq!((merged.passed, merged.failed, merged.skipped), (2, 0, 1), "the ignored one counts");
}

#[test]
fn a_partition_that_got_lost_is_noticed() {
    let merged = Merged::new(vec![report(1, &[("matrix", "a", passed())])], Some(&list()));
    assert_eq!(merged.problems, [Problem::Missing(test("matrix", "b"))]);
}

#[test]
fn a_test_that_is_skipped_everywhere_is_missing() {
    let parts = vec![report(1, &[("matrix", "a", passed()), ("matrix", "b", TestCaseStatus::skipped())])];
    assert_eq!(Merged::new(parts, Some(&list())).problems, [Problem::Missing(test("matrix", "b"))]);
}

#[test]
fn the_same_test_twice_is_noticed_without_a_list_too() {
    let part = || report(1, &[("matrix", "a", passed())]);
    let merged = Merged::new(vec![part(), part()], None);
    assert_eq!(merged.problems, [Problem::RanTwice(test("matrix", "a"))]);
    // The same name in another program is another test.
    let other = report(1, &[("host", "a", passed())]);
    assert_eq!(Merged::new(vec![part(), other], None).problems, []);
}

#[test]
fn a_report_of_another_run_is_noticed() {
    let parts =
        vec![report(1, &[("matrix", "a", passed()), ("matrix", "b", passed()), ("other", "a", passed())])];
    assert_eq!(Merged::new(parts, Some(&list())).problems, [Problem::NotListed(test("other", "a"))]);
}

#[test]
fn what_another_partition_ran_is_not_skipped() {
    let skipped = || ("matrix", "a", TestCaseStatus::skipped());
    let parts =
        vec![report(1, &[skipped()]), report(1, &[("matrix", "a", passed())]), report(1, &[skipped()])];
    let merged = Merged::new(parts, None);
    assert_eq!((merged.passed, merged.skipped, merged.report.tests), (1, 0, 1));
    assert_eq!(merged.problems, []);
}
