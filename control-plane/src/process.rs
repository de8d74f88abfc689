//! What a process that holds keys does to itself.

/// No core dumps: they would contain keys. Also keeps other processes of the user from reading the memory.
///
/// # Errors
/// When the operating system refuses.
pub fn forbid_core_dumps() -> std::io::Result<()> {
    let none = rustix::process::Rlimit { current: Some(0), maximum: Some(0) };
    rustix::process::setrlimit(rustix::process::Resource::Core, none)?;
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
    Ok(())
}
