//! Counts, codes and fractions, turned into one another without losing anything that a table can hold.

/// A code as a place in a list.
pub(crate) const fn place(code: u32) -> usize {
    const { assert!(usize::BITS >= 32, "a code is a place in memory") };
    #[expect(clippy::as_conversions, reason = "32 bits fit, as was just asked")]
    {
        code as usize
    }
}

/// A place in a list of no more than `u32::MAX` as a code; tables hold no longer ones.
pub(crate) fn code(place: usize) -> u32 {
    u32::try_from(place).unwrap_or(u32::MAX)
}
/// A count as a number to reckon with.
#[expect(
    clippy::cast_precision_loss,
    clippy::as_conversions,
    reason = "counts stay far below 2^53"
)]
pub(crate) const fn real(count: usize) -> f64 {
    count as f64
}

/// A part of a whole; nothing of nothing.
pub(crate) fn share(part: usize, whole: usize) -> f64 {
    if whole == 0 {
        return 0.0;
    }
    real(part) / real(whole)
}

/// A number without its fraction; nothing for what is below 0 or none.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::as_conversions,
    reason = "saturates, as was asked"
)]
pub(crate) const fn whole_part(number: f64) -> usize {
    number as usize
}
