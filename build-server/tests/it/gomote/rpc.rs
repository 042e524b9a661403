//! Machines for people by gRPC.

use build_core::buildlet::basic_auth;
use build_core::h1::RequestHead;
use build_server::gomote::protos::create_instance_response::Status as Stage;
use build_server::gomote::protos::gomote_service_client::GomoteServiceClient;
use build_server::gomote::protos::*;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Code, Request, Status, Streaming};

use super::served::ServedPool;
use super::{Answer, BUILDER, Hall, by, master};
use crate::interop::trusting;

/// Somebody with a client.
pub(super) struct Person<'h> {
    pub(super) hall: &'h Hall,
    pub(super) client: GomoteServiceClient<Channel>,
    authorization: String,
}

impl Hall {
    pub(super) async fn channel(&self) -> Channel {
        let at = self.address;
        let connect = tower::service_fn(move |_: Uri| async move {
            let tcp = TcpStream::connect(at).await?;
            let tls = trusting::connector_for(&[b"h2"]);
            let tls = tls.connect(trusting::name(), tcp).await?;
            Ok::<_, std::io::Error>(TokioIo::new(tls))
        });
        let here = Endpoint::try_from(format!("http://localhost:{}", at.port())).unwrap();
        here.connect_with_connector(connect).await.unwrap()
    }

    pub(super) async fn person(&self, name: &str) -> Person<'_> {
        let user = format!("user-{name}");
        Person {
            hall: self,
            client: GomoteServiceClient::new(self.channel().await),
            authorization: basic_auth(&user, &master().key_of(&user)),
        }
    }
}

/// All answers of a call, and how it ended.
pub(super) async fn all<T>(mut answers: Streaming<T>) -> (Vec<T>, Result<(), Status>) {
    let mut got = Vec::new();
    loop {
        match answers.message().await {
            Ok(Some(answer)) => got.push(answer),
            Ok(None) => return (got, Ok(())),
            Err(status) => return (got, Err(status)),
        }
    }
}

/// What is posted to the address of an upload.
pub(super) fn form(file: &[u8]) -> Vec<u8> {
    let mut form = b"--edge\r\nContent-Disposition: form-data; name=\"key\"\r\n\r\nx\r\n".to_vec();
    form.extend_from_slice(
        b"--edge\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\n",
    );
    form.extend_from_slice(file);
    form.extend_from_slice(b"\r\n--edge--\r\n");
    form
}

