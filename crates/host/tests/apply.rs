//! Plans on a root directory: done, done twice, undone bit for bit, and what goes wrong on the way.

#[path = "common/tree.rs"]
mod tree;

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;

use fs_err as fs;
use stockade_controls::credentials::Credentials;
use stockade_controls::engine::{
    Account, Action, Case, HostPath, Own, Plan, ServiceChange, assess,
};
use stockade_host::apply::{
    Applier, ApplyError, Event, Moment, Rules, RunState, Unfinished, Which,
};
use stockade_host::view::Offline;
use tree::{child, digest, path, plan, put, root_only, system, thirty};

fn quiet(_: &Moment<'_>) {}

struct Place {
    _folder: tempfile::TempDir,
    root: std::path::PathBuf,
    state: std::path::PathBuf,
}

fn place() -> Place {
    let folder = tempfile::tempdir().expect("a folder");
    let (root, state) = (folder.path().join("root"), folder.path().join("state"));
    system(&root);
    Place {
        _folder: folder,
        root,
        state,
    }
}

fn applier(place: &Place) -> Applier {
    Applier::open(&place.root, &place.state).expect("the folder is free")
}

/// Each action by itself: it changes something, nothing is left to do afterwards, and it is undone bit for bit.
fn there_and_back(action: Action) {
    if !root_only() {
        return;
    }
    let place = place();
    let before = digest(&place.root, true);
    let plan = plan(vec![action]);
    let mut applier = applier(&place);
    let done = applier.apply(&plan, &mut quiet).expect("applied");
    assert_eq!((done.done, done.already), (1, 0));
    assert_ne!(
        digest(&place.root, false),
        digest_of(&before),
        "something changed"
    );
    // The next one may be another process.
    drop(applier);
    let mut applier = self::applier(&place);
    let undone = applier.undo(Which::Last, &mut quiet).expect("undone");
    assert_eq!((undone.steps, undone.left), (1, Vec::new()));
    similar_asserts(&digest(&place.root, true), &before);
    assert_eq!(applier.history()[0].state, RunState::Undone);
}

/// A digest without its times.
fn digest_of(with_times: &str) -> String {
    let line = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        let kept = words.iter().enumerate().filter(|(number, _)| *number != 4);
        kept.map(|(_, word)| *word).collect::<Vec<_>>().join(" ")
    };
    with_times.lines().map(|it| line(it) + "\n").collect()
}

fn similar_asserts(now: &str, before: &str) {
    let different: Vec<_> = now
        .lines()
        .filter(|line| !before.contains(*line))
        .chain(before.lines().filter(|line| !now.contains(*line)))
        .collect();
    assert!(now == before, "{different:#?}");
}

macro_rules! each_action {
    ($($name:ident: $action:expr;)*) => {$(
        #[test]
        fn $name() {
            there_and_back($action);
        }
    )*};
}

