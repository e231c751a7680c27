//! Bare pingora: a proxy that says where to, and nothing else; the accept loop is the gateway's.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use pingora_core::Result;
use pingora_core::apps::ServerApp as _;
use pingora_core::protocols::l4::stream::Stream;
use pingora_core::server::configuration::ServerConf;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_proxy::{ProxyHttp, Session, http_proxy};
use tokio::net::TcpListener;
use tokio::sync::watch;

struct To(SocketAddr);

#[async_trait]
impl ProxyHttp for To {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _: &mut Session, (): &mut ()) -> Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(self.0, false, String::new())))
    }
}

pub(super) async fn start(origin: SocketAddr) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    let conf = ServerConf { upstream_keepalive_pool_size: 512, ..ServerConf::default() };
    let proxy = Arc::new(http_proxy(&Arc::new(conf), To(origin)));
    tokio::spawn(async move {
        // Held for as long as the loop runs: when it goes, pingora takes that for a shutdown.
        let (_running, stopping) = watch::channel(false);
        loop {
            let Ok((io, _)) = listener.accept().await else { continue };
            let _ = io.set_nodelay(true);
            let (proxy, stopping) = (Arc::clone(&proxy), stopping.clone());
            tokio::spawn(async move { drop(proxy.process_new(Box::new(Stream::from(io)), &stopping).await) });
        }
    });
    Ok(address)
}
