//! Many tenants and two classes in one room.

use super::*;

/// Ten slots of 10 ms: a thousand requests per second.
const CAPACITY: f64 = 1_000.0;

fn jain(shares: &[f64]) -> f64 {
    let (sum, squares) = shares.iter().fold((0.0, 0.0), |(sum, squares), x| (sum + x, squares + x * x));
    sum * sum / (shares.len() as f64 * squares)
}

#[test]
fn one_noisy_tenant_of_ten_hurts_itself_only() {
    let mut scene = Scene::new(10.0, 0.01).stream(Class::Interactive, "noisy", |_| 4.0 * CAPACITY);
    for quiet in 0..9 {
        scene = scene.stream(Class::Interactive, &format!("quiet {quiet}"), |_| 0.08 * CAPACITY);
    }
    let run = scene.run();
    let quiet: Vec<f64> = (1..10).map(|stream| run.served(stream, 2.0, 9.5)).collect();
    let all = run.goodput(2.0, 9.5) / CAPACITY;
    let mean = quiet.iter().sum::<f64>() / 9.0;
    assert!(mean >= 0.99, "{quiet:?}");
    assert!(quiet.iter().all(|served| *served >= 0.97), "{quiet:?}");
    assert!(all >= 0.93, "{all}");
}

#[test]
fn sixteen_noisy_among_two_hundred() {
    let mut scene = Scene::new(10.0, 0.01);
    for noisy in 0..16 {
        scene = scene.stream(Class::Interactive, &format!("noisy {noisy}"), |_| 0.25 * CAPACITY);
    }
    for quiet in 0..184 {
        scene = scene.stream(Class::Interactive, &format!("quiet {quiet}"), |_| 0.6 * CAPACITY / 184.0);
    }
    let run = scene.run();
    let quiet: Vec<f64> = (16..200).map(|stream| run.served(stream, 2.0, 9.5)).collect();
    let mean = quiet.iter().sum::<f64>() / 184.0;
    assert!(mean >= 0.97, "{mean}");
}

#[test]
fn equal_tenants_are_served_alike() {
    let mut scene = Scene::new(10.0, 0.01);
    for tenant in 0..50 {
        scene = scene.stream(Class::Interactive, &format!("tenant {tenant}"), |_| 5.0 * CAPACITY / 50.0);
    }
    let run = scene.run();
    let served: Vec<f64> = (0..50).map(|stream| run.served(stream, 2.0, 9.5)).collect();
    assert!(jain(&served) >= 0.98, "{served:?}");
}

#[test]
fn two_tenants_that_ask_for_more_than_half_get_half_each() {
    let run = Scene::new(10.0, 0.01)
        .stream(Class::Interactive, "a", |_| 3.0 * CAPACITY)
        .stream(Class::Interactive, "b", |_| 0.7 * CAPACITY)
        .run();
    let good = |stream| run.of(stream, 2.0, 9.5).filter(|story| story.end == End::Good).count() as f64 / 7.5 / CAPACITY;
    assert!((good(0) - good(1)).abs() < 0.1, "{} {}", good(0), good(1));
}

#[test]
fn a_flood_of_batch_work_does_not_hurt_interactive_work() {
    let alone = Scene::new(10.0, 0.01).stream(Class::Interactive, "a", |_| 0.5 * CAPACITY).run();
    for times in [5.0, 10.0] {
        let run = Scene::new(10.0, 0.01)
            .stream(Class::Interactive, "a", |_| 0.5 * CAPACITY)
            .stream(Class::Batch, "b", move |_| times * CAPACITY)
            .run();
        let served = run.served(0, 2.0, 9.5);
        let p99 = |run: &Run| Run::latency(run.of(0, 2.0, 9.5).copied(), 0.99);
        let all = run.goodput(2.0, 9.5) / CAPACITY;
        assert!(served >= 0.995, "{served}");
        assert!(p99(&run) <= 2.0 * p99(&alone), "{} {}", p99(&run), p99(&alone));
        assert!(all >= 0.93, "{all}");
    }
}

#[test]
fn batch_work_never_starves() {
    let run = Scene::new(10.0, 0.01)
        .stream(Class::Interactive, "a", |_| 2.0 * CAPACITY)
        .stream(Class::Batch, "b", |_| CAPACITY)
        .run();
    let batch = run.of(1, 2.0, 9.5).filter(|story| story.end == End::Good).count() as f64 / 7.5 / CAPACITY;
    let longest = run.of(1, 2.0, 9.5).map(|story| story.ended - story.arrived).fold(0.0, f64::max);
    assert!((0.05..=0.25).contains(&batch), "{batch}");
    assert!(longest <= 0.5, "{longest}");
}

#[test]
fn critical_work_goes_first() {
    let run = Scene::new(10.0, 0.01)
        .stream(Class::Interactive, "a", |_| 5.0 * CAPACITY)
        .stream(Class::Critical, "operator", |_| 0.05 * CAPACITY)
        .run();
    let served = run.served(1, 2.0, 9.5);
    assert!(served >= 0.995, "{served}");
}
