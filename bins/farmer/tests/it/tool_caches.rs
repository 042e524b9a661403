//! Caches of tools: what one build has downloaded or compiled, the next one has, on whatever machine.
//!
//! The user of this test has no caches and no home worth the name, as on a machine that is new. What
//! tools ask for comes from a server of packages that writes down each request.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::repo::{Repo, has_tool};

/// Packages of four kinds, each of one file; the first line that it says is its address.
const REGISTRY: &str = r#"
import hashlib, http.server, io, json, os, sys, tarfile, zipfile

os.chdir(sys.argv[1])

class Handler(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def end_headers(self):
        self.send_header("Cache-Control", "max-age=3600")
        super().end_headers()
    def log_message(self, form, *args):
        with open("../requests", "a") as log:
            log.write(self.path + "\n")

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
url = "http://127.0.0.1:%d" % server.server_address[1]

def put(path, data):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(data.encode() if isinstance(data, str) else data)

def tgz(files):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, text in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text.encode()))
    return out.getvalue()

def zipped(files):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return out.getvalue()

at, mod = "go/example.com/dep/@v/", "module example.com/dep\n\ngo 1.20\n"
put(at + "list", "v1.0.0\n")
put(at + "v1.0.0.info", '{"Version":"v1.0.0","Time":"2020-01-01T00:00:00Z"}')
put(at + "v1.0.0.mod", mod)
inside = "example.com/dep@v1.0.0/"
put(at + "v1.0.0.zip", zipped({inside + "go.mod": mod, inside + "dep.go": "package dep\n\nconst Name = 1\n"}))

manifest = '[package]\nname = "warm-dep"\nversion = "1.0.0"\nedition = "2021"\n'
crate = tgz({"warm-dep-1.0.0/Cargo.toml": manifest, "warm-dep-1.0.0/src/lib.rs": "pub fn name() {}\n"})
put("cargo/config.json", json.dumps({"dl": url + "/cargo/dl"}))
about = {"name": "warm-dep", "vers": "1.0.0", "deps": [], "features": {}, "yanked": False,
         "cksum": hashlib.sha256(crate).hexdigest()}
put("cargo/wa/rm/warm-dep", json.dumps(about) + "\n")
put("cargo/dl/warm-dep/1.0.0/download", crate)

package = {"name": "warm-dep", "version": "1.0.0"}
archive = tgz({"package/package.json": json.dumps(package), "package/index.js": ""})
put("npm/-/warm-dep-1.0.0.tgz", archive)
package["dist"] = {"tarball": url + "/npm/-/warm-dep-1.0.0.tgz", "shasum": hashlib.sha1(archive).hexdigest()}
put("npm/warm-dep", json.dumps({"name": "warm-dep", "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": package}}))

