//! Known faults against the verdict: how often its place, reason and attribute are all right.

use std::sync::Arc;

use zerver_telemetry::event::{Cause, NodeId};
use zerver_telemetry::explain::{
    Cohorts, Comparison, Finding, Usual, VerdictKind, compare, mark_words, nearest_fast, slack, what_if,
};
use zerver_telemetry::timeline::Timeline;

use crate::flow::{Fault, Random, Scene, proxied, timelines};

/// What a right answer names: one of the places, the reason, and one of the marks (by how it begins).
struct Truth {
    places: &'static [&'static str],
    cause: Cause,
    marks: &'static [&'static str],
}

fn truth(fault: Fault) -> Truth {
    let (places, cause, marks): (&[_], _, &[_]) = match fault {
        Fault::SlowPeer | Fault::DetachedDecoy | Fault::CorrelatedDecoy | Fault::TwoCauses => {
            (&["price.quotes"], Cause::Io, &["peer=10.0.0.0:80"])
        }
        Fault::PermitOfPeer => (&["price.quotes"], Cause::Permit, &["peer=10.0.0.0:80"]),
        Fault::LoadBurst => (&["everywhere"], Cause::Worker, &["arrival"]),
        Fault::HotWorker => (&["everywhere"], Cause::Worker, &["worker=0"]),
        Fault::CpuByBody => (&["render"], Cause::Run, &["body.bytes ≥"]),
        Fault::Retry => (&["price", "price.quotes"], Cause::Timer, &["attempt", "status", "outcome"]),
        Fault::CacheMiss => (&["auth.idp"], Cause::Io, &["cache@auth=miss", "cache=miss"]),
        Fault::RateLimit => (&["limit"], Cause::Rate, &["tenant=t0"]),
        Fault::SlowRegion | Fault::RaceDecoy => (&["reco.model-b"], Cause::Io, &["region=r0"]),
        Fault::ColdConnection => (&["price.quotes"], Cause::Io, &["reused=false"]),
        Fault::PeriodicStall => (&["price"], Cause::Worker, &["arrival every", "arrival in"]),
        Fault::SlowClient => (&[""], Cause::Write, &["client=c0"]),
        Fault::BigResponse => (&["render"], Cause::Run, &["items ≥", "items=40", "items 4"]),
        Fault::NewVersion => (&["price"], Cause::Run, &["version=v0"]),
        Fault::Branch => (&["fraud.score"], Cause::Io, &["amount ≥"]),
        Fault::TenantAndPeer => (&["price.quotes"], Cause::Io, &["tenant=t0", "peer=10.0.0.0:80"]),
        Fault::DelayOfTenant => (&["render"], Cause::Timer, &["tenant=t0"]),
        Fault::LockOnKey => (&["price"], Cause::Lock, &["cart=k0"]),
        Fault::Timeout => (&["price.quotes"], Cause::Io, &["outcome=timeout"]),
        Fault::Chatty => (&["stock.inventory"], Cause::Io, &["items ≥", "calls"]),
        Fault::Nothing | Fault::Uniform => (&[], Cause::Run, &[]),
    };
    Truth { places, cause, marks }
}

fn hits(finding: &Finding, fault: Fault) -> bool {
    let truth = truth(fault);
    let marks: Vec<String> = finding.marks.iter().map(mark_words).collect();
    let named = |expected: &&str| marks.iter().any(|mark| mark.starts_with(expected));
    let marked = match fault {
        // Both, or it is not the cause.
        Fault::TenantAndPeer => truth.marks.iter().all(named),
        _ => truth.marks.iter().any(named),
    };
    truth.places.contains(&&*finding.place) && finding.reasons.first().is_some_and(|r| r.cause == truth.cause) && marked
}

fn ask(requests: &[Arc<Timeline>]) -> Comparison {
    compare(requests, None, &Cohorts::SlowVersusFast)
}

