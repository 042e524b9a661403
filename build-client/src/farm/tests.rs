//! The client against a peer that answers what a test says.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener};
use std::thread::JoinHandle;

use super::FarmClient;
use crate::ErrorKind;
use build_core::ids::BuildId;
use build_core::report::NewBuild;

/// A peer that gives these answers, one for each connection, and what it was asked.
fn peer(answers: Vec<&'static str>) -> (String, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let asked = std::thread::spawn(move || {
        let mut asked = Vec::new();
        for answer in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let mut head = Vec::new();
            while !head.windows(4).any(|w| w == b"\r\n\r\n") {
                let mut piece = [0; 4096];
                let n = stream.read(&mut piece).unwrap();
                assert!(n > 0, "a request has a head");
                head.extend_from_slice(&piece[..n]);
            }
            asked.push(String::from_utf8(head).unwrap());
            stream.write_all(answer.as_bytes()).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            // What comes late would cut the connection, and the answer with it.
            let _gone = std::io::copy(&mut stream, &mut std::io::sink());
        }
        asked
    });
    (address, asked)
}

#[tokio::test]
async fn what_is_refused_torn_or_nonsense_is_told_as_such() {
    let close = "connection: close\r\n\r\n";
    let refusal = r#"{"code":"conflict","message":"it has ended","hint":"leave it"}"#;
    let answers = [
        format!("HTTP/1.1 409 Conflict\r\n{close}{refusal}"),
        format!("HTTP/1.1 502 Bad Gateway\r\n{close}<html>"),
        format!("HTTP/1.1 404 Not Found\r\n{close}"),
        format!("HTTP/1.1 200 OK\r\n{close}{{"),
        format!("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n{close}{{}}"),
        format!("HTTP/1.1 307 Temporary Redirect\r\nlocation: http://localhost:1/\r\n{close}"),
        "nonsense\r\n\r\n".to_owned(),
    ];
    let answers = answers.map(|answer| &*answer.leak());
    let (address, asked) = peer(answers.to_vec());
    let farm = FarmClient::builder(&address)
        .token("secret")
        .name("the farm")
        .build()
        .unwrap();
    let id = BuildId::from_bits(1);
    let refused = farm.cancel(&id).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Conflict);
    assert_eq!(
        (refused.to_string().as_str(), refused.hint()),
        ("it has ended", Some("leave it"))
    );
    for kind in [
        ErrorKind::Unavailable,
        ErrorKind::NotFound,
        ErrorKind::Corrupt,
        ErrorKind::Unavailable,
        ErrorKind::Unavailable,
        ErrorKind::Unavailable,
    ] {
        let error = farm.build(&id).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{}", error.chain());
        assert!(error.to_string().contains("the farm"), "{error}");
        assert!(!error.chain().contains("secret"), "{}", error.chain());
    }
    let asked = asked.join().unwrap();
    assert!(asked[0].starts_with("POST /api/v1/builds/B000000001/cancel HTTP/1.1\r\n"));
    for asked in asked {
        assert!(
            asked.contains("authorization: Bearer secret\r\n"),
            "{asked}"
        );
    }
    assert!(!format!("{farm:?}").contains("secret"));
    // Nobody listens there any more.
    let error = farm.create(&NewBuild::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}

#[test]
fn what_is_no_address_or_token_is_refused_before_anything_is_sent() {
    for address in ["", "localhost:8119", "ftp://farm", "http://"] {
        let error = FarmClient::builder(address).build().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{address}");
        assert!(error.hint().is_some());
    }
    let bad = FarmClient::builder("http://localhost:1").token("a\nb");
    assert_eq!(bad.build().unwrap_err().kind(), ErrorKind::Invalid);
}
