//! What happens when the steps of a flow are over: undoing what was done, cleaning up, an answer in place of a failure.
//!
//! Undoing follows Garcia-Molina and Salem, "Sagas" (SIGMOD 1987): each step that changed something has one that changes
//! it back, and these run in the reverse order of the steps' ends. It does not stop for the flow's deadline, nor for a
//! client that left.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::driver::drive;
use crate::effect::Fx;
use crate::exit::{Exit, Fail, Result};
use crate::graph::{Graph, GraphNode, Inside};
use crate::join::{Join, Start, Take};
use crate::node::{Node, Wrote, node};
use crate::run::Run;

/// The longest that undoing one step may take, its retries included, unless the undo step says otherwise.
pub const UNDO_TIME: Duration = Duration::from_secs(10);
/// How often an undo step is tried again.
pub const UNDO_RETRIES: u32 = 3;
/// The longest that one cleanup step may take, unless it says otherwise.
pub const CLEANUP_TIME: Duration = Duration::from_secs(5);
/// The longest that the answer in place of a failure may take, unless its step says otherwise.
pub const ON_ERROR_TIME: Duration = Duration::from_secs(1);

/// A node on the heap: what happens afterwards is rare, so it need not be part of the flow's own future.
pub type BoxedNode<'n> = Pin<Box<dyn Node + Send + 'n>>;

/// Makes a node of a future whose value nobody reads.
pub fn boxed<'n>(future: impl Future<Output = Result<()>> + Send + 'n) -> BoxedNode<'n> {
    Box::pin(node(async move { future.await.map(|()| Wrote::Slot) }))
}

/// Drives nodes on the heap.
///
/// # Errors
/// As [`drive`] does.
pub async fn drive_boxed(run: &Run, mut nodes: Vec<BoxedNode<'_>>) -> Result<()> {
    let mut pinned: Vec<_> = nodes.iter_mut().map(|node| node.as_mut() as Pin<&mut (dyn Node + Send)>).collect();
    drive(run, &mut pinned).await
}

/// Refuses a list that is longer than its loop takes.
///
/// # Errors
/// `too_many_items`, before the first item is taken.
pub fn fits(items: usize, most: u16) -> Result<()> {
    if items <= usize::from(most) {
        return Ok(());
    }
    Err(Fail::internal("too_many_items", format!("the list has {items} items; the loop takes at most {most}")).into())
}

/// Steps to run when those of the flow are over, one after the other.
#[derive(Debug)]
pub struct Afterwards {
    run: Run,
    /// The flow's steps they belong to, in the order in which they run.
    steps: Vec<usize>,
}

/// The undoing of what was done; none when the flow has not failed or there is nothing to undo.
#[must_use]
pub fn undo(run: &Run, ended: &Result<()>) -> Option<Afterwards> {
    let Err(Exit::Fail(fail)) = ended else {
        return None;
    };
    let nodes = run.bound.graph.nodes();
    let steps = match run.shared.resumed.as_ref().filter(|_| run.is_root) {
        Some(resumed) => resumed.rest.clone(),
        None => latest_first(run, |n| nodes[n].undo.is_some()),
    };
    if steps.is_empty() {
        return None;
    }
    run.shared.unwinding.lock().failed = Some((**fail).clone());
    let undo = |n: &usize| {
        let undo = nodes[*n].undo.as_ref()?;
        Some(GraphNode { idempotent: true, ..undo.node(&format!("undo_{}", nodes[*n].name), UNDO_TIME) })
    };
    let mut after = Afterwards::new(run, "undo", steps.iter().filter_map(undo).collect(), steps);
    after.run.insists = true;
    Some(after)
}

/// The cleaning up after what was done, whether the flow failed or not.
#[must_use]
pub fn cleanup(run: &Run) -> Option<Afterwards> {
    let nodes = run.bound.graph.nodes();
    let steps = latest_first(run, |n| nodes[n].cleanup.is_some());
    let cleanup = |n: &usize| {
        let cleanup = nodes[*n].cleanup.as_ref()?;
        Some(GraphNode { optional: true, ..cleanup.node(&format!("cleanup_{}", nodes[*n].name), CLEANUP_TIME) })
    };
    (!steps.is_empty()).then(|| Afterwards::new(run, "cleanup", steps.iter().filter_map(cleanup).collect(), steps))
}

/// The answer in place of a failure; none when the flow has not failed.
#[must_use]
pub fn on_error(run: &Run, ended: &Result<()>) -> Option<Afterwards> {
    let Err(Exit::Fail(fail)) = ended else {
        return None;
    };
    let node = run.bound.graph.head().on_error.as_ref()?.node("on_error", ON_ERROR_TIME);
    run.tell(run.failed_at().unwrap_or(0), (**fail).clone());
    Some(Afterwards::new(run, "on_error", vec![node], vec![0]))
}

/// The steps that wrote their slot and belong to `of`, the last to end first.
fn latest_first(run: &Run, of: impl Fn(usize) -> bool) -> Vec<usize> {
    let mut steps: Vec<(u32, usize)> = (0..run.cells.len())
        .filter(|n| of(*n))
        .map(|n| (run.cells[n].wrote.load(Relaxed), n))
        .filter(|(wrote, _)| *wrote > 0)
        .collect();
    steps.sort_unstable_by(|a, b| b.cmp(a));
    steps.into_iter().map(|(_, n)| n).collect()
}

impl Afterwards {
    fn new(run: &Run, name: &str, nodes: Vec<GraphNode>, steps: Vec<usize>) -> Self {
        let join = Join { take: Take::All, start: Start::OneByOne };
        let graph = Graph::inner(name, nodes, join, Inside::Steps).expect("steps in a row are a graph");
        let names = run.shared.log.recorder().names();
        Self { run: run.afterwards(&crate::bound::Bound::new(&Arc::new(graph), names)), steps }
    }

    /// For each step to run: its place here, and the flow's step it belongs to.
    pub fn steps(&self) -> impl Iterator<Item = (usize, usize)> + use<'_> {
        self.steps.iter().copied().enumerate()
    }

    /// The hands of the step at this place.
    #[must_use]
    pub fn fx(&self, at: usize) -> Fx<'_> {
        self.run.fx(at)
    }

    /// Why the flow failed, for the step that answers instead.
    #[must_use]
    pub fn failure<'e>(&self, ended: &'e Result<()>) -> &'e Fail {
        match ended {
            Err(Exit::Fail(fail)) => fail,
            _ => unreachable!("it is planned for a flow that failed"),
        }
    }

    /// Runs the steps, given in order.
    ///
    /// # Errors
    /// The first failure of a required one.
    pub async fn drive(&self, of: &Run, nodes: Vec<BoxedNode<'_>>) -> Result<()> {
        let ended = drive_boxed(&self.run, nodes).await;
        if let Some((at, last)) = self.run.ended() {
            of.end(at, last);
        }
        ended
    }

    /// Runs the undo steps. The flow's failure stays what it was; an undo step that fails leaves the run stuck.
    pub async fn undo(&self, of: &Run, nodes: Vec<BoxedNode<'_>>) {
        let ended = self.drive(of, nodes).await;
        let mut unwinding = of.shared.unwinding.lock();
        let undone = self.steps().filter(|(at, _)| self.run.cells[*at].wrote.load(Relaxed) > 0);
        unwinding.undone.extend(undone.map(|(_, step)| step));
        if let Err(Exit::Fail(why)) = ended {
            unwinding.stuck = Some(*why);
        }
    }
}
