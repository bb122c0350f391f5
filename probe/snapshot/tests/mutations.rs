//! Random changes of good files: the reader refuses or reads, and what it reads can be judged, shown and written.
//!
//! The seeds are counted, so that a failure can be run again: `OPENSHELL_FUZZ_SEED=N OPENSHELL_FUZZ_CASES=1`. More than in CI
//! with `OPENSHELL_FUZZ_CASES`.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod given;

use std::io::Read as _;

use given::CAPTURES;
use serde_json::{Value, json};

/// Cases of each kind in CI: seconds.
const CASES: u64 = 400;

/// Steele, Lea and Flood's SplitMix64: small, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, most: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(most.max(1)).unwrap()).unwrap()
    }
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().map_or(default, |text| text.parse().expect("a number"))
}

fn seeds() -> impl Iterator<Item = u64> {
    let first = number("OPENSHELL_FUZZ_SEED", 0);
    first..first + number("OPENSHELL_FUZZ_CASES", CASES)
}

fn corpus() -> Vec<Vec<u8>> {
    CAPTURES.iter().map(|capture| std::fs::read(given::committed(capture.name)).unwrap()).collect()
}

fn decompressed(file: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    flate2::read::GzDecoder::new(file).read_to_end(&mut text).unwrap();
    text
}

/// Everything that is done to a snapshot that was read. Whether it could be read.
fn used(read: Result<snapshot::Snapshot, snapshot::ReadError>) -> bool {
    let snapshot = match read {
        Ok(snapshot) => snapshot,
        Err(error) => {
            let said = error.to_string();
            assert!(said.len() < 600 && !said.chars().any(char::is_control), "{said:?}");
            return false;
        }
    };
    for target in &snapshot.check.targets {
        let walk = snapshot.walk(target);
        let _ = walk.map(|walk| (snapshot::Snapshot::agrees(target, &walk), walk.to_string()));
    }
    snapshot::show(&snapshot).unwrap();
    let bytes = snapshot::to_bytes(&snapshot).unwrap();
    assert_eq!(snapshot::read(bytes.as_slice()).unwrap(), snapshot);
    if let Some(rules) = &snapshot.rules {
        for family in [ruleset::Family::Ip, ruleset::Family::Ip6] {
            harmless(&rules.restore_text(family).text);
        }
        harmless(&rules.ipset_text());
        rules.nft_json();
    }
    true
}

/// No word of what would be given to a tool is one that it obeys elsewhere.
fn harmless(text: &str) {
    for line in text.lines() {
        let plain = |c: char| c.is_ascii_graphic() || c == ' ';
        assert!(line.chars().all(plain) && !line.contains(['$', '`', ';', '|', '"', '\'']), "{line:?}");
        assert!(!line.split(' ').any(|word| word == "-M" || word.starts_with("--modprobe")), "{line:?}");
    }
}

#[test]
fn bytes_that_are_changed_in_the_file() {
    let corpus = corpus();
    for seed in seeds() {
        let mut random = Random(seed);
        let mut file = corpus[random.below(corpus.len())].clone();
        for _ in 0..=random.below(4) {
            change(&mut file, &mut random);
        }
        used(snapshot::read(file.as_slice()));
    }
}

#[test]
fn bytes_that_are_changed_in_the_text() {
    let corpus: Vec<_> = corpus().iter().map(|file| decompressed(file)).collect();
    let mut read = 0;
    for seed in seeds() {
        let mut random = Random(seed);
        let mut text = corpus[random.below(corpus.len())].clone();
        for _ in 0..=random.below(4) {
            change(&mut text, &mut random);
        }
        read += u64::from(used(snapshot::read_json(&text)));
    }
    eprintln!("{read} could be read");
}

fn change(bytes: &mut Vec<u8>, random: &mut Random) {
    if bytes.is_empty() {
        return;
    }
    let at = random.below(bytes.len());
    let end = (at + random.below(40)).min(bytes.len());
    match random.below(6) {
        0 => bytes[at] ^= 1 << random.below(8),
        1 => bytes[at] = u8::try_from(random.below(256)).unwrap(),
        2 => drop(bytes.drain(at..end)),
        3 => {
            let part = bytes[at..end].to_vec();
            let to = random.below(bytes.len());
            bytes.splice(to..to, part);
        }
        4 => bytes.truncate(at),
        _ => {
            let digit = bytes[at..].iter().position(u8::is_ascii_digit).map_or(at, |found| at + found);
            bytes[digit] = b'0' + u8::try_from(random.below(10)).unwrap();
        }
    }
}

#[test]
fn values_that_are_changed_in_the_text() {
    let corpus: Vec<Value> =
        corpus().iter().map(|file| serde_json::from_slice(&decompressed(file)).unwrap()).collect();
    let mut read = 0;
    for seed in seeds() {
        let mut random = Random(seed);
        let mut value = corpus[random.below(corpus.len())].clone();
        for _ in 0..=random.below(6) {
            let from = &corpus[random.below(corpus.len())];
            let other = random_value(from, &mut random).clone();
            mutate(&mut value, other, &mut random);
        }
        read += u64::from(used(snapshot::read_json(&serde_json::to_vec(&value).unwrap())));
    }
    // Else nothing behind the reader was tried.
    assert!(number("OPENSHELL_FUZZ_CASES", CASES) < 100 || read > 10, "{read} could be read");
}

/// Some value within.
fn random_value<'a>(value: &'a Value, random: &mut Random) -> &'a Value {
    let mut at = value;
    for _ in 0..random.below(16) {
        at = match at {
            Value::Array(list) if !list.is_empty() => &list[random.below(list.len())],
            Value::Object(object) if !object.is_empty() => {
                object.values().nth(random.below(object.len())).unwrap()
            }
            _ => break,
        };
    }
    at
}

/// Changes some value within: into another, into an extreme one, into nothing, or a list's order and length.
fn mutate(value: &mut Value, other: Value, random: &mut Random) {
    let mut at = value;
    for _ in 0..3 + random.below(14) {
        let inside = match at {
            Value::Array(list) => !list.is_empty(),
            Value::Object(object) => !object.is_empty(),
            _ => false,
        };
        if !inside {
            break;
        }
        at = match at {
            Value::Array(list) => {
                let number = random.below(list.len());
                &mut list[number]
            }
            Value::Object(object) => {
                let number = random.below(object.len());
                object.values_mut().nth(number).unwrap()
            }
            _ => return,
        };
    }
    let extreme = [
        json!(0),
        json!(-1),
        json!(u64::MAX),
        json!(1e300),
        json!("0xffffffffffffffffffffffffffffffff"),
        json!(true),
    ];
    match (random.below(6), &mut *at) {
        (0, Value::Array(list)) if !list.is_empty() => {
            let again = list[random.below(list.len())].clone();
            list.push(again);
        }
        (1, Value::Array(list)) if !list.is_empty() => drop(list.remove(random.below(list.len()))),
        (2, Value::Number(number)) => {
            let more = number.as_u64().unwrap_or(0) ^ (1 << random.below(40));
            *at = json!(more);
        }
        (3, _) => *at = Value::Null,
        (4, _) => *at = extreme[random.below(extreme.len())].clone(),
        _ => *at = other,
    }
}
