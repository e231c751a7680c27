//! Each screen as a text, in the sizes people have, and the states a viewer can be in.

use proptest::prelude::*;
use zerver_viewer::{Headless, Options, Theme};

use crate::fixture::{START_NS, batch, engine, timeline};
use crate::golden;

const NOW: u64 = START_NS + 60_000_000_000;

fn filled(options: &Options, size: (u16, u16)) -> Headless {
    let mut viewer = Headless::new("127.0.0.1:9901", options, engine(), size);
    viewer.batch(batch(0, 400), NOW);
    // A second answer, so that there is a rate.
    viewer.batch(batch(400, 200), NOW + 5_000_000_000);
    viewer
}

/// The same screen in both sizes.
fn both(name: &str, keys: &str) {
    for size in [(120, 36), (80, 24)] {
        let mut viewer = filled(&Options::default(), size);
        viewer.keys(keys);
        golden::check(&format!("{name}-{}x{}", size.0, size.1), &viewer.text());
    }
}

#[test]
fn every_screen_is_drawn_as_kept() {
    both("overview", "");
    both("requests", "2 / lat:>5ms space -route:login enter n n b");
    both("timeline", "2 / route:checkout space lat:>100ms enter enter j j j j");
    both("compare", "c");
    both("compare-brushed", "c tab l l l j");
    both("help", "c ?");
    both("palette", ": t i m e");
}

#[test]
fn a_wrong_filter_is_underlined() {
    both("filter-error", "2 / route:checkout enter / space lat:>10apples");
}

#[test]
fn before_the_first_answer_it_says_what_is_tried() {
    for size in [(120, 36), (80, 24)] {
        let name = |what: &str| format!("{what}-{}x{}", size.0, size.1);
        let mut viewer = Headless::new("127.0.0.1:9901", &Options::default(), engine(), size);
        golden::check(&name("connecting"), &viewer.text());
        viewer.no_answer(3, "Connection refused (os error 111)", 1_000_000_000);
        golden::check(&name("no-answer"), &viewer.text());
        viewer.batch(batch(0, 0), NOW);
        golden::check(&name("empty"), &viewer.text());
    }
}

#[test]
fn ascii_and_no_colour_lose_nothing() {
    let options = Options { ascii: true, theme: Theme::Mono, ..Options::default() };
    let mut viewer = filled(&options, (100, 30));
    viewer.keys("2 / route:checkout space lat:>100ms enter enter");
    let text = viewer.text();
    golden::check("timeline-ascii-100x30", &text);
    let strange: String = text.chars().filter(|c| !c.is_ascii() && !"·×–≥…Δ".contains(*c)).collect();
    assert_eq!(strange, "");
    for sign in ['q', 'p', '#', '-', '.'] {
        assert!(text.contains(sign), "{sign}");
    }
}

#[test]
fn a_pause_and_losses_are_on_screen() {
    let mut viewer = filled(&Options::default(), (120, 36));
    viewer.keys("space");
    viewer.batch(batch(600, 50), NOW + 9_000_000_000);
    let text = viewer.text();
    assert!(text.contains("PAUSED +50"), "{text}");
    assert!(text.contains("lost 3"), "{text}");
    assert!(text.contains("600/20,000"), "{text}");
}

#[test]
fn control_characters_of_data_never_reach_the_terminal() {
    let mut bad = timeline(0);
    bad.route = "evil\x1b[2J\u{202e}route".into();
    bad.nodes[1].name = "a\nb\tc".into();
    let mut answer = batch(0, 0);
    answer.timelines = vec![std::sync::Arc::new(bad)];
    answer.gateway.name = "gw\x07".into();
    let mut viewer = Headless::new("x", &Options::default(), engine(), (120, 36));
    viewer.batch(answer, NOW);
    for keys in ["", "enter", "enter", "c", "?"] {
        viewer.keys(keys);
        let text = viewer.text();
        assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{keys}");
        assert!(!text.contains('\u{202e}'));
    }
}

