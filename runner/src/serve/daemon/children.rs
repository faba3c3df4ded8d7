//! Processes before and beside jobs: zygotes, those that wait, helpers.

use super::*;

impl Daemon {
    pub(super) fn add_process(
        &mut self,
        pid: Pid,
        role: Role,
    ) -> Result<ProcessId, Error> {
        let id = self.number();
        let watched = pidfd_open(pid, PidfdFlags::empty())
            .map_err(|errno| Error::failure("pidfd_open", errno))
            .and_then(|pidfd| {
                self.poller.add(&pidfd, Token::Process(id))?;
                Ok(pidfd)
            });
        match watched {
            Ok(pidfd) => {
                self.processes.insert(id, Process { pid, pidfd, role });
                Ok(id)
            }
            Err(error) => {
                // Never leave a process behind that nobody watches.
                let _ = rustix::process::kill_process(pid, Signal::KILL);
                sys::wait(pid)?;
                Err(error)
            }
        }
    }

    pub(super) fn births(&mut self, pool: PoolId) -> Result<(), Error> {
        let now = Instant::now();
        while let Some(born) = self.nursery.receive(pool, now) {
            match born {
                Born::Zygote { pool, pid, control } => {
                    self.add_zygote(pool, pid, control, now)?;
                }
                Born::Spare {
                    pool,
                    pid,
                    socket,
                    ledger,
                    job,
                } => {
                    let process = self.add_process(pid, Role::Nursling)?;
                    let spare = Spare {
                        process,
                        socket,
                        ledger,
                    };
                    match job {
                        Some(job) => self.assign(job, spare),
                        None => self.place(pool, spare),
                    }
                }
                Born::Failed { job } => {
                    log(
                        "fork_failed",
                        &Error::failure("fork", "see the kernel's log"),
                    );
                    if let Some(job) = job {
                        let error = Error::failure("fork", "the kernel would not");
                        self.finish(job, Err(error));
                    }
                }
            }
        }
        Ok(())
    }

    pub(super) fn add_zygote(
        &mut self,
        pool: PoolId,
        pid: Pid,
        control: OwnedFd,
        now: Instant,
    ) -> Result<(), Error> {
        let process = self.add_process(pid, Role::Nursling)?;
        // If its pool is gone, so is its socket's other end, and it goes too.
        self.nursery
            .add_zygote(pool, process, control, &self.poller, now)?;
        Ok(())
    }

    /// Gives a process to whoever waits for one, else keeps it.
    pub(super) fn place(&mut self, pool: PoolId, spare: Spare) {
        while let Some(job) = self.nursery.next_wanted(pool) {
            if self.jobs.contains_key(&job) {
                return self.assign(job, spare);
            }
        }
        // If it is not wanted any more, it ends with its socket.
        self.nursery.keep(pool, spare);
    }

    /// Reaps children that nobody told us of: a zygote forked them, and died before
    /// it could say so.
    pub(super) fn reap_unknown(&self) {
        while let Some(pid) = sys::ended_child() {
            if self.processes.values().any(|process| process.pid == pid) {
                return;
            }
            let _ = rustix::process::waitpid(Some(pid), WaitOptions::NOHANG);
        }
    }

    /// What is to be done between events: now what must be, the rest when those who
    /// wait for an answer have had the processors ([`REST`]).
    pub(super) fn keep_house(&mut self, now: Instant) -> Result<(), Error> {
        if self.nursery.needs_zygote(now) {
            let (pid, control) = start_zygote(&self.options.lockdown)?;
            self.add_zygote(GENERAL, pid, control, now)?;
        }
        if self.leftovers.len() > MAX_LEFTOVERS {
            self.leftovers.clear();
        }
        let later = (!self.leftovers.is_empty()).then(|| now + REST);
        let again = self.nursery.replenish(now)?.or(later);
        if let Some(at) = again.filter(|_| !self.will_clean) {
            self.will_clean = true;
            self.poller.set(at, Alarm::Housekeeping);
        }
        self.nursery.flush();
        Ok(())
    }

    pub(super) fn tick(&mut self, now: Instant) -> Result<(), Error> {
        self.poller.set(now + TICK, Alarm::Tick);
        if self.jobs.is_empty() && self.most_jobs > MANY_JOBS {
            self.most_jobs = 0;
            self.admission.shrink();
            self.nursery.shrink();
            sys::give_memory_back();
        }
        for process in self.nursery.overdue(now) {
            self.kill_process(process);
        }
        let stalled: Vec<ConnectionId> = self
            .connections
            .iter()
            .filter(|(_, connection)| {
                !connection.outbox.is_empty()
                    && now.duration_since(connection.taken) > STALLED_AFTER
            })
            .map(|(id, _)| *id)
            .collect();
        for id in stalled {
            let seconds = STALLED_AFTER.as_secs();
            let message = format!("the client took nothing for {seconds} seconds");
            self.close(id, Some(Error::refused(Code::BadPacket, message)));
        }
        Ok(())
    }
}
