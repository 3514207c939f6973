//! What many times of one thing say: its median, its quartiles, and how it compares.

/// The middle of some times, in milliseconds, and how far they spread.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Summary {
    /// How many there were.
    pub(crate) count: usize,
    /// A quarter of them were shorter.
    pub(crate) first_quartile: f64,
    /// Half of them were shorter. Not the mean: one run that something disturbed would move that.
    pub(crate) median: f64,
    /// A quarter of them were longer.
    pub(crate) third_quartile: f64,
}

/// Sums up times; `None` if there are none.
pub(crate) fn summary(times: &[f64]) -> Option<Summary> {
    let mut sorted = times.to_vec();
    sorted.sort_by(f64::total_cmp);
    Some(Summary {
        count: sorted.len(),
        first_quartile: quantile(&sorted, 0.25)?,
        median: quantile(&sorted, 0.5)?,
        third_quartile: quantile(&sorted, 0.75)?,
    })
}

/// The median alone, 0 if there is nothing.
pub(crate) fn median(times: &[f64]) -> f64 {
    summary(times).map_or(0.0, |summary| summary.median)
}

/// The value that the fraction `part` of the sorted times are below, between two of them by their distance.
fn quantile(sorted: &[f64], part: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let place = part * last as f64;
    let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    Some(below + (above - below) * place.fract())
}

/// Numbers in an order that nobody can foresee, which is all that is asked of them: xorshift.
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed | 1) // 0 would stay 0 for ever
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % limit
    }

    /// Every order is as likely as any other: Fisher and Yates.
    pub(crate) fn shuffle<T>(&mut self, things: &mut [T]) {
        for index in (1..things.len()).rev() {
            things.swap(index, self.below(index + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_and_not_the_mean() {
        let odd = summary(&[9.0, 1.0, 1000.0, 2.0, 3.0]).unwrap();
        assert_eq!((odd.count, odd.first_quartile, odd.median, odd.third_quartile), (5, 2.0, 3.0, 9.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median(&[7.0]), 7.0);
        assert_eq!(summary(&[]), None);
    }

    #[test]
    fn quartiles_lie_between_two_times() {
        let four = summary(&[10.0, 20.0, 30.0, 40.0]).unwrap();
        assert_eq!((four.first_quartile, four.third_quartile), (17.5, 32.5));
    }

    #[test]
    fn a_shuffle_keeps_all_and_moves_some() {
        let sorted: Vec<_> = (0..100).collect();
        let mut shuffled = sorted.clone();
        Random::new(7).shuffle(&mut shuffled);
        assert_ne!(shuffled, sorted);
        shuffled.sort();
        assert_eq!(shuffled, sorted);
    }
}
