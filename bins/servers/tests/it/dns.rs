//! Keys of mail that are looked up in the DNS, of which the test is a server.

use std::net::UdpSocket;
use std::sync::{Arc, Mutex};

use super::peer::Peer;
use super::pubsubhelper::{ALL, PUBLIC, SENDER, Smtp, mail};

/// What is answered for a name: texts, that there is none (3), or that something is wrong (2).
type Answers = fn(&str) -> Result<Vec<String>, u8>;

/// A server of the DNS; names that were asked for are told in their order.
fn dns(answers: Answers) -> (String, Arc<Mutex<Vec<String>>>) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap().to_string();
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let told = asked.clone();
    std::thread::spawn(move || {
        let mut packet = [0; 1500];
        while let Ok((length, from)) = socket.recv_from(&mut packet) {
            // Of the question: labels with their lengths, a zero, type and class.
            let (mut at, mut labels) = (12, Vec::new());
            while packet[at] != 0 {
                let end = at + 1 + usize::from(packet[at]);
                labels.push(String::from_utf8_lossy(&packet[at + 1..end]).to_lowercase());
                at = end;
            }
            let (name, end) = (labels.join("."), (at + 5).min(length));
            told.lock().unwrap().push(name.clone());
            let mut out = packet[..2].to_vec();
            match answers(&name) {
                Err(code) => {
                    out.extend([0x81, 0x80 | code, 0, 1, 0, 0, 0, 0, 0, 0]);
                    out.extend(&packet[12..end]);
                }
                Ok(texts) => {
                    out.extend([0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
                    out.extend(&packet[12..end]);
                    // The name of the question, TXT, IN, five minutes.
                    out.extend([0xc0, 0x0c, 0, 16, 0, 1, 0, 0, 1, 44]);
                    let data: Vec<u8> = texts
                        .iter()
                        .flat_map(|text| [&[text.len() as u8], text.as_bytes()].concat())
                        .collect();
                    out.extend((data.len() as u16).to_be_bytes());
                    out.extend(data);
                }
            }
            socket.send_to(&out, from).unwrap();
        }
    });
    (address, asked)
}

#[test]
fn pubsubhelper_looks_up_the_keys_of_mail() {
    let (server, asked) = dns(|name| match name {
        // A record may come in parts.
        "sel._domainkey.google.com" => Ok(vec![
            "v=DKIM1; k=ed25519; ".to_owned(),
            format!("p={PUBLIC}"),
        ]),
        "sel._domainkey.revoked.google.com" => Ok(vec!["v=DKIM1; k=ed25519; p=".to_owned()]),
        "sel._domainkey.broken.google.com" => Err(2),
        _ => Err(3),
    });
    let mut peer = Peer::start("pubsubhelper", 2, |command| {
        command
            .args(["-http", "127.0.0.1:0", "-smtp", "127.0.0.1:0"])
            .args(["-dkim-dns", &server]);
    });
    let mut smtp = Smtp::new(&peer);
    for domain in [
        "nowhere.google.com",
        "revoked.google.com",
        "broken.google.com",
    ] {
        smtp.send(SENDER, &mail(domain, &ALL));
    }
    for _ in 0..3 {
        smtp.send(SENDER, &mail("google.com", &ALL));
    }
    let is_done = |text: &str| text.matches("\"Gerrit\"").count() == 3;
    peer.wait_for("/recent", |answer| is_done(&answer.text()));
    let counts: serde_json::Value = serde_json::from_slice(&peer.get("/status.json").body).unwrap();
    assert_eq!(
        (&counts["mails"], &counts["mails_ignored"]),
        (&6.into(), &3.into())
    );
    // A key is kept as long as the DNS says.
    let asked = asked.lock().unwrap().clone();
    let known = asked.iter().filter(|n| *n == "sel._domainkey.google.com");
    assert_eq!(known.count(), 1, "{asked:?}");
    assert_eq!(peer.end(), Some(0));
}
