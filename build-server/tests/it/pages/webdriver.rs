//! A browser by WebDriver: the few commands these tests need, over plain HTTP.

use std::io::BufRead;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use base64::Engine;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// Longer than anything here takes on a loaded machine.
const SOON: Duration = Duration::from_secs(60);
/// Between two looks at a page that is to change by itself.
const LOOK: Duration = Duration::from_millis(20);

/// A driver that ends, with the browser it has started, when this process does: by then the
/// pipe is closed, however it came to that. A browser outlives its driver, so it is found by
/// its profile.
const WATCHED: &str = r#"
chromedriver --port=0 </dev/null &
driver=$!
cat >/dev/null
kill -KILL $driver
for process in /proc/[0-9]*; do
    if tr '\0' '\n' <"$process/cmdline" | grep -qxF -- "--user-data-dir=$PROFILE"; then
        kill -KILL "${process#/proc/}"
    fi
done
rm -rf "$PROFILE"
"#;

/// A headless Chromium with a profile of its own; ends when dropped.
pub struct Browser {
    driver: Child,
    port: u16,
    session: String,
    _profile: tempfile::TempDir,
}

/// What the browser is: absent, or why it is needed.
fn found(program: &str) -> bool {
    let asked = Command::new(program).arg("--version").output();
    asked.is_ok_and(|output| output.status.success())
}

