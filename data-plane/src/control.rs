//! The way to the control plane: mTLS under an identity that can be replaced, and the clients of its services.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use sealgate_proto::v1::buckets_client::BucketsClient;
use sealgate_proto::v1::config_client::ConfigClient;
use sealgate_proto::v1::keys_client::KeysClient;
use sealgate_proto::v1::nodes_client::NodesClient;
use sealgate_proto::v1::rewraps_client::RewrapsClient;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use zeroize::Zeroizing;

/// The longest that one call may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// What a node proves itself with: its certificate, its key and the authority that signs the control plane's.
pub struct NodeIdentity {
    /// The authority's certificate, PEM.
    pub ca: String,
    /// The node's certificate, PEM.
    pub certificate: String,
    /// The node's private key, PEM.
    pub key: Zeroizing<String>,
}

/// The way to the control plane: clients of its services over connections that are made when they are needed, and made
/// again. Whoever has one sees its identity being replaced.
#[derive(Clone)]
pub struct ControlPlane(Arc<Way>);

struct Way {
    endpoint: String,
    server_name: String,
    channels: ArcSwap<Channels>,
}

struct Channels {
    /// For calls, which have a deadline.
    calls: Channel,
    /// For the config stream, which has none.
    stream: Channel,
}

impl ControlPlane {
    /// Prepares the channels; nothing is sent yet. `endpoint` is `https://host:port`; `server_name` is the name in the
    /// control plane's certificate.
    ///
    /// # Errors
    /// A malformed endpoint or identity.
    pub fn new(
        endpoint: &str,
        server_name: &str,
        identity: &NodeIdentity,
    ) -> Result<Self, tonic::transport::Error> {
        let channels = ArcSwap::from_pointee(Channels::new(endpoint, server_name, identity)?);
        let (endpoint, server_name) = (endpoint.to_owned(), server_name.to_owned());
        Ok(Self(Arc::new(Way { endpoint, server_name, channels })))
    }

    /// Uses another identity from the next call or stream on; those under way go on.
    ///
    /// # Errors
    /// An identity that is malformed, or whose key is another certificate's: the old one stays.
    pub fn replace(&self, identity: &NodeIdentity) -> Result<(), tonic::transport::Error> {
        let channels = Channels::new(&self.0.endpoint, &self.0.server_name, identity)?;
        self.0.channels.store(Arc::new(channels));
        Ok(())
    }

    /// Config push.
    pub fn config(&self) -> ConfigClient<Channel> {
        ConfigClient::new(self.0.channels.load().stream.clone())
            .max_decoding_message_size(2 * sealgate_proto::SNAPSHOT_CHUNK)
    }

    /// Intermediate keys.
    pub fn keys(&self) -> KeysClient<Channel> {
        KeysClient::new(self.0.channels.load().calls.clone()).max_decoding_message_size(RECORDS_MAX)
    }

    /// The registry of buckets.
    pub fn buckets(&self) -> BucketsClient<Channel> {
        BucketsClient::new(self.0.channels.load().calls.clone())
    }

    /// The work on envelopes.
    pub fn rewraps(&self) -> RewrapsClient<Channel> {
        RewrapsClient::new(self.0.channels.load().calls.clone()).max_decoding_message_size(RECORDS_MAX)
    }

    /// The node's own certificate.
    pub fn nodes(&self) -> NodesClient<Channel> {
        NodesClient::new(self.0.channels.load().calls.clone())
    }
}

/// The largest answer about keys: the records of a bucket, its own and those lent to it, some hundred bytes each.
const RECORDS_MAX: usize = 64 << 20;

impl Channels {
    fn new(
        endpoint: &str,
        server_name: &str,
        identity: &NodeIdentity,
    ) -> Result<Self, tonic::transport::Error> {
        let tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(&identity.ca))
            .identity(Identity::from_pem(&identity.certificate, identity.key.as_str()))
            .domain_name(server_name);
        let base = || {
            Ok::<_, tonic::transport::Error>(
                Endpoint::from_shared(endpoint.to_owned())?
                    .tls_config(tls.clone())?
                    .connect_timeout(CONNECT_TIMEOUT),
            )
        };
        let calls = base()?.timeout(CALL_TIMEOUT).connect_lazy();
        // The stream lives on without a deadline; a peer that is gone is found by pings.
        let stream = base()?
            .http2_keep_alive_interval(Duration::from_secs(10))
            .keep_alive_timeout(Duration::from_secs(5))
            .keep_alive_while_idle(true)
            .connect_lazy();
        Ok(Self { calls, stream })
    }
}
