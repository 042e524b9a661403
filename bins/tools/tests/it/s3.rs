//! A store that speaks the dialect of S3: it checks each signature, and fails when it is told to.
//! One that asks for no signatures speaks what Google's speaks of it.

use std::collections::BTreeMap;
use std::io::{BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};

use build_core::webhook::sign;
use sha2::{Digest as _, Sha256};

pub(crate) const KEY: &str = "AKIDEXAMPLE";
pub(crate) const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
const REGION: &str = "eu-test-1";

/// An object, with the fields of its head that a store keeps.
#[derive(Clone, Default)]
pub(crate) struct Object {
    pub(crate) bytes: Vec<u8>,
    pub(crate) fields: BTreeMap<String, String>,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) objects: BTreeMap<String, Object>,
    /// Uploads in parts that have neither ended nor been given up.
    pub(crate) open: BTreeMap<String, (Object, BTreeMap<u32, Vec<u8>>)>,
    /// What was asked for: method and path.
    pub(crate) asked: Vec<String>,
    /// The number of a part that is refused.
    pub(crate) refuses_part: Option<u32>,
    /// Whether signatures are not looked at.
    pub(crate) is_open: bool,
}

#[derive(Clone)]
pub(crate) struct Store {
    state: Arc<Mutex<State>>,
    pub(crate) address: String,
}

struct Request {
    method: String,
    path: String,
    query: String,
    fields: BTreeMap<String, String>,
    body: Vec<u8>,
}

impl Store {
    /// A store that serves until the test ends.
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let store = Self {
            state: Arc::default(),
            address: format!("http://{}", listener.local_addr().unwrap()),
        };
        let serving = store.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let store = serving.clone();
                std::thread::spawn(move || store.serve(&stream));
            }
        });
        store
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn serve(&self, stream: &TcpStream) {
        let mut reader = BufReader::new(stream);
        while let Some(request) = Request::read(&mut reader) {
            let (status, fields, body) = self.answer(&request);
            let mut head = format!("HTTP/1.1 {status} x\r\n");
            for (name, value) in fields {
                head.push_str(&format!("{name}: {value}\r\n"));
            }
            let is_head = request.method == "HEAD";
            if !is_head {
                head.push_str(&format!("content-length: {}\r\n", body.len()));
            }
            let mut out = (head + "\r\n").into_bytes();
            if !is_head {
                out.extend(body);
            }
            let mut stream = stream;
            if stream.write_all(&out).is_err() {
                return;
            }
        }
    }

    fn answer(&self, request: &Request) -> (u16, Vec<(String, String)>, Vec<u8>) {
        let refused = |status: u16, code: &str| {
            let text = format!("<Error><Code>{code}</Code><Message>no</Message></Error>");
            (status, Vec::new(), text.into_bytes())
        };
        let mut state = self.state();
        if !state.is_open && !request.is_signed() {
            return refused(403, "SignatureDoesNotMatch");
        }
        state
            .asked
            .push(format!("{} {}", request.method, request.path));
        let path = request.path.clone();
        let upload = request.parameter("uploadId");
        match (request.method.as_str(), upload) {
            ("HEAD" | "GET", None) => {
                let Some(object) = state.objects.get(&path) else {
                    return refused(404, "NoSuchKey");
                };
                let mut fields: Vec<_> = object.fields.clone().into_iter().collect();
                let tag = &hex::encode(Sha256::digest(&object.bytes))[..30];
                fields.push(("etag".into(), format!("\"{tag}\"")));
                fields.push((
                    "last-modified".into(),
                    "Wed, 23 Dec 2020 10:00:00 GMT".into(),
                ));
                if request.method == "HEAD" {
                    fields.push(("content-length".into(), object.bytes.len().to_string()));
                }
                (200, fields, object.bytes.clone())
            }
            ("PUT", None) => {
                let only_new = request
                    .fields
                    .get("if-none-match")
                    .is_some_and(|v| v == "*");
                if only_new && state.objects.contains_key(&path) {
                    return refused(412, "PreconditionFailed");
                }
                let object = Object {
                    bytes: request.body.clone(),
                    fields: request.kept(),
                };
                state.objects.insert(path, object);
                (200, vec![("etag".into(), "\"1\"".into())], Vec::new())
            }
            ("POST", None) if request.parameter("uploads").is_some() => {
                let id = format!("upload-{}", state.asked.len());
                let object = Object {
                    bytes: Vec::new(),
                    fields: request.kept(),
                };
                state.open.insert(id.clone(), (object, BTreeMap::new()));
                let text = format!(
                    "<InitiateMultipartUploadResult><UploadId>{id}</UploadId></InitiateMultipartUploadResult>"
                );
                (200, Vec::new(), text.into_bytes())
            }
            ("PUT", Some(id)) => {
                let number = request.parameter("partNumber").unwrap().parse().unwrap();
                if state.refuses_part == Some(number) {
                    return refused(400, "EntityTooSmall");
                }
                let Some((_, parts)) = state.open.get_mut(&id) else {
                    return refused(404, "NoSuchUpload");
                };
                parts.insert(number, request.body.clone());
                (
                    200,
                    vec![("etag".into(), format!("\"part-{number}\""))],
                    Vec::new(),
                )
            }
            ("POST", Some(id)) => {
                let Some((mut object, parts)) = state.open.remove(&id) else {
                    return refused(404, "NoSuchUpload");
                };
                let named = String::from_utf8_lossy(&request.body).into_owned();
                for number in parts.keys() {
                    assert!(named.contains(&format!("part-{number}")), "{named}");
                }
                object.bytes = parts.into_values().flatten().collect();
                state.objects.insert(path, object);
                let text = "<CompleteMultipartUploadResult><ETag>\"2\"</ETag></CompleteMultipartUploadResult>";
                (200, Vec::new(), text.into())
            }
            ("POST", None) if request.parameter("delete").is_some() => {
                let named = String::from_utf8_lossy(&request.body).into_owned();
                let keys = named.split("<Key>").skip(1);
                let mut text = "<DeleteResult>".to_owned();
                for key in keys.filter_map(|rest| rest.split_once("</Key>")) {
                    state.objects.remove(&format!("{path}/{}", key.0));
                    text.push_str(&format!("<Deleted><Key>{}</Key></Deleted>", key.0));
                }
                (200, Vec::new(), (text + "</DeleteResult>").into())
            }
            ("DELETE", None) => match state.objects.remove(&path) {
                Some(_) => (204, Vec::new(), Vec::new()),
                None => refused(404, "NoSuchKey"),
            },
            ("DELETE", Some(id)) => {
                state.open.remove(&id);
                (204, Vec::new(), Vec::new())
            }
            _ => refused(400, "NotImplemented"),
        }
    }
}

