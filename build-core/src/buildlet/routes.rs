//! Every word of the protocol, exactly as it stands on the wire.

use std::fmt;

use super::KeptTree;

/// Version of the protocol that we speak: that of December 2020.
pub const VERSION: u32 = 25;

/// How a machine refuses a request that should have been a GET; one of 2020 refuses a form of
/// files so.
pub const NOT_GET: &str = "requires GET method";

/// Version of the coordinator's HTTP interface for remote buildlets.
pub const COORDINATOR_VERSION: &str = "20191119";

/// Names of query and form parameters.
pub mod param {
    /// What an upload, a download or a listing is about; where a command runs.
    pub const DIR: &str = "dir";
    /// Where a written file goes; what is removed; elements of `PATH` of a command.
    pub const PATH: &str = "path";
    /// A path that is no text, as [`Name::escaped`](crate::name::Name::escaped) writes it.
    pub const ESCAPED_PATH: &str = "escaped_path";
    /// Mode of a written file, in decimal; for commands `sys` or nothing.
    pub const MODE: &str = "mode";
    /// Where the buildlet fetches an archive itself.
    pub const URL: &str = "url";
    /// `0`: the archive is one gzip member.
    pub const PARGZIP: &str = "pargzip";
    /// Whether a listing goes below the directory.
    pub const RECURSIVE: &str = "recursive";
    /// Whether a listing tells SHA-1 sums.
    pub const DIGEST: &str = "digest";
    /// A directory that a listing leaves out; may be repeated.
    pub const SKIP: &str = "skip";
    /// The program of a command.
    pub const CMD: &str = "cmd";
    /// An argument of a command; may be repeated.
    pub const CMD_ARG: &str = "cmdArg";
    /// `NAME=value` for the environment of a command; may be repeated.
    pub const ENV: &str = "env";
    /// The same of what is no text, as [`Name::escaped`](crate::name::Name::escaped) writes it.
    pub const ESCAPED_ENV: &str = "escaped_env";
    /// Whether the output begins with a line that tells what is run.
    pub const DEBUG: &str = "debug";
    /// How many bytes `/debug/x` answers with.
    pub const N: &str = "n";
    /// Names a detached command (ours).
    pub const ID: &str = "id";
    /// Longest run of a detached command, in milliseconds (ours).
    pub const TIMEOUT_MS: &str = "timeout_ms";
    /// Longest silence of a detached command, in milliseconds (ours).
    pub const QUIET_MS: &str = "quiet_ms";
    /// Most bytes of output kept of a detached command (ours).
    pub const LOG_LIMIT: &str = "log_limit";
    /// Least free bytes on the disk of a detached command (ours).
    pub const DISK_FLOOR: &str = "disk_floor";
    /// Most bytes of memory of a detached command (ours).
    pub const MEMORY_LIMIT: &str = "memory_limit";
    /// Most processes of a detached command (ours).
    pub const PROCESS_LIMIT: &str = "process_limit";
    /// The least sandbox level of a command: `none`, `user`, `namespaces` (ours).
    pub const SANDBOX: &str = "sandbox";
    /// The most network that a command sees: `on`, `loopback`, `off` (ours).
    pub const NETWORK: &str = "network";
    /// First byte of a log that is wanted (ours).
    pub const OFFSET: &str = "offset";
    /// Whether a log answer goes on until the command has ended (ours).
    pub const FOLLOW: &str = "follow";
    /// Names the lease that is renewed (ours).
    pub const NONCE: &str = "nonce";
    /// How long a lease is good for, in milliseconds (ours).
    pub const TTL_MS: &str = "ttl_ms";
    /// The type of the terminal that an attached command gets, such as `xterm` (ours).
    pub const TERMINAL: &str = "terminal";
    /// Its size: `80x24x0x0`, in letters and in pixels (ours).
    pub const WINDOW: &str = "window";
    /// The modes of the client's own terminal, which it takes over: `3=127,53=1` (ours).
    pub const MODES: &str = "modes";
    /// Whether the buildlet's `TMPDIR` and `GOCACHE` win over the caller's (ours).
    pub const OVERRIDE_TMP: &str = "override_tmp";
}

