//! What hostile code tries once it runs as the agent: each attempt is a line, with what came of it.
//!
//! `hostile <root> <user> <sandbox|bare> <helper's process> <keys' process>`; as user 0 it shows that each attempt can succeed.
#![expect(clippy::print_stdout, reason = "its output is read by the test")]

use std::collections::BTreeMap;
use std::io::IoSliceMut;
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::unistd::Pid;
use rustix::process::{PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use stockade_api::helper::{Answer, Authority, Request, Socket, Tried, Which};
use stockade_api::{Blob, Places, Secret, frame, keys};
use stockade_host::local::Channel;
use stockade_host::netlink::routes::Routes;
use stockade_host::sandbox::{Sandbox, become_id};

type Outcome = Result<String, Box<dyn std::error::Error>>;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, root, user, how, processes @ ..] = arguments.as_slice() else {
        panic!("three arguments and processes: {arguments:?}");
    };
    let places = Places::below(root);
    let user: u32 = user.parse().expect("a user");
    if user != 0 {
        become_id(user, user).expect("another user");
    }
    // The sandbox would not let it read them, and a real one has them from elsewhere.
    let signed = laid(&places);
    if how == "flood" {
        return flood(&places);
    }
    if how == "sandbox" {
        let _entered = Sandbox::agent(&places, vec![8883])
            .enter(false)
            .expect("a sandbox");
    }
    let processes = processes.iter().map(|it| it.parse().expect("a process"));
    direct(
        Path::new(root),
        ["helper", "keys", "runner"].into_iter().zip(processes),
    );
    asked(&places, &signed);
}

/// What the test laid down for the attempts.
fn laid(places: &Places) -> BTreeMap<String, Vec<u8>> {
    let entries = fs_err::read_dir(places.root().join("tmp")).expect("a folder");
    let read = |path: PathBuf| fs_err::read(path).expect("a file");
    let named = entries.map(|entry| entry.expect("an entry"));
    named
        .map(|it| {
            (
                it.file_name().to_string_lossy().into_owned(),
                read(it.path()),
            )
        })
        .collect()
}

fn tell(name: &str, came: Outcome) {
    match came {
        Ok(what) => println!("{name}\tdone\t{what}"),
        Err(why) => println!("{name}\tfailed\t{why}"),
    }
}