impl Request {
    fn read(reader: &mut impl std::io::BufRead) -> Option<Self> {
        let mut line = String::new();
        reader
            .read_line(&mut line)
            .ok()
            .filter(|count| *count > 0)?;
        let mut words = line.split_whitespace();
        let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
        let mut fields = BTreeMap::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            let Some((name, value)) = line.trim_end().split_once(':') else {
                break;
            };
            fields.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
        let length = fields
            .get("content-length")
            .map_or(0, |l| l.parse().unwrap());
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        Some(Self {
            method,
            path: path.to_owned(),
            query: query.to_owned(),
            fields,
            body,
        })
    }

    fn parameter(&self, name: &str) -> Option<String> {
        let pairs = self
            .query
            .split('&')
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        pairs
            .filter(|(known, _)| *known == name)
            .map(|(_, v)| v.to_owned())
            .next()
    }

    /// The fields that a store keeps with an object.
    fn kept(&self) -> BTreeMap<String, String> {
        let known = |name: &str| {
            ["content-type", "cache-control"].contains(&name) || name.starts_with("x-amz-meta-")
        };
        let fields = self.fields.clone().into_iter();
        fields.filter(|(name, _)| known(name)).collect()
    }

    /// Whether the signature, version 4, is right, and that of what was sent.
    fn is_signed(&self) -> bool {
        let empty = String::new();
        let field = |name: &str| self.fields.get(name).unwrap_or(&empty);
        let content = field("x-amz-content-sha256");
        if *content != hex::encode(Sha256::digest(&self.body)) {
            return false;
        }
        let Some(given) = field("authorization").strip_prefix("AWS4-HMAC-SHA256 ") else {
            return false;
        };
        let part = |name: &str| {
            let mut parts = given.split(',').map(str::trim);
            parts
                .find_map(|part| part.strip_prefix(name))
                .unwrap_or_default()
        };
        let time = field("x-amz-date");
        let day = &time[..8.min(time.len())];
        let scope = format!("{day}/{REGION}/s3/aws4_request");
        if part("Credential=") != format!("{KEY}/{scope}") {
            return false;
        }
        let names = part("SignedHeaders=");
        let signed: String = names
            .split(';')
            .map(|name| format!("{name}:{}\n", field(name)))
            .collect();
        let mut query: Vec<String> = self.query.split('&').map(str::to_owned).collect();
        for pair in &mut query {
            if !pair.is_empty() && !pair.contains('=') {
                pair.push('=');
            }
        }
        query.sort();
        let request = format!(
            "{}\n{}\n{}\n{signed}\n{names}\n{content}",
            self.method,
            self.path,
            query.join("&")
        );
        let hash = hex::encode(Sha256::digest(request.as_bytes()));
        let text = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{hash}");
        let mut key = format!("AWS4{SECRET}").into_bytes();
        for part in [day, REGION, "s3", "aws4_request"] {
            key = hmac(&key, part);
        }
        part("Signature=") == hex::encode(hmac(&key, &text))
    }
}

fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    let signed = sign(key, text.as_bytes());
    hex::decode(signed.trim_start_matches("sha256=")).unwrap()
}

/// What a program is told of the store, with this secret.
pub(crate) fn environment(store: &Store, secret: &str) -> Vec<(&'static str, String)> {
    vec![
        ("AWS_ENDPOINT", store.address.clone()),
        ("AWS_ALLOW_HTTP", "true".to_owned()),
        ("AWS_REGION", REGION.to_owned()),
        ("AWS_ACCESS_KEY_ID", KEY.to_owned()),
        ("AWS_SECRET_ACCESS_KEY", secret.to_owned()),
        ("NO_PROXY", "127.0.0.1".to_owned()),
    ]
}
