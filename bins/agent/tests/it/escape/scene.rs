//! A farm that builds might attack: its data, its processes, its user.

use std::cell::{Cell, RefCell};
use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use build_core::ids::{BuilderName, ExecId, HostType, LeaseId, MachineId, Nonce};
use build_core::plan::{Network, Sandbox};
use build_core::pool::{Lease, LeaseRequest, Pool as _};
use build_server::buildlet::sandbox::Bounds;
use build_server::pool::LocalPool;

/// Where programs of the system are; nothing of the test's own user.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin";

/// One try.
pub(super) struct Try {
    pub(super) name: &'static str,
    pub(super) tool: &'static str,
    proof: &'static str,
    pub(super) script: String,
}

impl Try {
    /// Reads the file of tries.
    pub(super) fn all(text: &'static str) -> Vec<Self> {
        let mut tries: Vec<Self> = Vec::new();
        for line in text.lines().filter(|line| !line.starts_with("# ")) {
            if let Some(head) = line.strip_prefix("#: ") {
                let words: Vec<&str> = head.split_whitespace().collect();
                let [name, tool, proof] = words[..] else {
                    continue;
                };
                tries.push(Self {
                    name,
                    tool,
                    proof,
                    script: String::new(),
                });
            } else if let Some(last) = tries.last_mut() {
                last.script.push_str(line);
                last.script.push('\n');
            }
        }
        tries.retain(|t| t.name != "NAME");
        tries
    }

    /// Whether it takes too much, and limits end it.
    pub(super) fn is_bomb(&self) -> bool {
        self.proof == "limit"
    }
}

/// Where clouds tell a machine its secrets.
const METADATA: &str = "169.254.169.254";
/// A program that runs as root, whoever starts it; beside the scenes.
pub(super) const SETUID: &str = "tools/id";

/// What each command may take: less than a bomb does, more than any other try.
fn bounds() -> Bounds {
    Bounds::default()
        .with_memory(100 << 20)
        .with_processes(100)
        .with_disk(32 << 20)
        .with_files(2_000)
}

/// A stand-in for a cloud, where a network of our own has its address. It answers datagrams until it is
/// told to stop.
struct Metadata {
    _tcp: TcpListener,
    udp: Arc<UdpSocket>,
    port: u16,
    answering: Option<std::thread::JoinHandle<()>>,
}

impl Metadata {
    fn open() -> Option<Self> {
        let tcp = TcpListener::bind((METADATA, 0)).ok()?;
        let port = tcp.local_addr().unwrap().port();
        let udp = Arc::new(UdpSocket::bind((METADATA, port)).ok()?);
        let answers = udp.clone();
        let answering = std::thread::spawn(move || {
            let mut byte = [0; 1];
            // The scene itself says the last word.
            while let Ok((1, from)) = answers.recv_from(&mut byte)
                && byte != [0]
            {
                let _ = answers.send_to(b"secret", from);
            }
        });
        Some(Self {
            _tcp: tcp,
            udp,
            port,
            answering: Some(answering),
        })
    }
}

impl Drop for Metadata {
    fn drop(&mut self) {
        let _ = self.udp.send_to(&[0], self.udp.local_addr().unwrap());
        if let Some(answering) = self.answering.take() {
            let _ = answering.join();
        }
    }
}

/// The farm, its pool and its user.
pub(super) struct Scene {
    pub(super) pool: LocalPool,
    data: PathBuf,
    users: PathBuf,
    marker: String,
    farm: Child,
    port: u16,
    memory: String,
    machines: RefCell<(PathBuf, PathBuf)>,
    unique: Cell<u32>,
    metadata: Option<Metadata>,
    setuid: PathBuf,
    _listeners: (UnixListener, UnixListener, TcpListener),
}

