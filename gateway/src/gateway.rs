//! A whole gateway as a value: started on a runtime, stopped with a drain; several may live in one process.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;
use zerver_telemetry::clock::Clock;
use zerver_telemetry::collector::{Collector, CollectorSettings, Stopped};
use zerver_telemetry::exemplars::RetentionSettings;
use zerver_telemetry::export::otlp::Exporter;
use zerver_telemetry::export::{DropCause, Exported, InvalidExport, News, Signal};
use zerver_telemetry::id::IdSource;
use zerver_telemetry::metrics::Metrics;
use zerver_telemetry::names::Names;
use zerver_telemetry::recorder::{Recorder, RecorderSettings};
use zerver_telemetry::slo::Slos;
use zerver_telemetry::worker;

use crate::admin;
use crate::config::file::Rejected;
use crate::config::load;
use crate::edge;
use crate::keys::Keys;
use crate::live::Live;
use crate::logs::{CannotOpen, Logging};
use crate::plan::{Makings, Own, Plan};
use crate::reload::Reloader;

/// Where a gateway's page comes from.
#[derive(Clone, Debug)]
pub enum Page {
    /// A file, which can be reloaded.
    File(PathBuf),
    /// A text, with the name it has in messages.
    Text {
        /// The name.
        name: String,
        /// The page.
        source: String,
    },
}

