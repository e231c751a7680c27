//! What the admin listener answers, page by page.

use std::sync::Arc;

use http::{Method, Request, StatusCode, header};
use serde_json::{Value, json};
use zerver_telemetry::explain::{self, Cohorts};
use zerver_telemetry::export::prometheus;
use zerver_telemetry::id::TraceId;
use zerver_telemetry::percent::decode_form;
use zerver_telemetry::slo::Standing;
use zerver_telemetry::timeline::FORMAT_VERSION;

use crate::admin::answer::{Reply, error, json};
use crate::admin::latencies;
use crate::admin::log;
use crate::admin::stuck::StuckDesk;
use crate::config::problem::suggestion;
use crate::live::Live;
use crate::logs::Logging;
use crate::reload::Reloader;

/// The most timelines of one answer.
const TIMELINES_MAX: usize = 5_000;

/// The pages of one gateway.
pub struct Pages {
    /// The gateway.
    pub live: Arc<Live>,
    /// Reloads it; none when it was not started from a file.
    pub reloader: Option<Arc<Reloader>>,
    /// Its stuck runs.
    pub stuck: Arc<StuckDesk>,
    /// Its logs.
    pub logging: Arc<Logging>,
}

/// Every page, for the list at `/` and the documentation.
pub const PAGES: &[(&str, &str, &str)] = &[
    ("GET", "/health/live", "200 while the process serves"),
    ("GET", "/health/ready", "200 while new requests are welcome, 503 while draining"),
    ("GET", "/metrics", "all metrics, Prometheus text format; OpenMetrics with exemplars where `Accept` asks for it"),
    ("GET", "/timelines?since=&limit=&route=&min_ms=", "kept timelines after a sequence number, oldest first"),
    ("GET", "/timelines/{trace_id}", "the timelines of one trace"),
    ("GET", "/compare?route=&a=&b=", "slow against fast requests; a and b are ranges of milliseconds such as 1-20"),
    ("GET", "/in-flight", "requests that have not ended, the oldest first"),
    ("GET", "/upstreams", "upstreams: limits, queues, retry budgets and peers"),
    ("GET", "/limits", "every concurrency limit with its queue: those of upstreams and those of routes"),
    ("GET", "/slo", "the routes' objectives, what has counted for them, and how fast their budgets burn"),
    ("GET", "/rate-limits", "rate limits and how many keys they hold"),
    ("GET", "/routes", "the routes in their order of precedence"),
    ("GET", "/flows", "the flows with their graphs"),
    ("GET", "/flows/{slug}/latencies", "how long each step of a flow takes and why, and which chains hold requests up"),
    ("GET", "/stuck", "runs whose undoing failed, the oldest first"),
    ("GET", "/stuck/{number}", "one of them"),
    ("POST", "/stuck/{number}/resume", "go on with its undoing"),
    ("DELETE", "/stuck/{number}", "take it off the list: what was left is undone by hand"),
    ("GET", "/log", "how much the program says: the levels in force, and the configured ones"),
    (
        "PUT",
        "/log?level=&for=",
        "other levels from now on, such as info,zerver::admission=debug; for a while where `for` says so",
    ),
    ("DELETE", "/log", "back to the configured levels"),
    ("GET", "/config", "the configuration in force, secrets masked"),
    ("POST", "/reload", "read the configuration file again"),
];

impl Pages {
    /// Answers one admin request.
    pub async fn answer<B>(&self, request: &Request<B>) -> Reply {
        if let Some(refusal) = self.refuse(request) {
            return refusal;
        }
        let query = Query(request.uri().query().unwrap_or(""));
        let path = request.uri().path().trim_end_matches('/');
        match (request.method(), path) {
            (&Method::POST, "/reload") => self.reload().await,
            (_, "/reload") => error(StatusCode::METHOD_NOT_ALLOWED, "use POST"),
            (method, "/log") => log::answer(&self.logging, method, query.text("level"), query.text("for")),
            (method, path) if path == "/stuck" || path.starts_with("/stuck/") => {
                self.stuck.answer(method, &path["/stuck".len()..]).await
            }
            (&Method::GET | &Method::HEAD, "/metrics") if wants_openmetrics(request.headers()) => Reply {
                status: StatusCode::OK,
                content_type: prometheus::OPENMETRICS_CONTENT_TYPE,
                body: prometheus::openmetrics(&self.live.metrics.snapshot()).into(),
            },
            (&Method::GET | &Method::HEAD, path) => match (path, of_flow(path)) {
                ("/compare", _) => self.compare(&query).await,
                (_, Some(slug)) => self.latencies(slug).await,
                _ => self.page(path, &query),
            },
            _ => error(StatusCode::METHOD_NOT_ALLOWED, "admin pages are read with GET; GET / lists those that are not"),
        }
    }

