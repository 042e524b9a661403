//! What an attacker tries by gRPC, and with the addresses of files.

use std::time::Duration;

use build_core::h1::RequestHead;
use build_server::gomote::User;
use build_server::gomote::protos::gomote_service_client::GomoteServiceClient;
use build_server::gomote::protos::*;
use tonic::transport::Endpoint;
use tonic::{Code, Request};

use super::rpc::{all, dir, form, refused, shell};
use super::served::ServedPool;
use super::{Hall, OBJECTS};

#[tokio::test]
async fn calls_without_good_credentials_are_refused() {
    let pool = ServedPool::new(1);
    let hall = Hall::start(&pool).await;
    let mut client = GomoteServiceClient::new(hall.channel().await);
    let mut ask = async |values: &[&str]| {
        let mut request = Request::new(ListInstancesRequest {});
        for value in values {
            request
                .metadata_mut()
                .append("authorization", value.parse().unwrap());
        }
        client.list_instances(request).await
    };
    let missing = "request does not contain the required authentication";
    for values in [
        &[][..],
        &["Digest x"],
        &["Bearer"],
        &["Bearer signed.00.", "Bearer x.y.z"],
    ] {
        refused(ask(values).await, Code::Unauthenticated, missing);
    }
    for value in ["Bearer farmer_x", "Bearer a.b.c", "Basic dXNlci1hbGljZTp4"] {
        refused(ask(&[value]).await, Code::Unauthenticated, "bad username");
    }
    let ann = format!("Bearer signed.{}.", hex::encode("ann@example.org"));
    assert!(ask(&[&ann]).await.is_ok());

    let clear = Endpoint::try_from(format!("http://{}", hall.address)).unwrap();
    let mut clear = GomoteServiceClient::new(clear.connect().await.unwrap());
    let mut request = Request::new(AuthenticateRequest {});
    request
        .metadata_mut()
        .insert("authorization", ann.parse().unwrap());
    refused(
        clear.authenticate(request).await,
        Code::Unauthenticated,
        "TLS",
    );
    hall.stop().await;
}

#[tokio::test]
async fn foreign_instances_and_files_are_refused() {
    let pool = ServedPool::new(1);
    let hall = Hall::start(&pool).await;
    let (alice, bob) = (hall.person("alice").await, hall.person("bob").await);
    let id = &alice.create().await.gomote_id;
    let file = alice.send(b"secret").await;
    let packed = alice.pack(id, ".").await.unwrap();
    let owner = User::new("alice").unwrap();
    let before = hall.gomote.sessions().list(&owner);
    let foreign = "not allowed to modify this gomote session";
    let mut client = bob.client.clone();
    let gomote_id = || id.clone();
    refused(bob.alive(id).await, Code::PermissionDenied, foreign);
    refused(bob.destroy(id).await, Code::PermissionDenied, foreign);
    refused(
        bob.run(shell(id, "true")).await.1,
        Code::PermissionDenied,
        foreign,
    );
    refused(bob.ls(dir(id, ".")).await, Code::PermissionDenied, foreign);
    refused(bob.remove(id, ".").await, Code::PermissionDenied, foreign);
    refused(bob.pack(id, ".").await, Code::PermissionDenied, foreign);
    refused(
        bob.write(id, &file, "x", 0o644).await,
        Code::PermissionDenied,
        foreign,
    );
    refused(
        bob.unpack(id, &file, "x").await,
        Code::PermissionDenied,
        foreign,
    );
    let boot = client.add_bootstrap(bob.asks(AddBootstrapRequest {
        gomote_id: gomote_id(),
    }));
    refused(boot.await, Code::PermissionDenied, foreign);
    let key = SignSshKeyRequest {
        gomote_id: gomote_id(),
        public_ssh_key: Vec::new(),
    };
    refused(
        client.sign_ssh_key(bob.asks(key)).await,
        Code::PermissionDenied,
        foreign,
    );
    assert!(bob.list().await.is_empty());
    assert_eq!(
        hall.gomote.sessions().list(&owner),
        before,
        "nothing of it has changed"
    );

    for id in ["", "nobody-linux-amd64-0"] {
        let code = if id.is_empty() {
            Code::InvalidArgument
        } else {
            Code::NotFound
        };
        refused(bob.alive(id).await, code, "gomote");
        refused(bob.run(shell(id, "true")).await.1, code, "gomote");
    }
    alice.destroy(id).await.unwrap();

    // The name of a file alone is not enough to have it written to a machine of one's own.
    let own = &bob.create().await.gomote_id;
    refused(
        bob.write(own, &file, "x", 0o644).await,
        Code::InvalidArgument,
        "no such file",
    );
    refused(
        bob.unpack(own, &file, "x").await,
        Code::InvalidArgument,
        "no such file",
    );
    // Nor is an address of another purpose.
    refused(
        bob.unpack(own, &packed, "x").await,
        Code::InvalidArgument,
        "no such file",
    );
    assert_eq!(alice.get(&file).await.status, 404);
    assert_eq!(alice.get(&packed.replace("alice", "bob")).await.status, 404);
    let upload = packed.rsplit_once('/').unwrap().0.to_owned() + "/";
    assert_eq!(alice.post(&upload, &form(b"x")).await.status, 404);
    assert_eq!(alice.get(&packed).await.status, 200);
    hall.stop().await;
}

