//! The packet's way as a picture of at most three lines: where it leads, where it ends, and why.

use crate::explain::{Leg, Station};

/// The most columns of a terminal that nobody has made wider.
const WIDTH: usize = 80;
const INDENT: &str = "  ";

/// The lines, none where the way is not known.
pub(super) fn draw(way: &[Leg]) -> Vec<String> {
    let (out, back): (Vec<&Leg>, Vec<&Leg>) = way.iter().partition(|leg| !leg.answer);
    let mut lines = Vec::new();
    if !out.is_empty() {
        lines.extend(row(String::new(), &out));
    }
    if !back.is_empty() {
        lines.extend(row("answer -> ".to_owned(), &back));
    }
    lines
}

/// The stations of one direction, and below them why it ends there.
fn row(head: String, legs: &[&Leg]) -> Vec<String> {
    let mut line = format!("{INDENT}{head}");
    let mut stop = None;
    for (at, leg) in legs.iter().enumerate() {
        let begin = line.chars().count();
        line.push_str(&name(leg));
        if let Some(why) = &leg.stopped {
            stop = Some((begin, why));
        }
        let last = at + 1 == legs.len();
        line.push_str(match (leg.stopped.is_some(), last) {
            (true, true) => " X",
            (true, false) => " -X  ",
            (false, true) => "",
            (false, false) => " -> ",
        });
    }
    let caption = stop.map(|(column, why)| caption(column, why));
    [Some(cut(line)), caption].into_iter().flatten().collect()
}

/// A mark below the column, and the reason on that side of it where there is room.
fn caption(column: usize, why: &str) -> String {
    let column = column.min(WIDTH - 1);
    let length = why.chars().count();
    if column + 2 + length <= WIDTH {
        format!("{:column$}^ {why}", "")
    } else if length < column {
        format!("{:indent$}{why} ^", "", indent = column - 1 - length)
    } else {
        cut(format!("{INDENT}{why}"))
    }
}

/// The sandbox is one, whatever its address is; the rest has names that are looked for elsewhere.
fn name(leg: &Leg) -> String {
    match leg.station {
        Station::Sandbox => "sandbox".to_owned(),
        _ => leg.name.clone(),
    }
}

fn cut(line: String) -> String {
    if line.chars().count() <= WIDTH {
        return line;
    }
    line.chars().take(WIDTH - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leg(station: Station, name: &str, stopped: Option<&str>) -> Leg {
        Leg { station, name: name.to_owned(), answer: false, stopped: stopped.map(str::to_owned) }
    }

    /// The longest names that there are.
    fn way(at: usize, why: &str) -> Vec<Leg> {
        let stations = [
            (Station::Sandbox, "172.100.100.102"),
            (Station::Bridge, "br-0123456789ab"),
            (Station::Hook, "prerouting"),
            (Station::Hook, "input"),
            (Station::Socket, "172.100.100.101:11435"),
        ];
        let stopped = |index| (index == at).then_some(why);
        stations.iter().enumerate().map(|(index, (kind, name))| leg(*kind, name, stopped(index))).collect()
    }

    #[test]
    fn the_end_of_the_way_is_marked_and_the_reason_is_below_it() {
        let drawn = draw(&way(3, "dropped: ip filter INPUT policy"));
        let lines = [
            "  sandbox -> br-0123456789ab -> prerouting -> input -X  172.100.100.101:11435",
            "                                              ^ dropped: ip filter INPUT policy",
        ];
        assert_eq!(drawn, lines);
        assert_eq!(
            draw(&way(9, "")),
            ["  sandbox -> br-0123456789ab -> prerouting -> input -> 172.100.100.101:11435"]
        );
        let nobody = draw(&way(4, "nothing listens"));
        assert_eq!(
            nobody[0],
            "  sandbox -> br-0123456789ab -> prerouting -> input -> 172.100.100.101:11435 X"
        );
        assert!(nobody[1].ends_with("^ nothing listens"));
    }

    #[test]
    fn the_answers_way_has_a_line_of_its_own() {
        let mut both = way(9, "");
        let back = [
            leg(Station::Hook, "output", Some("dropped: ip filter OUTPUT rule 1")),
            leg(Station::Sandbox, "", None),
        ];
        both.extend(back.map(|leg| Leg { answer: true, ..leg }));
        let drawn = draw(&both);
        assert_eq!(
            drawn[1..],
            ["  answer -> output -X  sandbox", "            ^ dropped: ip filter OUTPUT rule 1"]
        );
    }

    #[test]
    fn no_line_is_wider_than_a_terminal() {
        for (at, why) in (0..6).flat_map(|at| [1, 20, 34, 50, 200].map(|length| (at, "x".repeat(length)))) {
            for line in draw(&way(at, &why)) {
                assert!(line.chars().count() <= WIDTH, "{line}");
            }
        }
        assert_eq!(draw(&[]), Vec::<String>::new());
    }
}
