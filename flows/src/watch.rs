//! Sees to it that a run whose undoing fails, or that is dropped with steps done, is reported.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use crate::exit::Fail;
use crate::request::Req;
use crate::run::Run;
use crate::stuck::Stuck;

/// Sees to it that no run with steps to undo is lost from sight, also when its future is dropped.
pub(crate) struct Watch<'r>(Option<(&'r Run, &'r Req)>);

impl<'r> Watch<'r> {
    pub(crate) fn over(run: &'r Run, req: &'r Req) -> Self {
        Self(run.bound.graph.has_undo().then_some((run, req)))
    }

    /// The run ended. It is stuck when its undoing failed.
    pub(crate) fn release(&mut self) -> Option<Arc<Stuck>> {
        let (run, req) = self.0.take()?;
        let unwinding = std::mem::take(&mut *run.shared.unwinding.lock());
        let why = unwinding.stuck?;
        report(run, req, unwinding.failed?, why, &unwinding.undone)
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        if let Some((run, req)) = self.0.take() {
            let left = || Fail::internal("abandoned", "the run was dropped before it had ended, with steps done");
            let unwinding = std::mem::take(&mut *run.shared.unwinding.lock());
            report(run, req, unwinding.failed.unwrap_or_else(left), left(), &unwinding.undone);
        }
    }
}

fn report(run: &Run, req: &Req, failed: Fail, why: Fail, undone: &[usize]) -> Option<Arc<Stuck>> {
    let nodes = run.bound.graph.nodes();
    let name = |n: &usize| nodes[*n].name.to_string();
    let mut done: Vec<usize> = (0..nodes.len()).filter(|n| run.cells[*n].wrote.load(Relaxed) > 0).collect();
    let wrote = done.iter().map(name).collect();
    done.sort_by_key(|n| std::cmp::Reverse(run.cells[*n].wrote.load(Relaxed)));
    if let Some(resumed) = &run.shared.resumed {
        // The order is that of the first run, whatever finished first this time.
        done.clone_from(&resumed.rest);
    }
    let rest: Vec<String> =
        done.iter().filter(|n| nodes[**n].undo.is_some() && !undone.contains(n)).map(name).collect();
    let first = rest.first()?;
    let log = &run.shared.log;
    log.attr_text(run.parent, log.name("zerver.flow.stuck"), first);
    let (flow, version) = (run.bound.graph.slug(), run.bound.graph.head().version);
    let record = run.shared.journal.as_ref()?.record();
    let record = match run.within() {
        Some(within) => record.part(within, flow, version, run.seed, req),
        None => record,
    };
    let stuck = Arc::new(Stuck {
        flow: flow.to_owned(),
        version,
        trace_id: log.trace_id(),
        unix_ns: run.shared.clock.unix_ns(log.now()),
        failed,
        why,
        rest,
        wrote,
        record,
    });
    run.shared.shell.stuck(&stuck);
    Some(stuck)
}
