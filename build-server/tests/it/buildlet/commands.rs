use super::*;

#[tokio::test]
async fn output_comes_in_order_and_the_state_in_a_trailer() {
    let peer = Peer::start().await;
    let done = peer.shell("echo out; echo err >&2; exit 3").await;
    assert_eq!(
        (done.status, done.text(), done.state()),
        (200, "out\nerr\n", "exit status 3")
    );
    assert!(done.headers.lists("Trailer", "Process-State"));
    assert_eq!(done.trailers.get_str("X-Exit-Code"), Some("3"));
    assert_eq!(done.trailers.get_str("X-Output-Bytes"), Some("8"));
    assert_eq!(peer.shell("exit 0").await.state(), "ok");
    let killed = peer.shell("kill -SEGV $$").await;
    assert!(
        killed.state().starts_with("signal: segmentation fault"),
        "{}",
        killed.state()
    );
    assert_eq!(killed.trailers.get_str("X-Signal"), Some("11"));
}

#[tokio::test]
async fn what_cannot_run_is_told_as_the_state() {
    let peer = Peer::start().await;
    let missing = peer.post("/exec", "cmd=no-such-program&mode=sys").await;
    assert_eq!(
        missing.state(),
        "exec: \"no-such-program\": executable file not found in $PATH"
    );
    let absent = peer.post("/exec", "cmd=nosuch").await;
    let path = peer.work_dir().join("nosuch");
    assert_eq!(
        absent.state(),
        format!("fork/exec {}: no such file or directory", path.display())
    );
    let nowhere = peer
        .post("/exec", "cmd=true&mode=sys&dir=%2Fno%2Fdir")
        .await;
    assert_eq!(nowhere.state(), "chdir /no/dir: no such file or directory");
}

#[tokio::test]
async fn bad_requests_declare_the_trailer_too() {
    let peer = Peer::start().await;
    for (form, text) in [
        ("", "requires 'cmd' parameter"),
        ("cmd=..%2Fx", "requires 'cmd' parameter"),
        ("cmd=%2Fbin%2Ftrue", "requires 'cmd' parameter"),
        ("cmd=x&dir=..", "bogus 'dir' parameter"),
    ] {
        let answer = peer.post("/exec", form).await;
        assert_eq!(answer.refusal(), (400, text), "{form}");
        assert_eq!(answer.headers.get_str("Trailer"), Some("Process-State"));
    }
}

#[tokio::test]
async fn commands_run_where_they_should() {
    let peer = Peer::start().await;
    let root = peer.work_dir();
    peer.put(
        "/write?mode=493&path=a%2Fb.sh",
        b"#!/bin/sh\npwd; echo $0 $1",
    )
    .await;
    let root_text = root.display();
    let own = peer.post("/exec", "cmd=a%2Fb.sh&cmdArg=x").await;
    assert_eq!(own.text(), format!("{root_text}/a\n{root_text}/a/b.sh x\n"));
    let given = peer.post("/exec", "cmd=a%2Fb.sh&dir=.").await;
    assert!(given.text().starts_with(&format!("{root_text}\n")));
    assert_eq!(
        peer.post("/exec", "cmd=pwd&mode=sys").await.text(),
        format!("{root_text}\n")
    );
    assert_eq!(
        peer.post("/exec", "cmd=pwd&mode=sys&dir=a").await.text(),
        format!("{root_text}/a\n")
    );
    assert_eq!(
        peer.post("/exec", "cmd=pwd&mode=sys&dir=%2F").await.text(),
        "/\n"
    );
    assert_eq!(
        peer.post("/exec", "cmd=cat&mode=sys").await.text(),
        "",
        "standard input is empty"
    );
}

