//! A town that a fixed seed makes.

use std::collections::BTreeMap;

use stockade_anonymity::attack::Xorshift;
use stockade_anonymity::{Column, Hierarchy, Role, Table};

/// Homes of a town: what neighbours know of them, and when nobody is in. In each quarter, of twelve streets, most live alike.
pub(crate) fn town() -> (Table, BTreeMap<String, Hierarchy>) {
    let mut random = Xorshift::new(7);
    let (mut streets, mut sizes, mut away) = (Vec::new(), Vec::new(), Vec::new());
    for home in 0..1_200 {
        let street = home / 20;
        streets.push(street.to_string());
        sizes.push((20 + random.below(180)).to_string());
        let habit = if random.below(50) == 0 {
            home
        } else {
            street / 12
        };
        away.push(["never", "by day", "by night", "weekends"][habit % 4]);
    }
    let columns = vec![
        Column::new("street", Role::Quasi, streets.iter().map(String::as_str)),
        Column::new("size", Role::Quasi, sizes.iter().map(String::as_str)),
        Column::new("away", Role::Sensitive, away),
    ];
    let table = Table::of_individuals(columns).expect("a table");
    let by = |name: &str, widths: &[f64]| {
        let hierarchy = Hierarchy::of_numbers(table.column(name).expect("its column"), widths)
            .expect("numbers");
        (name.to_owned(), hierarchy)
    };
    let hierarchies = [
        by("street", &[3.0, 6.0, 12.0]),
        by("size", &[10.0, 20.0, 60.0]),
    ];
    (table.clone(), BTreeMap::from(hierarchies))
}