    /// Without the token nothing is answered but the health pages.
    fn refuse<B>(&self, request: &Request<B>) -> Option<Reply> {
        let plan = self.live.plan();
        let token = plan.document.admin.token.as_ref()?;
        if request.uri().path().starts_with("/health/") {
            return None;
        }
        let given = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let given = given.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or("");
        (!token.matches(given))
            .then(|| error(StatusCode::UNAUTHORIZED, "send the admin token: `Authorization: Bearer …`"))
    }

    fn page(&self, path: &str, query: &Query<'_>) -> Reply {
        let live = &self.live;
        match path {
            "" => {
                let pages: Vec<Value> = PAGES
                    .iter()
                    .map(|(method, path, about)| json!({"method": method, "path": path, "about": about}))
                    .collect();
                json(&json!({ "zerver": env!("CARGO_PKG_VERSION"), "pages": pages }))
            }
            "/health/live" => json(&json!({ "status": "live" })),
            "/health/ready" if live.is_draining() => error(StatusCode::SERVICE_UNAVAILABLE, "draining"),
            "/health/ready" => json(&json!({ "status": "ready", "config_version": live.plan().version })),
            "/metrics" => Reply {
                status: StatusCode::OK,
                content_type: prometheus::CONTENT_TYPE,
                body: prometheus::text(&live.metrics.snapshot()).into(),
            },
            "/timelines" => self.timelines(query),
            "/in-flight" => json(&live.recorder.running()),
            "/upstreams" => json(&live.plan().upstreams.values().map(|up| up.state()).collect::<Vec<_>>()),
            "/limits" => {
                let plan = live.plan();
                let of_upstreams = plan.upstreams.values().map(|upstream| upstream.gate.state());
                json(&of_upstreams.chain(plan.gates.values().map(|gate| gate.state())).collect::<Vec<_>>())
            }
            "/slo" => json(&live.slos.standings().iter().map(Standing::to_json).collect::<Vec<_>>()),
            "/rate-limits" => json(&live.plan().rate_limits.values().map(|limit| limit.state()).collect::<Vec<_>>()),
            "/routes" => json(&live.plan().route_list()),
            "/flows" => {
                let plan = live.plan();
                json(&plan.flows.values().map(|flow| flow.flow().graph().to_json()).collect::<Vec<_>>())
            }
            "/config" => json(&live.plan().document),
            path => match path.strip_prefix("/timelines/") {
                Some(trace) => self.timeline(trace),
                None => error(StatusCode::NOT_FOUND, "no such page; GET / lists them"),
            },
        }
    }

    /// The feed that the viewer follows: timelines after `since`, and where to go on.
    fn timelines(&self, query: &Query<'_>) -> Reply {
        let live = &self.live;
        let (Ok(since), Ok(limit), Ok(min_ms)) =
            (query.number("since", 0_u64), query.number("limit", 500_usize), query.number("min_ms", 0.0_f64))
        else {
            return error(StatusCode::BAD_REQUEST, "since and limit are whole numbers, min_ms is a number");
        };
        let route = query.text("route");
        let found = live.store.since(since, limit.min(TIMELINES_MAX));
        let next = found.last().map_or(since, |timeline| timeline.seq);
        let wanted: Vec<_> = found
            .iter()
            .filter(|t| route.as_deref().is_none_or(|route| &*t.route == route))
            .filter(|t| t.latency_ns as f64 / 1e6 >= min_ms)
            .collect();
        let clock = live.recorder.clock();
        let counters = live.recorder.counters();
        let retained = live.store.retained();
        json(&json!({
            "v": FORMAT_VERSION,
            "gateway": {
                "name": live.plan().document.telemetry.otlp.service,
                "version": env!("CARGO_PKG_VERSION"),
                "now_unix_ns": clock.unix_ns(clock.now()),
            },
            "counters": {
                "requests": counters.finished,
                "lost_timelines": counters.lost_timelines,
                "lost_events": live.lost_events(),
                "in_flight": counters.in_flight,
            },
            "retained": retained,
            "next": next,
            "timelines": wanted,
        }))
    }

