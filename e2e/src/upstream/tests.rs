//! Every version against the known wrong answers, `cases.toml`.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use rstest::rstest;
use serde::Deserialize;

use super::busybox;
use super::observation::{Command, Dial, ECONNREFUSED, EHOSTUNREACH, ImageCache, Outcome, Run, Seen};
use super::route::ALIAS;
use super::{Observation, Probe, Truth};

const GATEWAY: IpAddr = IpAddr::V4(Ipv4Addr::new(172, 18, 0, 1));
const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Cases {
    case: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    id: String,
    #[serde(default = "gateway_port")]
    port: u16,
    #[serde(default)]
    with_alias: Met,
    again: Option<Met>,
    without_alias: Option<Met>,
    #[serde(default)]
    host_loopback: Met,
    #[serde(default)]
    host_gateway: Met,
    inspect: Option<String>,
    info: Option<String>,
    #[serde(default)]
    image: ImageCache,
    truth: String,
    expect: BTreeMap<String, String>,
}

#[derive(Clone, Deserialize)]
#[serde(untagged)]
enum Met {
    Word(String),
    Docker { status: i32, stderr: String },
}

impl Default for Met {
    fn default() -> Self {
        Self::Word("connected".to_owned())
    }
}

fn gateway_port() -> u16 {
    8080
}

impl Met {
    fn dial(&self, address: IpAddr) -> Option<Dial> {
        let Self::Word(word) = self else { panic!("a host runs no docker") };
        let (outcome, elapsed_ms) = match word.as_str() {
            "connected" => (Outcome::Connected, 0),
            "refused" => (Outcome::Errno(ECONNREFUSED), 0),
            "unreachable" => (Outcome::Errno(EHOSTUNREACH), 3_072),
            "no_answer" => (Outcome::NoAnswer, 1_500),
            "none" => return None,
            other => panic!("{other}"),
        };
        Some(Dial { address, outcome, elapsed_ms })
    }

    fn run(&self) -> Option<Run> {
        match self {
            Self::Docker { status, stderr } => {
                Some(Run { command: Command::failed(*status, stderr), seen: None })
            }
            Self::Word(word) if word == "none" => None,
            Self::Word(word) => {
                let resolve_ms = if word == "hung" { 20_000 } else { 1 };
                let named = !matches!(word.as_str(), "hung" | "bad_address");
                let seen = Seen {
                    alias_present: named,
                    addresses: if named { vec![GATEWAY] } else { Vec::new() },
                    resolve_ms,
                    dial: named.then(|| self.dial(GATEWAY)).flatten(),
                };
                Some(Run { command: busybox::nc(ALIAS, &seen), seen: Some(seen) })
            }
        }
    }
}

impl Case {
    fn observation(&self) -> Observation {
        let without_alias = self.without_alias.clone().unwrap_or(Met::Word("bad_address".to_owned()));
        Observation {
            port: self.port,
            network: "openshell-docker".to_owned(),
            inspect: match self.inspect.as_deref() {
                None => Command::said("[{\"Subnet\":\"172.18.0.0/16\",\"Gateway\":\"172.18.0.1\"}]\n"),
                Some("missing") => Command {
                    stdout: "\n".to_owned(),
                    ..Command::failed(1, "Error response from daemon: network openshell-docker not found")
                },
                Some("hung") => Command::hung(),
                Some(list) => Command::said(list),
            },
            info: match self.info.as_deref() {
                None => Command::said("Ubuntu 22.04.4 LTS\n\n"),
                Some("docker_desktop") => Command::said("Docker Desktop\n\n"),
                Some("hung") => Command::hung(),
                Some(other) => panic!("{other}"),
            },
            image: self.image,
            without_alias: without_alias.run(),
            with_alias: self
                .with_alias
                .run()
                .into_iter()
                .chain(self.again.as_ref().and_then(Met::run))
                .collect(),
            host_loopback: self.host_loopback.dial(LOOPBACK).expect("a host dials itself"),
            host_gateway: self.host_gateway.dial(GATEWAY),
        }
    }

    fn truth(&self) -> Truth {
        match self.truth.as_str() {
            "reached" => Truth { reached: true, firewall_at_fault: false },
            "firewall" => Truth { reached: false, firewall_at_fault: true },
            "other" => Truth { reached: false, firewall_at_fault: false },
            other => panic!("{other}"),
        }
    }
}

fn cases() -> Vec<Case> {
    let text = include_str!("cases.toml");
    toml::from_str::<Cases>(text).unwrap_or_else(|error| panic!("cases.toml: {error}")).case
}

#[rstest]
#[case::loopback(Probe::Loopback)]
#[case::gateway_address(Probe::GatewayAddress)]
#[case::v0(Probe::V0)]
#[case::v1(Probe::V1)]
#[case::v2(Probe::V2)]
#[case::v5(Probe::V5)]
fn the_known_answers_of(#[case] probe: Probe) {
    let mut wrong = 0;
    for case in cases() {
        let answer = probe.ask(&case.observation());
        let score = answer.score(case.truth());
        let expected = &case.expect[&probe.to_string().replace(' ', "_")];
        assert_eq!(
            &format!("{} {} {score}", answer.reason, answer.conclusion.effect),
            expected,
            "{}",
            case.id
        );
        wrong += usize::from(score.is_wrong());
    }
    assert!(wrong > 0, "{probe} errs somewhere");
}

/// Upstream's explicit rule: an ended `docker run` is one thing, busybox's own time-out another.
#[test]
fn a_dial_without_an_answer_is_an_exit_code_and_no_killed_command() {
    let case = cases().into_iter().find(|case| case.id.starts_with("ufw")).unwrap();
    let run = &case.observation().with_alias[0];
    assert_eq!(run.command, Command::failed(1, ""));
    assert_eq!(busybox::elapsed_ms(run.seen.as_ref().unwrap()), 5_001);
}

#[test]
fn an_observation_is_the_same_after_json() {
    for case in cases() {
        let seen = case.observation();
        let json = serde_json::to_string(&seen).unwrap();
        assert_eq!(serde_json::from_str::<Observation>(&json).unwrap(), seen, "{}", case.id);
    }
}

/// As a case, or in the head as what cannot be one.
#[test]
fn every_known_wrong_answer_is_here() {
    let text = include_str!("cases.toml");
    let head = text.lines().filter(|line| ["#   F", "#   H", "#   X"].iter().any(|it| line.starts_with(it)));
    let told: Vec<&str> = head.chain(text.lines().filter(|line| line.starts_with("id = "))).collect();
    let words: Vec<&str> =
        told.iter().flat_map(|line| line.split(|it: char| !it.is_ascii_alphanumeric())).collect();
    let known = [("F", 14), ("H", 14), ("X", 5)];
    let ids = known.iter().flat_map(|(kind, last)| (1..=*last).map(move |number| format!("{kind}{number}")));
    let missing: Vec<String> = ids.filter(|id| !words.contains(&id.as_str())).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
