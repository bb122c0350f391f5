//! The page of a run, in a real browser: it is read without scripts, filtered with them, and fits on a phone.
//!
//! Chromium is a program of the machine, and its packages are large: `scripts/test --long` installs them where it may. Without
//! it the test passes with a line that says so (`what_the_page_is_opened_with`).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use e2e::browser::{Browser, driver};
use e2e::programs;
use netns::Namespace;

/// A scenario that is wrong, in a file whose name would be a script.
const WRONG: &str = r#"version = 1
title = "</title><img src=x onerror=alert(1)>"
source = ["derived"]
class = { cause = "ok", route = "bridge_gateway", firewall = "none", lifecycle = "wrong" }
events = [
  { network = {} },
]

[[expect]]
target = "8080=gateway"
verdict = "ok"
oracle = "reached"
"#;

#[test]
fn what_the_page_is_opened_with() {
    match driver() {
        Some(driver) => eprintln!("the page is opened by {}", driver.display()),
        None => eprintln!("skipped: there is no chromedriver here, so the page is not opened in a browser"),
    }
}

#[test]
#[ignore = "hosts and a browser: scripts/test --long"]
fn a_page_is_read_filtered_and_fits_on_a_phone() -> Result<()> {
    let Some(driver) = driver() else {
        eprintln!("skipped: there is no chromedriver here (Debian: chromium chromium-driver)");
        return Ok(());
    };
    let folder = tempfile::tempdir()?;
    let page = run(folder.path())?;
    let pictures =
        std::env::var_os("OPENSHELL_SCREENSHOTS").map_or_else(|| folder.path().to_owned(), PathBuf::from);
    fs::create_dir_all(&pictures)?;
    // Nothing is reached from a new namespace but itself.
    Namespace::create()?.run(|| look(&driver, &page, &pictures))?
}

/// Runs some scenarios, and returns the page.
fn run(folder: &Path) -> Result<PathBuf> {
    let wrong = folder.join("<script>alert(1)<script>.toml");
    fs::write(&wrong, WRONG)?;
    let scenarios = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let of_the_corpus = [
        "firewall/ufw-brev",
        "firewall/reject-tcp-reset",
        "bind/loopback-only",
        "open/both-ports",
        "route/legacy-cluster",
    ];
    let page = folder.join("report.html");
    let oracle = programs::own("oracle", env!("CARGO_BIN_EXE_oracle"));
    let output = Command::new(programs::harness()?)
        .arg("run")
        .args(of_the_corpus.map(|name| scenarios.join(name).with_extension("toml")))
        .arg(&wrong)
        .arg("--probe")
        .arg(programs::probe()?)
        .arg("--oracle")
        .arg(oracle)
        .arg("--results")
        .arg(folder.join("results"))
        .arg("--report")
        .arg(&page)
        .output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.code() == Some(1), "{said}{}", String::from_utf8_lossy(&output.stderr));
    ensure!(said.contains("6 scenarios, "), "{said}");
    Ok(page)
}