impl Scene {
    pub(super) fn set(dir: &Path, buildlet: &Path) -> Self {
        let (data, users) = (dir.join("data"), dir.join("user"));
        for dir in [
            &data,
            &users.join(".ssh"),
            &users.join(".cargo/bin"),
            &users.join(".rustup"),
        ] {
            fs::create_dir_all(dir).unwrap();
        }
        let marker = format!("escape-{:x}", getrandom::u64().unwrap());
        for path in ["/tmp", "/dev/shm"] {
            // A machine without the directory shows less.
            let name = if path == "/tmp" { "-theirs" } else { "" };
            let _ = fs::write(format!("{path}/{marker}{name}"), "x");
        }
        let env = [
            ("PATH", PATH.to_owned()),
            ("HOME", users.display().to_string()),
        ];
        let pool = LocalPool::builder(buildlet, 2)
            .arguments([] as [&str; 0])
            .data_dir(&data)
            .env(env.map(|(name, value)| (name.into(), value.into())))
            .sandbox(Sandbox::None)
            .bounds(bounds())
            .readable([dir.with_file_name("tools")])
            .spares(0)
            .build()
            .unwrap();
        let mut farm = Command::new("sleep");
        let farm = farm
            .arg("100000")
            .env("FARM_SECRET", "x")
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let name = SocketAddr::from_abstract_name(&marker).unwrap();
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let listeners = (
            UnixListener::bind(data.join("sock")).unwrap(),
            UnixListener::bind_addr(&name).unwrap(),
            tcp,
        );
        let memory = Command::new("ipcmk").args(["-M", "64"]).output();
        let memory = memory.map(|made| String::from_utf8_lossy(&made.stdout).into_owned());
        let memory = memory.unwrap_or_default();
        Self {
            pool,
            farm,
            port: listeners.2.local_addr().unwrap().port(),
            memory: memory
                .split_whitespace()
                .last()
                .unwrap_or_default()
                .to_owned(),
            machines: RefCell::default(),
            unique: Cell::new(0),
            metadata: Metadata::open(),
            setuid: dir.with_file_name(SETUID),
            _listeners: listeners,
            data,
            users,
            marker,
        }
    }

    pub(super) async fn lease(
        &self,
        number: u64,
        sandbox: Sandbox,
        network: Network,
    ) -> Arc<dyn Lease> {
        let request = LeaseRequest {
            lease: LeaseId::from_bits(number),
            nonce: Nonce::new(format!("nonce-{number}")).unwrap(),
            machine: MachineId::new(format!("local-{number}")).unwrap(),
            host_type: HostType::new("local").unwrap(),
            builder: BuilderName::new("local").unwrap(),
            sandbox,
            network,
            image: None,
            ttl: Duration::from_secs(600),
        };
        self.pool.acquire(&request).await.unwrap()
    }

    /// What a try needs that is not on this machine.
    pub(super) fn lacks(&self, attempt: &Try) -> bool {
        match attempt.tool {
            "-" => false,
            "metadata" => self.metadata.is_none(),
            "setuid" => !self.setuid.exists(),
            tool => {
                let mut dirs = PATH.split(':').map(Path::new);
                !dirs.any(|dir| dir.join(tool).is_file())
            }
        }
    }

    /// A name for the next command.
    pub(super) fn next_id(&self) -> ExecId {
        ExecId::new(format!("bomb-{}", self.unique.get())).unwrap()
    }

    /// Says which machine tries, and which one it tries to reach.
    pub(super) fn furnish(&self, own: &dyn Lease, other: &dyn Lease) {
        let dir = |lease: &dyn Lease| self.data.join("machines/local").join(&lease.record().place);
        *self.machines.borrow_mut() = (dir(own), dir(other));
    }

