//! The ports of a coordinator besides its own: the one without TLS, and modules for machines.

use std::net::SocketAddr;
use std::path::Path;

use build_server::front::{Front, Plain, Services};
use build_server::modproxy::ModuleProxy;
use build_server::supervise::Supervisor;
use clap::Args;
use farmer_cli::Failure;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::output::failure;

/// What else it listens on.
#[derive(Debug, Args)]
pub(crate) struct MoreDoors {
    /// Send whoever comes here without TLS to the same place with https, for example 0.0.0.0:80
    #[arg(long, value_name = "IP:PORT")]
    http_listen: Option<SocketAddr>,
    /// Serve Go modules here to build machines, for example 0.0.0.0:8123; anybody may read them
    #[arg(long, value_name = "IP:PORT")]
    module_proxy: Option<SocketAddr>,
    /// Where those modules come from [default: the first address of GOPROXY]
    #[arg(long, value_name = "URL", requires = "module_proxy")]
    module_proxy_upstream: Option<String>,
}

impl MoreDoors {
    /// Listens, and serves until `stop` is canceled.
    pub(crate) async fn open(
        &self,
        data: &Path,
        tasks: &Supervisor,
        stop: &CancellationToken,
    ) -> Result<(), Failure> {
        if let Some(address) = self.http_listen {
            let front = Front::new(Services::new()).with_plain(Plain::Redirect);
            let listener = listen(address, "-http-listen").await?;
            let serving = front.run(listener, stop.clone());
            tasks.group("http").spawn("serve", serving);
        }
        if let Some(address) = self.module_proxy {
            let upstream = self.upstream()?;
            let proxy = ModuleProxy::open(&upstream, data.join("modules"));
            let pages = proxy.map_err(|e| failure(&e))?.router();
            let front = Front::new(Services::new().with_pages(pages));
            let listener = listen(address, "-module-proxy").await?;
            eprintln!(
                "coordinator: modules of {upstream} at http://{}",
                listener.local_addr()?
            );
            let serving = front.run(listener, stop.clone());
            tasks.group("modules").spawn("serve", serving);
        }
        Ok(())
    }

    fn upstream(&self) -> Result<String, Failure> {
        if let Some(url) = &self.module_proxy_upstream {
            return Ok(url.clone());
        }
        let list = std::env::var("GOPROXY").unwrap_or_default();
        let mut urls = list.split([',', '|']).map(str::trim);
        urls.find(|url| url.starts_with("http"))
            .map(str::to_owned)
            .ok_or_else(|| {
                Failure::usage(
                    "nobody has said where modules come from",
                    "give -module-proxy-upstream=URL, or set GOPROXY",
                )
            })
    }
}

async fn listen(address: SocketAddr, flag: &str) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|error| {
        Failure::usage(
            format!("cannot listen on {address}: {error}"),
            format!("choose another address with {flag}"),
        )
    })
}
