//! What is gathered of a node before its span is told, in one look at its attributes and one at its states.

use crate::event::StateKind;
use crate::semconv;
use crate::timeline::{Node, Split, State, Value};

/// The attributes of a node that its name and its address are made of.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Noted<'t> {
    pub(super) method: Option<&'t Value>,
    pub(super) route: Option<&'t Value>,
    pub(super) template: Option<&'t Value>,
    pub(super) host: Option<&'t Value>,
    pub(super) port: Option<&'t Value>,
    pub(super) path: Option<&'t Value>,
    pub(super) query: Option<&'t Value>,
}

impl<'t> Noted<'t> {
    pub(super) fn of(node: &'t Node) -> Self {
        let mut noted = Self::default();
        for (name, value) in &node.attrs {
            let place = match &**name {
                semconv::HTTP_METHOD => &mut noted.method,
                semconv::HTTP_ROUTE => &mut noted.route,
                semconv::URL_TEMPLATE => &mut noted.template,
                semconv::SERVER_ADDRESS => &mut noted.host,
                semconv::SERVER_PORT => &mut noted.port,
                semconv::URL_PATH => &mut noted.path,
                semconv::URL_QUERY => &mut noted.query,
                _ => continue,
            };
            place.get_or_insert(value);
        }
        noted
    }
}

/// What the states of a node come to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Job<'t> {
    pub(super) split: Split,
    /// The longest queue.
    pub(super) queue: Option<&'t State>,
    /// The longest park.
    pub(super) park: Option<&'t State>,
    /// The worker it ran on last.
    pub(super) worker: Option<u16>,
    /// The place of the first state that is no queue: what runs after it goes on.
    pub(super) began: usize,
}

impl<'t> Job<'t> {
    pub(super) fn of(node: &'t Node) -> Self {
        let mut job = Self { split: Split::default(), queue: None, park: None, worker: None, began: usize::MAX };
        for (place, state) in node.states.iter().enumerate() {
            let (kind, ns) = (state.cause.kind(), state.len_ns());
            job.split.add(kind, ns);
            let longest = match kind {
                StateKind::Queue => Some(&mut job.queue),
                StateKind::Park => Some(&mut job.park),
                StateKind::Run => None,
            };
            // Of equals the last.
            if let Some(longest) = longest.filter(|longest| longest.is_none_or(|before| ns >= before.len_ns())) {
                *longest = Some(state);
            }
            if kind != StateKind::Queue {
                job.began = job.began.min(place);
            }
            job.worker = state.worker.or(job.worker);
        }
        job
    }
}
