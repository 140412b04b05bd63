//! The settings that are judged. Each says since and until which version of the kernel it exists, and for which processors.

use std::ops::Range;

use stockade_controls::engine::Rule;

use super::rules::{CONFINES, DOORS, MEMORY, PROCESSOR, SURFACE};

/// One setting.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) rule: &'static Rule,
    /// Its names, without `CONFIG_`; one of them is enough.
    pub(super) names: &'static [&'static str],
    /// Whether it should be on.
    pub(super) on: bool,
    /// The least that it should be, if it is a number.
    pub(super) least: Option<u64>,
    /// The processors that have it; all if none is named.
    pub(super) architectures: &'static [&'static str],
    /// The versions that have it.
    pub(super) versions: Range<(u32, u32)>,
    /// Without one of these it does not matter.
    pub(super) unless: &'static [&'static str],
    /// What it leads to if it is not so.
    pub(super) why: &'static str,
}

const ALL: &[&str] = &[];
const X86: &[&str] = &["x86", "x86_64", "i386"];
const ARM64: &[&str] = &["arm64"];
const ARM: &[&str] = &["arm"];
const BOTH_ARM: &[&str] = &["arm", "arm64"];
const X86_ARM64: &[&str] = &["x86", "x86_64", "arm64", "riscv", "s390"];
/// Those on which the kernel can be told apart in what is written and what is run; not MIPS.
const RWX: &[&str] = &[
    "x86",
    "x86_64",
    "i386",
    "arm64",
    "arm",
    "powerpc",
    "riscv",
    "s390",
    "loongarch",
];
/// Those on which the kernel can be moved.
const KASLR: &[&str] = &[
    "x86",
    "x86_64",
    "i386",
    "arm64",
    "mips",
    "powerpc",
    "riscv",
    "s390",
    "loongarch",
];
const ALWAYS: (u32, u32) = (0, 0);
const STILL: (u32, u32) = (u32::MAX, 0);

/// A setting that should be on.
const fn on(
    rule: &'static Rule,
    names: &'static [&'static str],
    architectures: &'static [&'static str],
    versions: Range<(u32, u32)>,
    why: &'static str,
) -> Wanted {
    Wanted {
        rule,
        names,
        on: true,
        least: None,
        architectures,
        versions,
        unless: &[],
        why,
    }
}

/// A setting that should be off.
const fn off(
    rule: &'static Rule,
    names: &'static [&'static str],
    architectures: &'static [&'static str],
    versions: Range<(u32, u32)>,
    why: &'static str,
) -> Wanted {
    Wanted {
        on: false,
        ..on(rule, names, architectures, versions, why)
    }
}

