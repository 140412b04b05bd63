//! A maker, and a device with two slots whose boot loader follows the variables of RAUC's script for U-Boot.

use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{SHA256, digest};
use stockade_api::Places;
use stockade_api::update::{Errand, Job, Phase, Slot, Slots, Standing};
use stockade_controls::boot::uboot::Environment;
use stockade_update::maker::{Key, Maker};
use stockade_update::target::{FORM, Kind, System};
use stockade_update::{InstallError, carry_out};
use time::{Duration, OffsetDateTime};

const COPY: usize = 0x1000;
/// A moment with whole seconds, like those in metadata.
pub(crate) const START: OffsetDateTime =
    OffsetDateTime::UNIX_EPOCH.saturating_add(Duration::days(20_000));
pub(crate) const DAY: u64 = 86_400;

pub(crate) struct World {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) maker: Maker,
    pub(crate) now: u64,
}

/// A system: its version at its beginning, and much that has to be whole.
pub(crate) fn image(version: u64, size: usize) -> Vec<u8> {
    let mut image = format!("{version}\n").into_bytes();
    let mut seed = version;
    while image.len() < size - 32 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        image.push(seed.to_be_bytes()[0]);
    }
    let sum = digest(&SHA256, &image);
    image.extend(sum.as_ref());
    image
}

/// The version of a slot's system; none if it is not whole.
pub(crate) fn whole(slot: &[u8], size: usize) -> Option<u64> {
    let image = slot.get(..size)?;
    let (content, sum) = image.split_at(size - 32);
    (digest(&SHA256, content).as_ref() == sum).then_some(())?;
    let end = content.iter().position(|byte| *byte == b'\n')?;
    std::str::from_utf8(&content[..end]).ok()?.parse().ok()
}

pub(crate) const SIZE: usize = 600_000;

