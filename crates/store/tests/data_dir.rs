//! The data directory: one process, this user, a format that is known.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::{Command, Stdio};

use stockade_store::{DataDir, DataDirError};
use tempfile::TempDir;

const DIR: &str = "STOCKADE_TEST_DATA_DIR";

fn mode(path: &Path) -> u32 {
    fs_err::metadata(path).expect("metadata").mode() & 0o777
}

fn set_mode(path: &Path, mode: u32) {
    fs_err::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("a changed mode");
}

#[test]
fn it_is_made_for_this_user_only_and_opens_again() {
    let parent = TempDir::new().unwrap();
    let path = parent.path().join("new/data");
    for _ in 0..2 {
        let dir = DataDir::open(&path).unwrap();
        assert_eq!(mode(&path), 0o700);
        assert_eq!(mode(&dir.subdir("keys").unwrap()), 0o700);
        assert_eq!(mode(&dir.join("LOCK")), 0o600);
        assert!(dir.path().is_absolute());
    }
    let format = fs_err::read_to_string(path.join("FORMAT")).unwrap();
    assert!(
        format.starts_with("stockade data directory\nformat 1\nwritten by stockade "),
        "{format}"
    );
}

#[test]
fn the_same_process_cannot_open_it_twice_either() {
    let parent = TempDir::new().unwrap();
    let dir = DataDir::open(parent.path()).unwrap();
    let error = DataDir::open(parent.path()).unwrap_err();
    assert!(
        matches!(&error, DataDirError::InUse { pid, .. } if *pid == std::process::id().to_string()),
        "{error}"
    );
    drop(dir);
    DataDir::open(parent.path()).unwrap();
}

/// Not a test by itself: the other process.
#[test]
#[ignore = "the child process of the test below"]
fn child() {
    let Some(path) = std::env::var_os(DIR) else {
        return;
    };
    let _dir = DataDir::open(Path::new(&path)).unwrap();
    let mut out = std::io::stdout();
    writeln!(out, "open").unwrap();
    out.flush().unwrap();
    std::thread::park();
}

#[test]
fn another_process_is_named_and_its_death_frees_the_lock() {
    let parent = TempDir::new().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--ignored", "--nocapture"])
        .env(DIR, parent.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.is_ok_and(|line| line.ends_with("open"))));
    let error = DataDir::open(parent.path()).unwrap_err().to_string();
    assert!(
        error.contains(&format!("in use by process {}; stop it first", child.id())),
        "{error}"
    );
    child.kill().unwrap();
    child.wait().unwrap();
    DataDir::open(parent.path()).unwrap();
}

#[test]
fn a_newer_format_is_refused_and_says_who_wrote_it() {
    let parent = TempDir::new().unwrap();
    drop(DataDir::open(parent.path()).unwrap());
    let newer = "stockade data directory\nformat 2\nwritten by stockade 9.1.0\n";
    fs_err::write(parent.path().join("FORMAT"), newer).unwrap();
    let error = DataDir::open(parent.path()).unwrap_err().to_string();
    assert!(
        error.contains(
            "has format 2, written by stockade 9.1.0; this version knows formats up to 1"
        ),
        "{error}"
    );
    fs_err::write(parent.path().join("FORMAT"), "gibberish").unwrap();
    assert!(matches!(
        DataDir::open(parent.path()),
        Err(DataDirError::Foreign { .. })
    ));
}

#[test]
fn a_directory_of_something_else_is_left_alone() {
    let parent = TempDir::new().unwrap();
    fs_err::write(parent.path().join("thesis.tex"), "x").unwrap();
    assert!(matches!(
        DataDir::open(parent.path()),
        Err(DataDirError::Foreign { .. })
    ));
    assert_eq!(
        fs_err::read_dir(parent.path()).unwrap().count(),
        1,
        "nothing was put into it"
    );
    let file = parent.path().join("thesis.tex");
    assert!(matches!(
        DataDir::open(&file),
        Err(DataDirError::Foreign { .. })
    ));
}

#[test]
fn a_configuration_may_be_there_before_the_first_start_if_nobody_else_wrote_it() {
    let parent = TempDir::new().unwrap();
    let path = parent.path().join("data");
    fs_err::create_dir(&path).unwrap();
    fs_err::write(path.join("stockade.toml"), "").unwrap();
    set_mode(&path, 0o775);
    let error = DataDir::open(&path).unwrap_err();
    assert!(matches!(error, DataDirError::Exposed { .. }), "{error}");
    assert_eq!(
        fs_err::read_dir(&path).unwrap().count(),
        1,
        "nothing was put into it"
    );
    set_mode(&path, 0o755);
    drop(DataDir::open(&path).unwrap());
    assert_eq!(mode(&path), 0o700);
    assert!(path.join("FORMAT").exists());
}

#[test]
fn the_right_to_look_is_taken_away_and_the_right_to_change_refused() {
    let parent = TempDir::new().unwrap();
    let path = parent.path().join("data");
    fs_err::create_dir(&path).unwrap();
    set_mode(&path, 0o777);
    drop(DataDir::open(&path).unwrap());
    assert_eq!(
        mode(&path),
        0o700,
        "an empty one has nothing that could have been changed"
    );
    set_mode(&path, 0o755);
    drop(DataDir::open(&path).unwrap());
    assert_eq!(mode(&path), 0o700);
    set_mode(&path, 0o770);
    let error = DataDir::open(&path).unwrap_err();
    assert!(matches!(error, DataDirError::Exposed { .. }), "{error}");
    assert!(error.to_string().contains("chmod 700"), "{error}");
}