pub(super) static WANTED: &[Wanted] = &[
    off(
        &DOORS,
        &["DEVKMEM"],
        ALL,
        ALWAYS..(5, 13),
        "/dev/kmem is the kernel's memory as a file",
    ),
    Wanted {
        unless: &["DEVMEM"],
        ..on(
            &DOORS,
            &["STRICT_DEVMEM"],
            ALL,
            ALWAYS..STILL,
            "/dev/mem is all memory as a file",
        )
    },
    Wanted {
        unless: &["DEVMEM"],
        ..on(
            &DOORS,
            &["IO_STRICT_DEVMEM"],
            ALL,
            (4, 5)..STILL,
            "/dev/mem reaches devices that a driver has",
        )
    },
    Wanted {
        unless: &["MODULES"],
        ..on(
            &DOORS,
            &["MODULE_SIG_FORCE"],
            ALL,
            (3, 7)..STILL,
            "unsigned modules are loaded",
        )
    },
    off(
        &DOORS,
        &["KEXEC"],
        ALL,
        ALWAYS..STILL,
        "root starts a kernel that nobody signed",
    ),
    off(
        &DOORS,
        &["PROC_KCORE"],
        ALL,
        ALWAYS..STILL,
        "/proc/kcore is the kernel's memory as a file",
    ),
    off(
        &DOORS,
        &["HIBERNATION"],
        ALL,
        ALWAYS..STILL,
        "a changed image of memory is woken up",
    ),
    off(
        &DOORS,
        &["ACPI_CUSTOM_METHOD"],
        X86,
        (3, 0)..(6, 3),
        "root writes methods of ACPI that run in the kernel",
    ),
    Wanted {
        unless: &["BPF_SYSCALL"],
        ..on(
            &DOORS,
            &["BPF_UNPRIV_DEFAULT_OFF"],
            ALL,
            (5, 16)..STILL,
            "everybody loads programs of BPF into the kernel",
        )
    },
    off(
        &DOORS,
        &["KGDB"],
        ALL,
        ALWAYS..STILL,
        "a serial line stops and changes the kernel",
    ),
    on(
        &DOORS,
        &["BUG"],
        ALL,
        ALWAYS..STILL,
        "the kernel goes on after an error that it noticed",
    ),
    on(
        &MEMORY,
        &["STRICT_KERNEL_RWX", "DEBUG_RODATA"],
        RWX,
        ALWAYS..STILL,
        "the kernel's code and constants can be written",
    ),
    Wanted {
        unless: &["MODULES"],
        ..on(
            &MEMORY,
            &["STRICT_MODULE_RWX", "DEBUG_SET_MODULE_RONX"],
            RWX,
            ALWAYS..STILL,
            "the code of modules can be written",
        )
    },
    on(
        &MEMORY,
        &["STACKPROTECTOR_STRONG", "CC_STACKPROTECTOR_STRONG"],
        ALL,
        (3, 14)..STILL,
        "an overflow of a stack goes unnoticed",
    ),
    on(
        &MEMORY,
        &["RANDOMIZE_BASE"],
        KASLR,
        (3, 14)..STILL,
        "the kernel lies where everybody knows",
    ),
    on(
        &MEMORY,
        &["VMAP_STACK"],
        X86_ARM64,
        (4, 14)..STILL,
        "a stack that overflows goes on into other memory",
    ),
    on(
        &MEMORY,
        &["HARDENED_USERCOPY"],
        ALL,
        (4, 8)..STILL,
        "what is copied to programs is not compared with what it is taken from",
    ),
    on(
        &MEMORY,
        &["FORTIFY_SOURCE"],
        ALL,
        (4, 13)..STILL,
        "lengths that the compiler knows are not compared with what is copied",
    ),
    on(
        &MEMORY,
        &["SLAB_FREELIST_RANDOM"],
        ALL,
        (4, 7)..STILL,
        "where memory is given out can be foretold",
    ),
    on(
        &MEMORY,
        &["SLAB_FREELIST_HARDENED"],
        ALL,
        (4, 14)..STILL,
        "lists of free memory can be forged",
    ),
    on(
        &MEMORY,
        &["SHUFFLE_PAGE_ALLOCATOR"],
        ALL,
        (5, 2)..STILL,
        "where pages are given out can be foretold",
    ),
    on(
        &MEMORY,
        &["INIT_ON_ALLOC_DEFAULT_ON"],
        ALL,
        (5, 3)..STILL,
        "memory is given out with what was in it",
    ),
    on(
        &MEMORY,
        &[
            "INIT_STACK_ALL_ZERO",
            "INIT_STACK_ALL_PATTERN",
            "GCC_PLUGIN_STRUCTLEAK_BYREF_ALL",
        ],
        ALL,
        (5, 2)..STILL,
        "variables on the stack begin with what was there",
    ),
    on(
        &MEMORY,
        &["DEBUG_LIST", "LIST_HARDENED"],
        ALL,
        ALWAYS..STILL,
        "broken lists are believed",
    ),
    on(
        &MEMORY,
        &["SCHED_STACK_END_CHECK"],
        ALL,
        (3, 18)..STILL,
        "the end of a stack is not looked at",
    ),
    on(
        &MEMORY,
        &["REFCOUNT_FULL"],
        ALL,
        (4, 13)..(5, 4),
        "counters of references overflow",
    ),
    Wanted {
        least: Some(4096),
        ..on(
            &MEMORY,
            &["DEFAULT_MMAP_MIN_ADDR"],
            ALL,
            ALWAYS..STILL,
            "programs put data where a null pointer of the kernel leads",
        )
    },
    on(
        &CONFINES,
        &["SECURITY"],
        ALL,
        ALWAYS..STILL,
        "it has no security modules",
    ),
    on(
        &CONFINES,
        &[
            "SECURITY_SELINUX",
            "SECURITY_APPARMOR",
            "SECURITY_SMACK",
            "SECURITY_TOMOYO",
        ],
        ALL,
        ALWAYS..STILL,
        "it has no mandatory access control",
    ),
    on(
        &CONFINES,
        &["SECCOMP_FILTER"],
        ALL,
        (3, 5)..STILL,
        "services can not be kept from calls to the kernel",
    ),
    on(
        &CONFINES,
        &["SECURITY_YAMA"],
        ALL,
        (3, 4)..STILL,
        "each program of a user reads the memory of all others of that user",
    ),
    on(
        &CONFINES,
        &["SECURITY_DMESG_RESTRICT"],
        ALL,
        ALWAYS..STILL,
        "everybody reads the kernel's log",
    ),
    on(
        &CONFINES,
        &["SECURITY_LANDLOCK"],
        ALL,
        (5, 13)..STILL,
        "programs can not confine themselves to some files",
    ),
    on(
        &CONFINES,
        &["SECURITY_LOCKDOWN_LSM"],
        ALL,
        (5, 4)..STILL,
        "root can not be kept from changing the kernel",
    ),
    Wanted {
        unless: &["INET"],
        ..on(
            &CONFINES,
            &["SYN_COOKIES"],
            ALL,
            ALWAYS..STILL,
            "a flood of half-open connections shuts others out",
        )
    },
    on(
        &PROCESSOR,
        &["MITIGATION_PAGE_TABLE_ISOLATION", "PAGE_TABLE_ISOLATION"],
        X86,
        (4, 15)..STILL,
        "Meltdown",
    ),
    on(
        &PROCESSOR,
        &["MITIGATION_RETPOLINE", "RETPOLINE"],
        X86,
        (4, 15)..STILL,
        "Spectre, variant 2",
    ),
    on(
        &PROCESSOR,
        &["UNMAP_KERNEL_AT_EL0"],
        ARM64,
        (4, 16)..STILL,
        "Meltdown, and the kernel's place",
    ),
    on(
        &PROCESSOR,
        &["HARDEN_BRANCH_PREDICTOR"],
        BOTH_ARM,
        (4, 16)..(5, 10),
        "Spectre, variant 2",
    ),
    on(
        &PROCESSOR,
        &["MITIGATE_SPECTRE_BRANCH_HISTORY"],
        ARM64,
        (5, 17)..STILL,
        "Spectre, by the history of branches",
    ),
    on(
        &PROCESSOR,
        &["ARM64_SW_TTBR0_PAN", "ARM64_PAN"],
        ARM64,
        (4, 10)..STILL,
        "the kernel reads memory of programs by mistake",
    ),
    on(
        &PROCESSOR,
        &["CPU_SW_DOMAIN_PAN"],
        ARM,
        (4, 3)..STILL,
        "the kernel reads memory of programs by mistake",
    ),
    off(
        &SURFACE,
        &["COMPAT_BRK"],
        ALL,
        ALWAYS..STILL,
        "the heap lies where everybody knows",
    ),
    off(
        &SURFACE,
        &["COMPAT_VDSO"],
        X86,
        ALWAYS..STILL,
        "a piece of the kernel's code lies where everybody knows",
    ),
    off(
        &SURFACE,
        &["DEBUG_FS"],
        ALL,
        ALWAYS..STILL,
        "drivers show and take what is meant for their makers",
    ),
    off(
        &SURFACE,
        &["MAGIC_SYSRQ_SERIAL"],
        ALL,
        (4, 16)..STILL,
        "a serial line sends orders to the kernel",
    ),
    off(
        &SURFACE,
        &["LEGACY_TIOCSTI"],
        ALL,
        (6, 2)..STILL,
        "a program types into the terminal that it was started from",
    ),
    off(
        &SURFACE,
        &["LDISC_AUTOLOAD"],
        ALL,
        (5, 1)..STILL,
        "everybody has drivers of lines loaded",
    ),
    off(
        &SURFACE,
        &["LEGACY_PTYS"],
        ALL,
        ALWAYS..STILL,
        "old terminals that nobody needs",
    ),
    off(
        &SURFACE,
        &["USELIB"],
        ALL,
        (3, 15)..STILL,
        "a call for programs of 1995",
    ),
    off(
        &SURFACE,
        &["USERFAULTFD"],
        ALL,
        (4, 3)..STILL,
        "programs hold the kernel up in the middle of a copy",
    ),
    off(
        &SURFACE,
        &["BINFMT_MISC"],
        ALL,
        ALWAYS..STILL,
        "what a file of any kind is run with can be said by root of a container",
    ),
    off(
        &SURFACE,
        &["MODIFY_LDT_SYSCALL"],
        X86,
        (4, 3)..STILL,
        "a call for programs of 16 bits",
    ),
    off(
        &SURFACE,
        &["X86_X32_ABI", "X86_X32"],
        X86,
        (3, 4)..STILL,
        "calls a second time, for programs that nobody has",
    ),
    off(
        &SURFACE,
        &["OABI_COMPAT"],
        ARM,
        ALWAYS..STILL,
        "calls a second time, for programs of before 2006",
    ),
    off(
        &SURFACE,
        &["IP_DCCP"],
        ALL,
        ALWAYS..(6, 15),
        "a protocol that nobody uses, and that had holes",
    ),
    off(
        &SURFACE,
        &["IP_SCTP"],
        ALL,
        ALWAYS..STILL,
        "a protocol that few use, and that had holes",
    ),
    off(
        &SURFACE,
        &["N_HDLC"],
        ALL,
        ALWAYS..STILL,
        "a driver of old modems that had holes",
    ),
];

/// A setting's name, if it is one of those that are judged, or that say whether another matters.
pub(super) fn known(name: &str) -> Option<&'static str> {
    let mut names = WANTED
        .iter()
        .flat_map(|it| it.names.iter().chain(it.unless));
    names.find(|it| **it == name).copied()
}
