use std::io::Read as _;

use build_core::h1::BodySize;
use build_core::h1::io::Flow;
use build_core::tarutil::hostile::{self, Outcome};
use build_core::tarutil::{EntryHeader, FileList};

use super::*;

fn tgz(files: &[(&str, &str)]) -> Vec<u8> {
    let mut list = FileList::new();
    for (name, text) in files {
        list.add_bytes(EntryHeader::file(*name, 0), text.to_string());
    }
    let mut packed = Vec::new();
    list.open_gz().read_to_end(&mut packed).unwrap();
    packed
}

#[tokio::test]
async fn trees_go_in_and_come_out() {
    let peer = Peer::start().await;
    let unpacked = peer
        .put("/writetgz?dir=go%2Fsrc", &tgz(&[("a/x", "1"), ("y", "2")]))
        .await;
    assert_eq!((unpacked.status, unpacked.text()), (200, "OK"));
    assert_eq!(
        std::fs::read(peer.work_dir().join("go/src/a/x")).unwrap(),
        b"1"
    );
    for target in ["/tgz?dir=go", "/tgz?dir=go&pargzip=0"] {
        let packed = peer.get(target).await;
        assert_eq!(
            packed.headers.get_str("Content-Type"),
            Some("application/x-gzip")
        );
        assert!(!packed.headers.contains("Content-Encoding"));
        assert_eq!(
            peer.put("/writetgz?dir=copy", &packed.body).await.text(),
            "OK",
            "{target}"
        );
        assert_eq!(
            std::fs::read(peer.work_dir().join("copy/src/y")).unwrap(),
            b"2"
        );
    }
    let missing = peer.get("/tgz?dir=missing").await;
    assert_eq!(missing.status, 400);
    assert!(missing.text().contains("missing"), "{}", missing.text());
    assert_eq!(peer.get("/tgz?dir=..").await.refusal(), (400, "bogus dir"));
}

#[tokio::test]
async fn what_is_no_archive_is_refused() {
    let peer = Peer::start().await;
    let answer = peer.put("/writetgz", b"notgzip").await;
    assert_eq!(answer.status, 400);
    assert!(
        answer.text().starts_with("requires gzip-compressed body: "),
        "{}",
        answer.text()
    );
    let cut = &tgz(&[("f", "content")])[..30];
    assert_eq!(peer.put("/writetgz", cut).await.status, 400);
    assert_eq!(
        peer.put("/writetgz?dir=..", b"").await.refusal(),
        (400, "bogus dir")
    );
    assert_eq!(
        peer.post("/writetgz", "").await.refusal(),
        (400, "missing url POST param")
    );
}

/// An early refusal reaches a client that is still sending.
#[tokio::test]
async fn a_long_upload_that_is_refused_gets_its_answer() {
    let peer = Peer::start().await;
    let much = vec![b'x'; 8 << 20];
    let answer = peer.put("/writetgz", &much).await;
    assert_eq!(answer.status, 400, "{}", answer.text());
}

impl Peer {
    /// Uploads what comes until the buildlet has seen enough.
    async fn put_stream(&self, target: &str, mut stream: hostile::Stream) -> Answer {
        let io = UnixStream::connect(socket(self.dir.path())).await.unwrap();
        let mut client = Client::new(io, Limits::default());
        let head = RequestHead::new("PUT", target);
        let mut request = client.start(&head, BodySize::Unknown).await.unwrap();
        let mut piece = vec![0; 64 << 10];
        loop {
            let count = stream.read(&mut piece).unwrap();
            if count == 0 {
                return Answer::read(request.finish().await.unwrap()).await;
            }
            if request.write(&piece[..count]).await.unwrap() == Flow::Answered {
                return Answer::read(request.response().await.unwrap()).await;
            }
        }
    }
}

