//! Building, running and stopping a control plane.

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use actix::Actor as _;
use actix_rt::Arbiter;
use sealgate_kms::{Kms, Resilient, Router};
use sealgate_proto::v1;
use sealgate_store::{SledStore, Store};
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
    task::JoinHandle,
};
use tokio_stream::wrappers::ReceiverStream;

use crate::{
    Clock, Config, Error, NodeIdentity, SystemClock,
    actors::{self, Acks, Degraded, Fanout, Patient, RegistryActor, Run, Slot},
    admin::{self, Api, Token},
    clock::DAY,
    grpc::{BucketsService, ConfigService, KeysService, Leases, NodesService, RewrapsService},
    keys::{KeyService, Limiter},
    listener,
    metrics::{ActorKind, Metrics},
    process, recovery,
    registry::{
        NewCredential, Registry, Sealer,
        records::{GrantRecord, Tenants},
    },
    tls,
};

/// The largest message that a node may send, in bytes.
const MAX_MESSAGE: usize = 64 << 10;

/// What a control plane is built on; tests bring their own.
pub struct Parts {
    /// Durable state.
    pub store: Arc<dyn Store>,
    /// The KMS providers.
    pub kms: Arc<Router>,
    /// The clock of midnight and of cache lives.
    pub clock: Arc<dyn Clock>,
}

impl Parts {
    /// sled, the KMS providers and the operating system's clock, as `config` says.
    ///
    /// # Errors
    /// When the store is held by another process, or a provider cannot be opened.
    pub async fn open(config: &Config) -> Result<Self, Error> {
        if !config.dev && config.kms.local.is_some() {
            tracing::warn!("the KEKs are in a local keyring file: keep a copy of it and of what opens it");
        }
        let data = config.data_dir.clone();
        let opened = tokio::task::spawn_blocking(move || SledStore::open(&data.join("store")));
        let store = opened.await.map_err(|_| Error::Internal("opening the store failed".to_owned()))??;
        let kms = config.kms.open().await?;
        Ok(Self { store: Arc::new(store), kms: Arc::new(kms), clock: Arc::new(SystemClock) })
    }
}

/// See the crate.
pub struct ControlPlane;

impl ControlPlane {
    /// Starts a control plane. Call it inside a running actix system.
    ///
    /// # Errors
    /// When the config's files, the store, the KMS or a listener are not to be had.
    pub async fn start(config: Config) -> Result<Handle, Error> {
        let parts = Parts::open(&config).await?;
        Self::start_with(config, parts).await
    }

