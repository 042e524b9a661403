//! Files both ways, and the sequence of editors' remote modes.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn scp_sftp_and_rsync_carry_files_both_ways_and_nothing_out_of_the_work_directory() {
    if !has("scp") || !has("sftp") {
        return;
    }
    let gate = Gate::open(1).await;
    let name = gate.hall.create("ann").await;
    let here = |name: &str| gate.dir.path().join(name).display().to_string();
    let there = |path: &str| format!("{name}@127.0.0.1:{path}");
    let port = gate.port.to_string();
    let much: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 249) as u8).collect();
    std::fs::create_dir_all(gate.dir.path().join("tree/sub")).unwrap();
    std::fs::write(here("tree/much"), &much).unwrap();
    std::fs::write(here("tree/sub/word"), "hello\n").unwrap();
    std::os::unix::fs::symlink("sub/word", here("tree/link")).unwrap();
    let scp = async |args: &[&str]| {
        let mut command = gate.program("scp", "ann");
        command.args(["-q", "-p", "-r", "-P", &port]).args(args);
        ran(command, b"").await
    };
    let done = scp(&[&here("tree"), &there("tree")]).await;
    assert_eq!(done.code, Some(0), "{done:?}");
    let done = scp(&[&there("tree"), &here("back")]).await;
    assert_eq!(done.code, Some(0), "{done:?}");
    assert_eq!(std::fs::read(here("back/much")).unwrap(), much);
    assert_eq!(std::fs::read(here("back/sub/word")).unwrap(), b"hello\n");
    // The older way: programs of the machine at both ends of a command.
    let done = scp(&["-O", &here("tree/sub"), &there("older")]).await;
    assert!(
        done.code == Some(0) || done.err.contains("scp: not found"),
        "{done:?}"
    );

    // What sftp is told, and what it says.
    let sftp = async |lines: &str| {
        let mut command = gate.program("sftp", "ann");
        command.args(["-q", "-b", "-", "-P", &port, &format!("{name}@127.0.0.1")]);
        ran(command, lines.as_bytes()).await
    };
    let story = "cd tree\nmkdir new\nrename sub/word new/word\nln -s new/word said\nchmod 600 new/word\n\
        ls -l new\nget said\nrm said\n-mkdir new\nrmdir sub\npwd\n";
    let mut told = gate.program("sftp", "ann");
    told.current_dir(gate.dir.path());
    told.args(["-q", "-b", "-", "-P", &port, &format!("{name}@127.0.0.1")]);
    let told = ran(told, story.as_bytes()).await;
    assert_eq!(told.code, Some(0), "{told:?}");
    assert!(
        told.text().contains("-rw-------") && told.text().contains("/tree\n"),
        "{told:?}"
    );
    assert_eq!(std::fs::read(here("said")).unwrap(), b"hello\n");
    for attack in [
        "get ../../../etc/passwd",
        "get /etc/passwd",
        "put known_hosts ../escaped",
        "cd ..",
        "ls /",
        "rename tree/much ../../much",
        "ln -s /etc etc\nget etc/passwd",
        "get etc/passwd",
        "rm tree/../../x",
        "mkdir ../x",
    ] {
        let refused = sftp(&format!("lcd {}\n{attack}\n", gate.dir.path().display())).await;
        assert_eq!(refused.code, Some(1), "{attack}: {refused:?}");
    }
    assert!(!gate.dir.path().join("passwd").exists());

    if has("rsync") {
        let ssh = gate.program("ssh", "ann");
        let ssh = ssh.as_std();
        let words = std::iter::once(ssh.get_program()).chain(ssh.get_args());
        let words: Vec<_> = words.map(|word| word.to_str().unwrap()).collect();
        let through = format!("{} -p {port}", words.join(" "));
        let rsync = async |from: &str, to: &str| {
            let mut command = Command::new("rsync");
            command.args(["-a", "--delete", "-e", &through, from, to]);
            ran(command, b"").await
        };
        let done = rsync(&format!("{}/", here("tree")), &there("synced")).await;
        assert_eq!(done.code, Some(0), "{done:?}");
        std::fs::write(here("tree/more"), "more").unwrap();
        let done = rsync(&format!("{}/", here("tree")), &there("synced")).await;
        assert_eq!(done.code, Some(0), "{done:?}");
        let done = rsync(&there("synced/"), &here("again")).await;
        assert_eq!(done.code, Some(0), "{done:?}");
        assert_eq!(std::fs::read(here("again/much")).unwrap(), much);
        assert_eq!(std::fs::read(here("again/more")).unwrap(), b"more");
    }

    // As the remote modes of editors go about it, over one connection: a command, files, a port.
    let echo = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = echo.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = echo.accept().await {
            let (mut from, mut to) = stream.split();
            // Whoever leaves has left.
            let _ = tokio::io::copy(&mut from, &mut to).await;
        }
    });
    let control = format!("-oControlPath={}", here("mux"));
    let master = gate
        .ssh("ann", &name, &["-oControlMaster=yes", &control, "-N"])
        .spawn();
    let _master = master.unwrap();
    let until = tokio::time::Instant::now() + SOON;
    while !gate.dir.path().join("mux").exists() {
        assert!(
            tokio::time::Instant::now() < until,
            "the connection is there soon"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let first = ran(
        gate.ssh("ann", &name, &[&control, "uname; echo $SHELL"]),
        b"",
    )
    .await;
    assert!(first.text().starts_with("Linux\n"), "{first:?}");
    let mut files = gate.program("sftp", "ann");
    files.args([
        "-q",
        "-b",
        "-",
        &control,
        "-P",
        &port,
        &format!("{name}@127.0.0.1"),
    ]);
    let put = format!("put {} server\nls server\n", here("tree/more"));
    assert_eq!(ran(files, put.as_bytes()).await.code, Some(0));
    let mut port = gate.ssh("ann", &name, &[&control, &format!("-Wlocalhost:{at}")]);
    let mut port = port
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    port.stdin
        .take()
        .unwrap()
        .write_all(b"hello")
        .await
        .unwrap();
    let port = tokio::time::timeout(SOON, port.wait_with_output())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(port.stdout, b"hello");
    let last = ran(gate.ssh("ann", &name, &[&control, "cat server"]), b"").await;
    assert_eq!(last.text(), "more", "{last:?}");
    gate.hall.stop().await;
}
