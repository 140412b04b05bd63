//! The draws have the distribution they claim.

use std::collections::BTreeMap;

use stockade_dp::{Random, SampleError, gaussian, laplace};

use crate::Seeded;

const DRAWS: u32 = 30_000;

/// Pearson's statistic of the draws against weights, and its degrees of freedom: values that are expected less than ten
/// times are one cell.
fn chi_square(
    mut draw: impl FnMut(&mut Seeded) -> Result<i128, SampleError>,
    weight: impl Fn(f64) -> f64,
) -> (f64, f64) {
    let mut random = Seeded(2_026);
    let mut seen: BTreeMap<i128, f64> = BTreeMap::new();
    for _ in 0..DRAWS {
        *seen.entry(draw(&mut random).expect("drawn")).or_default() += 1.0;
    }
    let total: f64 = (-2_000..=2_000_i32).map(|x| weight(x.into())).sum();
    let (mut statistic, mut cells) = (0.0, 0.0);
    let (mut rest_seen, mut rest_expected) = (f64::from(DRAWS), f64::from(DRAWS));
    for x in -2_000..=2_000_i32 {
        let expected = f64::from(DRAWS) * weight(x.into()) / total;
        if expected >= 10.0 {
            let seen = seen.get(&x.into()).copied().unwrap_or_default();
            statistic += (seen - expected).powi(2) / expected;
            cells += 1.0;
            rest_seen -= seen;
            rest_expected -= expected;
        }
    }
    if rest_expected >= 1.0 {
        statistic += (rest_seen - rest_expected).powi(2) / rest_expected;
        cells += 1.0;
    }
    (statistic, cells - 1.0)
}

/// Within four deviations: one chance in 30,000, and the seed is fixed.
fn fits((statistic, freedom): (f64, f64)) -> bool {
    statistic < 4.0_f64.mul_add((2.0 * freedom).sqrt(), freedom)
}

#[test]
fn laplace_draws_have_the_published_distribution() {
    for (over, under) in [(1, 2), (1, 1), (7, 2), (20, 1), (1_000_000, 100_000)] {
        #[expect(clippy::cast_precision_loss, reason = "small")]
        let scale = over as f64 / under as f64;
        let fit = chi_square(
            |random| laplace(random, over, under),
            |x| (-x.abs() / scale).exp(),
        );
        assert!(fits(fit), "scale {over}/{under}: {fit:?}");
    }
}

#[test]
fn gaussian_draws_have_the_published_distribution() {
    for (over, under) in [(1, 4), (1, 1), (9, 2), (400, 1)] {
        #[expect(clippy::cast_precision_loss, reason = "small")]
        let variance = over as f64 / under as f64;
        let fit = chi_square(
            |random| gaussian(random, over, under),
            |x| (-x * x / (2.0 * variance)).exp(),
        );
        assert!(fits(fit), "variance {over}/{under}: {fit:?}");
    }
}

#[test]
fn the_test_of_distributions_sees_a_wrong_one() {
    let wrong_scale = chi_square(|random| laplace(random, 7, 2), |x| (-x.abs() / 3.75).exp());
    assert!(!fits(wrong_scale), "{wrong_scale:?}");
    // What a rounded Gaussian would give is not what a Laplace gives.
    let wrong_kind = chi_square(|random| laplace(random, 3, 1), |x| (-x * x / 18.0).exp());
    assert!(!fits(wrong_kind), "{wrong_kind:?}");
}

#[test]
fn no_randomness_no_draw() {
    struct Broken;
    impl Random for Broken {
        fn fill(&mut self, _: &mut [u8]) -> Result<(), SampleError> {
            Err(SampleError::NoRandomness)
        }
    }
    assert_eq!(laplace(&mut Broken, 5, 1), Err(SampleError::NoRandomness));
    assert_eq!(gaussian(&mut Broken, 5, 1), Err(SampleError::NoRandomness));
    assert_eq!(laplace(&mut Seeded(1), 0, 1), Err(SampleError::TooLarge));
    assert_eq!(laplace(&mut Seeded(1), 1, 0), Err(SampleError::TooLarge));
    assert_eq!(gaussian(&mut Seeded(1), 1, 0), Err(SampleError::TooLarge));
    assert_eq!(
        gaussian(&mut Seeded(1), u128::MAX, 1),
        Err(SampleError::TooLarge)
    );
}
