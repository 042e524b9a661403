//! `pubsubhelper`: notices and mail in, events out.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use build_core::pubsubtypes::Event;
use build_core::webhook::sign;
use mail_auth::common::crypto::Ed25519Key;
use mail_auth::common::headers::HeaderWriter as _;
use mail_auth::dkim::DkimSigner;

use super::peer::{Answer, Peer};

const SECRET: &str = "s3cr3t";
/// The key pair of the standard's examples.
const SEED: &str = "nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=";
pub(crate) const PUBLIC: &str = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";

fn start(dir: &Path, more: &[&str]) -> Peer {
    let keys = dir.join("keys");
    let domains = ["google.com", "notgoogle.com"];
    let lines = domains.map(|d| format!("sel._domainkey.{d} v=DKIM1; k=ed25519; p={PUBLIC}\n"));
    fs::write(&keys, lines.concat()).unwrap();
    Peer::start("pubsubhelper", 2, |command| {
        command
            .args(["-http", "127.0.0.1:0", "-smtp", "127.0.0.1:0", "-dkim-keys"])
            .arg(&keys);
        command
            .args(more)
            .env("PUBSUBHELPER_WEBHOOK_SECRET", SECRET);
    })
}

fn notify(peer: &Peer, signature: &str, body: &str) -> Answer {
    let head = format!("X-GitHub-Event: issues\r\n{signature}\r\n");
    peer.ask("POST", "/github-webhook", &head, body.as_bytes())
}

fn signed(body: &str) -> String {
    format!(
        "X-Hub-Signature-256: {}",
        sign(SECRET.as_bytes(), body.as_bytes())
    )
}

const ISSUE: &str =
    r#"{"action":"opened","issue":{"number":42},"repository":{"full_name":"golang/go"}}"#;

fn recent(peer: &Peer) -> Vec<Event> {
    serde_json::from_slice(&peer.get("/recent").body).unwrap()
}

#[test]
fn pubsubhelper_sends_signed_notices_to_those_who_wait() {
    let dir = tempfile::tempdir().unwrap();
    let mut peer = start(dir.path(), &[]);
    let address = peer.addresses[0].clone();
    let waiting = std::thread::spawn(move || {
        super::peer::ask(
            &address,
            "GET",
            "/waitevent?after=2020-01-01T00:00:00Z",
            "",
            b"",
        )
        .unwrap()
    });
    assert_eq!(notify(&peer, &signed(ISSUE), ISSUE).status, 200);
    let answer = waiting.join().unwrap();
    assert_eq!(
        answer.header("content-type"),
        Some("application/json; charset=utf-8")
    );
    let text = answer.text();
    assert!(
        text.starts_with("{\n\t\"Time\": \"") && text.ends_with("\t}\n}"),
        "{text}"
    );
    let event: Event = serde_json::from_str(&text).unwrap();
    assert_eq!(event.topic().as_deref(), Some("github:golang/go"));
    let github = event.github.unwrap();
    assert_eq!(
        (github.issue_number, github.action.as_str()),
        (42, "opened")
    );

    // Asked with the time of the last one, it answers with the next one.
    let pull =
        r#"{"action":"closed","pull_request":{"number":7},"repository":{"full_name":"a/b"}}"#;
    let known = r#"{"action":"opened"}"#;
    notify(&peer, &signed(pull), pull);
    let time = text.split('"').nth(3).unwrap();
    let next: Event =
        serde_json::from_slice(&peer.get(&format!("/waitevent?after={time}")).body).unwrap();
    assert_eq!(next.github.unwrap().pull_request_number, 7);
    // Genuine, but about neither an issue nor a pull request; and not genuine.
    let old = "X-Hub-Signature: sha1=94db619669011d2443ad27bfb1880ef60a756f97";
    assert_eq!(notify(&peer, old, known).status, 200);
    assert_eq!(
        notify(&peer, &signed(ISSUE), &ISSUE.replace("42", "43")).status,
        200
    );
    assert_eq!(notify(&peer, "X-A: b", ISSUE).status, 200);
    assert_eq!(recent(&peer).len(), 2);
    let counts: serde_json::Value = serde_json::from_slice(&peer.get("/status.json").body).unwrap();
    assert_eq!(counts["webhook_bad_signature"], 2);
    assert_eq!(counts["webhook_ignored"], 1);
    assert_eq!(counts["webhooks"], 5);
    let recent = peer.get(&format!("/recent?after={time}")).text();
    assert!(
        recent.starts_with("[\n{") && recent.ends_with("}\n]\n"),
        "{recent}"
    );
    assert!(
        recent.find("\"closed\"").unwrap() < recent.find("\"opened\"").unwrap(),
        "the newest first"
    );

    let bad = peer.get("/waitevent?after=yesterday");
    assert_eq!(
        (bad.status, bad.text().as_str()),
        (400, "'after' parameter is not in time.RFC3339Nano format\n")
    );
    let post = peer.ask("POST", "/waitevent", "", b"");
    assert_eq!((post.status, post.text().as_str()), (400, "requires GET\n"));
    assert_eq!(peer.get("/nothing").status, 404);
    assert_eq!(peer.get("/github-webhook").status, 405);
    assert!(peer.get("/").text().contains("github:golang/go"));
    assert_eq!(peer.end(), Some(0));
}

