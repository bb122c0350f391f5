//! Rules in pieces that the kernel takes: nobody's netlink socket has the large send buffer that root's tools give themselves
//! ("Message too long", measured at ten thousand rules).

use serde_json::{Value, json};

/// As many bytes of netlink as a piece may have, as they are estimated: the send buffer is `net.core.wmem_default`, 212992 unless the machine
/// says otherwise.
pub const MOST: usize = 208_000;
/// And where that was too much: for a smaller buffer, or rules that have more to say than all that were measured.
pub const LITTLE: usize = MOST / 8;
/// Commands of nft in one piece.
const MOST_COMMANDS: usize = 250;

/// What one rule takes at most. Measured: 192 bytes for `-j ACCEPT`, 480 with `-s`, `-p` and `-m tcp --dport`, and for an extension
/// that has a structure of its own between 80 (`mark`) and 380 more (`hashlimit`).
fn weight(rule: &str) -> usize {
    let own = rule.matches(" -m tcp ").count() + rule.matches(" -m udp ").count();
    let extensions = rule.matches(" -m ").count().saturating_sub(own);
    200 + 60 * rule.matches(" -").count() + 300 * extensions
}

/// The text of a restore as several, to be fed one after the other, those after the first without a flush.
#[must_use]
pub fn of_restore(text: &str, most: usize) -> Vec<String> {
    let (mut pieces, mut piece, mut bytes) = (Vec::new(), String::new(), 0);
    let mut table = "";
    for line in text.lines() {
        if line.starts_with('*') {
            table = line;
        }
        if line.starts_with('-') {
            let more = weight(line);
            if bytes > 0 && bytes + more > most {
                piece.push_str("COMMIT\n");
                pieces.push(std::mem::take(&mut piece));
                // Chains that are there are not named again: that would empty them.
                piece.push_str(table);
                piece.push('\n');
                bytes = 0;
            }
            bytes += more;
        }
        piece.push_str(line);
        piece.push('\n');
    }
    pieces.push(piece);
    pieces
}

/// What empties the tables of a restore, without `--noflush`.
#[must_use]
pub fn flush_of(text: &str) -> String {
    let tables = text.lines().filter(|line| line.starts_with('*'));
    tables.flat_map(|table| [table, "\nCOMMIT\n"]).collect()
}

/// The commands of a document of nft as several documents.
#[must_use]
pub fn of_document(document: &Value) -> Vec<Value> {
    match document["nftables"].as_array() {
        Some(commands) if commands.len() > MOST_COMMANDS => {
            commands.chunks(MOST_COMMANDS).map(|piece| json!({ "nftables": piece })).collect()
        }
        _ => vec![document.clone()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_rules_are_one_piece_as_they_are() {
        let text = "*filter\n:INPUT DROP [0:0]\n-A INPUT -j ACCEPT\nCOMMIT\n";
        assert_eq!(of_restore(text, MOST), [text]);
        assert_eq!(flush_of(text), "*filter\nCOMMIT\n");
        let document = json!({"nftables": [{"flush": {"ruleset": null}}]});
        assert_eq!(of_document(&document), [document]);
    }

    #[test]
    fn many_rules_are_whole_tables_each_and_stay_in_order() {
        let rules: String =
            (0..400).map(|number| format!("-A INPUT -m mark --mark {number} -j ACCEPT\n")).collect();
        let text = format!(
            "*raw\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -j ACCEPT\nCOMMIT\n*filter\n:INPUT DROP [0:0]\n{rules}COMMIT\n"
        );
        let pieces = of_restore(&text, MOST);
        assert_eq!(pieces.len(), 2);
        assert!(of_restore(&text, LITTLE).len() > 10);
        assert_eq!(flush_of(&text), "*raw\nCOMMIT\n*filter\nCOMMIT\n");
        assert!(pieces.iter().all(|piece| piece.ends_with("COMMIT\n")));
        assert!(pieces[1].starts_with("*filter\n-A INPUT"), "{}", &pieces[1][..40]);
        let again: Vec<&str> = pieces
            .iter()
            .flat_map(|piece| piece.lines())
            .filter(|line| line.starts_with("-A INPUT"))
            .collect();
        assert_eq!(again, rules.lines().collect::<Vec<_>>());
        let document = json!({"nftables": (0..600).collect::<Vec<_>>()});
        let lengths: Vec<_> =
            of_document(&document).iter().map(|it| it["nftables"].as_array().unwrap().len()).collect();
        assert_eq!(lengths, [250, 250, 100]);
    }
}
