//! Strangers, forged certificates, ports that are not allowed.

use super::*;

/// A certificate beside the key of somebody, as `ssh -i` finds it by itself.
fn certify(gate: &Gate, who: &str, line: &str) {
    let path = gate.dir.path().join(format!("{who}-cert.pub"));
    std::fs::write(path, format!("{line}\n")).unwrap();
}

fn public_key(gate: &Gate, who: &str) -> String {
    std::fs::read_to_string(gate.key(who).with_extension("pub")).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_forged_certificates_and_other_ports_are_refused() {
    if !has("ssh") {
        return;
    }
    let gate = Gate::open(2).await;
    let (anns, bobs) = (gate.hall.create("ann").await, gate.hall.create("bob").await);
    let refused = async |who: &str, session: &str| {
        let denied = ran(gate.ssh(who, session, &["id"]), b"").await;
        assert_eq!(denied.code, Some(255), "{denied:?}");
        assert!(
            denied.out.is_empty() && denied.err.contains("Permission denied"),
            "{denied:?}"
        );
    };
    refused("eve", &anns).await;
    refused("bob", &anns).await;
    refused("ann", &bobs).await;
    refused("ann", "user-ann-nothing-0").await;
    refused("root", "root").await;

    // Certificates: eve's key is nobody's, so what counts is what she shows with it.
    let authority = gate.gateway.authority();
    let (key, now) = (public_key(&gate, "eve"), SystemClock.now());
    let five = Duration::from_secs(300);
    let sign = |session: &str, names: &[&str], from: Duration, valid| {
        let at = build_core::clock::Timestamp::from_micros(
            now.as_micros() - i64::try_from(from.as_micros()).unwrap(),
        );
        authority.sign(&key, session, names, valid, at).unwrap()
    };
    certify(&gate, "eve", &sign(&anns, &["ann"], Duration::ZERO, five));
    assert_eq!(
        ran(gate.ssh("eve", &anns, &["true"]), b"").await.code,
        Some(0)
    );
    refused("eve", &bobs).await;
    certify(
        &gate,
        "eve",
        &sign(&anns, &["ann"], Duration::from_secs(3600), five),
    );
    refused("eve", &anns).await;
    // It names a session that is somebody else's than it says.
    certify(&gate, "eve", &sign(&bobs, &["ann"], Duration::ZERO, five));
    refused("eve", &bobs).await;
    // Another authority, and one that is the user's own key.
    let other = Authority::open(&gate.dir.path().join("other-ca")).unwrap();
    certify(
        &gate,
        "eve",
        &other.sign(&key, &anns, &["ann"], five, now).unwrap(),
    );
    refused("eve", &anns).await;
    let forged = Command::new("ssh-keygen")
        .args(["-q", "-s"])
        .arg(gate.key("ann"))
        .args([
            "-I",
            "go_build",
            "-n",
            &format!("{anns}@farmer.golang.org,ann"),
        ])
        .arg(gate.key("eve").with_extension("pub"))
        .status()
        .await
        .unwrap();
    assert!(forged.success());
    refused("eve", &anns).await;
    // A byte of a good one is changed.
    let good = sign(&anns, &["ann"], Duration::ZERO, five);
    let at = good.len() / 2;
    let other = if good.as_bytes()[at] == b'A' {
        "B"
    } else {
        "A"
    };
    certify(
        &gate,
        "eve",
        &format!("{}{other}{}", &good[..at], &good[at + 1..]),
    );
    refused("eve", &anns).await;

    // Ports: those that are allowed, of this machine alone; nothing the other way.
    let echo = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = echo.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = echo.accept().await {
            let (mut from, mut to) = stream.split();
            // Whoever leaves has left.
            let _ = tokio::io::copy(&mut from, &mut to).await;
        }
    });
    let through =
        async |target: &str| ran(gate.ssh("ann", &anns, &[&format!("-W{target}")]), b"hello").await;
    let mut carried = gate.ssh("ann", &anns, &[&format!("-Wlocalhost:{at}")]);
    let mut carried = carried
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    carried
        .stdin
        .take()
        .unwrap()
        .write_all(b"hello")
        .await
        .unwrap();
    let carried = tokio::time::timeout(SOON, carried.wait_with_output())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(carried.stdout, b"hello");
    for (target, why) in [
        ("localhost:22", "port 22 is not allowed here"),
        ("192.0.2.1:8080", "is not the machine of this session"),
        (
            &format!("metadata.google.internal:{at}"),
            "is not the machine of this session",
        ),
    ] {
        let refused = through(target).await;
        assert_ne!(refused.code, Some(0));
        assert!(refused.err.contains(why), "{target}: {}", refused.err);
    }
    let back = [
        "-oExitOnForwardFailure=yes",
        &format!("-R{at}:localhost:1"),
        "true",
    ];
    let back = ran(gate.ssh("ann", &anns, &back), b"").await;
    assert_ne!(back.code, Some(0), "{back:?}");
    let agent = ran(
        gate.ssh("ann", &anns, &["-A", "echo [$SSH_AUTH_SOCK]"]),
        b"",
    )
    .await;
    assert_eq!(agent.text(), "[]\n", "{agent:?}");

    gate.directory.flush().unwrap();
    let (events, _) = gate.directory.audit(100).unwrap();
    let whys: Vec<_> = events
        .iter()
        .filter(|e| e.act == Act::Refused)
        .map(|e| e.text.as_str())
        .collect();
    for why in [
        "unknown key",
        "the session is somebody else's",
        "there is no such session",
        "certificate: it is for another session",
        "certificate: it is not signed by this farm",
    ] {
        assert!(whys.contains(&why), "{why}: {whys:?}");
    }
    gate.hall.stop().await;
}