#[test]
fn pubsubhelper_can_be_strict() {
    let dir = tempfile::tempdir().unwrap();
    let peer = start(dir.path(), &["-strict", "-no-sha1", "-behind-tls"]);
    let by_tls = |signature: &str| format!("X-Forwarded-Proto: https\r\n{signature}");
    let plain = notify(&peer, &signed(ISSUE), ISSUE);
    assert_eq!(
        (plain.status, plain.text().as_str()),
        (400, "HTTPS required\n")
    );
    assert_eq!(notify(&peer, &by_tls(&signed(ISSUE)), ISSUE).status, 200);
    assert_eq!(notify(&peer, &by_tls("X-A: b"), ISSUE).status, 401);
    let known = r#"{"action":"opened"}"#;
    let old = by_tls("X-Hub-Signature: sha1=94db619669011d2443ad27bfb1880ef60a756f97");
    assert_eq!(notify(&peer, &old, known).status, 401);
    assert_eq!(recent(&peer).len(), 1);
}

/// A conversation with a mail server.
pub(crate) struct Smtp {
    stream: TcpStream,
    lines: std::io::Lines<BufReader<TcpStream>>,
}

impl Smtp {
    pub(crate) fn new(peer: &Peer) -> Self {
        let stream = TcpStream::connect(&peer.addresses[1]).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(30)))
            .unwrap();
        let lines = BufReader::new(stream.try_clone().unwrap()).lines();
        let mut smtp = Self { stream, lines };
        assert_eq!(smtp.line(), "220 localhost ESMTP gosmtpd");
        smtp
    }

    fn line(&mut self) -> String {
        self.lines.next().unwrap().unwrap()
    }

    fn says(&mut self, text: &str) -> String {
        self.stream.write_all(text.as_bytes()).unwrap();
        self.line()
    }

    /// Sends a mail as Gerrit does.
    pub(crate) fn send(&mut self, sender: &str, mail: &str) {
        assert_eq!(
            self.says(&format!("MAIL FROM:<{sender}> SIZE=1\r\n")),
            "250 2.1.0 Ok"
        );
        assert_eq!(
            self.says("RCPT TO:<gopherbot@pubsubhelper.golang.org>\r\n"),
            "250 2.1.0 Ok"
        );
        assert_eq!(self.says("DATA\r\n"), "354 Go ahead");
        let stuffed = mail.replace("\r\n.", "\r\n..");
        assert_eq!(
            self.says(&format!("{stuffed}\r\n.\r\n")),
            "250 2.0.0 Ok: queued"
        );
    }
}

#[test]
fn pubsubhelper_answers_mail_servers_word_by_word() {
    let dir = tempfile::tempdir().unwrap();
    let peer = start(dir.path(), &[]);
    let mut smtp = Smtp::new(&peer);
    assert_eq!(smtp.says("EHLO there\r\n"), "250-localhost");
    for line in [
        "250-PIPELINING",
        "250-SIZE 10240000",
        "250-ENHANCEDSTATUSCODES",
        "250-8BITMIME",
        "250 DSN",
    ] {
        assert_eq!(smtp.line(), line);
    }
    for (said, reply) in [
        ("NOOP\r\n", "250 2.0.0 OK"),
        (
            "AUTH PLAIN x\r\n",
            "502 5.5.2 Error: command not recognized",
        ),
        ("STARTTLS\r\n", "502 5.5.2 Error: command not recognized"),
        ("NOOP\n", "500 line doesn't end in \\r\\n"),
        ("QUIT now\r\n", "500 unexpected argument"),
        ("RCPT TO:<x@y>\r\n", "503 5.5.1 Error: need MAIL command"),
        ("DATA\r\n", "503 5.5.1 Error: need RCPT command"),
        (
            "MAIL FROM: <a@b>\r\n",
            "501 5.1.7 Bad sender address syntax",
        ),
        ("MAIL FROM:<a@b> BODY=8BITMIME\r\n", "250 2.1.0 Ok"),
        (
            "MAIL FROM:<a@b>\r\n",
            "503 5.5.1 Error: nested MAIL command",
        ),
        ("DATA\r\n", "554 5.5.1 Error: no valid recipients"),
        (
            "RCPT TO:<Gopherbot@pubsubhelper.golang.org>\r\n",
            "550 bad recipient",
        ),
        (
            "RCPT TO:<gopherbot@pubsubhelper.golang.org>\r\n",
            "250 2.1.0 Ok",
        ),
        (
            "RCPT TO:<gopherbot@pubsubhelper.golang.org>\r\n",
            "554 5.5.1 Error: dup recipients",
        ),
        ("RSET\r\n", "250 2.0.0 OK"),
        ("RCPT TO:<x@y>\r\n", "503 5.5.1 Error: need MAIL command"),
        ("QUIT\r\n", "221 2.0.0 Bye"),
    ] {
        assert_eq!(smtp.says(said), reply, "{said:?}");
    }
    let mut smtp = Smtp::new(&peer);
    smtp.stream.write_all("x".repeat(5000).as_bytes()).unwrap();
    assert!(
        smtp.lines.next().is_none_or(|line| line.is_err()),
        "a line without an end"
    );
}

