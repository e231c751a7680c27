//! One class, one tenant, too much load.

use super::*;

fn flood(slots: f64, service_s: f64, times: f64, varied: bool, seed: u64) -> Run {
    let capacity = slots / service_s;
    let mut scene = Scene::new(slots, service_s).stream(Class::Interactive, "a", move |_| times * capacity);
    scene.varied = varied;
    scene.seed = seed;
    scene.seconds = 12.0;
    scene.run()
}

#[test]
fn table() {
    for (slots, service) in [(10.0, 0.01), (200.0, 0.1), (2.0, 0.01),(4.0,0.1), (40.0, 0.02)] {
        for varied in [true, false] {
            for times in [0.8, 1.0, 2.0, 5.0, 10.0] {
                let c = slots / service;
                if times * c > 11000.0 { continue; }
                let r = flood(slots, service, times, varied, 3);
                println!("K={slots} S={service} var={varied} x{times}: g0-2 {:.3} g2-12 {:.3} p50 {:.0} p99 {:.0}ms late60 {:.3} shed {} giveup {} wasted {:.3} limits {:?}",
                    r.goodput(0.0, 2.0) / c, r.goodput(2.0, 12.0) / c, Run::latency(r.between(2.0,11.0).copied(), 0.5)*1e3, r.p99(2.0, 11.0) * 1e3, r.late(2.0, 11.0, 0.06), r.sheds(2.0,11.5),
                    r.between(2.0,11.0).filter(|s| s.end==End::GaveUp).count(), r.wasted.0/r.wasted.1,
                    [0.2,0.4,0.6, 1.0, 2.0, 3.0,4.0, 6.0, 9.0, 11.9].map(|t| r.limit_at(t)));
            }
        }
    }
}

#[test]
fn brown() {
    for (slots, service) in [(10.0, 0.01), (40.0, 0.02)] { for varied in [true, false] { for by in [4.0, 20.0] { for load in [0.9, 3.0] {
        let c = slots/service;
        let mut s = Scene::new(slots, service).stream(Class::Interactive, "a", move |_| load*c);
        s.varied = varied; s.seconds = 22.0; s.seed = 5;
        s.service_s = Box::new(move |t| if (5.0..12.0).contains(&t) { service*by } else { service });
        let r = s.run();
        println!("BROWN K={slots} x{load} var={varied} /{by}: before {:.3} during5-6 {:.3} 6-12 {:.3} after .2-1 {:.3} 1-2 {:.3} 2-10 {:.3} limits {:?}",
            r.goodput(1.0,5.0)/c, r.goodput(5.0,6.0)/c*by, r.goodput(6.0,12.0)/c*by, r.goodput(12.2,13.0)/c, r.goodput(13.0,14.0)/c, r.goodput(14.0,22.0)/c,
            [4.9,5.5,6.0,7.0,9.0,11.9,12.3,12.6,13.0,14.0,18.0,21.0].map(|t| r.limit_at(t)));
        let mut s = Scene::new(slots, service).stream(Class::Interactive, "a", move |_| load*c);
        s.varied = varied; s.seconds = 22.0; s.seed = 5;
        s.slots = Box::new(move |t| if (5.0..12.0).contains(&t) { slots/5.0 } else { slots });
        let by = 5.0;
        let r = s.run();
        println!("SLOTS K={slots} x{load} var={varied} /{by}: before {:.3} during5-6 {:.3} 6-12 {:.3} after .2-1 {:.3} 1-2 {:.3} 2-10 {:.3} limits {:?}",
            r.goodput(1.0,5.0)/c, r.goodput(5.0,6.0)/c*by, r.goodput(6.0,12.0)/c*by, r.goodput(12.2,13.0)/c, r.goodput(13.0,14.0)/c, r.goodput(14.0,22.0)/c,
            [4.9,5.5,6.0,7.0,9.0,11.9,12.3,12.6,13.0,14.0,18.0,21.0].map(|t| r.limit_at(t)));
    }}}}
}
#[test]
fn trace_it() {
        let (slots, service)=(200.0, 0.1); let c = slots/service;
        let mut s = Scene::new(slots, service).stream(Class::Interactive, "a", move |_| 5.*c);
        s.varied = false; s.seconds=2.0; s.seed = 5;
        s.service_s = Box::new(move |t| if (5.0..12.0).contains(&t) { service*1.0 } else { service });
        let r = s.run();
        println!("{}", r.goodput(1.0,2.0));
}