/// Names of header fields.
pub mod header {
    /// Type of a form.
    pub const FORM_TYPE: &str = "application/x-www-form-urlencoded";
    /// Type of an archive. It is never labelled with a `Content-Encoding`: Go clients
    /// would unpack it on the way.
    pub const ARCHIVE_TYPE: &str = "application/x-gzip";
    /// Type of `/status`.
    pub const JSON_TYPE: &str = "application/json; charset=utf-8";
    /// Type of a listing in JSON lines (ours).
    pub const NDJSON_TYPE: &str = "application/x-ndjson";
    /// Registration: key of the host table.
    pub const HOST_TYPE: &str = "X-Go-Host-Type";
    /// Registration: proof of the host type.
    pub const BUILDER_KEY: &str = "X-Go-Builder-Key";
    /// Registration: name of the machine.
    pub const BUILDER_HOSTNAME: &str = "X-Go-Builder-Hostname";
    /// Registration: [`super::VERSION`].
    pub const BUILDER_VERSION: &str = "X-Go-Builder-Version";
    /// Registration: version of the reverse connection, `2`.
    pub const REVDIAL_VERSION: &str = "X-Revdial-Version";
    /// `/connect-ssh`: one line for `authorized_keys`.
    pub const AUTHORIZED_KEY: &str = "X-Go-Authorized-Key";
    /// `/connect-ssh`: the user to log in as.
    pub const SSH_USER: &str = "X-Go-Ssh-User";
    /// Requests through a coordinator: name of the remote buildlet.
    pub const BUILDLET_PROXY: &str = "X-Buildlet-Proxy";
    /// `/tcpproxy`: port on the machine.
    pub const TARGET_PORT: &str = "X-Target-Port";
    /// `/agent`: names the socket to `/agent/accept` (ours).
    pub const AGENT: &str = "X-Agent";
    /// `/agent`: where the socket is on the machine (ours).
    pub const AGENT_SOCKET: &str = "X-Agent-Socket";
    /// Coordinator: newest client version it knows.
    pub const SUPPORTED_VERSION: &str = "X-Supported-Version";
}

/// Names of trailers.
pub mod trailer {
    /// How a command ended.
    pub const PROCESS_STATE: &str = "Process-State";
    /// Its exit status, in decimal (ours).
    pub const EXIT_CODE: &str = "X-Exit-Code";
    /// The number of the signal that ended it (ours).
    pub const SIGNAL: &str = "X-Signal";
    /// How long it ran (ours).
    pub const DURATION_MS: &str = "X-Duration-Ms";
    /// Most memory it had (ours).
    pub const MAX_RSS_KB: &str = "X-Max-Rss-Kb";
    /// How many bytes of output there are (ours).
    pub const OUTPUT_BYTES: &str = "X-Output-Bytes";
    /// `truncated` when output was given up after the command ended (ours).
    pub const OUTPUT: &str = "X-Output";
}

