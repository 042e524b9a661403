//! Files of machines: listed, removed, and handed over by addresses.

use build_core::buildlet::{Buildlet as _, ByteStream, FileMode, ListDir};
use build_core::{Error, ErrorKind};
use futures::stream::iter;
use tonic::{Code, Status};
use url::Url;

use super::super::objects::Address;
use super::super::protos::{
    AddBootstrapRequest, AddBootstrapResponse, ListDirectoryRequest, ListDirectoryResponse,
    ReadTgzToUrlRequest, ReadTgzToUrlResponse, RemoveFilesRequest, UploadFileResponse,
    WriteFileFromUrlRequest, WriteTgzFromUrlRequest,
};
use super::admit::failed;
use super::{Answers, Asking, GomoteService};
use crate::gomote::create::said;

/// Entries in one answer of a listing.
const ENTRIES: usize = 100;
/// The bucket of the Go project's bootstrap toolchains, and where they are unpacked.
const BUCKET: &str = "go-builder-data";
const BOOTSTRAP_DIR: &str = "go1.4";

pub(super) async fn list(
    service: &GomoteService,
    who: &Asking,
    asked: ListDirectoryRequest,
) -> Result<Vec<String>, Status> {
    if asked.gomote_id.is_empty() || asked.directory.is_empty() {
        return Err(Status::invalid_argument("invalid arguments"));
    }
    let session = service.find(who, &asked.gomote_id).await?;
    let what = ListDir {
        dir: asked.directory,
        recursive: asked.recursive,
        digest: asked.digest,
        // A client without any sends an empty one.
        skip: asked
            .skip_files
            .into_iter()
            .filter(|skip| !skip.is_empty())
            .collect(),
    };
    match session.session().list_dir(&what).await {
        Ok(entries) => Ok(entries
            .iter()
            .map(|entry| {
                // A text of the protocol holds no other bytes.
                let line = String::from_utf8_lossy(&entry.to_line()).into_owned();
                line.trim_end_matches('\n').to_owned()
            })
            .collect()),
        Err(error) => Err(failed(&session, "unable to list the directory", error).await),
    }
}

/// A listing that may be longer than one answer.
pub(super) fn in_pieces(entries: Vec<String>) -> Answers<ListDirectoryResponse> {
    let mut left = entries.into_iter();
    let pieces = std::iter::from_fn(move || {
        let entries: Vec<_> = left.by_ref().take(ENTRIES).collect();
        (!entries.is_empty()).then_some(Ok(ListDirectoryResponse { entries }))
    });
    Box::pin(iter(pieces))
}

pub(super) async fn remove(
    service: &GomoteService,
    who: &Asking,
    asked: RemoveFilesRequest,
) -> Result<(), Status> {
    if asked.gomote_id.is_empty() || asked.paths.is_empty() {
        return Err(Status::invalid_argument("invalid arguments"));
    }
    let session = service.find(who, &asked.gomote_id).await?;
    let Err(error) = session.session().remove_all(&asked.paths).await else {
        return Ok(());
    };
    let status = failed(&session, "unable to remove files", error).await;
    Err(match status.code() {
        Code::Aborted => Status::unknown(status.message()),
        _ => status,
    })
}

/// What went wrong with a file on its way, and with its address.
fn not_handed_over(error: &Error) -> Status {
    let text = said(error);
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::Invalid => Status::invalid_argument(text),
        ErrorKind::Conflict => Status::failed_precondition(text),
        ErrorKind::Limit => Status::resource_exhausted(text),
        _ => Status::internal(text),
    }
}

pub(super) fn upload(service: &GomoteService, who: &Asking) -> Result<UploadFileResponse, Status> {
    let base = who.base()?;
    let offered = service.0.objects.offer(who.user.name());
    let address = offered.map_err(|error| not_handed_over(&error))?;
    Ok(UploadFileResponse {
        url: format!("{base}{}", address.folder()),
        fields: Default::default(),
        object_name: address.name,
    })
}

pub(super) async fn read_tgz(
    service: &GomoteService,
    who: &Asking,
    asked: ReadTgzToUrlRequest,
) -> Result<ReadTgzToUrlResponse, Status> {
    let base = who.base()?;
    let session = service.find(who, &asked.gomote_id).await?;
    let what = "unable to retrieve tar from gomote instance";
    let tgz = match session.session().get_tar(&asked.directory).await {
        Ok(tgz) => tgz,
        Err(error) => return Err(failed(&session, what, error).await),
    };
    let name = format!("{}.tar.gz", session.instance().name);
    let packed = service.0.objects.pack(who.user.name(), &name, tgz).await;
    let address = match packed {
        Ok(address) => address,
        Err(error) if error.kind() == ErrorKind::Limit => return Err(not_handed_over(&error)),
        Err(error) => return Err(failed(&session, what, error).await),
    };
    Ok(ReadTgzToUrlResponse {
        url: format!("{base}{}{}", address.folder(), address.name),
    })
}

