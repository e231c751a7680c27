//! What the writer promises: nobody waits for it, lines stay whole and in order, every loss is counted.

use std::io::Read as _;
use std::sync::mpsc;

use super::super::record::{Record, Severity};
use super::*;

const PATIENCE: Duration = Duration::from_secs(30);

fn entry(body: &str) -> Entry {
    Entry::Record(Box::new(Record {
        unix_ns: 0,
        severity: Severity::Info,
        scope: "test".into(),
        body: body.into(),
        attributes: Vec::new(),
        trace_id: None,
        span_id: None,
        request_id: None,
    }))
}

/// Notes each write; waits for a turn before it where there is a gate.
struct Slow {
    writes: Arc<Mutex<Vec<String>>>,
    gate: Option<mpsc::Receiver<()>>,
}

impl Write for Slow {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(gate) = &self.gate {
            // A gate that is gone stands open.
            let _ = gate.recv();
        }
        self.writes.lock().push(String::from_utf8(bytes.to_vec()).expect("lines are text"));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn slow(gate: Option<mpsc::Receiver<()>>, settings: WriterSettings) -> (Writer, Arc<Mutex<Vec<String>>>) {
    let writes = Arc::new(Mutex::new(Vec::new()));
    let out = Box::new(Slow { writes: Arc::clone(&writes), gate });
    (Writer::start(out, 4_096, Forms::default(), settings, Arc::default()).expect("a thread starts"), writes)
}

fn counted(writer: &Writer) -> [u64; 4] {
    let shared = &writer.0.counts;
    let sum = |counts: &[AtomicU64; 2]| counts.iter().map(|count| count.load(Relaxed)).sum();
    [sum(&shared.written), sum(&shared.queue_full), sum(&shared.write_failed), sum(&shared.shutdown)]
}

#[test]
fn lines_come_whole_in_order_and_in_pieces_that_a_pipe_takes_at_once() {
    let (writer, writes) = slow(None, WriterSettings::default());
    for n in 0..2_000 {
        writer.offer(entry(&format!("line {n}")));
    }
    assert!(writer.flush(PATIENCE));
    let writes = writes.lock();
    assert!(writes.iter().all(|piece| piece.len() <= 4_096 && piece.ends_with('\n')));
    let lines: Vec<&str> = writes.iter().flat_map(|piece| piece.lines()).collect();
    assert!(lines.iter().enumerate().all(|(n, line)| line.ends_with(&format!("line {n}"))));
    assert_eq!(counted(&writer), [2_000, 0, 0, 0]);
}

#[test]
fn a_reader_that_reads_nothing_holds_up_nobody_and_losses_are_counted() {
    let (let_through, gate) = mpsc::channel();
    let (writer, writes) = slow(Some(gate), WriterSettings { entries: 100, ..WriterSettings::default() });
    for n in 0..5_000 {
        writer.offer(entry(&format!("line {n}")));
    }
    assert!(!writer.flush(Duration::ZERO), "it is stuck in its first write");
    let lost = writer.0.counts.lost();
    assert!(lost >= 5_000 - 100 - 4_096, "{lost}");
    drop(let_through);
    assert!(writer.flush(PATIENCE));
    let seen = writes.lock().iter().map(|piece| piece.lines().count() as u64).sum::<u64>();
    assert_eq!(counted(&writer), [seen, lost, 0, 0]);
    assert_eq!(seen + lost, 5_000);
}

#[test]
fn a_full_pipe_holds_up_neither_loggers_nor_the_end() {
    let (mut reader, pipe) = io::pipe().expect("there are pipes");
    let writer = Writer::start(Box::new(pipe), 4_096, Forms::default(), WriterSettings::default(), Arc::default())
        .expect("a thread starts");
    // A pipe holds 64 KiB, the queue 8,192 entries: this is more than both.
    let text = "x".repeat(100);
    for _ in 0..20_000 {
        writer.offer(entry(&text));
    }
    assert!(writer.0.counts.lost() > 0);
    assert!(!writer.stop(Duration::from_millis(50)), "nobody reads");
    let [_, queue_full, _, shutdown] = counted(&writer);
    assert!(queue_full > 0 && shutdown > 0);
    // Once somebody reads, the thread comes to its end, and every line is accounted for.
    let mut read = String::new();
    reader.read_to_string(&mut read).expect("lines are text");
    let done = || writer.0.progress.lock().ended;
    while !done() {
        thread::yield_now();
    }
    let [written, queue_full, write_failed, shutdown] = counted(&writer);
    assert_eq!(read.lines().count() as u64, written + write_failed);
    assert_eq!(written + queue_full + write_failed + shutdown, 20_000);
    writer.offer(entry("late"));
    assert_eq!(counted(&writer)[3], shutdown + 1);
}

#[test]
fn what_waits_is_bounded_by_bytes_too() {
    let (_let_through, gate) = mpsc::channel();
    let (writer, _writes) = slow(Some(gate), WriterSettings { entries: 1_000, bytes: 100_000 });
    let text = "x".repeat(10_000);
    for _ in 0..100 {
        writer.offer(entry(&text));
    }
    assert!(writer.0.bytes.load(Relaxed) <= 100_000);
    assert!(writer.0.counts.lost() > 70, "{}", writer.0.counts.lost());
}

#[test]
fn a_target_that_takes_nothing_is_counted_and_can_be_replaced() {
    struct Broken;
    impl Write for Broken {
        fn write(&mut self, _bytes: &[u8]) -> io::Result<usize> {
            Err(ErrorKind::StorageFull.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let writer = Writer::start(Box::new(Broken), 4_096, Forms::default(), WriterSettings::default(), Arc::default())
        .expect("it starts");
    writer.offer(entry("lost"));
    assert!(writer.flush(PATIENCE));
    assert_eq!(counted(&writer), [0, 0, 1, 0]);
    let file = std::env::temp_dir().join(format!("zerver-log-{}-{:?}.log", std::process::id(), thread::current().id()));
    let target = Target::File(file.clone());
    writer.reopen(&target).expect("the folder can be written");
    writer.form(Forms { record: line::Form::Json, ..Forms::default() });
    writer.offer(entry("kept"));
    assert!(writer.flush(PATIENCE));
    // As logrotate does: the file is renamed, and the next line goes to a new one.
    let old = file.with_extension("log.1");
    std::fs::rename(&file, &old).expect("it is there");
    writer.reopen(&target).expect("the folder can be written");
    writer.offer(entry("new"));
    assert!(writer.stop(PATIENCE));
    let [kept, new] = [&old, &file].map(|path| std::fs::read_to_string(path).expect("it is there"));
    assert!(kept.contains("\"message\":\"kept\"") && new.contains("\"message\":\"new\""), "{kept}{new}");
    assert!(writer.reopen(&Target::File("/no/such/folder/x".into())).is_err());
    for path in [old, file] {
        std::fs::remove_file(path).expect("it is there");
    }
}
