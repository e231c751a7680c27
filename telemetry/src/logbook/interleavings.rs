//! Every order in which two writers and a reader of a logbook can meet, gone through by loom (`make loom`).
//!
//! Loom's threads share one thread of the system, so they say themselves which one they are.

use loom::sync::Arc;
use loom::thread;

use super::*;

fn numbered(n: u16) -> (Ticks, Event) {
    let (node, name) = (NodeId(n), Name(u32::from(n)));
    (Ticks(u64::from(n)), Event::State { node, cause: Cause::Io, name, woken_by: Some(node), worker: n })
}

fn write(book: &Logbook, thread: u32, numbers: impl IntoIterator<Item = u16>) {
    for n in numbers {
        let (at, event) = numbered(n);
        book.write_by(thread, at, event);
    }
}

fn writer(book: &Arc<Logbook>, number: u32, numbers: &'static [u16]) -> thread::JoinHandle<()> {
    let book = Arc::clone(book);
    thread::spawn(move || write(&book, number, numbers.iter().copied()))
}

/// What was read is what was written, each at most once; gives the numbers.
fn read(book: &Logbook) -> Vec<u64> {
    let mut found: Vec<u64> = book
        .events()
        .map(|(at, event)| {
            let n = u16::try_from(at.0).expect("what was written is a number");
            assert_eq!((at, event), numbered(n));
            at.0
        })
        .collect();
    found.sort_unstable();
    assert!(found.windows(2).all(|two| two[0] != two[1]), "{found:?}");
    found
}

#[test]
fn loom_readers_find_whole_records_or_none_and_in_the_end_all() {
    let mut model = loom::model::Builder::new();
    // Two writers and a reader side by side have too many orders; most faults show with two switches.
    model.preemption_bound = Some(2);
    model.check(|| {
        let book = Arc::new(Logbook::new(0));
        let writers = [writer(&book, 1, &[1]), writer(&book, 2, &[2])];
        assert!(read(&book).len() <= 2);
        writers.into_iter().for_each(|writer| writer.join().expect("a writer does not panic"));
        assert_eq!(read(&book), [1, 2]);
    });
}

#[test]
fn loom_no_place_is_handed_out_twice() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| {
        let book = Arc::new(Logbook::new(0));
        // A block of two each: the second of each one goes where only its owner may write.
        let writers = [writer(&book, 1, &[1, 2]), writer(&book, 2, &[3, 4])];
        writers.into_iter().for_each(|writer| writer.join().expect("a writer does not panic"));
        let (written, lost) = (read(&book), book.lost());
        assert_eq!(written.len() + lost as usize, 4, "{written:?} and {lost} lost");
    });
}

#[test]
fn loom_a_full_logbook_loses_what_comes_late_and_counts_it() {
    loom::model(|| {
        let book = Logbook::new(0);
        write(&book, 1, 1..=RECORDS as u16 - 1);
        let book = Arc::new(book);
        let writers = [writer(&book, 1, &[8]), writer(&book, 2, &[9])];
        writers.into_iter().for_each(|writer| writer.join().expect("a writer does not panic"));
        assert_eq!((read(&book).len() + book.lost() as usize, book.len()), (RECORDS + 1, RECORDS));
    });
}

#[test]
fn loom_nothing_of_the_last_request_is_read_in_the_next() {
    loom::model(|| {
        let book = Logbook::new(0);
        write(&book, 1, [3, 4]);
        book.reset();
        let book = Arc::new(book);
        let writer = writer(&book, 2, &[1]);
        assert!([vec![], vec![1]].contains(&read(&book)));
        writer.join().expect("a writer does not panic");
        assert_eq!(read(&book), [1]);
    });
}
