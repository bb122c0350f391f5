//! Rules as text that is the same on every run: what counts, numbers or names by chance is taken out, and so is what no packet to
//! the host itself meets. Pure.

use std::collections::BTreeSet;
use std::fmt::Write;

/// Where the ways of packets to the host and of its answers begin.
const BEGINNINGS: [&str; 3] = ["PREROUTING", "INPUT", "OUTPUT"];

/// The same in a chain of `nft`'s.
const HOOKS: [&str; 4] = ["hook ingress", "hook prerouting", "hook input", "hook output"];

/// What `iptables-save` printed: the tables that do something on that way, without comments and counters.
#[must_use]
pub fn save(text: &str) -> String {
    let mut kept = String::new();
    for table in text.split("COMMIT\n") {
        let lines: Vec<&str> = table.lines().filter(|line| !line.starts_with('#')).collect();
        let met = closure(BEGINNINGS.map(str::to_owned).into(), |chain| {
            lines.iter().filter_map(|line| jump(line, chain)).map(str::to_owned).collect()
        });
        let is_met = |line: &&str| {
            let after = line.strip_prefix("-A ").or_else(|| line.strip_prefix(':'));
            after.is_none_or(|it| met.contains(it.split(' ').next().unwrap_or_default()))
        };
        let body: Vec<&str> = lines.into_iter().filter(is_met).collect();
        if body.iter().any(|line| line.starts_with("-A ") || line.contains(" DROP ")) {
            for line in body {
                let _ = writeln!(kept, "{}", line.split(" [").next().unwrap_or_default());
            }
        }
    }
    kept
}

/// Where a rule of that chain leads to.
fn jump<'text>(line: &'text str, chain: &str) -> Option<&'text str> {
    let mut words = line.strip_prefix("-A ")?.split(' ');
    words.next().filter(|name| *name == chain)?;
    words.skip_while(|word| !["-j", "-g"].contains(word)).nth(1)
}

/// The tables of such a text, as `nft` names them after their family.
#[must_use]
pub fn tables(text: &str) -> Vec<&str> {
    text.lines().filter_map(|line| line.strip_prefix('*')).collect()
}

/// What `nft -s list table` printed, with the chains on that way only.
#[must_use]
pub fn native(text: &str) -> String {
    let mut blocks: Vec<(Option<&str>, Vec<&str>)> = Vec::new();
    for line in text.lines() {
        let chain = line.strip_prefix("\tchain ").and_then(|it| it.split(' ').next());
        if chain.is_some() || line.starts_with("\t}") || blocks.is_empty() {
            blocks.push((chain, Vec::new()));
        }
        if let Some((_, lines)) = blocks.last_mut() {
            lines.push(line);
        }
    }
    let begins = |lines: &[&str]| lines.iter().any(|line| HOOKS.iter().any(|hook| line.contains(hook)));
    let roots = blocks.iter().filter(|(_, lines)| begins(lines)).filter_map(|(chain, _)| *chain);
    let met = closure(roots.map(str::to_owned).collect(), |chain| {
        let own = blocks.iter().filter(|(name, _)| *name == Some(chain)).flat_map(|(_, lines)| lines);
        own.flat_map(|line| targets(line)).collect()
    });
    let mut kept = String::new();
    let mut skipped = false;
    for (chain, lines) in blocks {
        // A chain's end is the beginning of the block after it.
        let lines = if skipped { &lines[1..] } else { &lines[..] };
        skipped = chain.is_some_and(|chain| !met.contains(chain));
        for line in lines.iter().filter(|line| !skipped && !line.is_empty()) {
            let _ = writeln!(kept, "{line}");
        }
    }
    kept
}

/// The chains that a rule leads to, also by a map.
fn targets(line: &str) -> Vec<String> {
    let words: Vec<&str> = line.split([' ', ',', '\t']).filter(|word| !word.is_empty()).collect();
    let after = words.windows(2).filter(|pair| ["jump", "goto"].contains(&pair[0]));
    after.map(|pair| pair[1].to_owned()).collect()
}

fn closure(roots: Vec<String>, next: impl Fn(&str) -> Vec<String>) -> BTreeSet<String> {
    let (mut met, mut open) = (BTreeSet::new(), roots);
    while let Some(chain) = open.pop() {
        if !met.contains(&chain) {
            open.extend(next(&chain));
            met.insert(chain);
        }
    }
    met
}

/// The lines that differ, `-` with the number that they have in the first text, `+` where the second has others; nothing where
/// both are the same.
#[must_use]
pub fn diff(golden: &str, found: &str) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) = (golden.lines().collect(), found.lines().collect());
    // How many lines the rests from (a, b) on have in common, at most.
    let mut common = vec![vec![0_usize; new.len() + 1]; old.len() + 1];
    for a in (0..old.len()).rev() {
        for b in (0..new.len()).rev() {
            let without = common[a + 1][b].max(common[a][b + 1]);
            common[a][b] = if old[a] == new[b] { common[a + 1][b + 1] + 1 } else { without };
        }
    }
    let (mut a, mut b, mut said) = (0, 0, String::new());
    while a < old.len() || b < new.len() {
        if a < old.len() && b < new.len() && old[a] == new[b] {
            (a, b) = (a + 1, b + 1);
        } else if b == new.len() || (a < old.len() && common[a + 1][b] >= common[a][b + 1]) {
            let _ = writeln!(said, "{:>4} - {}", a + 1, old[a]);
            a += 1;
        } else {
            let _ = writeln!(said, "     + {}", new[b]);
            b += 1;
        }
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_save_stays_what_a_packet_to_the_host_meets() {
        let text = "# Generated\n*filter\n:INPUT DROP [5:300]\n:FORWARD DROP [0:0]\n:a - [0:0]\n:b - [0:0]\n\
            :c - [0:0]\n-A INPUT -j a\n-A FORWARD -j c\n-A a -p tcp -g b\n-A b -j DROP\n-A c -j DROP\nCOMMIT\n\
            *nat\n:PREROUTING ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n-A POSTROUTING -j MASQUERADE\nCOMMIT\n";
        let kept = "*filter\n:INPUT DROP\n:a -\n:b -\n-A INPUT -j a\n-A a -p tcp -g b\n-A b -j DROP\n";
        assert_eq!(save(text), kept);
        assert_eq!(tables(text), ["filter", "nat"]);
    }

    #[test]
    fn of_a_native_table_stay_its_sets_and_the_chains_that_are_met() {
        let set = "\tset s {\n\t\ttype ipv4_addr\n\t}\n";
        let met = "\tchain in {\n\t\ttype filter hook input priority filter; policy accept;\n\
            \t\tiifname vmap { \"a\" : goto x, \"b\" : jump y }\n\t}\n\tchain x {\n\t\tdrop\n\t}\n\
            \tchain y {\n\t\tjump z\n\t}\n\tchain z {\n\t}\n";
        let other = "\tchain forward {\n\t\ttype filter hook forward priority filter; policy accept;\n\t}\n";
        let text = |parts: &[&str]| format!("table inet t {{\n{}}}\n", parts.concat());
        assert_eq!(native(&text(&[set, other, "\n", met, other])), text(&[set, met]));
    }

    #[test]
    fn a_diff_has_the_changed_lines_and_nothing_else() {
        assert_eq!(diff("a\nb\nc\n", "a\nx\nc\nd\n"), "   2 - b\n     + x\n     + d\n");
        assert_eq!(diff("a\nb\n", "a\nb\n"), "");
        assert_eq!(diff("", "a\n"), "     + a\n");
    }
}