#[tokio::test]
async fn hostile_archives_do_no_harm() {
    let peer = Peer::with(|config| config.archives(hostile::policy())).await;
    let canary = peer.dir.path().join("canary");
    std::fs::write(&canary, "untouched").unwrap();
    let cases = hostile::archives();
    assert!(cases.len() >= 60, "{}", cases.len());
    for (number, case) in cases.iter().enumerate() {
        let answer = peer
            .put_stream(&format!("/writetgz?dir=t{number}"), case.open())
            .await;
        match case.outcome() {
            Outcome::Harmless => {
                assert_eq!(answer.status, 200, "{}: {}", case.name(), answer.text());
            }
            Outcome::Refused(text) => {
                assert_ne!(answer.status, 200, "{}", case.name());
                assert!(
                    answer.text().contains(text),
                    "{}: {}",
                    case.name(),
                    answer.text()
                );
            }
        }
        assert_eq!(
            std::fs::read(&canary).unwrap(),
            b"untouched",
            "{}",
            case.name()
        );
    }
    let mut beside: Vec<_> = std::fs::read_dir(peer.dir.path())
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    beside.sort();
    assert_eq!(beside, ["canary", "s", "state", "w"]);
}

/// A buildlet on TCP is a web server that has archives.
async fn on_tcp(dir: &Path) -> (String, CancellationToken) {
    std::fs::create_dir_all(dir.join("w/tree")).unwrap();
    std::fs::write(dir.join("w/tree/f"), "fetched").unwrap();
    let listener = Listener::bind(&"127.0.0.1:0".parse().unwrap())
        .await
        .unwrap();
    let address = listener.address();
    let server = BuildletServer::open(Config::new(dir.join("w"), dir.join("state"))).unwrap();
    let stop = CancellationToken::new();
    Supervisor::new("tcp").spawn("tcp", server.run(vec![listener], stop.clone()));
    (address, stop)
}

#[tokio::test]
async fn the_buildlet_fetches_archives_itself() {
    let dir = tempfile::tempdir().unwrap();
    let (address, _stop) = on_tcp(dir.path()).await;
    let peer = Peer::start().await;
    let fetch = async |into: &str, path: &str| {
        peer.post(
            &format!("/writetgz?dir={into}"),
            &format!("url=http://{address}/{path}"),
        )
        .await
    };
    assert_eq!(fetch("go1.4", "tgz?dir=tree").await.text(), "OK");
    assert_eq!(
        std::fs::read(peer.work_dir().join("go1.4/f")).unwrap(),
        b"fetched"
    );
    assert_eq!(fetch("go1.4", "nothing").await.text(), "SKIP");
    let missing = fetch("other", "nothing").await;
    let text =
        format!("writetgz: fetching provided URL \"http://{address}/nothing\": 404 Not Found");
    assert_eq!(missing.refusal(), (500, text.as_str()));
}

#[tokio::test]
async fn metadata_and_odd_addresses_are_not_fetched_from() {
    let peer = Peer::start().await;
    for (url, why) in [
        (
            "http://169.254.169.254/latest/meta-data",
            "link-local and metadata addresses are not fetched from",
        ),
        (
            "file:///etc/passwd",
            "neither http://host/path nor https://host/path",
        ),
    ] {
        let answer = peer.post("/writetgz?dir=x", &format!("url={url}")).await;
        assert_eq!(
            answer.refusal(),
            (500, format!("fetching URL {url}: {why}").as_str())
        );
    }
}

/// Without a password, web pages could use a browser of this machine.
#[tokio::test]
async fn a_buildlet_on_tcp_without_password_refuses_web_pages() {
    let dir = tempfile::tempdir().unwrap();
    let (address, _stop) = on_tcp(dir.path()).await;
    let request = |name: &str, value: &str| RequestHead::new("GET", "/status").with(name, value);
    let ask = async |head| {
        let io = tokio::net::TcpStream::connect(&address).await.unwrap();
        let mut client = Client::new(io, Limits::default());
        client.send(&head, None).await.unwrap().status()
    };
    assert_eq!(ask(request("Origin", "https://example.org")).await, 403);
    assert_eq!(ask(request("User-Agent", "Go-http-client/1.1")).await, 200);
}