/// Looks variables of the environment up; tests bring their own.
pub type Env = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// Why a gateway did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration is wrong.
    #[error("{0}")]
    Config(#[from] Rejected),
    /// An address could not be bound.
    #[error("cannot listen on {address}: {error}; is another gateway running, or is the port taken?")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// The operating system's reason.
        error: std::io::Error,
    },
    /// A thread or a runtime could not be made.
    #[error("cannot start: {0}")]
    Thread(#[from] std::io::Error),
    /// A log cannot be written where the page says.
    #[error("{0}")]
    Log(#[from] CannotOpen),
    /// The export of telemetry is set up wrongly.
    #[error("{0}")]
    Export(#[from] InvalidExport),
}

/// A running gateway.
pub struct Gateway {
    /// What its parts share.
    pub live: Arc<Live>,
    /// The address that clients connect to, its port filled in.
    pub address: SocketAddr,
    /// The address of the admin listener, its port filled in.
    pub admin_address: SocketAddr,
    /// Reloads it; none when its page is no file.
    pub reloader: Option<Arc<Reloader>>,
    logging: Arc<Logging>,
    stuck: Arc<admin::stuck::StuckDesk>,
    edge: edge::server::Server,
    admin: admin::server::Server,
    stop: CancellationToken,
}

/// How a gateway ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Connections that were cut because the time to drain was up.
    pub cut: usize,
    /// What became of the recorded requests and the spans.
    pub telemetry: Stopped,
}

/// Checks a page as [`Gateway::start`] would, without starting anything.
///
/// # Errors
/// [`Rejected`] with everything that is wrong.
pub fn check(page: &Page, own: &Own, env: load::Lookup<'_>) -> Result<Plan, Rejected> {
    let (names, clock) = (Names::new(), Clock::real());
    plan(page, own, env, &names, &clock)
}

fn plan(page: &Page, own: &Own, env: load::Lookup<'_>, names: &Names, clock: &Clock) -> Result<Plan, Rejected> {
    let makings = Makings { own, names, clock, keys: Keys::new(names), before: None };
    match page {
        Page::File(path) => load::plan(path, env, &makings),
        Page::Text { name, source } => load::from_text(name, source, env, &makings),
    }
}

impl Gateway {
    /// Starts a gateway on the runtime it is called on. Both listeners are ready when this returns.
    ///
    /// # Errors
    /// [`StartError`] says what to do.
    pub async fn start(page: Page, own: Own, env: Env) -> Result<Self, StartError> {
        Self::start_logging(page, own, env, Logging::of_gateway()).await
    }

    /// The same with logs that were set up before, such as those of the process.
    ///
    /// # Errors
    /// [`StartError`] says what to do.
    pub async fn start_logging(page: Page, own: Own, env: Env, logging: Arc<Logging>) -> Result<Self, StartError> {
        let clock = Clock::real();
        let names = Arc::new(Names::new());
        let plan = plan(&page, &own, &*env, &names, &clock)?;
        let recorder = Recorder::new(clock, Arc::clone(&names), IdSource::random(), &RecorderSettings::default());
        recorder.redact_by(Arc::clone(&plan.redaction));
        let metrics = Arc::new(Metrics::new());
        metrics.register(logging.counts() as _);
        let exporter = exporter(&plan)?;
        if let Some(exporter) = exporter.as_ref().filter(|exporter| exporter.sends(Signal::Logs)) {
            logging.beside(Arc::new(exporter.clone()));
        }
        let follow = logging.follow(&plan.document, None, &plan.redaction);
        follow.map_err(|problems| problems.into_iter().next().expect("there is one where it failed"))?;
        let settings = CollectorSettings {
            retention: retention(plan.document.telemetry.keep),
            rules: plan.rules(),
            ..CollectorSettings::default()
        };
        let slos = Slos::new(recorder.clock().clone());
        slos.set(&plan.objectives());
        metrics.register(Arc::clone(&slos) as _);
        let collector = Collector::start(
            recorder.clone(),
            settings,
            Arc::clone(&metrics),
            exporter,
            vec![Box::new(logging.follower()), Box::new(Arc::clone(&slos))],
        )?;
        let bind = |text: &str| text.parse::<SocketAddr>().unwrap_or_else(|_| SocketAddr::from(([127, 0, 0, 1], 0)));
        let (address, admin_address) = (bind(&plan.document.listen), bind(&plan.document.admin.listen));
        let live = Live::new(recorder, Keys::new(&names), collector, slos, plan);
        metrics.register(Arc::clone(&live) as _);
        for upstream in live.plan().upstreams.values() {
            upstream.keep_resolved();
        }
        let stop = CancellationToken::new();
        let reloader = match &page {
            Page::File(path) => Some(Reloader::new(path, own, env, Arc::clone(&live), Arc::clone(&logging))),
            Page::Text { .. } => None,
        };
        let edge = edge::server::Server::start(Arc::clone(&live), address)
            .await
            .map_err(|error| StartError::Bind { address, error })?;
        let stuck = admin::stuck::StuckDesk::new(Arc::clone(&live));
        metrics.register(Arc::clone(&stuck) as _);
        let pages = admin::pages::Pages {
            live: Arc::clone(&live),
            reloader: reloader.clone(),
            stuck: Arc::clone(&stuck),
            logging: Arc::clone(&logging),
        };
        let pages = Arc::new(pages);
        let admin = admin::server::Server::start(admin_address, pages)
            .await
            .map_err(|error| StartError::Bind { address: admin_address, error })?;
        if let Some(reloader) = &reloader
            && let Err(error) = reloader.watch(stop.clone())
        {
            tracing::warn!(%error, "the configuration file is not watched; reload with SIGHUP or POST /reload");
        }
        Ok(Self {
            address: edge.address,
            admin_address: admin.address,
            live,
            reloader,
            logging,
            stuck,
            edge,
            admin,
            stop,
        })
    }

    /// Stops it: readiness says no, nothing new is accepted, running requests end (within the page's `drain_timeout`),
    /// and what was recorded is exported.
    pub async fn stop(self) -> Ended {
        let time = self.live.plan().document.limits.drain_timeout;
        self.live.drain();
        self.stop.cancel();
        let drained = self.edge.drain(time).await;
        if drained.cut > 0 {
            self.live.undoing.end().await;
        }
        self.stuck.stop(time).await;
        self.admin.stop().await;
        let live = Arc::clone(&self.live);
        let deadline = Duration::from_secs(2);
        let logging = Arc::clone(&self.logging);
        let stopped = tokio::task::spawn_blocking(move || {
            let stopped = live.collector.stop(deadline);
            logging.flush(Duration::from_secs(1));
            stopped
        });
        let stopped = stopped.await;
        let telemetry = stopped.unwrap_or_else(|_| Stopped {
            complete: false,
            recorder: self.live.recorder.counters(),
            export: None,
        });
        for (signal, counters) in telemetry.export.iter().flat_map(Exported::each) {
            let lost = counters.dropped_for(DropCause::Shutdown);
            if lost > 0 {
                let why = counters.last_error.as_deref().unwrap_or("there was no time");
                tracing::warn!(signal = signal.as_str(), lost, why, "telemetry was not delivered before the end");
            }
        }
        Ended { cut: drained.cut, telemetry }
    }
}

/// The runtime a gateway runs on: one worker per processor unless told otherwise, each with a number.
///
/// # Errors
/// When threads cannot be made.
pub fn runtime(workers: usize) -> std::io::Result<Runtime> {
    let next = Arc::new(std::sync::atomic::AtomicU16::new(0));
    let workers = if workers == 0 { std::thread::available_parallelism().map_or(1, usize::from) } else { workers };
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .thread_name("zerver-worker")
        .on_thread_start(move || worker::set(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)))
        .enable_all()
        .build()
}

fn exporter(plan: &Plan) -> Result<Option<Exporter>, StartError> {
    let mut settings = plan.document.telemetry.otlp.settings();
    if settings.is_off() {
        return Ok(None);
    }
    let instance = format!("{:016x}", IdSource::random().next_u64());
    settings.resource.entry("service.instance.id".into()).or_insert(instance);
    let tell = |news: News<'_>| match news {
        News::Failing { signal, why } => tracing::warn!(
            signal = signal.as_str(),
            why,
            "telemetry is not delivered; what waits is tried again, and what is lost is counted in /metrics"
        ),
        News::Delivered { signal } => tracing::info!(signal = signal.as_str(), "telemetry is delivered again"),
    };
    Ok(Some(Exporter::start_telling(&settings, tell)?))
}

/// The page says one number; the kinds of keeping share it as the defaults do.
fn retention(keep: usize) -> RetentionSettings {
    let whole = RetentionSettings::default();
    let all = whole.recent + whole.uniform + whole.errors + whole.slow;
    let part = |n: usize| (n * keep / all).max(1);
    RetentionSettings {
        recent: part(whole.recent),
        uniform: part(whole.uniform),
        errors: part(whole.errors),
        slow: part(whole.slow),
        ..whole
    }
}