impl Person<'_> {
    pub(super) fn asks<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let value = self.authorization.parse().unwrap();
        request.metadata_mut().insert("authorization", value);
        request
    }

    pub(super) async fn create(&self) -> Instance {
        let asked = CreateInstanceRequest {
            builder_type: BUILDER.into(),
            experiment_option: vec!["disable-golang-build".into()],
        };
        let answers = self.client.clone().create_instance(self.asks(asked)).await;
        let (answers, end) = all(answers.unwrap().into_inner()).await;
        end.unwrap();
        let last = answers.last().unwrap().clone();
        assert_eq!(last.status(), Stage::Complete);
        last.instance.unwrap()
    }

    /// What a command writes, and how it ends.
    pub(super) async fn run(&self, asked: ExecuteCommandRequest) -> (String, Result<(), Status>) {
        let begun = self.client.clone().execute_command(self.asks(asked)).await;
        let (answers, end) = match begun {
            Ok(answers) => all(answers.into_inner()).await,
            Err(status) => (Vec::new(), Err(status)),
        };
        let output: Vec<u8> = answers.into_iter().flat_map(|one| one.output).collect();
        (String::from_utf8(output).unwrap(), end)
    }

    pub(super) async fn shell(&self, id: &str, line: &str) -> (String, Result<(), Status>) {
        self.run(shell(id, line)).await
    }

    pub(super) async fn ls(&self, asked: ListDirectoryRequest) -> Result<Vec<String>, Status> {
        let asked = self.asks(asked);
        let begun = self.client.clone().list_directory_streaming(asked).await?;
        let (answers, end) = all(begun.into_inner()).await;
        end.map(|()| answers.into_iter().flat_map(|one| one.entries).collect())
    }

    pub(super) async fn upload(&self) -> UploadFileResponse {
        let asked = self.asks(UploadFileRequest {});
        let answer = self.client.clone().upload_file(asked).await;
        answer.unwrap().into_inner()
    }

    /// Sends a file, and gives the URL that names it.
    pub(super) async fn send(&self, file: &[u8]) -> String {
        let upload = self.upload().await;
        assert_eq!(self.post(&upload.url, &form(file)).await.status, 204);
        upload.url + &upload.object_name
    }

    /// The path of a URL of ours.
    pub(super) fn path(&self, url: &str) -> String {
        let here = format!("http://localhost:{}", self.hall.address.port());
        url.strip_prefix(&here)
            .unwrap_or_else(|| panic!("{url}"))
            .to_owned()
    }

    pub(super) async fn post(&self, url: &str, form: &[u8]) -> Answer {
        let head = RequestHead::new("POST", &self.path(url))
            .with("Host", "localhost")
            .with("Content-Type", "multipart/form-data; boundary=edge");
        self.hall.ask(head, Some(form)).await
    }

    pub(super) async fn get(&self, url: &str) -> Answer {
        let head = RequestHead::new("GET", &self.path(url)).with("Host", "localhost");
        self.hall.ask(head, None).await
    }

    pub(super) async fn write(
        &self,
        id: &str,
        url: &str,
        filename: &str,
        mode: u32,
    ) -> Result<(), Status> {
        let asked = WriteFileFromUrlRequest {
            gomote_id: id.into(),
            url: url.into(),
            filename: filename.into(),
            mode,
        };
        let done = self
            .client
            .clone()
            .write_file_from_url(self.asks(asked))
            .await;
        done.map(drop)
    }

    pub(super) async fn unpack(&self, id: &str, url: &str, directory: &str) -> Result<(), Status> {
        let asked = WriteTgzFromUrlRequest {
            gomote_id: id.into(),
            url: url.into(),
            directory: directory.into(),
        };
        let done = self
            .client
            .clone()
            .write_tgz_from_url(self.asks(asked))
            .await;
        done.map(drop)
    }

    pub(super) async fn pack(&self, id: &str, directory: &str) -> Result<String, Status> {
        let asked = ReadTgzToUrlRequest {
            gomote_id: id.into(),
            directory: directory.into(),
        };
        let done = self.client.clone().read_tgz_to_url(self.asks(asked)).await;
        done.map(|answer| answer.into_inner().url)
    }

    pub(super) async fn remove(&self, id: &str, path: &str) -> Result<(), Status> {
        let asked = RemoveFilesRequest {
            gomote_id: id.into(),
            paths: vec![path.into()],
        };
        let done = self.client.clone().remove_files(self.asks(asked)).await;
        done.map(drop)
    }

    pub(super) async fn alive(&self, id: &str) -> Result<(), Status> {
        let asked = InstanceAliveRequest {
            gomote_id: id.into(),
        };
        let done = self.client.clone().instance_alive(self.asks(asked)).await;
        done.map(drop)
    }

    pub(super) async fn destroy(&self, id: &str) -> Result<(), Status> {
        let asked = DestroyInstanceRequest {
            gomote_id: id.into(),
        };
        let done = self.client.clone().destroy_instance(self.asks(asked)).await;
        done.map(drop)
    }

    pub(super) async fn list(&self) -> Vec<Instance> {
        let asked = self.asks(ListInstancesRequest {});
        let answer = self.client.clone().list_instances(asked).await;
        answer.unwrap().into_inner().instances
    }
}

pub(super) fn shell(id: &str, line: &str) -> ExecuteCommandRequest {
    ExecuteCommandRequest {
        gomote_id: id.into(),
        command: "/bin/sh".into(),
        system_level: true,
        args: vec!["-c".into(), line.into()],
        ..Default::default()
    }
}

pub(super) fn dir(id: &str, directory: &str) -> ListDirectoryRequest {
    ListDirectoryRequest {
        gomote_id: id.into(),
        directory: directory.into(),
        recursive: true,
        skip_files: vec![String::new()],
        digest: true,
    }
}

#[track_caller]
pub(super) fn refused<T: std::fmt::Debug>(result: Result<T, Status>, code: Code, text: &str) {
    let status = result.unwrap_err();
    assert_eq!(status.code(), code, "{status}");
    assert!(status.message().contains(text), "{status}");
}

