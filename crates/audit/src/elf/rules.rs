//! The rules about how programs were built.

use stockade_controls::engine::rules;

const STANDARDS: [&str; 5] = [
    "EN 303 645 5.6-6",
    "CRA I.I(2)(k)",
    "NISTIR 8425 product configuration",
    "ISVS 3.2.1",
    "ISVS 3.4.1",
];

rules! {
    Programs "programs";
    STACK = "executable-stack", Medium, "No program has a stack that can be run",
        "What an intruder writes into a buffer runs as code.",
        "Build with -Wl,-z,noexecstack, and give each assembler file a .note.GNU-stack section.",
        STANDARDS;
    SEARCH = "library-path", High, "No program looks for libraries where others may put them",
        "Whoever writes to that directory runs code as whoever starts the program.",
        "Build without -rpath, or take it out with patchelf --remove-rpath.",
        STANDARDS;
    PIE = "pie", Medium, "Programs may lie anywhere in memory (PIE)",
        "A program that always lies in one place tells an intruder all addresses.",
        "Build with -fPIE -pie; for a program without libraries with -static-pie.",
        STANDARDS;
    CANARY = "stack-protector", Medium, "Functions check whether their stack was overwritten",
        "Without a canary an overflow of a buffer on the stack goes unnoticed, and leads where an intruder wants.",
        "Build with -fstack-protector-strong.",
        STANDARDS;
    RELRO = "relro", Low, "The tables of addresses are read-only once a program runs (full RELRO)",
        "One write to a table of addresses is enough to take a program over.",
        "Build with -Wl,-z,relro,-z,now.",
        STANDARDS;
    FORTIFY = "fortify", Low, "Functions that copy check their lengths (FORTIFY_SOURCE)",
        "Lengths that the compiler knows are not compared with what is copied.",
        "Build with -O2 -D_FORTIFY_SOURCE=3.",
        STANDARDS;
    CODE = "text-relocations", Medium, "No program's code is changed when it is loaded",
        "Code that can be written can be replaced.",
        "Build libraries with -fPIC, and with -Wl,-z,text, which finds the culprit.",
        STANDARDS;
    JUMPS = "guarded-jumps", Info, "Jumps may go only where the compiler meant them to (CFI, BTI and PAC, CET)",
        "Pieces of code that are there already are strung together to a program of the intruder's.",
        "Build with -mbranch-protection=standard (ARM) or -fcf-protection (x86), or with clang's -fsanitize=cfi.",
        STANDARDS;
    MODULES = "module-signature", Low, "Kernel modules are signed",
        "A kernel that loads unsigned modules loads an intruder's as well.",
        "Build the kernel with CONFIG_MODULE_SIG_ALL, and with CONFIG_MODULE_SIG_FORCE.",
        STANDARDS;
}
