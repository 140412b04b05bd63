//! The table.

/// A row: what, ours, a peer's, what is aimed at, and whether that was reached.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) what: String,
    pub(crate) ours: String,
    pub(crate) beside: String,
    pub(crate) aim: String,
    pub(crate) hit: Option<bool>,
}

impl Row {
    pub(crate) fn new(what: &str, ours: String, beside: &str) -> Self {
        Self {
            what: what.to_owned(),
            ours,
            beside: beside.to_owned(),
            aim: String::new(),
            hit: None,
        }
    }

    /// With an aim, and whether it is reached.
    pub(crate) fn aim(mut self, aim: &str, hit: bool) -> Self {
        aim.clone_into(&mut self.aim);
        self.hit = Some(hit);
        self
    }
}

/// All rows as one text.
pub(crate) fn table(rows: &[Row]) -> String {
    let mut cells = vec![["", "ours", "beside it", "aim", "hit"].map(str::to_owned)];
    cells.extend(rows.iter().map(|row| {
        let hit = match row.hit {
            Some(true) => "yes",
            Some(false) => "NO",
            None => "",
        };
        [
            row.what.clone(),
            row.ours.clone(),
            row.beside.clone(),
            row.aim.clone(),
            hit.to_owned(),
        ]
    }));
    let width = |column: usize| {
        let lengths = cells.iter().map(|row| row[column].chars().count());
        lengths.max().unwrap_or_default()
    };
    let widths = [0, 1, 2, 3, 4].map(width);
    let line = |row: &[String; 5]| {
        let padded: Vec<String> = row
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        padded.join("  ").trim_end().to_owned()
    };
    cells.iter().map(line).collect::<Vec<_>>().join("\n")
}
