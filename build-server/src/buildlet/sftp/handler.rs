//! One client's requests, one after the other.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use bytes::{Buf as _, Bytes};
use russh_sftp::protocol::{
    Attrs, Data, File, FileAttributes, Handle, Name, OpenFlags, Packet, Status, StatusCode, Version,
};
use russh_sftp::server::{Handler, StatusReply};

use super::files::{self, Opened, Root};
use crate::buildlet::paths::Places;
use crate::buildlet::server::App;

/// Most files and directories that a client has open.
const MOST_OPEN: usize = 256;
const POSIX_RENAME: &str = "posix-rename@openssh.com";
const FSYNC: &str = "fsync@openssh.com";

pub(super) struct Sftp {
    app: Arc<App>,
    opened: HashMap<String, Opened>,
    next: u64,
}

fn reply(error: &io::Error) -> StatusReply {
    let code = match error.kind() {
        io::ErrorKind::NotFound => StatusCode::NoSuchFile,
        io::ErrorKind::PermissionDenied => StatusCode::PermissionDenied,
        io::ErrorKind::Unsupported => StatusCode::OpUnsupported,
        _ => StatusCode::Failure,
    };
    code.with_message(error.to_string())
}

fn ok(id: u32) -> Status {
    Status {
        id,
        status_code: StatusCode::Ok,
        error_message: String::new(),
        language_tag: String::new(),
    }
}

/// A text of an extended request: its length, and it.
fn text(data: &mut Bytes) -> Result<String, StatusReply> {
    let bad = || StatusReply::new(StatusCode::BadMessage);
    if data.remaining() < 4 {
        return Err(bad());
    }
    let length = data.get_u32() as usize;
    if data.remaining() < length {
        return Err(bad());
    }
    String::from_utf8(data.split_to(length).to_vec()).map_err(|_| bad())
}

impl Sftp {
    pub(super) fn new(app: Arc<App>) -> Self {
        Self {
            app,
            opened: HashMap::new(),
            next: 0,
        }
    }

    /// Does something with files, on a thread that may block.
    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Root<'_>) -> io::Result<T> + Send + 'static,
    ) -> Result<T, StatusReply> {
        let app = self.app.clone();
        let done = self.app.supervisor.spawn_blocking("sftp", move || {
            work(&Root {
                work_dir: &app.work_dir,
                places: Places::of(&app),
                links_may_leave: app.config.links_may_leave,
            })
        });
        match done.await {
            Ok(done) => done.map_err(|error| reply(&error)),
            Err(error) => Err(StatusCode::Failure.with_message(error.to_string())),
        }
    }

    fn keep(&mut self, id: u32, opened: Opened) -> Result<Handle, StatusReply> {
        if self.opened.len() >= MOST_OPEN {
            let text = format!("more than {MOST_OPEN} files are open");
            return Err(StatusCode::Failure.with_message(text));
        }
        self.next += 1;
        let handle = self.next.to_string();
        self.opened.insert(handle.clone(), opened);
        Ok(Handle { id, handle })
    }

    fn opened(&self, handle: &str) -> Result<Opened, StatusReply> {
        let opened = self.opened.get(handle).cloned();
        opened.ok_or_else(|| StatusCode::Failure.with_message("there is no such handle"))
    }
}

impl Handler for Sftp {
    type Error = StatusReply;

    fn unimplemented(&self) -> Self::Error {
        StatusReply::new(StatusCode::OpUnsupported)
    }

    async fn init(
        &mut self,
        _version: u32,
        _extensions: HashMap<String, String>,
    ) -> Result<Version, Self::Error> {
        let mut version = Version::new();
        for name in [POSIX_RENAME, FSYNC] {
            version.extensions.insert(name.into(), "1".into());
        }
        Ok(version)
    }

    async fn open(
        &mut self,
        id: u32,
        path: String,
        flags: OpenFlags,
        attrs: FileAttributes,
    ) -> Result<Handle, Self::Error> {
        let opened = self
            .work(move |root| root.open(&path, flags, &attrs))
            .await?;
        self.keep(id, opened)
    }

    async fn close(&mut self, id: u32, handle: String) -> Result<Status, Self::Error> {
        match self.opened.remove(&handle) {
            Some(_) => Ok(ok(id)),
            None => Err(StatusCode::Failure.with_message("there is no such handle")),
        }
    }

    async fn read(
        &mut self,
        id: u32,
        handle: String,
        offset: u64,
        length: u32,
    ) -> Result<Data, Self::Error> {
        let opened = self.opened(&handle)?;
        let data = self
            .work(move |_| files::read(&opened, offset, length))
            .await?;
        match data.is_empty() {
            true => Err(StatusReply::new(StatusCode::Eof)),
            false => Ok(Data { id, data }),
        }
    }