#[test]
fn absurd_numbers_are_drawn_and_not_believed() {
    let mut answer = batch(0, 3);
    answer.counters.requests = u64::MAX;
    answer.counters.lost_timelines = u64::MAX;
    for seq in 0..2 {
        let mut endless = timeline(8);
        endless.seq = seq;
        endless.nodes.truncate(1);
        let root = &mut endless.nodes[0];
        root.states.truncate(1);
        root.states[0].to_ns = u64::MAX;
        root.end_ns = u64::MAX;
        endless.latency_ns = u64::MAX;
        endless.start_unix_ns = u64::MAX - seq;
        endless.weight = f32::MAX;
        answer.timelines.push(std::sync::Arc::new(endless));
    }
    let mut viewer = Headless::new("x", &Options::default(), engine(), (120, 36));
    viewer.batch(answer, u64::MAX);
    assert!(viewer.text().contains("kept 5/"), "{}", viewer.text());
    for keys in [
        "2 / park@*>1ms enter s s",
        "enter + + l l l l l l l l l l l l n n N - 0 o",
        "c p p p p x h l H L",
        "1 G enter",
    ] {
        viewer.keys(keys);
        assert!(viewer.text().contains("kept 5/"), "{keys}");
    }
}

#[test]
fn a_findings_example_pair_opens() {
    let mut viewer = filled(&Options::default(), (120, 36));
    viewer.keys("c enter");
    assert!(viewer.text().contains("w shows its fast twin"), "{}", viewer.text());
    let slow = viewer.text();
    viewer.keys("w");
    assert!(viewer.text().contains("[3 Timeline]") && viewer.text() != slow);
    viewer.keys("y");
    assert_eq!(viewer.copied().map(str::len), Some(32));
    viewer.keys("q");
    assert!(viewer.left());
}

#[test]
fn small_terminals_are_told_what_is_needed() {
    let mut viewer = filled(&Options::default(), (59, 15));
    assert!(viewer.text().starts_with("zerver: 60x15 needed"));
    viewer.resize(60, 15);
    assert!(viewer.text().contains("Overview"));
}

fn any_key() -> impl Strategy<Value = String> {
    let named = [
        "enter",
        "esc",
        "tab",
        "backtab",
        "up",
        "down",
        "left",
        "right",
        "home",
        "end",
        "pageup",
        "pagedown",
        "space",
        "backspace",
        "delete",
        "ctrl-d",
        "ctrl-u",
        "ctrl-w",
        "ctrl-l",
    ];
    prop_oneof![
        2 => prop::sample::select(named.to_vec()).prop_map(str::to_owned),
        5 => "[!-~]".prop_map(|c| c),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn no_keys_and_no_size_panic(
        size in (0_u16..=300, 0_u16..=100),
        later in (0_u16..=130, 0_u16..=40),
        count in prop_oneof![Just(0_u64), 1_u64..60],
        keys in prop::collection::vec(any_key(), 0..80),
        clicks in prop::collection::vec((0_u16..300, 0_u16..100), 0..8),
        ascii in any::<bool>(),
    ) {
        let options = Options { ascii, capacity: 40, ..Options::default() };
        let mut viewer = Headless::new("x", &options, engine(), size);
        viewer.batch(batch(0, count), NOW);
        for (n, key) in keys.iter().enumerate() {
            viewer.keys(key);
            if n == 20 {
                viewer.batch(batch(count, 30), NOW + 6_000_000_000);
            }
            if n % 16 == 0 {
                let _ = viewer.text();
            }
        }
        for (x, y) in clicks {
            viewer.click(x, y);
            viewer.scroll(x % 2 == 0);
            let _ = viewer.text();
        }
        viewer.resize(later.0, later.1);
        let text = viewer.text();
        prop_assert_eq!(text.lines().count(), usize::from(later.1));
        for line in text.lines() {
            prop_assert!(unicode_width(line) <= usize::from(later.0), "{}", line);
        }
    }
}

fn unicode_width(line: &str) -> usize {
    unicode_width::UnicodeWidthStr::width(line)
}
