//! nginx as a baseline: one process, keep-alive on both sides, nothing logged.

use std::error::Error;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::child::Server;

/// nginx with the folder it works in, which goes with it.
#[derive(Debug)]
pub(crate) struct Nginx {
    pub(crate) server: Server,
    _folder: Folder,
}

#[derive(Debug)]
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed lies in the folder for temporary files.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The program: `ZERVER_TEST_NGINX`, or the first `nginx` where programs are.
fn program() -> Option<PathBuf> {
    let named = std::env::var_os("ZERVER_TEST_NGINX").filter(|name| !name.is_empty()).map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    named.into_iter().chain(places.map(|place| place.join("nginx"))).find(|program| program.is_file())
}

/// Starts it in front of `origin`; none where there is no nginx. Ready when this returns.
///
/// `/proxied` goes to the origin, `/refused` is answered 503 by nginx itself, everything else 404.
///
/// # Errors
/// When it is there but does not start.
///
/// # Cancel safety
/// Dropping the future ends nginx.
pub(crate) async fn start(origin: SocketAddr) -> Result<Option<Nginx>, Box<dyn Error>> {
    let Some(program) = program() else { return Ok(None) };
    let folder = Folder(std::env::temp_dir().join(format!("zerver-bench-{}", std::process::id())));
    fs::create_dir_all(&folder.0)?;
    // nginx takes no port 0: a free one is found and let go.
    let address = std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?;
    let conf = folder.0.join("nginx.conf");
    fs::write(&conf, page(&folder.0, address, origin))?;
    let mut command = Command::new(program);
    command.arg("-p").arg(&folder.0).arg("-c").arg(&conf).arg("-e").arg(folder.0.join("error.log"));
    let mut server = Server::foreign(&mut command, address)?;
    while tokio::net::TcpStream::connect(address).await.is_err() {
        if server.has_ended() {
            let said = fs::read_to_string(folder.0.join("error.log")).unwrap_or_default();
            return Err(format!("nginx did not start: {said}").into());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(Some(Nginx { server, _folder: folder }))
}

fn page(folder: &Path, address: SocketAddr, origin: SocketAddr) -> String {
    let folder = folder.display();
    format!(
        "daemon off;
master_process off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  keepalive_requests 1000000000;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  upstream origin {{ server {origin}; keepalive 512; keepalive_requests 1000000000; }}
  server {{
    listen {address};
    location = /proxied {{ proxy_pass http://origin; proxy_http_version 1.1; proxy_set_header Connection ''; }}
    location = /refused {{ return 503; }}
    location / {{ return 404; }}
  }}
}}
"
    )
}
