//! `stockade-agent install` and `uninstall`: users, directories, programs, identity, units.
//!
//! Every step looks first whether it is done, so a run that broke off is finished by the next one.

mod arguments;
mod units;
mod users;

use std::io::{BufRead as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _, chown, lchown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use aws_lc_rs::digest;
use rustls::pki_types::CertificateDer;
use stockade_api::helper;
use stockade_api::keys::Slot;
use stockade_api::{Places, Settings};
use stockade_controls::engine::InitSystem;
use stockade_host::local::Channel;
use stockade_profile::VerifyingKey;

pub use self::arguments::{Arguments, USAGE};
use crate::enrol::{self, Server, pem_of};
use crate::identity::{Identity, replace};

/// How long a program may take to answer after it was started.
const PATIENCE: Duration = Duration::from_secs(20);
/// The users, each with a group of its name.
const AGENT: &str = "stockade-agent";
const KEYS: &str = "stockade-keys";
const UPNP: &str = "stockade-upnp";
/// The user that fetches updates, and the program.
const UPDATE: &str = "stockade-update";

/// Installs: afterwards the device is enrolled and its programs run.
pub fn install(arguments: &Arguments) -> anyhow::Result<()> {
    ensure!(
        rustix::process::geteuid().is_root(),
        "only root can install: try `sudo stockade-agent install …`"
    );
    let places = Places::below(&arguments.root);
    let agent = users::make(&arguments.root, AGENT)?;
    let keys = users::make(&arguments.root, KEYS)?;
    users::make(&arguments.root, UPNP)?;
    let update = users::make(&arguments.root, UPDATE)?;
    directories(&places, agent, keys, update)?;
    programs(&places)?;
    if let Some(trusted) = &arguments.updates {
        let bytes = fs_err::read(trusted)?;
        open_to_all(&places.etc().join("update/root.json"), &bytes)?;
    }
    say("users, directories and programs are there");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(Box::pin(identity(arguments, &places, agent, keys)))?;
    let init = arguments.init.map_or_else(|| detect(&arguments.root), Ok)?;
    lay_down(init, &arguments.root)?;
    if arguments.root != Path::new("/") {
        say("the units are there; they are started when this root is booted");
        return Ok(());
    }
    run(units::commands(init, true))?;
    say("the programs run");
    label(&places)?;
    say(
        "next: open https:// and this device's address, and change the password.\n\
         The gateway sends the profile when the device connects: `stockade device show` there, `stockade device status` here",
    );
    Ok(())
}

/// Takes back all that [`install`] did. What was mended stays mended: `stockade device undo` first, if it should not.
pub fn uninstall(arguments: &Arguments) -> anyhow::Result<()> {
    ensure!(
        rustix::process::geteuid().is_root(),
        "only root can uninstall"
    );
    let places = Places::below(&arguments.root);
    let init = arguments.init.map_or_else(|| detect(&arguments.root), Ok)?;
    if arguments.root == Path::new("/") && init != InitSystem::Busybox {
        // What does not run, or was never enabled, need not be stopped.
        for mut command in units::commands(init, false) {
            drop(command.status());
        }
    }
    for (path, ..) in units::files(init, &arguments.root) {
        gone(fs_err::remove_file(path))?;
    }
    if init == InitSystem::Busybox {
        inittab(&arguments.root, false)?;
        if arguments.root == Path::new("/") {
            run(units::commands(init, false))?;
        }
    }
    // The TPM's counter of updates stands against whatever is installed next.
    let counter = Command::new(places.programs().join(UPDATE))
        .args(["reset", "--root"])
        .arg(places.root())
        .status();
    if counter.is_ok_and(|status| !status.success()) {
        say("the TPM's counter of updates is still there: its words stand above");
    }
    for folder in [places.etc(), places.var(), places.run(), places.programs()] {
        gone(fs_err::remove_dir_all(folder))?;
    }
    for user in [AGENT, KEYS, UPNP, UPDATE] {
        users::remove(&arguments.root, user)?;
    }
    say(
        "Stockade is gone from this device; remove it at the gateway too: stockade device remove ID",
    );
    Ok(())
}

fn gone(removed: std::io::Result<()>) -> std::io::Result<()> {
    match removed {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

fn directories(
    places: &Places,
    agent: (u32, u32),
    keys: (u32, u32),
    update: (u32, u32),
) -> anyhow::Result<()> {
    for (path, mode, owner) in [
        (places.etc(), 0o755, (0, 0)),
        (places.trust(), 0o755, (0, 0)),
        (places.programs(), 0o755, (0, 0)),
        (places.var(), 0o755, (0, 0)),
        (places.run(), 0o755, (0, 0)),
        (places.etc().join("update"), 0o755, (0, 0)),
        (places.helper_state(), 0o700, (0, 0)),
        (places.update_state(), 0o700, (0, 0)),
        (places.spool(), 0o700, update),
        (places.firewall_state(), 0o700, (0, 0)),
        (places.agent_state(), 0o700, agent),
        (places.keys_state(), 0o700, keys),
    ] {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(&path)
            .with_context(|| format!("cannot make {}", path.display()))?;
        chown(&path, Some(owner.0), Some(owner.1))?;
        fs_err::set_permissions(&path, std::fs::Permissions::from_mode(mode))?;
    }
    Ok(())
}

/// The programs, from beside this one.
fn programs(places: &Places) -> anyhow::Result<()> {
    let own = std::env::current_exe().context("cannot tell where this program is")?;
    let from = own.parent().unwrap_or_else(|| Path::new("/"));
    for name in units::PROGRAMS.into_iter().chain([UPDATE]) {
        let (source, target) = (from.join(name), places.programs().join(name));
        // A device without slots may do without the program that installs whole systems.
        if source == target || name == UPDATE && !source.exists() {
            continue;
        }
        let fresh = target.with_extension("new");
        fs_err::copy(&source, &fresh).context("the three programs have to be in one directory")?;
        fs_err::set_permissions(&fresh, std::fs::Permissions::from_mode(0o755))?;
        fs_err::File::open(&fresh)?.sync_all()?;
        // A program that runs is replaced, not written to.
        fs_err::rename(&fresh, &target)?;
    }
    Ok(())
}

/// Key, certificate, CA, and the key that signs profiles.
async fn identity(
    arguments: &Arguments,
    places: &Places,
    agent: (u32, u32),
    keys: (u32, u32),
) -> anyhow::Result<()> {
    let mut settings = match fs_err::read_to_string(places.settings()) {
        Ok(text) => Settings::parse(&text)?,
        Err(_) => arguments.settings()?,
    };
    if let Some(key) = &arguments.key {
        settings.key.clone_from(key);
    }
    open_to_all(&places.settings(), settings.to_toml()?.as_bytes())?;
    let est = Server {
        host: settings.gateway.clone(),
        port: settings.est_port,
    };
    if !places.ca().exists() {
        let ca = enrol::fetch_ca(&est, |ca| believed(arguments, ca)).await;
        let ca = ca.with_context(|| format!("cannot take the CA of {est}"))?;
        open_to_all(&places.ca(), pem_of(&ca).as_bytes())?;
    }
    let who = Identity::new(places, &settings);
    let signer = enrol::fetch(&est, who.client_as(None)?, enrol::SIGNER).await?;
    let signer = VerifyingKey::from_pem(std::str::from_utf8(&signer)?)?;
    open_to_all(
        &places.trust().join("gateway.pub"),
        signer.to_pem().as_bytes(),
    )?;
    let _running = keys_process(places, agent, keys)?;
    if !who.is_enrolled()? {
        let code = arguments
            .code
            .as_ref()
            .context("the device is not enrolled: `--code` is missing")?;
        let csr = who.keys().request(Slot::Device)?;
        let tls = who.client_as(None)?;
        let named = Some((settings.device.as_str(), code.as_str()));
        let chain = enrol::certify(&est, tls, "simpleenroll", &csr, named).await?;
        let (domain, model) = chain
            .first()
            .and_then(spiffe)
            .context("the certificate names no device")?;
        (settings.trust_domain, settings.model) = (domain, model);
        open_to_all(&places.settings(), settings.to_toml()?.as_bytes())?;
        who.keep_chain(Slot::Device, &chain)?;
    }
    for entry in fs_err::read_dir(places.agent_state())? {
        // What the agent may have put there is not followed.
        lchown(entry?.path(), Some(agent.0), Some(agent.1))?;
    }
    say(&format!(
        "enrolled as {} ({})",
        settings.device, settings.model
    ));
    Ok(())
}

/// Written by root, read by everybody.
fn open_to_all(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    replace(path, content)?;
    Ok(fs_err::set_permissions(
        path,
        std::fs::Permissions::from_mode(0o644),
    )?)
}

/// Whether this is the gateway's CA: by the fingerprint that was given, or by a person who compares it.
fn believed(arguments: &Arguments, ca: &CertificateDer<'_>) -> bool {
    if let Some(wanted) = arguments.ca {
        return wanted.is_of(ca);
    }
    let digest = digest::digest(&digest::SHA256, ca);
    let pairs: Vec<_> = digest
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02X}"))
        .collect();
    say(&format!(
        "the gateway's CA has the SHA-256 {}",
        pairs.join(":")
    ));
    say("is it the one that `stockade device add` printed? Type yes to go on:");
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).is_ok() && line.trim() == "yes"
}

/// Trust domain and model of `spiffe://DOMAIN/device/MODEL/ID`, the only name in a device's certificate: a URI of RFC 5280 §4.2.1.6,
/// whose length is the byte before it.
fn spiffe(certificate: &CertificateDer<'_>) -> Option<(String, String)> {
    const BEGIN: &[u8] = b"spiffe://";
    let at = certificate
        .windows(BEGIN.len())
        .position(|window| window == BEGIN)?;
    let length = usize::from(*certificate.get(at.checked_sub(1)?)?);
    let uri = std::str::from_utf8(certificate.get(at..at.checked_add(length)?)?).ok()?;
    let mut parts = uri.strip_prefix("spiffe://")?.split('/');
    let (domain, device, model) = (parts.next()?, parts.next()?, parts.next()?);
    (device == "device").then(|| (domain.to_owned(), model.to_owned()))
}

/// The key process, for as long as it is needed here; the one of the init system comes after it.
struct Running(Option<Child>);

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

fn keys_process(places: &Places, agent: (u32, u32), keys: (u32, u32)) -> anyhow::Result<Running> {
    let answers = || Channel::connect(&places.keys_socket(), PATIENCE).is_ok();
    if answers() {
        return Ok(Running(None));
    }
    let mut command = Command::new(places.programs().join(KEYS));
    command.arg("--root").arg(places.root());
    // In another root its users are not those of this system.
    command.args([
        "--user",
        &keys.0.to_string(),
        "--agent",
        &agent.0.to_string(),
    ]);
    let mut running = Running(Some(command.spawn().context("cannot start stockade-keys")?));
    for _ in 0..200 {
        if answers() {
            return Ok(running);
        }
        if let Some(child) = &mut running.0
            && let Some(status) = child.try_wait()?
        {
            bail!("stockade-keys ended ({status}): what it said stands above");
        }
        std::thread::park_timeout(PATIENCE / 200);
    }
    bail!("stockade-keys does not answer")
}

fn lay_down(init: InitSystem, root: &Path) -> anyhow::Result<()> {
    for (path, text, mode) in units::files(init, root) {
        let folder = path.parent().unwrap_or_else(|| Path::new("/"));
        fs_err::create_dir_all(folder)?;
        replace(&path, text.as_bytes())?;
        fs_err::set_permissions(&path, std::fs::Permissions::from_mode(mode))?;
    }
    if init == InitSystem::Busybox {
        inittab(root, true)?;
    }
    Ok(())
}

fn inittab(root: &Path, with: bool) -> anyhow::Result<()> {
    let path = root.join("etc/inittab");
    let before = match fs_err::read_to_string(&path) {
        Err(why) if why.kind() == std::io::ErrorKind::NotFound => String::new(),
        // One that can not be read is not taken for an empty one: it says what the system starts.
        read => read?,
    };
    let after = units::inittab(&before, with);
    if before == after {
        return Ok(());
    }
    open_to_all(&path, after.as_bytes())
}

fn run(commands: Vec<Command>) -> anyhow::Result<()> {
    for mut command in commands {
        let status = command
            .status()
            .with_context(|| format!("cannot run {command:?}"))?;
        ensure!(
            status.success(),
            "{command:?} failed: see its words above, then install again"
        );
    }
    Ok(())
}

/// Who starts services in a root.
fn detect(root: &Path) -> anyhow::Result<InitSystem> {
    use stockade_controls::engine::Host as _;
    let found = stockade_host::view::Offline::open(root).and_then(|host| host.init());
    found.context(
        "cannot tell which init this system has: say it with --init systemd|openrc|procd|busybox",
    )
}

/// The page's first password, once: for the label.
fn label(places: &Places) -> anyhow::Result<()> {
    let told: PathBuf = places.helper_state().join("label-told");
    if told.exists() {
        return Ok(());
    }
    let mut tries = 0_u32;
    let mut channel = loop {
        match Channel::connect(&places.helper_socket(), PATIENCE) {
            Ok(channel) => break channel,
            Err(error) if tries >= 200 => {
                return Err(error).context("stockade-helper does not answer");
            }
            Err(_) => std::thread::park_timeout(PATIENCE / 200),
        }
        tries = tries.saturating_add(1);
    };
    match channel.call(&helper::Request::ResetPassword)? {
        helper::Answer::Password { password } => {
            say(&format!(
                "the page's first password, for the label: {}",
                password.expose()
            ));
            Ok(replace(&told, b"")?)
        }
        helper::Answer::Refused(refused) => bail!("{} {}", refused.why, refused.next),
        _ => bail!("the helper gave another answer than was asked for"),
    }
}

/// A line for whoever installs.
fn say(text: &str) {
    drop(writeln!(std::io::stdout(), "{text}"));
}