#[tokio::test]
async fn every_call_does_what_it_is_called() {
    let pool = ServedPool::new(1);
    let hall = Hall::start(&pool).await;
    let alice = hall.person("alice").await;
    let mut client = alice.client.clone();
    client
        .authenticate(alice.asks(AuthenticateRequest {}))
        .await
        .unwrap();
    let builders = client
        .list_swarming_builders(alice.asks(ListSwarmingBuildersRequest {}))
        .await;
    assert_eq!(builders.unwrap().into_inner().builders, [BUILDER]);

    let created = alice.create().await;
    let id = created.gomote_id.as_str();
    assert_eq!(id, "alice-linux-amd64-localdev-0");
    assert_eq!(created.host_type, "host-linux-amd64-localdev");
    assert!(created.working_dir.starts_with('/') && created.expires > 0);
    alice.alive(id).await.unwrap();
    assert_eq!(alice.list().await[0].gomote_id, id);
    // It is the same session by HTTP.
    assert_eq!(hall.list("alice").await, [id]);
    assert_eq!(
        hall.shell("alice", id, "exit 3").await.state(),
        "exit status 3"
    );

    let url = alice.send(b"#!/bin/sh\necho tool in $PWD; exit $1\n").await;
    alice.write(id, &url, "dir/tool", 0o755).await.unwrap();
    let tool = |args: &[&str]| ExecuteCommandRequest {
        gomote_id: id.into(),
        command: "dir/tool".into(),
        args: args.iter().map(ToString::to_string).collect(),
        ..Default::default()
    };
    let (output, end) = alice.run(tool(&["0"])).await;
    assert_eq!(output, format!("tool in {}/dir\n", created.working_dir));
    end.unwrap();
    let (output, end) = alice.run(tool(&["7"])).await;
    assert!(output.starts_with("tool in "), "{output}");
    refused(
        end,
        Code::Unknown,
        "command execution failed: exit status 7",
    );
    let mut bare = shell(id, "");
    (bare.command, bare.args) = ("/usr/bin/env".into(), Vec::new());
    (bare.path, bare.append_environment) = (vec!["$EMPTY".into()], vec!["A=b c".into()]);
    bare.debug = true;
    let (output, end) = alice.run(bare).await;
    let has_path = output.lines().any(|line| line.starts_with("PATH="));
    assert!(output.contains("\nA=b c\n") && !has_path, "{output}");
    assert!(output.starts_with(":: Running /usr/bin/env"), "{output}");
    end.unwrap();
    let (output, end) = alice
        .shell(id, "head -c 700000 /dev/zero | tr '\\0' x")
        .await;
    assert_eq!((output.len(), output.trim_matches('x')), (700_000, ""));
    end.unwrap();

    alice
        .shell(id, "mkdir many; cd many; seq 250 | xargs touch")
        .await
        .1
        .unwrap();
    let listed = alice.ls(dir(id, "many")).await.unwrap();
    assert_eq!(listed.len(), 250);
    let whole = client
        .list_directory(alice.asks(dir(id, "dir")))
        .await
        .unwrap();
    let entries = whole.into_inner().entries;
    assert!(entries[0].starts_with("-rwxr-xr-x\ttool\t"), "{entries:?}");
    refused(
        alice.ls(dir(id, "")).await,
        Code::InvalidArgument,
        "invalid arguments",
    );
    refused(
        alice.ls(dir(id, "nowhere")).await,
        Code::Aborted,
        "unable to list",
    );

    let url = alice.pack(id, "dir").await.unwrap();
    let tgz = alice.get(&url).await;
    assert_eq!(
        (tgz.status, tgz.headers.get_str("Content-Disposition")),
        (200, Some("attachment"))
    );
    let sent = alice.send(&tgz.body).await;
    alice.unpack(id, &sent, "copy").await.unwrap();
    // The same file can go to several machines.
    alice.unpack(id, &sent, "copy2").await.unwrap();
    let listed = alice.ls(dir(id, "copy2")).await.unwrap();
    assert!(listed[0].starts_with("-rwxr-xr-x\ttool\t"), "{listed:?}");
    alice.remove(id, "copy").await.unwrap();
    assert!(alice.ls(dir(id, "copy")).await.is_err());

    let boot = AddBootstrapRequest {
        gomote_id: id.into(),
    };
    let boot = client.add_bootstrap(alice.asks(boot)).await.unwrap();
    assert_eq!(boot.into_inner().bootstrap_go_url, "");
    let key = SignSshKeyRequest {
        gomote_id: id.into(),
        public_ssh_key: b"ssh-ed25519 AAAA".to_vec(),
    };
    let signed = client.sign_ssh_key(alice.asks(key)).await;
    refused(signed, Code::FailedPrecondition, "no SSH gateway");

    alice.destroy(id).await.unwrap();
    refused(alice.alive(id).await, Code::NotFound, "it was destroyed");
    assert!(alice.list().await.is_empty());
    let again = alice.create().await;
    pool.die();
    let (_, end) = alice.shell(&again.gomote_id, "true").await;
    refused(end, Code::Aborted, "unable to execute command");
    hall.stop().await;
}

#[tokio::test]
async fn who_leaves_while_waiting_holds_nothing() {
    let pool = ServedPool::new(1);
    let hall = Hall::start(&pool).await;
    let (alice, bob) = (hall.person("alice").await, hall.person("bob").await);
    let first = alice.create().await;
    let asked = bob.asks(CreateInstanceRequest {
        builder_type: BUILDER.into(),
        experiment_option: Vec::new(),
    });
    let waiting = bob.client.clone().create_instance(asked).await.unwrap();
    drop(waiting);
    alice.destroy(&first.gomote_id).await.unwrap();
    // The machine is free for the next one, whose number is free too.
    let next = bob.create().await;
    assert_eq!(next.gomote_id, "bob-linux-amd64-localdev-0");
    bob.destroy(&next.gomote_id).await.unwrap();
    let alone = by("bob", "GET", "/buildlet/list");
    assert_eq!(hall.ask(alone, None).await.text(), "[]\n");
    hall.stop().await;
}
