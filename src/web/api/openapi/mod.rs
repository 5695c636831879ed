//! The OpenAPI 3.1 document. The table of routes gives the paths and scopes, the handlers their
//! descriptions, parameters and answers.

pub(super) mod examples;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use axum::http::{HeaderMap, header};
use axum::response::IntoResponse;
use utoipa::openapi::path::{Operation, Parameter, ParameterIn};
use utoipa::openapi::schema::{Object, Schema, SchemaType, Type};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{self, Content, Header, Ref, RefOr, Required, Response};
use utoipa::{IntoResponses, OpenApi, ToSchema};

use crate::domain::Scope;
use crate::web::api::jobs::NO_JOB;
use crate::web::api::problem::{Problem, ProblemOut};
use crate::web::etag;
use crate::web::static_file::StaticFile;
use crate::web::{Group, routes};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "qunfa",
        description = include_str!("about.md"),
        license(name = "MIT or Apache-2.0", identifier = "MIT OR Apache-2.0"),
    ),
    components(schemas(ProblemOut<'static>)),
    tags(
        (name = "Jobs", description = "The result of each mass send."),
        (name = "Deliveries", description = "What was received, as it was received."),
        (name = "Stats", description = "Totals of jobs."),
        (name = "Live", description = "Jobs as they change."),
        (name = "Server", description = "Health, and this document. Open to all, without a key."),
    ),
)]
struct Frame;

/// The document as JSON.
pub(in crate::web) static DOCUMENT: LazyLock<String> = LazyLock::new(|| {
    let mut text = document()
        .to_pretty_json()
        .expect("a document can be written as JSON");
    text.push('\n');
    text
});

/// This document
///
/// OpenAPI 3.1, for tools; `/docs` shows it as a page.
#[utoipa::path(
    get,
    path = "/openapi.json",
    tag = "Server",
    responses((status = 200, description = "The document.", body = Object), Tagged),
)]
pub(in crate::web) async fn openapi_json(headers: HeaderMap) -> axum::response::Response {
    static FILE: LazyLock<StaticFile> = LazyLock::new(|| {
        let tag = etag::tag_of(DOCUMENT.as_bytes());
        StaticFile::new(
            "application/json",
            etag::REVALIDATED,
            tag,
            DOCUMENT.as_str(),
        )
    });
    FILE.respond(&headers)
}

const KEY: &str = "key";

fn document() -> openapi::OpenApi {
    let mut document = Frame::openapi();
    for mut route in routes() {
        let group = route.group;
        for operation in route.operations() {
            if let Group::Api(scope) = group {
                guard(operation, scope);
            }
            tag(operation);
        }
        document.merge(route.document);
    }
    let components = document.components.get_or_insert_default();
    components
        .security_schemes
        .insert(KEY.to_owned(), bearer().into());
    for problem in problems() {
        let name = problem.id().to_owned();
        components.responses.insert(name, described(problem).into());
    }
    components
        .responses
        .insert(NOT_MODIFIED.to_owned(), not_modified().into());
    for schema in components.schemas.values_mut() {
        require_nullable(schema);
    }
    document
}

/// Adds the scope that a route of the API requires, and the answers to requests without it.
fn guard(operation: &mut Operation, scope: Scope) {
    operation.security = Some(vec![SecurityRequirement::new(KEY, [scope.as_str()])]);
    let needed = format!("Requires a key with the scope `{}`.", scope.as_str());
    let description = operation.description.take().unwrap_or_default();
    operation.description = Some([description, needed].join("\n\n").trim().to_owned());
    for problem in problems() {
        // Not answers of an operation in the document: its route exists, and so does its method.
        if !matches!(problem, Problem::NotFound(_) | Problem::MethodNotAllowed) {
            let status = problem.status().as_str().to_owned();
            let answer = Ref::from_response_name(problem.id());
            operation.responses.responses.insert(status, answer.into());
        }
    }
}

