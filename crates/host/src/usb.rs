//! USB devices as the kernel holds them: each is held while it is judged, so that what is judged is what is let in.

use std::collections::BTreeSet;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use fs_err::os::unix::fs::OpenOptionsExt as _;
use rustix::fs::{Mode, OFlags, open, openat};
use stockade_controls::engine::Unseen;
use stockade_controls::ports::usb::{DEVICES, UsbDevice, is_device};

/// The USB of a machine.
#[derive(Debug)]
pub struct Bus {
    devices: PathBuf,
}

/// A device that is held: one that is plugged in in its place is another.
#[derive(Debug)]
pub struct Held {
    directory: OwnedFd,
    devices: PathBuf,
    port: String,
}

impl Bus {
    /// The USB of the machine whose root directory this is.
    pub fn below(root: &Path) -> Self {
        Self {
            devices: root.join(DEVICES.trim_start_matches('/')),
        }
    }

    /// Where each device is plugged in; none on a machine without USB.
    pub fn devices(&self) -> io::Result<Vec<String>> {
        Ok(self
            .names()?
            .into_iter()
            .filter(|name| is_device(name))
            .collect())
    }

    /// Whether the controllers use what is plugged in without being asked (`authorized_default`); changes it where it differs.
    pub fn ask_first(&self) -> io::Result<()> {
        for name in self.names()?.iter().filter(|name| name.starts_with("usb")) {
            let path = self.devices.join(name).join("authorized_default");
            if fs_err::read_to_string(&path)?.trim_end() != "0" {
                write(&path, "0")?;
            }
        }
        Ok(())
    }