each_action! {
    a_new_file_with_its_directories_comes_and_goes: Action::Put {
        path: path("/opt/a/b/c"), content: "x".to_owned(), mode: 0o600, owner: (9, 9),
    };
    a_file_gets_another_content_and_its_own_back: Action::Put {
        path: path("/usr/bin/ping"), content: "x".to_owned(), mode: 0o600, owner: (9, 9),
    };
    a_link_becomes_a_file_and_a_link_again: Action::Put {
        path: path("/etc/ssh-old"), content: "x".to_owned(), mode: 0o644, owner: (0, 0),
    };
    setuid_goes_and_comes_back: Action::Mode {
        path: path("/usr/bin/setuid1"), mode: 0o755, owner: (1, 2),
    };
    the_mode_of_a_directory_goes_and_comes_back: Action::Mode {
        path: path("/etc/cron.d"), mode: 0o700, owner: (1, 2),
    };
    a_capability_goes_and_comes_back: Action::NoCapability { path: path("/usr/bin/ping") };
    an_owner_goes_and_comes_back_with_the_capability: Action::Mode {
        path: path("/usr/bin/ping"), mode: 0o700, owner: (1, 1),
    };
    a_file_is_removed_and_comes_back: Action::Remove { path: path("/usr/bin/ping") };
    a_removed_link_comes_back: Action::Remove { path: path("/etc/ssh-old") };
    a_link_takes_the_place_of_a_file: Action::Link {
        path: path("/sbin/init"), target: "x".to_owned(),
    };
    lines_change_through_a_link_on_the_way: Action::Edit {
        path: path("/etc/ssh-old/sshd_config"),
        replace: vec![("Port 22".to_owned(), vec!["Port 23".to_owned()])],
        append: vec!["x".to_owned()],
    };
    a_password_is_locked_and_unlocked: Action::Account {
        name: "guest".parse().expect("a name"), change: Account::LockPassword,
    };
    a_password_outside_of_shadow_is_locked: Action::Account {
        name: "svc".parse().expect("a name"), change: Account::LockPassword,
    };
    an_account_is_disabled_and_enabled: Action::Account {
        name: "guest".parse().expect("a name"), change: Account::Disable,
    };
    a_service_is_disabled_and_enabled: Action::Service {
        name: "ftp".parse().expect("a name"), change: ServiceChange::Disable,
    };
    a_service_is_masked_and_unmasked: Action::Service {
        name: "telnet".parse().expect("a name"), change: ServiceChange::Mask,
    };
    bounds_of_a_service_come_and_go: Action::Confine {
        service: "ftp".parse().expect("a name"),
        path: path("/etc/systemd/system/ftp.service.d/60-stockade.conf"),
        content: "[Service]\nNoNewPrivileges=yes\n".to_owned(),
        health: stockade_controls::engine::Health::default(),
    };
}

#[test]
fn thirty_steps_are_done_once_and_undone_bit_for_bit() {
    if !root_only() {
        return;
    }
    let place = place();
    let before = digest(&place.root, true);
    let mut applier = applier(&place);
    let mut told = Vec::new();
    let mut watch = |moment: &Moment<'_>| told.push((moment.number, format!("{:?}", moment.event)));
    let done = applier.apply(&thirty(), &mut watch).expect("applied");
    assert_eq!((done.run, done.done, done.already), (Some(1), 30, 0));
    assert_eq!(told.len(), 60, "each step is begun and done");
    let after = digest(&place.root, true);
    let again = applier.apply(&thirty(), &mut quiet).expect("applied");
    assert_eq!((again.run, again.done, again.already), (None, 0, 30));
    similar_asserts(&digest(&place.root, true), &after);
    let undone = applier.undo(Which::All, &mut quiet).expect("undone");
    assert_eq!(
        (undone.runs, undone.steps, undone.left),
        (vec![1], 30, Vec::new())
    );
    similar_asserts(&digest(&place.root, true), &before);
}

#[test]
fn a_new_password_is_told_once_and_is_nowhere_on_the_disk() {
    if !root_only() {
        return;
    }
    let place = place();
    let before = digest(&place.root, true);
    let name: stockade_profile::AccountName = "guest".parse().expect("a name");
    let action = Action::Account {
        name: name.clone(),
        change: Account::NewPassword,
    };
    let mut applier = applier(&place);
    let done = applier
        .apply(&plan(vec![action]), &mut quiet)
        .expect("applied");
    let told = &done.told[0];
    assert_eq!(told.account, name);
    let shadow = fs::read_to_string(place.root.join("etc/shadow")).expect("shadow");
    let line = shadow
        .lines()
        .find(|it| it.starts_with("guest:"))
        .expect("a line");
    let hash = line.split(':').nth(1).expect("a hash");
    // crypt(5): $6$salt$digest; openssl makes the same of the same password and salt.
    let salt = hash.split('$').nth(2).expect("a salt");
    let theirs = Command::new("openssl")
        .args(["passwd", "-6", "-salt", salt, told.password.as_str()])
        .output()
        .expect("openssl");
    assert_eq!(String::from_utf8_lossy(&theirs.stdout).trim(), hash);
    let found = Command::new("grep")
        .args(["-r", "-F", "-l", told.password.as_str()])
        .arg(place.root.parent().expect("a folder"))
        .output()
        .expect("grep");
    assert_eq!(String::from_utf8_lossy(&found.stdout), "");
    assert!(!format!("{done:?}").contains(told.password.as_str()));
    applier.undo(Which::Last, &mut quiet).expect("undone");
    similar_asserts(&digest(&place.root, true), &before);
}