/// What a URL names: something sent to us, or something elsewhere.
enum Named {
    Sent(Address),
    Elsewhere(Url),
}

fn named(url: &str) -> Result<Named, Status> {
    if url.is_empty() {
        return Err(Status::invalid_argument("missing URL"));
    }
    let url = Url::parse(url).map_err(|error| {
        Status::invalid_argument(format!(
            "bad URL: {error}; it begins with http:// or https://"
        ))
    })?;
    if !["http", "https"].contains(&url.scheme()) {
        let text = format!(
            "bad URL: {}: is not fetched; give http:// or https://",
            url.scheme()
        );
        return Err(Status::invalid_argument(text));
    }
    Ok(match Address::of_url(&url) {
        Some(address) => Named::Sent(address),
        None => Named::Elsewhere(url),
    })
}

impl GomoteService {
    /// What was sent to an address of whoever asks.
    async fn sent(&self, who: &Asking, address: &Address) -> Result<ByteStream, Status> {
        let content = self.0.objects.sent(who.user.name(), address);
        let content = content.map_err(|error| not_handed_over(&error))?;
        let stream = content.stream().await;
        stream.map_err(|error| not_handed_over(&error))
    }
}

pub(super) async fn write_file(
    service: &GomoteService,
    who: &Asking,
    asked: WriteFileFromUrlRequest,
) -> Result<(), Status> {
    let session = service.find(who, &asked.gomote_id).await?;
    if asked.filename.is_empty() {
        return Err(Status::invalid_argument("missing file name"));
    }
    let mode = FileMode::from_bits(asked.mode);
    if !mode.is_regular() {
        return Err(Status::invalid_argument(format!("bad mode: {mode}")));
    }
    let named = named(&asked.url)?;
    let contents = match &named {
        Named::Sent(address) => service.sent(who, address).await?,
        Named::Elsewhere(url) => service.0.foreign.fetch(url).await.map_err(|error| {
            Status::aborted(format!("failed to get file from URL: {}", said(&error)))
        })?,
    };
    let written = session
        .session()
        .put(&asked.filename, mode.bits(), contents)
        .await;
    if let Err(error) = written {
        let what = "failed to send the file to the gomote instance";
        return Err(failed(&session, what, error).await);
    }
    if let Named::Sent(address) = &named {
        service.0.objects.used(address);
    }
    Ok(())
}

pub(super) async fn write_tgz(
    service: &GomoteService,
    who: &Asking,
    asked: WriteTgzFromUrlRequest,
) -> Result<(), Status> {
    let session = service.find(who, &asked.gomote_id).await?;
    let named = named(&asked.url)?;
    let machine = session.session();
    let written = match &named {
        Named::Sent(address) => {
            let tgz = service.sent(who, address).await?;
            machine.put_tar(tgz, &asked.directory).await
        }
        // The machine reaches what it reaches; this server is not asked to.
        Named::Elsewhere(url) => machine.fetch_tar(url.as_str(), &asked.directory).await,
    };
    if let Err(error) = written {
        let status = failed(&session, "unable to write tar.gz", error).await;
        return Err(Status::failed_precondition(status.message()));
    }
    if let Named::Sent(address) = &named {
        service.0.objects.used(address);
    }
    Ok(())
}

/// Has the machine fetch the toolchain that its builder builds Go with, when there is one.
pub(super) async fn add_bootstrap(
    service: &GomoteService,
    who: &Asking,
    asked: AddBootstrapRequest,
) -> Result<AddBootstrapResponse, Status> {
    let session = service.find(who, &asked.gomote_id).await?;
    let builder = service.0.farm.builder(session.instance().builder.as_str());
    let url = builder.map(|builder| builder.host().bootstrap_url(BUCKET));
    let bootstrap_go_url = url.unwrap_or_default();
    if !bootstrap_go_url.is_empty() {
        let fetched = session
            .session()
            .fetch_tar(&bootstrap_go_url, BOOTSTRAP_DIR)
            .await;
        if let Err(error) = fetched {
            let status = failed(&session, "unable to download bootstrap Go", error).await;
            return Err(Status::internal(status.message()));
        }
    }
    Ok(AddBootstrapResponse { bootstrap_go_url })
}