#[derive(Clone, Copy, Default)]
struct Score {
    runs: usize,
    first: usize,
    third: usize,
    headline: usize,
}

/// How many seeds each fault is tried with: few by default, so that the test is quick.
fn seeds() -> u64 {
    std::env::var("ZERVER_ACCURACY_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}

const REQUESTS: usize = 2000;

/// Extra milliseconds and the share of requests that have them. The slowest 3 % of the requests without a fault take
/// about 10 ms more than the median.
type Grades = &'static [(f64, f64)];
const WEAK: Grades = &[(6.0, 0.02), (6.0, 0.05)];
const STRONG: Grades = &[(12.0, 0.05), (25.0, 0.1), (80.0, 0.02)];

fn measure(fault: Fault, grades: Grades, suffering: f64, spoil: fn(&mut Timeline)) -> (Score, Vec<String>) {
    let mut score = Score::default();
    let mut missed = Vec::new();
    for (n, &(extra_ms, prevalence)) in grades.iter().enumerate() {
        for seed in 0..seeds() {
            let scene =
                Scene { fault, prevalence, extra_ms, suffering, requests: REQUESTS, seed: seed * 100 + n as u64 };
            let mut requests = timelines(scene);
            requests.iter_mut().for_each(|request| spoil(Arc::make_mut(request)));
            let answer = ask(&requests);
            score.runs += 1;
            let hit = answer.findings.first().is_some_and(|finding| hits(finding, fault));
            score.first += usize::from(hit);
            score.third += usize::from(answer.findings.iter().take(3).any(|finding| hits(finding, fault)));
            score.headline += usize::from(hit && answer.kind == VerdictKind::Cause);
            if !hit {
                missed.push(format!("{fault:?} {extra_ms} ms {prevalence}: {}", answer.verdict));
            }
        }
    }
    (score, missed)
}

fn percent(part: usize, whole: usize) -> f64 {
    100.0 * part as f64 / whole.max(1) as f64
}

/// Runs the faults on all cores there are; their order is kept.
fn table(
    faults: &[Fault],
    grades: Grades,
    suffering: f64,
    spoil: fn(&mut Timeline),
) -> Vec<(Fault, Score, Vec<String>)> {
    let next = std::sync::atomic::AtomicUsize::new(0);
    let results = std::sync::Mutex::new(Vec::new());
    let workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(8);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    let Some(&fault) = faults.get(at) else { return };
                    let (score, missed) = measure(fault, grades, suffering, spoil);
                    results.lock().unwrap().push((at, fault, score, missed));
                }
            });
        }
    });
    let mut results = results.into_inner().unwrap();
    results.sort_by_key(|(at, ..)| *at);
    results.into_iter().map(|(_, fault, score, missed)| (fault, score, missed)).collect()
}

fn total(table: &[(Fault, Score, Vec<String>)]) -> Score {
    table.iter().fold(Score::default(), |sum, (_, score, _)| Score {
        runs: sum.runs + score.runs,
        first: sum.first + score.first,
        third: sum.third + score.third,
        headline: sum.headline + score.headline,
    })
}

#[expect(clippy::print_stdout, reason = "the table is what the documentation quotes")]
fn print(title: &str, table: &[(Fault, Score, Vec<String>)]) {
    println!("\n{title}\n| fault | runs | top-1 | top-3 | as headline |\n|---|---|---|---|---|");
    let row = |name: String, s: &Score| {
        let share = |part| percent(part, s.runs);
        println!(
            "| {name} | {} | {:.1} % | {:.1} % | {:.1} % |",
            s.runs,
            share(s.first),
            share(s.third),
            share(s.headline)
        );
    };
    table.iter().for_each(|(fault, score, _)| row(format!("{fault:?}"), score));
    row("all".into(), &total(table));
    table.iter().flat_map(|(_, _, missed)| missed).for_each(|missed| println!("  missed: {missed}"));
}

