//! The processes of one command that wait for work.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use anyhow::{Context, Result};

use super::Role;
use super::program::Program;

/// Encoders and decoders, as many of each as ever worked at once: one a thread.
pub(super) struct Pool {
    command: String,
    words: Vec<String>,
    encoders: Mutex<Vec<Program>>,
    decoders: Mutex<Vec<Program>>,
}

/// The pools in use. All codecs of one command share theirs: an experiment has a codec a cell, and dozens of cells.
static POOLS: Mutex<Vec<Weak<Pool>>> = Mutex::new(Vec::new());

impl Pool {
    /// The pool of a command; nothing is started yet. It ends its processes when its last codec goes.
    pub fn for_command(command: &str) -> Result<Arc<Self>> {
        let words = shlex::split(command).with_context(|| format!("{command:?} has a quote without its end"))?;
        let mut pools = lock(&POOLS);
        pools.retain(|pool| pool.strong_count() > 0);
        if let Some(pool) = pools.iter().filter_map(Weak::upgrade).find(|pool| pool.command == command) {
            return Ok(pool);
        }
        let (encoders, decoders) = Default::default();
        let pool = Arc::new(Self { command: command.to_string(), words, encoders, decoders });
        pools.push(Arc::downgrade(&pool));
        Ok(pool)
    }

    fn idle(&self, role: Role) -> MutexGuard<'_, Vec<Program>> {
        lock(match role {
            Role::Encoder => &self.encoders,
            Role::Decoder => &self.decoders,
        })
    }

    /// A process that nobody else uses, started where all are at work.
    pub fn take(&self, role: Role) -> Result<Program> {
        let idle = self.idle(role).pop();
        idle.map_or_else(|| Program::start(&self.words), Ok)
    }

    /// Whether a process would have to be started for one of the two.
    pub fn is_cold(&self) -> bool {
        [Role::Encoder, Role::Decoder].into_iter().any(|role| self.idle(role).is_empty())
    }

    /// Puts a process back that answered well.
    pub fn give_back(&self, role: Role, program: Program) {
        self.idle(role).push(program);
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // All are told before the first is waited for, so that together they take no longer than one.
        for role in [Role::Encoder, Role::Decoder] {
            self.idle(role).iter_mut().for_each(Program::close_input);
        }
    }
}

/// The lists are whole after every statement, so a thread that panicked while it held one left no harm.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
