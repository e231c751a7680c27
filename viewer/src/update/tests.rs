//! Message lists against the model.

use std::sync::Arc;

use super::*;
use crate::arrival::{Arrival, Link};
use crate::headless::start;
use crate::keys::Screen;
use crate::layout;
use crate::model::{Choice, RequestSort};
use crate::options::Options;
use crate::row::Row;
use crate::sample::{engine, sample};
use crate::source::{Counters, Gateway};

const SECOND: u64 = 1_000_000_000;

fn arrival(seqs: std::ops::Range<u64>) -> Arrival {
    // Every tenth request is slow, every twentieth fails; two routes in turn.
    let rows = seqs.clone().map(|seq| {
        let ms = if seq % 10 == 9 { 90.0 } else { 4.0 };
        let route = if seq % 2 == 0 { "order" } else { "quote" };
        Row::new(Arc::new(sample(seq, route, ms, if seq % 20 == 19 { 503 } else { 200 })))
    });
    Arrival {
        gateway: Gateway { name: "gw".into(), version: "1".into(), now_unix_ns: seqs.end * SECOND },
        counters: Counters { requests: seqs.end * 10, ..Counters::default() },
        rows: rows.collect(),
        unreadable: 0,
    }
}

/// A model that holds 100 requests, and all effects so far done.
fn filled() -> Model {
    let mut model = start("test", &Options { capacity: 1000, ..Options::default() }, (120, 36));
    send(&mut model, Msg::Link(Link::Live));
    send(&mut model, Msg::Arrival(arrival(0..100)));
    send(&mut model, Msg::Refresh { now_unix_ns: 100 * SECOND });
    model
}

/// Sends a message, answers the comparisons it asks for, and gives the effects.
fn send(model: &mut Model, msg: Msg) -> Vec<Effect> {
    let effects = update(model, msg);
    for effect in &effects {
        if let Effect::Compare(job) = effect {
            let comparison = Arc::new(job.run(&engine()));
            update(model, Msg::Compared { generation: job.generation, comparison });
        }
    }
    effects
}

fn press(model: &mut Model, keys: &str) -> Vec<Effect> {
    keys.split_whitespace().flat_map(|name| send(model, Msg::Key(Key::parse(name).expect("a key")))).collect()
}

fn status(model: &Model) -> &str {
    model.status.as_deref().unwrap_or("")
}

#[test]
fn the_first_data_bring_routes_and_a_verdict() {
    let model = filled();
    assert_eq!(model.routes.iter().map(|r| &*r.name).collect::<Vec<_>>(), ["quote", "order"]);
    assert_eq!(model.requests.view.len(), 100);
    assert_eq!(model.requests.view[0], 99, "the newest is first");
    let verdict = model.compare.result.as_ref().map(|c| c.verdict.as_str());
    assert_eq!(verdict, Some("50 timelines of quote"));
}

#[test]
fn the_rate_is_the_gateways_own() {
    let mut model = filled();
    assert_eq!(model.rate, None);
    send(&mut model, Msg::Arrival(arrival(100..102)));
    assert_eq!(model.rate, Some(10.0));
    // A restarted gateway counts anew.
    send(&mut model, Msg::Arrival(arrival(0..1)));
    assert_eq!(model.rate, None);
}

#[test]
fn enter_goes_into_a_route_a_request_and_esc_out_again() {
    let mut model = filled();
    press(&mut model, "j enter");
    assert_eq!((model.screen, model.requests.filter.text.as_str()), (Screen::Requests, "route:order"));
    assert_eq!(model.requests.view.len(), 50);
    press(&mut model, "enter");
    assert_eq!(model.screen, Screen::Timeline);
    assert_eq!(model.timeline.row.as_ref().map(|row| row.timeline.seq), Some(98));
    press(&mut model, "esc esc");
    assert_eq!(model.screen, Screen::Overview);
    press(&mut model, "esc");
    assert!(status(&model).contains("first screen"));
}

#[test]
fn a_filter_that_is_wrong_keeps_the_last_good_one() {
    let mut model = filled();
    press(&mut model, "/ s t a t u s : 5 0 3");
    assert_eq!(model.requests.view.len(), 5);
    press(&mut model, "|");
    assert_eq!(model.requests.view.len(), 5);
    assert!(model.requests.error.is_some());
    press(&mut model, "enter");
    assert!(model.requests.input.is_some() && status(&model).contains("last good"));
    press(&mut model, "esc q");
    assert_eq!(model.requests.filter.text, "status:503");
}

#[test]
fn letters_are_text_while_a_filter_is_typed() {
    let mut model = filled();
    assert!(press(&mut model, "/ q").iter().all(|effect| !matches!(effect, Effect::Quit)));
    assert_eq!(model.requests.input.as_ref().map(|line| line.text()), Some("q"));
    assert!(matches!(press(&mut model, "ctrl-c")[..], [Effect::Quit]));
}

