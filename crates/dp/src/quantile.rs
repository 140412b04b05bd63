//! One of many, chosen so that no subject moves the choice much: permute-and-flip (`McKenna` and Sheldon, 2020), which is
//! ε-private, and never further off than the exponential mechanism.

use crate::sample::{Random, SampleError, bernoulli_exp, uniform};

/// Chooses among `scores`: a score is what a candidate lacks. In a random order, each is taken with probability
/// e^(-(score - best) `over` / (2 `under`)), where `over / under` is ε for each that one subject moves a score by.
pub(crate) fn choose(
    random: &mut impl Random,
    scores: &[u128],
    over: u128,
    under: u128,
) -> Result<Option<usize>, SampleError> {
    let Some(best) = scores.iter().min().copied() else {
        return Ok(None);
    };
    let mut left: Vec<(usize, u128)> = scores.iter().copied().enumerate().collect();
    let under = under.checked_mul(2).ok_or(SampleError::TooLarge)?;
    while !left.is_empty() {
        let bound = u128::try_from(left.len()).map_err(|_| SampleError::TooLarge)?;
        let at = usize::try_from(uniform(random, bound)?).map_err(|_| SampleError::TooLarge)?;
        let (index, score) = left.swap_remove(at);
        let lacks = score
            .saturating_sub(best)
            .checked_mul(over)
            .ok_or(SampleError::TooLarge)?;
        if bernoulli_exp(random, lacks, under)? {
            return Ok(Some(index));
        }
    }
    Ok(None)
}