name = "warm_dep-1.0.0-py3-none-any.whl"
info = "warm_dep-1.0.0.dist-info/"
put("pip/" + name, zipped({
    "warm_dep.py": "", info + "METADATA": "Metadata-Version: 2.1\nName: warm-dep\nVersion: 1.0.0\n",
    info + "WHEEL": "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    info + "RECORD": "warm_dep.py,,\n" + info + "METADATA,,\n" + info + "WHEEL,,\n" + info + "RECORD,,\n"}))
put("pip/warm-dep/index.html", '<a href="../%s">%s</a>' % (name, name))

print(url, flush=True)
server.serve_forever()
"#;

const STEPS: &str = r#"
[[step]]
name = "go"
dir = "go"
run = "go build -v ./..."

[[step]]
name = "cargo"
dir = "rust"
run = "cargo build"

[[step]]
name = "npm"
dir = "node"
run = "npm install --no-audit --no-fund"

[[step]]
name = "pip"
run = "python3 -m pip install --disable-pip-version-check --target out --trusted-host 127.0.0.1 warm-dep"
"#;

struct Registry {
    server: Child,
    url: String,
}

impl Registry {
    fn start(dir: &Path) -> Self {
        let files = dir.join("files");
        std::fs::create_dir(&files).unwrap();
        let mut server = Command::new("python3")
            .args(["-c", REGISTRY])
            .arg(&files)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut url = String::new();
        let said = server.stdout.take().unwrap();
        BufReader::new(said).read_line(&mut url).unwrap();
        Self {
            server,
            url: url.trim().to_owned(),
        }
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        // It has ended by itself, or is ended now.
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// The packages that were asked for since the last time.
fn downloads(dir: &Path) -> Vec<String> {
    let log = dir.join("requests");
    let text = std::fs::read_to_string(&log).unwrap_or_default();
    std::fs::write(&log, "").unwrap();
    let is_package = |path: &&str| {
        [".zip", "/download", ".tgz", ".whl"]
            .iter()
            .any(|end| path.ends_with(end))
    };
    let mut packages: Vec<_> = text.lines().filter(is_package).map(str::to_owned).collect();
    packages.sort();
    packages
}

#[test]
fn the_second_build_downloads_nothing_and_compiles_no_dependency() {
    if !["go", "cargo", "npm", "python3"]
        .iter()
        .all(|tool| has_tool(tool))
    {
        return;
    }
    let repo = Repo::new();
    let place = repo.home().join("registry");
    std::fs::create_dir(&place).unwrap();
    let registry = Registry::start(&place);
    let url = &registry.url;
    repo.write(".farmer.toml", STEPS)
        .write("go/go.mod", "module example.com/demo\n\ngo 1.20\n\nrequire example.com/dep v1.0.0\n")
        .write("go/demo.go", "package demo\n\nimport \"example.com/dep\"\n\nconst Name = dep.Name\n")
        .write("rust/.cargo/config.toml", &format!("[registries.local]\nindex = \"sparse+{url}/cargo/\"\n"))
        .write("rust/Cargo.toml", "[package]\nname = \"demo\"\nversion = \"0.1.0\"\nedition = \"2021\"\n\n[dependencies]\nwarm-dep = { version = \"1\", registry = \"local\" }\n")
        .write("rust/src/lib.rs", "pub use warm_dep::name;\n")
        .write("node/package.json", "{\"name\":\"demo\",\"version\":\"1.0.0\",\"dependencies\":{\"warm-dep\":\"1.0.0\"}}\n");
    repo.commit("first");
    // Toolchains are the machine's; everything else of the user is new.
    let home = repo.home().join("user");
    std::fs::create_dir(&home).unwrap();
    let rustup = std::env::var_os("RUSTUP_HOME").unwrap_or_else(|| {
        Path::new(&std::env::var_os("HOME").unwrap())
            .join(".rustup")
            .into()
    });
    let build = || {
        let mut command = repo.farmer();
        for name in [
            "CARGO_HOME",
            "GOPATH",
            "GOCACHE",
            "GOMODCACHE",
            "PIP_CACHE_DIR",
            "npm_config_cache",
        ] {
            command.env_remove(name);
        }
        // Kept apart as where nobody says otherwise.
        command
            .arg("build")
            .env_remove("FARMER_SANDBOX")
            .env("HOME", &home)
            .env("RUSTUP_HOME", &rustup)
            .env("GOPROXY", format!("{url}/go"))
            .env("GOSUMDB", "off")
            .env("GOFLAGS", "-mod=mod")
            .env("GOTOOLCHAIN", "local")
            .env("npm_config_registry", format!("{url}/npm"))
            .env("PIP_INDEX_URL", format!("{url}/pip"));
        let run = crate::repo::Run::of(command.output().unwrap()).exits(0);
        (run.out(), run.err())
    };
    let (said, _) = build();
    assert!(said.contains("go | example.com/dep\n"), "{said}");
    let whole = [
        "/cargo/dl/warm-dep/1.0.0/download",
        "/go/example.com/dep/@v/v1.0.0.zip",
        "/npm/-/warm-dep-1.0.0.tgz",
        "/pip/warm_dep-1.0.0-py3-none-any.whl",
    ];
    assert_eq!(downloads(&place), whole, "{said}");
    repo.write("go/more.go", "package demo\n").commit("second");
    let (said, told) = build();
    assert_eq!(downloads(&place), [""; 0], "{said}");
    let warm = "warm caches of tools: cargo registry, Go modules, Go results, npm, pip\n";
    assert!(told.contains(warm), "{told}");
    assert!(said.contains("go | example.com/demo\n"), "{said}");
    assert!(!said.contains("go | example.com/dep\n"), "{said}");
}

/// A file as it is written on Windows; its lines end in CR and LF.
const APART: &str = "[[step]]\r\nname = \"maven\"\r\nrun = \"\"\"\r\nset -e\r\ncd java\r\n\
    mvn -o -q -B validate\r\ntest -d \"$HOME/.m2/repository\"\r\n\"\"\"\r\n";

#[test]
fn maven_works_for_a_user_who_never_ran_it_where_builds_are_kept_apart() {
    if !has_tool("mvn") {
        return;
    }
    let repo = Repo::new();
    let pom = "<project><modelVersion>4.0.0</modelVersion><groupId>demo</groupId><artifactId>demo</artifactId>\
        <version>1</version><packaging>pom</packaging></project>\n";
    repo.write(".farmer.toml", APART)
        .write("java/pom.xml", pom)
        .commit("written on Windows");
    let home = repo.home().join("user");
    std::fs::create_dir(&home).unwrap();
    let mut command = repo.farmer();
    command
        .arg("build")
        .env_remove("FARMER_SANDBOX")
        .env("HOME", &home);
    crate::repo::Run::of(command.output().unwrap()).exits(0);
    assert!(
        home.read_dir().unwrap().next().is_none(),
        "nothing is made for the user"
    );
}