#[test]
fn tab_completes_keys_and_history_comes_back() {
    let mut model = filled();
    press(&mut model, "/ s t tab");
    assert_eq!(model.requests.input.as_ref().map(|line| line.text()), Some("status:"));
    press(&mut model, "2 * enter / ctrl-u enter / up");
    assert_eq!(model.requests.filter.text, "status:2*");
    press(&mut model, "down");
    assert!(model.requests.filter.is_empty());
}

#[test]
fn following_ends_when_the_cursor_leaves_the_newest() {
    let mut model = filled();
    press(&mut model, "2 j j");
    assert_eq!((model.requests.follow, model.requests.selected), (false, Some(97)));
    send(&mut model, Msg::Arrival(arrival(100..110)));
    send(&mut model, Msg::Refresh { now_unix_ns: 101 * SECOND });
    assert_eq!((model.requests.selected, model.requests.cursor), (Some(97), 12));
    press(&mut model, "F");
    assert_eq!(model.requests.selected, Some(109));
    press(&mut model, "s");
    assert_eq!((model.requests.sort, model.requests.selected), (RequestSort::Latency, Some(109)));
}

#[test]
fn a_pause_holds_and_counts() {
    let mut model = filled();
    press(&mut model, "space");
    send(&mut model, Msg::Arrival(arrival(100..130)));
    send(&mut model, Msg::Refresh { now_unix_ns: 101 * SECOND });
    assert_eq!((model.store.len(), model.held.len()), (100, 30));
    press(&mut model, "space");
    assert_eq!((model.store.len(), model.held.len()), (130, 0));
}

#[test]
fn a_long_pause_drops_the_oldest_and_says_so() {
    let mut model = start("test", &Options { capacity: 20, ..Options::default() }, (120, 36));
    press(&mut model, "space");
    send(&mut model, Msg::Arrival(arrival(0..50)));
    assert_eq!((model.held.len(), model.held_lost), (20, 30));
}

#[test]
fn marks_on_both_sides_are_compared() {
    let mut model = filled();
    press(&mut model, "2 j b j a");
    assert_eq!(model.marks.len(), 2);
    press(&mut model, "c");
    assert_eq!((model.screen, model.compare.choice), (Screen::Compare, Choice::Marked));
    assert_eq!(model.compare.result.as_ref().map(|c| c.a.label.as_str()), Some("chosen"));
    press(&mut model, "2 a u");
    assert!(model.marks.is_empty());
}

#[test]
fn edges_move_and_stay_apart() {
    let mut model = filled();
    press(&mut model, "c");
    let before = model.compare.edges;
    press(&mut model, "tab");
    let effects = press(&mut model, "l");
    assert!(matches!(&effects[..], [Effect::Compare(_)]));
    assert_eq!(model.compare.edges[1], before[1] + 1);
    assert_eq!(model.compare.choice, Choice::Brushed);
    for _ in 0..100 {
        press(&mut model, "h");
    }
    assert_eq!(model.compare.edges[1], model.compare.edges[0] + 1);
    assert!(status(&model).contains("no further"));
    press(&mut model, "R");
    assert_eq!(model.compare.choice, Choice::SlowVersusFast);
}

#[test]
fn presets_that_cannot_be_are_left_out_with_their_reason() {
    let mut model = filled();
    press(&mut model, "c p");
    assert_eq!(model.compare.choice, Choice::Percentiles);
    press(&mut model, "p");
    assert_eq!(model.compare.choice, Choice::OkVersusFailed);
    press(&mut model, "p");
    assert_eq!(model.compare.choice, Choice::LateVersusEarly);
    assert!(status(&model).contains("set a filter first"), "{}", status(&model));
    press(&mut model, "x");
    assert!(model.compare.swapped);
}

#[test]
fn an_answer_to_an_older_question_is_dropped() {
    let mut model = filled();
    let old = Arc::clone(model.compare.result.as_ref().expect("a result"));
    let generation = model.compare.generation;
    let mut stale = (*old).clone();
    stale.verdict = "stale".into();
    update(&mut model, Msg::Compared { generation: generation - 1, comparison: Arc::new(stale) });
    assert_eq!(model.compare.result.as_deref(), Some(&*old));
}

#[test]
fn a_live_comparison_is_renewed_only_when_there_is_news() {
    let mut model = filled();
    let renewed = |model: &mut Model, second: u64| {
        let effects = send(model, Msg::Refresh { now_unix_ns: second * SECOND });
        effects.iter().any(|effect| matches!(effect, Effect::Compare(_)))
    };
    assert!(!renewed(&mut model, 200), "nothing new");
    send(&mut model, Msg::Arrival(arrival(100..101)));
    assert!(renewed(&mut model, 201));
    send(&mut model, Msg::Arrival(arrival(101..102)));
    assert!(!renewed(&mut model, 202), "too soon");
    assert!(renewed(&mut model, 207));
}

