//! A headless Chromium, by WebDriver, in a network namespace of its own: nothing that it does leaves the machine.
//!
//! The protocol is HTTP with JSON (<https://www.w3.org/TR/webdriver2/>), and what is needed of it is little.

use std::ffi::OsString;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};

/// How long an answer may take: the browser's start is one of them.
const PATIENCE: Duration = Duration::from_secs(120);

/// The name that WebDriver gives an element's id.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// The driver, as Debian's package `chromium-driver` has it, or where GitHub's runners say.
#[must_use]
pub fn driver() -> Option<PathBuf> {
    let named = std::env::var_os("CHROMEWEBDRIVER").map(|folder| Path::new(&folder).join("chromedriver"));
    let path = std::env::var_os("PATH").unwrap_or_else(|| OsString::from("/usr/bin"));
    let found = std::env::split_paths(&path).map(|folder| folder.join("chromedriver"));
    named.into_iter().chain(found).find(|file| file.is_file())
}

/// A running browser with one page.
#[derive(Debug)]
pub struct Browser {
    driver: Child,
    port: u16,
    session: String,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// Starts it in the calling thread's network namespace.
    ///
    /// # Errors
    /// When the driver or the browser does not start.
    pub fn start(driver: &Path) -> Result<Self> {
        let profile = tempfile::tempdir()?;
        let mut child = Command::new(driver)
            .arg("--port=0")
            .env("HOME", profile.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("start {}", driver.display()))?;
        let stdout = BufReader::new(child.stdout.take().context("the driver's output")?);
        let mut browser = Self { driver: child, port: 0, session: String::new(), _profile: profile };
        for line in stdout.lines() {
            let line = line?;
            if let Some((_, port)) = line.split_once("started successfully on port ") {
                browser.port = port.trim_end_matches('.').parse().context("the driver's port")?;
                break;
            }
        }
        ensure!(browser.port != 0, "the driver ended before it listened");
        let arguments = [
            "--headless=new",
            // Chromium's own sandbox takes another user than root; the namespace is around all of it.
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--no-first-run",
            "--window-size=1200,900",
        ];
        let options = json!({ "args": arguments });
        let capabilities = json!({ "alwaysMatch": { "goog:chromeOptions": options, "goog:loggingPrefs": { "browser": "ALL" } } });
        let begun = browser.call("POST", "/session", &json!({ "capabilities": capabilities }))?;
        browser.session = begun["sessionId"].as_str().context("a session")?.to_owned();
        Ok(browser)
    }

    /// Opens a file.
    ///
    /// # Errors
    /// When the browser does not.
    pub fn open(&self, file: &Path) -> Result<()> {
        self.command("POST", "/url", &json!({ "url": format!("file://{}", file.display()) })).map(drop)
    }

    /// What a piece of JavaScript returns. It runs where the page's own policy does not count.
    ///
    /// # Errors
    /// When it throws.
    pub fn run(&self, script: &str) -> Result<Value> {
        self.command("POST", "/execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// Clicks as a mouse does: on what is visible only.
    ///
    /// # Errors
    /// When there is no such element, or nobody could click it.
    pub fn click(&self, selector: &str) -> Result<()> {
        let element = self.find(selector)?;
        self.command("POST", &format!("/element/{element}/click"), &json!({})).map(drop)
    }

    /// Types into a field, key by key.
    ///
    /// # Errors
    /// When there is no such field.
    pub fn type_into(&self, selector: &str, text: &str) -> Result<()> {
        let element = self.find(selector)?;
        self.command("POST", &format!("/element/{element}/value"), &json!({ "text": text })).map(drop)
    }

    /// The width and the height of the page, as a phone or a desktop has them.
    ///
    /// # Errors
    /// When the browser refuses.
    pub fn size(&self, width: u32, height: u32) -> Result<()> {
        let metrics =
            json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600 });
        self.devtools("Emulation.setDeviceMetricsOverride", &metrics).map(drop)
    }

    /// `light` or `dark`.
    ///
    /// # Errors
    /// When the browser refuses.
    pub fn colours(&self, scheme: &str) -> Result<()> {
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.devtools("Emulation.setEmulatedMedia", &features).map(drop)
    }

    /// Whether the scripts of pages run.
    ///
    /// # Errors
    /// When the browser refuses.
    pub fn scripts(&self, run: bool) -> Result<()> {
        self.devtools("Emulation.setScriptExecutionDisabled", &json!({ "value": !run })).map(drop)
    }

    /// What is visible, as a PNG file in base64, which is how the browser gives it; the file is written by `base64`.
    ///
    /// # Errors
    /// When there is none, or the file cannot be written.
    pub fn screenshot(&self, file: &Path) -> Result<()> {
        let image = self.command("GET", "/screenshot", &Value::Null)?;
        let mut decode = Command::new("base64")
            .arg("-d")
            .stdin(Stdio::piped())
            .stdout(std::fs::File::create(file)?)
            .spawn()?;
        let mut stdin = decode.stdin.take().context("base64's input")?;
        stdin.write_all(image.as_str().context("an image")?.as_bytes())?;
        drop(stdin);
        ensure!(decode.wait()?.success(), "base64 -d failed");
        Ok(())
    }

    /// What pages complained about since it was asked last, such as what a policy has stopped.
    ///
    /// # Errors
    /// When the browser does not say.
    pub fn complaints(&self) -> Result<Vec<String>> {
        let entries = self.command("POST", "/se/log", &json!({ "type": "browser" }))?;
        let entries = entries.as_array().cloned().unwrap_or_default();
        Ok(entries.iter().map(|entry| entry["message"].as_str().unwrap_or_default().to_owned()).collect())
    }

    fn devtools(&self, command: &str, parameters: &Value) -> Result<Value> {
        self.command("POST", "/goog/cdp/execute", &json!({ "cmd": command, "params": parameters }))
    }

    fn find(&self, selector: &str) -> Result<String> {
        let found =
            self.command("POST", "/element", &json!({ "using": "css selector", "value": selector }))?;
        Ok(found[ELEMENT].as_str().with_context(|| format!("no element {selector}"))?.to_owned())
    }

    fn command(&self, method: &str, path: &str, body: &Value) -> Result<Value> {
        self.call(method, &format!("/session/{}{path}", self.session), body)
    }

    fn call(&self, method: &str, path: &str, body: &Value) -> Result<Value> {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        stream.write_all(format!("{head}{body}").as_bytes())?;
        let mut reader = BufReader::new(stream);
        let (mut length, mut line) = (0, String::new());
        while reader.read_line(&mut line)? > 2 {
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse()?;
            }
            line.clear();
        }
        let mut answer = vec![0; length];
        reader.read_exact(&mut answer)?;
        let answer: Value = serde_json::from_slice(&answer)
            .with_context(|| format!("{path}: {}", String::from_utf8_lossy(&answer)))?;
        let value = &answer["value"];
        if let Some(error) = value.get("error").filter(|error| !error.is_null()) {
            bail!("{method} {path}: {error}: {}", value["message"].as_str().unwrap_or_default());
        }
        Ok(value.clone())
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if !self.session.is_empty() {
            // The browser ends with its session.
            let _ = self.call("DELETE", &format!("/session/{}", self.session), &Value::Null);
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
