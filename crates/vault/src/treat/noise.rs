//! Noise on one event: local differential privacy for the event, and for nothing more (NIST SP 800-226, unit of privacy).

use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use stockade_dp::{Random, SampleError, laplace};
use stockade_profile::{Decimal, Range, Step};
use zeroize::Zeroizing;

use super::Dropped;
use crate::value::Value;

/// The system's randomness, fetched for a whole draw at once; none is used twice.
pub(crate) struct System {
    random: SystemRandom,
    pool: Zeroizing<[u8; 256]>,
    used: usize,
}

impl System {
    pub(crate) fn new() -> Self {
        let pool = Zeroizing::new([0; 256]);
        Self {
            random: SystemRandom::new(),
            used: pool.len(),
            pool,
        }
    }

    fn fetch(&self, bytes: &mut [u8]) -> Result<(), SampleError> {
        let fetched = self.random.fill(bytes);
        fetched.map_err(|_| SampleError::NoRandomness)
    }
}

impl Random for System {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), SampleError> {
        if bytes.len() > self.pool.len().saturating_sub(self.used) {
            let mut pool = Zeroizing::new([0; 256]);
            self.fetch(&mut *pool)?;
            (self.pool, self.used) = (pool, 0);
        }
        let end = self.used.saturating_add(bytes.len());
        // More than a pool at once comes from the system itself.
        let Some(part) = self.pool.get(self.used..end) else {
            return self.fetch(bytes);
        };
        bytes.copy_from_slice(part);
        self.used = end;
        Ok(())
    }
}

/// The number, rounded to the step, with discrete Laplace noise of scale (steps in the range) / ε: two numbers of the
/// range are told apart by the answer no better than by a factor e^ε.
pub(super) fn add(
    value: &Value,
    range: Range,
    to: Step,
    epsilon: Decimal,
) -> Result<Value, Dropped> {
    let millionths = match value {
        Value::Integer(number) => number.checked_mul(1_000_000),
        #[expect(
            clippy::cast_possible_truncation,
            reason = "it is within a range, whose bounds fit"
        )]
        Value::Float(number) if number.is_finite() => Some((number * 1e6).round() as i128),
        _ => None,
    };
    let step = i128::from(to.millionths());
    let index = |millionths: i128| millionths.checked_div_euclid(step);
    let (min, max) = (range.min.millionths(), range.max.millionths());
    let widths = index(max.into()).zip(index(min.into()));
    let widths = widths.and_then(|(last, first)| u128::try_from(last.checked_sub(first)?).ok());
    let (index, widths) = millionths
        .and_then(index)
        .zip(widths)
        .ok_or(Dropped::WrongShape)?;
    // A range within one step has nothing to hide: every number becomes the same.
    let noise = match u128::try_from(epsilon.millionths()) {
        Ok(epsilon) if widths > 0 && epsilon > 0 => widths
            .checked_mul(1_000_000)
            .ok_or(SampleError::TooLarge)
            .and_then(|over| laplace(&mut System::new(), over, epsilon))
            .map_err(|_| Dropped::Sealed)?,
        Ok(_) if widths == 0 => 0,
        _ => return Err(Dropped::Sealed),
    };
    let noisy = index
        .checked_add(noise)
        .and_then(|index| index.checked_mul(step))
        .ok_or(Dropped::Sealed)?;
    let whole = (noisy % 1_000_000 == 0).then_some(noisy / 1_000_000);
    Ok(match whole.and_then(|whole| i64::try_from(whole).ok()) {
        Some(whole) => Value::Integer(whole.into()),
        #[expect(clippy::cast_precision_loss, reason = "a number with noise")]
        None => Value::Float(noisy as f64 / 1e6),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_randomness_comes_twice_whatever_is_asked_for() {
        let mut system = System::new();
        let mut seen = std::collections::BTreeSet::new();
        for length in (16..=512).step_by(16).chain([256, 257, 16]) {
            let mut bytes = vec![0; length];
            system.fill(&mut bytes).expect("randomness");
            for part in bytes.chunks_exact(16) {
                assert!(seen.insert(part.to_vec()), "{length}");
            }
        }
    }
}