    async fn write(
        &mut self,
        id: u32,
        handle: String,
        offset: u64,
        data: Vec<u8>,
    ) -> Result<Status, Self::Error> {
        let opened = self.opened(&handle)?;
        self.work(move |_| files::write(&opened, offset, &data))
            .await?;
        Ok(ok(id))
    }

    async fn lstat(&mut self, id: u32, path: String) -> Result<Attrs, Self::Error> {
        let attrs = self.work(move |root| root.attributes(&path, false)).await?;
        Ok(Attrs { id, attrs })
    }

    async fn stat(&mut self, id: u32, path: String) -> Result<Attrs, Self::Error> {
        let attrs = self.work(move |root| root.attributes(&path, true)).await?;
        Ok(Attrs { id, attrs })
    }

    async fn fstat(&mut self, id: u32, handle: String) -> Result<Attrs, Self::Error> {
        let opened = self.opened(&handle)?;
        let attrs = self
            .work(move |_| files::attributes_opened(&opened))
            .await?;
        Ok(Attrs { id, attrs })
    }

    async fn setstat(
        &mut self,
        id: u32,
        path: String,
        attrs: FileAttributes,
    ) -> Result<Status, Self::Error> {
        self.work(move |root| root.set(&path, &attrs)).await?;
        Ok(ok(id))
    }

    async fn fsetstat(
        &mut self,
        id: u32,
        handle: String,
        attrs: FileAttributes,
    ) -> Result<Status, Self::Error> {
        let opened = self.opened(&handle)?;
        self.work(move |_| files::set_opened(&opened, &attrs))
            .await?;
        Ok(ok(id))
    }

    async fn opendir(&mut self, id: u32, path: String) -> Result<Handle, Self::Error> {
        let opened = self.work(move |root| root.open_dir(&path)).await?;
        self.keep(id, opened)
    }

    async fn readdir(&mut self, id: u32, handle: String) -> Result<Name, Self::Error> {
        let opened = self.opened(&handle)?;
        let files = self.work(move |_| files::list(&opened)).await?;
        match files.is_empty() {
            true => Err(StatusReply::new(StatusCode::Eof)),
            false => Ok(Name { id, files }),
        }
    }

    async fn remove(&mut self, id: u32, path: String) -> Result<Status, Self::Error> {
        self.work(move |root| std::fs::remove_file(root.below(&path)?))
            .await?;
        Ok(ok(id))
    }

    async fn mkdir(
        &mut self,
        id: u32,
        path: String,
        attrs: FileAttributes,
    ) -> Result<Status, Self::Error> {
        self.work(move |root| root.make_dir(&path, &attrs)).await?;
        Ok(ok(id))
    }

    async fn rmdir(&mut self, id: u32, path: String) -> Result<Status, Self::Error> {
        self.work(move |root| std::fs::remove_dir(root.below(&path)?))
            .await?;
        Ok(ok(id))
    }

    async fn realpath(&mut self, id: u32, path: String) -> Result<Name, Self::Error> {
        let real = self.work(move |root| root.real(&path)).await?;
        let files = vec![File::new(real, FileAttributes::default())];
        Ok(Name { id, files })
    }

    async fn rename(&mut self, id: u32, from: String, to: String) -> Result<Status, Self::Error> {
        self.work(move |root| root.rename(&from, &to, false))
            .await?;
        Ok(ok(id))
    }

    async fn readlink(&mut self, id: u32, path: String) -> Result<Name, Self::Error> {
        let read = self
            .work(move |root| std::fs::read_link(root.named(&path)?))
            .await?;
        let files = vec![File::new(files::text(&read), FileAttributes::default())];
        Ok(Name { id, files })
    }

    /// OpenSSH's clients, and everybody after them, send what the link is to say first.
    async fn symlink(
        &mut self,
        id: u32,
        says: String,
        link: String,
    ) -> Result<Status, Self::Error> {
        let link = move |root: &Root<'_>| std::os::unix::fs::symlink(says, root.below(&link)?);
        self.work(link).await?;
        Ok(ok(id))
    }

    async fn extended(
        &mut self,
        id: u32,
        request: String,
        data: Vec<u8>,
    ) -> Result<Packet, Self::Error> {
        let mut data = Bytes::from(data);
        match request.as_str() {
            POSIX_RENAME => {
                let (from, to) = (text(&mut data)?, text(&mut data)?);
                self.work(move |root| root.rename(&from, &to, true)).await?;
            }
            FSYNC => {
                let opened = self.opened(&text(&mut data)?)?;
                self.work(move |_| files::sync(&opened)).await?;
            }
            _ => return Err(self.unimplemented()),
        }
        Ok(Packet::Status(ok(id)))
    }
}
