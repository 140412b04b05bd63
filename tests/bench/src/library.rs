//! What reading files takes: MUD files and captures.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use stockade_controls::firewall::learn::{Header, Observer, learn};
use stockade_profile::LinkAddress;
use stockade_profile::mud::{self, ImportOptions};
use stockade_wire::capture::Reader;

use crate::fleet::files;
use crate::report::Row;

/// Folders of the corpus that hold MUD files.
const FOLDERS: [&str; 7] = [
    "cisco",
    "misc",
    "mud-visualizer",
    "mudmaker",
    "nist",
    "osmud",
    "unsw",
];

/// Reads and imports every MUD file, each several times, of which the fastest counts: the rest is the machine's noise.
pub(crate) fn import(corpus: &Path) -> Result<Option<Row>> {
    let mut slowest = (Duration::ZERO, PathBuf::new());
    let (mut count, mut rules, mut held) = (0, 0, 0);
    for folder in FOLDERS {
        for path in files(&corpus.join(folder))? {
            let bytes = fs_err::read(&path)?;
            let mut best = Duration::MAX;
            for _ in 0..5 {
                let begun = Instant::now();
                let file = mud::read(&bytes).with_context(|| path.display().to_string())?;
                let imported = mud::import(&file, &ImportOptions::default());
                let took = begun.elapsed();
                if best == Duration::MAX {
                    rules += imported.count().total();
                    held += imported.count().held();
                }
                best = best.min(took);
            }
            count += 1;
            if best > slowest.0 {
                slowest = (best, path);
            }
        }
    }
    if count == 0 {
        return Ok(None);
    }
    let name = slowest.1.file_name().unwrap_or_default().to_string_lossy();
    let what = format!("import of a MUD file, slowest of {count} ({name})");
    let ours = format!("{:.2} ms", slowest.0.as_secs_f64() * 1e3);
    let beside = format!("{held} of {rules} rules");
    Ok(Some(
        Row::new(&what, ours, &beside).aim("< 10 ms", slowest.0 < Duration::from_millis(10)),
    ))
}

/// Learns each device of the captures from all it has.
pub(crate) fn learning(captures: &Path) -> Result<Option<Row>> {
    if !captures.is_dir() {
        return Ok(None);
    }
    let mut slowest = (Duration::ZERO, String::new());
    let mut count = 0;
    let mut folders: Vec<PathBuf> = fs_err::read_dir(captures)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    folders.retain(|folder| folder.join("_iotdevice-mac.txt").is_file());
    folders.sort();
    for folder in folders {
        let mac = fs_err::read_to_string(folder.join("_iotdevice-mac.txt"))?;
        let device: LinkAddress = mac.trim().to_lowercase().parse()?;
        let mut files: Vec<PathBuf> = fs_err::read_dir(&folder)?
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<Result<_, _>>()?;
        files.retain(|file| file.extension().is_some_and(|it| it == "pcap"));
        files.sort();
        let captured: Vec<Vec<u8>> = files.iter().map(fs_err::read).collect::<Result<_, _>>()?;
        let header = Header {
            manufacturer: "unknown".parse()?,
            model: "learned".parse()?,
        };
        let begun = Instant::now();
        let mut observations = Vec::new();
        for bytes in &captured {
            let mut observer = Observer::new(device);
            let mut reader = Reader::new(bytes);
            while let Some(frame) = reader.next().transpose()? {
                observer.frame(&frame);
            }
            observations.push(observer.finish());
        }
        learn(&header, &observations)?;
        let took = begun.elapsed();
        count += 1;
        if took > slowest.0 {
            let name = folder.file_name().unwrap_or_default().to_string_lossy();
            slowest = (took, format!("{name}, {} captures", files.len()));
        }
    }
    if count == 0 {
        return Ok(None);
    }
    let what = format!("learning a device, slowest of {count} ({})", slowest.1);
    let ours = format!("{:.0} ms", slowest.0.as_secs_f64() * 1e3);
    Ok(Some(
        Row::new(&what, ours, "").aim("< 1 s", slowest.0 < Duration::from_secs(1)),
    ))
}