#[test]
fn host_keys_are_made_anew_and_the_old_ones_come_back() {
    if !root_only() {
        return;
    }
    let place = place();
    let key = place.root.join("etc/ssh/ssh_host_ed25519_key");
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "image", "-f"])
        .arg(&key)
        .status();
    if !made.is_ok_and(|it| it.success()) {
        println!("skipped: no ssh-keygen");
        return;
    }
    put(
        &place.root,
        "etc/ssh/ssh_host_dsa_key",
        0o600,
        (0, 0),
        "old",
    );
    let before = digest(&place.root, true);
    let old = fs::read(&key).expect("a key");
    let action = Action::SshHostKeys {
        directory: path("/etc/ssh"),
    };
    let mut applier = applier(&place);
    applier
        .apply(&plan(vec![action]), &mut quiet)
        .expect("applied");
    assert_ne!(fs::read(&key).expect("a key"), old);
    assert_eq!(key.metadata().expect("metadata").mode() & 0o777, 0o600);
    assert!(!place.root.join("etc/ssh/ssh_host_dsa_key").exists());
    assert!(
        !place.state.join("scratch").exists(),
        "no key is left behind"
    );
    // The public half is of the private one.
    let derived = Command::new("ssh-keygen")
        .arg("-y")
        .arg("-f")
        .arg(&key)
        .output();
    let derived = String::from_utf8(derived.expect("ssh-keygen").stdout).expect("text");
    let public = fs::read_to_string(key.with_extension("pub")).expect("a key");
    assert_eq!(public.trim(), derived.trim());
    applier.undo(Which::Last, &mut quiet).expect("undone");
    similar_asserts(&digest(&place.root, true), &before);
}

#[test]
fn a_step_that_fails_takes_all_before_it_back() {
    if !root_only() {
        return;
    }
    let place = place();
    let before = digest(&place.root, true);
    let mut plan = thirty();
    let missing = Action::Edit {
        path: path("/etc/ssh/sshd_config"),
        replace: vec![("Not there".to_owned(), vec!["x".to_owned()])],
        append: Vec::new(),
    };
    plan.steps[20].step.action = missing;
    let mut applier = applier(&place);
    let mut events = Vec::new();
    let mut watch = |moment: &Moment<'_>| {
        if let Event::Failed(why) = moment.event {
            events.push((moment.number, why.to_owned()));
        }
    };
    let failed = applier.apply(&plan, &mut watch);
    assert!(
        matches!(&failed, Err(ApplyError::TakenBack { left, .. }) if left.is_empty()),
        "{failed:?}"
    );
    assert_eq!(
        events,
        [(
            21,
            "/etc/ssh/sshd_config has no line `Not there` any more".to_owned()
        )]
    );
    similar_asserts(&digest(&place.root, true), &before);
    assert_eq!(applier.history()[0].state, RunState::TakenBack);
    assert!(!place.state.join("copies/1").exists());
}

#[test]
fn what_somebody_changed_since_is_left_and_told() {
    if !root_only() {
        return;
    }
    let place = place();
    let mut applier = applier(&place);
    applier.apply(&thirty(), &mut quiet).expect("applied");
    let file = place.root.join("usr/sbin/nologin");
    fs::write(&file, "mine").expect("written");
    // Accounts are put back line by line.
    let shadow = place.root.join("etc/shadow");
    let text = fs::read_to_string(&shadow).expect("shadow");
    fs::write(&shadow, text.replace("$6$a$b", "$6$new$hash")).expect("written");
    let undone = applier.undo(Which::Last, &mut quiet).expect("undone");
    assert_eq!(
        undone.left,
        ["/usr/sbin/nologin was changed since, and is left as it is"]
    );
    assert_eq!(fs::read(&file).expect("content"), b"mine");
    assert_eq!(
        fs::read_to_string(&shadow).expect("shadow"),
        "root:$6$new$hash:19000:0:99999:7:::\nguest::19000:0:99999:7:::\n"
    );
}

