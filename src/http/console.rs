//! What is served from within the program: the console, which needs nothing but this server, and the description of the routes.

use axum::Router;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

/// A browser is to load nothing from elsewhere, run nothing that is not a file of ours, and show the console in nobody's frame.
const POLICY: &str = "default-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

const HTML: &str = "text/html; charset=utf-8";
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";

/// Path, content type, content.
const FILES: &[(&str, &str, &str)] = &[
    ("/", HTML, include_str!("console/index.html")),
    ("/console.css", "text/css; charset=utf-8", include_str!("console/console.css")),
    ("/console.js", JAVASCRIPT, include_str!("console/console.js")),
    ("/console-api.js", JAVASCRIPT, include_str!("console/console-api.js")),
    ("/console-charts.js", JAVASCRIPT, include_str!("console/console-charts.js")),
    ("/console-sql.js", JAVASCRIPT, include_str!("console/console-sql.js")),
    ("/console-table.js", JAVASCRIPT, include_str!("console/console-table.js")),
    ("/console-views.js", JAVASCRIPT, include_str!("console/console-views.js")),
    ("/openapi.json", "application/json", include_str!("openapi.json")),
];

/// The routes of all of it.
pub(super) fn router<S: Clone + Send + Sync + 'static>() -> Router<S> {
    FILES
        .iter()
        .fold(Router::new(), |router, &(path, kind, content)| router.route(path, get(move || async move { file(kind, content) })))
}

fn file(kind: &'static str, content: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        // Another version of the server has other files under the same names.
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, content).into_response()
}
