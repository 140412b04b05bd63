//! The memory of a process that lives long and has little. Where the C library is not glibc there is nothing to do.

/// All threads allocate in one place. By default each new one gets another, where what it freed stays when it is gone. To be
/// called before there are threads.
pub fn frugal() {
    #[cfg(target_env = "gnu")]
    #[expect(unsafe_code, reason = "no safe wrapper of mallopt exists")]
    // SAFETY: mallopt(3) takes numbers and no pointer.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

/// Gives back to the system what was freed, after work that took much for a moment: most of it would be kept.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    #[expect(unsafe_code, reason = "no safe wrapper of malloc_trim exists")]
    // SAFETY: malloc_trim(3) takes a number and no pointer, is thread-safe, and touches nothing that is in use.
    unsafe {
        libc::malloc_trim(0);
    }
}
