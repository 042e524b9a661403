//! The modes of a terminal: those of the client's own are taken over.

use std::io;
use std::os::fd::AsFd;

use build_core::buildlet::TerminalModes;
use rustix::termios::{
    ControlModes, InputModes, LocalModes, OptionalActions, OutputModes, SpecialCodeIndex as Code,
    Termios, tcgetattr, tcsetattr,
};

/// How ssh says that no character does it, and how the system does.
const NONE_OF_SSH: u32 = 255;
const NONE: u8 = if cfg!(target_os = "linux") { 0 } else { 255 };

/// Sets what the client's terminal has; what this system does not know stays as it is.
pub(super) fn set(terminal: &impl AsFd, modes: &TerminalModes) -> io::Result<()> {
    if modes.is_empty() {
        return Ok(());
    }
    let mut termios = tcgetattr(terminal)?;
    for (mode, value) in modes.iter() {
        apply(&mut termios, mode, value);
    }
    Ok(tcsetattr(terminal, OptionalActions::Now, &termios)?)
}

fn apply(termios: &mut Termios, mode: u8, value: u32) {
    if let Some(code) = code(mode) {
        let character = match value {
            NONE_OF_SSH => Some(NONE),
            value => u8::try_from(value).ok(),
        };
        if let Some(character) = character {
            termios.special_codes[code] = character;
        }
        return;
    }
    let is_on = value != 0;
    match mode {
        30..=49 => {
            if let Some(input) = input(mode) {
                termios.input_modes.set(input, is_on);
            }
        }
        50..=69 => {
            if let Some(local) = local(mode) {
                termios.local_modes.set(local, is_on);
            }
        }
        70..=89 => {
            if let Some(output) = output(mode) {
                termios.output_modes.set(output, is_on);
            }
        }
        // Bits of a byte; the speeds of a line that is none mean nothing.
        90 if is_on => set_size(termios, ControlModes::CS7),
        91 if is_on => set_size(termios, ControlModes::CS8),
        92 => termios.control_modes.set(ControlModes::PARENB, is_on),
        93 => termios.control_modes.set(ControlModes::PARODD, is_on),
        _ => {}
    }
}

fn set_size(termios: &mut Termios, size: ControlModes) {
    termios.control_modes.remove(ControlModes::CSIZE);
    termios.control_modes.insert(size);
}

/// The characters, by the numbers of RFC 4254.
fn code(mode: u8) -> Option<Code> {
    Some(match mode {
        1 => Code::VINTR,
        2 => Code::VQUIT,
        3 => Code::VERASE,
        4 => Code::VKILL,
        5 => Code::VEOF,
        6 => Code::VEOL,
        7 => Code::VEOL2,
        8 => Code::VSTART,
        9 => Code::VSTOP,
        10 => Code::VSUSP,
        12 => Code::VREPRINT,
        13 => Code::VWERASE,
        14 => Code::VLNEXT,
        18 => Code::VDISCARD,
        _ => return None,
    })
}

fn input(mode: u8) -> Option<InputModes> {
    Some(match mode {
        30 => InputModes::IGNPAR,
        31 => InputModes::PARMRK,
        32 => InputModes::INPCK,
        33 => InputModes::ISTRIP,
        34 => InputModes::INLCR,
        35 => InputModes::IGNCR,
        36 => InputModes::ICRNL,
        38 => InputModes::IXON,
        39 => InputModes::IXANY,
        40 => InputModes::IXOFF,
        41 => InputModes::IMAXBEL,
        #[cfg(target_os = "linux")]
        42 => InputModes::IUTF8,
        _ => return None,
    })
}

fn local(mode: u8) -> Option<LocalModes> {
    Some(match mode {
        50 => LocalModes::ISIG,
        51 => LocalModes::ICANON,
        53 => LocalModes::ECHO,
        54 => LocalModes::ECHOE,
        55 => LocalModes::ECHOK,
        56 => LocalModes::ECHONL,
        57 => LocalModes::NOFLSH,
        58 => LocalModes::TOSTOP,
        59 => LocalModes::IEXTEN,
        60 => LocalModes::ECHOCTL,
        61 => LocalModes::ECHOKE,
        62 => LocalModes::PENDIN,
        _ => return None,
    })
}

fn output(mode: u8) -> Option<OutputModes> {
    Some(match mode {
        70 => OutputModes::OPOST,
        72 => OutputModes::ONLCR,
        73 => OutputModes::OCRNL,
        74 => OutputModes::ONOCR,
        75 => OutputModes::ONLRET,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_takes_over_what_it_knows() {
        let (pty, _its) = pty_process::blocking::open().unwrap();
        let before = tcgetattr(&pty).unwrap();
        assert!(
            before
                .local_modes
                .contains(LocalModes::ECHO | LocalModes::ICANON)
        );
        let modes = [
            (1, 7),
            (3, 8),
            (9, 255),
            (53, 0),
            (36, 0),
            (72, 0),
            (17, 3),
            (130, 9),
        ];
        set(&pty, &TerminalModes::new(modes)).unwrap();
        let after = tcgetattr(&pty).unwrap();
        assert!(!after.local_modes.contains(LocalModes::ECHO));
        assert!(
            after.local_modes.contains(LocalModes::ICANON),
            "nobody has said anything of it"
        );
        assert!(!after.input_modes.contains(InputModes::ICRNL));
        assert!(!after.output_modes.contains(OutputModes::ONLCR));
        let codes = [Code::VINTR, Code::VERASE, Code::VSTOP].map(|code| after.special_codes[code]);
        assert_eq!(codes, [7, 8, NONE]);
    }
}
