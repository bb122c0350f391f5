use std::path::Path;

use super::ScenarioFile;

/// A file that is well-formed; each test breaks a line of it.
const GOOD: &str = include_str!("../compare/tests.toml");

#[track_caller]
fn refused(text: &str, place: &str, words: &[&str]) {
    let error = ScenarioFile::parse(Path::new("folder/name.toml"), text).unwrap_err().to_string();
    assert!(error.starts_with(&format!("folder/name.toml:{place}: ")), "{error}");
    for word in words.iter().chain(&["\nhint: docs/scenarios.md"]) {
        assert!(error.contains(word), "{word:?} is not in: {error}");
    }
}

#[track_caller]
fn broken(from: &str, to: &str, place: &str, words: &[&str]) {
    assert_eq!(GOOD.matches(from).count(), 1, "{from:?}");
    refused(&GOOD.replace(from, to), place, words);
}

#[test]
fn a_file_knows_its_places() {
    let file = ScenarioFile::parse(Path::new("folder/name.toml"), GOOD).unwrap();
    assert_eq!(file.name(), "folder/name");
    assert_eq!(file.event_lines, [6, 7, 8, 9]);
    assert_eq!(file.expect_lines, [12, 18]);
    assert!(!file.is_ok());
}

#[test]
fn a_key_that_is_not_known_is_named_with_its_line() {
    broken("lifecycle", "livecycle", "4", &["unknown field `livecycle`", "`lifecycle`"]);
}

#[test]
fn an_unknown_key_of_an_event_is_named_with_its_line() {
    broken("{ gateway = {} }", "{ gateway = { prot = 8080 } }", "7", &["unknown field `prot`", "`port`"]);
    broken("{ gateway = {} }", "{ gatewai = {} }", "7", &["unknown variant `gatewai`", "`gateway`"]);
    broken("\"ufw_brev\"", "\"ufw_on\"", "9", &["unknown variant `ufw_on`", "`ufw_brev`"]);
    broken("{ network = {} }", "{ network = { gateway = \"x\" } }", "6", &["gateway = \"x\""]);
}

#[test]
fn what_is_no_call_of_the_engines_is_refused_with_its_line() {
    let relay = |call: &str, then: &str| format!("{{ relay = {{ call = \"{call}\", then = {then} }} }}");
    for call in ["/info", "get /info", "GET info", "GET /a b", "GET /*/*", " /info"] {
        let words = format!("{call:?} is no call like \"GET /info\"");
        broken("{ gateway = {} }", &relay(call, "\"cut\""), "7", &[&words]);
    }
    broken("{ gateway = {} }", &relay("GET /info", "\"lose\""), "7", &["unknown variant `lose`", "`hang`"]);
    for then in ["\"cut\"", "{ delay_ms = 5 }", "{ fail = \"no\" }", "{ alter = { Labels = [\"a\"] } }"] {
        let text = GOOD.replace("{ gateway = {} }", &relay("POST /containers/*/start", then));
        assert!(ScenarioFile::parse(Path::new("folder/name.toml"), &text).is_ok(), "{then}");
    }
}

#[test]
fn a_word_that_the_probe_does_not_have_is_named_with_its_line() {
    broken("verdict = \"tcp_failed\"", "verdict = \"failed\"", "20", &["unknown variant `failed`"]);
    broken("cause = \"dropped\"\n", "cause = \"lost\"\n", "21", &["unknown variant `lost`", "`dropped`"]);
    broken(
        "at = \"before\"\ntarget = \"8080=gateway\"",
        "at = \"before\"\ntarget = \"0\"",
        "14",
        &["the port must be"],
    );
}

#[test]
fn what_is_no_toml_is_refused_with_its_line() {
    broken("title = ", "title ", "2", &[]);
    refused("version = 1\n", "1", &["missing field `title`"]);
}

#[test]
fn another_version_is_refused() {
    broken("version = 1", "version = 2", "1", &["version 2 is not known", "knows 1"]);
}

#[test]
fn two_events_on_one_line_are_refused() {
    broken("{ network = {} },\n", "{ network = {} },", "6", &["one event a line"]);
}

#[test]
fn expectations_that_no_outcome_fulfils_are_refused() {
    broken("oracle = \"reached\"", "oracle = \"not_reached\"", "12", &["verdict ok and oracle not_reached"]);
    broken("oracle = \"reached\"", "", "12", &["oracle is missing"]);
    broken("cause = \"dropped\"\n", "", "1", &["class.cause \"dropped\" is the cause of no expectation"]);
    broken(
        "oracle = \"reached\"",
        "cause = \"dropped\"\noracle = \"reached\"",
        "12",
        &["ok never has a cause"],
    );
    let both = "oracle = \"not_reached\"\nremedy = { none = true, lacks = [\"x\"] }";
    broken("oracle = \"not_reached\"", both, "18", &["none = true"]);
}

#[test]
fn an_expectation_belongs_to_a_check() {
    broken("at = \"before\"", "at = \"after\"", "12", &["there is no such check event"]);
    broken("at = \"before\"\n", "", "12", &["two expectations of one check are about port 8080"]);
    let check = "{ posture = \"ufw_brev\" },";
    broken(
        check,
        &format!("{check}\n  {{ check = \"early\" }},"),
        "10",
        &["no [[expect]] has at = \"early\""],
    );
    broken(check, &format!("{check}\n  {{ check = \"before\" }},"), "10", &["two checks \"before\""]);
}

#[test]
fn what_a_persona_cannot_do_is_refused_with_its_line() {
    broken(
        "{ gateway = {} }",
        "{ forwarder = \"absent\" }",
        "7",
        &["needs a persona with a virtual machine"],
    );
    let with_vm = GOOD.replace("events = [", "persona = \"lima\"\nevents = [");
    let gateway = |keys: &str| with_vm.replace("{ gateway = {} }", &format!("{{ gateway = {{ {keys} }} }}"));
    for keys in ["lifecycle = \"reused\"", "mode = \"tls\""] {
        refused(&gateway(keys), "8", &["needs a persona without a virtual machine"]);
    }
    refused(
        &gateway("bind = [\"127.0.0.1\", \"bridge\"]"),
        "8",
        &["bind: the bridge is in the virtual machine"],
    );
    assert!(ScenarioFile::parse(Path::new("folder/name.toml"), &gateway("bind = [\"::1\"]")).is_ok());
}