/// Adds the headers of conditional requests, if the handler documents a 304.
fn tag(operation: &mut Operation) {
    let responses = &mut operation.responses.responses;
    if !responses.contains_key("304") {
        return;
    }
    if let Some(RefOr::T(answer)) = responses.get_mut("200") {
        answer.headers.insert("etag".to_owned(), etag().into());
    }
    let mut known = Parameter::new("if-none-match");
    known.parameter_in = ParameterIn::Header;
    known.required = Required::False;
    known.description = Some("The `etag` of an earlier answer.".to_owned());
    known.schema = Some(Object::with_type(Type::String).into());
    operation
        .parameters
        .get_or_insert_default()
        .push(known.into());
}

/// For handlers whose answers have an `ETag`: a client that has the same body is answered 304.
pub(in crate::web) enum Tagged {}

impl IntoResponses for Tagged {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let answer = Ref::from_response_name(NOT_MODIFIED);
        BTreeMap::from([("304".to_owned(), answer.into())])
    }
}

/// The 404 of handlers that answer about one job.
pub(in crate::web) enum NoJob {}

impl IntoResponses for NoJob {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let answer = Ref::from_response_name(NO_JOB.id());
        BTreeMap::from([("404".to_owned(), answer.into())])
    }
}

const NOT_MODIFIED: &str = "not-modified";

fn not_modified() -> Response {
    let mut answer =
        Response::new("The answer is still the one that `if-none-match` names. It has no body.");
    answer.headers.insert("etag".to_owned(), etag().into());
    answer
}

fn etag() -> Header {
    let mut header = Header::new(Object::with_type(Type::String));
    header.description =
        Some("Identifies the body; weak, because the body may be compressed.".to_owned());
    header
}

/// Every problem type, with an example.
fn problems() -> [Problem; 8] {
    [
        Problem::InvalidParameter("`limit` must be a number from 1 to 500".to_owned()),
        Problem::Unauthorized,
        Problem::Forbidden(Scope::Read),
        NO_JOB,
        Problem::MethodNotAllowed,
        Problem::TooManyRequests,
        Problem::Internal,
        Problem::Unavailable,
    ]
}

/// The description of a problem, with the headers of the real answer.
fn described(problem: Problem) -> Response {
    let mut answer = Response::new(format!("{}.", problem.title()));
    let example = serde_json::to_value(problem.body("1f3a5c7e9b2d4f60"));
    let schema = Ref::from_schema_name(ProblemOut::name());
    let mut content = Content::new(Some(schema));
    content.example = example.ok();
    answer
        .content
        .insert("application/problem+json".to_owned(), content.into());
    for (name, value) in problem.into_response().headers() {
        let mut header = Header::new(Object::with_type(Type::String));
        header.example = value.to_str().ok().map(Into::into);
        answer.headers.insert(name.to_string(), header.into());
    }
    answer
        .headers
        .retain(|name, _| name != header::CONTENT_LENGTH.as_str());
    answer
}

fn bearer() -> SecurityScheme {
    let mut bearer = Http::new(HttpAuthScheme::Bearer);
    bearer.description = Some(
        "A key of `api.keys`, or of a client in `api.clients`. While no key is configured, none is required.".to_owned(),
    );
    SecurityScheme::Http(bearer)
}

/// Fields that may be null are never left out of an answer.
fn require_nullable(schema: &mut RefOr<Schema>) {
    match schema {
        RefOr::T(Schema::Object(object)) => {
            let nullable = object.properties.iter().filter(|(_, of)| may_be_null(of));
            let names: Vec<_> = nullable.map(|(name, _)| name.clone()).collect();
            for name in names {
                if !object.required.contains(&name) {
                    object.required.push(name);
                }
            }
        }
        RefOr::T(Schema::AllOf(all)) => all.items.iter_mut().for_each(require_nullable),
        _ => {}
    }
}

fn may_be_null(schema: &RefOr<Schema>) -> bool {
    match schema {
        RefOr::T(Schema::Object(object)) => is_null_among(&object.schema_type),
        RefOr::T(Schema::Array(array)) => is_null_among(&array.schema_type),
        RefOr::T(Schema::OneOf(one)) => one.items.iter().any(may_be_null),
        _ => false,
    }
}

fn is_null_among(types: &SchemaType) -> bool {
    match types {
        SchemaType::Type(only) => *only == Type::Null,
        SchemaType::Array(several) => several.contains(&Type::Null),
        SchemaType::AnyValue => false,
    }
}
