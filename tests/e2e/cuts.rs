//! Killed while rights change: after the next start nobody has more of them than before.

use std::time::Duration;

use anyhow::Result;
use stockade_e2e::session::Connection;
use stockade_e2e::tools::{pause, without};
use stockade_e2e::{Device, Gateway};
use stockade_load::wire::Five;

/// How often it is killed, each time a little later; the last time when the revocation was answered.
const ROUNDS: u64 = 8;

#[test]
fn a_kill_while_rights_change_never_leaves_more_of_them() -> Result<()> {
    if without(&["openssl", "curl"]) {
        return Ok(());
    }
    let mut gateway = Gateway::with_probe()?;
    let mut revoked = 0;
    for round in 0..ROUNDS {
        let leaving = gateway.enrol("probe", &format!("leaving-{round}"))?;
        let coming = format!("coming-{round}");
        let invitation = Device::invite(&gateway, "probe", &coming)?;
        let device = Device::prepare(&gateway, &coming, &invitation)?;
        let mut revoke = gateway
            .command(&["device", "revoke", &leaving.id])
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()?;
        let login = format!("{coming}:{}", invitation.code);
        let enrolled = std::thread::scope(|scope| {
            let enrolling =
                scope.spawn(|| device.request(&gateway, "simpleenroll", &["-u", &login]));
            // From before the first byte to after the last one.
            pause(Duration::from_millis(round * 7));
            // On a busy machine all the others may be too early.
            if round == ROUNDS - 1 {
                revoke.wait()?;
            }
            stockade_e2e::tools::signal("KILL", gateway.process())?;
            Ok::<_, anyhow::Error>(enrolling.join().is_ok_and(|result| result.is_ok()))
        })?;
        let told_so = revoke.wait()?.success();
        gateway.kill()?;
        gateway.up()?;

        let port = gateway.address("mqtt")?.port();
        let state = gateway.state(&leaving.id)?;
        assert!(
            !told_so || state == "revoked",
            "round {round}: a revocation was lost"
        );
        let let_in = Connection::resume(
            &Device { port, ..leaving },
            &format!("leaving-{round}"),
            Five(true),
        );
        assert_eq!(
            let_in.is_err(),
            state == "revoked",
            "round {round}: {state}"
        );
        revoked += u32::from(told_so);

        // A code that was answered is spent; one that was not serves its own key again, and no other.
        let stranger = Device::prepare(&gateway, &coming, &invitation)?;
        let again = stranger.request(&gateway, "simpleenroll", &["-u", &login]);
        assert!(
            !enrolled || again.is_err(),
            "round {round}: a code worked twice"
        );
    }
    assert!(revoked > 0, "every revocation was cut off: no test");
    Ok(())
}
