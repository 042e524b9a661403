//! `upload`: writes a file to an object store, when it is not there already.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use build_client::ErrorKind;
use build_client::upload::{Content, Outcome, Store, Upload, go_project};
use clap::Parser;
use farmer_cli::{Exit, Failure};
use tokio_util::sync::CancellationToken;

use crate::told::failed;

const EXAMPLES: &str = "Examples:
  upload -file index.html file:///srv/site/index.html
  upload -public -cacheable=false -file go1.16.src.tar.gz golang/go1.16.src.tar.gz
      classic form: gs://golang/go1.16.src.tar.gz
  tar c out | upload -gzip s3://artifacts/out.tar.gz
  upload -if-absent -sha256 $(sha256sum <app | cut -c1-64) -file app az://release/v1/app

Stores in a cloud need a program built with the feature `cloud`. Their credentials are read from
the environment as their own tools read them (AWS_…, GOOGLE_…, AZURE_…), or given with -option.
Exit codes: 0 the object is as it should be, 1 it was refused, 2 bad usage, 3 the store failed.";

/// Write a file to an object store, when it is not there already
#[derive(Parser)]
#[command(name = "upload", version, after_help = EXAMPLES)]
struct Args {
    /// Object should be world-readable: without -cacheable it gets Cache-Control: no-cache, and
    /// on gs:// the access rule
    #[arg(long)]
    public: bool,
    /// Object should be cacheable
    #[arg(long, num_args = 0..=1, default_value_t = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    cacheable: bool,
    /// File to read, or `-` for standard input
    #[arg(long, default_value = "-")]
    file: PathBuf,
    /// Say what was done
    #[arg(long)]
    verbose: bool,
    /// Google Cloud project of the bucket; known for the Go project's
    #[arg(long, default_value = "")]
    project: String,
    /// Store the bytes gzip-compressed; the object must end in .gz
    #[arg(long)]
    gzip: bool,
    /// Type of the object [default: what its content shows]
    #[arg(long, value_name = "TYPE")]
    content_type: Option<String>,
    /// Cache rule of the object, instead of -cacheable
    #[arg(long, value_name = "RULE")]
    cache_control: Option<String>,
    /// Never over another object
    #[arg(long)]
    if_absent: bool,
    /// Only content with this SHA-256
    #[arg(long, value_name = "HEX")]
    sha256: Option<String>,
    /// An option of the store, such as aws_endpoint=http://localhost:9000; repeat it for more
    #[arg(long, value_name = "NAME=VALUE")]
    option: Vec<String>,
    /// Print what was done as JSON
    #[arg(long)]
    json: bool,
    /// BUCKET/OBJECT on Google Cloud Storage, or the URL of an object
    object: String,
}

/// The entry point: the arguments without the program's name.
pub fn main(args: Vec<OsString>) -> ExitCode {
    farmer_cli::serving(args, Args::run)
}

impl Args {
    async fn run(self, stop: CancellationToken) -> Result<(), Failure> {
        let (store, name) = self.place()?;
        if self.gzip && !name.ends_with(".gz") {
            return Err(refused("--gzip flag requires object ending in .gz"));
        }
        if self.file.to_string_lossy().starts_with("go:") {
            return Err(Failure::usage(
                "-file go:TARGET is gone",
                "build the program first, with -o or into GOBIN, then upload the file",
            ));
        }
        let options = self.options()?;
        let store = if self.public {
            Store::open_public(&store, options)
        } else {
            Store::open(&store, options)
        };
        let store = store.map_err(|e| failed(&e))?;
        let (file, gzip) = (self.file.clone(), self.gzip);
        let content = tokio::task::spawn_blocking(move || {
            let content = if file == Path::new("-") {
                Content::from_reader(std::io::stdin().lock())
            } else {
                Content::from_file(&file)
            }?;
            if gzip { content.gzip() } else { Ok(content) }
        });
        let work = async {
            let content = content
                .await
                .map_err(|error| Failure::because(Exit::Infrastructure, &error, None))?;
            let content = content.map_err(|e| failed(&e))?;
            self.upload()
                .put(&store, &name, content)
                .await
                .map_err(|error| {
                    if error.kind() == ErrorKind::Unsupported {
                        Failure::because(Exit::Infrastructure, &error, None)
                    } else {
                        failed(&error)
                    }
                })
        };
        let done = tokio::select! {
            done = work => done?,
            () = stop.cancelled() => return Err(Failure::interrupted()),
        };
        if self.json {
            let text = serde_json::to_string(&done)
                .map_err(|e| Failure::because(Exit::Infrastructure, &e, None))?;
            writeln!(std::io::stdout(), "{text}")?;
        }
        if self.verbose {
            match done.outcome {
                Outcome::Unchanged => eprintln!("Already uploaded."),
                Outcome::Uploaded => eprintln!("Uploaded {name}"),
            }
        }
        Ok(())
    }