#[test]
fn moderate_and_strong_faults_are_named() {
    let table = table(&Fault::CAUSES, STRONG, 1.0, |_| ());
    print("moderate and strong faults", &table);
    let sum = total(&table);
    assert!(percent(sum.first, sum.runs) >= 95.0, "{} of {}", sum.first, sum.runs);
    assert!(percent(sum.headline, sum.runs) >= 95.0, "{} of {} as headline", sum.headline, sum.runs);
}

#[test]
fn noise_and_gaps_do_not_mislead() {
    const FAULTS: [Fault; 8] = [
        Fault::SlowPeer,
        Fault::HotWorker,
        Fault::CpuByBody,
        Fault::CacheMiss,
        Fault::SlowClient,
        Fault::Branch,
        Fault::RaceDecoy,
        Fault::TenantAndPeer,
    ];
    let grades: Grades = &[(25.0, 0.05)];
    let missing = table(&FAULTS, grades, 1.0, |timeline| {
        let seed = timeline.seq;
        for (place, node) in (0..).zip(&mut timeline.nodes) {
            let mut random = Random::new(seed << 16 | place);
            node.attrs.retain(|_| !random.chance(0.1));
        }
    });
    print("each attribute missing on a tenth of the requests", &missing);
    let noisy = table(&FAULTS, grades, 1.0, |timeline| {
        // All times of a request are longer or shorter together. Scaling moments keeps the states gapless.
        let factor = (0.3 * Random::new(timeline.seq).normal()).exp();
        let scale = |ns: &mut u64| *ns = (*ns as f64 * factor) as u64;
        scale(&mut timeline.latency_ns);
        for node in &mut timeline.nodes {
            scale(&mut node.start_ns);
            scale(&mut node.end_ns);
            node.states.iter_mut().for_each(|state| {
                scale(&mut state.from_ns);
                scale(&mut state.to_ns);
            });
        }
    });
    print("a common factor on all times of a request, sigma 0.3", &noisy);
    let half = table(&FAULTS, grades, 0.5, |_| ());
    print("only half of the marked requests suffer", &half);
    let (missing, noisy, half) = (total(&missing), total(&noisy), total(&half));
    assert!(percent(half.first, half.runs) >= 85.0, "{} of {}", half.first, half.runs);
    assert!(percent(missing.first, missing.runs) >= 85.0, "{} of {}", missing.first, missing.runs);
    assert!(percent(noisy.first, noisy.runs) >= 85.0, "{} of {}", noisy.first, noisy.runs);
}

#[test]
fn the_second_cause_is_named_too() {
    let scene = Scene {
        fault: Fault::TwoCauses,
        prevalence: 0.02,
        extra_ms: 30.0,
        suffering: 1.0,
        requests: REQUESTS,
        seed: 12,
    };
    let answer = ask(&timelines(scene));
    assert!(hits(&answer.findings[0], Fault::TwoCauses), "{}", answer.verdict);
    let second = &answer.findings[1];
    assert_eq!((&*second.place, second.reasons[0].cause), ("render", Cause::Run));
    assert_eq!(mark_words(&second.marks[0]), "version=v0");
    assert!(answer.verdict.contains(". Then "), "{}", answer.verdict);
}

#[test]
fn weak_faults_are_among_the_first_three() {
    let table = table(&Fault::CAUSES, WEAK, 1.0, |_| ());
    print("weak faults", &table);
    let sum = total(&table);
    assert!(percent(sum.third, sum.runs) >= 80.0, "{} of {}", sum.third, sum.runs);
}

fn kinds(fault: Fault, grades: Grades, runs: u64) -> Vec<(VerdictKind, String)> {
    let scenes = (0..runs * seeds()).flat_map(|seed| grades.iter().map(move |grade| (seed, grade)));
    let asked = scenes.map(|(seed, &(extra_ms, prevalence))| {
        let answer = ask(&timelines(Scene {
            fault,
            prevalence,
            extra_ms,
            suffering: 1.0,
            requests: REQUESTS,
            seed: 7000 + seed,
        }));
        (answer.kind, answer.verdict)
    });
    asked.collect()
}

