//! Making a value coarser: times, places, numbers. `None` means the value has not the shape for it.

use stockade_profile::Generalisation;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::value::{Fields, Value};

/// Numbers from here on are milliseconds since 1970, smaller ones seconds: as seconds this is the year 5138.
const MILLISECONDS_FROM: f64 = 1e11;
/// Metres of one degree of latitude: a quarter of the meridian, 10,001,966 m on WGS 84, over 90.
const METRES_PER_DEGREE: f64 = 111_132.95;
/// Whole numbers up to here have an exact double.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// `value` made as coarse as `to` says.
pub(crate) fn generalise(value: &Value, to: Generalisation) -> Option<Value> {
    match to {
        Generalisation::Duration(step) => {
            let floored = floor_time(instant(value)?, step.as_secs())?;
            floored.format(&Rfc3339).ok().map(Value::Text)
        }
        Generalisation::Distance(cell) => place(value, f64::from(cell.metres())),
        Generalisation::Step(step) => number(value, step.millionths()),
        // The hierarchy is the field's: without it there is nothing that a value could become.
        Generalisation::Level(_) => None,
    }
}

/// The time that a value says: RFC 3339 text, or seconds or milliseconds since 1970.
pub(crate) fn instant(value: &Value) -> Option<OffsetDateTime> {
    match value {
        Value::Text(text) => OffsetDateTime::parse(text, &Rfc3339).ok(),
        Value::Integer(_) | Value::Float(_) => {
            let number = value.number()?;
            let seconds = if number.abs() >= MILLISECONDS_FROM {
                number / 1_000.0
            } else {
                number
            };
            // Beyond what a date can be, the conversion below says so.
            #[expect(
                clippy::cast_possible_truncation,
                reason = "to whole seconds; saturates"
            )]
            let whole = seconds.floor() as i64;
            OffsetDateTime::from_unix_timestamp(whole).ok()
        }
        _ => None,
    }
}

/// The start of the interval that `time` is in; intervals are counted from 1970-01-01 00:00 UTC.
pub(crate) fn floor_time(time: OffsetDateTime, step: u64) -> Option<OffsetDateTime> {
    let step = i64::try_from(step).ok().filter(|step| *step > 0)?;
    let seconds = time.unix_timestamp();
    // Years are kept to four digits, as RFC 3339 has them.
    let floored =
        OffsetDateTime::from_unix_timestamp(seconds.checked_sub(seconds.rem_euclid(step))?).ok()?;
    (0..=9999).contains(&floored.year()).then_some(floored)
}

/// The middle of the cell of about `metres` by `metres` that a place is in; nothing but latitude and longitude.
fn place(value: &Value, metres: f64) -> Option<Value> {
    let Value::Map(fields) = value else {
        return None;
    };
    let coordinate = |name: &str, limit: f64| {
        fields
            .get(name)?
            .number()
            .filter(|degrees| degrees.abs() <= limit)
    };
    let (lat, lon) = (coordinate("lat", 90.0)?, coordinate("lon", 180.0)?);

    // Bands of latitude, counted from the south pole, as many as fit.
    let bands = (180.0 * METRES_PER_DEGREE / metres).floor().max(1.0);
    let height = 180.0 / bands;
    let band = ((lat + 90.0) / height).floor().min(bands - 1.0);
    let middle = (band + 0.5).mul_add(height, -90.0);
    // Each band is cut into equal cells, no narrower than asked for; around the poles into one.
    let around = 360.0 * METRES_PER_DEGREE * middle.to_radians().cos();
    let cells = (around / metres).floor().max(1.0);
    let width = 360.0 / cells;
    // The date line has two names.
    let east = (lon + 180.0).rem_euclid(360.0);
    let cell = (east / width).floor().min(cells - 1.0);
    let centre = (cell + 0.5).mul_add(width, -180.0);

    let rounded = |degrees: f64| Value::Float((degrees * 1e6).round() / 1e6);
    Some(Value::Map(Fields::from([
        ("lat".to_owned(), rounded(middle)),
        ("lon".to_owned(), rounded(centre)),
    ])))
}

/// The greatest multiple of the step that is not above the number.
fn number(value: &Value, millionths: u64) -> Option<Value> {
    let step = i128::from(millionths);
    match value {
        Value::Integer(number) => {
            let scaled = number.checked_mul(1_000_000)?;
            let floored = scaled - scaled.rem_euclid(step);
            if floored % 1_000_000 == 0 {
                let whole = floored / 1_000_000;
                // Rounding down may leave the range that every format has.
                return (whole >= i128::from(i64::MIN)).then_some(Value::Integer(whole));
            }
            #[expect(clippy::cast_precision_loss, reason = "a coarse number")]
            Some(Value::Float(floored as f64 / 1e6))
        }
        Value::Float(number) => {
            if !number.is_finite() {
                return None;
            }
            let scaled = number * 1e6;
            if scaled.abs() >= EXACT {
                // Already coarser than a millionth: whole steps of it, as far as a double tells them apart.
                #[expect(clippy::cast_precision_loss, reason = "a coarse number")]
                let step = millionths as f64 / 1e6;
                let floored = (number / step).floor() * step;
                return floored.is_finite().then_some(Value::Float(floored));
            }
            #[expect(clippy::cast_possible_truncation, reason = "smaller than 2^53")]
            let scaled = scaled.floor() as i128;
            #[expect(clippy::cast_precision_loss, reason = "smaller than 2^53 and a step")]
            let floored = (scaled - scaled.rem_euclid(step)) as f64 / 1e6;
            Some(Value::Float(floored))
        }
        _ => None,
    }
}
