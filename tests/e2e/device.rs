//! The whole story of a device: installed by the line that the gateway prints, judged, quarantined, mended and released; its page and
//! `UPnP` for a while; deaths of every process on the way.

#[path = "device/lab.rs"]
mod lab;

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use stockade_e2e::tools::{eventually, finish, root, succeed, text};

use lab::{CLIENT, DEVICE, Lab};

const SOON: Duration = Duration::from_secs(40);
const PASSWORD: &str = "long enough for an owner";

fn installed() -> Result<Option<(Lab, String)>> {
    let Some(lab) = Lab::new()? else {
        return Ok(None);
    };
    lab.gateway
        .install(&root().join("tests/profiles/porch.toml"))?;
    let password = lab.install("porch")?;
    lab.event("the firewall's rules hold for good")?;
    Ok(Some((lab, password)))
}

#[test]
fn a_device_is_installed_judged_quarantined_mended_and_released() -> Result<()> {
    let Some((mut lab, _)) = installed()? else {
        return Ok(());
    };
    lab.posture("porch", "something is wrong", false)?;
    assert_eq!(lab.gateway.state("porch")?, "active");

    // A fault is planted; the operator has the device looked at.
    lab.shell(
        "useradd -m -s /bin/sh admin && echo 'admin:Tq7-porch-93-vexing' | chpasswd && useradd -m -s /bin/sh pi && echo pi:raspberry | chpasswd",
    )?;
    lab.gateway.cli(&["device", "command", "porch", "assess"])?;
    lab.event("quarantined by its evidence: credentials/default-password")?;
    assert_eq!(lab.gateway.state("porch")?, "quarantined");
    let before = lab.shell("grep ^pi: /etc/shadow")?;

    lab.gateway.cli(&["device", "command", "porch", "apply"])?;
    lab.event("released from quarantine")?;
    lab.posture("porch", "something is wrong", false)?;
    lab.posture("porch", "mend what is found: carried out", true)?;
    assert_eq!(lab.gateway.state("porch")?, "active");
    assert_ne!(lab.shell("grep ^pi: /etc/shadow")?, before);

    // What dies comes back, and the loop goes on (each is one process; not every kernel lets a lab kill a whole group): `undo` brings the fault back, and it is seen.
    lab.shell("for it in keys helper agent; do systemctl kill --kill-whom=main -s KILL stockade-$it; done")?;
    eventually("all three run again", SOON, || {
        let up = "for it in keys helper agent; do systemctl is-active -q stockade-$it || exit 1; done; test -S /run/stockade/helper.sock";
        Ok(lab.shell(up).ok())
    })?;
    lab.gateway.cli(&["device", "command", "porch", "undo"])?;
    lab.posture("porch", "credentials/default-password", true)?;
    assert_eq!(lab.shell("grep ^pi: /etc/shadow")?, before);

    // What happens while the gateway is away is told once when it is back; its list of events begins anew.
    eventually("both starts of the helper are told", SOON, || {
        Ok((lab.event("The helper has started")? == 2).then_some(()))
    })?;
    lab.gateway.stop()?;
    lab.shell("systemctl restart stockade-helper")?;
    lab.gateway.up()?;
    lab.event("The helper has started")?;
    lab.gateway.cli(&["device", "command", "porch", "assess"])?;
    lab.event("look again and send evidence")?;
    assert_eq!(lab.event("The helper has started")?, 1);
    Ok(())
}

