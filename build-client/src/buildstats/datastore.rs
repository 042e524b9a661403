//! The records of a Google Cloud project.

use std::time::Duration;

use serde_json::json;

use super::*;
use crate::gerrit::TokenSource;
use crate::rest::{self, segment};

/// Longest wait for a batch.
const LIMIT: Duration = Duration::from_secs(120);

/// The entities of a Google Cloud project.
pub struct Datastore {
    base: String,
    project: String,
    token: Box<dyn TokenSource>,
    http: reqwest::Client,
}

impl Datastore {
    /// The records of `project`, for whoever `token` speaks for.
    ///
    /// # Errors
    /// When no HTTP client can be made.
    pub fn new(project: impl Into<String>, token: impl TokenSource + 'static) -> Result<Self> {
        Ok(Self {
            base: "https://datastore.googleapis.com".to_owned(),
            project: project.into(),
            token: Box::new(token),
            http: rest::client(None)?,
        })
    }

    /// Asks the service at `base` instead of Google's.
    #[must_use]
    pub fn at(self, base: impl Into<String>) -> Self {
        Self {
            base: base.into(),
            ..self
        }
    }
}

#[async_trait]
impl RecordSource for Datastore {
    async fn finished_since(&self, kind: Kind, since: &str, limit: usize) -> Result<Vec<Record>> {
        let what = format!("the {} records of project {}", kind.name(), self.project);
        let url = format!(
            "{}/v1/projects/{}:runQuery",
            self.base,
            segment(&self.project)
        );
        let after = json!({
            "property": { "name": "EndTime" },
            "op": "GREATER_THAN_OR_EQUAL",
            "value": { "timestampValue": since },
        });
        let body = json!({ "query": {
            "kind": [{ "name": kind.name() }],
            "filter": { "propertyFilter": after },
            "order": [{ "property": { "name": "EndTime" }, "direction": "ASCENDING" }],
            "limit": limit,
        }});
        let token = self.token.token().await?;
        let asked = self
            .http
            .post(url)
            .bearer_auth(token)
            .json(&body)
            .timeout(LIMIT)
            .send()
            .await;
        let answer = asked.map_err(|error| rest::failed(&what, error))?;
        let status = answer.status();
        if status != 200 {
            let kind = if matches!(status.as_u16(), 401 | 403) {
                ErrorKind::Denied
            } else {
                ErrorKind::Unavailable
            };
            return Err(Error::new(kind, format!("{what}: {status}")));
        }
        let answer: Value = answer
            .json()
            .await
            .map_err(|error| rest::failed(&what, error))?;
        let found = answer["batch"]["entityResults"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        found.iter().map(|found| record(&found["entity"])).collect()
    }
}

/// An entity as a record: its key as text, its properties as plain values.
fn record(entity: &Value) -> Result<Record> {
    let path = entity["key"]["path"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let part = |part: &Value| {
        let id = part["name"]
            .as_str()
            .or_else(|| part["id"].as_str())
            .unwrap_or_default();
        format!("{}:{id}", part["kind"].as_str().unwrap_or_default())
    };
    let id = path.iter().map(part).collect::<Vec<_>>().join("/");
    let properties = entity["properties"]
        .as_object()
        .cloned()
        .unwrap_or_default();
    if id.is_empty() || properties.is_empty() {
        return Err(Error::new(
            ErrorKind::Corrupt,
            format!("an entity without key or properties: {id:?}"),
        ));
    }
    Ok(Record {
        id,
        columns: properties
            .into_iter()
            .map(|(name, value)| (name, plain(&value)))
            .collect(),
    })
}

fn plain(value: &Value) -> Value {
    let kinds = [
        "stringValue",
        "timestampValue",
        "doubleValue",
        "booleanValue",
    ];
    if let Some(found) = kinds.iter().find_map(|kind| value.get(kind)) {
        return found.clone();
    }
    // Numbers of 64 bits are written as text.
    let integer = value
        .get("integerValue")
        .and_then(|text| text.as_str()?.parse::<i64>().ok());
    integer.map_or(Value::Null, Value::from)
}