#[test]
fn one_at_a_time_and_nobody_else_looks_into_the_folder() {
    let folder = tempfile::tempdir().expect("a folder");
    let state = folder.path().join("state");
    let first = Applier::open(folder.path(), &state).expect("free");
    let second = Applier::open(folder.path(), &state);
    assert!(matches!(second, Err(ApplyError::Busy)));
    drop(first);
    fs::set_permissions(&state, std::fs::Permissions::from_mode(0o750)).expect("a mode");
    let third = Applier::open(folder.path(), &state);
    assert!(matches!(third, Err(ApplyError::Open { .. })));
}

#[test]
fn a_torn_end_is_cut_and_damage_before_it_is_told() {
    if !root_only() {
        return;
    }
    let place = place();
    let mut applier = applier(&place);
    applier.apply(&thirty(), &mut quiet).expect("applied");
    drop(applier);
    let journal = place.state.join("journal");
    let whole = fs::read(&journal).expect("the journal");
    // Without its last line the plan is unfinished; half a line is no line.
    fs::write(&journal, &whole[..whole.len() - 5]).expect("written");
    let mut applier = self::applier(&place);
    assert_eq!(applier.history()[0].state, RunState::Unfinished);
    let refused = applier.apply(&Plan::default(), &mut quiet);
    assert!(matches!(refused, Err(ApplyError::Unfinished)));
    let recovered = applier
        .recover(Unfinished::TakeBack, &mut quiet)
        .expect("recovered");
    assert_eq!(recovered.taken_back.expect("taken back").steps, 30);
    drop(applier);
    let mut damaged = whole;
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    fs::write(&journal, &damaged).expect("written");
    let opened = Applier::open(&place.root, &place.state);
    assert!(
        matches!(opened, Err(ApplyError::Damaged { .. })),
        "{opened:?}"
    );
}

#[test]
fn nobodys_link_leads_anywhere_else() {
    if !root_only() {
        return;
    }
    let place = place();
    let outside = place.root.parent().expect("a folder").join("outside");
    put(&outside, "secret", 0o644, (0, 0), "secret");
    let before = digest(&outside, true);
    // A link out of the root leads to the same path inside of it.
    symlink(&outside, place.root.join("srv/out")).expect("a link");
    // A user's own directory, with a link to what is root's.
    put(&place.root, "home/guest/x", 0o644, (1000, 1000), "x");
    let home = place.root.join("home/guest");
    std::os::unix::fs::chown(&home, Some(1000), Some(1000)).expect("an owner");
    symlink("/etc", home.join("link")).expect("a link");
    fs::hard_link(place.root.join("etc/shadow"), home.join("hard")).expect("a second name");
    let mut applier = applier(&place);
    let mode = |at: &str, mode, owner| Action::Mode {
        path: path(at),
        mode,
        owner,
    };
    for (action, why) in [
        (mode("/srv/out/secret", 0o600, (0, 0)), "No such file"),
        (
            mode("/home/guest/link/shadow", 0o666, (0, 0)),
            "symbolic links",
        ),
        (
            mode("/home/guest/hard", 0o666, (1000, 1000)),
            "more than one name",
        ),
        (mode("/home/guest/x", 0o4755, (0, 0)), "gets no rights"),
    ] {
        let inside = digest(&place.root, true);
        let refused = applier
            .apply(&plan(vec![action]), &mut quiet)
            .expect_err("refused");
        assert!(refused.to_string().contains(why), "{refused}");
        similar_asserts(&digest(&place.root, true), &inside);
    }
    similar_asserts(&digest(&outside, true), &before);
}

