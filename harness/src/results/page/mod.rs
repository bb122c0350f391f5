//! The page of a run: one HTML file that needs nothing else, and no script to be read.
//!
//! Everything that comes from outside goes through [`html::text`]. The page may load nothing and run nothing but the one script
//! and the one style sheet in it, by their digests: what would slip through is inert.

mod case;
mod html;
mod overview;
mod picture;

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

use super::{Results, Status};
use html::{base64, text};

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// The whole page.
pub(super) fn page(results: &Results) -> String {
    let (style, script) = (digest(STYLE), digest(SCRIPT));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{style}'; script-src 'sha256-{script}'; base-uri 'none'; form-action 'none'"
    );
    let wrong = results.scenarios.iter().filter(|one| one.status.is_failure()).count();
    let title = match wrong {
        0 => format!("{} scenarios as expected", results.scenarios.len()),
        _ => format!("{wrong} of {} scenarios wrong", results.scenarios.len()),
    };
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{policy}\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<meta name=\"referrer\" content=\"no-referrer\">\n\
         <title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
    );
    head(&mut page, results, &title);
    page.push_str("<main>\n");
    overview::filters(&mut page, results);
    overview::table(&mut page, results);
    page.push_str("<section aria-labelledby=\"cases\">\n<h2 id=\"cases\">Cases</h2>\n");
    for (index, scenario) in results.scenarios.iter().enumerate() {
        case::case(&mut page, index, scenario);
    }
    page.push_str("</section>\n</main>\n");
    let _ = write!(
        page,
        "<footer><p>openshell-harness {} (build {})</p></footer>\n<script>{SCRIPT}</script>\n</body>\n</html>\n",
        text(results.version),
        text(results.build_id)
    );
    page
}

fn head(page: &mut String, results: &Results, title: &str) {
    let count = |status| results.scenarios.iter().filter(|one| one.status == status).count();
    let counts = [
        ("as expected", "good", count(Status::Ok)),
        ("wrong", "bad", count(Status::Wrong)),
        ("not run to their end", "bad", count(Status::Error)),
        ("skipped", "none", count(Status::Skipped)),
    ];
    let _ = write!(page, "<header>\n<h1>{}</h1>\n<ul class=\"counts\">\n", text(title));
    for (words, class, count) in counts.iter().filter(|(_, _, count)| *count > 0) {
        let _ = writeln!(page, "<li class=\"{class}\"><b>{count}</b> {words}</li>");
    }
    let expectations: usize = results.scenarios.iter().map(|one| one.targets.len()).sum();
    let _ = write!(
        page,
        "</ul>\n<p>{expectations} expectations, begun <time>{}</time>, {}",
        text(&results.begun),
        html::seconds(results.elapsed_ms)
    );
    for condition in &results.conditions {
        let _ = write!(page, ", {}", text(condition));
    }
    page.push_str("</p>\n</header>\n");
}

/// As a policy names what it allows.
fn digest(text: &str) -> String {
    base64(&Sha256::digest(text.as_bytes()))
}

#[cfg(test)]
mod tests;