impl World {
    /// Version 1 runs in slot A; the maker has published nothing yet.
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let maker = Maker::init(&dir.path().join("maker"), "cam-2", 3, 2, START).unwrap();
        let world = Self {
            dir,
            maker,
            now: u64::try_from(START.unix_timestamp()).unwrap(),
        };
        let put = |path: &str, content: &[u8]| {
            let path = world.root().join(path);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, content).unwrap();
        };
        let config = "/dev/env 0x0 0x1000\n/dev/env 0x1000 0x1000\n";
        put("etc/fw_env.config", config.as_bytes());
        let variables = b"BOOT_ORDER=A B\0BOOT_A_LEFT=3\0BOOT_B_LEFT=3\0\0";
        let mut data = vec![0; COPY - 5];
        data[..variables.len()].copy_from_slice(variables);
        let mut copy = crc32fast::hash(&data).to_le_bytes().to_vec();
        copy.push(1);
        copy.extend(&data);
        put("dev/env", &[copy.as_slice(), &[0xff; COPY]].concat());
        put("dev/a", &image(1, SIZE));
        put("dev/b", &vec![0; SIZE + 4096]);
        let trusted = world.maker.repository().join("metadata/1.root.json");
        put(
            "etc/stockade/update/root.json",
            &fs_err::read(trusted).unwrap(),
        );
        world.runs(Slot::A);
        world
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    pub(crate) fn places(&self) -> Places {
        Places::below(self.root())
    }

    pub(crate) fn publish(&mut self, version: u64) {
        self.publish_as("cam-2", version, &image(version, SIZE));
    }

    pub(crate) fn publish_as(&mut self, model: &str, version: u64, content: &[u8]) {
        let file = self.dir.path().join("system");
        fs_err::write(&file, content).unwrap();
        let key = |name: &str| Key::read(&self.maker.keys().join(format!("{name}.pem"))).unwrap();
        let keys = [key("targets-1"), key("targets-2")];
        let system = System {
            form: FORM,
            model: model.to_owned(),
            version,
            kind: Kind::Image,
            security: version.is_multiple_of(2),
            name: None,
        };
        let done = self.maker.publish(&file, &system, &keys, START).unwrap();
        assert!(done.published);
    }

    /// What the maker has now is fetched.
    pub(crate) fn fetched(&self) {
        let spool = self.places().spool();
        drop(fs_err::remove_dir_all(&spool));
        for folder in ["metadata", "targets"] {
            fs_err::create_dir_all(spool.join(folder)).unwrap();
            for file in fs_err::read_dir(self.maker.repository().join(folder)).unwrap() {
                let file = file.unwrap();
                fs_err::copy(file.path(), spool.join(folder).join(file.file_name())).unwrap();
            }
        }
    }

    pub(crate) fn job(&self, errand: Errand) -> Job {
        Job {
            errand,
            model: "cam-2".to_owned(),
            slots: Some(Slots::UbootEnv {
                a: "/dev/a".to_owned(),
                b: "/dev/b".to_owned(),
            }),
            now: self.now,
        }
    }

    pub(crate) fn does(&self, errand: Errand) -> Result<Standing, InstallError> {
        carry_out(&self.places(), &self.job(errand), &mut |_| ())
    }

    pub(crate) fn install(&self) -> Result<Standing, InstallError> {
        let (version, bundle) = (None, None);
        self.does(Errand::Install { version, bundle })
    }

    pub(crate) fn refused(&self, errand: Errand) -> String {
        format!("{:#}", anyhow::Error::from(self.does(errand).unwrap_err()))
    }

    pub(crate) fn install_refused(&self) -> String {
        let (version, bundle) = (None, None);
        self.refused(Errand::Install { version, bundle })
    }

    pub(crate) fn bundle_refused(&self, bundle: &Path) -> String {
        let bundle = Some(bundle.display().to_string());
        self.refused(Errand::Install {
            version: None,
            bundle,
        })
    }

    fn runs(&self, slot: Slot) {
        let letter = slot.letter();
        let line = format!("console=ttyS0 rauc.slot={letter} ro\n");
        fs_err::create_dir_all(self.root().join("proc")).unwrap();
        fs_err::write(self.root().join("proc/cmdline"), line).unwrap();
        let version = self.version_in(slot).unwrap();
        let about = format!("ID=test\nIMAGE_VERSION={version}\n");
        fs_err::write(self.root().join("etc/os-release"), about).unwrap();
    }

    /// The version of the whole system in a slot.
    pub(crate) fn version_in(&self, slot: Slot) -> Option<u64> {
        let name = slot.letter().to_lowercase();
        let content = fs_err::read(self.root().join("dev").join(name)).unwrap();
        whole(&content, SIZE)
    }

    pub(crate) fn variables(&self) -> Environment {
        let env = fs_err::read(self.root().join("dev/env")).unwrap();
        Environment::read(&[&env[..COPY], &env[COPY..]]).unwrap()
    }

    /// The boot loader: the first slot of the order with tries left, one try less. What it starts must be whole.
    pub(crate) fn boot(&self) -> u64 {
        let mut now = self.variables();
        let order = now.variables["BOOT_ORDER"].clone();
        let slot = order
            .split(' ')
            .map(|letter| if letter == "A" { Slot::A } else { Slot::B })
            .find(|slot| now.variables[&format!("BOOT_{}_LEFT", slot.letter())] != "0")
            .unwrap();
        let left = now
            .variables
            .get_mut(&format!("BOOT_{}_LEFT", slot.letter()))
            .unwrap();
        *left = (left.parse::<u64>().unwrap() - 1).to_string();
        let (copy, bytes) = now.write(COPY).unwrap();
        let mut env = fs_err::read(self.root().join("dev/env")).unwrap();
        env[copy * COPY..][..COPY].copy_from_slice(&bytes);
        fs_err::write(self.root().join("dev/env"), env).unwrap();
        self.runs(slot);
        self.version_in(slot).unwrap()
    }

    pub(crate) fn phase(&self) -> Phase {
        self.does(Errand::Settle).unwrap().phase
    }
}