    /// Starts a control plane on given parts.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_with(config: Config, parts: Parts) -> Result<Handle, Error> {
        let open_files = process::raise_descriptors();
        let Parts { store, kms, clock } = parts;
        let token = config.admin_token().map_err(|error| Error::Invalid(error.to_string()))?;
        // Before anything runs: a start that fails leaves no thread behind.
        let files = config.admin_tls.as_ref();
        let files = files.map(|(certificate, key)| tls::Files::load(certificate, key)).transpose()?;
        // Connections are there, and leaders known, before the first call counts on them.
        futures_util::future::join_all(kms.resilient().iter().map(Resilient::warm)).await;
        let sealer = Sealer::load(&*store, &kms).await?;
        let registry = Arc::new(Registry::open(store, sealer, Arc::clone(&clock), config.defaults.clone())?);
        let metrics = Arc::new(Metrics::new()?);
        let (acks_in, acks_seen) = watch::channel(0);
        let (writers, pushers) = (Arbiter::new(), Arbiter::new());
        let writer = Arc::new(writer_slot(&writers, &registry)?);
        let (degraded, kms_changes) = watch::channel(Degraded::new());
        let fanout = Arc::new(fanout_slot(&pushers, &registry, &metrics, (acks_in, kms_changes))?);
        let acks = Acks::new(Arc::clone(&fanout), acks_seen);
        let keys = Arc::new(KeyService::new(
            Arc::clone(&registry),
            Arc::clone(&writer),
            Arc::clone(&kms) as Arc<dyn Kms>,
            Arc::clone(&clock),
            Arc::clone(&metrics),
        ));
        let look_after = |resilient: Resilient| {
            let keys = Arc::clone(&keys);
            actors::look_after(
                pushers.handle(),
                Patient {
                    resilient,
                    sample: Box::new(move |provider, refused, out| keys.sample(provider, refused, out)),
                    system_kek: registry.sealer().kek().to_owned(),
                    clock: Arc::clone(&clock),
                    metrics: Arc::clone(&metrics),
                    degraded: degraded.clone(),
                },
            )
        };
        let health = kms.resilient().into_iter().map(look_after).collect::<Result<Vec<_>, _>>()?;
        let kms_slots: Vec<_> = health.iter().map(|watched| Arc::clone(&watched.slot)).collect();
        let api = Api {
            registry: Arc::clone(&registry),
            writer: Arc::clone(&writer),
            fanout: Arc::clone(&fanout),
            acks: acks.clone(),
            kms: Arc::clone(&kms),
            keys: Arc::clone(&keys),
            health,
            metrics: Arc::clone(&metrics),
            card: config.data_dir.join(recovery::FILE),
        };
        let api = Arc::new(api);
        let unavailable = |what: &str, error: std::io::Error| Error::Unavailable(format!("{what}: {error}"));
        let grpc = TcpListener::bind(config.grpc_listen).await.map_err(|e| unavailable("grpc.listen", e))?;
        let grpc_addr = grpc.local_addr().map_err(|e| unavailable("grpc.listen", e))?;
        let admin =
            std::net::TcpListener::bind(config.admin_listen).map_err(|e| unavailable("admin.listen", e))?;
        let admin_addr = admin.local_addr().map_err(|e| unavailable("admin.listen", e))?;
        let admin_tls = files.as_ref().map(tls::Files::config).transpose()?;
        let server = admin::serve(Arc::clone(&api), Token::new(&token), admin, admin_tls)?;
        let admin_handle = server.handle();
        actix_rt::spawn(server);

        let (stop, stopped) = watch::channel(false);
        let (failed, failure) = watch::channel(false);
        let (connections_in, connections) = mpsc::channel(64);
        let issued = tls::Issued::first(&registry, &config.grpc_names)?;
        let grpc_tls = listener::tls(&registry, Arc::clone(&issued.current))?;
        let mut tasks = vec![
            tokio::spawn(listener::accept(grpc, grpc_tls, Arc::clone(&registry), connections_in)),
            tokio::spawn(issued.keep(Arc::clone(&clock))),
            tokio::spawn(keys.keeper()),
            tokio::spawn(Arc::clone(&keys).work(kms)),
            tokio::spawn(midnight(Arc::clone(&clock), Arc::clone(&writer))),
            tokio::spawn(recovery::keep(
                Arc::clone(&registry),
                config.data_dir.join(recovery::FILE),
                Arc::clone(&metrics),
            )),
        ];
        let mut watchdogs = vec![
            watchdog(Arc::clone(&writer), Arc::clone(&metrics), failed.clone()),
            watchdog(Arc::clone(&fanout), Arc::clone(&metrics), failed.clone()),
        ];
        watchdogs
            .extend(kms_slots.into_iter().map(|slot| watchdog(slot, Arc::clone(&metrics), failed.clone())));
        tasks.extend(files.map(|files| tokio::spawn(files.keep(Arc::clone(&clock)))));
        let limiter = || Limiter::new(config.key_rate, config.key_burst);
        let (for_config, for_keys) = (Arc::clone(&registry), Arc::clone(&registry));
        let config_service =
            ConfigService { registry: for_config, fanout: Arc::clone(&fanout), streams: AtomicU64::new(0) };
        let (for_buckets, for_rewraps) = (Arc::clone(&keys), Arc::clone(&keys));
        let rewraps_service = RewrapsService {
            registry: Arc::clone(&registry),
            keys: for_rewraps,
            acks: acks.clone(),
            limiter: limiter(),
            leases: Leases::default(),
            begun: Default::default(),
            metrics: Arc::clone(&metrics),
        };
        let keys_service =
            KeysService { registry: for_keys, keys, limiter: limiter(), lending: limiter(), metrics };
        let buckets_service = BucketsService {
            registry: Arc::clone(&registry),
            writer: Arc::clone(&writer),
            acks,
            keys: for_buckets,
            leases: Leases::default(),
        };
        let nodes_service = NodesService { registry: Arc::clone(&registry), writer: Arc::clone(&writer) };
        let router = tonic::transport::Server::builder()
            .max_concurrent_streams(256)
            .http2_keepalive_interval(Some(Duration::from_secs(20)))
            .http2_keepalive_timeout(Some(Duration::from_secs(10)))
            .add_service(
                v1::config_server::ConfigServer::new(config_service).max_decoding_message_size(MAX_MESSAGE),
            )
            .add_service(
                v1::keys_server::KeysServer::new(keys_service).max_decoding_message_size(MAX_MESSAGE),
            )
            .add_service(
                v1::buckets_server::BucketsServer::new(buckets_service)
                    .max_decoding_message_size(MAX_MESSAGE),
            )
            .add_service(
                v1::rewraps_server::RewrapsServer::new(rewraps_service)
                    .max_decoding_message_size(MAX_MESSAGE),
            )
            .add_service(
                v1::nodes_server::NodesServer::new(nodes_service).max_decoding_message_size(MAX_MESSAGE),
            );
        let grpc_server = tokio::spawn(async move {
            let stop = wait_for(stopped);
            if let Err(error) =
                router.serve_with_incoming_shutdown(ReceiverStream::new(connections), stop).await
            {
                tracing::error!(%error, "the gRPC server ended");
            }
        });
        tracing::info!(%grpc_addr, %admin_addr, open_files, "the control plane is up");
        let drain = Duration::from_secs(config.drain_seconds);
        Ok(Handle {
            grpc_addr,
            admin_addr,
            api,
            admin: admin_handle,
            stop,
            failure,
            grpc_server,
            tasks,
            watchdogs,
            arbiters: (writers, pushers),
            drain,
        })
    }
}