#[test]
#[expect(clippy::print_stdout, reason = "the figures are what the documentation quotes")]
fn nothing_wrong_and_everything_slow_name_no_cause() {
    let nothing = kinds(Fault::Nothing, &[(0.0, 0.05)], 10);
    let uniform = kinds(Fault::Uniform, &[(25.0, 0.05), (50.0, 0.1)], 2);
    let abstained = nothing.iter().filter(|(kind, _)| *kind == VerdictKind::NoSingleCause).count();
    let even = uniform.iter().filter(|(kind, _)| *kind == VerdictKind::Uniform).count();
    nothing.iter().chain(&uniform).for_each(|(kind, verdict)| println!("  {kind:?}: {verdict}"));
    println!(
        "\nnothing wrong: {abstained} of {} abstain; all slower: {even} of {} uniform",
        nothing.len(),
        uniform.len()
    );
    assert!(percent(abstained, nothing.len()) >= 98.0, "{nothing:#?}");
    assert!(percent(even, uniform.len()) >= 98.0, "{uniform:#?}");
}

#[test]
#[expect(clippy::print_stdout, reason = "the figures are what the documentation quotes")]
fn wakes_are_what_the_answers_rest_on() {
    // Each fault lies where a wake or an `after` decides which of several parallel nodes was waited for.
    let faults = [Fault::SlowRegion, Fault::RaceDecoy, Fault::SlowPeer, Fault::TenantAndPeer];
    let grades: Grades = &[(12.0, 0.05), (25.0, 0.1)];
    let right = total(&table(&faults, grades, 1.0, |_| ()));
    let wrong = total(&table(&faults, grades, 1.0, |timeline| {
        for node in &mut timeline.nodes {
            node.after = None;
            // Every wait is laid to the first node that was opened.
            node.states.iter_mut().for_each(|state| state.woken_by = state.woken_by.map(|_| NodeId(1)));
        }
    }));
    println!(
        "\nwakes as recorded: {} of {}; wakes ignored: {} of {}",
        right.first, right.runs, wrong.first, wrong.runs
    );
    assert!(percent(right.first, right.runs) >= 95.0);
    assert!(percent(wrong.first, wrong.runs) <= 60.0);
}

#[test]
fn a_weighted_sample_with_the_slowest_gives_the_same_answers() {
    for (fault, expected) in [
        (Fault::SlowPeer, VerdictKind::Cause),
        (Fault::CpuByBody, VerdictKind::Cause),
        (Fault::Nothing, VerdictKind::NoSingleCause),
    ] {
        let scene = Scene { fault, prevalence: 0.05, extra_ms: 25.0, suffering: 1.0, requests: 3 * REQUESTS, seed: 40 };
        let mut all = timelines(scene);
        all.sort_by_key(|request| std::cmp::Reverse(request.latency_ns));
        let slowest = all.len() * 3 / 100;
        let mut shown = 0;
        let kept: Vec<Arc<Timeline>> = all
            .iter()
            .enumerate()
            .map(|(rank, request)| {
                let mut request = Timeline::clone(request);
                request.weight = match (rank < slowest, request.seq % 3) {
                    (true, _) => 1.0,
                    (false, 0) => 3.0,
                    // Shown for being recent, and not to be counted.
                    _ => 0.0,
                };
                shown += usize::from(request.weight == 0.0);
                Arc::new(request)
            })
            .collect();
        let answer = ask(&kept);
        assert_eq!(answer.kind, expected, "{fault:?}: {}", answer.verdict);
        assert_eq!(answer.a.count + answer.b.count + answer.unused, kept.len() - shown);
        if expected == VerdictKind::Cause {
            assert!(hits(&answer.findings[0], fault), "{fault:?}: {}", answer.verdict);
        }
    }
}

