//! Rules in pieces that the kernel takes: nobody's netlink socket has the large send buffer that root's tools give themselves, and
//! some seven hundred rules fill it ("Message too long", measured at ten thousand).

use serde_json::{Value, json};

/// Rules in one piece.
const MOST: usize = 250;

/// The text of a restore as several, to be fed one after the other, those after the first without a flush.
#[must_use]
pub fn of_restore(text: &str) -> Vec<String> {
    let (mut pieces, mut piece, mut rules) = (Vec::new(), String::new(), 0);
    let mut table = "";
    for line in text.lines() {
        if line.starts_with('*') {
            table = line;
        }
        if line.starts_with('-') {
            rules += 1;
            if rules > MOST {
                piece.push_str("COMMIT\n");
                pieces.push(std::mem::take(&mut piece));
                // Chains that are there are not named again: that would empty them.
                piece.push_str(table);
                piece.push('\n');
                rules = 1;
            }
        }
        piece.push_str(line);
        piece.push('\n');
    }
    pieces.push(piece);
    pieces
}

/// The commands of a document of nft as several documents.
#[must_use]
pub fn of_document(document: &Value) -> Vec<Value> {
    match document["nftables"].as_array() {
        Some(commands) if commands.len() > MOST => {
            commands.chunks(MOST).map(|piece| json!({ "nftables": piece })).collect()
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
        assert_eq!(of_restore(text), [text]);
        let document = json!({"nftables": [{"flush": {"ruleset": null}}]});
        assert_eq!(of_document(&document), [document]);
    }

    #[test]
    fn many_rules_are_whole_tables_each_and_stay_in_order() {
        let rules: String =
            (0..600).map(|number| format!("-A INPUT -m mark --mark {number} -j ACCEPT\n")).collect();
        let text = format!(
            "*raw\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -j ACCEPT\nCOMMIT\n*filter\n:INPUT DROP [0:0]\n{rules}COMMIT\n"
        );
        let pieces = of_restore(&text);
        assert_eq!(pieces.len(), 3);
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
