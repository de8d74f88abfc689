//! Health, readiness and metrics of a node, for probes and Prometheus: actix-web on a port of its own.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use actix_web::dev::Server;
use actix_web::{App, HttpResponse, HttpServer, web};

use crate::node::Node;

/// Connections at once: probes and Prometheus need few, and each has a descriptor that clients do not get.
pub(crate) const CONNECTIONS: usize = 64;

/// Starts serving; the address is where it listens.
///
/// # Errors
/// The socket's.
pub fn start(node: &Arc<Node>) -> io::Result<(Server, SocketAddr)> {
    let listener = TcpListener::bind(node.config.admin_listen)?;
    let address = listener.local_addr()?;
    let node = web::Data::from(Arc::clone(node));
    let server = HttpServer::new(move || {
        App::new()
            .app_data(node.clone())
            .route("/healthz", web::get().to(|| async { "ok\n" }))
            .route("/readyz", web::get().to(ready))
            .route("/metrics", web::get().to(metrics))
    })
    .workers(1)
    .max_connections(CONNECTIONS)
    .disable_signals()
    .listen(listener)?
    .run();
    Ok((server, address))
}

async fn ready(node: web::Data<Node>) -> HttpResponse {
    let (epoch, version) = node.applied();
    if node.ready() {
        // Ready all the same: what is held goes on being served, and no other node could do better.
        let degraded: String =
            node.kms_degraded().iter().map(|name| format!("; KMS {name} is degraded")).collect();
        HttpResponse::Ok().body(format!("ready, config {epoch}.{version}{degraded}\n"))
    } else {
        HttpResponse::ServiceUnavailable().body("not ready: no config yet, or draining\n")
    }
}

async fn metrics(node: web::Data<Node>) -> HttpResponse {
    HttpResponse::Ok().content_type("text/plain; version=0.0.4").body(node.metrics.render())
}
