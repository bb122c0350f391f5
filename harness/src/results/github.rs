//! Annotations: lines that GitHub's runner shows beside the file and line of what is wrong
//! (<https://docs.github.com/actions/reference/workflow-commands-for-github-actions>).

use super::{ScenarioResult, Status, TargetResult};

/// A line for each thing that is wrong or was skipped; none where all is as expected.
#[must_use]
pub fn annotations(result: &ScenarioResult) -> Vec<String> {
    let kept = result.folder.as_ref().map(|folder| format!("\nresults: {}", folder.display()));
    let kept = kept.unwrap_or_default();
    let line = |level: &str, line: usize, title: &str, message: &str| {
        let file = property(&result.path.to_string_lossy());
        let (title, message) = (property(title), data(message));
        format!("::{level} file={file},line={line},title={title}::{message}")
    };
    let wrong = |target: &&TargetResult| !target.mismatches.is_empty();
    match (result.status, &result.reason) {
        (Status::Ok, _) => Vec::new(),
        (Status::Skipped, reason) => {
            let reason = reason.as_deref().unwrap_or("skipped");
            vec![line("notice", 1, &format!("{} was skipped", result.name), reason)]
        }
        (Status::Error, reason) => {
            let reason = reason.as_deref().unwrap_or("no reason");
            vec![line(
                "error",
                1,
                &format!("{} was not run to its end", result.name),
                &format!("{reason}{kept}"),
            )]
        }
        (Status::Wrong, _) => {
            let of = |target: &TargetResult| {
                let at = target.at.as_ref().map(|at| format!(" at {at}")).unwrap_or_default();
                let title = format!("{}: {} {}{at}", result.name, target.port, target.label);
                line("error", target.line, &title, &format!("{}{kept}", target.mismatches.join("\n")))
            };
            result.targets.iter().filter(wrong).map(of).collect()
        }
    }
}

/// The text after `::`.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// A value between `,` and `::`.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::tests::results;

    #[test]
    fn what_is_wrong_is_one_line_with_its_place() {
        let mut result = results().scenarios.remove(0);
        result.path = "e2e/a,b:c%.toml".into();
        result.folder = Some("results/x".into());
        result.targets[0].mismatches = vec!["50% is\r\nsaid: a, b".to_owned(), "::error::no".to_owned()];
        let lines = annotations(&result);
        let line = result.targets[0].line;
        let title = property(&result.name);
        assert_eq!(
            lines,
            [format!(
                "::error file=e2e/a%2Cb%3Ac%25.toml,line={line},title={title}%3A 8080 gateway::50%25 is%0D%0Asaid: a, b%0A::error::no%0Aresults: results/x"
            )]
        );
    }

    #[test]
    fn a_skip_is_a_notice_and_what_is_well_is_nothing() {
        let mut result = results().scenarios.remove(0);
        result.status = Status::Skipped;
        result.reason = Some("the kernel has no IPv6".to_owned());
        let lines = annotations(&result);
        assert!(lines[0].starts_with("::notice file=") && lines[0].ends_with("::the kernel has no IPv6"));
        result.status = Status::Ok;
        assert!(annotations(&result).is_empty());
        result.status = Status::Error;
        assert!(annotations(&result)[0].contains(" was not run to its end::"));
    }
}
