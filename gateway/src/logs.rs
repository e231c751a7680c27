//! The logs of a gateway: where they go, how much the program says, and how both change while it runs.
//!
//! Lines are made and written by threads of their own ([`zerver_telemetry::logs`]); two logs that go to one place share its
//! writer, so that their lines do not mix. The application log is the process's: [`Logging::process`] sets it up once. A
//! gateway that is embedded in a program with a log of its own has [`Logging::of_gateway`]: access log only.

pub mod levels;
mod layer;

use std::collections::HashMap;
use std::io::IsTerminal as _;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::{Mutex, RwLock};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Registry, reload};
use zerver_telemetry::clock::Clock;
use zerver_telemetry::logs::{Choice, Counts, Follower, Forms, STEPS_SCOPE, Sink, Target, Writer, WriterSettings};
use zerver_telemetry::redact::Redaction;

use self::layer::{Ends, Records};
use self::levels::{BadLevels, Levels};
use crate::config::document::Document;

/// The logs of a gateway.
pub struct Logging {
    writers: Mutex<HashMap<Target, Writer>>,
    counts: Arc<Counts>,
    choice: Arc<RwLock<Choice>>,
    /// Sinks that get everything besides: such as one that sends records to a collector.
    beside: Mutex<Vec<Arc<dyn Sink>>>,
    application: Option<Application>,
}

/// The process's own log.
struct Application {
    filter: reload::Handle<Targets, Registry>,
    ends: Arc<Ends>,
    levels: Mutex<InForce>,
}

/// The levels of the moment.
struct InForce {
    /// Those of the page or the environment.
    configured: Levels,
    /// Those that were asked for at run time, and how often that was: a later wish outlives an earlier one's time.
    wished: Option<Levels>,
    wishes: u64,
    /// Goes back when the time of the wish is over.
    timer: Option<tokio::task::AbortHandle>,
}

/// A log that cannot be written where the page says.
#[derive(Debug, thiserror::Error)]
#[error("cannot write the {log} log to {target}: {error}; is its folder there, and may this user write to it?")]
pub struct CannotOpen {
    log: &'static str,
    target: Target,
    error: std::io::Error,
}

/// Why levels were not changed.
#[derive(Debug, thiserror::Error)]
pub enum NotChanged {
    /// The text says no levels.
    #[error("{0}")]
    Bad(#[from] BadLevels),
    /// The program around this gateway has a log of its own.
    #[error("this gateway runs inside a program with a log of its own; change the level there")]
    NotOurs,
}

/// The levels as the admin pages show them.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct LevelsLine {
    /// Those in force; none where the log is not this gateway's.
    pub level: Option<String>,
    /// Those of the page or the environment, which a restart brings back.
    pub configured: String,
    /// Lines of both logs that were lost.
    pub lost: u64,
}

/// How long what waits may take to be written when a writer is not needed any more.
const LAST_LINES: Duration = Duration::from_secs(1);

impl Logging {
    /// For a gateway whose program has a log of its own, or none.
    #[must_use]
    pub fn of_gateway() -> Arc<Self> {
        Arc::new(Self::with(None))
    }

    fn with(application: Option<Application>) -> Self {
        let (writers, beside) = (Mutex::default(), Mutex::default());
        Self { writers, counts: Arc::default(), choice: Arc::default(), beside, application }
    }