#[tokio::test]
async fn the_environment_is_made_of_layers() {
    let peer = Peer::start().await;
    let root = peer.work_dir();
    let root = root.display();
    let echo =
        "cmd=%2Fbin%2Fsh&mode=sys&cmdArg=-c&cmdArg=echo+%22%24A+%24TMPDIR+%24WORKDIR+%24PATH%22";
    let shown = peer
        .post(
            "/exec",
            &format!(
                "{echo}&env=A%3D1&env=A%3D2&env=TMPDIR%3D%2Fx&path=%24WORKDIR%2Fbin&path=%2Fbin"
            ),
        )
        .await;
    assert_eq!(
        shown.text(),
        format!("2 {root}/tmp {root} {root}/bin:/bin\n")
    );
    let own_tmp = peer
        .post(
            "/exec",
            &format!("{echo}&env=TMPDIR%3D%2Fx&override_tmp=false&path=%2Fb"),
        )
        .await;
    assert_eq!(own_tmp.text(), format!(" /x {root} /b\n"));
    assert!(peer.work_dir().join("tmp").is_dir() && peer.work_dir().join("gocache").is_dir());
}

#[tokio::test]
async fn the_debug_line_tells_everything_but_secrets() {
    let peer = Peer::start().await;
    let done = peer
        .post("/exec", &format!("debug=true&{}", shell_form("echo hi")))
        .await;
    let begin = ":: Running /bin/sh with args [\"/bin/sh\" \"-c\" \"echo hi\"] and env [";
    assert!(done.text().starts_with(begin), "{}", done.text());
    assert!(done.text().contains("\"API_TOKEN=***\"") && !done.text().contains("hidden"));
    assert!(
        done.text()
            .ends_with(&format!("] in dir {}\n\nhi\n", peer.work_dir().display()))
    );
    assert_eq!(
        done.trailers.get_str("X-Output-Bytes"),
        Some(done.body.len().to_string().as_str())
    );
}

#[tokio::test]
async fn http_1_0_clients_are_refused() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let peer = Peer::start().await;
    let mut io = UnixStream::connect(socket(peer.dir.path())).await.unwrap();
    io.write_all(b"POST /exec HTTP/1.0\r\nContent-Length: 0\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    io.read_to_string(&mut answer).await.unwrap();
    assert!(
        answer.contains(" 400 ") && answer.ends_with("HTTP/1.1 or higher required\n"),
        "{answer}"
    );
}

/// The grandchild keeps the output open, far longer than anybody wants to wait.
#[tokio::test]
async fn a_held_output_does_not_hang() {
    let peer = Peer::start().await;
    let begin = Instant::now();
    let done = peer.shell("sleep 1000 & echo $!").await;
    assert_eq!(
        (done.state(), done.trailers.get_str("X-Output")),
        ("ok", Some("truncated"))
    );
    let took = begin.elapsed();
    assert!(
        took >= Duration::from_secs(5) && took < Duration::from_secs(60),
        "{took:?}"
    );
    peer.end().await;
    let pid = done.text().to_owned();
    until("strays end with the buildlet", || !is_alive(&pid)).await;
}

#[tokio::test]
async fn without_its_client_a_command_ends_with_everything_it_started() {
    let peer = Peer::start().await;
    let mut io = UnixStream::connect(socket(peer.dir.path())).await.unwrap();
    let form = shell_form("sleep 1000 & echo $!; echo $$; wait");
    {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let head = format!(
            "POST /exec HTTP/1.1\r\nHost: \r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n",
            form.len()
        );
        io.write_all((head + &form).as_bytes()).await.unwrap();
        let mut answer = String::new();
        while answer
            .lines()
            .filter(|line| line.parse::<u32>().is_ok_and(|n| n > 20))
            .count()
            < 2
        {
            let mut piece = [0; 4096];
            let count = io.read(&mut piece).await.unwrap();
            assert_ne!(count, 0, "{answer}");
            answer.push_str(std::str::from_utf8(&piece[..count]).unwrap());
        }
        let pids: Vec<String> = answer
            .lines()
            .filter(|l| l.parse::<u32>().is_ok_and(|n| n > 20))
            .map(Into::into)
            .collect();
        assert!(pids.iter().all(|pid| is_alive(pid)), "{pids:?}");
        drop(io);
        until("both are gone", || !pids.iter().any(|pid| is_alive(pid))).await;
    }
}
