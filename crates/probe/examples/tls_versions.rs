//! Which versions of TLS a port offers, and what it cost to ask: the bench holds it beside sslscan.
//!
//! `tls_versions ADDRESS:PORT`

use std::error::Error;
use std::io::Write as _;

use stockade_probe::line::{Line, Options};
use stockade_probe::tls::versions;

fn main() -> Result<(), Box<dyn Error>> {
    let to = std::env::args().nth(1).ok_or("ADDRESS:PORT is missing")?;
    let line = Line::new(Options::default());
    let facts = versions(&line, to.parse()?, None);
    let offered: Vec<&str> = facts
        .offered()
        .map(stockade_wire::tls::Version::as_str)
        .collect();
    let spent = line.spent();
    writeln!(
        std::io::stdout(),
        r#"{{"offered": "{}", "connections": {}, "segments": {}}}"#,
        offered.join(" "),
        spent.connections,
        spent.segments
    )?;
    Ok(())
}
