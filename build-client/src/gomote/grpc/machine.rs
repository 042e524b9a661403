//! A machine of a server that speaks the interface of later years.

use std::sync::Arc;

use async_trait::async_trait;
use build_core::buildlet::{
    Buildlet, ByteStream, DirEntry, Exec, ExecStatus, ExecStream, ListDir, Status,
};
use build_core::ids::ExecId;

use super::super::protos::{
    ListDirectoryRequest, ReadTgzToUrlRequest, RemoveFilesRequest, UploadFileRequest,
    WriteFileFromUrlRequest, WriteTgzFromUrlRequest,
};
use super::calls::{Calls, LONG, SHORT, failed};
use super::{exec, metadata};
use crate::{Error, ErrorKind, Result, Timeouts};

/// A machine by its name.
pub(in super::super) struct GrpcBuildlet {
    calls: Arc<Calls>,
    name: String,
    timeouts: Timeouts,
}

impl GrpcBuildlet {
    pub(in super::super) fn new(calls: Arc<Calls>, name: &str, timeouts: Timeouts) -> Self {
        Self {
            calls,
            name: name.to_owned(),
            timeouts,
        }
    }

    /// Brings a file to the server, and gives the URL by which it knows it.
    async fn send(&self, contents: ByteStream) -> Result<String> {
        let asked = self.calls.ask(UploadFileRequest {}, Some(SHORT))?;
        let answer = self.calls.client()?.upload_file(asked).await;
        let to = answer.map_err(|status| failed("ask where a file goes", &status))?;
        self.calls.objects.send(&to.into_inner(), contents).await
    }

    async fn unpack(&self, url: String, dir: &str) -> Result<()> {
        let asked = WriteTgzFromUrlRequest {
            gomote_id: self.name.clone(),
            url,
            directory: dir.to_owned(),
        };
        let asked = self.calls.ask(asked, Some(LONG))?;
        let done = self.calls.client()?.write_tgz_from_url(asked).await;
        done.map(drop)
            .map_err(|status| failed(&format!("unpack on {}", self.name), &status))
    }
}

#[async_trait]
impl Buildlet for GrpcBuildlet {
    fn name(&self) -> String {
        self.name.clone()
    }

    async fn status(&self) -> Result<Status> {
        let alive = self.calls.alive(&self.name, SHORT).await;
        let detached = alive.map_err(|status| failed(&self.name, &status))?;
        let mut status = Status::default();
        status.detached = detached;
        Ok(status)
    }

    /// The service tells it at the creation alone, so the machine is asked.
    async fn work_dir(&self) -> Result<String> {
        let output = self.exec(Exec::new("/bin/pwd")).await?;
        let text = output.text();
        match output.outcome().is_ok() {
            true => Ok(text.trim_end_matches('\n').to_owned()),
            false => Err(Error::new(
                ErrorKind::Unsupported,
                format!("{} does not say where it works: {text}", self.name),
            )),
        }
    }

    async fn put(&self, path: &str, mode: u32, contents: ByteStream) -> Result<()> {
        let asked = WriteFileFromUrlRequest {
            gomote_id: self.name.clone(),
            url: self.send(contents).await?,
            filename: path.to_owned(),
            mode,
        };
        let asked = self.calls.ask(asked, Some(LONG))?;
        let done = self.calls.client()?.write_file_from_url(asked).await;
        done.map(drop)
            .map_err(|status| failed(&format!("write {path} on {}", self.name), &status))
    }

    async fn put_tar(&self, tgz: ByteStream, dir: &str) -> Result<()> {
        let url = self.send(tgz).await?;
        self.unpack(url, dir).await
    }

    async fn fetch_tar(&self, url: &str, dir: &str) -> Result<()> {
        self.unpack(url.to_owned(), dir).await
    }

    async fn get_tar(&self, dir: &str) -> Result<ByteStream> {
        let asked = ReadTgzToUrlRequest {
            gomote_id: self.name.clone(),
            directory: dir.to_owned(),
        };
        let asked = self.calls.ask(asked, Some(LONG))?;
        let answer = self.calls.client()?.read_tgz_to_url(asked).await;
        let answer =
            answer.map_err(|status| failed(&format!("pack files of {}", self.name), &status))?;
        self.calls.objects.get(&answer.get_ref().url).await
    }

    async fn list_dir(&self, what: &ListDir) -> Result<Vec<DirEntry>> {
        let failed = |status| failed(&format!("list files of {}", self.name), &status);
        let asked = ListDirectoryRequest {
            gomote_id: self.name.clone(),
            // The service takes no empty name for the whole.
            directory: match what.dir.as_str() {
                "" => ".".to_owned(),
                dir => dir.to_owned(),
            },
            recursive: what.recursive,
            skip_files: what.skip.clone(),
            digest: what.digest,
        };
        let asked = self.calls.ask(asked, Some(LONG))?;
        let begun = self.calls.client()?.list_directory_streaming(asked).await;
        let mut answers = begun.map_err(failed)?.into_inner();
        let mut entries = Vec::new();
        let read = async {
            while let Some(answer) = answers.message().await.map_err(failed)? {
                for line in &answer.entries {
                    entries.push(DirEntry::parse_line(line.as_bytes())?);
                }
            }
            Ok(())
        };
        tokio::time::timeout(LONG, read)
            .await
            .unwrap_or_else(|_| Err(Error::new(ErrorKind::TimedOut, "the list has no end")))?;
        Ok(entries)
    }

    async fn remove_all(&self, paths: &[String]) -> Result<()> {
        if paths.is_empty() {
            return Ok(());
        }
        let asked = RemoveFilesRequest {
            gomote_id: self.name.clone(),
            paths: paths.to_vec(),
        };
        let asked = self.calls.ask(asked, Some(LONG))?;
        let done = self.calls.client()?.remove_files(asked).await;
        done.map(drop)
            .map_err(|status| failed(&format!("remove files of {}", self.name), &status))
    }

    async fn stream(&self, exec: Exec) -> Result<ExecStream> {
        exec::stream(self.calls.clone(), self.timeouts, self.name.clone(), &exec).await
    }

    async fn start(&self, exec: Exec) -> Result<ExecStatus> {
        let Some(id) = exec.id.clone() else {
            let text = "detached command without an id";
            return Err(Error::new(ErrorKind::Invalid, text));
        };
        let asked = exec::request(&self.name, &exec)?;
        exec::status(&self.calls, &self.name, asked, metadata::START, &id).await
    }

    async fn attach(&self, id: &ExecId, offset: u64) -> Result<ExecStream> {
        let (calls, name) = (self.calls.clone(), self.name.clone());
        exec::attach(calls, self.timeouts, name, id.clone(), offset).await
    }

    async fn exec_status(&self, id: &ExecId) -> Result<ExecStatus> {
        let asked = exec::of(&self.name);
        exec::status(&self.calls, &self.name, asked, metadata::STATUS, id).await
    }

    async fn kill(&self, id: &ExecId) -> Result<()> {
        exec::kill(&self.calls, &self.name, id).await
    }

    async fn close(&self) -> Result<()> {
        self.calls.destroy(&self.name).await
    }
}