#[test]
fn one_request_says_why_it_is_slow() {
    let scene =
        Scene { fault: Fault::SlowPeer, prevalence: 0.05, extra_ms: 40.0, suffering: 1.0, requests: 800, seed: 9 };
    let requests = timelines(scene);
    let usual = Usual::of(&requests, "checkout");
    let peer = |t: &Timeline| t.nodes.iter().any(|n| n.attr("peer").is_some_and(|v| v.to_string() == "10.0.0.0:80"));
    let slow: Vec<_> = requests.iter().filter(|request| peer(request)).collect();
    let (count, mut twins) = (slow.len(), 0);
    assert!(count > 20);
    for request in slow {
        let why = usual.why_slow(request).unwrap();
        assert_eq!((&*why.place, why.cause, why.name.as_deref()), ("price.quotes", Cause::Io, Some("quotes")));
        assert!(why.z > 3.0 && why.times_usual.unwrap() > 2.0, "{why:?}");
        if let Some(twin) = nearest_fast(&requests, request) {
            twins += 1;
            assert!(twin.latency_ns < request.latency_ns && twin.nodes.len() == request.nodes.len());
        }
    }
    // A rare combination of branches has no fast twin.
    assert!(twins * 10 >= count * 8, "{twins} of {count}");
}

#[test]
fn without_enough_slow_requests_there_is_no_verdict() {
    let scene =
        Scene { fault: Fault::SlowPeer, prevalence: 0.3, extra_ms: 80.0, suffering: 1.0, requests: 36, seed: 1 };
    let answer = ask(&timelines(scene));
    assert_eq!(answer.kind, VerdictKind::NotEnoughData);
    assert!(answer.findings.is_empty());
    assert_eq!(ask(&[]).kind, VerdictKind::NotEnoughData);
}

#[test]
fn a_plain_proxy_route_names_its_cause_too() {
    for (fault, kind, says) in [
        (Fault::SlowPeer, VerdictKind::Cause, "is waiting for the answer of quotes; peer=10.0.0.0:80 in 100%"),
        (Fault::LoadBurst, VerdictKind::Cause, "is waiting for a worker; arrival 14:"),
        (Fault::SlowClient, VerdictKind::Cause, "is waiting for the client to read; client=c0 in 100%"),
        (Fault::Nothing, VerdictKind::NoSingleCause, "the spread of waiting for the answer of quotes"),
    ] {
        let scene = Scene { fault, prevalence: 0.05, extra_ms: 25.0, suffering: 1.0, requests: REQUESTS, seed: 8 };
        let answer = ask(&proxied(scene));
        assert_eq!(answer.kind, kind, "{fault:?}: {}", answer.verdict);
        assert!(answer.verdict.contains(says), "{fault:?}: {}", answer.verdict);
        assert!(answer.exact && answer.notes.is_empty(), "{:?}", answer.notes);
    }
}

#[test]
fn hand_picked_cohorts_are_compared() {
    let scene =
        Scene { fault: Fault::NewVersion, prevalence: 0.1, extra_ms: 25.0, suffering: 1.0, requests: 1200, seed: 3 };
    let requests = timelines(scene);
    let (mut a, mut b) = (Vec::new(), Vec::new());
    for request in &requests {
        let half = if request.latency_ns > 30_000_000 { &mut b } else { &mut a };
        half.push(request.trace_id);
    }
    let by_hand = compare(&requests, Some("checkout"), &Cohorts::Traces { a: a.clone(), b: b.clone() });
    assert_eq!((by_hand.a.count, by_hand.b.count, by_hand.unused), (a.len(), b.len(), 0));
    assert!(hits(&by_hand.findings[0], Fault::NewVersion), "{}", by_hand.verdict);
    let by_range = compare(&requests, None, &Cohorts::Latency { a: (5.0, 15.0), b: (16.0, 1000.0) });
    assert!(hits(&by_range.findings[0], Fault::NewVersion), "{}", by_range.verdict);
    assert!(by_range.findings[0].without_ms.is_some_and(|ms| ms < by_range.b.mean_ms));
    assert!(by_range.findings[0].example_slow.is_some() && by_range.findings[0].example_fast.is_some());
}

