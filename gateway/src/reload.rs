//! Reload: a file's change, SIGHUP or an admin call make a new plan beside the old one; a bad file changes nothing.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{RecursiveMode, Watcher as _};
use tokio::sync::{Mutex, mpsc};
use tokio_util::sync::CancellationToken;

use crate::config::file::Rejected;
use crate::config::load;
use crate::live::Live;
use crate::logs::Logging;
use crate::plan::{Makings, Own};

/// Editors write a file in several steps; this long after the last one it is read.
const SETTLE: Duration = Duration::from_millis(100);

/// Looks variables of the environment up.
type Env = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// Reads a gateway's file again.
pub struct Reloader {
    path: PathBuf,
    own: Own,
    env: Env,
    live: Arc<Live>,
    logging: Arc<Logging>,
    /// One reload at a time.
    turn: Mutex<()>,
}

impl Reloader {
    /// Reloads `live` from this file.
    #[must_use]
    pub fn new(path: &Path, own: Own, env: Env, live: Arc<Live>, logging: Arc<Logging>) -> Arc<Self> {
        Arc::new(Self { path: path.to_owned(), own, env, live, logging, turn: Mutex::new(()) })
    }

    /// Reads the file and swaps the plan; gives the new version.
    ///
    /// What cannot change while running (addresses, workers, connections, the memory for timelines, the exporter) is noted in the
    /// log and takes effect with the next start.
    ///
    /// # Errors
    /// [`Rejected`]: the file is wrong, and the old plan goes on.
    ///
    /// # Cancel safety
    /// The swap is one step: it happened or it did not.
    pub async fn reload(&self) -> Result<u32, Rejected> {
        let _turn = self.turn.lock().await;
        let before = self.live.plan();
        let makings = Makings {
            own: &self.own,
            names: self.live.recorder.names(),
            clock: self.live.recorder.clock(),
            keys: self.live.keys,
            before: Some(&before),
        };
        let plan = load::plan(&self.path, &*self.env, &makings).inspect_err(|rejected| {
            self.live.count_reload(false);
            tracing::error!("the configuration was not reloaded, the old one goes on\n{rejected}");
        })?;
        for (what, changed) in [
            ("listen", *plan.document.listen != *before.document.listen),
            ("admin.listen", *plan.document.admin.listen != *before.document.admin.listen),
            ("workers", plan.document.workers != before.document.workers),
            ("limits.connections", plan.document.limits.connections != before.document.limits.connections),
            ("limits.head_timeout", plan.document.limits.head_timeout != before.document.limits.head_timeout),
            ("telemetry.keep", plan.document.telemetry.keep != before.document.telemetry.keep),
            ("telemetry.otlp", plan.document.telemetry.otlp.settings() != before.document.telemetry.otlp.settings()),
        ] {
            if changed {
                tracing::warn!("`{what}` has changed; it takes effect with the next start");
            }
        }
        let version = plan.version;
        for upstream in plan.upstreams.values() {
            if !before.upstreams.get(&upstream.name).is_some_and(|kept| Arc::ptr_eq(kept, upstream)) {
                upstream.keep_resolved();
            }
        }
        self.live.collector.apply(plan.rules());
        self.live.slos.set(&plan.objectives());
        self.live.recorder.redact_by(Arc::clone(&plan.redaction));
        self.live.swap(plan);
        let (logging, now) = (Arc::clone(&self.logging), self.live.plan());
        let follow = move || logging.follow(&now.document, Some(&before.document), &now.redaction);
        // It opens files, and may wait for a writer's last lines.
        if let Ok(Err(problems)) = tokio::task::spawn_blocking(follow).await {
            for problem in problems {
                tracing::error!("{problem}; lines go on to where they went");
            }
        }
        self.live.count_reload(true);
        tracing::info!(version, "configuration reloaded");
        Ok(version)
    }

    /// Reloads whenever the file changes, until `stop`. Watches its folder: editors and volume mounts replace files.
    ///
    /// # Errors
    /// The operating system's, when the folder cannot be watched.
    pub fn watch(self: &Arc<Self>, stop: CancellationToken) -> notify::Result<()> {
        let (changed, mut changes) = mpsc::channel(1);
        let path = self.path.canonicalize().unwrap_or_else(|_| self.path.clone());
        let folder = path.parent().map_or_else(|| PathBuf::from("."), Path::to_path_buf);
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event.is_ok_and(|event| !event.kind.is_access()) {
                // One pending change is as good as many.
                let _ = changed.try_send(());
            }
        })?;
        watcher.watch(&folder, RecursiveMode::NonRecursive)?;
        let this = Arc::clone(self);
        tokio::spawn(async move {
            let _watcher = watcher;
            let mut last = std::fs::read(&this.path).ok();
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    change = changes.recv() => if change.is_none() { return },
                }
                while tokio::time::timeout(SETTLE, changes.recv()).await.is_ok_and(|change| change.is_some()) {}
                let now = std::fs::read(&this.path).ok();
                if now.is_some() && now != last {
                    last = now;
                    // A rejected file was reported where it was rejected.
                    let _ = this.reload().await;
                }
            }
        });
        Ok(())
    }
}
