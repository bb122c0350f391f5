use super::super::score::Effect;
use super::*;

const NC: &str = r#"version = 1
time_limit_s = 15

[[rule]]
exit = 0
answer = "healthy"

[[rule]]
exit = 1
stderr = ["bad address", "could not*resolve"]
answer = "unknown"

[[rule]]
exit = [1, 2]
answer = "firewall"

[[rule]]
answer = "unknown"
"#;

fn map(text: &str) -> Map {
    Map::parse(Path::new("map.toml"), text).unwrap()
}

fn refused(text: &str) -> String {
    Map::parse(Path::new("map.toml"), text).unwrap_err().to_string()
}

fn meaning(map: &Map, code: i32, stdout: &str, stderr: &str) -> Option<Meaning> {
    map.meaning(&Ended { code, stdout: stdout.to_owned(), stderr: stderr.to_owned() })
}

#[test]
fn the_first_rule_that_fits_gives_the_answer() {
    let map = map(NC);
    assert_eq!(map.time_limit(), Duration::from_secs(15));
    assert_eq!(meaning(&map, 0, "", "bad address"), Some(Meaning::Healthy));
    assert_eq!(meaning(&map, 1, "", "nc: Bad Address 'x'"), Some(Meaning::Unknown));
    assert_eq!(meaning(&map, 1, "", "x\nCould not find or resolve it"), Some(Meaning::Unknown));
    assert_eq!(meaning(&map, 1, "bad address", ""), Some(Meaning::Firewall), "the other output");
    assert_eq!(meaning(&map, 1, "", "could not\nresolve"), Some(Meaning::Firewall), "two lines");
    assert_eq!(meaning(&map, 2, "", ""), Some(Meaning::Firewall));
    assert_eq!(meaning(&map, 125, "", ""), Some(Meaning::Unknown));
}

#[test]
fn where_no_rule_fits_there_is_no_answer() {
    let map = map("version = 1\n[[rule]]\nexit = 0\nanswer = \"healthy\"\n");
    assert_eq!(meaning(&map, 1, "", ""), None);
}

#[test]
fn a_pointer_finds_a_value_of_json() {
    let map = map(r#"version = 1
[[rule]]
pointer = "/targets/0/cause"
is = ["dropped", "rejected"]
answer = "firewall"
[[rule]]
pointer = "/ok"
is = true
answer = "healthy"
[[rule]]
pointer = "/code"
is = 3
answer = "unknown"
[[rule]]
pointer = "/error"
answer = "failed"
"#);
    let said = |json: &str| meaning(&map, 0, json, "");
    assert_eq!(said(r#"{"targets": [{"cause": "rejected"}]}"#), Some(Meaning::Firewall));
    assert_eq!(said(r#"{"targets": [{"cause": "other"}], "ok": true}"#), Some(Meaning::Healthy));
    assert_eq!(said(r#"{"ok": "true"}"#), None, "a text is no truth value");
    assert_eq!(said(r#"{"code": 3}"#), Some(Meaning::Unknown));
    assert_eq!(said(r#"{"error": "x"}"#), Some(Meaning::Failed));
    assert_eq!(said(r#"{"error": null}"#), None);
    assert_eq!(said("no JSON"), None);
}

#[test]
fn what_is_no_map_is_refused_with_its_line() {
    for (from, to, place, words) in [
        ("exit = 0", "exitt = 0", 5, "unknown field `exitt`"),
        ("time_limit_s", "time", 2, "unknown field `time`"),
        ("version = 1", "version = 2", 1, "version 2 is not known"),
        ("time_limit_s = 15", "time_limit_s = 0", 2, "up to 600 seconds"),
        ("time_limit_s = 15", "time_limit_s = nan", 2, "up to 600 seconds"),
        ("time_limit_s = 15", "output_limit_kb = 0", 2, "a number from 1 to"),
        ("\"healthy\"", "\"fine\"", 6, "unknown variant `fine`"),
        ("exit = [1, 2]\n", "", 13, "can only be the last one"),
        ("exit = [1, 2]\n", "exit = 1\nis = 3\n", 13, "`is` needs the `pointer`"),
        ("exit = [1, 2]\n", "pointer = \"a\"\n", 13, "begins with /"),
    ] {
        assert!(NC.contains(from), "{from}");
        let error = refused(&NC.replacen(from, to, 1));
        let place = format!("map.toml:{place}: ");
        assert!(error.starts_with(&place) && error.contains(words), "{from} -> {to}: {error}");
        assert!(error.ends_with(HINT), "{error}");
    }
    assert!(refused("version = 1").contains("there is no [[rule]]"));
}

/// What is said in `docs/conform.md` about each meaning.
#[test]
fn a_meaning_has_its_effect() {
    let effect = |meaning: Meaning| {
        let Conclusion { effect, accuses_firewall } = meaning.conclusion();
        (effect, accuses_firewall)
    };
    assert_eq!(effect(Meaning::Healthy), (Effect::Silent, false));
    assert_eq!(effect(Meaning::Firewall), (Effect::Fatal, true));
    assert_eq!(effect(Meaning::Failed), (Effect::Fatal, false));
    assert_eq!(effect(Meaning::Unknown), (Effect::Warn, false));
}
