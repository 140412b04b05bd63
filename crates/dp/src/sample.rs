//! Draws that are exact: Canonne, Kamath and Steinke, "The Discrete Gaussian for Differential Privacy", 2020
//! (arXiv:2004.00010), algorithms 1 to 3. Whole numbers only: a floating-point draw leaves gaps that show what it was
//! added to (Mironov, 2012).
//!
//! How long a draw takes depends on what is drawn.

/// Where randomness comes from; only what no one can foretell will do.
pub trait Random {
    /// Fills `bytes`.
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), SampleError>;
}

/// Why nothing was drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SampleError {
    /// The source of randomness failed.
    #[error("no random numbers")]
    NoRandomness,
    /// A step does not fit into 128 bits, which an exact draw needs.
    #[error("the noise is too large to be drawn exactly")]
    TooLarge,
}

/// A whole number from 0 up to, and without, `bound`.
pub(crate) fn uniform(random: &mut impl Random, bound: u128) -> Result<u128, SampleError> {
    let last = bound.checked_sub(1).ok_or(SampleError::TooLarge)?;
    let mask = u128::MAX
        .checked_shr(last.leading_zeros())
        .unwrap_or_default();
    loop {
        let mut bytes = [0; 16];
        random.fill(&mut bytes)?;
        let drawn = u128::from_le_bytes(bytes) & mask;
        if drawn <= last {
            return Ok(drawn);
        }
    }
}

/// True with probability `over / under`.
fn bernoulli(random: &mut impl Random, over: u128, under: u128) -> Result<bool, SampleError> {
    Ok(uniform(random, under)? < over)
}

/// True with probability e^(-`over` / `under`): algorithm 1.
pub(crate) fn bernoulli_exp(
    random: &mut impl Random,
    over: u128,
    under: u128,
) -> Result<bool, SampleError> {
    let whole = over.checked_div(under).ok_or(SampleError::TooLarge)?;
    let rest = over.checked_rem(under).ok_or(SampleError::TooLarge)?;
    for _ in 0..whole {
        if !bernoulli_exp_of_part(random, 1, 1)? {
            return Ok(false);
        }
    }
    bernoulli_exp_of_part(random, rest, under)
}

/// Algorithm 1 for exponents of at most 1.
fn bernoulli_exp_of_part(
    random: &mut impl Random,
    over: u128,
    under: u128,
) -> Result<bool, SampleError> {
    let mut odd = true;
    let mut divisor = under;
    while bernoulli(random, over, divisor)? {
        odd = !odd;
        divisor = divisor.checked_add(under).ok_or(SampleError::TooLarge)?;
    }
    Ok(odd)
}

/// Discrete Laplace noise of scale `over / under`: algorithm 2. P(x) is proportional to e^(-|x| `under` / `over`).
pub fn laplace(random: &mut impl Random, over: u128, under: u128) -> Result<i128, SampleError> {
    loop {
        let part = uniform(random, over)?;
        if !bernoulli_exp(random, part, over)? {
            continue;
        }
        let mut wholes: u128 = 0;
        while bernoulli_exp_of_part(random, 1, 1)? {
            wholes = wholes.checked_add(1).ok_or(SampleError::TooLarge)?;
        }
        let size = over
            .checked_mul(wholes)
            .and_then(|it| it.checked_add(part))
            .and_then(|it| it.checked_div(under))
            .and_then(|it| i128::try_from(it).ok())
            .ok_or(SampleError::TooLarge)?;
        let negative = bernoulli(random, 1, 2)?;
        if negative && size == 0 {
            continue;
        }
        return Ok(if negative {
            size.saturating_neg()
        } else {
            size
        });
    }
}

/// Discrete Gaussian noise of variance parameter `over / under`: algorithm 3. P(x) is proportional to
/// e^(-x² `under` / (2 `over`)).
pub fn gaussian(random: &mut impl Random, over: u128, under: u128) -> Result<i128, SampleError> {
    let scale = over
        .checked_div(under)
        .and_then(|variance| variance.isqrt().checked_add(1))
        .ok_or(SampleError::TooLarge)?;
    // (|y| - σ²/t)² / 2σ² with σ² = over/under, all over one denominator.
    let step = scale.checked_mul(under).ok_or(SampleError::TooLarge)?;
    let divisor = step
        .checked_mul(scale)
        .and_then(|it| it.checked_mul(over))
        .and_then(|it| it.checked_mul(2))
        .ok_or(SampleError::TooLarge)?;
    loop {
        let drawn = laplace(random, scale, 1)?;
        let exponent = drawn
            .unsigned_abs()
            .checked_mul(step)
            .map(|at| at.abs_diff(over))
            .and_then(|away| away.checked_mul(away))
            .ok_or(SampleError::TooLarge)?;
        if bernoulli_exp(random, exponent, divisor)? {
            return Ok(drawn);
        }
    }
}