    fn timeline(&self, trace: &str) -> Reply {
        let Ok(trace) = trace.parse::<TraceId>() else {
            return error(StatusCode::BAD_REQUEST, "a trace id is 32 lower-case hexadecimal digits");
        };
        let found = self.live.store.by_trace(trace);
        if found.is_empty() {
            return error(
                StatusCode::NOT_FOUND,
                "no timeline of that trace is kept: it is still running, was never here, or gave way to newer ones",
            );
        }
        json(&json!({ "v": FORMAT_VERSION, "timelines": found }))
    }

    async fn compare(&self, query: &Query<'_>) -> Reply {
        let route = query.text("route");
        let cohorts = match (query.text("a"), query.text("b")) {
            (None, None) => Cohorts::SlowVersusFast,
            (a, b) => match (range(a.as_deref()), range(b.as_deref())) {
                (Some(a), Some(b)) => Cohorts::Latency { a, b },
                _ => {
                    return error(
                        StatusCode::BAD_REQUEST,
                        "a and b are two ranges of milliseconds, such as a=1-20&b=80-500",
                    );
                }
            },
        };
        let store = Arc::clone(&self.live.store);
        aside(move || {
            let kept = route.as_deref().map_or_else(|| store.snapshot(), |route| store.by_route(route));
            json(&explain::compare(&kept, route.as_deref(), &cohorts))
        })
        .await
    }

    async fn latencies(&self, slug: &str) -> Reply {
        let plan = self.live.plan();
        let Some(flow) = plan.flows.get(slug) else {
            let known = suggestion(slug, plan.flows.keys().map(String::as_str));
            return error(StatusCode::NOT_FOUND, &format!("no flow is named `{slug}`: {known}"));
        };
        let (slug, version, store) = (slug.to_owned(), flow.flow().version(), Arc::clone(&self.live.store));
        aside(move || json(&latencies::measure(&slug, version, &store.snapshot()))).await
    }

    async fn reload(&self) -> Reply {
        let Some(reloader) = &self.reloader else {
            return error(StatusCode::CONFLICT, "this gateway was not started from a file");
        };
        match reloader.reload().await {
            Ok(version) => json(&json!({ "config_version": version })),
            Err(rejected) => Reply {
                status: StatusCode::UNPROCESSABLE_ENTITY,
                content_type: "text/plain; charset=utf-8",
                body: rejected.to_string().into(),
            },
        }
    }
}

/// Makes an answer that takes a while beside the threads that serve requests: unpacking all that is kept, and comparing it.
async fn aside(make: impl FnOnce() -> Reply + Send + 'static) -> Reply {
    let made = tokio::task::spawn_blocking(make).await;
    made.unwrap_or_else(|_| error(StatusCode::INTERNAL_SERVER_ERROR, "the answer could not be made; the log says why"))
}

/// The flow whose latencies a path asks for.
fn of_flow(path: &str) -> Option<&str> {
    path.strip_prefix("/flows/")?.strip_suffix("/latencies")
}

/// Whether a scraper asks for OpenMetrics, which carries exemplars.
fn wants_openmetrics(headers: &http::HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    accept.is_some_and(|accept| accept.contains("application/openmetrics-text"))
}

/// A query string.
struct Query<'q>(&'q str);

impl Query<'_> {
    /// The value of one key, decoded.
    fn text(&self, key: &str) -> Option<String> {
        self.0.split('&').find_map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (name == key && !value.is_empty()).then(|| decode_form(value).into_owned())
        })
    }

    fn number<T: std::str::FromStr>(&self, key: &str, default: T) -> Result<T, T::Err> {
        self.text(key).map_or(Ok(default), |text| text.parse())
    }
}

fn range(text: Option<&str>) -> Option<(f64, f64)> {
    let (from, to) = text?.split_once('-')?;
    let (from, to) = (from.parse().ok()?, to.parse().ok()?);
    (from < to).then_some((from, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_decoded() {
        let query = Query("route=a%20b%2Fc+d&since=7&x");
        assert_eq!(query.text("route").as_deref(), Some("a b/c d"));
        assert_eq!(query.number("since", 0_u64), Ok(7));
        assert_eq!(query.number("limit", 5_usize), Ok(5));
        assert_eq!(query.text("x"), None);
    }

    #[test]
    fn ranges_are_read() {
        assert_eq!(range(Some("1-20.5")), Some((1.0, 20.5)));
        assert_eq!((range(Some("20-1")), range(Some("x")), range(None)), (None, None, None));
    }
}
