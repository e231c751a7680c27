//! What the machine says of processors: which threads used them, and how much of them went to others.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use zerver_telemetry::clock::{Clock, Ticks};

/// Processor time that the calling thread has used, user and system: what others do to the machine meanwhile is not in it.
pub(crate) fn own_cpu_ns() -> f64 {
    nanos(ClockId::ThreadCPUTime)
}

/// Processor time that all threads of this process have used, those that have ended among them.
pub(crate) fn process_cpu_ns() -> f64 {
    nanos(ClockId::ProcessCPUTime)
}

fn nanos(clock: ClockId) -> f64 {
    let read = clock_gettime(clock);
    read.tv_sec as f64 * 1e9 + read.tv_nsec as f64
}

/// Memory of this process that is in use and not swapped out, in bytes.
///
/// # Errors
/// When this is no Linux.
pub(crate) fn resident() -> io::Result<u64> {
    let text = fs::read_to_string("/proc/self/status")?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.map(|kib| kib << 10).ok_or_else(|| io::Error::other("/proc/self/status has no VmRSS"))
}

/// Processor time of every live thread of a process, by thread number, with the thread's name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Threads(HashMap<u32, (String, Duration)>);

impl Threads {
    /// Reads `/proc/<pid>/task/*/schedstat`: nanoseconds on a processor, user and system. Exact for threads that sleep;
    /// a running one may lag by a scheduler tick.
    ///
    /// # Errors
    /// When the process is gone, or this is no Linux.
    pub(crate) fn of(pid: u32) -> io::Result<Self> {
        let mut threads = HashMap::new();
        for entry in fs::read_dir(format!("/proc/{pid}/task"))? {
            let path = entry?.path();
            let number = path.file_name().and_then(|name| name.to_str()?.parse().ok());
            // A thread may end between the listing and the reading.
            let (Some(number), Ok(text)) = (number, fs::read_to_string(path.join("schedstat"))) else { continue };
            let name = fs::read_to_string(path.join("comm")).unwrap_or_default().trim().to_owned();
            let nanos = text.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(0);
            threads.insert(number, (name, Duration::from_nanos(nanos)));
        }
        Ok(Self(threads))
    }

    /// Time used since `before`, by the threads whose name begins with `name` (all for an empty one).
    pub(crate) fn since(&self, before: &Self, name: &str) -> Duration {
        let used = self.0.iter().filter(|(_, (own, _))| own.starts_with(name)).map(|(number, (_, now))| {
            let then = before.0.get(number).map_or(Duration::ZERO, |(_, then)| *then);
            now.saturating_sub(then)
        });
        used.sum()
    }
}

/// Sums of `/proc/stat`, in hundredths of a second over all processors.
#[derive(Clone, Copy, Debug, Default)]
struct Processors {
    busy: u64,
    stolen: u64,
}

impl Processors {
    fn parse(text: &str) -> Option<Self> {
        let line = text.lines().find_map(|line| line.strip_prefix("cpu "))?;
        let n: Vec<u64> = line.split_whitespace().map_while(|word| word.parse().ok()).collect();
        let at = |place: usize| n.get(place).copied().unwrap_or(0);
        // user nice system idle iowait irq softirq steal
        Some(Self { busy: at(0) + at(1) + at(2) + at(5) + at(6), stolen: at(7) })
    }
}

/// Watches, while something is measured, who else used the machine.
#[derive(Debug)]
pub(crate) struct Watch {
    clock: Clock,
    began: Ticks,
    processors: Processors,
    ours: Vec<(u32, Threads)>,
}

/// Who used the machine while something was measured, in processors (1.0 is one of them all the time).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shared {
    /// Processes that are not of the benchmark.
    pub(crate) others: f64,
    /// The hypervisor.
    pub(crate) stolen: f64,
    /// The load average over the last minute.
    pub(crate) load: f64,
    /// How long it was watched, in seconds.
    pub(crate) seconds: f64,
}

impl Watch {
    /// Begins; `pids` are the benchmark's own children. What a child used before is not counted.
    pub(crate) fn start(pids: &[u32]) -> Self {
        let clock = Clock::real();
        let pids = pids.iter().copied().chain([std::process::id()]);
        let ours = pids.filter_map(|pid| Some((pid, Threads::of(pid).ok()?))).collect();
        let processors = fs::read_to_string("/proc/stat").ok().as_deref().and_then(Processors::parse);
        Self { began: clock.now(), clock, processors: processors.unwrap_or_default(), ours }
    }

    /// Ends; the children must still live.
    pub(crate) fn end(&self) -> Shared {
        let seconds = self.clock.since(self.began).as_secs_f64().max(1e-9);
        let text = fs::read_to_string("/proc/stat").unwrap_or_default();
        let now = Processors::parse(&text).unwrap_or(self.processors);
        let ours: Duration =
            self.ours.iter().filter_map(|(pid, before)| Some(Threads::of(*pid).ok()?.since(before, ""))).sum();
        let busy = now.busy.saturating_sub(self.processors.busy) as f64 / 100.0;
        let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        Shared {
            others: (busy - ours.as_secs_f64()).max(0.0) / seconds,
            stolen: now.stolen.saturating_sub(self.processors.stolen) as f64 / 100.0 / seconds,
            load: load.split(' ').next().and_then(|word| word.parse().ok()).unwrap_or(f64::NAN),
            seconds,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_thread_uses_is_seen() {
        let before = Threads::of(std::process::id()).expect("this is Linux");
        let clock = Clock::real();
        let begin = clock.now();
        while clock.since(begin) < Duration::from_millis(50) {}
        std::thread::yield_now();
        let used = Threads::of(std::process::id()).expect("this is Linux").since(&before, "");
        assert!(used > Duration::ZERO, "{used:?}");
    }

    #[test]
    fn the_process_has_used_what_this_thread_has_and_lives_somewhere() {
        let own = own_cpu_ns();
        assert!(own > 0.0 && process_cpu_ns() >= own);
        assert!(resident().expect("this is Linux") > 1 << 20);
    }

    #[test]
    fn proc_stat_is_read() {
        let read = Processors::parse("cpu  10 1 5 100 7 2 3 9 0 0\ncpu0 1\n").expect("it has the line");
        assert_eq!((read.busy, read.stolen), (21, 9));
    }
}
