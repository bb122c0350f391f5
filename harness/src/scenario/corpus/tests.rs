use std::fs;
use std::path::Path;

use super::*;
use crate::scenario::format::Event;

/// A file of the corpus below, with its cause and what follows the head.
fn text(verdict: &str, head: &str, events: &[&str]) -> String {
    let (cause, judgement) = match verdict {
        "ok" => ("ok", "verdict = \"ok\"\noracle = \"reached\"".to_owned()),
        cause => (cause, format!("verdict = \"tcp_failed\"\ncause = \"{cause}\"\noracle = \"not_reached\"")),
    };
    let events: String = events.iter().map(|event| format!("  {event},\n")).collect();
    format!(
        "version = 1\ntitle = \"a test\"\nsource = [\"derived\"]\n\
         class = {{ cause = \"{cause}\", route = \"bridge_gateway\", firewall = \"none\", lifecycle = \"fresh\" }}\n\
         {head}\nevents = [\n{events}]\n[[expect]]\ntarget = \"8080=gateway\"\n{judgement}\n"
    )
}

fn corpus(files: &[(&str, String)]) -> (tempfile::TempDir, Result<Corpus, CorpusError>) {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap_or(Path::new("/"))).unwrap();
        fs::write(path, text).unwrap();
    }
    let read = Corpus::read(&[folder.path().to_owned()]);
    (folder, read)
}

const NETWORK: &str = "{ network = {} }";
const GATEWAY: &str = "{ gateway = {} }";
const LOOPBACK: &str = "{ gateway = { bind = [\"127.0.0.1\"] } }";
const CONTROL: &str = "control = \"../open/ok.toml\"";

/// An ok file, and one of another class with that head and those events; what is wrong with the two.
#[track_caller]
fn checked(head: &str, events: &[&str]) -> String {
    let files = [
        ("open/ok.toml", text("ok", "", &[NETWORK, GATEWAY])),
        ("bind/wrong.toml", text("wrong_bind", head, events)),
    ];
    let (_folder, corpus) = corpus(&files);
    corpus.unwrap().check().map_or_else(|error| error.to_string(), |()| String::new())
}

#[test]
fn a_control_is_an_ok_file_that_differs_in_one_line() {
    assert_eq!(checked(CONTROL, &[NETWORK, LOOPBACK]), "");
    assert_eq!(checked(CONTROL, &[NETWORK]), "");
    assert!(checked(CONTROL, &[NETWORK, GATEWAY]).contains("in 0 lines, and not in one"));
    assert!(checked(CONTROL, &[LOOPBACK]).contains("in 2 lines, and not in one"));
    assert!(
        checked("control = \"wrong.toml\"", &[NETWORK]).contains("is no scenario in which everything is ok")
    );
    assert!(checked("control = \"missing.toml\"", &[NETWORK]).contains("control \"missing.toml\": "));
}

#[test]
fn a_class_without_any_control_is_named() {
    let without = |head: &str| {
        let files = [
            ("open/ok.toml", text("ok", "", &[NETWORK, GATEWAY])),
            ("bind/one.toml", text("wrong_bind", "beside = \"a reason\"", &[NETWORK, LOOPBACK])),
            ("bind/other.toml", text("wrong_bind", head, &[NETWORK, LOOPBACK])),
        ];
        let (_folder, corpus) = corpus(&files);
        corpus.unwrap().without_control().iter().map(|file| file.name()).collect::<Vec<_>>()
    };
    assert_eq!(without(""), ["bind/one"]);
    assert_eq!(without(CONTROL), Vec::<String>::new(), "one file of the class is enough");
}

#[test]
fn a_second_file_of_a_class_says_why() {
    let wrong = |head: &str| {
        let files =
            [("a/one.toml", text("wrong_bind", "", &[])), ("b/other.toml", text("wrong_bind", head, &[]))];
        let (_folder, corpus) = corpus(&files);
        corpus.unwrap().check().map_or_else(|error| error.to_string(), |()| String::new())
    };
    assert!(wrong("").contains("a/one.toml is of the same class"), "{}", wrong(""));
    assert_eq!(wrong("beside = \"a reason\""), "");
}

/// All that is wrong is said at once.
#[test]
fn every_file_that_is_none_is_named() {
    let files = [("a/one.toml", "version = 1".to_owned()), ("b/other.toml", "x".to_owned())];
    let (_folder, corpus) = corpus(&files);
    let error = corpus.unwrap_err().to_string();
    assert!(error.contains("a/one.toml:1: missing field") && error.contains("b/other.toml:1: "), "{error}");
}

#[test]
fn a_line_that_was_added_removed_or_replaced_is_one_line() {
    let run = |lines: &str| lines.chars().map(|c| Event::Run(c.to_string())).collect::<Vec<_>>();
    let differ = |one: &str, other: &str| edits(&run(one), &run(other));
    assert_eq!(differ("abc", "abc"), 0);
    assert_eq!(differ("abc", "abxc"), 1);
    assert_eq!(differ("abc", "ac"), 1);
    assert_eq!(differ("abc", "axc"), 1);
    assert_eq!(differ("", "a"), 1);
    assert_eq!(differ("abc", "bca"), 2);
    assert_eq!(differ("", "abc"), 3);
}