#[test]
fn setuid_is_not_given_back_where_a_user_can_exchange_the_file() {
    if !root_only() {
        return;
    }
    let place = place();
    put(&place.root, "home/guest/tool", 0o4755, (0, 0), "x");
    let home = place.root.join("home/guest");
    std::os::unix::fs::chown(&home, Some(1000), Some(1000)).expect("an owner");
    let mut applier = applier(&place);
    let action = Action::Mode {
        path: path("/home/guest/tool"),
        mode: 0o755,
        owner: (0, 0),
    };
    applier
        .apply(&plan(vec![action]), &mut quiet)
        .expect("applied");
    let undone = applier.undo(Which::Last, &mut quiet).expect("undone");
    assert_eq!(undone.left.len(), 1, "{:?}", undone.left);
    let mode = home.join("tool").metadata().expect("metadata").mode();
    assert_eq!(mode & 0o7777, 0o755);
}

/// Rules that are only counted.
struct Counted(std::sync::Arc<std::sync::atomic::AtomicI32>);

impl Rules for Counted {
    fn in_force(&mut self) -> bool {
        self.0.load(std::sync::atomic::Ordering::SeqCst) > 0
    }
    fn apply(&mut self) -> Result<(), String> {
        self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        Ok(())
    }
    fn take_back(&mut self) -> Result<(), String> {
        self.0.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
        Ok(())
    }
}

#[test]
fn the_firewall_is_refused_by_name_unless_somebody_has_its_rules() {
    if !root_only() {
        return;
    }
    let place = place();
    let plan = plan(vec![Action::Firewall]);
    let refused = applier(&place)
        .apply(&plan, &mut quiet)
        .expect_err("refused");
    assert!(matches!(refused, ApplyError::Refused { .. }), "{refused}");
    let count = std::sync::Arc::default();
    let rules = Counted(std::sync::Arc::clone(&count));
    let mut applier = applier(&place).with_rules(Box::new(rules));
    assert_eq!(applier.apply(&plan, &mut quiet).expect("applied").done, 1);
    assert_eq!(
        applier.apply(&plan, &mut quiet).expect("applied").already,
        1
    );
    applier.undo(Which::All, &mut quiet).expect("undone");
    assert_eq!(count.load(std::sync::atomic::Ordering::SeqCst), 0);
}

#[test]
fn what_is_forgotten_can_not_be_undone() {
    if !root_only() {
        return;
    }
    let place = place();
    let mut applier = applier(&place);
    applier.apply(&thirty(), &mut quiet).expect("applied");
    applier.forget().expect("forgotten");
    let undone = applier
        .undo(Which::All, &mut quiet)
        .expect("nothing to undo");
    assert_eq!(undone.steps, 0);
    assert!(!place.state.join("copies/1").exists());
}

/// Runs a test of this program by itself, in a mount namespace where a small disk is mounted at `disk`.
fn on_a_small_disk(name: &str) {
    if !root_only() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let disk = folder.path().join("disk");
    fs::create_dir(&disk).expect("a directory");
    let test = child(name, &[]);
    let mut command = Command::new("unshare");
    command.args(["--mount", "--", "sh", "-c"]);
    command.arg("mount -t tmpfs -o size=4m disk \"$0\" && exec \"$@\"");
    command
        .arg(&disk)
        .arg(test.get_program())
        .args(test.get_args());
    let status = command.env("STOCKADE_DISK", &disk).status();
    assert!(status.expect("unshare").success());
}

/// The small disk, if this is the child that has one.
fn disk() -> Option<std::path::PathBuf> {
    std::env::var_os("STOCKADE_DISK").map(Into::into)
}

#[test]
fn a_full_disk_is_refused_before_anything_changes() {
    on_a_small_disk("full_disk_child");
}

