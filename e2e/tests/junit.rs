//! The program that puts reports together: its answers and exit codes.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::path::Path;
use std::process::Command;

use assert_cmd::assert::{Assert, OutputAssertExt};
use e2e::programs;
use predicates::str::{contains, diff};

const LIST: &str = r#"{"rust-suites": {"matrix": {"testcases": {
    "a": {"filter-match": {"status": "matches"}},
    "b": {"filter-match": {"status": "matches"}}
}}}}"#;

/// The report of a partition that ran one test.
fn part(name: &str, inside: &str) -> String {
    format!(
        r#"<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="openshell" tests="1" failures="0" errors="0" time="1.5">
    <testsuite name="matrix" tests="1" disabled="0" errors="0" failures="0">
        <testcase name="{name}" classname="matrix" time="1.5">{inside}</testcase>
    </testsuite>
</testsuites>
"#
    )
}

/// Runs `junit merge` in a folder with these files.
fn merge(files: &[(&str, &str)], arguments: &[&str]) -> (Assert, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let mut command = Command::new(programs::own("junit", env!("CARGO_BIN_EXE_junit")));
    (command.arg("merge").args(arguments).current_dir(folder.path()).assert(), folder)
}

fn merged(folder: &Path) -> String {
    std::fs::read_to_string(folder.join("out.xml")).unwrap()
}

#[test]
fn two_partitions_are_the_whole_run() {
    let (a, b) = (part("a", "<system-out>1 &lt; 2</system-out>"), part("b", ""));
    let files = [("a.xml", &*a), ("b.xml", &*b), ("list.json", LIST)];
    let (answer, folder) = merge(&files, &["out.xml", "a.xml", "b.xml", "--expect-list", "list.json"]);
    answer.success().stdout(diff("2 passed, 0 failed, 0 skipped\n"));
    let report = merged(folder.path());
    assert!(
        report.contains(r#"<testsuites name="openshell" tests="2" skipped="0" failures="0" errors="0""#),
        "{report}"
    );
    assert!(report.contains(r#"time="3.000""#), "{report}");
    assert!(report.contains("1 &lt; 2"), "{report}");
}

#[test]
fn a_lost_partition_ends_with_1() {
    let files = [("a.xml", &*part("a", "")), ("list.json", LIST)];
    let (answer, _folder) = merge(&files, &["out.xml", "a.xml", "--expect-list", "list.json"]);
    answer.code(1).stdout(diff("in no report: matrix b\n1 passed, 0 failed, 0 skipped\n"));
}

#[test]
fn a_failure_ends_with_1_and_is_named() {
    let failure = r#"<failure message="thread panicked" type="test failure">here</failure>"#;
    let (answer, folder) = merge(&[("a.xml", &*part("a", failure))], &["out.xml", "a.xml"]);
    answer.code(1).stdout(diff("failed: matrix a\n0 passed, 1 failed, 0 skipped\n"));
    assert!(merged(folder.path()).contains("thread panicked"));
}

#[test]
fn what_cannot_be_read_ends_with_2_and_writes_nothing() {
    let good = part("a", "");
    let lost = good.replacen(r#"tests="1""#, r#"tests="2""#, 1);
    let empty = r#"{"rust-suites": {}}"#;
    let files = [
        ("a.xml", &*good),
        ("text", "no report"),
        ("cut.xml", &good[..good.len() / 2]),
        ("lost.xml", &lost),
        ("empty.json", empty),
    ];
    let table: [(&[&str], &str); 7] = [
        (&["out.xml", "a.xml", "missing.xml"], "error: failed to read missing.xml"),
        (&["out.xml", "text"], "error: text is no JUnit report"),
        (&["out.xml", "cut.xml"], "error: cut.xml is no JUnit report"),
        (&["out.xml", "lost.xml"], "error: lost.xml is damaged: it says 2 tests and has 1"),
        (&["out.xml", "a.xml", "--expect-list", "text"], "error: text is no list of nextest"),
        (&["out.xml", "a.xml", "--expect-list", "empty.json"], "error: empty.json has no tests"),
        (&["out.xml"], "<IN>..."),
    ];
    for (arguments, message) in table {
        let (answer, folder) = merge(&files, arguments);
        answer.code(2).stderr(contains(message));
        assert!(!folder.path().join("out.xml").exists(), "{arguments:?}");
    }
}
