//! The admin API: REST over HTTP, a bearer token, errors as `application/problem+json` (RFC 9457).

mod auth;
mod buckets;
mod credentials;
mod freeze;
mod keys;
mod kms;
mod life;
mod nodes;
mod problem;
mod rewraps;
mod secret;
mod status;
mod tenants;

use std::{net::TcpListener, path::PathBuf, sync::Arc, time::Duration};

use actix_web::{App, HttpServer, dev::Server, middleware::from_fn, web};
use sealgate_kms::Router;

pub(crate) use auth::Token;
use problem::Problem;
pub(crate) use tenants::make as make_tenant;

use crate::{
    Error,
    actors::{Acks, Fanout, RegistryActor, Run, Slot, Watched},
    keys::KeyService,
    metrics::Metrics,
    registry::{Registry, Version},
};

/// The largest body of a request, in bytes.
const MAX_BODY: usize = 256 << 10;
/// Connections at once: operators are few, and what waits for a token must not take the descriptors of nodes.
const CONNECTIONS: usize = 256;
/// How long POST /v1/buckets waits for a node to make the bucket.
const ACTIVE_WITHIN: Duration = Duration::from_secs(10);

/// What the handlers work with.
pub(crate) struct Api {
    pub(crate) registry: Arc<Registry>,
    pub(crate) writer: Arc<Slot<RegistryActor>>,
    pub(crate) fanout: Arc<Slot<Fanout>>,
    pub(crate) acks: Acks,
    pub(crate) kms: Arc<Router>,
    pub(crate) keys: Arc<KeyService>,
    /// The KMS providers, as they are looked after.
    pub(crate) health: Vec<Watched>,
    pub(crate) metrics: Arc<Metrics>,
    /// The file of the recovery card.
    pub(crate) card: PathBuf,
}

impl Api {
    /// Makes a change through the registry's actor.
    pub(crate) async fn change<T: Send + 'static>(
        &self,
        change: impl FnOnce(&Registry) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        self.writer.send(Run::new(change)).await?
    }

    /// The connected nodes that do not run this version, though they had a moment for it.
    async fn applied(&self, version: Version) -> Result<Vec<String>, Error> {
        self.acks.behind(version).await
    }
}

/// Starts the listener.
pub(crate) fn serve(
    api: Arc<Api>,
    token: Token,
    listener: TcpListener,
    tls: Option<rustls::ServerConfig>,
) -> Result<Server, Error> {
    let (api, token) = (web::Data::from(api), web::Data::new(token));
    let server = HttpServer::new(move || {
        let json = web::JsonConfig::default()
            .limit(MAX_BODY)
            .error_handler(|error, _| Problem::from(Error::Invalid(error.to_string())).into());
        let v1 = web::scope("/v1")
            .wrap(from_fn(auth::check))
            .configure(tenants::routes)
            .configure(life::routes)
            .configure(keys::routes)
            .configure(rewraps::routes)
            .configure(buckets::routes)
            .configure(freeze::routes)
            .configure(credentials::routes)
            .configure(nodes::routes)
            .configure(kms::routes)
            .configure(status::routes);
        App::new()
            .app_data(api.clone())
            .app_data(token.clone())
            .app_data(json)
            .configure(status::open_routes)
            .service(v1)
            .default_service(web::to(problem::unknown))
    })
    .workers(1)
    .max_connections(CONNECTIONS)
    .disable_signals()
    .client_request_timeout(Duration::from_secs(10));
    let failed = |error: std::io::Error| Error::Unavailable(format!("admin listener: {error}"));
    let server = match tls {
        Some(config) => server.listen_rustls_0_23(listener, config).map_err(failed)?,
        None => server.listen(listener).map_err(failed)?,
    };
    Ok(server.shutdown_timeout(5).run())
}
