//! Power goes at any moment: a process that carries out a plan and undoes it again is killed, a hundred times.

#[path = "common/tree.rs"]
mod tree;

use std::path::Path;

use stockade_host::apply::{Applier, Moment, RunState, Unfinished, Which};
use tree::{child, digest, root_only, system, thirty};

const ROUNDS: u32 = 100;

fn quiet(_: &Moment<'_>) {}

/// Carries out the plan and undoes it, once.
fn there_and_back(root: &Path, state: &Path) {
    let mut applier = Applier::open(root, state).expect("the folder is free");
    applier.apply(&thirty(), &mut quiet).expect("applied");
    applier.undo(Which::Last, &mut quiet).expect("undone");
}

#[test]
#[ignore = "run by killed_at_any_moment_it_is_undone_or_finished"]
fn victim() {
    let place = |name| std::env::var_os(name).map(std::path::PathBuf::from);
    if let (Some(root), Some(state)) = (place("STOCKADE_ROOT"), place("STOCKADE_STATE")) {
        there_and_back(&root, &state);
    }
}

#[test]
fn killed_at_any_moment_it_is_undone_or_finished() {
    if !root_only() {
        return;
    }
    // Death of a process needs no slow disk.
    let memory = Path::new("/dev/shm");
    let folder = if memory.is_dir() {
        tempfile::tempdir_in(memory)
    } else {
        tempfile::tempdir()
    };
    let folder = folder.expect("a folder");
    let (root, state) = (folder.path().join("root"), folder.path().join("state"));
    system(&root);
    let before = digest(&root, true);
    there_and_back(&root, &state);
    assert_eq!(digest(&root, true), before);
    // The moment is chosen by what is written, not by a clock: machines differ, and so does their load.
    let journal = state.join("journal");
    let written = || fs_err::metadata(&journal).map_or(0, |about| about.len());
    let whole = written();
    Applier::open(&root, &state)
        .expect("the journal is whole")
        .forget()
        .expect("forgotten");
    let mut after = None;
    let (mut cut, mut finished, mut seed) = (0, 0, 0x9e37_79b9_u32);
    for round in 0..ROUNDS {
        let mut victim = child(
            "victim",
            &[("STOCKADE_ROOT", &root), ("STOCKADE_STATE", &state)],
        )
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("a child");
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let until = (u64::from(seed >> 8) * whole) >> 24;
        while written() < until && victim.try_wait().expect("a child").is_none() {
            std::thread::yield_now();
        }
        victim.kill().expect("killed, or done");
        victim.wait().expect("it ended");
        let mut applier = Applier::open(&root, &state).expect("the journal is whole");
        let unfinished =
            applier.history().last().map(|run| run.state) == Some(RunState::Unfinished);
        cut += u32::from(unfinished);
        let how = if round % 2 == 0 {
            Unfinished::TakeBack
        } else {
            Unfinished::GoOn
        };
        let recovered = applier.recover(how, &mut quiet).expect("recovered");
        if let Some(done) = recovered.done {
            finished += 1;
            assert_eq!(done.done, 30, "round {round}");
            let now = digest(&root, false);
            let after = after.get_or_insert_with(|| now.clone());
            assert_eq!(*after, now, "round {round}: finished is finished");
        }
        let undone = applier.undo(Which::All, &mut quiet).expect("undone");
        assert_eq!(undone.left, [""; 0], "round {round}");
        let now = digest(&root, true);
        assert!(
            now == before,
            "round {round}: {:#?}",
            differences(&now, &before)
        );
        applier.forget().expect("forgotten");
    }
    println!("{cut} of {ROUNDS} were cut short, {finished} of them gone on with");
    assert!(cut > ROUNDS / 4, "only {cut} rounds were cut short");
}

fn differences(now: &str, before: &str) -> Vec<String> {
    let lines = now.lines().filter(|line| !before.contains(*line));
    lines.map(str::to_owned).collect()
}
