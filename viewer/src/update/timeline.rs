//! The waterfall: lanes of one request, zoom and pan, the walk along the critical path.

use std::sync::Arc;

use zerver_telemetry::event::NodeId;
use zerver_telemetry::timeline::Timeline;

use crate::keys::Action;
use crate::model::{Effect, Lane, Model, TimelineView};
use crate::row::Row;

/// A nanosecond is the finest that is recorded; ten thousand times is finer than anyone looks.
const ZOOM_MAX: f64 = 10_000.0;

/// Shows a request, whole.
pub(super) fn show(model: &mut Model, row: Arc<Row>) {
    let same = model.timeline.row.as_ref().is_some_and(|shown| Arc::ptr_eq(shown, &row));
    if same {
        return;
    }
    let path_only = model.timeline.path_only;
    let lanes = lanes(&row);
    model.timeline = TimelineView { row: Some(row), lanes, path_only, ..TimelineView::default() };
}

/// The nodes as a tree, children in the order of their start.
fn lanes(row: &Row) -> Vec<Lane> {
    let timeline = &row.timeline;
    let mut children: Vec<Vec<NodeId>> = vec![Vec::new(); timeline.nodes.len()];
    for node in &timeline.nodes {
        if let Some(list) = node.parent.and_then(|p| children.get_mut(usize::from(p.0))) {
            list.push(node.id);
        }
    }
    let mut lanes = Vec::with_capacity(timeline.nodes.len());
    let mut open = vec![(NodeId::ROOT, Vec::new())];
    while let Some((id, last)) = open.pop() {
        let list = &mut children[usize::from(id.0)];
        list.sort_by_key(|child| timeline.node(*child).map_or(0, |node| node.start_ns));
        for (place, child) in list.iter().enumerate().rev() {
            let mut last: Vec<bool> = last.clone();
            last.push(place + 1 == list.len());
            open.push((*child, last));
        }
        lanes.push(Lane { node: id, last, on_path: row.on_path(id) });
    }
    lanes
}

/// The lanes on screen.
pub(crate) fn shown(view: &TimelineView) -> impl Iterator<Item = &Lane> {
    view.lanes.iter().filter(|lane| !view.path_only || lane.on_path)
}

/// The end of everything, which for detached nodes may lie after the answer.
pub(crate) fn end_ns(timeline: &Timeline) -> u64 {
    timeline.nodes.iter().map(|node| node.end_ns).max().unwrap_or(0).max(timeline.latency_ns).max(1)
}

/// The stretch of time on screen.
#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a picture")]
pub(crate) fn window(view: &TimelineView) -> (u64, u64) {
    let whole = view.row.as_ref().map_or(1, |row| end_ns(&row.timeline));
    let len = ((whole as f64 / view.zoom) as u64).clamp(1, whole);
    let from = view.from_ns.min(whole - len);
    (from, from + len)
}

pub(super) fn act(model: &mut Model, action: Action) -> Vec<Effect> {
    if model.timeline.row.is_none() {
        model.status = Some("no request is shown; choose one in the list (2)".into());
        return Vec::new();
    }
    let (from, to) = window(&model.timeline);
    let len = to - from;
    match action {
        Action::ZoomIn => zoom(model, 2.0),
        Action::ZoomOut => zoom(model, 0.5),
        Action::PanLeft | Action::PanRight if model.timeline.zoom <= 1.0 => {
            model.status = Some("the whole request is in view; + zooms in".into());
        }
        Action::PanLeft => model.timeline.from_ns = from.saturating_sub((len / 8).max(1)),
        Action::PanRight => {
            model.timeline.from_ns = from.saturating_add((len / 8).max(1));
            model.timeline.from_ns = window(&model.timeline).0;
        }
        Action::Fit => {
            model.timeline.zoom = 1.0;
            model.timeline.from_ns = 0;
        }
        Action::PathOnly => {
            let node = shown(&model.timeline).nth(model.timeline.cursor).map(|lane| lane.node);
            model.timeline.path_only = !model.timeline.path_only;
            let place = shown(&model.timeline).position(|lane| Some(lane.node) == node);
            model.timeline.cursor = place.unwrap_or(0);
        }
        Action::NextPiece => piece(model, true),
        Action::PreviousPiece => piece(model, false),
        Action::NextRequest => neighbour(model, 1),
        Action::PreviousRequest => neighbour(model, -1),
        Action::Twin => match model.timeline.twin.take() {
            Some(twin) => {
                let shown = model.timeline.row.clone();
                show(model, twin);
                model.timeline.twin = shown;
            }
            None => model.status = Some("this request has no twin; Enter on a finding (4) opens a pair".into()),
        },
        _ => {}
    }
    Vec::new()
}

/// Zooms so that the middle of the selected node stays in view.
fn zoom(model: &mut Model, by: f64) {
    let node = shown(&model.timeline).nth(model.timeline.cursor).map(|lane| lane.node);
    let Some(row) = &model.timeline.row else { return };
    let (from, to) = window(&model.timeline);
    let middle = node
        .and_then(|id| row.timeline.node(id))
        .map_or(from.midpoint(to), |node| node.start_ns.max(from).midpoint(node.end_ns.min(to)).clamp(from, to));
    model.timeline.zoom = (model.timeline.zoom * by).clamp(1.0, ZOOM_MAX);
    model.timeline.from_ns = 0;
    let len = window(&model.timeline).1;
    model.timeline.from_ns = middle.saturating_sub(len / 2);
    model.timeline.from_ns = window(&model.timeline).0;
}

/// Walks to the next piece of the critical path and brings it into view.
fn piece(model: &mut Model, forward: bool) {
    let view = &mut model.timeline;
    let Some(row) = view.row.clone() else { return };
    let count = row.path.len();
    let next = match (view.piece, forward) {
        (None, true) => 0,
        (None, false) => count.wrapping_sub(1),
        (Some(at), true) => at + 1,
        (Some(at), false) => at.wrapping_sub(1),
    };
    let Some(piece) = row.path.get(next) else {
        model.status = Some("no further piece of the critical path that way".into());
        return;
    };
    view.piece = Some(next);
    let place = shown(view).position(|lane| lane.node == piece.node);
    view.cursor = place.unwrap_or(view.cursor);
    let (from, to) = window(view);
    if piece.from_ns < from || piece.from_ns >= to {
        view.from_ns = piece.from_ns.saturating_sub((to - from) / 4);
    }
    let cause = piece.cause.as_str();
    model.status = Some(format!(
        "piece {} of {count}: {} ms {cause} at {}",
        next + 1,
        crate::units::ms_exact(crate::units::ns_to_ms(piece.len_ns())),
        crate::row::node_path(&row.timeline, piece.node)
    ));
}

fn neighbour(model: &mut Model, by: isize) {
    let before = model.requests.cursor;
    super::requests::step(model, by);
    model.requests.follow = false;
    if model.requests.cursor == before {
        model.status = Some("the list ends here".into());
    }
    if let Some(row) = model.requests.selected.and_then(|id| model.store.get(id)).cloned() {
        show(model, row);
    }
}