#[test]
fn a_capture_is_compared_whole_when_it_is_read() {
    let mut model = filled();
    send(&mut model, Msg::Arrival(arrival(100..150)));
    send(&mut model, Msg::Refresh { now_unix_ns: 101 * SECOND });
    assert!(model.comparison_outdated());
    send(&mut model, Msg::Link(Link::Ended));
    send(&mut model, Msg::Refresh { now_unix_ns: 101 * SECOND });
    assert_eq!(model.compare.result.as_ref().map(|c| c.verdict.as_str()), Some("75 timelines of quote"));
    assert!(!model.comparison_outdated());
}

#[test]
fn a_list_grown_step_by_step_is_the_one_made_at_once() {
    for filter in ["", "status:503", "slow:p95", "-price or lat:>50ms", "since:30ms"] {
        let mut grown = start("test", &Options { capacity: 120, ..Options::default() }, (120, 36));
        requests::set_filter(&mut grown, filter);
        for from in (0..200).step_by(25) {
            send(&mut grown, Msg::Arrival(arrival(from..from + 25)));
            send(&mut grown, Msg::Refresh { now_unix_ns: from * SECOND });
        }
        let kept = grown.requests.view.clone();
        requests::set_filter(&mut grown, "nothing-like-it");
        assert!(grown.requests.view.is_empty());
        requests::set_filter(&mut grown, filter);
        assert_eq!(grown.requests.view, kept, "{filter}");
        assert!(!kept.is_empty(), "{filter}");
    }
}

#[test]
fn keys_of_other_screens_say_where_they_work() {
    let mut model = filled();
    press(&mut model, "0");
    assert!(status(&model).contains("timeline screen"), "{}", status(&model));
    press(&mut model, "Z");
    assert!(status(&model).contains("does nothing"));
    let mut empty = start("test", &Options::default(), (80, 24));
    press(&mut empty, "3");
    assert!(status(&empty).contains("no request"));
    assert_eq!(empty.screen, Screen::Overview);
}

#[test]
fn the_waterfall_zooms_pans_and_walks_the_path() {
    let mut model = filled();
    press(&mut model, "2 enter");
    assert_eq!(timeline::window(&model.timeline), (0, 90_000_000));
    press(&mut model, "h");
    assert!(status(&model).contains("whole request"));
    press(&mut model, "j +");
    let (from, to) = timeline::window(&model.timeline);
    assert_eq!(to - from, 45_000_000);
    press(&mut model, "l l l l l l l l l l l");
    assert_eq!(timeline::window(&model.timeline).1, 90_000_000);
    press(&mut model, "0 n n n n");
    assert_eq!(model.timeline.piece, Some(2));
    assert!(status(&model).contains("no further piece"));
    press(&mut model, "o");
    assert_eq!(timeline::shown(&model.timeline).count(), 1);
    press(&mut model, "} w");
    assert_eq!(model.timeline.row.as_ref().map(|row| row.timeline.seq), Some(98));
    assert!(status(&model).contains("no twin"));
}

#[test]
fn the_palette_finds_commands_by_their_letters() {
    let mut model = filled();
    press(&mut model, ": o r d e r");
    let Some(Overlay::Palette { line, .. }) = &model.overlay else { panic!("the palette is open") };
    let found = palette::entries(&model, line.text());
    assert!(found.iter().any(|entry| entry.text == "route order") && found.len() < 10);
    press(&mut model, "ctrl-u t h e m e space o k a enter");
    assert_eq!((model.overlay.is_none(), model.theme), (true, crate::theme::Theme::Okabe));
    press(&mut model, ": f i l t e r space s t a t u s : 5 x x enter");
    assert_eq!((model.screen, model.requests.filter.text.as_str()), (Screen::Requests, "status:5xx"));
    press(&mut model, ": s w a p enter");
    assert_eq!(model.screen, Screen::Compare);
}

#[test]
fn clicks_select_then_open_and_tabs_switch() {
    let mut model = filled();
    send(&mut model, Msg::Click { x: 3, y: 7 });
    assert_eq!(model.overview.cursor, 1);
    send(&mut model, Msg::Click { x: 3, y: 7 });
    assert_eq!(model.screen, Screen::Requests);
    let (_, from, _) = layout::tabs(120)[3];
    send(&mut model, Msg::Click { x: from + 1, y: 1 });
    assert_eq!(model.screen, Screen::Compare);
    let before = model.compare.edges;
    send(&mut model, Msg::Click { x: 60, y: 7 });
    assert_ne!(model.compare.edges, before);
    send(&mut model, Msg::Click { x: 5, y: 2 });
    assert_eq!(model.compare.choice, Choice::SlowVersusFast, "the banner asks why");
    let (_, from, _) = layout::tabs(120)[1];
    send(&mut model, Msg::Click { x: from + 1, y: 1 });
    send(&mut model, Msg::Scroll { down: true });
    assert_eq!(model.requests.cursor, 3);
}

#[test]
fn copying_gives_the_trace_or_the_report() {
    let mut model = filled();
    assert!(matches!(&press(&mut model, "y")[..], [Effect::Copy(text)] if text.contains("timelines of quote")));
    assert!(matches!(&press(&mut model, "2 y")[..], [Effect::Copy(text)] if text.len() == 32));
}
