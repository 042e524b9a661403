//! Judges answers by the committed description of the API.

use std::sync::LazyLock;

use axum::http::{Method, StatusCode};
use build_server::web::OPENAPI;
use serde_json::{Value, json};

static DESCRIPTION: LazyLock<Value> = LazyLock::new(|| serde_json::from_str(OPENAPI).unwrap());

/// Panics unless the answer is described, and as described.
#[track_caller]
pub fn check(method: &Method, path: &str, status: StatusCode, kind: &str, body: &str) {
    let kind = kind.split(';').next().unwrap();
    let described = describe(method, path, status, kind);
    match kind {
        "application/json" => check_json(&described, &serde_json::from_str(body).unwrap()),
        "text/event-stream" => {
            let data = body.lines().filter_map(|line| line.strip_prefix("data: "));
            data.for_each(|data| check_json(&described, &serde_json::from_str(data).unwrap()));
        }
        _ => {}
    }
}

/// The schema of what is answered; of a path or method that the API does not have, that of errors.
#[track_caller]
fn describe(method: &Method, path: &str, status: StatusCode, kind: &str) -> Value {
    let error = json!({ "$ref": "#/components/schemas/Error" });
    let Some(template) = template(path) else {
        return error;
    };
    let method = method.as_str().to_ascii_lowercase();
    let Some(operation) = DESCRIPTION["paths"][template].get(method) else {
        return error;
    };
    let responses = &operation["responses"];
    let described = responses.get(status.as_str()).unwrap_or_else(|| {
        assert!(!status.is_success(), "{path}: {status} is not described");
        &responses["default"]
    });
    let contents = &described["content"];
    if contents.is_null() && kind.is_empty() {
        return Value::Null;
    }
    let content = contents.get(kind);
    let content = content.unwrap_or_else(|| panic!("{path}: {kind:?} is not one of {contents}"));
    content["schema"].clone()
}

/// `/api/v1/builds/B000000001/log` is `/api/v1/builds/{id}/log`.
fn template(path: &str) -> Option<&'static str> {
    let fits = |template: &str| {
        let (mut parts, mut wanted) = (path.split('/'), template.split('/'));
        loop {
            match (parts.next(), wanted.next()) {
                (None, None) => return true,
                // The last one takes the rest.
                (Some(_), Some("{path}")) => return true,
                (Some(part), Some(want)) if part == want || want == "{id}" => {}
                _ => return false,
            }
        }
    };
    let mut templates = DESCRIPTION["paths"].as_object().unwrap().keys();
    templates.find(|t| fits(t)).map(String::as_str)
}

#[track_caller]
fn check_json(schema: &Value, value: &Value) {
    let mut whole = schema.clone();
    whole["components"] = DESCRIPTION["components"].clone();
    let validator = jsonschema::draft202012::new(&whole).unwrap();
    let faults: Vec<_> = validator
        .iter_errors(value)
        .map(|fault| format!("{}: {fault}", fault.instance_path()))
        .collect();
    assert!(faults.is_empty(), "{schema}\n{value:#}\n{faults:#?}");
}

#[test]
fn a_wrong_answer_is_noticed() {
    let judge = |body: &str| {
        let body = body.to_owned();
        std::panic::catch_unwind(move || {
            let path = "/api/v1/builds/B000000001";
            check(
                &Method::GET,
                path,
                StatusCode::NOT_FOUND,
                "application/json",
                &body,
            );
        })
    };
    assert!(judge(r#"{"code":"not_found","message":"m","hint":"h"}"#).is_ok());
    assert!(judge(r#"{"code":"not_found","message":"m"}"#).is_err());
    assert!(judge(r#"{"code":"gone","message":"m","hint":"h"}"#).is_err());
    assert!(judge(r#"{"code":"not_found","message":"m","hint":"h","x":1}"#).is_err());
}
