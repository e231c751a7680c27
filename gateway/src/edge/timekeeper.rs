//! Wraps pingora's handler so that every request's future is measured from the outside.

use std::sync::Arc;

use async_trait::async_trait;
use pingora_core::apps::{HttpServerApp, HttpServerOptions, ReusedHttpStream};
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::http::v2::server::{H2Options, default_h2_options};
use pingora_core::server::ShutdownWatch;
use zerver_telemetry::clock::Clock;

use crate::probe::{self, Probe};

/// Bytes of a body that an HTTP/2 client may send ahead on one stream: 1 MiB carries 20 MB/s over 50 ms of distance.
const H2_STREAM_WINDOW: u32 = 1 << 20;
/// The same for all streams of a connection together.
const H2_CONNECTION_WINDOW: u32 = 4 << 20;

/// pingora's handler, measured.
pub(crate) struct Timekeeper<P> {
    pub(crate) proxy: Arc<P>,
    pub(crate) clock: Clock,
    pub(crate) options: HttpServerOptions,
}

#[async_trait]
impl<P: HttpServerApp + Send + Sync + 'static> HttpServerApp for Timekeeper<P> {
    async fn process_new_http(
        self: &Arc<Self>,
        session: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        let probe = Probe::new(self.clock.clone());
        probe::serving(probe, self.proxy.process_new_http(session, shutdown)).await
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        Some(&self.options)
    }

    fn h2_options(&self) -> Option<H2Options> {
        let mut options = default_h2_options();
        options.initial_window_size(H2_STREAM_WINDOW).initial_connection_window_size(H2_CONNECTION_WINDOW);
        Some(options)
    }

    async fn http_cleanup(&self) {
        self.proxy.http_cleanup().await;
    }
}
