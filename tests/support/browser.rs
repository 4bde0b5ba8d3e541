//! A real browser: headless Chromium, driven through chromedriver.
//!
//! WebDriver is a few JSON requests, so they are made here. A client crate would change features of the tested program,
//! which would differ from the shipped one: `thirtyfour` changes `serde_json` (the order of fields) and tokio-stream,
//! `fantoccini` two crates below `url`; `fantoccini` also adds 23 crates, to save about forty lines.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use base64::prelude::{BASE64_STANDARD, Engine};
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::ports::free_port;
use super::process::{ChildProcess, mentioning, send};
use super::wait::{PATIENCE, wait_until};

/// A browser with one tab and its own profile. Dropping it ends the browser and its driver.
pub(crate) struct Browser {
    /// The WebDriver URL of this tab.
    session: String,
    client: reqwest::Client,
    _driver: ChildProcess,
    profile: TempDir,
}

/// A rectangle of the page, in CSS pixels.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ElementPlace {
    pub(crate) left: f64,
    pub(crate) top: f64,
    pub(crate) width: f64,
    pub(crate) height: f64,
}

impl Browser {
    pub(crate) async fn start() -> Browser {
        Browser::start_with(json!({})).await
    }

    /// A browser with JavaScript switched off.
    pub(crate) async fn start_without_javascript() -> Browser {
        const BLOCKED: u8 = 2;
        Browser::start_with(json!({ "profile.managed_default_content_settings.javascript": BLOCKED })).await
    }

