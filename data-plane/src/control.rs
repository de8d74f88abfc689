//! The way to the control plane: one channel, mTLS, and the clients of its services.

use std::time::Duration;

use sealgate_proto::v1::buckets_client::BucketsClient;
use sealgate_proto::v1::config_client::ConfigClient;
use sealgate_proto::v1::keys_client::KeysClient;
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

/// Clients of the control plane's services over one connection that is made when it is needed, and made again.
#[derive(Clone)]
pub struct ControlPlane {
    /// Config push.
    pub config: ConfigClient<Channel>,
    /// Intermediate keys.
    pub keys: KeysClient<Channel>,
    /// The registry of buckets.
    pub buckets: BucketsClient<Channel>,
}

impl ControlPlane {
    /// Prepares the channel; nothing is sent yet. `endpoint` is `https://host:port`; `server_name` is the name in the
    /// control plane's certificate.
    ///
    /// # Errors
    /// A malformed endpoint or identity.
    pub fn new(
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
        Ok(Self {
            config: ConfigClient::new(stream).max_decoding_message_size(2 * sealgate_proto::SNAPSHOT_CHUNK),
            keys: KeysClient::new(calls.clone()),
            buckets: BucketsClient::new(calls),
        })
    }
}