    /// Takes hold of the device at a port; none if there is none.
    pub fn hold(&self, port: &str) -> io::Result<Option<Held>> {
        if !is_device(port) || port.contains('/') {
            return Ok(None);
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match open(self.devices.join(port), flags, Mode::empty()) {
            Ok(directory) => Ok(Some(Held {
                directory,
                devices: self.devices.clone(),
                port: port.to_owned(),
            })),
            Err(rustix::io::Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    fn names(&self) -> io::Result<Vec<String>> {
        let entries = match std::fs::read_dir(&self.devices) {
            Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut names = Vec::new();
        for entry in entries {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        Ok(names)
    }
}

impl Held {
    /// What it says of itself.
    pub fn read(&self) -> Result<UsbDevice, Unseen> {
        UsbDevice::read(&self.port, &|name, most| {
            let unseen = |why: io::Error| match why.kind() {
                io::ErrorKind::NotFound => Unseen::Absent,
                // What is unplugged while it is read.
                _ if why.raw_os_error() == Some(libc::ENODEV) => Unseen::Absent,
                _ => Unseen::Failed(why.to_string()),
            };
            let mut bytes = Vec::new();
            let file = self.file(name, false).map_err(unseen)?;
            let limit = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
            file.take(limit).read_to_end(&mut bytes).map_err(unseen)?;
            if bytes.len() > most {
                return Err(Unseen::TooMuch(most));
            }
            Ok(bytes)
        })
    }

    /// Where it is below `/sys/devices`.
    pub fn place(&self) -> io::Result<PathBuf> {
        fs_err::read_link(self.name())
    }

    /// Lets all of it be used, or nothing.
    pub fn authorize(&self, all: bool) -> io::Result<()> {
        let value = if all { b"1" } else { b"0" };
        self.file("authorized", true)?.write_all(value)
    }

    /// Lets only the interfaces of these numbers be used: the device is let in while its controller lets in no interface
    /// (`Documentation/usb/authorization.rst`), and then they one by one.
    pub fn authorize_only(&self, numbers: &BTreeSet<u8>) -> io::Result<()> {
        let bus = self.port.split('-').next().unwrap_or_default();
        let default = self
            .devices
            .join(format!("usb{bus}/interface_authorized_default"));
        self.authorize(false)?;
        write(&default, "0")?;
        let authorized = self.authorize(true).and_then(|()| {
            for (name, number) in self.interfaces()? {
                if numbers.contains(&number) {
                    self.file(&format!("{name}/authorized"), true)?
                        .write_all(b"1")?;
                    // No driver is looked for by itself then.
                    write(&self.devices.join("../drivers_probe"), &name)?;
                }
            }
            Ok(())
        });
        let back = write(&default, "1");
        authorized.and(back)
    }

    /// Whether interfaces of other numbers are in use.
    pub fn uses_others(&self, numbers: &BTreeSet<u8>) -> io::Result<bool> {
        for (name, number) in self.interfaces()? {
            let mut value = String::new();
            let mut file = self.file(&format!("{name}/authorized"), false)?;
            file.read_to_string(&mut value)?;
            if value.trim_end() != "0" && !numbers.contains(&number) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The names and numbers of its interfaces, in the configuration that is in use.
    fn interfaces(&self) -> io::Result<Vec<(String, u8)>> {
        let mut all = Vec::new();
        for entry in std::fs::read_dir(self.name())? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            let own = name
                .strip_prefix(&*self.port)
                .and_then(|rest| rest.strip_prefix(':'));
            let number = own.and_then(|rest| rest.rsplit_once('.')?.1.parse().ok());
            all.extend(number.map(|number| (name, number)));
        }
        Ok(all)
    }

    /// The name by which the kernel finds what is held, and nothing else.
    fn name(&self) -> String {
        format!("/proc/self/fd/{}", self.directory.as_raw_fd())
    }

    fn file(&self, name: &str, written: bool) -> io::Result<std::fs::File> {
        let access = if written {
            OFlags::WRONLY
        } else {
            OFlags::RDONLY
        };
        let flags = access | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(openat(&self.directory, name, flags, Mode::empty())?.into())
    }
}

fn write(path: &Path, value: &str) -> io::Result<()> {
    let mut options = fs_err::OpenOptions::new();
    options.write(true).custom_flags(libc::O_CLOEXEC);
    options.open(path)?.write_all(value.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A controller, and a keyboard that is a stick too: what the kernel would show, as files.
    fn machine() -> (tempfile::TempDir, Bus) {
        let root = tempfile::tempdir().unwrap();
        let bus = root.path().join("sys/bus/usb");
        let put = |name: &str, content: &[u8]| {
            let path = bus.join("devices").join(name);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, content).unwrap();
        };
        put("usb1/authorized_default", b"1\n");
        put("usb1/interface_authorized_default", b"1\n");
        put("1-2/authorized", b"1\n");
        put("1-2/serial", b"S1\n");
        let mut descriptors = vec![18, 1, 0, 2, 0, 0, 0, 64, 1, 0, 2, 0, 0, 0, 0, 0, 0, 1];
        descriptors.extend([9, 2, 27, 0, 2, 1, 0, 0, 0]);
        descriptors.extend([9, 4, 0, 0, 0, 3, 0, 0, 0, 9, 4, 1, 0, 0, 8, 0, 0, 0]);
        put("1-2/descriptors", &descriptors);
        put("1-2/1-2:1.0/authorized", b"1\n");
        put("1-2/1-2:1.1/authorized", b"0\n");
        put("../drivers_probe", b"");
        let bus = Bus::below(root.path());
        (root, bus)
    }

    #[test]
    fn a_device_is_read_let_in_in_part_and_taken_out() {
        let (root, bus) = machine();
        let read = |name: &str| {
            fs_err::read_to_string(root.path().join("sys/bus/usb/devices").join(name)).unwrap()
        };
        assert_eq!(bus.devices().unwrap(), ["1-2"]);
        bus.ask_first().unwrap();
        assert_eq!(read("usb1/authorized_default"), "0\n");
        let held = bus.hold("1-2").unwrap().unwrap();
        let device = held.read().unwrap();
        assert_eq!(
            (device.serial.as_deref(), device.authorized),
            (Some("S1"), true)
        );
        let told = device.descriptors.unwrap();
        assert_eq!(told.interfaces, BTreeSet::from([(0, 3), (1, 8)]));
        assert!(held.uses_others(&BTreeSet::from([1])).unwrap());
        held.authorize_only(&BTreeSet::from([1])).unwrap();
        assert_eq!(read("1-2/1-2:1.1/authorized"), "1\n");
        assert_eq!(read("../drivers_probe"), "1-2:1.1");
        assert_eq!(read("usb1/interface_authorized_default"), "1\n");
        held.authorize(false).unwrap();
        assert_eq!(read("1-2/authorized"), "0\n");
    }

    #[test]
    fn what_comes_in_the_place_of_a_device_is_not_the_one_that_was_held() {
        let (root, bus) = machine();
        let held = bus.hold("1-2").unwrap().unwrap();
        let place = root.path().join("sys/bus/usb/devices/1-2");
        fs_err::remove_dir_all(&place).unwrap();
        assert!(bus.hold("1-2").unwrap().is_none());
        fs_err::create_dir(&place).unwrap();
        fs_err::write(place.join("authorized"), "0\n").unwrap();
        assert!(held.authorize(true).is_err());
        assert_eq!(held.read(), Err(Unseen::Absent));
        assert_eq!(
            fs_err::read_to_string(place.join("authorized")).unwrap(),
            "0\n"
        );
    }

    #[test]
    fn nothing_but_a_device_can_be_held() {
        let (_root, bus) = machine();
        for name in ["usb1", "1-2:1.0", "..", "", "1-2/../usb1", "1-/x"] {
            assert!(bus.hold(name).unwrap().is_none(), "{name}");
        }
        let nowhere = Bus::below(Path::new("/nowhere"));
        assert!(nowhere.devices().unwrap().is_empty() && nowhere.ask_first().is_ok());
    }
}