    /// Sets up the process's log as the page says, what the `log` crate says included. A second log in one process is none:
    /// the first one stays.
    ///
    /// # Errors
    /// When the log cannot be written where the page says.
    pub fn process(page: &Document, rules: Arc<Redaction>) -> Result<Arc<Self>, CannotOpen> {
        let ends = Arc::new(Ends { sinks: ArcSwap::default(), rules: ArcSwap::new(rules), clock: Clock::real() });
        // The `log` crate keeps the level that is in force now for ever, so it has to be the most; what is said beyond the
        // filter ends at a comparison.
        let everything = Targets::new().with_default(tracing::metadata::LevelFilter::TRACE);
        let (filter, handle) = reload::Layer::new(everything);
        let subscriber = tracing_subscriber::registry().with(filter).with(Records(Arc::clone(&ends)));
        let is_first = subscriber.try_init().is_ok();
        if is_first {
            log_panics();
        }
        let configured = levels(page);
        let in_force = Mutex::new(InForce { configured: configured.clone(), wished: None, wishes: 0, timer: None });
        let application = Application { filter: handle, ends, levels: in_force };
        application.set(&configured);
        let this = Self::with(is_first.then_some(application));
        this.application_to(page, false)?;
        Ok(Arc::new(this))
    }

    /// Follows a page, the first one or a new one: forms, targets, which requests, levels, redaction. Files are opened anew, so
    /// that `logrotate` may have renamed them. `before` is the page that was in force.
    ///
    /// Levels that were asked for at run time stay, unless the new page has other ones than `before`.
    ///
    /// May wait up to a second for the last lines of a writer that is not needed any more.
    ///
    /// # Errors
    /// One per log that cannot be opened: its lines go on to where they went.
    pub fn follow(
        &self,
        page: &Document,
        before: Option<&Document>,
        rules: &Arc<Redaction>,
    ) -> Result<(), Vec<CannotOpen>> {
        let mut problems = Vec::new();
        if let Some(application) = &self.application {
            application.ends.rules.store(Arc::clone(rules));
            if before.is_some_and(|before| *before.log.level != *page.log.level) {
                let mut in_force = application.levels.lock();
                in_force.configured = levels(page);
                in_force.wished = None;
                if let Some(timer) = in_force.timer.take() {
                    timer.abort();
                }
                application.set(&in_force.configured);
            }
        }
        // At the start the files have just been opened.
        let anew = before.is_some();
        problems.extend(self.application_to(page, anew).err());
        problems.extend(self.access_to(page, anew).err());
        self.retire(page);
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }

    /// From the next [`Logging::follow`] on `sink` gets what is logged too: what the program says, and the requests that
    /// `access_log.only` chooses, where there is an access log.
    pub fn beside(&self, sink: Arc<dyn Sink>) {
        self.beside.lock().push(sink);
    }

    /// What the collector shows finished requests to.
    #[must_use]
    pub fn follower(&self) -> Follower {
        Follower::new(Arc::clone(&self.choice), || tracing::enabled!(target: STEPS_SCOPE, tracing::Level::DEBUG))
    }

    /// What it counts, for the metrics.
    #[must_use]
    pub fn counts(&self) -> Arc<Counts> {
        Arc::clone(&self.counts)
    }

    /// The levels of the moment.
    #[must_use]
    pub fn levels(&self) -> LevelsLine {
        let in_force = self.application.as_ref().map(|application| application.levels.lock());
        let text = |levels: &Levels| levels.text().to_owned();
        LevelsLine {
            level: in_force.as_ref().map(|now| text(now.wished.as_ref().unwrap_or(&now.configured))),
            configured: in_force.as_ref().map_or_else(String::new, |now| text(&now.configured)),
            lost: self.counts.lost(),
        }
    }

    /// Changes the levels until they are changed again, the page says others, or the process ends. Gives the number of this
    /// wish, for [`Logging::forget`].
    ///
    /// # Errors
    /// [`NotChanged`] says why not, and what to do.
    pub fn wish(&self, text: &str) -> Result<u64, NotChanged> {
        let levels = Levels::parse(text)?;
        let application = self.application.as_ref().ok_or(NotChanged::NotOurs)?;
        let mut in_force = application.levels.lock();
        application.set(&levels);
        in_force.wished = Some(levels);
        in_force.wishes += 1;
        // The time of the wish before is no longer of interest.
        if let Some(timer) = in_force.timer.take() {
            timer.abort();
        }
        Ok(in_force.wishes)
    }

