//! The rules of the metadata service's HTTP interface, as documented, without any I/O.

use serde_json::{Value, json};

use super::{Document, Vm};

/// Versions of `/metadata/scheduledevents`.
const EVENT_VERSIONS: [&str; 7] =
    ["2017-03-01", "2017-08-01", "2017-11-01", "2019-01-01", "2019-04-01", "2019-08-01", "2020-07-01"];
/// Documented as not generally available; where it isn't, the service answers 404.
const UNAVAILABLE_EVENT_VERSION: &str = "2024-07-09";
/// Versions of `/metadata/instance`; another list than the events have.
const INSTANCE_VERSIONS: [&str; 9] = [
    "2017-04-02",
    "2017-12-01",
    "2019-06-04",
    "2020-09-01",
    "2021-01-01",
    "2021-02-01",
    "2021-12-13",
    "2023-11-15",
    "2025-04-07",
];

/// A request as far as the rules look at it.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// In upper case.
    pub method: &'a str,
    /// Without the query.
    pub path: &'a str,
    /// Behind the question mark, possibly empty.
    pub query: &'a str,
    /// The value of the `Metadata` header.
    pub metadata_header: Option<&'a str>,
    /// Was there an `X-Forwarded-For`?
    pub forwarded: bool,
    /// The body as sent.
    pub body: &'a [u8],
}

/// What goes back.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The JSON body.
    pub body: Value,
    /// Ids of the events that the request approved.
    pub approved: Vec<String>,
}

impl Answer {
    fn ok(body: Value) -> Self {
        Self { status: 200, body, approved: Vec::new() }
    }

    fn refusal(status: u16, error: &str) -> Self {
        Self { status, body: json!({ "error": error }), approved: Vec::new() }
    }
}

/// Judges a request and answers it from the VM's metadata and its placement group's document.
#[must_use]
pub fn answer(asked: &Asked<'_>, vm: &Vm, document: &Document) -> Answer {
    if !asked.metadata_header.is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return Answer::refusal(400, "Bad request. Required metadata header not specified");
    }
    if asked.forwarded {
        return Answer::refusal(400, "Bad request. A request with X-Forwarded-For is refused");
    }
    let parameters = match parameters(asked.query) {
        Ok(parameters) => parameters,
        Err(error) => return Answer::refusal(400, &error),
    };
    let version = parameters.iter().find(|(name, _)| name == "api-version").map(|(_, value)| value.as_str());
    match (asked.path.trim_end_matches('/'), asked.method) {
        ("/metadata/versions", "GET") => Answer::ok(json!({ "apiVersions": INSTANCE_VERSIONS })),
        ("/metadata/instance", "GET") => {
            versioned(version, &INSTANCE_VERSIONS, |_| Answer::ok(json!({ "compute": vm.compute() })))
        }
        ("/metadata/instance/compute", "GET") => {
            versioned(version, &INSTANCE_VERSIONS, |_| Answer::ok(vm.compute()))
        }
        ("/metadata/scheduledevents", "GET" | "POST") if version == Some(UNAVAILABLE_EVENT_VERSION) => {
            Answer::refusal(404, "Not found")
        }
        ("/metadata/scheduledevents", "GET") => {
            versioned(version, &EVENT_VERSIONS, |version| Answer::ok(document.render(version)))
        }
        ("/metadata/scheduledevents", "POST") => {
            versioned(version, &EVENT_VERSIONS, |_| start_requests(asked.body, document))
        }
        (
            "/metadata/versions"
            | "/metadata/instance"
            | "/metadata/instance/compute"
            | "/metadata/scheduledevents",
            _,
        ) => Answer::refusal(405, "Method not allowed"),
        _ => Answer::refusal(404, "Not found"),
    }
}

fn parameters(query: &str) -> Result<Vec<(String, String)>, String> {
    let mut seen: Vec<(String, String)> = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name = name.to_ascii_lowercase();
        if seen.iter().any(|(other, _)| *other == name) {
            return Err(format!("Bad request. Query parameter {name} was specified more than once"));
        }
        seen.push((name, value.to_owned()));
    }
    Ok(seen)
}

fn versioned(version: Option<&str>, known: &[&str], answer: impl FnOnce(&str) -> Answer) -> Answer {
    let problem = match version {
        Some(version) if known.contains(&version) => return answer(version),
        Some(_) => "api-version is invalid or was not specified in the request.",
        None => "api-version was not specified in the request.",
    };
    let newest: Vec<&str> = known.iter().rev().take(3).copied().collect();
    Answer {
        status: 400,
        body: json!({
            "error": format!("Bad request. {problem} For more information refer to aka.ms/azureimds"),
            "newest-versions": newest,
        }),
        approved: Vec::new(),
    }
}

fn start_requests(body: &[u8], document: &Document) -> Answer {
    let ids: Option<Vec<String>> = serde_json::from_slice::<Value>(body).ok().and_then(|body| {
        let requests = body.get("StartRequests")?.as_array()?;
        requests.iter().map(|request| Some(request.get("EventId")?.as_str()?.to_owned())).collect()
    });
    let Some(ids) = ids.filter(|ids| !ids.is_empty()) else {
        return Answer::refusal(400, "Bad request. The body is not a list of StartRequests");
    };
    // What Azure says to an unknown id isn't documented; a refusal is the answer that a caller can't overlook.
    if let Some(unknown) = ids.iter().find(|id| !document.events.iter().any(|event| event.event_id == **id)) {
        return Answer::refusal(400, &format!("Bad request. Event {unknown} is unknown"));
    }
    Answer { status: 200, body: json!({}), approved: ids }
}
