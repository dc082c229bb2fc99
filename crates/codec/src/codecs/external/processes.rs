//! Starting and ending processes so that none is left behind, however splitbench ends.
//!
//! Each process leads a group of its own, so that what it starts (a launcher such as `uv run` starts the real program)
//! ends with it. Ctrl-C does not reach such a group by itself: a thread waits for it and ends the groups.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Mutex, Once};
use std::thread;

use rustix::process::{Pid, Signal, kill_process_group};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

use super::pool::lock;

/// Groups that are alive, or not yet waited for.
static GROUPS: Mutex<Vec<Pid>> = Mutex::new(Vec::new());

/// Starts a process in a group of its own.
pub(super) fn start(command: &mut Command) -> io::Result<Child> {
    static WATCH: Once = Once::new();
    WATCH.call_once(watch);
    // Held from before the start: a signal finds the group in the list or not yet started.
    let mut groups = lock(&GROUPS);
    let child = command.process_group(0).spawn()?;
    groups.push(Pid::from_child(&child));
    Ok(child)
}

/// Kills a process and its group, and waits for it; its own exit status where it had ended before. Once only.
pub(super) fn end(child: &mut Child) -> io::Result<ExitStatus> {
    let group = Pid::from_child(child);
    let mut groups = lock(&GROUPS);
    // Fails where the whole group is gone. Nobody else can have the number before it is waited for.
    let _ = kill_process_group(group, Signal::KILL);
    groups.retain(|other| *other != group);
    drop(groups);
    child.wait()
}

/// Ends all groups and then this process, as the signal would have. Not on SIGHUP, which `nohup` has switched off: where a
/// terminal is closed, programs see the end of their standard input.
fn watch() {
    // Where it cannot be done, programs see that end as well.
    let Ok(mut signals) = Signals::new([SIGINT, SIGTERM]) else { return };
    thread::spawn(move || {
        for signal in signals.forever() {
            // Held to the end, so that no process is started any more.
            let groups = lock(&GROUPS);
            for group in groups.iter() {
                let _ = kill_process_group(*group, Signal::KILL);
            }
            let _ = emulate_default_handler(signal);
        }
    });
}
