//! Times cut into equal parts.

/// Equal intervals, counted from 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Intervals {
    pub(crate) width: i64,
    pub(crate) first: i64,
    pub(crate) count: u32,
}

impl Intervals {
    /// The intervals of `width` seconds that touch `from..to`, if there are no more than `most`.
    pub(super) fn over(from: i64, to: i64, width: u32, most: u64) -> Option<Self> {
        let width = i64::from(width);
        let first = from.checked_div_euclid(width)?;
        let last = to.checked_sub(1)?.checked_div_euclid(width)?;
        let count = last.checked_sub(first)?.checked_add(1)?;
        let count = u32::try_from(count).ok()?;
        (u64::from(count) <= most).then_some(Self {
            width,
            first,
            count,
        })
    }

    /// Which one `at` is in.
    pub(crate) fn of(self, at: i64) -> Option<u32> {
        let index = at.checked_div_euclid(self.width)?.checked_sub(self.first)?;
        u32::try_from(index)
            .ok()
            .filter(|index| *index < self.count)
    }

    /// How many of these one of the other intervals touches at most.
    pub(super) fn in_one_of(self, other: Option<Self>) -> u128 {
        let Some(other) = other.filter(|other| other.count > 1) else {
            return self.count.into();
        };
        let whole = other.width.checked_div(self.width).unwrap_or_default();
        let touched = if self.width.checked_rem(other.width) == Some(0) {
            1
        } else if other.width.checked_rem(self.width) == Some(0) {
            whole
        } else {
            whole.saturating_add(2)
        };
        u128::try_from(touched).unwrap_or_default()
    }
}