#[test]
#[ignore = "run by a_full_disk_is_refused_before_anything_changes"]
fn full_disk_child() {
    let Some(disk) = disk() else { return };
    let (root, state) = (disk.join("root"), disk.join("state"));
    system(&root);
    let mut applier = Applier::open(&root, &state).expect("free");
    fill(&disk);
    let before = digest(&root, true);
    let refused = applier.apply(&thirty(), &mut quiet).expect_err("refused");
    assert!(
        matches!(refused, ApplyError::Refused { .. } | ApplyError::Folder(_)),
        "{refused}"
    );
    similar_asserts(&digest(&root, true), &before);
}

#[test]
fn a_disk_that_fills_half_way_leaves_all_as_it_was() {
    on_a_small_disk("filling_disk_child");
}

#[test]
#[ignore = "run by a_disk_that_fills_half_way_leaves_all_as_it_was"]
fn filling_disk_child() {
    let Some(disk) = disk() else { return };
    let (root, state) = (disk.join("root"), disk.join("state"));
    system(&root);
    let before = digest(&root, true);
    let mut applier = Applier::open(&root, &state).expect("free");
    let mut filling = |moment: &Moment<'_>| {
        if moment.number == 9 && moment.event == Event::Begun {
            fill(&disk);
        }
    };
    let failed = applier
        .apply(&thirty(), &mut filling)
        .expect_err("it failed");
    fs::remove_file(disk.join("filler")).expect("removed");
    match failed {
        ApplyError::TakenBack { .. } => (),
        // There was no room even for what was there: it is all known still.
        ApplyError::NotBack { .. } => {
            applier
                .recover(Unfinished::TakeBack, &mut quiet)
                .expect("recovered");
        }
        other => panic!("{other}"),
    }
    similar_asserts(&digest(&root, true), &before);
}

#[test]
fn a_disk_that_can_only_be_read_is_refused_before_anything_changes() {
    on_a_small_disk("read_only_child");
}

#[test]
#[ignore = "run by a_disk_that_can_only_be_read_is_refused_before_anything_changes"]
fn read_only_child() {
    let Some(disk) = disk() else { return };
    let root = disk.join("root");
    system(&root);
    let elsewhere = tempfile::tempdir().expect("a folder");
    let mut applier = Applier::open(&root, &elsewhere.path().join("state")).expect("free");
    let status = Command::new("mount")
        .args(["-o", "remount,ro"])
        .arg(&disk)
        .status();
    assert!(status.expect("mount").success());
    let refused = applier.apply(&thirty(), &mut quiet).expect_err("refused");
    assert!(
        refused.to_string().contains("can only be read"),
        "{refused}"
    );
    assert_eq!(applier.history(), []);
}

/// Takes all room on a disk.
fn fill(disk: &Path) {
    use std::io::Write as _;
    let mut file = fs::File::create(disk.join("filler")).expect("a file");
    let mut size = 64 * 1024;
    while size > 0 {
        if file.write_all(&vec![1; size]).is_err() {
            size /= 2;
        }
    }
}

/// A setting of the kernel: the flags of an interface.
fn flags(value: &str) -> Action {
    Action::Setting {
        path: HostPath::of("/sys/class/net/spare/flags"),
        value: value.to_owned(),
    }
}

#[test]
fn in_a_root_that_does_not_run_no_setting_is_changed() {
    if !root_only() {
        return;
    }
    let place = place();
    let done = applier(&place).apply(&plan(vec![flags("0x1002")]), &mut quiet);
    assert_eq!(done.expect("applied").already, 1);
}

#[test]
fn a_setting_of_the_kernel_is_set_read_back_and_taken_back() {
    if !root_only() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let test = child("setting_child", &[]);
    let mut command = Command::new("unshare");
    command.args(["--mount", "--net", "--", "sh", "-c"]);
    command.arg(
        "mount -t sysfs sysfs /sys && ip link add spare type veth peer name other && ip link set spare up && exec \"$@\"",
    );
    command
        .arg("sh")
        .arg(test.get_program())
        .args(test.get_args());
    let status = command.env("STOCKADE_SETTING", folder.path()).status();
    assert!(status.expect("unshare").success());
}

