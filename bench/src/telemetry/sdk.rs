//! The request as OpenTelemetry's SDK notes it, called directly and through `tracing`: a batch processor, an exporter that
//! counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use opentelemetry::trace::{Span as _, SpanBuilder, TraceContextExt as _, Tracer as _, TracerProvider as _};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracer, SdkTracerProvider, SpanData, SpanExporter,
};
use tracing::Dispatch;
use tracing_subscriber::layer::SubscriberExt as _;

/// Its steps.
pub(super) const STEP_NAMES: [&str; 4] =
    ["zerver.step auth", "zerver.step cart", "zerver.step quote", "zerver.step respond"];
/// Its effects.
pub(super) const EFFECT_NAMES: [&str; 6] = ["users", "carts", "stock", "prices", "tax", "mail"];
/// How many effects each step has.
pub(super) const EFFECTS: [usize; 4] = [2, 2, 1, 1];
/// Events on each step; with those on the effects 24.
pub(super) const STEP_EVENTS: u64 = 3;
/// Events on each effect.
pub(super) const EFFECT_EVENTS: u64 = 2;
/// Events of a request, with three small numbers each.
pub(super) const EVENTS: u64 = 4 * STEP_EVENTS + 6 * EFFECT_EVENTS;

/// Spans that may wait for the processor: all of a stretch, so that none is dropped. Its default is 2,048, and what does
/// not fit is dropped, which makes it cheap.
const QUEUE: usize = 1 << 16;

/// The SDK with its defaults but for the length of its queue.
#[derive(Debug)]
pub(super) struct Sdk {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
    seen: Arc<AtomicU64>,
}

/// Counts what it is to send.
#[derive(Debug)]
struct Counting(Arc<AtomicU64>);

impl SpanExporter for Counting {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.0.fetch_add(batch.len() as u64, Relaxed);
        Ok(())
    }
}

/// What becomes of a lifecycle event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lifecycle {
    /// It is an event on its span.
    Events,
    /// It is a span of its own, below its span.
    Spans,
}

impl Sdk {
    /// Starts its processor's thread.
    pub(super) fn start(sampler: Sampler) -> Self {
        let seen = Arc::<AtomicU64>::default();
        let config = BatchConfigBuilder::default().with_max_queue_size(QUEUE).build();
        let processor = BatchSpanProcessor::builder(Counting(Arc::clone(&seen))).with_batch_config(config).build();
        let provider = SdkTracerProvider::builder().with_sampler(sampler).with_span_processor(processor).build();
        Self { tracer: provider.tracer("bench"), provider, seen }
    }

    /// Spans that reached the exporter.
    pub(super) fn spans(&self) -> u64 {
        self.seen.load(Relaxed)
    }

    /// Until the exporter has seen what was handed over.
    ///
    /// # Panics
    /// When it takes longer than the SDK waits, five seconds: then there is nothing to measure.
    pub(super) fn settle(&self) {
        self.provider.force_flush().expect("an exporter that counts does not fail");
    }

    /// Notes one request.
    pub(super) fn request(&self, lifecycle: Lifecycle) {
        let tracer = &self.tracer;
        let root = Context::new().with_span(tracer.start_with_context("GET /checkout", &Context::new()));
        let mut effect = 0;
        for (name, effects) in STEP_NAMES.into_iter().zip(EFFECTS) {
            let step = root.with_span(tracer.start_with_context(name, &root));
            self.lifecycle(&step, STEP_EVENTS, lifecycle);
            for _ in 0..effects {
                let span = step.with_span(tracer.start_with_context(EFFECT_NAMES[effect], &step));
                self.lifecycle(&span, EFFECT_EVENTS, lifecycle);
                span.span().end();
                effect += 1;
            }
            step.span().end();
        }
        root.span().end();
    }

    fn lifecycle(&self, of: &Context, count: u64, lifecycle: Lifecycle) {
        for n in 0..count.cast_signed() {
            let numbers =
                vec![KeyValue::new("cause", n), KeyValue::new("worker", n + 1), KeyValue::new("queue", n + 2)];
            match lifecycle {
                Lifecycle::Events => of.span().add_event("state", numbers),
                Lifecycle::Spans => {
                    let span = SpanBuilder::from_name("state").with_attributes(numbers);
                    self.tracer.build_with_context(span, of).end();
                }
            }
        }
    }

    /// `tracing` on top of it: a registry and `tracing-opentelemetry`'s layer with its defaults.
    pub(super) fn under_tracing(&self) -> Dispatch {
        let layer = tracing_opentelemetry::layer().with_tracer(self.tracer.clone());
        Dispatch::new(tracing_subscriber::registry().with(layer))
    }
}

/// Notes that many requests through `tracing`.
pub(super) fn traced(dispatch: &Dispatch, requests: u64) {
    tracing::dispatcher::with_default(dispatch, || (0..requests).for_each(|_| traced_request()));
}

fn traced_request() {
    let root = tracing::info_span!("request", method = "GET", route = "checkout");
    let _in_root = root.enter();
    let mut effect = 0;
    for (name, effects) in STEP_NAMES.into_iter().zip(EFFECTS) {
        let step = tracing::info_span!("step", "otel.name" = name);
        let _in_step = step.enter();
        traced_events(STEP_EVENTS);
        for _ in 0..effects {
            let span = tracing::info_span!("effect", "otel.name" = EFFECT_NAMES[effect]);
            let _in_effect = span.enter();
            traced_events(EFFECT_EVENTS);
            effect += 1;
        }
    }
}

fn traced_events(count: u64) {
    for n in 0..count {
        tracing::info!(cause = n, worker = n + 1, queue = n + 2, "state");
    }
}
