//! What can be asked: `/metrics`, `/health`, `/livez`, `/readyz`. Everything else is a JSON error.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;

use super::{ANSWER_WAIT, Control, Phase};
use crate::metrics::export::{CONTENT_TYPE, ServerFigures, prometheus_text};
use crate::metrics::process_figures;

/// The version in answers.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// All routes.
pub(super) fn router<C: Control>(control: Arc<C>) -> Router {
    Router::new()
        .route("/metrics", get(metrics::<C>))
        .route("/health", get(health::<C>))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz::<C>))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(control)
}

async fn metrics<C: Control>(State(control): State<Arc<C>>) -> Response {
    let Ok(snapshots) = tokio::time::timeout(ANSWER_WAIT, control.gather()).await else {
        return error(StatusCode::SERVICE_UNAVAILABLE, "a core did not answer in time");
    };
    let status = control.status();
    let figures = ServerFigures {
        version: VERSION,
        cores: status.cores(),
        uptime_s: status.uptime().as_secs(),
        process: process_figures(),
    };
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], prometheus_text(&snapshots, &figures)).into_response()
}

async fn health<C: Control>(State(control): State<Arc<C>>) -> Response {
    let status = control.status();
    let body = json!({
        "status": status.phase().label(),
        "version": VERSION,
        "uptime_seconds": status.uptime().as_secs(),
        "cores": status.cores(),
        "recovery": {
            "done": matches!(status.phase(), Phase::Serving | Phase::Stopping),
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
    error(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are answered here")
}

fn error(code: StatusCode, message: &str) -> Response {
    (code, Json(json!({ "error": message }))).into_response()
}