#[test]
fn slack_and_what_if_follow_the_recorded_order() {
    let scene =
        Scene { fault: Fault::SlowPeer, prevalence: 0.5, extra_ms: 25.0, suffering: 1.0, requests: 300, seed: 5 };
    let mut detached = 0;
    for request in timelines(scene) {
        let id = |path: &str| request.nodes.iter().find(|node| request.path(node.id) == path).unwrap();
        let unchanged = what_if(&request, "price.quotes", Cause::Io, 1.0);
        assert_eq!(unchanged, request.latency_ns);
        let without = what_if(&request, "price.quotes", Cause::Io, 0.0);
        let (price, stock, reco) = (id("price"), id("stock"), id("reco"));
        let io = id("price.quotes").states.iter().find(|state| state.cause == Cause::Io).unwrap().len_ns();
        // The request gets faster by the call, but not by more than until the next branch is the last.
        let others = stock.end_ns.max(reco.end_ns);
        let saved = if price.end_ns > others { io.min(price.end_ns - others) } else { 0 };
        let last = price.end_ns.max(others);
        let expected = if price.end_ns == last { saved } else { 0 };
        // That nobody waited for the audit is not recorded where it ended in time; then it may count as a limit.
        let audit = id("audit");
        if audit.end_ns > request.latency_ns {
            assert_eq!(request.latency_ns - without, expected);
            detached += 1;
        } else {
            assert!(request.latency_ns - without <= expected);
        }
        let slack = slack(&request);
        let render = usize::from(id("render").id.0);
        assert_eq!(slack[render], Some(0));
        // Of the three at once, each can slip until the last of them ends.
        for step in [price, stock, reco] {
            assert_eq!(slack[usize::from(step.id.0)], Some(last - step.end_ns));
        }
        assert!(audit.end_ns <= request.latency_ns || slack[usize::from(audit.id.0)].is_none());
    }
    assert!(detached > 20, "{detached}");
}

#[test]
fn what_cannot_be_used_is_left_out_and_counted() {
    let scene =
        Scene { fault: Fault::SlowPeer, prevalence: 0.05, extra_ms: 40.0, suffering: 1.0, requests: 1000, seed: 2 };
    let mut requests = timelines(scene);
    let whole = ask(&requests);
    assert_eq!(whole.notes, Vec::<String>::new());
    for request in &mut requests[..5] {
        Arc::make_mut(request).nodes[1].end_ns += 1;
    }
    for request in &mut requests[5..8] {
        Arc::make_mut(request).lost_events = 9;
    }
    let other = Arc::make_mut(&mut requests[8]);
    (other.route, other.latency_ns) = ("elsewhere".into(), 3_600_000_000_000);
    let answer = compare(&requests, Some("checkout"), &Cohorts::SlowVersusFast);
    assert_eq!(answer.notes, ["5 timelines are malformed and left out", "3 timelines lost events"]);
    assert_eq!(answer.a.count + answer.b.count + answer.unused, 994);
    assert!(hits(&answer.findings[0], Fault::SlowPeer), "{}", answer.verdict);
    // Wakes that were never recorded are guessed, and the answer says that they were.
    for request in &mut requests[9..] {
        Arc::make_mut(request).nodes.iter_mut().flat_map(|node| &mut node.states).for_each(|s| s.woken_by = None);
    }
    let guessed = compare(&requests, Some("checkout"), &Cohorts::SlowVersusFast);
    assert!(answer.exact && !guessed.exact);
    assert!(guessed.notes.iter().any(|note| note.ends_with("of the critical time is inferred, not recorded")));
}