#[tokio::test]
async fn addresses_end_and_hold_one_file_of_a_bounded_size() {
    let pool = ServedPool::new(1);
    let hall = Hall::start(&pool).await;
    let alice = hall.person("alice").await;
    let id = &alice.create().await.gomote_id;

    let upload = alice.upload().await;
    let url = upload.url.clone() + &upload.object_name;
    let none = alice.write(id, &url, "x", 0o644).await;
    refused(none, Code::FailedPrecondition, "no file was sent there yet");
    // What breaks off, or is no form, leaves the address as it was.
    let whole = form(b"contents");
    for broken in [&whole[..whole.len() - 12], b"--edge--\r\n", b"x", b""] {
        assert_eq!(alice.post(&upload.url, broken).await.status, 400);
    }
    let big = form(&vec![0; usize::try_from(OBJECTS.object_bytes).unwrap() + 1]);
    assert_eq!(alice.post(&upload.url, &big).await.status, 413);
    assert_eq!(alice.post(&upload.url, &whole).await.status, 204);
    assert_eq!(alice.post(&upload.url, &whole).await.status, 409);
    let head = RequestHead::new("GET", &alice.path(&upload.url)).with("Host", "localhost");
    assert_eq!(hall.ask(head, None).await.status, 405);
    alice.write(id, &url, "x", 0o644).await.unwrap();

    // One user's files fill what one user may have, and no more.
    let half = vec![1; 900 << 10];
    let first = alice.send(&half).await;
    let second = alice.upload().await;
    assert_eq!(alice.post(&second.url, &form(&half)).await.status, 413);
    alice.write(id, &first, "big", 0o644).await.unwrap();
    // What a machine has got makes room.
    assert_eq!(alice.post(&second.url, &form(&half)).await.status, 204);
    for _ in 0..OBJECTS.per_owner - 2 {
        alice.upload().await;
    }
    let asked = alice.asks(UploadFileRequest {});
    alice.upload().await;
    let more = alice.client.clone().upload_file(asked).await;
    refused(more, Code::ResourceExhausted, "may have no more");

    refused(
        alice.pack(id, ".").await,
        Code::ResourceExhausted,
        "may have no more",
    );
    hall.clock.advance(OBJECTS.life + Duration::from_secs(1));
    let late = second.url.clone() + &second.object_name;
    refused(
        alice.write(id, &late, "x", 0o644).await,
        Code::InvalidArgument,
        "time is over",
    );
    assert_eq!(alice.post(&second.url, &whole).await.status, 404);
    let packed = alice.pack(id, ".").await.unwrap();
    hall.clock.advance(OBJECTS.life + Duration::from_secs(1));
    assert_eq!(alice.get(&packed).await.status, 404);
    alice.upload().await;
    let left = std::fs::read_dir(hall.dir.path().join("objects")).unwrap();
    assert_eq!(left.count(), 0, "nothing is kept of what is forgotten");
    hall.stop().await;
}

#[tokio::test]
async fn paths_modes_and_urls_stay_within_bounds() {
    let pool = ServedPool::new(1);
    let hall = Hall::start(&pool).await;
    let alice = hall.person("alice").await;
    let id = &alice.create().await.gomote_id;
    let file = alice.send(b"x").await;
    let packed = alice.pack(id, ".").await.unwrap();
    let archive = alice.send(&alice.get(&packed).await.body).await;
    for path in ["../x", "a/../../x", "/etc/x", ".."] {
        for refusal in [
            alice.write(id, &file, path, 0o644).await,
            alice.remove(id, path).await,
            alice.ls(dir(id, path)).await.map(drop),
            alice.pack(id, path).await.map(drop),
        ] {
            let status = refusal.unwrap_err();
            assert_eq!(status.code(), Code::InvalidArgument, "{path}: {status}");
        }
        let unpacked = alice.unpack(id, &archive, path).await;
        refused(unpacked, Code::FailedPrecondition, "unable to write tar.gz");
    }
    alice.unpack(id, &archive, "within").await.unwrap();
    refused(
        alice.write(id, &file, "", 0o644).await,
        Code::InvalidArgument,
        "file name",
    );
    refused(
        alice.write(id, &file, "x", 1 << 31).await,
        Code::InvalidArgument,
        "bad mode",
    );
    refused(
        alice.unpack(id, &file, "x").await,
        Code::FailedPrecondition,
        "unable to write tar.gz",
    );
    for (url, text) in [
        ("", "missing URL"),
        ("file:///etc/passwd", "bad URL"),
        ("/gomote/objects/x/file", "bad URL"),
        ("http://localhost/gomote/objects/x/file", "no such file"),
    ] {
        refused(
            alice.write(id, url, "x", 0o644).await,
            Code::InvalidArgument,
            text,
        );
        refused(
            alice.unpack(id, url, "x").await,
            Code::InvalidArgument,
            text,
        );
    }
    // This server does not fetch from where only it can.
    let metadata = alice
        .write(id, "http://169.254.169.254/latest", "x", 0o644)
        .await;
    refused(
        metadata,
        Code::Aborted,
        "only addresses of the public network",
    );

    let mut wrong = shell(id, "true");
    wrong.append_environment = vec!["no equals sign".into()];
    refused(
        alice.run(wrong).await.1,
        Code::InvalidArgument,
        "not NAME=value",
    );
    let mut imitates = shell(id, "true");
    imitates.imitate_host_type = "plan9-386".into();
    refused(
        alice.run(imitates).await.1,
        Code::InvalidArgument,
        "unknown builder type",
    );
    let mut none = shell(id, "true");
    none.command = String::new();
    refused(
        alice.run(none).await.1,
        Code::InvalidArgument,
        "missing command",
    );

    for (builder_type, text) in [
        ("", "invalid builder type"),
        ("nosuch", "unknown builder type"),
    ] {
        let asked = alice.asks(CreateInstanceRequest {
            builder_type: builder_type.into(),
            experiment_option: Vec::new(),
        });
        let answers = alice.client.clone().create_instance(asked).await;
        let (answers, end) = all(answers.unwrap().into_inner()).await;
        refused(end, Code::InvalidArgument, text);
        assert!(answers.is_empty());
    }
    hall.stop().await;
}
