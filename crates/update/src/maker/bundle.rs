//! A bundle: the repository as one file, for devices that reach no network.

use std::io::{self, Read as _, Write as _};
use std::path::Path;

use super::{Maker, MakerError, Role, enough};
use crate::{METADATA, TARGETS};

/// The largest file that the header has room for: eleven octal digits.
const MOST: u64 = (1 << 33) - 1;

impl Maker {
    /// Writes a bundle: all metadata, and the newest system of each model. How many bytes it has.
    pub fn bundle(&self, out: &Path) -> Result<u64, MakerError> {
        let root = self.latest(Role::Root)?;
        let mut files = Vec::new();
        for version in 1..=root.version() {
            files.push((METADATA, Role::Root.file(version)));
        }
        let targets = self.latest(Role::Targets)?;
        for role in [Role::Targets, Role::Snapshot, Role::Timestamp] {
            let latest = self.latest(role)?;
            enough(&root, &latest)?;
            files.push((METADATA, role.file(latest.version())));
        }
        let systems: Vec<_> = targets.systems().collect();
        let newest = |model: &str| {
            systems
                .iter()
                .map(|(_, it)| it)
                .filter(|it| it.model == model)
                .map(|it| it.version)
                .max()
        };
        let newest = systems
            .iter()
            .filter(|(_, it)| Some(it.version) == newest(&it.model));
        files.extend(newest.map(|(file, _)| (TARGETS, file.clone())));
        if out.exists() {
            return Err(MakerError::Exists(out.to_owned()));
        }
        let new = out.with_extension("new");
        let mut to = io::BufWriter::new(fs_err::File::create(&new)?);
        for (folder, name) in &files {
            let mut from = fs_err::File::open(self.repository().join(folder).join(name))?;
            let length = from.metadata()?.len();
            let header = header(folder, name, length);
            to.write_all(
                &header.ok_or_else(|| {
                    MakerError::Asked(format!("{name} does not fit into a bundle"))
                })?,
            )?;
            let copied = io::copy(&mut from, &mut to)?;
            if copied != length {
                return Err(io::Error::other(format!("{name} changed while it was read")).into());
            }
            let padding = length.next_multiple_of(512).saturating_sub(length);
            io::copy(&mut io::repeat(0).take(padding), &mut to)?;
        }
        // tar(5): two blocks of zeros are the end.
        to.write_all(&[0; 1024])?;
        let file = to.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        let length = file.metadata()?.len();
        fs_err::rename(&new, out)?;
        Ok(length)
    }
}

/// tar(5), "POSIX ustar Archives". The same repository gives the same bytes: no time, no owner.
fn header(folder: &str, name: &str, length: u64) -> Option<[u8; 512]> {
    let mut block = [0; 512];
    let mut put = |at: usize, text: &str| -> Option<()> {
        block
            .get_mut(at..at.checked_add(text.len())?)?
            .copy_from_slice(text.as_bytes());
        Some(())
    };
    // A name that is too long has its folder in the prefix.
    let whole = format!("{folder}/{name}");
    if whole.len() <= 100 {
        put(0, &whole)?;
    } else if name.len() <= 100 {
        put(0, name)?;
        put(345, folder)?;
    } else {
        return None;
    }
    put(100, "0000644\0")?;
    put(108, "0000000\0")?;
    put(116, "0000000\0")?;
    put(
        124,
        &format!("{:011o}\0", Some(length).filter(|it| *it <= MOST)?),
    )?;
    put(136, "00000000000\0")?;
    put(148, "        ")?;
    put(156, "0")?;
    put(257, "ustar\x0000")?;
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    let sum = format!("{sum:06o}\0 ");
    block.get_mut(148..156)?.copy_from_slice(sum.as_bytes());
    Some(block)
}
