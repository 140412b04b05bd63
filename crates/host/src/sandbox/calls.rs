//! System calls: which may be made, by process.

use std::collections::BTreeMap;

use libc::{AF_INET, AF_INET6, AF_NETLINK, AF_UNIX, CLONE_THREAD, ENOSYS, EPERM, c_long};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, apply_filter, sock_filter,
};

use super::SandboxError;

/// The agent's sockets.
pub(super) const NETWORK: &[i32] = &[AF_UNIX, AF_INET, AF_INET6];
/// The key process's sockets.
pub(super) const LOCAL: &[i32] = &[AF_UNIX];
/// The helper's sockets.
pub(super) const STEWARD: &[i32] = &[AF_UNIX, AF_NETLINK];

/// What the runner's programs change of the system.
pub(super) const RUNNER: &[c_long] = &[libc::SYS_mount, libc::SYS_umount2, libc::SYS_reboot];

/// Which system calls a process may make.
#[derive(Debug)]
pub(super) enum Calls {
    /// Those of [`PLAIN`], and sockets of these families; no other program and no other process.
    Only(&'static [i32]),
    /// All but those of [`NEVER`], and sockets of these families only.
    AllBut {
        /// The families; all if it is not said.
        families: Option<&'static [i32]>,
        /// What of [`NEVER`] is made all the same.
        but: &'static [c_long],
    },
}

impl Calls {
    /// Puts the filters into force; a call that is not allowed fails with `EPERM`.
    pub(super) fn enforce(&self) -> Result<(), SandboxError> {
        for program in self.programs()? {
            apply_filter(&program).map_err(|why| SandboxError::Seccomp(why.to_string()))?;
        }
        Ok(())
    }

    fn programs(&self) -> Result<Vec<BpfProgram>, SandboxError> {
        match self {
            Self::Only(families) => {
                // The C library takes `clone` where there is no `clone3`, whose flags no filter can see.
                let absent = filter(
                    [(libc::SYS_clone3, Vec::new())],
                    SeccompAction::Allow,
                    SeccompAction::Errno(ENOSYS.unsigned_abs()),
                )?;
                let mut rules: BTreeMap<c_long, Vec<SeccompRule>> =
                    PLAIN.iter().map(|call| (*call, Vec::new())).collect();
                rules.insert(libc::SYS_clone3, Vec::new());
                let thread = u64::try_from(CLONE_THREAD).unwrap_or_default();
                let threads = vec![when(0, SeccompCmpOp::MaskedEq(thread), thread)?];
                rules.insert(libc::SYS_clone, threads);
                rules.insert(libc::SYS_socket, of_families(families)?);
                rules.insert(libc::SYS_socketpair, of_families(LOCAL)?);
                let only = filter(
                    rules,
                    SeccompAction::Errno(EPERM.unsigned_abs()),
                    SeccompAction::Allow,
                )?;
                Ok(vec![absent, only])
            }
            Self::AllBut { families, but } => {
                let never = NEVER.iter().filter(|call| !but.contains(call));
                let mut rules: BTreeMap<c_long, Vec<SeccompRule>> =
                    never.map(|call| (*call, Vec::new())).collect();
                if let Some(families) = families {
                    // One rule that holds when the family is none of these.
                    let others: Result<Vec<_>, _> = families
                        .iter()
                        .map(|family| is(0, SeccompCmpOp::Ne, family.unsigned_abs().into()))
                        .collect();
                    rules.insert(libc::SYS_socket, vec![rule(others?)?]);
                }
                let all_but = filter(
                    rules,
                    SeccompAction::Allow,
                    SeccompAction::Errno(EPERM.unsigned_abs()),
                )?;
                Ok(vec![all_but])
            }
        }
    }
}

fn filter(
    rules: impl IntoIterator<Item = (c_long, Vec<SeccompRule>)>,
    otherwise: SeccompAction,
    then: SeccompAction,
) -> Result<BpfProgram, SandboxError> {
    let architecture = std::env::consts::ARCH
        .try_into()
        .map_err(|why: seccompiler::BackendError| SandboxError::Seccomp(why.to_string()))?;
    let compiled = SeccompFilter::new(rules.into_iter().collect(), otherwise, then, architecture)
        .and_then(TryInto::<BpfProgram>::try_into)
        .map_err(|why| SandboxError::Seccomp(why.to_string()))?;
    Ok(if cfg!(target_arch = "x86_64") {
        without_x32(compiled)
    } else {
        compiled
    })
}

/// The same calls have second numbers on `x86_64`, for the ABI x32, under the same architecture (seccomp(2), notes): a list of
/// what is forbidden would not see them. None is ever made here.
fn without_x32(program: BpfProgram) -> BpfProgram {
    // From linux/bpf_common.h and linux/seccomp.h.
    const LOAD_WORD: u16 = 0x20;
    const IF_AT_LEAST: u16 = 0x35;
    const RETURN: u16 = 0x06;
    const KILL_PROCESS: u32 = 0x8000_0000;
    const X32: u32 = 0x4000_0000;
    let line = |code, jt, jf, k| sock_filter { code, jt, jf, k };
    let mut all = vec![
        line(LOAD_WORD, 0, 0, 0),
        line(IF_AT_LEAST, 0, 1, X32),
        line(RETURN, 0, 0, KILL_PROCESS),
    ];
    all.extend(program);
    all
}

fn of_families(families: &[i32]) -> Result<Vec<SeccompRule>, SandboxError> {
    let mut rules = Vec::new();
    for family in families {
        rules.push(when(0, SeccompCmpOp::Eq, family.unsigned_abs().into())?);
    }
    Ok(rules)
}

fn when(argument: u8, how: SeccompCmpOp, value: u64) -> Result<SeccompRule, SandboxError> {
    rule(vec![is(argument, how, value)?])
}

fn is(argument: u8, how: SeccompCmpOp, value: u64) -> Result<SeccompCondition, SandboxError> {
    // The kernel looks at the lower half alone, for families and for flags of clone.
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, how, value)
        .map_err(|why| SandboxError::Seccomp(why.to_string()))
}