    async fn start_with(preferences: Value) -> Browser {
        // reqwest needs a provider before its first client, even for plain HTTP. An error means that there is one
        // already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().unwrap();
        let profile = tempfile::Builder::new().prefix("browser.").tempdir().unwrap();
        let port = free_port();
        let mut command = Command::new("chromedriver");
        command
            .arg(format!("--port={port}"))
            .current_dir(profile.path())
            // Otherwise Chromium would write into the home directory of the user.
            .env("HOME", profile.path())
            .env("XDG_CONFIG_HOME", profile.path().join("config"))
            .env("XDG_CACHE_HOME", profile.path().join("cache"));
        let mut driver = ChildProcess::start("chromedriver", &mut command, &profile.path().join("driver.log"));
        let driver_url = format!("http://127.0.0.1:{port}");
        wait_until("chromedriver to be ready", PATIENCE, async || {
            assert!(driver.exit_status().is_none(), "chromedriver ended at its start");
            let status: Value = client.get(format!("{driver_url}/status")).send().await.ok()?.json().await.ok()?;
            (status["value"]["ready"] == true).then_some(())
        })
        .await;
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": {
                "binary": browser_program(),
                "args": arguments(profile.path()),
                "prefs": preferences,
            },
        } } });
        let sessions = format!("{driver_url}/session");
        let session = call(&client, Method::POST, &sessions, &wanted).await.expect("the browser starts");
        let session = format!("{sessions}/{}", session["sessionId"].as_str().unwrap());
        Browser { session, client, _driver: driver, profile }
    }

    /// Opens a page and waits until it is loaded.
    pub(crate) async fn goto(&self, url: &str) {
        self.command(Method::POST, "url", json!({ "url": url })).await;
    }

    /// The URL at which the browser is now.
    pub(crate) async fn url(&self) -> String {
        text_of(self.command(Method::GET, "url", Value::Null).await)
    }

    /// The current page as HTML.
    pub(crate) async fn source(&self) -> String {
        text_of(self.command(Method::GET, "source", Value::Null).await)
    }

    /// Replaces the text of an input field, as soon as the field exists.
    pub(crate) async fn fill(&self, css: &str, text: &str) {
        self.with_element(css, Method::POST, "clear", json!({})).await;
        self.with_element(css, Method::POST, "value", json!({ "text": text })).await;
    }

    /// Clicks on an element as soon as it exists and is not covered. If that opens a page, waits until it is loaded.
    pub(crate) async fn click(&self, css: &str) {
        self.with_element(css, Method::POST, "click", json!({})).await;
    }

    /// The visible text of an element, as soon as it exists.
    pub(crate) async fn text(&self, css: &str) -> String {
        text_of(self.with_element(css, Method::GET, "text", Value::Null).await)
    }

    /// Waits until an element contains this text, and returns its whole text.
    pub(crate) async fn wait_for_text(&self, css: &str, text: &str, deadline: Duration) -> String {
        let begun = Instant::now();
        loop {
            let seen = self.try_with_element(css, Method::GET, "text", &Value::Null).await.map(text_of);
            match seen {
                Ok(seen) if seen.contains(text) => return seen,
                _ if begun.elapsed() < deadline => tokio::time::sleep(POLL).await,
                _ => panic!("waited {deadline:?} in vain for {text:?} in {css:?} at {}: {seen:?}", self.url().await),
            }
        }
    }

    /// Waits until the browser's URL contains `part`, and returns the URL.
    pub(crate) async fn wait_for_url(&self, part: &str, deadline: Duration) -> String {
        let begun = Instant::now();
        loop {
            let url = self.url().await;
            if url.contains(part) {
                return url;
            }
            assert!(begun.elapsed() < deadline, "waited {deadline:?} in vain for a URL with {part:?}, still at {url}");
            tokio::time::sleep(POLL).await;
        }
    }

    /// Writes the visible part of the page to a PNG file.
    pub(crate) async fn screenshot(&self, path: &Path) {
        let image = text_of(self.command(Method::GET, "screenshot", Value::Null).await);
        std::fs::write(path, BASE64_STANDARD.decode(image).unwrap()).unwrap();
    }

    /// Writes the visible part of one element to a PNG file.
    pub(crate) async fn picture(&self, css: &str, path: &Path) {
        let image = text_of(self.with_element(css, Method::GET, "screenshot", Value::Null).await);
        std::fs::write(path, BASE64_STANDARD.decode(image).unwrap()).unwrap();
    }

    /// Where an element stands in the page, in CSS pixels.
    pub(crate) async fn place(&self, css: &str) -> ElementPlace {
        let rect = self.with_element(css, Method::GET, "rect", Value::Null).await;
        let read = |name: &str| rect[name].as_f64().unwrap();
        ElementPlace { left: read("x"), top: read("y"), width: read("width"), height: read("height") }
    }

    /// Shows pages as on a screen of this size, in CSS pixels.
    pub(crate) async fn resize(&self, width: u32, height: u32) {
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        let command = json!({ "cmd": "Emulation.setDeviceMetricsOverride", "params": metrics });
        self.command(Method::POST, "goog/cdp/execute", command).await;
    }

    /// Shows pages to a person who prefers dark ones, or light ones.
    pub(crate) async fn prefer_dark(&self, is_dark: bool) {
        let value = if is_dark { "dark" } else { "light" };
        let params = json!({ "features": [{ "name": "prefers-color-scheme", "value": value }] });
        let command = json!({ "cmd": "Emulation.setEmulatedMedia", "params": params });
        self.command(Method::POST, "goog/cdp/execute", command).await;
    }

    /// How many CSS pixels of the page's width are outside of the screen.
    pub(crate) async fn overflow(&self) -> i64 {
        let script = "return document.documentElement.scrollWidth - document.documentElement.clientWidth";
        let body = json!({ "script": script, "args": [] });
        self.command(Method::POST, "execute/sync", body).await.as_i64().unwrap()
    }

    /// The title of the page.
    pub(crate) async fn title(&self) -> String {
        text_of(self.command(Method::GET, "title", Value::Null).await)
    }

    /// Closes the browser cleanly. Dropping it also closes it, but less gently.
    pub(crate) async fn quit(self) {
        let _ = call(&self.client, Method::DELETE, &self.session, &Value::Null).await;
    }

    async fn command(&self, method: Method, path: &str, body: Value) -> Value {
        let url = format!("{}/{path}", self.session);
        call(&self.client, method, &url, &body).await.unwrap_or_else(|e| panic!("the browser refused {path}: {e}"))
    }

    /// Waits until the element exists and the request succeeds: the element may be moving or being replaced.
    async fn with_element(&self, css: &str, method: Method, path: &str, body: Value) -> Value {
        let begun = Instant::now();
        loop {
            match self.try_with_element(css, method.clone(), path, &body).await {
                Ok(value) => return value,
                Err(e) if begun.elapsed() > ELEMENT_PATIENCE => {
                    panic!("no {path} of {css:?} at {}: {e}", self.url().await)
                }
                Err(_) => tokio::time::sleep(POLL).await,
            }
        }
    }

    async fn try_with_element(&self, css: &str, method: Method, path: &str, body: &Value) -> Result<Value, String> {
        let selector = json!({ "using": "css selector", "value": css });
        let element = call(&self.client, Method::POST, &format!("{}/element", self.session), &selector).await?;
        let id = element[ELEMENT].as_str().ok_or("an element without an id")?;
        call(&self.client, method, &format!("{}/element/{id}/{path}", self.session), body).await
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Chromium outlives its driver. All its processes have the profile on their command line, and no others do.
        let begun = Instant::now();
        loop {
            let left = mentioning(self.profile.path());
            if left.is_empty() || begun.elapsed() > Duration::from_secs(5) {
                break;
            }
            send("KILL", &left);
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

const POLL: Duration = Duration::from_millis(50);
const ELEMENT_PATIENCE: Duration = Duration::from_secs(10);

/// The name under which WebDriver sends an element's id (W3C WebDriver, section 12).
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// One WebDriver request: the `value` of the response, or the driver's error text.
async fn call(client: &reqwest::Client, method: Method, url: &str, body: &Value) -> Result<Value, String> {
    let mut request = client.request(method, url);
    if !body.is_null() {
        request = request.json(body);
    }
    let response = request.send().await.map_err(|e| format!("chromedriver did not answer: {e}"))?;
    let failed = !response.status().is_success();
    let mut answer: Value = response.json().await.map_err(|e| format!("chromedriver sent no JSON: {e}"))?;
    if failed {
        return Err(format!("{}: {}", answer["value"]["error"], answer["value"]["message"]));
    }
    Ok(answer["value"].take())
}

fn text_of(value: Value) -> String {
    value.as_str().expect("WebDriver answers with a text").to_owned()
}

/// The name in Debian and Ubuntu, then Google's.
fn browser_program() -> String {
    let path = std::env::var_os("PATH").unwrap_or_default();
    ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"]
        .iter()
        .flat_map(|name| std::env::split_paths(&path).map(move |folder| folder.join(name)))
        .find(|program| program.is_file())
        .expect("a Chromium is installed: run the tests through tests/run")
        .to_string_lossy()
        .into_owned()
}

fn arguments(profile: &Path) -> Vec<String> {
    let fixed = [
        "--headless=new",
        "--no-sandbox", // which needs rights that root in a container has not; the pages are our own
        "--disable-gpu",
        "--disable-dev-shm-usage", // containers have little of it
        "--disable-quic",
        "--no-first-run",
        "--no-default-browser-check",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--disable-crash-reporter",
        "--no-proxy-server",
        // Every other host does not exist: a test talks to this machine only.
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
        "--window-size=1000,1400",
        "--lang=en",
    ];
    let mut arguments: Vec<String> = fixed.iter().map(|&argument| argument.to_owned()).collect();
    arguments.push(format!("--user-data-dir={}", profile.join("profile").display()));
    arguments
}

#[cfg(test)]
mod tests {
    use poem::listener::TcpAcceptor;
    use poem::web::{Form, Html};
    use poem::{Route, Server, get, handler};

    use super::*;

    #[derive(serde::Deserialize)]
    struct Greeting {
        name: String,
    }

    #[handler]
    fn show_page() -> Html<&'static str> {
        Html(
            "<title>A page</title><h1>Who are you?</h1>\
             <p id=script>no script ran</p>\
             <script>setTimeout(() => document.getElementById('script').textContent = 'a script ran', 200)</script>\
             <form method=post><input name=name value=nobody><button>Go</button></form>",
        )
    }

    #[handler]
    fn greet(Form(greeting): Form<Greeting>) -> Html<String> {
        Html(format!("<h1>Salom, {}!</h1>", greeting.name))
    }

    /// Serves the page until the test ends, and returns its URL.
    fn serve() -> String {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let acceptor = TcpAcceptor::from_std(listener).unwrap();
        tokio::spawn(Server::new_with_acceptor(acceptor).run(Route::new().at("/", get(show_page).post(greet))));
        url
    }

    #[tokio::test]
    async fn a_form_can_be_filled_and_sent_as_a_person_would() {
        let url = serve();
        let browser = Browser::start().await;
        let picture = tempfile::NamedTempFile::new().unwrap();

        browser.goto(&url).await;
        browser.wait_for_text("#script", "a script ran", PATIENCE).await;
        browser.fill("input[name=name]", "Oʻtkir").await;
        browser.click("button").await;

        assert_eq!(browser.wait_for_text("h1", "Salom", PATIENCE).await, "Salom, Oʻtkir!");
        assert_eq!(browser.url().await, url);
        browser.screenshot(picture.path()).await;
        assert!(std::fs::read(picture.path()).unwrap().starts_with(b"\x89PNG"));
    }

    #[tokio::test]
    async fn a_browser_without_javascript_still_sends_forms() {
        let url = serve();
        let browser = Browser::start_without_javascript().await;

        browser.goto(&url).await;
        tokio::time::sleep(Duration::from_millis(400)).await; // twice what the script would have taken
        assert_eq!(browser.text("#script").await, "no script ran");
        browser.click("button").await;

        browser.wait_for_text("h1", "Salom, nobody!", PATIENCE).await;
    }

    #[tokio::test]
    async fn a_dropped_browser_leaves_no_process_behind() {
        let browser = Browser::start().await;
        let profile = browser.profile.path().to_owned();
        assert!(mentioning(&profile).len() > 1);

        drop(browser);

        assert_eq!(mentioning(&profile), Vec::<u32>::new());
        assert!(!profile.exists());
    }
}