#[test]
#[ignore = "run by a_setting_of_the_kernel_is_set_read_back_and_taken_back"]
fn setting_child() {
    let Some(folder) = std::env::var_os("STOCKADE_SETTING") else {
        return;
    };
    let state = Path::new(&folder).join("state");
    let now = || fs::read_to_string("/sys/class/net/spare/flags").expect("flags");
    let before = now();
    let number = u32::from_str_radix(before.trim().trim_start_matches("0x"), 16).expect("flags");
    let down = format!("{:#x}", number & !1);
    let mut applier = Applier::open(Path::new("/"), &state).expect("free");
    let other = Action::Setting {
        path: HostPath::of("/sys/class/net/spare/mtu"),
        value: "1400".to_owned(),
    };
    let done = applier
        .apply(&plan(vec![flags(&down), other]), &mut quiet)
        .expect("applied");
    assert_eq!(
        (done.done, done.not_kept.len()),
        (1, 1),
        "only what is on the list"
    );
    assert_eq!(now().trim(), down);
    assert_eq!(applier.settings().values().collect::<Vec<_>>(), [&down]);
    // A crash does not forget what it was.
    drop(applier);
    let mut applier = Applier::open(Path::new("/"), &state).expect("free");
    applier.undo(Which::All, &mut quiet).expect("undone");
    assert_eq!(now(), before);
    assert!(applier.settings().is_empty());

    applier
        .apply(&plan(vec![flags(&down)]), &mut quiet)
        .expect("applied");
    fs::write(
        "/sys/class/net/spare/flags",
        format!("{:#x}", number | 0x100),
    )
    .expect("written");
    let undone = applier.undo(Which::All, &mut quiet).expect("undone");
    assert_eq!(
        undone.left.len(),
        1,
        "somebody else's change stays: {undone:?}"
    );
}

#[test]
fn all_that_is_wrong_with_sshd_is_mended_by_one_plan() {
    if !root_only() {
        return;
    }
    let text = "schema = 1\n[device]\nmanufacturer = \"Acme\"\nmodel = \"cam-2\"\nversion = 7\nclass = \"linux\"\n[credentials]\nssh = \"keys-only\"\n";
    let profile = stockade_profile::parse(text).expect("a profile");
    for config in [
        "PasswordAuthentication yes\nPermitRootLogin yes\n",
        "PasswordAuthentication yes\nMatch User x\n  PasswordAuthentication yes\n",
        "#PasswordAuthentication yes\nPermitEmptyPasswords yes\nUsePAM yes\nMatch all\n",
        "Ciphers aes128-cbc\nX11Forwarding no\nX11Forwarding no\nMatch all\nMatch all\n",
    ] {
        let place = place();
        put(&place.root, "usr/sbin/sshd", 0o755, (0, 0), "");
        put(&place.root, "etc/ssh/sshd_config", 0o644, (0, 0), config);
        let keys = "root/.ssh/authorized_keys";
        put(&place.root, keys, 0o600, (0, 0), "ssh-ed25519 AAAA me\n");
        let look = || {
            let host = Offline::open(&place.root).expect("a root");
            let case = Case {
                host: &host,
                profile: &profile,
                now: 1_800_000_000,
                own: &Own::default(),
            };
            let mut assessment = assess(&case, &[&Credentials]);
            let sshd = |id: &str| id.starts_with("credentials/ssh-");
            assessment.outcomes.retain(|it| sshd(it.rule.id));
            assessment
        };
        let found = look();
        assert!(found.findings().count() > 1, "{config}");
        let plan = Plan::of(&found);
        applier(&place)
            .apply(&plan, &mut quiet)
            .unwrap_or_else(|why| panic!("{config}: {why}"));
        let left: Vec<_> = look().findings().map(|it| it.what.clone()).collect();
        assert_eq!(left, Vec::<String>::new(), "{config}");
    }
}
