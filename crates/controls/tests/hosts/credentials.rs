use stockade_controls::credentials::{Credentials, new_hash};
use stockade_controls::engine::{Finding, InitSystem, MemoryHost, Process, Remedy, Verdict};

use super::{look, profile, told};

const KEY: &str = "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n";
const KEYS_ONLY: &str = "[credentials]\npassword-logins = [\"admin\"]\nssh = \"keys-only\"\n";

/// Everything wrong at once.
fn bad() -> MemoryHost {
    let passwd = "root:x:0:0:root:/root:/bin/sh\n\
        toor:x:0:0::/root:/bin/sh\n\
        admin:x:1000:1000::/home/admin:/bin/sh\n\
        guest::1001:1001::/home/guest:/bin/sh\n\
        old:absxcfbgXtb3o:1002:1002::/home/old:/bin/sh\n\
        svc:x:99:99::/var/svc:/bin/sh\n\
        ftp:x:14:50::/srv/ftp:/usr/sbin/nologin\n";
    // libxcrypt's hash of `xc3511`, twice; no salt; a password that is no default.
    let shadow = "root:$1$abcdefgh$/ehdsgh6T85pypwniuldr1:19000::::::\n\
        toor:$1$abcdefgh$/ehdsgh6T85pypwniuldr1:19000::::::\n\
        admin:$y$j75$F5Jx5fExrKuPp53xLKQ..1$RmW5B/Zz3NVig.aYMQBSyoPHjBb.AlMzvXGkWsEL.K9:19000::::::\n\
        svc:!:19000::::::\n\
        ftp:$1$$aaaaaaaaaaaaaaaaaaaaaa:19000::::::\n";
    MemoryHost::new()
        .file("/etc/passwd", 0o644, passwd)
        .file("/etc/shadow", 0o640, shadow)
        .file("/usr/sbin/sshd", 0o755, "")
        .file("/etc/init.d/ssh", 0o755, "#!/bin/sh\n")
        .file("/etc/ssh/sshd_config", 0o644, "Include sshd_config.d/*.conf\n#KbdInteractiveAuthentication yes\nPermitRootLogin yes\nCiphers aes256-gcm@openssh.com,aes128-cbc\nMatch User guest\n\tPasswordAuthentication yes\n")
        .file("/etc/ssh/sshd_config.d/50-maker.conf", 0o644, "PermitEmptyPasswords yes\nMACs hmac-md5\n")
        .file("/etc/ssh/ssh_host_ed25519_key", 0o600, KEY)
        .file("/etc/ssh/ssh_host_dsa_key", 0o600, KEY)
        .file("/etc/ssh/ssh_host_dsa_key.pub", 0o644, "ssh-dss AAAA")
        .file("/etc/default/dropbear", 0o644, "DROPBEAR_EXTRA_ARGS=\"-p 2222\"\n")
        .file("/usr/sbin/dropbear", 0o755, "")
        .owned("/var/svc/.ssh/authorized_keys", 0o666, (99, 99), "ssh-ed25519 AAAA maker\n")
        .owned("/home/admin/.ssh/authorized_keys", 0o622,
            (1000, 1000),
            "# a comment
ssh-ed25519 AAAA me
")
        .notable("/etc/camera/device.key", 0o644, None)
        .file("/etc/camera/device.key", 0o644, "-----BEGIN PRIVATE KEY-----\n")
        .notable("/root/.netrc", 0o644, None)
        .file("/root/.netrc", 0o644, "machine x login y password z\n")
        .notable("/etc/wpa_supplicant/wpa_supplicant.conf", 0o644, None)
        .file("/etc/wpa_supplicant/wpa_supplicant.conf", 0o644, "network={\n psk=\"secret\"\n}\n")
        .file("/opt/camera/config.json", 0o644, "{\n \"cloud-token\": \"8f14e45fceea167a5a36dedd4bea2543\",\n \"n\": 1\n}\n")
        .file("/etc/camera/private.json", 0o600, "{\n \"cloud-token\": \"8f14e45fceea167a5a36dedd4bea2543\"}\n")
        .file("/etc/systemd/system/camera.service", 0o644, "[Service]\nEnvironment=MQTT_PASSWORD=hunter2 X=1\nExecStart=/opt/camera/run\n")
}

/// As Debian is, with one key to log in.
fn good() -> MemoryHost {
    let hash = new_hash(b"nobody ships this one", *b"twelve bytes");
    let shadow = format!("root:*:19000::::::\nadmin:{hash}:19000::::::\nsshd:!:1\n");
    MemoryHost::new()
        .file("/etc/passwd", 0o644, "root:x:0:0:root:/root:/bin/bash\nadmin:x:1000:1000::/home/admin:/bin/sh\nsshd:x:100:65534::/run/sshd:/usr/sbin/nologin\n")
        .file("/etc/shadow", 0o640, &shadow)
        .file("/usr/sbin/sshd", 0o755, "")
        .file("/etc/ssh/sshd_config", 0o644, "Include /etc/ssh/sshd_config.d/*.conf\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nUsePAM yes\nX11Forwarding yes\nSubsystem sftp /usr/lib/openssh/sftp-server\n")
        .owned("/home/admin/.ssh/authorized_keys", 0o600, (1000, 1000), "ssh-ed25519 AAAA me\n")
        .file("/etc/pam.d/common-password", 0o644, "password\t[success=1 default=ignore]\tpam_unix.so obscure yescrypt\n")
        .file("/etc/nsswitch.conf", 0o644, "passwd:         files systemd\n")
}

#[test]
fn everything_that_is_wrong_is_found_and_mended() {
    let mut host = bad();
    host.init = Some(InitSystem::Busybox);
    insta::assert_snapshot!(told(&look(&Credentials, &host, &profile(KEYS_ONLY))));
}

#[test]
fn a_clean_host_has_no_finding() {
    let mut host = good();
    host.init = Some(InitSystem::Systemd);
    insta::assert_snapshot!(told(&look(&Credentials, &host, &profile(KEYS_ONLY))));
}

fn findings_of(host: &MemoryHost, more: &str, rule: &str) -> Vec<Finding> {
    let assessment = look(&Credentials, host, &profile(more));
    assessment
        .findings()
        .filter(|it| it.rule.id == rule)
        .cloned()
        .collect()
}

#[test]
fn the_last_way_in_is_left_to_a_person() {
    let passwd = "root:x:0:0::/root:/bin/sh\n";
    let shadow = "root:$1$abcdefgh$/ehdsgh6T85pypwniuldr1:1\n";
    let host =
        MemoryHost::new()
            .file("/etc/passwd", 0o644, passwd)
            .file("/etc/shadow", 0o600, shadow);
    let found = findings_of(
        &host,
        "[credentials]\nssh = \"keys-only\"\n",
        "credentials/default-password",
    );
    assert!(matches!(&found[0].remedy, Remedy::Person(what) if what.contains("last way in")));
    let host = host.owned(
        "/root/.ssh/authorized_keys",
        0o600,
        (0, 0),
        "ssh-ed25519 AAAA me\n",
    );
    let found = findings_of(
        &host,
        "[credentials]\nssh = \"keys-only\"\n",
        "credentials/default-password",
    );
    assert!(matches!(found[0].remedy, Remedy::Steps(_)));
}

#[test]
fn a_shadow_file_that_is_too_large_is_not_fine() {
    let host = MemoryHost::new()
        .file("/etc/passwd", 0o644, "root:x:0:0::/root:/bin/sh\n")
        .file("/etc/shadow", 0o600, &"x:!:\n".repeat(1_000_000));
    let assessment = look(&Credentials, &host, &profile(""));
    for rule in [
        "empty-password",
        "default-password",
        "weak-hash",
        "password-logins",
    ] {
        let id = format!("credentials/{rule}");
        let outcome = assessment
            .outcomes
            .iter()
            .find(|it| it.rule.id == id)
            .expect("a rule");
        assert!(matches!(outcome.verdict, Verdict::CannotTell(..)), "{id}");
    }
}

#[test]
fn ssh_is_off_where_the_profile_has_it_off() {
    let mut host = MemoryHost::new()
        .file("/etc/passwd", 0o644, "root:x:0:0::/root:/bin/sh\n")
        .file("/etc/shadow", 0o600, "root:*:1\n")
        .file("/usr/sbin/dropbear", 0o755, "")
        .file(
            "/etc/init.d/S50dropbear",
            0o755,
            "#!/bin/sh\nDAEMON=/usr/sbin/dropbear\n",
        );
    host.init = Some(InitSystem::Busybox);
    host.processes = Some(vec![Process {
        pid: 7,
        started: 1,
        name: "dropbear".to_owned(),
        program: stockade_controls::engine::HostPath::from_bytes(b"/usr/sbin/dropbear").ok(),
        arguments: vec!["dropbear".to_owned()],
        user: 0,
        capabilities: 0,
        no_new_privileges: false,
        seccomp: 0,
        cgroup: None,
    }]);
    assert_eq!(findings_of(&host, "", "credentials/ssh-off").len(), 1);
    assert_eq!(
        findings_of(
            &host,
            "[credentials]\nssh = \"keys-only\"\n",
            "credentials/ssh-off"
        ),
        []
    );
    assert_eq!(
        findings_of(
            &host,
            "[credentials]\nssh = \"keys-only\"\n",
            "credentials/ssh-passwords"
        )
        .len(),
        1
    );
}