async fn wait_for(mut flag: watch::Receiver<bool>) {
    let _ = flag.wait_for(|set| *set).await;
}

fn writer_slot(arbiter: &Arbiter, registry: &Arc<Registry>) -> Result<Slot<RegistryActor>, Error> {
    let (arbiter, registry) = (arbiter.handle(), Arc::clone(registry));
    Slot::new(
        ActorKind::Registry,
        Box::new(move || {
            registry.reload()?;
            let registry = Arc::clone(&registry);
            Ok(RegistryActor::start_in_arbiter(&arbiter, move |_| RegistryActor::new(registry)))
        }),
    )
}

fn fanout_slot(
    arbiter: &Arbiter,
    registry: &Arc<Registry>,
    metrics: &Arc<Metrics>,
    (acks, kms): (watch::Sender<u64>, watch::Receiver<Degraded>),
) -> Result<Slot<Fanout>, Error> {
    let (arbiter, registry, metrics) = (arbiter.handle(), Arc::clone(registry), Arc::clone(metrics));
    Slot::new(
        ActorKind::Fanout,
        Box::new(move || {
            let (registry, metrics) = (Arc::clone(&registry), Arc::clone(&metrics));
            let (acks, kms) = (acks.clone(), kms.clone());
            Ok(Fanout::start_in_arbiter(&arbiter, move |_| Fanout::new(registry, metrics, acks, kms)))
        }),
    )
}

fn watchdog<A: actix::Actor>(
    slot: Arc<Slot<A>>,
    metrics: Arc<Metrics>,
    failed: watch::Sender<bool>,
) -> JoinHandle<()> {
    tokio::spawn(async move {
        actors::watch(slot, metrics).await;
        failed.send_replace(true);
    })
}

/// Re-centres the signing keys with each new day. A failed write is tried again.
async fn midnight(clock: Arc<dyn Clock>, writer: Arc<Slot<RegistryActor>>) {
    loop {
        clock.sleep_until((clock.now() / DAY + 1) * DAY).await;
        loop {
            match writer.send(Run::new(|registry: &Registry| registry.set_day())).await {
                Ok(Ok(_)) => break,
                Ok(Err(error)) | Err(error) => {
                    tracing::error!(%error, "the new day's signing keys are not out yet");
                    tokio::time::sleep(Duration::from_secs(5)).await;
                }
            }
        }
    }
}

/// A running control plane.
pub struct Handle {
    grpc_addr: SocketAddr,
    admin_addr: SocketAddr,
    api: Arc<Api>,
    admin: actix_web::dev::ServerHandle,
    stop: watch::Sender<bool>,
    failure: watch::Receiver<bool>,
    grpc_server: JoinHandle<()>,
    tasks: Vec<JoinHandle<()>>,
    watchdogs: Vec<JoinHandle<()>>,
    arbiters: (Arbiter, Arbiter),
    drain: Duration,
}