impl Browser {
    /// Starts a browser; `None`, loudly, when there is none on this machine.
    pub async fn start() -> Option<Self> {
        if !found("chromedriver") || !found("chromium") {
            eprintln!("SKIPPED: the pages in a real browser need chromium and chromedriver");
            let in_ci = std::env::var("CI").is_ok_and(|ci| ci == "true");
            assert!(!in_ci, "CI has no chromium and chromedriver");
            return None;
        }
        let profile = tempfile::tempdir().unwrap();
        let mut driver = Command::new("/bin/sh")
            .args(["-c", WATCHED])
            .env("PROFILE", profile.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let port = port(&mut driver);
        let mut browser = Self {
            driver,
            port,
            session: String::new(),
            _profile: profile,
        };
        browser.open_session().await;
        Some(browser)
    }

    async fn open_session(&mut self) {
        let profile = format!("--user-data-dir={}", self._profile.path().display());
        let args = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--hide-scrollbars",
            "--force-device-scale-factor=1",
            &profile,
        ];
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": { "args": args, "binary": binary() },
            "goog:loggingPrefs": { "browser": "ALL" },
        }}});
        let answer = self.call("POST", "/session", Some(wanted)).await;
        self.session = answer["sessionId"].as_str().unwrap().to_owned();
    }

    async fn call(&self, method: &str, path: &str, body: Option<Value>) -> Value {
        let exchange = exchange(self.port, method, path, body);
        let answer = tokio::time::timeout(SOON, exchange).await;
        let value = answer.expect("the driver answers soon")["value"].take();
        assert!(value.get("error").is_none(), "{method} {path}: {value}");
        value
    }

    async fn post(&self, command: &str, body: Value) -> Value {
        let path = format!("/session/{}/{command}", self.session);
        self.call("POST", &path, Some(body)).await
    }

    async fn devtools(&self, command: &str, parameters: Value) {
        let body = json!({ "cmd": command, "params": parameters });
        self.post("goog/cdp/execute", body).await;
    }

    pub async fn open(&self, address: &str) {
        self.post("url", json!({ "url": address })).await;
    }

    /// What an expression says in the page.
    pub async fn ask(&self, expression: &str) -> Value {
        let script = format!("return ({expression});");
        self.post("execute/sync", json!({ "script": script, "args": [] }))
            .await
    }

    /// Waits until an expression is true in the page, which is not loaded again meanwhile.
    pub async fn until(&self, expression: &str) {
        let wait = async {
            while self.ask(expression).await != json!(true) {
                tokio::time::sleep(LOOK).await;
            }
        };
        if tokio::time::timeout(SOON, wait).await.is_err() {
            let text = self.ask("document.body.innerText").await;
            panic!("never true: {expression}; the page says {text}");
        }
    }

    /// Presses keys; `\u{e004}` is Tab, `\u{e007}` Enter.
    pub async fn press(&self, keys: &str) {
        let key = |c: char| {
            [
                json!({ "type": "keyDown", "value": c.to_string() }),
                json!({ "type": "keyUp", "value": c.to_string() }),
            ]
        };
        let actions: Vec<Value> = keys.chars().flat_map(key).collect();
        let keyboard = json!({ "type": "key", "id": "keyboard", "actions": actions });
        self.post("actions", json!({ "actions": [keyboard] })).await;
    }

    pub async fn scripts(&self, on: bool) {
        self.devtools(
            "Emulation.setScriptExecutionDisabled",
            json!({ "value": !on }),
        )
        .await;
    }

    pub async fn dark(&self, on: bool) {
        let value = if on { "dark" } else { "light" };
        let scheme = json!({ "name": "prefers-color-scheme", "value": value });
        self.devtools(
            "Emulation.setEmulatedMedia",
            json!({ "features": [scheme] }),
        )
        .await;
    }

    pub async fn size(&self, width: u32, height: u32, phone: bool) {
        let metrics = json!({
            "width": width, "height": height, "deviceScaleFactor": 1, "mobile": phone,
        });
        self.devtools("Emulation.setDeviceMetricsOverride", metrics)
            .await;
    }

    /// The HTML of the page, also while scripts are off.
    pub async fn source(&self) -> String {
        let path = format!("/session/{}/source", self.session);
        let source = self.call("GET", &path, None).await;
        source.as_str().unwrap().to_owned()
    }

    /// The page as a PNG.
    pub async fn picture(&self) -> Vec<u8> {
        let path = format!("/session/{}/screenshot", self.session);
        let text = self.call("GET", &path, None).await;
        let engine = base64::engine::general_purpose::STANDARD;
        engine.decode(text.as_str().unwrap()).unwrap()
    }

    /// What the browser has complained of since the last question.
    pub async fn complaints(&self) -> Vec<String> {
        let entries = self.post("se/log", json!({ "type": "browser" })).await;
        let entries = entries.as_array().unwrap().iter();
        let severe =
            entries.filter(|entry| entry["level"] == "SEVERE" || entry["level"] == "WARNING");
        severe.map(|entry| entry["message"].to_string()).collect()
    }

    pub async fn stop(self) {
        let path = format!("/session/{}", self.session);
        self.call("DELETE", &path, None).await;
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        drop(self.driver.stdin.take());
        // It ends everything and then itself; an error says that it has ended already.
        let _ = self.driver.wait();
    }
}

fn binary() -> String {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places = std::env::split_paths(&path).map(|dir| dir.join("chromium"));
    let found = places.find(|place| place.is_file());
    found.expect("it was found before").display().to_string()
}

/// The port that the driver chose and prints.
fn port(driver: &mut Child) -> u16 {
    let output = std::io::BufReader::new(driver.stdout.take().unwrap());
    for line in output.lines() {
        let line = line.unwrap();
        if let Some((_, rest)) = line.split_once("started successfully on port ") {
            return rest.trim_end_matches('.').parse().unwrap();
        }
    }
    panic!("chromedriver does not say its port");
}

async fn exchange(port: u16, method: &str, path: &str, body: Option<Value>) -> Value {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let body = body.map(|body| body.to_string()).unwrap_or_default();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        answer.read_line(&mut line).await.unwrap();
        let Some((name, value)) = line.split_once(':') else {
            if line.trim().is_empty() {
                break;
            }
            continue;
        };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().unwrap();
        }
    }
    // The driver leaves the connection open.
    let mut body = vec![0; length];
    answer.read_exact(&mut body).await.unwrap();
    serde_json::from_slice(&body).unwrap()
}
