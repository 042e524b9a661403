//! The receivers of notices, with notices as a code host sends them.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use build_core::webhook::sign;

use super::peer::{Answer, LIMIT, Peer, git};

const SECRET: &str = "s3cr3t";

fn start(name: &str, dir: &Path, flag: &str) -> Peer {
    Peer::start(name, 1, |command| {
        command
            .args(["-http", "127.0.0.1:0", flag])
            .arg(dir)
            .env("GITHUB_WEBHOOK_SECRET", SECRET);
    })
}

/// Sends a notice; `more` are lines of its head.
fn notify(peer: &Peer, event: &str, more: &str, body: &str) -> Answer {
    let head = format!("X-GitHub-Event: {event}\r\n{more}");
    peer.ask("POST", "/", &head, body.as_bytes())
}

fn signed(body: &str) -> String {
    format!(
        "Content-Type: application/json\r\nX-Hub-Signature-256: {}\r\n",
        sign(SECRET.as_bytes(), body.as_bytes())
    )
}

#[test]
fn issueswebhook_stores_signed_notices_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let mut peer = start("issueswebhook", dir.path(), "-dir");
    let body = r#"{"action":"opened","issue":{"number":42,"title":"<b>"}}"#;
    let delivery = "X-GitHub-Delivery: 72d3162e-cc78-11e3-81ab-4c9367dc0958\r\n";
    let full = format!("{}{delivery}", signed(body));
    assert_eq!(notify(&peer, "ping", &signed(body), body).text(), "pong");
    let stored = notify(&peer, "issues", &full, body);
    assert_eq!(
        stored.text(),
        "Message ID: 72d3162e-cc78-11e3-81ab-4c9367dc0958\n"
    );
    let file = dir.path().join("72d3162e-cc78-11e3-81ab-4c9367dc0958.json");
    assert_eq!(fs::read_to_string(&file).unwrap(), body, "byte by byte");
    assert_eq!(
        notify(&peer, "issues", &full, body).status,
        200,
        "sent again, it is the same"
    );

    // The known signature of this body, as a form and with the old header.
    let known = r#"{"action":"opened"}"#;
    let old = "Content-Type: application/json\r\nX-Hub-Signature: sha1=94db619669011d2443ad27bfb1880ef60a756f97\r\n\
        X-GitHub-Delivery: old\r\n";
    assert_eq!(notify(&peer, "issues", old, known).status, 200);
    let form = "payload=%7B%22a%22%3A1%7D";
    let of_form = format!(
        "Content-Type: application/x-www-form-urlencoded\r\nX-Hub-Signature-256: {}\r\nX-GitHub-Delivery: form\r\n",
        sign(SECRET.as_bytes(), form.as_bytes())
    );
    assert_eq!(notify(&peer, "issues", &of_form, form).status, 200);
    assert_eq!(
        fs::read_to_string(dir.path().join("form.json")).unwrap(),
        "{\"a\":1}"
    );

    let count = || fs::read_dir(dir.path()).unwrap().count();
    let before = count();
    let changed = body.replace("42", "43");
    let unsigned = format!("Content-Type: application/json\r\n{delivery}");
    for (more, body, status) in [
        (full.as_str(), changed.as_str(), 401),
        (unsigned.as_str(), body, 401),
        (&full.replace("application/json", "text/plain"), body, 401),
        (&signed(body), body, 400),
        (
            &format!("{}X-GitHub-Delivery: ../x\r\n", signed(body)),
            body,
            400,
        ),
    ] {
        assert_eq!(notify(&peer, "issues", more, body).status, status, "{more}");
    }
    let other = format!("{}{delivery}", signed(&changed));
    assert_eq!(
        notify(&peer, "issues", &other, &changed).status,
        500,
        "nothing is replaced"
    );
    assert_eq!(fs::read_to_string(&file).unwrap(), body);
    assert_eq!(count(), before);
    let missing = notify(&peer, "issues", &signed(body), body).text();
    assert_eq!(missing, "X-GitHub-Delivery header not present\n");
    assert_eq!(peer.get("/healthz").status, 200);
    assert_eq!(peer.end(), Some(0));
}

#[test]
fn receivers_do_not_start_without_a_secret() {
    let dir = tempfile::tempdir().unwrap();
    for (name, flag) in [("issueswebhook", "-dir"), ("wikiwebhook", "-spool")] {
        let done = super::program(name)
            .arg(flag)
            .arg(dir.path())
            .env("GITHUB_WEBHOOK_SECRET", " ")
            .output()
            .unwrap();
        assert_eq!(done.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&done.stderr).contains("-insecure-no-secret"));
        let help = super::program(name)
            .arg("--help")
            .env("GITHUB_WEBHOOK_SECRET", "sesame")
            .output()
            .unwrap();
        let help = String::from_utf8_lossy(&help.stdout).into_owned();
        assert!(
            help.contains("Examples:") && !help.contains("sesame"),
            "{help}"
        );
    }
}

