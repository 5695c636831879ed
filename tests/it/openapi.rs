//! The OpenAPI document matches the API: every route, parameter, response, field and null.

use std::collections::BTreeSet;

use jsonschema::Validator;
use qunfa::domain::ApiKeyHash;
use qunfa::simulator::Sample;
use qunfa::web::{Group, routes};
use reqwest::{Method, Response};
use serde_json::{Map, Value, json};

use crate::support::workplace::Workplace;
use crate::support::{Backend, Event, PLAIN, Server, Setup, fixture, on_both_stores};

const CHECKED_IN: &str = include_str!("../../docs/openapi.json");
const KEY: &str = "a key of the API";

fn document() -> Value {
    serde_json::from_str(qunfa::web::openapi()).unwrap()
}

/// Path and GET of every route in the document.
fn operations(document: &Value) -> Vec<(&String, &Value)> {
    let paths = document["paths"].as_object().unwrap().iter();
    let operations = paths.map(|(path, item)| {
        assert_eq!(item.as_object().unwrap().len(), 1, "{path}");
        (path, &item["get"])
    });
    operations.collect()
}

/// The target of a reference; other values are returned unchanged.
fn resolved<'d>(document: &'d Value, value: &'d Value) -> &'d Value {
    match value["$ref"].as_str() {
        Some(reference) => document.pointer(&reference[1..]).expect(reference),
        None => value,
    }
}

fn parameters(operation: &Value, place: &str) -> BTreeSet<String> {
    let parameters = operation["parameters"].as_array().into_iter().flatten();
    let there = parameters.filter(|parameter| parameter["in"] == place);
    there
        .map(|parameter| parameter["name"].as_str().unwrap().to_owned())
        .collect()
}

/// Checks a JSON value against a schema of the document; objects must not have undocumented fields.
fn validator(document: &Value, schema: &Value) -> Validator {
    let mut schema = schema.clone();
    close(&mut schema);
    schema["components"] = document["components"].clone();
    let schemas = schema["components"]["schemas"].as_object_mut().unwrap();
    schemas.values_mut().for_each(close_inside);
    jsonschema::options()
        .should_validate_formats(true)
        .build(&schema)
        .unwrap()
}

fn close(schema: &mut Value) {
    close_inside(schema);
    // The document itself can be any object.
    if *schema != json!({ "type": "object" }) {
        schema["unevaluatedProperties"] = json!(false);
    }
}

/// The parts of an `allOf` or `oneOf` stay open: the whole is closed.
fn close_inside(schema: &mut Value) {
    let properties = schema.get_mut("properties").and_then(Value::as_object_mut);
    properties
        .into_iter()
        .flat_map(Map::values_mut)
        .for_each(close);
    schema.get_mut("items").into_iter().for_each(close);
    for parts in ["allOf", "oneOf"] {
        let parts = schema.get_mut(parts).and_then(Value::as_array_mut);
        parts.into_iter().flatten().for_each(close_inside);
    }
}

