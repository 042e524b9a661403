//! System calls that no build needs and that lead out of a fence, or far into the kernel.
//!
//! Debuggers work: they reach what is behind the same fence alone.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, apply_filter,
};

/// Flags of `clone` and `unshare` that make namespaces: user, pid, mount, network, ipc, uts,
/// cgroup, time.
const NEW_NAMESPACES: [u64; 8] = [
    0x1000_0000,
    0x2000_0000,
    0x0002_0000,
    0x4000_0000,
    0x0800_0000,
    0x0400_0000,
    0x0200_0000,
    0x80,
];
/// Flags of `clone` among them: there the last one is a signal's number.
const OF_CLONE: usize = 7;
/// `TIOCSTI` and `TIOCLINUX`: text that a terminal's owner has not typed.
const TYPE_FOR_OTHERS: [u64; 2] = [0x5412, 0x541c];
/// Families of sockets that lead around network namespaces or deep into the kernel: kernel
/// crypto, virtual machines, packets.
const ODD_FAMILIES: [u64; 3] = [38, 40, 17];
/// IP, old and new.
const INTERNET: [u64; 2] = [2, 10];
/// The other numbering of the same system calls on the same processor.
#[cfg(target_arch = "x86_64")]
const X32: i64 = 0x4000_0000;

const FORBIDDEN: &[i64] = &[
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
    libc::SYS_setns,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_userfaultfd,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_kexec_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_open_by_handle_at,
    libc::SYS_syslog,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_chroot,
    libc::SYS_fanotify_init,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
];

/// Forbids them to this process and whatever it starts; with `internet` sockets of IP as well.
pub(super) fn forbid(internet: bool) -> Result<(), String> {
    let apply = || {
        apply_filter(&refusing(rules(internet)?, libc::EPERM)?)?;
        // Its flags lie in memory, where no filter sees them: libraries then take the older call.
        apply_filter(&refusing(
            [(libc::SYS_clone3, vec![])].into(),
            libc::ENOSYS,
        )?)?;
        #[cfg(target_arch = "x86_64")]
        apply_filter(&narrow::program(internet))?;
        Ok::<_, seccompiler::Error>(())
    };
    apply().map_err(|error| format!("sandbox: filter of system calls: {error}"))
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

fn rules(internet: bool) -> Result<Rules, seccompiler::Error> {
    let mut rules: Rules = FORBIDDEN.iter().map(|&number| (number, vec![])).collect();
    let has = |flag: &u64| rule(0, SeccompCmpOp::MaskedEq(*flag), *flag);
    let made = |flags: &[u64]| flags.iter().map(has).collect::<Result<_, _>>();
    rules.insert(libc::SYS_clone, made(&NEW_NAMESPACES[..OF_CLONE])?);
    rules.insert(libc::SYS_unshare, made(&NEW_NAMESPACES)?);
    let is = |at, values: &[u64]| {
        let rules = values
            .iter()
            .map(|&value| rule(at, SeccompCmpOp::Eq, value));
        rules.collect::<Result<Vec<_>, _>>()
    };
    rules.insert(libc::SYS_ioctl, is(1, &TYPE_FOR_OTHERS)?);
    let mut families = ODD_FAMILIES.to_vec();
    if internet {
        families.extend(INTERNET);
    }
    rules.insert(libc::SYS_socket, is(0, &families)?);
    #[cfg(target_arch = "x86_64")]
    for (number, of) in rules.clone() {
        rules.insert(number | X32, of);
    }
    Ok(rules)
}

fn rule(at: u8, op: SeccompCmpOp, value: u64) -> Result<SeccompRule, seccompiler::Error> {
    let condition = SeccompCondition::new(at, SeccompCmpArgLen::Dword, op, value)?;
    Ok(SeccompRule::new(vec![condition])?)
}

fn refusing(rules: Rules, errno: i32) -> Result<BpfProgram, seccompiler::Error> {
    let filter = SeccompFilter::new(
        rules,
        SeccompAction::Allow,
        SeccompAction::Errno(errno.unsigned_abs()),
        std::env::consts::ARCH.try_into()?,
    )?;
    #[cfg_attr(
        not(target_arch = "x86_64"),
        expect(unused_mut, reason = "one numbering")
    )]
    let mut program: BpfProgram = filter.try_into()?;
    #[cfg(target_arch = "x86_64")]
    narrow::let_pass(&mut program);
    Ok(program)
}