    /// The same for a time, after which the configured levels hold again. On a tokio runtime.
    ///
    /// # Errors
    /// [`NotChanged`] says why not, and what to do.
    pub fn wish_for(self: &Arc<Self>, text: &str, time: Duration) -> Result<(), NotChanged> {
        let wish = self.wish(text)?;
        let this = Arc::downgrade(self);
        let timer = tokio::spawn(async move {
            tokio::time::sleep(time).await;
            if let Some(this) = this.upgrade() {
                this.forget(Some(wish));
                tracing::info!("the log's levels are those of the configuration again");
            }
        });
        if let Some(application) = &self.application {
            application.levels.lock().timer = Some(timer.abort_handle());
        }
        Ok(())
    }

    /// Goes back to the configured levels; with a wish's number only where none has followed it.
    pub fn forget(&self, wish: Option<u64>) {
        let Some(application) = &self.application else { return };
        let mut in_force = application.levels.lock();
        if wish.is_none_or(|wish| wish == in_force.wishes) && in_force.wished.take().is_some() {
            application.set(&in_force.configured);
        }
    }

    /// Waits until what was said is written, at most so long.
    pub fn flush(&self, deadline: Duration) {
        let writers: Vec<Writer> = self.writers.lock().values().cloned().collect();
        for writer in writers {
            writer.flush(deadline);
        }
    }

    fn application_to(&self, page: &Document, anew: bool) -> Result<(), CannotOpen> {
        let Some(application) = &self.application else { return Ok(()) };
        let writer = self.writer(page, &Target::parse(&page.log.to), "application", anew)?;
        let mut sinks = self.beside.lock().clone();
        sinks.push(Arc::new(writer));
        self.choice.write().steps.clone_from(&sinks);
        application.ends.sinks.store(Arc::new(sinks));
        Ok(())
    }

    fn access_to(&self, page: &Document, anew: bool) -> Result<(), CannotOpen> {
        let mut sinks = Vec::new();
        let access = page.access_log.clone().unwrap_or_default();
        if page.access_log.is_some() {
            sinks.clone_from(&self.beside.lock());
            sinks.push(Arc::new(self.writer(page, &Target::parse(&access.to), "access", anew)?));
        }
        let mut choice = self.choice.write();
        choice.access = sinks;
        choice.only = access.only.into();
        choice.slow_ns = u64::try_from(access.slow.as_nanos()).unwrap_or(u64::MAX);
        Ok(())
    }

    /// The writer to a target, in the forms of the page. `anew`: a file is opened again.
    fn writer(&self, page: &Document, target: &Target, log: &'static str, anew: bool) -> Result<Writer, CannotOpen> {
        let colour = match target {
            Target::Stdout => std::io::stdout().is_terminal(),
            Target::Stderr => std::io::stderr().is_terminal(),
            Target::File(_) => false,
        };
        let access = page.access_log.as_ref().map(|access| access.format.into()).unwrap_or_default();
        let forms = Forms { record: page.log.format.into(), colour, access };
        let cannot = |error| CannotOpen { log, target: target.clone(), error };
        let mut writers = self.writers.lock();
        if let Some(writer) = writers.get(target) {
            if anew && matches!(target, Target::File(_)) {
                writer.reopen(target).map_err(cannot)?;
            }
            writer.form(forms);
            return Ok(writer.clone());
        }
        let counts = Arc::clone(&self.counts);
        let writer = Writer::open(target, forms, WriterSettings::default(), counts).map_err(cannot)?;
        writers.insert(target.clone(), writer.clone());
        Ok(writer)
    }

    /// Ends the writers that the page has no use for.
    fn retire(&self, page: &Document) {
        let mut wanted: Vec<Target> = self.application.iter().map(|_| Target::parse(&page.log.to)).collect();
        wanted.extend(page.access_log.as_ref().map(|access| Target::parse(&access.to)));
        let mut writers = self.writers.lock();
        // One that is wanted and could not be opened leaves the log with the writer it has.
        if wanted.iter().any(|target| !writers.contains_key(target)) {
            return;
        }
        let unused = writers.extract_if(|target, _| !wanted.contains(target)).map(|(_, writer)| writer);
        let unused: Vec<Writer> = unused.collect();
        drop(writers);
        for writer in unused {
            writer.stop(LAST_LINES);
        }
    }
}

