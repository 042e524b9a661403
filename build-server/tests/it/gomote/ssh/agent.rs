//! Agents of clients, where a farm lets them be forwarded; and what editors do over one connection.

use tokio::io::AsyncBufReadExt as _;

use super::*;

impl Gate {
    /// An agent of OpenSSH with one key, as long as it is not dropped.
    async fn agent(&self) -> (tokio::process::Child, String) {
        let socket = self.dir.path().join("agent").display().to_string();
        let mut command = Command::new("ssh-agent");
        command.args(["-D", "-a", &socket]).stdout(Stdio::null());
        let agent = command.kill_on_drop(true).spawn().unwrap();
        self.keygen("forwarded").await;
        wait_for(&socket).await;
        let mut add = Command::new("ssh-add");
        add.arg("-q")
            .arg(self.key("forwarded"))
            .env("SSH_AUTH_SOCK", &socket);
        assert!(add.status().await.unwrap().success());
        (agent, socket)
    }
}

impl Gate {
    /// `ssh -A` with that agent: it forwards only one that it may ask itself.
    fn ssh_forwarding(&self, socket: &str, session: &str, args: &[&str]) -> Command {
        let whole = self.ssh("ann", session, args);
        let mut command = Command::new("ssh");
        let args = whole.as_std().get_args();
        command.args(args.map(|arg| match arg.to_str() {
            Some("IdentityAgent=none") => std::ffi::OsStr::new("ForwardAgent=yes"),
            _ => arg,
        }));
        command.env("SSH_AUTH_SOCK", socket).kill_on_drop(true);
        command
    }
}

/// Until there is a file of this name.
async fn wait_for(path: &str) {
    let there = async {
        while !std::path::Path::new(path).exists() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(SOON, there).await.expect(path);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_is_refused_with_a_sentence_unless_the_farm_lets_it() {
    if !has("ssh-agent") || !has("ssh-add") {
        return;
    }
    let gate = Gate::open(1).await;
    let name = gate.hall.create("ann").await;
    let (_agent, socket) = gate.agent().await;
    let line = "echo [$SSH_AUTH_SOCK]";
    let refused = ran(gate.ssh_forwarding(&socket, &name, &[line]), b"").await;
    assert_eq!((refused.code, refused.text().as_str()), (Some(0), "[]\n"));
    let said = "farmer: the agent is not forwarded: this farm does not let it";
    assert!(refused.err.contains(said), "{}", refused.err);
    let quiet = ran(gate.ssh("ann", &name, &[line]), b"").await;
    assert_eq!(quiet.err, "", "who does not ask is told nothing");
    gate.hall.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn editors_have_commands_files_a_port_and_the_agent_over_one_connection() {
    if !has("ssh-agent") || !has("ssh-add") || !has("sftp") {
        return;
    }
    let gate = Gate::with(ServedPool::new(1), 1, true).await;
    let name = gate.hall.create("ann").await;
    let (_agent, socket) = gate.agent().await;
    let control = gate.dir.path().join("c").display().to_string();
    let (path, forward) = (
        format!("-oControlPath={control}"),
        format!("-oForwardAgent={socket}"),
    );
    let mut first = gate.ssh(
        "ann",
        &name,
        &["-oControlMaster=yes", &path, &forward, "-N"],
    );
    let _first = first.stdin(Stdio::null()).spawn().unwrap();
    wait_for(&control).await;
    let over = |args: &[&str]| {
        let args: Vec<_> = [&path[..], &forward]
            .into_iter()
            .chain(args.iter().copied())
            .collect();
        ran(gate.ssh("ann", &name, &args), b"")
    };
    // The key is seen there, and signs there; it never was there.
    let listed = over(&["ssh-add -l; ls -dA tmp/.agent-*/; stat -c %a tmp/.agent-*"]).await;
    let text = listed.text();
    assert!(text.contains(" forwarded (ED25519)\n"), "{listed:?}");
    assert!(
        text.contains("tmp/.agent-") && text.ends_with("700\n"),
        "{text}"
    );
    let mut sftp = gate.program("sftp", "ann");
    let port = format!("-P{}", gate.port);
    sftp.args([&path, &port, "-b", "-"])
        .arg(format!("{name}@127.0.0.1"));
    let files = ran(sftp, b"mkdir seen\nls\n").await;
    assert_eq!(files.code, Some(0), "{files:?}");
    let public = std::fs::read_to_string(gate.key("forwarded").with_extension("pub")).unwrap();
    let sign = format!(
        "cd seen; echo '{}' > k.pub; echo said > f; ssh-keygen -q -Y sign -n t -f k.pub f && cat f.sig",
        public.trim()
    );
    let signed = over(&[&sign]).await;
    assert!(signed.text().contains("BEGIN SSH SIGNATURE"), "{signed:?}");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = format!("localhost:{}", listener.local_addr().unwrap().port());
    let ((), through) = tokio::join!(
        async {
            let (mut near, _) = listener.accept().await.unwrap();
            near.write_all(b"here").await.unwrap();
        },
        over(&[&format!("-W{target}")])
    );
    assert_eq!(through.out, b"here", "{through:?}");
    // With its command the socket has gone; the one of another command is another one.
    let left = over(&["ls -A tmp | grep -c agent"]).await;
    assert_eq!(left.text(), "1\n", "its own: {left:?}");

    gate.directory.flush().unwrap();
    let (events, _) = gate.directory.audit(100).unwrap();
    assert!(
        events.iter().any(|event| event.act == Act::SshAgent),
        "it is written down"
    );
    gate.hall.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_modes_of_a_terminal_are_taken_over() {
    if !has("ssh") || !has("script") || !has("stty") {
        return;
    }
    let gate = Gate::open(1).await;
    let name = gate.hall.create("ann").await;
    // `script` gives ssh a terminal of its own, which stty changes first.
    let ssh = gate.ssh("ann", &name, &["-tt", "stty -a"]);
    let words = std::iter::once(ssh.as_std().get_program()).chain(ssh.as_std().get_args());
    let line: Vec<_> = words
        .map(|word| format!("'{}'", word.to_str().unwrap()))
        .collect();
    let line = format!("stty intr ^X erase ^H -echoctl -ixon; {}", line.join(" "));
    let mut script = Command::new("script");
    script
        .args(["-qec", &line, "/dev/null"])
        .env_remove("SSH_AUTH_SOCK")
        .kill_on_drop(true);
    let shown = ran(script, b"").await.text();
    for mode in ["intr = ^X;", "erase = ^H;", "-echoctl", "-ixon"] {
        assert!(shown.contains(mode), "{mode}: {shown}");
    }
    gate.hall.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_hour_of_silence_over_ssh_keeps_the_machine() {
    if !has("ssh") {
        return;
    }
    let clock = ManualClock::at(Timestamp::from_seconds(1));
    let gate = Gate::by_clock(ServedPool::new(1), 1, false, Some(clock.clone())).await;
    let name = gate.hall.create("ann").await;
    let line = "echo ready; until [ -e go-on ]; do sleep 0.02; done; echo done";
    let mut silent = gate.ssh("ann", &name, &[line]);
    let mut silent = silent.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = tokio::io::BufReader::new(silent.stdout.take().unwrap()).lines();
    assert_eq!(lines.next_line().await.unwrap().as_deref(), Some("ready"));
    for _ in 0..12 {
        clock.advance(Duration::from_secs(300));
        gate.hall.gomote.sessions().sweep().await;
    }
    gate.hall.shell("ann", &name, "touch go-on").await;
    assert_eq!(lines.next_line().await.unwrap().as_deref(), Some("done"));
    gate.hall.stop().await;
}
