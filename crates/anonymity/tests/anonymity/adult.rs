//! The Adult census with ARX's hierarchies, where it is; nothing of it is committed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use stockade_anonymity::{Hierarchy, Role, Table, csv};

/// What ARX's own example and our measurements of others take for known to strangers.
pub(crate) const QUASI: [&str; 8] = [
    "sex",
    "age",
    "race",
    "marital-status",
    "education",
    "native-country",
    "workclass",
    "occupation",
];
const SENSITIVE: &str = "salary-class";

/// Beside the repository; of no use where it is not.
pub(crate) fn folder() -> PathBuf {
    let above = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    let mut places = above.map(|it| it.join("shared/data/vault"));
    places.find(|it| it.is_dir()).unwrap_or_default()
}

/// The table and the hierarchy of each column; none where the data is not.
pub(crate) fn adult() -> Option<(Table, BTreeMap<String, Hierarchy>)> {
    let bytes = fs_err::read(folder().join("adult_arx.csv")).ok()?;
    let quasi = QUASI.iter().map(|name| ((*name).to_owned(), Role::Quasi));
    let roles = quasi.chain([(SENSITIVE.to_owned(), Role::Sensitive)]);
    let table = csv::table(&bytes, &roles.collect(), None).expect("a table");
    let hierarchy = |name: &&str| {
        let path = folder().join(format!("adult_hierarchies/adult_hierarchy_{name}.csv"));
        let bytes = fs_err::read(path).expect("its hierarchy");
        let rows = csv::records(&bytes).expect("rows");
        let column = table.column(name).expect("its column");
        let hierarchy = Hierarchy::of_rows(column, &rows).expect("a hierarchy of it");
        ((*name).to_owned(), hierarchy)
    };
    let hierarchies = QUASI.iter().map(hierarchy).collect();
    Some((table, hierarchies))
}
