//! What a breaker has seen in the last ten seconds, in buckets of a second.

/// Seconds that are looked back.
const SECONDS: usize = 10;

/// Tries and failures of the last ten seconds. Constant size, no allocation.
#[derive(Clone, Debug, Default)]
pub(super) struct Window {
    buckets: [Bucket; SECONDS],
}

#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    second: u64,
    tries: u32,
    failures: u32,
}

impl Window {
    /// Counts a try that ended in this second, and gives the sums with it.
    pub(super) fn add(&mut self, second: u64, failed: bool) -> (u32, u32) {
        let bucket = &mut self.buckets[(second % SECONDS as u64) as usize];
        if bucket.second != second {
            *bucket = Bucket { second, ..Bucket::default() };
        }
        bucket.tries = bucket.tries.saturating_add(1);
        bucket.failures = bucket.failures.saturating_add(u32::from(failed));
        self.sums(second)
    }

    /// Tries and failures of the ten seconds that end with this one.
    pub(super) fn sums(&self, second: u64) -> (u32, u32) {
        let fresh = self.buckets.iter().filter(|bucket| bucket.second + SECONDS as u64 > second);
        fresh.fold((0, 0), |(tries, failures): (u32, u32), bucket| {
            (tries.saturating_add(bucket.tries), failures.saturating_add(bucket.failures))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_seconds_are_remembered() {
        let mut window = Window::default();
        assert_eq!(window.add(0, true), (1, 1));
        assert_eq!(window.add(0, false), (2, 1));
        assert_eq!(window.add(9, true), (3, 2));
        assert_eq!(
            (window.sums(9), window.sums(10), window.sums(18), window.sums(19)),
            ((3, 2), (1, 1), (1, 1), (0, 0))
        );
        assert_eq!(window.add(10, false), (2, 1), "the oldest bucket is used again");
        assert_eq!(window.add(1_000_000, true), (1, 1));
    }
}
