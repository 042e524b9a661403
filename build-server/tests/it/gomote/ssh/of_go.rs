//! Machines whose buildlets are Go's: what can be done without a terminal and input is.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_buildlet_of_go_runs_commands_and_says_what_it_does_not_know() {
    if !has("ssh") {
        return;
    }
    let gate = Gate::with(ServedPool::as_go(1), 1, true).await;
    let name = gate.hall.create("ann").await;
    let run = async |args: &[&str]| ran(gate.ssh("ann", &name, args), b"typed\n").await;
    // Both streams are one there, and there is no input.
    let fine = run(&["echo out; echo err >&2; cat"]).await;
    assert_eq!(fine.code, Some(0), "{fine:?}");
    assert_eq!(fine.text(), "out\nerr\n", "{fine:?}");
    assert_eq!(run(&["exit 7"]).await.code, Some(7));
    let set = run(&["-oSetEnv=LC_X=yes", "echo $LC_X"]).await;
    assert_eq!(set.text(), "yes\n", "{set:?}");
    // Somebody who wants a terminal is told, and has the command all the same.
    let told = run(&["-tt", "echo here"]).await;
    assert_eq!(told.code, Some(0), "{told:?}");
    let said = told.text();
    assert!(
        said.contains("gives no terminal, and the command no input") && said.contains("here\n"),
        "{said}"
    );
    let shell = run(&[]).await;
    assert_eq!(shell.code, Some(255), "{shell:?}");
    assert!(
        shell
            .err
            .contains("give a command, as in: ssh SESSION COMMAND"),
        "{shell:?}"
    );
    let sftp = run(&["-s", "sftp"]).await;
    assert_eq!(sftp.code, Some(255), "{sftp:?}");
    assert!(sftp.err.contains("knows no sftp"), "{sftp:?}");
    // Somebody who leaves in the middle leaves the session to the next one.
    let mut there = gate.ssh("ann", &name, &["echo ready; exec sleep 1000"]);
    let mut there = there
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = [0; 6];
    let ready = tokio::io::AsyncReadExt::read_exact(there.stdout.as_mut().unwrap(), &mut line);
    tokio::time::timeout(SOON, ready).await.unwrap().unwrap();
    there.kill().await.unwrap();
    assert_eq!(run(&["true"]).await.code, Some(0));
    gate.hall.stop().await;
}
