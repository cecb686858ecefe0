//! `/metrics`, `/healthz` and `/readyz`.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{ACCEPT, ALLOW, CONTENT_TYPE},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{net::TcpListener, sync::Semaphore, time::timeout};

use super::{metrics::Format, shared::Shared};

/// Connections at a time; more wait.
const CROWD: usize = 32;
/// How long a connection may live, whatever the other side does.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a request's head may take.
const HEAD: Duration = Duration::from_secs(5);
/// What a page says.
type Answer = (StatusCode, &'static str, String);

/// Opens the address.
///
/// # Errors
/// It is taken, or not of this host.
pub(super) async fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// Answers until the task is aborted.
pub(super) async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let room = Arc::new(Semaphore::new(CROWD));
    let mut is_failing = false;
    loop {
        let Ok(place) = Arc::clone(&room).acquire_owned().await else {
            return;
        };
        let stream = match listener.accept().await {
            Ok((stream, _)) => {
                is_failing = false;
                stream
            }
            Err(error) => {
                // Out of descriptors, or the client is gone already. Once is enough.
                if !std::mem::replace(&mut is_failing, true) {
                    log::warn!("accepting a connection: {error}");
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let answer = answer(&request, &shared);
                async move { Ok::<_, Infallible>(response(answer)) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD)
                // Between two scrapes it would be closed anyway; a crowd that asks again and again makes way for others.
                .keep_alive(false)
                .max_buf_size(16 << 10)
                .serve_connection(TokioIo::new(stream), service);
            if let Ok(Err(error)) = timeout(PATIENCE, connection).await {
                log::debug!("serving a connection: {error}");
            }
            drop(place);
        });
    }
}

fn response((status, kind, text): Answer) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(kind));
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(ALLOW, hyper::header::HeaderValue::from_static("GET, HEAD"));
    }
    response
}

fn answer(request: &Request<Incoming>, shared: &Shared) -> Answer {
    const PLAIN: &str = "text/plain; charset=utf-8";
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return (
            StatusCode::METHOD_NOT_ALLOWED,
            PLAIN,
            "only GET and HEAD\n".to_owned(),
        );
    }
    let verdict = |verdict: Result<String, String>| match verdict {
        Ok(text) => (StatusCode::OK, PLAIN, format!("{text}\n")),
        Err(text) => (StatusCode::SERVICE_UNAVAILABLE, PLAIN, format!("{text}\n")),
    };
    match request.uri().path() {
        "/metrics" => {
            let accept = request
                .headers()
                .get(ACCEPT)
                .and_then(|value| value.to_str().ok())
                .unwrap_or_default();
            let format = Format::accepted(accept);
            (StatusCode::OK, format.content_type(), shared.page(format))
        }
        "/healthz" => verdict(shared.health()),
        "/readyz" => verdict(shared.readiness()),
        "/" => (
            StatusCode::OK,
            PLAIN,
            "dockernet-trace monitor: /metrics /healthz /readyz\n".to_owned(),
        ),
        _ => (
            StatusCode::NOT_FOUND,
            PLAIN,
            "there are /metrics, /healthz and /readyz\n".to_owned(),
        ),
    }
}