/// Without the helper.
fn direct(root: &Path, processes: impl Iterator<Item = (&'static str, i32)>) {
    tell("nft", nft());
    tell(
        "netlink",
        Routes::open().map(|_| String::new()).map_err(Into::into),
    );
    let read = |path: PathBuf| fs_err::read(path).map(|it| format!("{} bytes", it.len()));
    for (name, path) in [
        ("key file", "var/lib/stockade/keys/device.p8"),
        ("password file", "var/lib/stockade/helper/password.json"),
        ("settings of the firewall", "var/lib/stockade/firewall/lock"),
    ] {
        tell(name, read(root.join(path)).map_err(Into::into));
    }
    for (name, process) in processes {
        let pid = Pid::from_raw(process);
        tell(&format!("memory of {name}"), memory(process));
        tell(&format!("vm of {name}"), remote(pid));
        tell(&format!("trace {name}"), trace(pid));
        tell(&format!("descriptor of {name}"), steal(process));
        tell(
            &format!("environment of {name}"),
            read(format!("/proc/{process}/environ").into()).map_err(Into::into),
        );
    }
    for path in [
        "etc/systemd/system/evil.service",
        "usr/lib/stockade/stockade-helper",
        "etc/cron.d/evil",
        "etc/stockade/trust/evil.pub",
        "etc/stockade/agent.toml",
        "run/stockade/evil.sock",
    ] {
        tell(&format!("write {path}"), write(&root.join(path)));
    }
    tell(
        "take the helper's socket away",
        away(&root.join("run/stockade/helper.sock")),
    );
    tell(
        "port 80",
        TcpListener::bind("127.0.0.1:80")
            .map(|_| String::new())
            .map_err(Into::into),
    );
    tell(
        "become root",
        nix::unistd::setuid(0.into())
            .map(|()| String::new())
            .map_err(Into::into),
    );
}

fn nft() -> Outcome {
    let ended = Command::new("nft")
        .args(["add", "table", "inet", "evil"])
        .stdin(Stdio::inherit())
        .stderr(Stdio::piped())
        .output()?;
    if !ended.status.success() {
        return Err(String::from_utf8_lossy(&ended.stderr)
            .replace('\n', " ")
            .into());
    }
    Command::new("nft")
        .args(["delete", "table", "inet", "evil"])
        .output()?;
    Ok(String::new())
}

/// Where something of a process is, that can be read.
fn mapping(process: i32) -> Result<u64, Box<dyn std::error::Error>> {
    let maps = fs_err::read_to_string(format!("/proc/{process}/maps"))?;
    let first = maps.split('-').next().ok_or("no memory")?;
    Ok(u64::from_str_radix(first, 16)?)
}

fn memory(process: i32) -> Outcome {
    use std::os::unix::fs::FileExt as _;
    let file = std::fs::File::open(format!("/proc/{process}/mem"))?;
    let mut bytes = [0; 16];
    file.read_exact_at(&mut bytes, mapping(process)?)?;
    Ok("16 bytes".to_owned())
}

fn remote(process: Pid) -> Outcome {
    // The hostile one may know the address from elsewhere.
    let base = mapping(process.as_raw()).unwrap_or(0x1000);
    let mut bytes = [0; 16];
    let from = RemoteIoVec {
        base: usize::try_from(base)?,
        len: bytes.len(),
    };
    let read = process_vm_readv(process, &mut [IoSliceMut::new(&mut bytes)], &[from])?;
    Ok(format!("{read} bytes"))
}

fn trace(process: Pid) -> Outcome {
    nix::sys::ptrace::attach(process)?;
    nix::sys::wait::waitpid(process, None)?;
    nix::sys::ptrace::detach(process, None)?;
    Ok(String::new())
}

fn steal(process: i32) -> Outcome {
    let process = rustix::process::Pid::from_raw(process).ok_or("no process")?;
    let handle = pidfd_open(process, PidfdFlags::empty())?;
    let _stolen = pidfd_getfd(handle, 0, PidfdGetfdFlags::empty())?;
    Ok(String::new())
}

fn write(path: &Path) -> Outcome {
    let mut options = fs_err::OpenOptions::new();
    options.append(true).create(true).open(path)?;
    Ok(String::new())
}

fn away(path: &Path) -> Outcome {
    let aside = path.with_extension("aside");
    fs_err::rename(path, &aside)?;
    fs_err::rename(&aside, path)?;
    Ok(String::new())
}

/// A password, which it says is somebody else's try.
fn tried(text: &str) -> Tried {
    Tried {
        secret: Secret::from(text.to_owned()),
        from: Some([192, 0, 2, 66].into()),
    }
}

/// By way of the helper and the key process.
fn asked(places: &Places, laid: &BTreeMap<String, Vec<u8>>) {
    let apply = |authority| Request::Apply {
        digest: "0".repeat(64),
        authority,
    };
    let upnp = |password: &str| Request::UpnpOn {
        password: tried(password),
        interface: "lan".to_owned(),
        seconds: 60,
    };
    let signed = |name: &str| Blob(laid.get(name).cloned().expect("it was laid"));
    let install = |name: &str| Request::InstallProfile {
        signed: signed(name),
    };
    let command = |name: &str| Request::Command {
        signed: signed(name),
    };
    for (name, request) in [
        ("apply as root", apply(Authority::Root)),
        (
            "undo as root",
            Request::Undo {
                which: Which::All,
                authority: Authority::Root,
            },
        ),
        ("reset the password", Request::ResetPassword),
        (
            "no such front",
            Request::Listen {
                what: Socket::Front(7),
            },
        ),
        (
            "a name of its own",
            Request::Admit {
                put: vec![stockade_api::helper::Admission {
                    name: "evil.example".to_owned(),
                    address: [192, 0, 2, 66].into(),
                    keep: 60,
                }],
                gone: Vec::new(),
            },
        ),
        ("profile unsigned", install("unsigned")),
        ("profile by another", install("other-signer")),
        ("profile of another model", install("other-model")),
        ("profile changed", install("changed")),
        ("profile older", install("older")),
        ("command for another", command("command-other-device")),
        ("command expired", command("command-expired")),
        ("command by another", command("command-other-signer")),
        ("command replayed", command("command-done")),
        ("a profile as a command", command("profile")),
        ("upnp without a password", upnp("")),
        ("upnp with a wrong one", upnp("not the password")),
        (
            "apply with a wrong one",
            apply(Authority::Password(tried("not it either"))),
        ),
    ] {
        tell(name, ask(places, &request));
    }
    let evidence = keys::Request::SignEvidence {
        certificate: [0; 32],
        payload: Blob(b"{}".to_vec()),
    };
    let asked = Channel::connect(&places.keys_socket(), Duration::from_secs(5))
        .map_err(frame::FrameError::from)
        .and_then(|mut keys| keys.call::<_, keys::Answer>(&evidence));
    tell(
        "evidence of its own",
        match asked {
            Ok(keys::Answer::Refused(why)) => Err(why.into()),
            Ok(other) => Ok(format!("{other:?}")),
            Err(why) => Err(why.into()),
        },
    );
}

fn ask(places: &Places, request: &Request) -> Outcome {
    let mut helper = Channel::connect(&places.helper_socket(), Duration::from_secs(30))?;
    match helper.call(request)? {
        Answer::Refused(why) => Err(format!("{:?}: {}", why.kind, why.why).into()),
        answer => Ok(format!("{answer:?}")),
    }
}

/// As many conversations as there can be, each begun and never ended, and requests in between.
fn flood(places: &Places) {
    let mut held = Vec::new();
    println!("flooding");
    for round in 0_u32.. {
        if let Ok(stream) = UnixStream::connect(places.helper_socket()) {
            if round % 2 == 0 {
                drop(
                    Channel::new(stream, Duration::from_millis(200))
                        .call::<_, Answer>(&Request::Assess { again: true }),
                );
            } else {
                held.push(stream);
            }
        }
        if held.len() > 500 {
            held.clear();
        }
    }
}