/// Programs of 32 bits, which have numbers of their own.
#[cfg(target_arch = "x86_64")]
mod narrow {
    use seccompiler::{BpfProgram, sock_filter};

    const AUDIT_ARCH_I386: u32 = 0x4000_0003;
    const RET: u16 = 0x06;
    const LOAD: u16 = 0x20;
    const JUMP_EQUAL: u16 = 0x15;
    const JUMP_ANY_BIT: u16 = 0x45;
    const KILL_PROCESS: u32 = 0x8000_0000;
    const ALLOW: u32 = 0x7fff_0000;
    const EPERM: u32 = 0x0005_0001;
    const ENOSYS: u32 = 0x0005_0026;
    /// Offsets in `seccomp_data`.
    const NUMBER: u32 = 0;
    const ARCH: u32 = 4;
    const FIRST_ARGUMENT: u32 = 16;

    const CLONE: u32 = 120;
    const CLONE3: u32 = 435;
    const SOCKETCALL: u32 = 102;
    const SOCKET: u32 = 359;
    const NEW_NAMESPACES: u32 = 0x7e02_0000;

    /// The same calls as above: mount, umount, umount2, pivot_root, move_mount and its kin,
    /// unshare, setns, keys, io_uring, userfaultfd, bpf, perf, kexec, modules, handles, syslog,
    /// reboot, swap, acct, quotactl, clocks, chroot, fanotify, ports.
    const FORBIDDEN: &[u32] = &[
        21, 22, 52, 217, 428, 429, 430, 431, 432, 433, 442, 310, 346, 286, 287, 288, 425, 426, 427,
        374, 357, 336, 283, 128, 350, 129, 342, 103, 88, 87, 115, 51, 131, 79, 264, 404, 61, 338,
        110, 101,
    ];

    /// A filter that knows one numbering kills whatever comes with another: here the filter of
    /// the other numbering decides.
    pub(super) fn let_pass(program: &mut BpfProgram) {
        let foreign = |step: &&mut sock_filter| step.code == RET && step.k == KILL_PROCESS;
        if let Some(step) = program.iter_mut().find(foreign) {
            step.k = ALLOW;
        }
    }

    fn step(code: u16, yes: u8, no: u8, value: u32) -> sock_filter {
        sock_filter {
            code,
            jt: yes,
            jf: no,
            k: value,
        }
    }

    pub(super) fn program(internet: bool) -> BpfProgram {
        let mut program = vec![
            step(LOAD, 0, 0, ARCH),
            step(JUMP_EQUAL, 1, 0, AUDIT_ARCH_I386),
            step(RET, 0, 0, ALLOW),
            step(LOAD, 0, 0, NUMBER),
            step(JUMP_EQUAL, 0, 1, CLONE3),
            step(RET, 0, 0, ENOSYS),
        ];
        let sockets = [SOCKETCALL, SOCKET];
        let more = if internet { &sockets[..] } else { &[] };
        for number in FORBIDDEN.iter().chain(more) {
            program.push(step(JUMP_EQUAL, 0, 1, *number));
            program.push(step(RET, 0, 0, EPERM));
        }
        program.extend([
            step(JUMP_EQUAL, 0, 3, CLONE),
            step(LOAD, 0, 0, FIRST_ARGUMENT),
            step(JUMP_ANY_BIT, 0, 1, NEW_NAMESPACES),
            step(RET, 0, 0, EPERM),
            step(RET, 0, 0, ALLOW),
        ]);
        program
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filter_compiles_and_kills_nobody() {
        for internet in [false, true] {
            let program = refusing(rules(internet).unwrap(), libc::EPERM).unwrap();
            assert!(program.len() < 4096, "the kernel takes no longer ones");
            assert!(
                program
                    .iter()
                    .all(|step| step.k != 0x8000_0000 || step.code != 0x06)
            );
        }
    }
}