    /// The store, and the name of the object in it.
    fn place(&self) -> Result<(String, String), Failure> {
        let usage = |text: String| Failure::usage(text, "see: upload --help");
        if let Some((scheme, rest)) = self.object.split_once("://") {
            if self.public && scheme != "gs" {
                return Err(usage(format!(
                    "-public means nothing on {scheme}://: there the store's own policy says who reads"
                )));
            }
            // The bucket is the store; a folder is one down to the last slash.
            let cut = match scheme {
                "file" | "memory" => rest.rfind('/'),
                _ => rest.find('/'),
            };
            let (store, name) = cut
                .map(|at| (&rest[..at], &rest[at + 1..]))
                .unwrap_or((rest, ""));
            if name.is_empty() {
                return Err(usage(format!("{} names no object", self.object)));
            }
            return Ok((format!("{scheme}://{store}/"), name.to_owned()));
        }
        let Some((bucket, object)) = self.object.split_once('/') else {
            return Err(refused(&format!("{:?} is not BUCKET/OBJECT", self.object)));
        };
        if self.project.is_empty() && go_project(bucket).is_none() {
            return Err(refused(&format!(
                "bucket {bucket:?} doesn't have an associated project; name it with -project, or say gs://{bucket}/…"
            )));
        }
        Ok((format!("gs://{bucket}/"), object.to_owned()))
    }

    fn upload(&self) -> Upload {
        let mut upload = Upload::new();
        let rule = match &self.cache_control {
            None if self.public && !self.cacheable => Some("no-cache".to_owned()),
            None if !self.cacheable => Some("no-cache".to_owned()),
            rule => rule.clone(),
        };
        let compressed = self.gzip.then(|| "application/octet-stream".to_owned());
        if let Some(content_type) = self.content_type.clone().or(compressed) {
            upload = upload.content_type(content_type);
        }
        if let Some(rule) = rule {
            upload = upload.cache_control(rule);
        }
        if let Some(hash) = &self.sha256 {
            upload = upload.sha256(hash);
        }
        if self.if_absent {
            upload.if_absent()
        } else {
            upload
        }
    }

    /// What the environment says of the store, then what was given.
    fn options(&self) -> Result<Vec<(String, String)>, Failure> {
        let known = ["AWS_", "GOOGLE_", "AZURE_"];
        let mut options: Vec<(String, String)> = std::env::vars()
            .filter(|(name, _)| known.iter().any(|start| name.starts_with(start)))
            .map(|(name, value)| (name.to_ascii_lowercase(), value))
            .collect();
        for text in &self.option {
            let (name, value) = text
                .split_once('=')
                .ok_or_else(|| Failure::usage(format!("-option {text:?} is not NAME=VALUE"), ""))?;
            options.push((name.to_owned(), value.to_owned()));
        }
        Ok(options)
    }
}

/// What the program of 2020 ended with exit code 1 for.
fn refused(text: &str) -> Failure {
    let error = build_client::Error::new(ErrorKind::Invalid, text);
    Failure::because(Exit::Failed, &error, Some("see: upload --help"))
}
