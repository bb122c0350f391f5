//! UFW's own files, from typed values: what says which setting a rule stems from.
//!
//! `/etc/default/ufw` is sourced as shell by UFW. So its lines are those of the package's template, and what is replaced in them is
//! one of the words below.

use snapshot::{Snapshot, Ufw, UfwRule};

use super::Left;

/// What its files are to say.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(in super::super) struct UfwFiles {
    /// `/etc/ufw/ufw.conf`.
    pub(in super::super) conf: String,
    /// The keys of `/etc/default/ufw`, with the values that they get.
    pub(in super::super) defaults: Vec<(&'static str, &'static str)>,
    /// The user's rules in `/etc/ufw/user.rules`, where they were read.
    pub(in super::super) rules: Option<String>,
}

/// UFW makes at most this many lines of one rule: ports times protocols, with logging.
const LINES: u32 = 64;

/// The files, where the captured host had UFW.
pub(super) fn files(snapshot: &Snapshot, left: &mut Left) -> Option<UfwFiles> {
    let ufw = snapshot.ufw.as_ref()?;
    let level = ufw.log_level.as_ref();
    let level = level.and_then(|level| one_of(level.as_str(), &["off", "low", "medium", "high", "full"]));
    let enabled = if ufw.enabled { "yes" } else { "no" };
    let conf = format!("ENABLED={enabled}\nLOGLEVEL={}\n", level.unwrap_or("low"));
    Some(UfwFiles { conf, defaults: defaults(ufw, left), rules: ufw.rules.as_deref().map(rules) })
}

fn one_of(text: &str, words: &[&'static str]) -> Option<&'static str> {
    words.iter().copied().find(|word| *word == text)
}

fn defaults(ufw: &Ufw, left: &mut Left) -> Vec<(&'static str, &'static str)> {
    let mut defaults = Vec::new();
    let policies = [
        ("DEFAULT_INPUT_POLICY", &ufw.input),
        ("DEFAULT_OUTPUT_POLICY", &ufw.output),
        ("DEFAULT_FORWARD_POLICY", &ufw.forward),
    ];
    for (key, policy) in policies {
        match policy.as_ref().map(|word| word.as_str()) {
            None => {}
            Some("accept") => defaults.push((key, "\"ACCEPT\"")),
            Some("drop") => defaults.push((key, "\"DROP\"")),
            Some("reject") => defaults.push((key, "\"REJECT\"")),
            Some(_) => left.push(format!("UFW's {key}"), "its value is none of UFW's"),
        }
    }
    for (key, on) in [("IPV6", ufw.ipv6), ("MANAGE_BUILTINS", ufw.manage_builtins)] {
        defaults.extend(on.map(|on| (key, if on { "yes" } else { "no" })));
    }
    defaults
}

/// The rules as comments of UFW's, with as many lines below each as it made. Those of the kernel are made elsewhere, so these let
/// everything go on.
fn rules(rules: &[UfwRule]) -> String {
    let mut text = String::new();
    for rule in rules {
        text.push_str(&rule.tuple());
        text.push('\n');
        for _ in 0..rule.lines.min(LINES) {
            text.push_str("-A ufw-user-input -j RETURN\n");
        }
    }
    text
}

impl UfwFiles {
    /// `/etc/default/ufw`, of the template of the host's own package.
    pub(in super::super) fn default_file(&self, template: &str) -> String {
        let mut text = String::new();
        for line in template.lines() {
            let key = line.split_once('=').map(|(key, _)| key.trim());
            match self.defaults.iter().find(|(own, _)| Some(*own) == key) {
                Some((key, value)) => text.push_str(&format!("{key}={value}\n")),
                None => text.push_str(&format!("{line}\n")),
            }
        }
        text
    }

    /// `/etc/ufw/user.rules`, of the template: between the marks that UFW has for it.
    pub(in super::super) fn rules_file(&self, template: &str) -> Option<String> {
        let (before, after) = template.split_once("### RULES ###\n")?;
        Some(format!("{before}### RULES ###\n\n{}{after}", self.rules.as_ref()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULTS: &str =
        "# a comment\nIPV6=yes\nDEFAULT_INPUT_POLICY=\"DROP\"\nIPT_SYSCTL=/etc/ufw/sysctl.conf\n";

    #[test]
    fn a_value_is_one_of_ours_or_the_templates() {
        let text = r#"{"enabled":true,"input":"reject","output":"touch","forward":null,"ipv6":false,
            "manage_builtins":null,"log_level":"evil","rules":null}"#;
        let ufw: Ufw = serde_json::from_str(text).unwrap();
        let snapshot = Snapshot { ufw: Some(ufw), ..given() };
        let mut left = Left::default();
        let files = files(&snapshot, &mut left).unwrap();
        assert_eq!(files.conf, "ENABLED=yes\nLOGLEVEL=low\n");
        assert_eq!(
            files.default_file(DEFAULTS),
            "# a comment\nIPV6=no\nDEFAULT_INPUT_POLICY=\"REJECT\"\nIPT_SYSCTL=/etc/ufw/sysctl.conf\n"
        );
        assert_eq!(left.0.len(), 1, "{:?}", left.0);
        assert!(files.rules_file("### RULES ###\n\n### END RULES ###\n").is_none());
    }

    #[test]
    fn a_rule_has_its_words_and_as_many_lines_as_it_made() {
        let text = r#"[{"action":"allow","route":false,"protocol":"tcp","to_port":"8080","to":"172.18.0.1/32",
            "from_port":"any","from":"172.18.0.0/16","direction":"in","interface":null,"lines":2}]"#;
        let all: Vec<UfwRule> = serde_json::from_str(text).unwrap();
        let files = UfwFiles { rules: Some(rules(&all)), ..UfwFiles::default() };
        let line = "-A ufw-user-input -j RETURN\n";
        let tuple = "### tuple ### allow tcp 8080 172.18.0.1 any 172.18.0.0/16 in\n";
        assert_eq!(
            files.rules_file("*filter\n### RULES ###\n\n### END RULES ###\nCOMMIT\n").unwrap(),
            format!("*filter\n### RULES ###\n\n{tuple}{line}{line}\n### END RULES ###\nCOMMIT\n")
        );
    }

    fn given() -> Snapshot {
        let file = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/ufw-default-deny.snapshot"));
        snapshot::read(&file[..]).unwrap()
    }
}
