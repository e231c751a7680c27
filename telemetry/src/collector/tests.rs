//! What the collector promises: everything everywhere after a look, in order, once.

use super::*;
use crate::clock::Clock;
use crate::event::{Cause, NodeId, Outcome};
use crate::names::Name;
use crate::timeline::{Kept, PromotedBy};

fn collector(recorder: &Recorder) -> Collector {
    // It looks only when it is asked to.
    let settings = CollectorSettings { interval: Duration::from_secs(3_600), ..CollectorSettings::default() };
    Collector::start(recorder.clone(), settings, Arc::default(), None, Vec::new()).expect("a thread starts")
}

fn request(recorder: &Recorder, clock: &Clock, ms: u64) {
    let rec = recorder.start(clock.now(), None, false);
    rec.route(recorder.names().intern("checkout"), Name::NONE, 1);
    rec.state(clock.now(), NodeId::ROOT, Cause::Permit, recorder.names().intern("seats"), None);
    clock.advance(Duration::from_millis(ms));
    rec.state(clock.now(), NodeId::ROOT, Cause::Run, Name::NONE, None);
    rec.finish(clock.now(), Outcome::Ok, 200, Name::NONE);
}

#[test]
fn after_a_flush_everything_finished_is_everywhere() {
    let clock = Clock::manual();
    let recorder = Recorder::for_tests(clock.clone());
    let collector = collector(&recorder);
    for ms in 1..=20 {
        request(&recorder, &clock, ms);
    }
    collector.flush();
    let kept = collector.store().snapshot();
    assert_eq!(kept.iter().map(|t| t.seq).collect::<Vec<_>>(), (1..=20).collect::<Vec<_>>());
    // Shards are drained one by one, yet the numbers follow the order of the ends.
    assert!(kept.iter().map(|t| t.start_unix_ns + t.latency_ns).is_sorted());
    let promoted = |ms: usize| kept[ms - 1].root().states.iter().find_map(|state| state.promoted);
    assert_eq!((promoted(5), promoted(6)), (None, Some(PromotedBy::Threshold)));
    assert!(kept[0].kept.contains(&Kept::Recent));
    let routes = collector.metrics().routes();
    assert_eq!((routes[0].requests, routes[0].split.queue_ns), (20, 210_000_000));
    let text = crate::export::prometheus::text(&collector.metrics().snapshot());
    assert!(text.contains("zerver_timelines_total 20\n"), "{text}");
    assert!(text.contains("zerver_timelines_lost_total{cause=\"ring_full\"} 0\n"), "{text}");
}

#[test]
fn new_rules_hold_from_the_next_look_on() {
    let clock = Clock::manual();
    let recorder = Recorder::for_tests(clock.clone());
    let collector = collector(&recorder);
    request(&recorder, &clock, 1);
    collector.flush();
    let promotion = PromotionSettings { debug_jobs: true, ..PromotionSettings::default() };
    collector.apply(Rules { promotion, ..Rules::default() });
    request(&recorder, &clock, 1);
    collector.flush();
    let promoted: Vec<_> = collector.store().snapshot().iter().map(|t| t.root().states[0].promoted).collect();
    assert_eq!(promoted, [None, Some(PromotedBy::Debug)]);
}

#[test]
fn stopping_takes_a_last_look_and_says_what_was_lost() {
    let clock = Clock::manual();
    let recorder = Recorder::for_tests(clock.clone());
    let collector = collector(&recorder);
    for _ in 0..20_000 {
        request(&recorder, &clock, 1);
    }
    let store = Arc::clone(collector.store());
    let stopped = collector.stop(Duration::from_secs(60));
    assert!(stopped.complete && stopped.export.is_none());
    assert_eq!(stopped.recorder.finished, 20_000);
    assert_eq!(store.retained().seen + stopped.recorder.lost_timelines, 20_000);
    // Nobody waits for a collector that is gone.
    collector.flush();
    assert!(collector.stop(Duration::ZERO).complete);
}

#[test]
fn observers_see_each_timeline_once_and_in_order() {
    struct Seen(std::sync::mpsc::Sender<u64>);
    impl Observer for Seen {
        fn timeline(&mut self, timeline: &Timeline, exported: Option<Reason>) {
            assert_eq!(exported, None);
            self.0.send(timeline.seq).expect("the test listens");
        }

        fn keeps(&self, timeline: &Timeline) -> bool {
            timeline.seq.is_multiple_of(2)
        }

        fn keep(&mut self, timeline: &Arc<Timeline>) {
            self.0.send(timeline.seq * 10).expect("the test listens");
        }
    }
    let clock = Clock::manual();
    let recorder = Recorder::for_tests(clock.clone());
    let (tell, told) = std::sync::mpsc::channel();
    let settings = CollectorSettings::default();
    let observers: Vec<Box<dyn Observer>> = vec![Box::new(Seen(tell))];
    let collector = Collector::start(recorder.clone(), settings, Arc::default(), None, observers).expect("it starts");
    for _ in 0..3 {
        request(&recorder, &clock, 1);
    }
    // Without a flush: the interval alone brings them.
    assert_eq!(told.iter().take(4).collect::<Vec<_>>(), [1, 2, 20, 3]);
    assert!(collector.stop(Duration::from_secs(60)).complete);
}