    /// Puts everything back that a try may have changed.
    pub(super) fn reset(&self, attempt: &Try) {
        self.unique.set(self.unique.get() + 1);
        let (own, other) = &*self.machines.borrow();
        // What a bomb has left counts.
        let _ = fs::remove_file(own.join("work/big"));
        let _ = fs::remove_dir_all(own.join("work/many"));
        let files = ["token", "farmer.db", "lock", "moved", "removed", "emptied"];
        for file in files {
            fs::write(self.data.join(file), "x").unwrap();
        }
        fs::write(self.data.join("program"), "#!/bin/sh\n").unwrap();
        let executable = fs::Permissions::from_mode(0o700);
        fs::set_permissions(self.data.join("program"), executable).unwrap();
        fs::write(other.join("work/secret"), "x").unwrap();
        for file in [
            ".ssh/id",
            ".netrc",
            ".profile",
            ".gitconfig",
            ".cargo/bin/tool",
            ".rustup/settings",
        ] {
            fs::write(self.users.join(file), "x").unwrap();
        }
        // What an earlier level has left behind is no proof.
        let _ = fs::remove_dir(self.data.join("made"));
        if let Some(proof) = self
            .proof(attempt)
            .filter(|proof| proof.contains(&self.marker))
        {
            let _ = fs::remove_file(proof);
        }
    }

    fn proof(&self, attempt: &Try) -> Option<String> {
        let mut proof = attempt.proof.to_owned();
        for (name, value) in self.variables() {
            proof = proof.replace(&format!("${name}"), &value);
        }
        proof.starts_with('/').then_some(proof)
    }

    /// Whether the success of a try shows outside; `None` when it need not.
    pub(super) fn shows(&self, attempt: &Try) -> Option<bool> {
        if let Some(time) = attempt.proof.strip_prefix("sleep-") {
            let running = processes(time);
            for pid in &running {
                let _ = Command::new("kill").args(["-9", pid]).status();
            }
            return Some(!running.is_empty());
        }
        let proof = PathBuf::from(self.proof(attempt)?);
        let text = fs::read_to_string(&proof).unwrap_or_default();
        Some(proof.is_dir() || text.contains("owned"))
    }

    /// What every try is told: where everything is that it may be after.
    pub(super) fn variables(&self) -> Vec<(&'static str, String)> {
        let (own, other) = &*self.machines.borrow();
        let text = |path: &Path| path.display().to_string();
        vec![
            ("DATA", text(&self.data)),
            ("USERS", text(&self.users)),
            ("OWN", text(own)),
            ("OTHER", text(other)),
            ("SECRET", text(&other.join("work").join("secret"))),
            ("FARM", self.farm.id().to_string()),
            ("SOCKET", text(&self.data.join("sock"))),
            ("ABSTRACT", self.marker.clone()),
            ("MARKER", self.marker.clone()),
            ("PORT", self.port.to_string()),
            ("METADATA", METADATA.to_owned()),
            (
                "METADATA_PORT",
                (self.metadata.as_ref()).map_or(0, |m| m.port).to_string(),
            ),
            ("SETUID", text(&self.setuid)),
            ("SHM", self.memory.clone()),
        ]
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        // They may be gone: what is left of a test is not worth a failure.
        let _ = self.farm.kill().and_then(|()| self.farm.wait());
        let _ = Command::new("ipcrm").args(["-m", &self.memory]).status();
        for path in ["/tmp", "/dev/shm", "/var/tmp"] {
            for end in ["", "-theirs"] {
                let _ = fs::remove_file(format!("{path}/{}{end}", self.marker));
            }
        }
    }
}

/// Processes that sleep for so long, once their number does not change any more.
fn processes(time: &str) -> Vec<String> {
    let look = || {
        let entries = fs::read_dir("/proc").unwrap().flatten();
        let sleeps = entries.filter(|entry| {
            let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            line == format!("sleep\0{time}\0").as_bytes()
        });
        let pids = sleeps.map(|entry| entry.file_name().to_string_lossy().into_owned());
        pids.collect::<Vec<_>>()
    };
    // Processes that were killed take a moment to end.
    let begin = Instant::now();
    let mut running = look();
    while !running.is_empty() && begin.elapsed() < Duration::from_millis(300) {
        std::thread::sleep(Duration::from_millis(20));
        running = look();
    }
    running
}
