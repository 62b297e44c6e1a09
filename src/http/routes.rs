//! What can be asked: `/metrics`, `/pools`, `/health`, `/livez`, `/readyz`, `/query`, `/login`, and the console with its description of all this
//! (`/openapi.json`). Everything else is a JSON error.

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use serde_json::json;

use super::{ANSWER_WAIT, Control, Peer, Phase, console, sql};
use crate::base::CoreId;
use crate::metrics::export::{CONTENT_TYPE, OPENMETRICS_CONTENT_TYPE, openmetrics_text, prometheus_text};
use crate::metrics::{PoolFigure, PoolFigures};

/// The largest body of a request.
const BODY_BYTES_MAX: usize = 4 << 20;

/// The version in answers.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// All routes.
pub(super) fn router<C: Control>(control: Arc<C>) -> Router {
    Router::new()
        .route("/metrics", get(metrics::<C>))
        .route("/pools", get(pools::<C>))
        .route("/health", get(health::<C>))
        .route("/query", post(sql::query::<C>))
        .route("/login", post(sql::login::<C>))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz::<C>))
        .merge(console::router())
        .fallback(not_found)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(control)
}

/// Whether a client would rather have OpenMetrics than Prometheus' text: by the weights of its Accept header, and if they are the same,
/// by what it names first.
fn prefers_openmetrics(headers: &HeaderMap) -> bool {
    let accepted =
        headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    let mut best: Option<(f32, bool)> = None;
    for offer in accepted {
        let mut parts = offer.split(';').map(str::trim);
        let openmetrics = match parts.next() {
            Some("application/openmetrics-text") => true,
            Some("text/plain" | "text/*" | "*/*") => false,
            _ => continue,
        };
        let weight = parts.find_map(|part| part.strip_prefix("q=")).and_then(|weight| weight.parse().ok()).unwrap_or(1.0);
        if weight > 0.0 && best.is_none_or(|(highest, _)| weight > highest) {
            best = Some((weight, openmetrics));
        }
    }
    best.is_some_and(|(_, openmetrics)| openmetrics)
}

async fn metrics<C: Control>(State(control): State<Arc<C>>, Extension(peer): Extension<Peer>, headers: HeaderMap) -> Response {
    // On this machine everybody may look; from elsewhere, roles.
    if !peer.address.is_loopback()
        && let Err(error) = control.may_look(sql::caller(&peer, &headers)).await
    {
        return sql::refusal(&error);
    }
    let Ok(snapshots) = tokio::time::timeout(ANSWER_WAIT, control.gather()).await else {
        return error(StatusCode::SERVICE_UNAVAILABLE, "a core did not answer in time");
    };
    let figures = control.figures();
    let (content_type, page) = if prefers_openmetrics(&headers) {
        (OPENMETRICS_CONTENT_TYPE, openmetrics_text(&snapshots, &figures))
    } else {
        (CONTENT_TYPE, prometheus_text(&snapshots, &figures))
    };
    ([(header::CONTENT_TYPE, content_type), (header::VARY, "accept")], page).into_response()
}

/// Clients and the sessions they share, core by core: what `SHOW POOLS` shows.
async fn pools<C: Control>(State(control): State<Arc<C>>, Extension(peer): Extension<Peer>, headers: HeaderMap) -> Response {
    if !peer.address.is_loopback()
        && let Err(error) = control.may_look(sql::caller(&peer, &headers)).await
    {
        return sql::refusal(&error);
    }
    let Ok(pools) = tokio::time::timeout(ANSWER_WAIT, control.pools()).await else {
        return error(StatusCode::SERVICE_UNAVAILABLE, "a core did not answer in time");
    };
    let of_core = |(core, pool): (CoreId, PoolFigures)| {
        let figures = pool.into_iter().map(|(name, figure)| {
            let value = match figure {
                PoolFigure::Count(count) => json!(count),
                PoolFigure::Milliseconds(time) => json!(time),
            };
            (name.to_owned(), value)
        });
        let core = ("core".to_owned(), json!(core.0));
        std::iter::once(core).chain(figures).collect::<serde_json::Map<_, _>>()
    };
    Json(json!({ "pools": pools.into_iter().map(of_core).collect::<Vec<_>>() })).into_response()
}

async fn health<C: Control>(State(control): State<Arc<C>>) -> Response {
    let status = control.status();
    let body = json!({
        "status": status.phase().label(),
        "version": VERSION,
        "uptime_seconds": status.uptime().as_secs(),
        "cores": status.cores(),
        "log_lag_bytes": control.log_lag_bytes(),
        "recovery": {
            "done": matches!(status.phase(), Phase::Serving | Phase::Draining | Phase::Stopping),
            "transactions_replayed": status.recovered_transactions(),
            "milliseconds": status.recovery_ms(),
        },
    });
    (ready_code(status.phase()), Json(body)).into_response()
}

/// The process answers; whether it serves is another question.
async fn livez() -> Response {
    Json(json!({ "status": "alive" })).into_response()
}

async fn readyz<C: Control>(State(control): State<Arc<C>>) -> Response {
    let phase = control.status().phase();
    (ready_code(phase), Json(json!({ "status": phase.label() }))).into_response()
}

fn ready_code(phase: Phase) -> StatusCode {
    if phase == Phase::Serving { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

async fn not_found(uri: Uri) -> Response {
    error(StatusCode::NOT_FOUND, &format!("there is nothing at {}", uri.path()))
}

async fn method_not_allowed() -> Response {
    error(StatusCode::METHOD_NOT_ALLOWED, "not with this method: see /openapi.json")
}

fn error(code: StatusCode, message: &str) -> Response {
    (code, Json(json!({ "error": message }))).into_response()
}