fn assert_valid(document: &Value, schema: &Value, value: &Value, what: &str) {
    let errors: Vec<_> = validator(document, schema)
        .iter_errors(value)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{what}: {errors:#?}\n{value:#}");
}

async fn ask(server: &Server, path: &str, headers: &[(&str, &str)]) -> Response {
    let mut request = server.client.request(Method::GET, server.url(path));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.send().await.unwrap()
}

/// Compares a response with the document: status, headers, content type and body.
async fn assert_is_documented(document: &Value, route: &str, response: Response) {
    let status = response.status();
    let what = format!("{route} {status}");
    let described = &document["paths"][route]["get"]["responses"][status.as_str()];
    let described = resolved(document, described);
    assert!(described.is_object(), "{what} is not in the document");
    for name in [
        "etag",
        "www-authenticate",
        "retry-after",
        "x-accel-buffering",
    ] {
        let is_named = described["headers"].get(name).is_some();
        assert_eq!(
            response.headers().contains_key(name),
            is_named,
            "{what} {name}"
        );
    }
    let kind = response.headers().get("content-type").cloned();
    let Some(kind) = kind else {
        assert!(described.get("content").is_none(), "{what}");
        return;
    };
    let kind = kind.to_str().unwrap().split(';').next().unwrap().to_owned();
    let content = described["content"].get(&kind);
    let content = content.unwrap_or_else(|| panic!("{what}: {kind} is not in the document"));
    if kind == "application/json" || kind.ends_with("+json") {
        let body: Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
        assert_valid(document, &content["schema"], &body, &what);
    } else if kind != "text/event-stream" {
        let body = json!(response.text().await.unwrap());
        assert_valid(document, &content["schema"], &body, &what);
    }
}

/// A server with a key with full access, and a client for each scope, named after it.
async fn with_a_key(backend: Backend) -> Server {
    let mut toml = format!("[api]\nkeys = [\"{}\"]\n", ApiKeyHash::of(KEY));
    for scope in ["read", "export"] {
        let hash = ApiKeyHash::of(scope);
        let client = format!("[api.clients.{scope}]\nkey = \"{hash}\"\nscopes = [\"{scope}\"]\n");
        toml.push_str(&client);
    }
    Setup::default().toml(&toml).start(backend).await
}

#[test]
fn the_checked_in_document_is_that_of_the_program() {
    let printed = Workplace::new().run(&["openapi"]).with_code(0).output;
    assert_eq!(printed, qunfa::web::openapi());
    assert!(
        printed == CHECKED_IN,
        "docs/openapi.json is not up to date; write it anew:  cargo run -- openapi > docs/openapi.json"
    );
}

#[test]
fn it_has_every_route_of_the_api_and_nothing_else() {
    let document = document();
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    let routes = routes();
    let of_the_api = routes
        .iter()
        .filter(|route| matches!(route.group, Group::Api(_) | Group::Health | Group::Open));
    let expected: BTreeSet<_> = of_the_api.map(|route| route.path.as_str()).collect();
    let operations = operations(&document);
    let described: BTreeSet<_> = operations.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(described, expected);
    let mut ids = BTreeSet::new();
    for (path, operation) in operations {
        assert!(
            ids.insert(operation["operationId"].as_str().unwrap()),
            "{path}"
        );
        let group = routes
            .iter()
            .find(|route| route.path == *path)
            .unwrap()
            .group;
        let expected = match group {
            Group::Api(scope) => json!([{ "key": [scope.as_str()] }]),
            _ => Value::Null,
        };
        assert_eq!(operation["security"], expected, "{path}");
        let in_path = path.split('{').skip(1).map(|part| part.split('}').next());
        let in_path: BTreeSet<_> = in_path.map(|name| name.unwrap().to_owned()).collect();
        assert_eq!(parameters(operation, "path"), in_path, "{path}");
    }
}

#[test]
fn examples_are_as_their_schemas_say() {
    let document = document();
    let mut count = 0;
    for (path, operation) in operations(&document) {
        for (status, answer) in operation["responses"].as_object().unwrap() {
            let answer = resolved(&document, answer);
            for content in answer["content"]
                .as_object()
                .into_iter()
                .flat_map(Map::values)
            {
                if let Some(example) = content.get("example") {
                    assert_valid(
                        &document,
                        &content["schema"],
                        example,
                        &format!("{path} {status}"),
                    );
                    count += 1;
                }
            }
        }
    }
    assert!(count > 60, "{count}");
}

#[tokio::test]
async fn each_route_takes_the_parameters_that_it_names() {
    let server = Server::start(Backend::Sqlite).await;
    let document = document();
    for (path, operation) in operations(&document) {
        if !path.starts_with("/api/") {
            continue;
        }
        let path = path.replace("{account}", "plain").replace("{msg_id}", "1");
        let (status, problem) = server.json(&format!("{path}?nonsense=1")).await;
        assert_eq!(status, 400, "{path}");
        let detail = problem["detail"].as_str().unwrap();
        let allowed: BTreeSet<_> = if let Some((_, names)) = detail.split_once("known parameters: ")
        {
            names.split(", ").map(str::to_owned).collect()
        } else {
            assert!(
                detail.ends_with("this route takes no parameters"),
                "{detail}"
            );
            BTreeSet::new()
        };
        assert_eq!(parameters(operation, "query"), allowed, "{path}");
    }
}

on_both_stores! {
    async fn every_answer_is_as_the_document_says(backend: Backend) {
        let server = with_a_key(backend).await;
        let document = document();
        let full = format!("Bearer {KEY}");
        let key = [("authorization", full.as_str())];
        for body in [
            Event::new(1, 10).xml().into_bytes(),
            Sample::Rejected.xml().as_bytes().to_vec(),
            fixture("events/articles.xml"),
            Event::new(3, 30).status("err(77)").counts([i64::MAX; 4]).xml().into_bytes(),
            b"<xml><MsgType>event</MsgType><Event>MASSSENDJOBFINISH</Event><MsgID>4</MsgID><CreateTime>9</CreateTime></xml>".to_vec(),
            b"\xff\xfe no text at all".to_vec(),
        ] {
            server.accepts(&PLAIN, body).await;
        }
        for (route, operation) in operations(&document) {
            let path = route.replace("{account}", "plain").replace("{msg_id}", "4");
            let answer = ask(&server, &path, &key).await;
            assert_eq!(answer.status(), 200, "{path}");
            let tag = answer.headers().get("etag").cloned();
            assert_is_documented(&document, route, answer).await;
            assert_eq!(tag.is_some(), operation["responses"].get("304").is_some(), "{path}");
            if let Some(tag) = tag {
                let known = [key[0], ("if-none-match", tag.to_str().unwrap())];
                let answer = ask(&server, &path, &known).await;
                assert_eq!(answer.status(), 304, "{path}");
                assert_is_documented(&document, route, answer).await;
            }
            let other_scope = match operation["security"][0]["key"][0].as_str() {
                None => continue,
                Some("export") => "Bearer read",
                Some(_) => "Bearer export",
            };
            let nonsense = format!("{path}?nonsense=1");
            for (path, headers, status) in [
                (&nonsense, &key[..], 400),
                (&path, &[], 401),
                (&path, &[("authorization", other_scope)], 403),
                (&path.replace("plain", "nobody"), &key, if route.contains('{') { 404 } else { 200 }),
            ] {
                let answer = ask(&server, path, headers).await;
                assert_eq!(answer.status(), status, "{path}");
                assert_is_documented(&document, route, answer).await;
            }
        }
        let ids = server_ids(&server, &key).await;
        assert!(ids.len() >= 5);
        for id in ids {
            let answer = ask(&server, &format!("/api/v1/jobs/plain/{id}"), &key).await;
            assert_is_documented(&document, "/api/v1/jobs/{account}/{msg_id}", answer).await;
        }
        let paged = ask(&server, "/api/v1/jobs?limit=1", &key).await;
        assert_is_documented(&document, "/api/v1/jobs", paged).await;
    }
}

/// The ids of all jobs.
async fn server_ids(server: &Server, key: &[(&str, &str)]) -> Vec<String> {
    let answer = ask(server, "/api/v1/jobs", key).await;
    let body: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
    let items = body["items"].as_array().unwrap().iter();
    items
        .map(|job| job["msg_id"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn it_is_served_to_everybody_and_kept_by_its_tag() {
    let server = with_a_key(Backend::Sqlite).await;
    let answer = ask(&server, "/openapi.json", &[("accept-encoding", "gzip")]).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-type"], "application/json");
    assert_eq!(answer.headers()["content-encoding"], "gzip");
    let text = ask(&server, "/openapi.json", &[])
        .await
        .text()
        .await
        .unwrap();
    assert_eq!(text, CHECKED_IN);
}

#[tokio::test]
async fn the_answer_to_many_wrong_keys_is_documented_too() {
    let server = with_a_key(Backend::Sqlite).await;
    let document = document();
    let wrong = [("authorization", "Bearer wrong")];
    let mut answer = ask(&server, "/api/v1/jobs", &wrong).await;
    for _ in 0..400 {
        assert_is_documented(&document, "/api/v1/jobs", answer).await;
        answer = ask(&server, "/api/v1/jobs", &wrong).await;
        if answer.status() == 429 {
            break;
        }
    }
    assert_eq!(answer.status(), 429);
    assert_is_documented(&document, "/api/v1/jobs", answer).await;
}