impl Application {
    fn set(&self, levels: &Levels) {
        // It fails only where the subscriber is gone, and then nobody says anything.
        let _ = self.filter.reload(levels.filter());
    }
}

/// From now on panics are lines of the log: the standard hook writes to standard error itself, where it may have to wait with
/// a request's worker, and shows what it finds. What ends the process is told the standard way too.
fn log_panics() {
    let standard = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let thread = std::thread::current();
        let thread = thread.name().unwrap_or("(no name)");
        let at = info.location().map(ToString::to_string).unwrap_or_default();
        let text = info.payload_as_str().unwrap_or("(no text)");
        let trace = std::backtrace::Backtrace::capture();
        let backtrace = (trace.status() == std::backtrace::BacktraceStatus::Captured).then(|| trace.to_string());
        tracing::error!(thread, at, backtrace, "panicked: {text}");
        if thread == "main" {
            standard(info);
        }
    }));
}

/// The page's levels, which were checked with it.
fn levels(page: &Document) -> Levels {
    Levels::parse(&page.log.level).or_else(|_| Levels::parse("info")).expect("`info` is a level")
}

#[cfg(test)]
mod tests {
    use zerver_telemetry::clock::Clock;
    use zerver_telemetry::collector::Observer as _;
    use zerver_telemetry::event::Outcome;
    use zerver_telemetry::logs::{Entry, Severity};
    use zerver_telemetry::names::Name;
    use zerver_telemetry::recorder::Recorder;

    use super::*;
    use crate::config::file::parse;

    #[derive(Default)]
    struct Kept(Mutex<Vec<Entry>>);

    impl Sink for Kept {
        fn offer(&self, entry: Entry) {
            self.0.lock().push(entry);
        }
    }

    #[test]
    fn a_sink_beside_the_writers_gets_what_they_get() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("access.log");
        let page = |access: &str| parse(&format!("listen: 127.0.0.1:0\nroutes: []\n{access}")).unwrap();
        let (logging, kept, rules) = (Logging::of_gateway(), Arc::new(Kept::default()), Arc::default());
        logging.beside(Arc::clone(&kept) as Arc<dyn Sink>);
        let mut follower = logging.follower();
        let mut ends = |outcome, status| {
            let clock = Clock::manual();
            let recorder = Recorder::for_tests(clock.clone());
            recorder.start(clock.now(), None, false).finish(clock.now(), outcome, status, Name::NONE);
            let timeline = Arc::new(recorder.timelines().remove(0));
            if follower.keeps(&timeline) {
                follower.keep(&timeline);
            }
        };
        let (none, errors) = (page(""), page(&format!("access_log: {{ only: errors, to: '{}' }}", file.display())));
        logging.follow(&none, None, &rules).unwrap();
        ends(Outcome::Ok, 200);
        logging.follow(&errors, Some(&none), &rules).unwrap();
        ends(Outcome::Ok, 200);
        ends(Outcome::Error, 502);
        logging.flush(Duration::from_secs(30));
        assert_eq!(std::fs::read_to_string(&file).unwrap().lines().count(), 1);
        let records: Vec<_> = kept.0.lock().iter().flat_map(Entry::records).collect();
        let seen: Vec<_> = records.iter().map(|record| (record.severity, record.trace_id.is_some())).collect();
        assert_eq!(seen, [(Severity::Error, true)], "without an access log requests are nobody's");
        // The last one to leave a target ends its writer.
        logging.follow(&none, Some(&errors), &rules).unwrap();
        assert!(logging.writers.lock().is_empty());
        assert!(matches!(logging.wish("debug"), Err(NotChanged::NotOurs)));
    }
}