/// What a path of the buildlet names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Route<'a> {
    /// `/`: a line for people.
    Root,
    /// `/status`
    Status,
    /// `/workdir`
    WorkDir,
    /// `/write`: one file.
    Write,
    /// `/writetgz`: an archive is unpacked.
    WriteTgz,
    /// `/tgz`: a directory is packed.
    Tgz,
    /// `/ls`
    Ls,
    /// `/removeall`
    RemoveAll,
    /// `/exec`: POST runs a command, GET lists the detached ones (ours).
    Exec,
    /// `/exec/start`: starts a detached command (ours).
    ExecStart,
    /// `/exec/attached`: the connection becomes one to a command that reads (ours).
    ExecAttached,
    /// `/exec/ID`: its state; DELETE forgets it (ours).
    ExecOf(&'a str),
    /// `/exec/ID/log`: its output (ours).
    ExecLog(&'a str),
    /// `/exec/ID/kill`: ends it (ours).
    ExecKill(&'a str),
    /// `/trees/SHA256`: a tree that is kept beside the work directory (ours).
    TreeOf(&'a str),
    /// `/lease`: renews the lease (ours).
    Lease,
    /// `/halt`
    Halt,
    /// `/connect-ssh`: the connection becomes one to the ssh server.
    ConnectSsh,
    /// `/tcpproxy`: the connection becomes one to a port of the machine; coordinators only.
    TcpProxy,
    /// `/sftp`: the connection becomes one of the sftp protocol (ours).
    Sftp,
    /// `/agent`: a socket for an ssh agent elsewhere, as long as the connection lasts (ours).
    Agent,
    /// `/agent/accept`: the connection becomes the next one to that socket (ours).
    AgentAccept,
    /// `/debug/goroutines`: what the buildlet is doing.
    DebugTasks,
    /// `/debug/x`: so many bytes, to test the network.
    DebugX,
    /// `/healthz`
    Healthz,
}

impl<'a> Route<'a> {
    const FIXED: [(&'static str, Self); 21] = [
        ("/", Self::Root),
        ("/status", Self::Status),
        ("/workdir", Self::WorkDir),
        ("/write", Self::Write),
        ("/writetgz", Self::WriteTgz),
        ("/tgz", Self::Tgz),
        ("/ls", Self::Ls),
        ("/removeall", Self::RemoveAll),
        ("/exec", Self::Exec),
        ("/exec/start", Self::ExecStart),
        ("/exec/attached", Self::ExecAttached),
        ("/lease", Self::Lease),
        ("/halt", Self::Halt),
        ("/connect-ssh", Self::ConnectSsh),
        ("/tcpproxy", Self::TcpProxy),
        ("/sftp", Self::Sftp),
        ("/agent", Self::Agent),
        ("/agent/accept", Self::AgentAccept),
        ("/debug/goroutines", Self::DebugTasks),
        ("/debug/x", Self::DebugX),
        ("/healthz", Self::Healthz),
    ];

    /// The route of a path; `None` for unknown ones, unclean ones (`//status`) included.
    #[must_use]
    pub fn of(path: &'a str) -> Option<Self> {
        if let Some(name) = path.strip_prefix("/trees/") {
            return KeptTree::is_name(name).then_some(Self::TreeOf(name));
        }
        let fixed = Self::FIXED.iter().find(|(known, _)| *known == path);
        fixed
            .map(|&(_, route)| route)
            .or_else(|| Self::of_command(path.strip_prefix("/exec/")?))
    }

    fn of_command(rest: &'a str) -> Option<Self> {
        match rest.split_once('/') {
            _ if rest.is_empty() || rest.starts_with('/') => None,
            None => Some(Self::ExecOf(rest)),
            Some((id, "log")) => Some(Self::ExecLog(id)),
            Some((id, "kill")) => Some(Self::ExecKill(id)),
            Some(_) => None,
        }
    }

    /// Whether the password is asked for, where one is set.
    #[must_use]
    pub fn is_guarded(self) -> bool {
        !matches!(self, Self::Root | Self::DebugX | Self::Healthz)
    }

    /// The refusal of a method, which goes with status 400 as in the Go implementation;
    /// `None` when the method fits.
    #[must_use]
    pub fn refuses(self, method: &str) -> Option<&'static str> {
        let (allowed, refusal): (&[&str], _) = match self {
            Self::Root | Self::DebugTasks | Self::DebugX | Self::Healthz => return None,
            Self::Status | Self::WorkDir | Self::Ls | Self::ExecLog(_) => (&["GET"], NOT_GET),
            // A form names files of the directory; machines of 2020 refuse it.
            Self::Tgz => (&["GET", "POST"], NOT_GET),
            Self::Write => (&["PUT"], "requires PUT method"),
            Self::WriteTgz => (&["PUT", "POST"], "requires PUT or POST method"),
            Self::TreeOf(_) => (&["GET", "PUT", "POST"], "requires GET, PUT or POST method"),
            Self::Exec => (&["POST", "GET"], "requires POST method"),
            Self::ExecOf(_) => (&["GET", "DELETE"], "requires GET or DELETE method"),
            Self::RemoveAll
            | Self::ExecStart
            | Self::ExecAttached
            | Self::ExecKill(_)
            | Self::Lease
            | Self::Halt
            | Self::ConnectSsh
            | Self::TcpProxy
            | Self::Sftp
            | Self::Agent
            | Self::AgentAccept => (&["POST"], "requires POST method"),
        };
        (!allowed.contains(&method)).then_some(refusal)
    }
}

impl fmt::Display for Route<'_> {
    /// The path.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TreeOf(sha256) => write!(f, "/trees/{sha256}"),
            Self::ExecOf(id) => write!(f, "/exec/{id}"),
            Self::ExecLog(id) => write!(f, "/exec/{id}/log"),
            Self::ExecKill(id) => write!(f, "/exec/{id}/kill"),
            fixed => {
                let path = Self::FIXED.iter().find(|(_, route)| route == fixed);
                f.write_str(path.map_or("/", |(path, _)| path))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_comes_back_from_its_path() {
        let hash = "5f".repeat(32);
        let fixed = Route::FIXED.iter().map(|&(_, route)| route);
        let commands = [
            Route::ExecOf("a1"),
            Route::ExecLog("a1"),
            Route::ExecKill("a1"),
            Route::TreeOf(&hash),
        ];
        for route in fixed.chain(commands) {
            assert_eq!(Route::of(&route.to_string()), Some(route));
        }
    }

    #[test]
    fn unknown_and_unclean_paths_have_no_route() {
        for path in [
            "",
            "status",
            "//status",
            "/a/../status",
            "/status/",
            "/exec/",
            "/exec//log",
            "/exec/a/b",
            "/exec/a/log/",
            "/trees/",
            "/trees/../x",
            "/Status",
        ] {
            assert_eq!(Route::of(path), None, "{path:?}");
        }
    }

    #[test]
    fn methods_are_refused_in_the_words_of_the_protocol() {
        assert_eq!(Route::Exec.refuses("PUT"), Some("requires POST method"));
        assert_eq!(Route::Status.refuses("POST"), Some("requires GET method"));
        assert_eq!(
            Route::WriteTgz.refuses("GET"),
            Some("requires PUT or POST method")
        );
        assert_eq!(Route::WriteTgz.refuses("POST"), None);
        assert_eq!(Route::Root.refuses("BREW"), None);
    }

    #[test]
    fn only_harmless_routes_are_open() {
        let open = |path| !Route::of(path).unwrap().is_guarded();
        assert!(open("/") && open("/debug/x") && open("/healthz"));
        assert!(
            !open("/status")
                && !open("/exec")
                && !open("/exec/a/kill")
                && !open("/debug/goroutines")
        );
    }
}