#[test]
fn the_owner_switches_upnp_on_for_a_while_and_nothing_of_it_stays() -> Result<()> {
    let Some((lab, first)) = installed()? else {
        return Ok(());
    };
    let page = Page { lab: &lab };
    page.post("/login", &[("password", &first)], false)?;
    let overview = page.get("/")?;
    ensure!(
        overview.contains("name=\"current\""),
        "not sent to the password: {overview}"
    );
    let change = [("current", &*first), ("new", PASSWORD), ("again", PASSWORD)];
    page.post("/password", &change, true)?;
    let overview = page.get("/")?;
    ensure!(
        overview.contains("Nothing is known to be wrong"),
        "{overview}"
    );

    let rules = "nft -t -s list ruleset";
    let listeners = || -> Result<BTreeSet<String>> {
        let said = lab.shell("ss -Htuln | awk '{print $1, $5}'")?;
        Ok(said.lines().map(str::to_owned).collect())
    };
    let (rules_before, heard_before) = (lab.shell(rules)?, listeners()?);
    let ask = [("interface", "eth1"), ("seconds", "60")];
    let confirm = page.get("/upnp/on?interface=eth1&seconds=60")?;
    ensure!(confirm.contains("40000-40010"), "{confirm}");
    let with = |password| [ask[0], ask[1], ("password", password)];
    page.post("/upnp/on", &with("wrong"), true)?;
    ensure!(
        page.get("/upnp")?.contains("UPnP is off"),
        "on without the password"
    );
    page.post("/upnp/on", &with(PASSWORD), true)?;
    ensure!(
        page.get("/upnp")?.contains("UPnP is on"),
        "{}",
        page.get("/upnp")?
    );
    eventually("the client has its port led to it", SOON, || {
        let mut asked = lab.at_home("upnpc");
        asked.args(["-a", CLIENT, "443", "40001", "TCP", "50"]);
        let said = text(&finish(&mut asked, SOON)?);
        Ok(said
            .contains("9.9.9.2:40001 TCP is redirected")
            .then_some(()))
    })?;
    ensure!(
        page.get("/upnp")?.contains("40001"),
        "the page does not tell of the mapping"
    );
    lab.event("UPnP is on at eth1 for 60 seconds (by owner)")?;

    // The helper dies meanwhile: off is what holds then.
    lab.shell("systemctl kill --kill-whom=main -s KILL stockade-helper")?;
    eventually("UPnP is off", SOON, || {
        let off = page.get("/upnp").is_ok_and(|it| it.contains("UPnP is off"));
        Ok(off.then_some(()))
    })?;
    // The page says so as soon as the helper's word is gone; the helper that comes next takes away what it finds.
    eventually(
        "the daemon, its rules and its sockets are gone",
        SOON,
        || {
            let runs = lab.shell("cat /proc/[0-9]*/comm 2>/dev/null; true")?;
            Ok((!runs.contains("miniupnpd")
                && lab.shell(rules)? == rules_before
                && listeners()?.is_subset(&heard_before))
            .then_some(()))
        },
    )
}

/// The device's page in a browser without script: curl.
struct Page<'a> {
    lab: &'a Lab,
}

impl Page<'_> {
    fn curl(&self, path: &str, more: &[&str]) -> Result<String> {
        let jar = self
            .lab
            .gateway
            .folder()
            .join("cookies")
            .display()
            .to_string();
        let ca = self.lab.gateway.data().join("ca.pem").display().to_string();
        // By its name: that, and not its address at home, is in its certificate.
        let to = format!("porch.local:443:{DEVICE}");
        let mut command = self.lab.at_home("curl");
        command
            .args([
                "-sS",
                "-L",
                "--cacert",
                &ca,
                "--resolve",
                &to,
                "-c",
                &jar,
                "-b",
                &jar,
            ])
            .args(["-H", "Origin: https://porch.local"])
            .args(more)
            .arg(format!("https://porch.local{path}"));
        succeed(&mut command)
    }

    fn get(&self, path: &str) -> Result<String> {
        self.curl(path, &[])
    }

    /// Sends a form; with the token that the pages carry, once there is a session.
    fn post(&self, path: &str, fields: &[(&str, &str)], session: bool) -> Result<String> {
        let mut all: Vec<String> = fields
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        if session {
            let page = self.get("/")?;
            let (_, token) = page
                .split_once("name=\"csrf\" value=\"")
                .context(page.clone())?;
            let token = token.split('"').next().unwrap_or_default();
            all.push(format!("csrf={token}"));
        }
        let more: Vec<&str> = all.iter().flat_map(|it| ["--data-urlencode", it]).collect();
        self.curl(path, &more)
    }
}