fn look(driver: &Path, page: &Path, pictures: &Path) -> Result<()> {
    let browser = Browser::start(driver)?;
    browser.open(page)?;
    let picture = |name: &str| browser.screenshot(&pictures.join(format!("{name}.png")));
    let number = |script: &str| browser.run(script)?.as_i64().context("a number");
    let shown =
        "return [...document.querySelectorAll('details.case')].filter((it) => it.checkVisibility()).length";
    let rows =
        "return [...document.querySelectorAll('tr[data-case]')].filter((it) => it.checkVisibility()).length";

    // Foreign text is text: nothing of it has run, and no element came of it.
    ensure!(number("return document.scripts.length")? == 1 && number("return document.images.length")? == 0);
    let heading = browser.run("return document.querySelector('details.case[open] h3').textContent")?;
    ensure!(heading.as_str().is_some_and(|it| it.contains("<script>alert(1)<script>")), "{heading}");

    // What is wrong is open, and everything else opens by a click.
    ensure!(number(shown)? == 6 && number(rows)? == 6);
    ensure!(number("return document.querySelectorAll('details.case[open]').length")? == 1);
    let find = "return [...document.querySelectorAll('tr a')].find((it) => it.textContent === 'firewall/ufw-brev').hash";
    let brev = browser.run(find)?.as_str().context("the link of firewall/ufw-brev")?.to_owned();
    browser.click(&format!("a[href='{brev}']"))?;
    let stopped = format!(
        "return [...document.querySelectorAll('{brev}[open] .way .stopped .name')].map((it) => it.textContent).join()"
    );
    ensure!(browser.run(&stopped)? == "INPUT,INPUT", "the packet of each port is stopped at the same place");
    picture("desktop-light")?;
    browser.colours("dark")?;
    picture("desktop-dark")?;
    browser.colours("light")?;

    // Search, choose, clear.
    browser.type_into("#search", "Brev machine DENIES")?;
    ensure!(number(shown)? == 1 && number(rows)? == 1, "one scenario has these words");
    browser.click("#filters button")?;
    let all = "return [...document.querySelectorAll('details.case')].length";
    browser.run("return new Promise((done) => setTimeout(done, 50))")?;
    ensure!(number(shown)? == number(all)?);
    browser.click("#result option[value=failure]")?;
    ensure!(number(shown)? == 1);
    ensure!(browser.run("return document.getElementById('shown').textContent")? == "1 of 6 scenarios");
    browser.click("#result option[value='']")?;
    browser.click("#verdict option:last-child")?;
    ensure!(number(shown)? == 1, "one is wrong_service");

    // A phone: nothing is wider than the screen, whatever is open.
    browser.open(page)?;
    browser.size(360, 740)?;
    browser.run("document.querySelectorAll('details').forEach((it) => { it.open = true })")?;
    let narrow = "return Math.min(...[...document.querySelectorAll('p, caption, h3, dd, .fact')].map((it) => it.getBoundingClientRect().width))";
    ensure!(
        number(&format!("return Math.round(({}) - 40)", &narrow["return ".len()..]))? > 0,
        "a text of one letter a line"
    );
    for scheme in ["light", "dark"] {
        browser.colours(scheme)?;
        let wide = browser.run("return [...document.querySelectorAll('body *')].filter((it) => it.getBoundingClientRect().right > innerWidth + 1 && !it.closest('thead')).map((it) => it.outerHTML.slice(0, 200))")?;
        ensure!(wide.as_array().is_some_and(Vec::is_empty), "{wide}");
        ensure!(number("return document.documentElement.scrollWidth")? <= 360);
        browser.run("document.querySelector('h1').scrollIntoView()")?;
        picture(&format!("phone-{scheme}-top"))?;
        browser.run(&format!("document.querySelector('{brev}').scrollIntoView()"))?;
        picture(&format!("phone-{scheme}-case"))?;
        for problem in contrast(&browser)? {
            ensure!(false, "{scheme}: {problem}");
        }
    }
    let complaints = browser.complaints()?;
    ensure!(complaints.is_empty(), "{complaints:?}");

    // Without scripts all of it is there to be read, and the filters, which would do nothing, are not.
    browser.scripts(false)?;
    browser.size(1200, 900)?;
    browser.open(page)?;
    browser.click(&format!("{brev} > summary"))?;
    picture("without-scripts")?;
    browser.scripts(true)?;
    ensure!(browser.run("return document.getElementById('filters').hidden")? == true);
    ensure!(browser.run(&stopped)? == "INPUT,INPUT");
    Ok(())
}

/// Texts that stand out too little from what is behind them (WCAG 2.2, 1.4.3: a ratio of 4.5).
fn contrast(browser: &Browser) -> Result<Vec<String>> {
    let found = browser.run(
        r#"
        const numbers = (colour) => colour.match(/[\d.]+/g).map(Number);
        const light = (colour) => {
          const [r, g, b] = numbers(colour).map((it) => it / 255).map((it) => it <= 0.04045 ? it / 12.92 : ((it + 0.055) / 1.055) ** 2.4);
          return 0.2126 * r + 0.7152 * g + 0.0722 * b;
        };
        const behind = (element) => {
          for (let it = element; it; it = it.parentElement) {
            const colour = getComputedStyle(it).backgroundColor;
            if (numbers(colour)[3] !== 0) return colour;
          }
          return "rgb(255, 255, 255)";
        };
        const found = [];
        for (const element of document.querySelectorAll("body *")) {
          const own = [...element.childNodes].some((it) => it.nodeType === 3 && it.textContent.trim());
          if (!own || !element.checkVisibility() || element.closest("script")) continue;
          const [a, b] = [light(getComputedStyle(element).color), light(behind(element))].sort((x, y) => y - x);
          const ratio = (a + 0.05) / (b + 0.05);
          if (ratio < 4.5) found.push(`${ratio.toFixed(2)}: ${element.outerHTML.slice(0, 120)}`);
        }
        return found.slice(0, 5);
        "#,
    )?;
    let found = found.as_array().context("a list")?.iter();
    Ok(found.map(|it| it.as_str().unwrap_or_default().to_owned()).collect())
}