impl Handle {
    /// Where nodes connect.
    #[must_use]
    pub fn grpc_addr(&self) -> SocketAddr {
        self.grpc_addr
    }

    /// Where the admin API listens.
    #[must_use]
    pub fn admin_addr(&self) -> SocketAddr {
        self.admin_addr
    }

    /// The registry, for reading.
    #[must_use]
    pub fn registry(&self) -> &Arc<Registry> {
        &self.api.registry
    }

    /// How many intermediate keys are in memory.
    #[must_use]
    pub fn keys_in_memory(&self) -> usize {
        self.api.keys.held()
    }

    /// The tenant of this name; made when there is none.
    ///
    /// # Errors
    /// When the KMS or the store does not answer.
    pub async fn ensure_tenant(&self, name: &str) -> Result<sealgate_envelope::TenantId, Error> {
        if let Some(tenant) = self.api.registry.state().tenant_named(name) {
            return Ok(tenant.id);
        }
        Ok(admin::make_tenant(&self.api, name.to_owned(), None, None).await?.id)
    }

    /// A credential with all rights on the tenant's buckets, unless one of this label exists. The secret is known only
    /// when it is new.
    ///
    /// # Errors
    /// When the tenant does not exist or the store does not answer.
    pub async fn ensure_credential(
        &self,
        tenant: sealgate_envelope::TenantId,
        label: &str,
    ) -> Result<Option<NewCredential>, Error> {
        let state = self.api.registry.state();
        if state.credentials.values().any(|known| known.tenant == tenant && known.label == label) {
            return Ok(None);
        }
        let grants = vec![GrantRecord {
            bucket: "*".to_owned(),
            read: true,
            write: true,
            admin: true,
            configure: true,
        }];
        let label = label.to_owned();
        self.api
            .change(move |registry| registry.create_credential(tenant, &label, grants, 0, false))
            .await
            .map(Some)
    }

    /// Issues a node's certificate.
    ///
    /// # Errors
    /// When the name is invalid or a tenant does not exist.
    pub async fn issue_node(&self, name: &str, tenants: Tenants) -> Result<NodeIdentity, Error> {
        let name = name.to_owned();
        self.api.change(move |registry| registry.issue_node(&name, tenants)).await
    }

    /// The recovery card's text.
    ///
    /// # Errors
    /// When a name cannot stand on a card.
    pub fn recovery_card(&self) -> Result<String, Error> {
        recovery::card(&self.api.registry.state())
    }

    /// Waits until the control plane cannot go on by itself: the process is to end.
    pub async fn failed(&self) {
        wait_for(self.failure.clone()).await;
    }

    /// Stops: no new connections, running requests end within the drain time, then everything is dropped.
    pub async fn stop(self) {
        let Self { admin, stop, mut grpc_server, tasks, watchdogs, arbiters, drain, api, .. } = self;
        let (writers, pushers) = arbiters;
        for task in tasks.into_iter().chain(watchdogs) {
            task.abort();
            let _ = task.await;
        }
        stop.send_replace(true);
        // Config streams never end by themselves: with the fan-out they do, and nodes go to another control plane.
        end(pushers).await;
        if tokio::time::timeout(drain, &mut grpc_server).await.is_err() {
            grpc_server.abort();
            let _ = grpc_server.await;
        }
        let _ = tokio::time::timeout(drain, admin.stop(true)).await;
        end(writers).await;
        let registry = Arc::clone(&api.registry);
        drop(api);
        // Connections and workers that are just ending have it too. Whoever opens the store next must find it free.
        let last = async {
            while Arc::strong_count(&registry) > 1 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        if tokio::time::timeout(drain, last).await.is_err() {
            tracing::warn!("something holds the store beyond the control plane's end");
        }
    }
}

/// Stops an arbiter and waits for its thread, so that nothing of it is left when this returns.
async fn end(arbiter: Arbiter) {
    arbiter.stop();
    let _ = tokio::task::spawn_blocking(move || arbiter.join()).await;
}

#[cfg(test)]
mod tests;
