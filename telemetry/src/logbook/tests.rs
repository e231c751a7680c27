//! What a logbook promises: texts, folds, bounds, and writers side by side.

use super::*;
use crate::event::{NodeKind, RawValue};

fn state(cause: Cause) -> Event {
    Event::State { node: NodeId::ROOT, cause, name: Name(4), woken_by: None, worker: 0 }
}

/// The texts it holds, in their order.
fn texts(book: &Logbook) -> Vec<String> {
    book.events()
        .filter_map(|(_, event)| match event {
            Event::Attr { value: RawValue::Text { place, len }, .. } => {
                let mut text = "of another".to_owned();
                book.read_text(place, len, &mut text);
                Some(text)
            }
            _ => None,
        })
        .collect()
}

#[test]
fn texts_are_kept_and_cut_at_a_character() {
    let book = Logbook::new(0);
    let note = |book: &Logbook, text: &str| book.note(NodeId::ROOT, Name(3), text);
    for text in ["", "GET", "/carts/7", "peer-1 äöü and what follows it"] {
        note(&book, text);
    }
    assert_eq!(texts(&book), ["", "GET", "/carts/7", "peer-1 äöü and what follows it"]);
    assert_eq!(book.lost(), 0);
    note(&book, &"ü".repeat(2_000));
    note(&book, "no room");
    let kept = texts(&book);
    let cut = &kept[4];
    assert!((1_536..2_048).contains(&cut.len()) && book.lost() == 2, "{} bytes, {} lost", cut.len(), book.lost());
    assert!(cut.chars().all(|c| c == 'ü'));
    assert_eq!(kept[5], "");
    book.reset();
    note(&book, "again");
    assert_eq!((texts(&book), book.lost()), (vec!["again".to_owned()], 0));
}

#[test]
fn a_text_across_chunks_is_whole() {
    let book = Logbook::new(0);
    for n in 0..FIRST - 3 {
        book.write(Ticks(n as u64), state(Cause::Run));
    }
    let long = "0123456789".repeat(50);
    book.note(NodeId::ROOT, Name(3), &long);
    assert_eq!(texts(&book), [long]);
}

#[test]
fn a_nodes_number_is_the_place_of_its_opening() {
    let book = Logbook::new(0);
    let opening = |attempt| Event::Open {
        node: NodeId::ROOT,
        name: Name(2),
        kind: NodeKind::Step,
        parent: Some(NodeId::ROOT),
        after: None,
        attempt,
        occurrence: 1,
        cause: Cause::Run,
        cause_name: Name::NONE,
    };
    let numbers = [1, 2, 1].map(|attempt| book.open(Ticks(5), opening(attempt)));
    assert_eq!(numbers, [NodeId(0), NodeId(1), NodeId(3)]);
    let read: Vec<NodeId> = book
        .events()
        .filter_map(|(_, event)| if let Event::Open { node, .. } = event { Some(node) } else { None })
        .collect();
    assert_eq!(read, numbers);
    for _ in 0..RECORDS {
        book.write(Ticks(6), state(Cause::Run));
    }
    let lost = book.lost();
    assert_eq!((book.open(Ticks(7), opening(1)), book.lost()), (LOST_NODE, lost + 1));
}

#[test]
fn a_long_request_is_folded_and_no_time_is_lost() {
    let book = Logbook::new(0);
    for _ in 0..2 {
        let mut at = 100;
        for n in 0..10_000 {
            let cause = if n % 2 == 0 { Cause::Run } else { Cause::Write };
            book.transition(Ticks(at), NodeId::ROOT, cause, Name(4), None, 0);
            at += 7;
        }
        assert_eq!(book.folded_state(), Some((Cause::Write, Ticks(at - 7))));
        book.close_folds(Ticks(at));
        assert!(book.len() < RECORDS);
        let (mut folded, mut since) = (0, 0);
        for (ticks, event) in book.events() {
            if let Event::Fold { ticks: sum, .. } = event {
                folded += sum;
                since = ticks.0;
            }
        }
        assert_eq!(folded, at - since);
        book.reset();
        assert_eq!((book.folded_state(), book.events().count()), (None, 0));
    }
}

/// Everything in a record follows from one number, so a mixture of two shows.
fn numbered(n: u16) -> (Ticks, Event) {
    let (node, name) = (NodeId(n % 4_000), Name(u32::from(n)));
    let event = Event::State { node, cause: Cause::Io, name, woken_by: Some(node), worker: n };
    (Ticks(u64::from(n)), event)
}

#[test]
fn who_reads_while_others_write_finds_whole_records_or_none() {
    const WRITERS: u16 = 3;
    let book = Logbook::new(0);
    for round in 0..200_u16 {
        let first = round * 300 + 1;
        std::thread::scope(|scope| {
            for writer in 0..WRITERS {
                let book = &book;
                scope.spawn(move || {
                    for n in (first..first + 300).filter(|n| n % WRITERS == writer) {
                        let (at, event) = numbered(n);
                        book.write(at, event);
                    }
                });
            }
            while book.events().count() < 300 {
                for (at, event) in book.events() {
                    let n = u16::try_from(at.0).expect("what was written is a number");
                    assert_eq!((at, event), numbered(n));
                    assert!((first..first + 300).contains(&n), "{n} is of another request than {first}");
                }
            }
        });
        book.reset();
    }
}

#[test]
fn a_full_logbook_counts_what_it_loses() {
    let book = Logbook::new(0);
    for n in 0..RECORDS + 5 {
        book.write(Ticks(n as u64), state(Cause::Run));
    }
    assert_eq!((book.len(), book.events().count(), book.lost()), (RECORDS, RECORDS, 5));
}