/// The headers that must be signed.
pub(crate) const ALL: [&str; 6] = [
    "From",
    "Subject",
    "X-Gerrit-ChangeURL",
    "X-Gerrit-Project",
    "X-Gerrit-Commit",
    "X-Gerrit-Change-Number",
];
pub(crate) const SENDER: &str = "a@gerritcodereview.bounces.google.com";

/// A mail of Gerrit, signed by a domain over these headers.
pub(crate) fn mail(domain: &str, headers: &[&str]) -> String {
    let mail = "From: Gerrit <noreply@google.com>\r\nSubject: Change\r\n\
        X-Gerrit-ChangeURL: <https://go-review.googlesource.com/39551?usp=email>\r\nX-Gerrit-Project: go\r\n\
        X-Gerrit-Commit: 1a2b3c\r\nX-Gerrit-Change-Number: 39551\r\n\r\nsomebody said\r\n.something\r\n";
    let bytes = |text: &str| {
        // The standard's alphabet, without a crate for two constants.
        let letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let bits = text
            .trim_end_matches('=')
            .chars()
            .map(|c| letters.find(c).unwrap() as u32);
        let (mut all, mut held, mut count) = (Vec::new(), 0u32, 0);
        for six in bits {
            held = held << 6 | six;
            count += 6;
            if count >= 8 {
                count -= 8;
                all.push((held >> count & 0xff) as u8);
            }
        }
        all
    };
    let key = Ed25519Key::from_seed_and_public_key(&bytes(SEED), &bytes(PUBLIC)).unwrap();
    let signer = DkimSigner::from_key(key)
        .domain(domain)
        .selector("sel")
        .headers(headers.iter().copied());
    let signature = signer.sign(mail.as_bytes()).unwrap().to_header();
    format!("Received: from here\r\n{signature}{mail}")
}

#[test]
fn pubsubhelper_believes_mail_whose_headers_the_right_domain_signed() {
    let dir = tempfile::tempdir().unwrap();
    let peer = start(dir.path(), &[]);
    let mut smtp = Smtp::new(&peer);
    let good = mail("google.com", &ALL);
    for (sender, mail) in [
        (SENDER, mail("notgoogle.com", &ALL)),
        (SENDER, mail("google.com", &ALL[..5])),
        (SENDER, good.replace("39551\r\n\r\n", "39552\r\n\r\n")),
        (SENDER, good.replace("somebody", "nobody")),
        (SENDER, good.replace("DKIM-Signature", "X-Signature")),
        (
            SENDER,
            good.replace(
                "X-Gerrit-Commit:",
                "X-Gerrit-Commit: ffff\r\nX-Gerrit-Commit:",
            ),
        ),
        ("a@elsewhere.example", good.clone()),
    ] {
        smtp.send(sender, &mail);
    }
    smtp.send(SENDER, &good);
    peer.wait_for("/recent", |answer| answer.text().contains("Gerrit"));
    let counts: serde_json::Value = serde_json::from_slice(&peer.get("/status.json").body).unwrap();
    assert_eq!(
        (&counts["mails"], &counts["mails_ignored"]),
        (&8.into(), &7.into())
    );
    let events = recent(&peer);
    assert_eq!(events.len(), 1);
    assert_eq!(
        events[0].topic().as_deref(),
        Some("gerrit:go.googlesource.com/go")
    );
    let event = events[0].gerrit.as_ref().unwrap();
    assert_eq!(event.url, "https://go-review.googlesource.com/39551");
    assert_eq!(
        (event.commit_hash.as_str(), event.change_number),
        ("1a2b3c", 39551)
    );
}

#[test]
fn pubsubhelper_does_not_start_when_no_event_can_come() {
    let run = |args: &[&str]| {
        super::program("pubsubhelper")
            .env_remove("PUBSUBHELPER_WEBHOOK_SECRET")
            .args(args)
            .output()
            .unwrap()
    };
    let none = run(&[]);
    assert_eq!(none.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&none.stderr).contains("no events can come"));
    assert_eq!(run(&["-webhook-secret", " "]).status.code(), Some(2));
    assert_eq!(
        run(&["-webhook-secret", "x", "-trust", "x"]).status.code(),
        Some(2)
    );
    assert_eq!(
        run(&["-webhook-secret", "x", "-autocert", "x"])
            .status
            .code(),
        Some(2)
    );
}