fn rule(conditions: Vec<SeccompCondition>) -> Result<SeccompRule, SandboxError> {
    SeccompRule::new(conditions).map_err(|why| SandboxError::Seccomp(why.to_string()))
}

/// What a program needs that reads and writes files and sockets, waits, has threads and memory; nothing that starts another
/// program, looks into another process, or changes the system.
const PLAIN: &[c_long] = &[
    // files
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_preadv2,
    libc::SYS_pwritev2,
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_close,
    libc::SYS_close_range,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_statfs,
    libc::SYS_fstatfs,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_lseek,
    libc::SYS_getdents64,
    libc::SYS_readlinkat,
    libc::SYS_getcwd,
    libc::SYS_unlinkat,
    libc::SYS_mkdirat,
    libc::SYS_renameat2,
    libc::SYS_renameat,
    libc::SYS_linkat,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_umask,
    libc::SYS_ftruncate,
    libc::SYS_fallocate,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_flock,
    libc::SYS_fcntl,
    libc::SYS_ioctl,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_pipe2,
    libc::SYS_copy_file_range,
    libc::SYS_sendfile,
    libc::SYS_utimensat,
    libc::SYS_fadvise64,
    // sockets
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_connect,
    libc::SYS_shutdown,
    libc::SYS_sendto,
    libc::SYS_recvfrom,
    libc::SYS_sendmsg,
    libc::SYS_recvmsg,
    libc::SYS_sendmmsg,
    libc::SYS_recvmmsg,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    // waiting
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_eventfd2,
    libc::SYS_ppoll,
    libc::SYS_pselect6,
    libc::SYS_timerfd_create,
    libc::SYS_timerfd_settime,
    libc::SYS_nanosleep,
    libc::SYS_clock_nanosleep,
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_gettimeofday,
    libc::SYS_restart_syscall,
    // memory and threads
    libc::SYS_brk,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_mprotect,
    libc::SYS_madvise,
    libc::SYS_mlock,
    libc::SYS_munlock,
    libc::SYS_futex,
    libc::SYS_set_robust_list,
    libc::SYS_get_robust_list,
    libc::SYS_set_tid_address,
    libc::SYS_rseq,
    libc::SYS_membarrier,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_getcpu,
    libc::SYS_getrandom,
    // the process itself
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_sigaltstack,
    libc::SYS_signalfd4,
    libc::SYS_tgkill,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_gettid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_getresuid,
    libc::SYS_getresgid,
    libc::SYS_getgroups,
    libc::SYS_capget,
    libc::SYS_prctl,
    libc::SYS_prlimit64,
    libc::SYS_getrusage,
    libc::SYS_sysinfo,
    libc::SYS_uname,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_open,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_stat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_lstat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_access,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_readlink,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_unlink,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_rename,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_mkdir,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_rmdir,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_chmod,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_link,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_select,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_epoll_wait,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_dup2,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_pipe,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_arch_prctl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_time,
];

/// What not even the helper does: reach into other processes and the kernel, change what is mounted, the clock, the running
/// kernel.
const NEVER: &[c_long] = &[
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    libc::SYS_kexec_load,
    #[cfg(not(target_arch = "riscv64"))]
    libc::SYS_kexec_file_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_reboot,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_fanotify_init,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_open_by_handle_at,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_syslog,
    libc::SYS_vhangup,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_modify_ldt,
];