#[test]
fn wikiwebhook_passes_changes_on() {
    let dir = tempfile::tempdir().unwrap();
    let peer = start("wikiwebhook", dir.path(), "-spool");
    let body = r#"{"pages":[]}"#;
    assert_eq!(notify(&peer, "ping", &signed(body), body).text(), "pong");
    let wrong = notify(&peer, "push", &signed(body), body);
    assert_eq!(
        (wrong.status, wrong.text().as_str()),
        (400, "incorrect event type \"push\"\n")
    );
    let unsigned = notify(&peer, "gollum", "X-Hub-Signature: sha1=00\r\n", body);
    assert_eq!(
        (unsigned.status, unsigned.text().as_str()),
        (401, "signature mismatch\n")
    );
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    let more = format!("{}X-GitHub-Delivery: d1\r\n", signed(body));
    assert_eq!(
        notify(&peer, "gollum", &more, body).text(),
        "Message ID: d1\n"
    );
    let message = fs::read_to_string(dir.path().join("d1.json")).unwrap();
    assert_eq!(message, r#"{"data":"eyJwYWdlcyI6W119"}"#);
}

/// A mail server that takes everything, and tells each mail.
fn mail_server() -> (String, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (send, receive) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            write!(stream, "220 here\r\n").unwrap();
            let (mut in_data, mut mail) = (false, String::new());
            while let Some(Ok(line)) = lines.next() {
                let verb = line.get(..4).unwrap_or("").to_ascii_uppercase();
                let reply = match (in_data, verb.as_str()) {
                    (true, _) if line == "." => {
                        in_data = false;
                        send.send(std::mem::take(&mut mail)).unwrap();
                        "250 ok"
                    }
                    (true, _) => {
                        mail.push_str(&line);
                        mail.push('\n');
                        continue;
                    }
                    (false, "DATA") => {
                        in_data = true;
                        "354 go on"
                    }
                    (false, "QUIT") => "221 bye",
                    _ => "250 ok",
                };
                if write!(stream, "{reply}\r\n").is_err() {
                    break;
                }
            }
        }
    });
    (address, receive)
}

#[test]
fn a_changed_wiki_page_is_mailed_once() {
    let dir = tempfile::tempdir().unwrap();
    let wiki = dir.path().join("wiki");
    fs::create_dir(&wiki).unwrap();
    git(&wiki, &["init", "-q"]);
    fs::write(wiki.join("Home.md"), "welcome <all>\n").unwrap();
    git(&wiki, &["add", "-A"]);
    git(&wiki, &["commit", "-qm", "first"]);
    let hash = git(&wiki, &["rev-parse", "HEAD"]);
    let spool = dir.path().join("spool");
    let hook = start("wikiwebhook", &spool, "-spool");
    let (mail, mails) = mail_server();
    let sender = Peer::start("sendwikidiff", 1, |command| {
        command.args(["-http", "127.0.0.1:0", "-smtp", &format!("smtp://{mail}")]);
        command
            .arg("-spool")
            .arg(&spool)
            .arg("-repo")
            .arg(&wiki)
            .arg("-data")
            .arg(dir.path().join("data"));
    });
    let body = format!(r#"{{"pages":[{{"page_name":"Home","sha":"{hash}"}}]}}"#);
    let more = format!("{}X-GitHub-Delivery: d1\r\n", signed(&body));
    assert_eq!(notify(&hook, "gollum", &more, &body).status, 200);
    let mail = mails.recv_timeout(LIMIT).unwrap();
    assert!(
        mail.contains("\nSubject: golang.org/wiki/Home was updated\n"),
        "{mail}"
    );
    assert!(
        mail.contains("From: \"WikiDiffBot\" <nobody@golang.org>")
            || mail.contains("From: WikiDiffBot <nobody@golang.org>"),
        "{mail}"
    );
    assert!(
        mail.contains("To: golang-wikichanges@googlegroups.com"),
        "{mail}"
    );
    assert!(
        mail.contains("+welcome <all>") && mail.contains("+welcome &lt;all&gt;"),
        "{mail}"
    );
    assert!(
        mails.recv_timeout(Duration::from_millis(700)).is_err(),
        "only one"
    );
    assert_eq!(fs::read_dir(&spool).unwrap().count(), 0);

    // What names no commit runs no command; a commit that is not there yet may come later.
    let post = |pages: &str| {
        use std::fmt::Write as _;
        let mut data = String::new();
        for chunk in format!("{{\"pages\":[{pages}]}}").as_bytes().chunks(3) {
            let mut n = 0u32;
            for i in 0..3 {
                n = n << 8 | u32::from(*chunk.get(i).unwrap_or(&0));
            }
            let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
            for i in 0..4 {
                let pad = i > chunk.len();
                let letter = letters[(n >> (18 - 6 * i) & 63) as usize] as char;
                let _infallible = write!(data, "{}", if pad { '=' } else { letter });
            }
        }
        sender.ask(
            "POST",
            "/",
            "",
            format!("{{\"message\":{{\"data\":\"{data}\"}}}}").as_bytes(),
        )
    };
    assert_eq!(post(r#"{"page_name":"x","sha":"--output=x"}"#).status, 400);
    assert_eq!(
        post(&format!(r#"{{"page_name":"x\ny: z","sha":"{hash}"}}"#)).status,
        400
    );
    assert_eq!(
        post(&format!(
            r#"{{"page_name":"x","sha":"{}"}}"#,
            "0".repeat(40)
        ))
        .status,
        503
    );
    assert_eq!(sender.ask("POST", "/", "", b"nonsense").status, 400);
    let again = post(&format!(r#"{{"page_name":"A B","sha":"{hash}"}}"#));
    assert_eq!((again.status, again.text().as_str()), (200, "1 mails\n"));
    assert!(
        mails
            .recv_timeout(LIMIT)
            .unwrap()
            .contains("Subject: golang.org/wiki/A B was updated")
    );
}
